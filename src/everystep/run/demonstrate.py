"""Demonstrations: an environment's oracle in the place of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from everystep.core.errors import WorldError
from everystep.core.protocols import Environment, Generation, Oracle, Request, Sampler, Sampling, Turn
from everystep.core.records import Stop, Task, Trajectory
from everystep.models.scripted import Noisy, Scripted
from everystep.models.template import Template, encode_turn
from everystep.run.hosts import Hosts
from everystep.run.rollout import Limits, jobs_of, messages_of, rollout

COPY = "\x1e"
"""What stands behind it in the name of a session numbers copies of one conversation: all of them ask about the same episode."""


class OracleSampler:
    """A sampler whose answers are those of the oracle of the episode that asks."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts

    @property
    def policy(self) -> str:
        return "oracle"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Ask each episode's oracle; the sampling settings do not apply."""
        answers = self.hosts.oracle([request.session.partition(COPY)[0] for request in requests])
        return [
            Generation(text="", stop=Stop.ERROR, error=str(answer))
            if isinstance(answer, WorldError)
            else Generation(text=answer, stop=Stop.STOP)
            for answer in answers
        ]

    def release(self, sessions: Sequence[str]) -> None:
        """Do nothing: an oracle remembers no conversation."""

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Do nothing: an oracle needs no history."""


def oracle_answers(environment: Environment, trajectory: Trajectory) -> tuple[str, ...]:
    """Return what the oracle would have done before each step of ``trajectory``, whose actions are executed again.

    This gives a stored step its reference, also behind a prefix that the oracle would not have taken. Raises ``WorldError`` for an
    environment without an oracle, and where the replay sees something else.
    """
    if not isinstance(environment, Oracle):
        raise WorldError(
            f"{type(environment).__name__} has no oracle, so it cannot say what would have been right."
        )
    answers = []
    seen = environment.reset(trajectory.task)
    for step in trajectory.steps:
        if step.observation.text != seen.text:
            raise WorldError(
                f"replay differs before step {step.id!r}. Give the environment of this trajectory."
            )
        answers.append(environment.oracle())
        seen = environment.step(environment.parse(step.action.text)).observation
    return tuple(answers)


def demonstrator(hosts: Hosts, *, error_rate: float = 0.0, habit: str | None = None) -> Sampler:
    """Return the oracle, or a clumsy one that errs with the stated rate, the same way for the same seeds.

    An error is a random other admissible action, or, with ``habit``, a random one of those that are ``habit`` or begin
    with its words. Where there is none of that kind, or where the right action is of it, the right one is done.
    """
    if not error_rate:
        return OracleSampler(hosts)

    def err(request: Request, right: str, random: Random) -> str:
        allowed = request.allowed or ()
        if habit is None:
            errors = [text for text in allowed if text != right]
        else:
            usual = [text for text in allowed if text == habit or text.startswith(f"{habit} ")]
            errors = [] if right in usual else usual
        return random.choice(errors) if errors else right

    return Noisy(OracleSampler(hosts), error_rate=error_rate, corrupt=err)


def answered(hosts: Hosts, tasks: Sequence[Task], texts: Sequence[str], *, name: str) -> list[Trajectory]:
    """Return the episodes of one step in which each task is answered with its text: what a scripted teacher or a person says."""
    jobs = jobs_of(tasks, group_size=1, prefix=name, seed=0)
    says = {job.id: [text] for job, text in zip(jobs, texts, strict=True)}
    limits = Limits(max_steps=1)
    return rollout(hosts, Scripted(says), jobs, sampling=Sampling(), limits=limits, constrain=False)


def with_tokens(trajectory: Trajectory, template: Template, *, constrain: bool = True) -> Trajectory:
    """Return ``trajectory`` with the tokens that a model with this template would have made of it.

    This is how demonstrations and imported trajectories become training rows that look exactly like
    the model's own. With ``constrain`` the allowed sets are those of the admissible actions.
    """
    steps = []
    for number, step in enumerate(trajectory.steps):
        allowed = step.observation.admissible if constrain else None
        tokens = encode_turn(
            template,
            messages_of(
                trajectory.task, step.observation, after=trajectory.steps[number - 1] if number else None
            ),
            step.action.text,
            first=number == 0,
            allowed=allowed if allowed and step.action.text in allowed else None,
        )
        steps.append(replace(step, tokens=tokens))
    return replace(trajectory, steps=tuple(steps))
