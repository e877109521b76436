"""The plans that ``--plan`` can name: from a file, or asked of the model; and how one knows that a step of a plan is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from everystep.core.errors import ConfigError
from everystep.core.protocols import Situation, Transition
from everystep.core.records import Action, Level, Message, Observation, Task, Verdict
from everystep.run.context import cut
from everystep.run.decide import Decider, Role, Way
from everystep.run.nodes import Edit, Node
from everystep.run.plan import Plan
from everystep.run.plan_text import PLAN_FORMAT, linear, parse_plan

ARROW = "=>"
"""In a linear plan: what follows it is seen when the step is done."""

_TRIES = 3
_TALL = 4000  # characters of an observation that the planner is shown


def plan_of(spec: str) -> tuple[Plan | None, bool]:
    """Return the plan that a short form names, and whether the model is to be asked for one."""
    if spec == "none":
        return None, False
    if spec == "ask":
        return Plan(), True
    if spec.startswith("linear:"):
        return Plan(read_linear(_text(spec.removeprefix("linear:")))), False
    if spec.endswith(".json"):
        return Plan(read_json(_text(spec), spec)), False
    raise ConfigError(f"--plan {spec!r}: expected none, linear:FILE, FILE.json or ask.")


def read_linear(text: str) -> tuple[Node, ...]:
    """Return the steps of a plan with a step a line; empty lines and lines that begin with # are left out.

    ``INSTRUCTION => WORDS``: the step is worked on until its observation holds these words. A line without ``=>`` is one action.

    >>> [(one.instruction, one.done) for one in read_linear("go to the sink => You arrive at sinkbasin")]
    [('go to the sink', 'You arrive at sinkbasin')]
    """
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition(ARROW) for line in lines if line and not line.startswith("#")]
    if not pairs:
        raise ConfigError("the plan has no steps; write one a line.")
    nodes = linear([instruction.strip() for instruction, _, _ in pairs])
    return tuple(
        _bounded(replace(node, done=done.strip())) for node, (_, _, done) in zip(nodes, pairs, strict=True)
    )


def read_json(text: str, name: str) -> tuple[Node, ...]:
    """Return the nodes of a plan in JSON (``plan_text.PLAN_FORMAT``); ``ConfigError`` says what is wrong with it."""
    read = parse_plan(text)
    if read.problems:
        raise ConfigError(f"the plan {name!r} cannot be used: {' '.join(map(str, read.problems[:5]))}")
    return tuple(_bounded(node) for node in read.nodes)


def _bounded(node: Node) -> Node:
    """A step that says neither when it is done nor how many actions it takes is one action."""
    if node.composite or node.done or node.max_steps is not None:
        return node
    return replace(node, max_steps=1)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the plan {path!r} cannot be read: {error}.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Says whether the goal of a plan node is reached: the words of its ``done`` stand in the observation, or its steps are taken.

    ``plan`` returns the plan as it is now.
    """

    plan: Callable[[], Plan | None]
    name: str = "reached"
    threshold: float = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:  # noqa: ARG002
        """Look for the words after the act."""
        plan = self.plan()
        node = plan.node(situation.node) if plan is not None and situation.node in plan else None
        reached: bool | None = None
        if node is not None and transition is not None and node.done:
            reached = node.done.casefold() in transition.observation.text.casefold()
        elif node is not None and node.max_steps is not None:
            reached = situation.index + 1 >= node.max_steps
        score = None if reached is None else float(reached)
        return Verdict(level=Level.STEP, targets=(situation.step,), judge=self.name, score=score)


# --- asking the model -----------------------------------------------------------------------------

_RULES = (
    f"Make a plan for the task below. {PLAN_FORMAT}\n"
    'Give each step a "done": a few words that its result will show when it is reached, or "max_steps".'
)


@dataclass(slots=True, kw_only=True)
class AskedPlanner:
    """A planner that asks a model, with the same decisions as every role. ``decider`` and ``pay`` are set when the run is made."""

    ways: tuple[Way, ...]
    decider: Decider | None = None
    pay: Callable[[Mapping[str, float]], None] | None = None
    _asked: int = field(default=0)

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]:
        """Return the steps of the whole task, or of one composite node."""
        goal = task.instruction if node is None else node.instruction
        nodes = await self._ask(task, goal, observation, "", lambda some: _edit(plan, node, some))
        return () if nodes is None else (nodes,)

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]:
        """Return new steps in place of all that has not begun beside the failed node."""
        told = f"The step {node.instruction!r} failed: {why} Plan what is left to do, from here."
        level = plan.parent(node.id)
        edit = await self._ask(
            task, task.instruction, observation, told, lambda some: _rest(plan, level, some)
        )
        return () if edit is None else (edit,)

    async def _ask(
        self,
        task: Task,
        goal: str,
        observation: Observation,
        told: str,
        edit: Callable[[tuple[Node, ...]], tuple[Edit, str]],
    ) -> Edit | None:
        assert self.decider is not None  # noqa: S101 -- the run sets it
        for _ in range(_TRIES):
            self._asked += 1
            situation = Situation(
                run=task.id,
                task=replace(task, instruction=goal),
                node="plan",
                goal=goal,
                step=f"plan/{self._asked}",
                index=self._asked,
                observation=observation,
                feedback=told,
            )
            decision = await self.decider.decide(
                Role(name="planner", ways=self.ways), situation, parse=_as_it_is
            )
            if self.pay is not None:
                self.pay(decision.cost)
            if decision.chosen is None:
                return None
            read = parse_plan(decision.chosen.action.text)
            if read.problems:
                told = "the plan cannot be used: " + " ".join(map(str, read.problems[:3]))
                continue
            made, wrong = edit(tuple(_bounded(node) for node in read.nodes))
            if not wrong:
                return made
            told = f"the plan cannot be used: {wrong}"
        return None


def _as_it_is(text: str) -> Action:
    return Action(text=text)


def _edit(plan: Plan, node: Node | None, nodes: tuple[Node, ...]) -> tuple[Edit, str]:
    nodes = _renamed(plan, nodes)
    made = plan.added(nodes) if node is None else plan.expanded(node.id, nodes)
    return made, " ".join(map(str, plan.problems(made)[:3]))


def _rest(plan: Plan, level: str, nodes: tuple[Node, ...]) -> tuple[Edit, str]:
    made = plan.replaced(level, _renamed(plan, nodes), "a step failed")
    return made, " ".join(map(str, plan.problems(made)[:3]))


def _renamed(plan: Plan, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Give nodes ids that are free in the plan; needs among them follow."""
    if not any(node.id in plan for node in nodes):
        return nodes
    names: dict[str, str] = {}
    for node in nodes:
        number = 2
        while (name := f"{node.id}.v{number}") in plan or name in names.values():
            number += 1
        names[node.id] = name
    return tuple(
        replace(node, id=names[node.id], needs=tuple(names.get(need, need) for need in node.needs))
        for node in nodes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """What a planner is shown: how to write a plan, the task, and what there is now."""

    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the whole prompt."""
        lines = [f"Task: {situation.goal}", f"Now: {cut(situation.observation.text, _TALL)}"]
        if situation.feedback:
            lines.append(situation.feedback)
        return (
            Message(role="system", content=_RULES),
            Message(role="user", content="\n".join(lines)),
        )
