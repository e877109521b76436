"""Judges that execute: bring the environment to the stored state, run the step there, and look at what comes of it.

The state is rebuilt by replaying the stored actions from the start of the task, so the environment has to be deterministic; an observation that is
not the stored one is a ``JudgeError``, never a verdict about another state. Steps judged in order cost one act each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from everystep.core.errors import ConfigError, EverystepError, JudgeError
from everystep.core.protocols import Environment, Evidence, Looks, Oracle, Snapshots, Transition
from everystep.core.records import Level, Step, Task, Verdict
from everystep.verify.rule import STEPS, Said
from everystep.verify.verdicts import verdict

STATE = Looks(actions=None, observations=1, reference=True, chars=1_000_000)
"""What it takes to rebuild a state: all actions, the observation to check it by, the whole task."""

_FARTHEST = 500


@dataclass(slots=True)
class _Stage:
    """One environment and where it stands: which task, and behind which steps."""

    environment: Environment
    task: Task | None = None
    behind: tuple[str, ...] = ()
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """Runs the step in its state and lets ``good`` say from 0 to 1 what came of it; ``None`` says nothing.

    ``make`` builds an environment for a task. Call ``close`` at the end.
    """

    make: Callable[[Task], Environment]
    good: Callable[[Transition, Evidence], Said]
    name: str = "executed"
    version: str = "1"
    looks: Looks = STATE
    levels: frozenset[Level] = STEPS
    _stage: list[_Stage] = field(default_factory=list, repr=False)

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the verdict on one step."""
        _only_steps(self.name, level)
        stage = stage_at(self._stage, self.make, evidence)
        transition = act(stage, evidence.step)
        said = self.good(transition, evidence)
        value, reason = said if isinstance(said, tuple) else (said, transition.reason)
        score = None if value is None else float(value)
        return (_seen(verdict(self, level, evidence, score=score, reason=reason)),)

    def close(self) -> None:
        """Close the environment."""
        _close(self._stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByOracle:
    """Asks the environment's oracle whether the step was a best one.

    With ``distance`` a step is good when following the oracle from behind it takes one step less than before it, so that other best actions count
    too; that needs an environment with ``Snapshots``. Otherwise it must be the oracle's own action.
    """

    make: Callable[[Task], Environment]
    distance: bool = False
    name: str = "oracle"
    version: str = "1"
    looks: Looks = STATE
    levels: frozenset[Level] = STEPS
    _stage: list[_Stage] = field(default_factory=list, repr=False)

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return 1 for a best step, 0 for another, with the oracle's action as the reason."""
        _only_steps(self.name, level)
        stage = stage_at(self._stage, self.make, evidence)
        world = stage.environment
        if not isinstance(world, Oracle):
            raise ConfigError(
                f"environment {evidence.task.environment!r} has no oracle to ask. Use another judge."
            )
        best = world.oracle()
        if not self.distance:
            act(stage, evidence.step)
            good = _plain(best) == _plain(evidence.step.action.text)
        else:
            here = _far(world)
            if here is None:
                raise JudgeError(
                    f"following the oracle from {evidence.targets[0]!r} leads nowhere within {_FARTHEST} steps."
                )
            last = act(stage, evidence.step)
            there = 0 if last.terminated and last.success else None if stage.over else _far(world)
            good = there is not None and there < here
        reason = None if good else f"the oracle would do {best[:200]!r}"
        return (_seen(verdict(self, level, evidence, score=float(good), reason=reason)),)

    def close(self) -> None:
        """Close the environment."""
        _close(self._stage)


def stage_at(stages: list[_Stage], make: Callable[[Task], Environment], evidence: Evidence) -> _Stage:
    """Return the environment in the state that the evidence's step was taken in."""
    task, wanted = evidence.task, tuple(one.id for one in evidence.before)
    if (*evidence.before, evidence.step)[0].parent is not None:
        raise JudgeError(
            f"step {evidence.targets[0]!r} comes without the steps from the start of its task, so its state cannot be rebuilt. "
            "Judge stored trajectories, or show all actions (in a run: a window that keeps them all)."
        )
    stage = stages[0] if stages else None
    if stage is None or stage.task is None or stage.task.environment != task.environment:
        _close(stages)
        stage = _Stage(make(task))
        stages[:] = [stage]
    if stage.task != task or stage.behind != wanted:
        seen = stage.environment.reset(task)
        stage.task, stage.behind, stage.over = task, (), False
        for past in evidence.before:
            seen = act(stage, past).observation
        shown = evidence.step.observation
        if shown.anchor is not None and seen.anchor is not None and shown.anchor != seen.anchor:
            stage.task = None
            raise JudgeError(
                f"replaying {len(wanted)} actions of task {task.id!r} did not lead to the state of step {evidence.targets[0]!r}. "
                "The environment is not the one that the trajectory was made in, or not deterministic."
            )
    if stage.over:
        raise JudgeError(f"the episode of task {task.id!r} was over before step {evidence.targets[0]!r}.")
    return stage


def act(stage: _Stage, step: Step) -> Transition:
    """Do a stored step and note where the environment stands."""
    if stage.over:
        raise JudgeError(
            f"the episode was over before step {step.id!r}; the stored actions do not fit the environment."
        )
    world, action = stage.environment, step.action
    try:
        found = world.step(action if action.calls else world.parse(action.text))
    except EverystepError:
        stage.task = None
        raise
    stage.behind = (*stage.behind, step.id)
    stage.over = found.terminated or found.truncated
    return found


def executable(transition: Transition, evidence: Evidence) -> Said:  # noqa: ARG001
    """Good: the environment could execute the action."""
    return transition.valid


def raised(name: str) -> Callable[[Transition, Evidence], Said]:
    """Return the judgement by a score that the environment measures, such as ``overlap`` of InterCode-SQL, cut to 0 to 1."""

    def good(transition: Transition, evidence: Evidence) -> Said:  # noqa: ARG001
        found = transition.scores.get(name)
        return None if found is None else min(1.0, max(0.0, found))

    return good


def _far(world: Any) -> int | None:
    """Return how many oracle steps the goal is away, and leave the environment as it was; ``None`` where it is not reached."""
    if not isinstance(world, Snapshots):
        raise ConfigError(
            "the distance to the goal needs an environment with snapshots. Ask with distance=False."
        )
    state = world.snapshot()
    for count in range(1, _FARTHEST + 1):
        found = world.step(world.parse(world.oracle()))  # type: ignore[attr-defined]
        if found.terminated or found.truncated:
            world.restore(state)
            return count if found.success else None
    world.restore(state)
    return None


def _seen(one: Verdict) -> Verdict:
    return replace(one, evidence=(*one.evidence, "executed"))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _only_steps(name: str, level: Level) -> None:
    if level is not Level.STEP:
        raise ConfigError(f"judge {name!r} executes single steps; asked for {level}.")


def _close(stages: list[_Stage]) -> None:
    for one in stages:
        one.environment.close()
    stages.clear()
