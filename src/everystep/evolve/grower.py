"""A planner that grows a plan level by level as it is reached, mends the level that failed, and learns which prompt to ask with.

Deep Agent's two stages: the planner writes the next level with what is known now, the executor works on what is atomic, and composite
nodes are planned when they are reached. Each prompt is an arm of a bandit: it is paid when its levels needed no repair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from everystep.core.protocols import Situation
from everystep.core.records import Action, Message, Observation, Task
from everystep.evolve.routine import read_call, written_call
from everystep.evolve.skills import Skill
from everystep.run.bandit import Bandit
from everystep.run.decide import Decider, Role, Way
from everystep.run.nodes import Edit, Node
from everystep.run.plan import Plan
from everystep.run.plan_text import PLAN_FORMAT, parse_plan

_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelView:
    """What a planner is shown: the ``prompt`` and how to write a plan, the tools, the goal of the level, and what there is now.

    The second message is one JSON object: ``task``, ``goal``, ``why`` (what failed, or empty), ``text`` and ``seen`` (the observation and its info).
    """

    prompt: str
    skills: Mapping[str, Skill] = field(default_factory=dict)
    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the whole prompt."""
        lines = [self.prompt, PLAN_FORMAT]
        lines += [
            f"tool {one.name}({', '.join(one.parameters)}): {one.description}" for one in self.skills.values()
        ]
        seen = {
            "task": situation.task.instruction,
            "goal": situation.goal,
            "why": situation.feedback,
            "text": situation.observation.text,
            "seen": dict(situation.observation.info),
        }
        return (
            Message(role="system", content="\n".join(lines)),
            Message(role="user", content=json.dumps(seen)),
        )


@dataclass(slots=True, kw_only=True)
class Grower:
    """Asks for one level at a time. ``ways`` has for each prompt the models that are asked with it; ``bandit`` chooses among the prompts.

    A repair plans the failed level anew, or the whole plan where ``everything`` is set. At most ``most_calls`` answers are asked for; a plan that is
    not one is told back, ``3`` times. ``calls`` and ``written`` count answers and the nodes in them, ``repairs`` the failures.
    """

    ways: Mapping[str, tuple[Way, ...]]
    decider: Decider
    bandit: Bandit | None = None
    skills: Mapping[str, Skill] = field(default_factory=dict)
    everything: bool = False
    most_calls: int = 200
    calls: int = 0
    written: int = 0
    repairs: int = 0
    _wrote: dict[str, str] = field(default_factory=dict)

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]:
        """Return the nodes of one level."""
        level, goal = ("", task.instruction) if node is None else (node.id, node.instruction)
        return await self._ask(task, plan, level, goal, "", observation, fresh=True)

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]:
        """Return new nodes in place of what has not begun in the level."""
        self.repairs += 1
        level = "" if self.everything else plan.parent(node.id)
        self._pay(level, 0.0)
        goal = plan.node(level).instruction if level else task.instruction
        told = f"{_shown(node)!r} failed: {why}"
        return await self._ask(task, plan, level, goal, told, observation, fresh=False)

    def settle(self, *, won: bool) -> None:
        """Pay the prompts of the levels that are left, at the end of a run: those of a run that was won needed no repair."""
        for level in list(self._wrote):
            if won:
                self._pay(level, 1.0)
        self._wrote.clear()

    def _pay(self, level: str, reward: float) -> None:
        name = self._wrote.pop(level, None)
        if name is not None and self.bandit is not None:
            self.bandit.update(name, reward)

    async def _ask(
        self,
        task: Task,
        plan: Plan,
        level: str,
        goal: str,
        why: str,
        observation: Observation,
        *,
        fresh: bool,
    ) -> Sequence[Edit]:
        name = self.bandit.choose() if self.bandit is not None else next(iter(self.ways))
        told = why
        for _ in range(_TRIES):
            if self.calls >= self.most_calls:
                return ()
            self.calls += 1
            situation = Situation(
                run=task.id,
                task=task,
                node="plan",
                goal=goal,
                step=f"plan/{self.calls}",
                index=self.calls,
                observation=observation,
                feedback=told,
            )
            role = Role(name="planner", ways=self.ways[name])
            decision = await self.decider.decide(role, situation, parse=_as_it_is)
            if decision.chosen is None:
                return ()
            read = parse_plan(decision.chosen.action.text)
            nodes, wrong = self._usable(read.nodes, [str(one) for one in read.problems])
            edit = plan.expanded(level, nodes) if fresh and level else plan.replaced(level, nodes, why[:500])
            wrong += [] if wrong else [str(one) for one in plan.problems(edit)]
            if not wrong:
                self.written += len(nodes)
                self._wrote[level] = name
                return (edit,)
            told = f"{why} the plan cannot be used: {' '.join(wrong[:3])}".strip()
        return ()

    def _usable(self, nodes: Sequence[Node], wrong: list[str]) -> tuple[tuple[Node, ...], list[str]]:
        """Return the nodes with names of their own and their tools as calls, and what is wrong with them."""
        made = []
        for node in nodes:
            one = replace(
                node,
                id=f"{self.calls}.{node.id}",
                needs=tuple(f"{self.calls}.{need}" for need in node.needs),
                parent=f"{self.calls}.{node.parent}" if node.parent else "",
            )
            if node.tool is not None:
                skill = self.skills.get(node.tool)
                text = "" if skill is None else written_call(skill, node.arguments)
                if skill is None or read_call(text, self.skills) is None:
                    wrong.append(f"tool {node.tool[:60]!r} does not exist or lacks arguments.")
                else:
                    one = replace(one, instruction=text, max_steps=len(skill.steps))
            elif not node.composite and node.max_steps is None:
                one = replace(one, max_steps=1)
            made.append(one)
        return tuple(made), wrong


def _shown(node: Node) -> str:
    return node.instruction[:200]


def _as_it_is(text: str) -> Action:
    return Action(text=text)
