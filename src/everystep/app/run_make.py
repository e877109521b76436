"""A run made from its stored options: world, model, votes, gate and plan, put together as a ``Runner``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from everystep.app.run_lines import line
from everystep.app.run_models import Chosen, model_of
from everystep.app.run_options import (
    RunOptions,
    at_cap_of,
    budget_of,
    flags_of,
    price_of,
    task_of,
    view_of,
    vote_of,
)
from everystep.app.run_plan import AskedPlanner, PlanView, Reached, plan_of
from everystep.app.run_view import Aside, JsonView, RunView
from everystep.core.acts import Permit, Risk
from everystep.core.budget import Budget
from everystep.core.errors import ConfigError
from everystep.core.protocols import Environment, Gate, Oracle, Outside, Request, Sampling
from everystep.core.records import Action, Json, Task
from everystep.core.trace import Kind
from everystep.environments.catalog import world
from everystep.guard.approval import Approver
from everystep.guard.autonomy import DEFAULT_TABLE, Autonomy, Policy, fixed
from everystep.guard.mailbox import APPROVALS, Mailbox
from everystep.guard.terminal import Terminal
from everystep.run.context import History
from everystep.run.decide import Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts
from everystep.run.plan import Plan

ANSWER = "answer"
"""The call of a set of tools that gives the result."""
FINISHED = "done:"
"""How a model says in free text that the goal of its plan node is reached: this word, then the result."""

_DONE = f"When what stands after 'Now:' is reached, answer: {FINISHED} RESULT"
_ASK_ALL = dict.fromkeys(Risk, ((0.0, Permit.ASK),))


@runtime_checkable
class Calls(Protocol):
    """An environment whose actions are calls of tools."""

    @property
    def schemas(self) -> Sequence[Mapping[str, Json]]: ...

    @property
    def manual(self) -> str: ...


@dataclass(slots=True, kw_only=True)
class Made:
    """What a run acts in and who decides, before there is a journal. ``close`` gives back what it holds."""

    options: RunOptions
    task: Task
    environment: Environment
    model: Chosen
    way: Way
    role: Role
    plan: Plan | None
    asks_plan: bool
    limits: dict[str, float]
    closers: list[Callable[[], object]] = field(default_factory=list)

    @property
    def heading(self) -> list[str]:
        """What the run is, in a few lines."""
        options = self.options
        votes = f"vote {options.vote or _usual_vote(self.model)}"
        view = "history" if isinstance(self.way.context, History) else f"window:{self.way.context.window}"
        return [
            f"{self.task.id}: {line(self.task.instruction, 400)}",
            f"model {options.model}, {votes}, view {view}, plan {options.plan}, seed {options.seed}",
        ]

    def close(self) -> None:
        """Give back what the run holds."""
        for one in reversed(self.closers):
            one()


def make(options: RunOptions, place: Path, *, answer: Callable[[Request], str] | None = None) -> Made:
    """Build world, model and plan from options; everything that is wrong with them is said here, before anything is written.

    ``place`` is the run's folder, which need not exist yet. ``answer`` stands in for what the environment's oracle says.
    """
    environment, task, closers = _world(options, place)
    made_closers: list[Callable[[], object]] = [*closers, environment.close]
    if answer is None and isinstance(environment, Oracle):
        answer = _asked_of(environment)
    limits = budget_of(options.budget)
    box = environment if isinstance(environment, Calls) else None
    model = model_of(
        options.model,
        answer=answer,
        seed=options.seed,
        key=options.key,
        tools=() if box is None else tuple(box.schemas),
    )
    plan, asks = plan_of(options.plan)
    free = plan is not None and not model.scripted and box is None
    manual = "" if box is None or options.model.startswith("chat:") else box.manual
    way = _way(options, model, limits, _DONE if free else manual)
    if asks and model.scripted:
        raise ConfigError(
            f"--plan ask: --model {options.model} cannot write a plan. Name a local or chat model."
        )
    if options.model.partition(":")[0] == "random" and not options.constrain:
        raise ConfigError("--model random chooses among admissible actions; leave --no-constrain out.")
    outside = isinstance(environment, Outside)
    if not outside and options.ask == "risky" and options.approve not in ("auto", "never"):
        raise ConfigError(
            f"--approve {options.approve}: acts in a simulated environment carry no risk, so nobody would be asked. "
            "Add --ask every."
        )
    role = Role(
        name="agent",
        ways=(way,),
        flags=flags_of(options.flags),
        vote=vote_of(options.vote or _usual_vote(model)),
        at_cap=at_cap_of(options.at_cap),
        constrain=options.constrain,
        parse=_parse(environment) if free else None,
    )
    return Made(
        options=options,
        task=task,
        environment=environment,
        model=model,
        way=way,
        role=role,
        plan=plan,
        asks_plan=asks,
        limits=limits,
        closers=made_closers,
    )


def runner_of(made: Made, folder: RunFolder, journal: Journal, view: RunView | JsonView) -> Runner:
    """Return the runner over an open journal."""
    options = made.options
    holder: list[Runner] = []
    planner = AskedPlanner(ways=(replace(made.way, context=PlanView(), sampling=_long(made.way.sampling)),))
    parts = Parts(
        operator=made.role,
        complete=None if made.plan is None else Reached(plan=lambda: holder[0].plan),
        gate=_gate(made, folder, journal, view),
        planner=planner if made.asks_plan else None,
        in_doubt=options.in_doubt,
        finish=_finish_of(made),
    )
    runner = Runner(
        run=folder.path.resolve().name,
        task=made.task,
        environment=made.environment,
        parts=parts,
        journal=journal,
        bounds=Bounds(max_steps=options.max_steps),
        budget=Budget(made.limits),
        seed=options.seed,
        plan=made.plan,
    )
    holder.append(runner)
    planner.decider, planner.pay = runner.decider, runner.course.pay
    return runner


def _asked_of(oracle: Oracle) -> Callable[[Request], str]:
    return lambda _: oracle.oracle()


# --- the parts ------------------------------------------------------------------------------------


def _world(options: RunOptions, place: Path) -> tuple[Environment, Task, list[Callable[[], object]]]:
    if options.tools:
        return _toolbox(options, place)
    chosen = world(options.environment, **options.options)
    split, index = task_of(options.task)
    task = chosen.task(split, index)
    if options.text:
        task = replace(task, instruction=options.text)
    return chosen.make(), task, []


def _toolbox(options: RunOptions, place: Path) -> tuple[Environment, Task, list[Callable[[], object]]]:
    if not options.text:
        raise ConfigError("--tools needs a task in words: everystep run 'what to do' --tools ...")
    usual = RunOptions()
    if options.options or (options.task, options.environment) != (usual.task, usual.environment):
        raise ConfigError(
            "--tools takes the place of an environment; leave --environment, --options and --task out."
        )
    from everystep.app.run_tools import toolbox_of  # pydantic

    box, closers = toolbox_of(options.tools, place, max_steps=options.max_steps)
    return box, Task(id="tools", instruction=options.text, environment="tools"), closers


def _usual_vote(model: Chosen) -> str:
    return "ahead:3" if model.scripted else "single"


def _way(options: RunOptions, model: Chosen, limits: dict[str, float], manual: str) -> Way:
    if model.scripted and (
        options.temperature is not None or options.max_tokens is not None or options.price
    ):
        raise ConfigError(
            f"--temperature, --max-tokens and --price have no effect on --model {options.model}; leave them out."
        )
    if "usd" in limits and options.price is None:
        raise ConfigError("--budget usd needs --price, or nothing is ever counted.")
    context = view_of(options.view or ("history" if model.trained else "window:8"))
    context = replace(context, system=manual)
    if isinstance(context, History) and not _forks(model):
        raise ConfigError(
            f"--view history: --model {options.model} cannot continue one conversation in several ways. Use window:8."
        )
    temperature = 1.0 if options.temperature is None else options.temperature
    sampling = Sampling(
        temperature=temperature, max_tokens=options.max_tokens or (1000 if options.tools else 256)
    )
    return Way(sampler=model.sampler, sampling=sampling, context=context, price=price_of(options.price))


def _forks(model: Chosen) -> bool:
    from everystep.core.protocols import Forks

    return isinstance(model.sampler, Forks)


def _long(sampling: Sampling) -> Sampling:
    """A plan is longer than an action."""
    return replace(sampling, max_tokens=max(2000, sampling.max_tokens))


def _finish_of(made: Made) -> Callable[[Action], str | None] | None:
    """A step of a plan ends with an answer where there are tools, with ``done: result`` where a model writes freely."""
    if made.plan is None:
        return None
    if isinstance(made.environment, Calls):
        return _answered
    return _finished if made.role.parse is not None else None


def _answered(action: Action) -> str | None:
    if len(action.calls) == 1 and action.calls[0].name == ANSWER:
        return str(action.calls[0].arguments.get(ANSWER, ""))
    return None


def _finished(action: Action) -> str | None:
    if not action.calls and action.text.strip().lower().startswith(FINISHED):
        return action.text.strip()[len(FINISHED) :].strip()
    return None


def _parse(environment: Environment) -> Callable[[str], Action]:
    """Read ``done: result`` beside the actions of the environment."""

    def parse(text: str) -> Action:
        action = Action(text=text)
        return action if _finished(action) is not None else environment.parse(text)

    return parse


def _gate(made: Made, folder: RunFolder, journal: Journal, view: RunView | JsonView) -> Gate | None:
    options = made.options
    if not isinstance(made.environment, Outside) and options.ask == "risky":
        return None
    if options.wait < 0:
        raise ConfigError(f"--wait {options.wait!r}; it must be 0 or more seconds.")
    policy = Policy(
        table=_ASK_ALL if options.ask == "every" else DEFAULT_TABLE,
        expiry_s=options.wait or None,
        pause=options.wait == 0,
    )
    return Autonomy(
        reliability=fixed(options.reliability),
        approver=_approver(made, folder, view),
        policy=policy,
        asked=lambda request: journal.append(Kind.ASKED, request),
    )


def asked_where(options: RunOptions) -> str:
    """Return who is asked: auto means the terminal where somebody sits at one and the run is to wait."""
    if options.approve != "auto":
        return options.approve
    here = sys.stdin.isatty() and sys.stderr.isatty()
    return "terminal" if here and options.wait else "mailbox"


def _approver(made: Made, folder: RunFolder, view: RunView | JsonView) -> Approver | None:
    where = asked_where(made.options)
    if where == "never":
        return None
    if where == "terminal":
        return Aside(Terminal(), view)
    mailbox = Mailbox(folder.path / APPROVALS)
    if where == "http":
        from everystep.guard.approval_http import ApprovalServer

        server = ApprovalServer(folder.path / APPROVALS)
        made.closers.append(server.close)
        sys.stderr.write(f"everystep: approvals at {server.url}\n")
    return mailbox


def stored(options: RunOptions) -> dict[str, Any]:
    """Return the options as JSON."""
    assert is_dataclass(options)  # noqa: S101 -- for the reader
    found = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
