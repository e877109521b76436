"""A team that works on screens: manager, perceptor, operator, action reflector, notetaker, over the one runner (Mobile-Agent-E, S27).

The plan grows by one node an iteration: the manager is asked, its subgoal becomes a node of one step, the operator takes it, the
reflector says how it went. All decide through ``run.decide``; a scripted sampler or an endpoint may answer for any of them.
Prompts are one JSON object each, so nothing on a screen can pass for an instruction.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from everystep.core.budget import Budget
from everystep.core.codec import decode, encode
from everystep.core.protocols import AsyncSampler, Sampler, Sampling, Situation, Transition
from everystep.core.records import Action, Json, Level, Message, Observation, Task, Verdict
from everystep.evolve.library import SkillLibrary
from everystep.evolve.memory import Item, Memory, Sort
from everystep.evolve.recall import Remembered
from everystep.evolve.shortcuts import Shortcuts, read_shortcut, shown
from everystep.evolve.skills import Skill
from everystep.run.decide import Decider, Role, Way
from everystep.run.nodes import Edit, Node, NodeKind
from everystep.run.parts import Over, Parts
from everystep.run.plan import Plan

ROLES: Mapping[str, str] = {
    "perceptor": "List the elements of the screen, one a line, as they are shown.",
    "manager": "Plan. Answer with a JSON object: plan (a list of subgoals that are left, the first is worked on next; empty when the task "
    "is done). When stuck is true the last actions failed: choose another way.",
    "operator": "Take one action towards the subgoal: tap ID, hold ID, type TEXT (only while the keyboard is on), swipe up or down, open APP, "
    'back, home, or a shortcut: use NAME {"argument": "value"}, only if its precondition holds. Answer with the action and nothing else.',
    "reflector": "Compare the screen before and after the action. Answer A if it did what it should, B: and why if it led to a wrong page, "
    "C: and why if nothing changed.",
    "notetaker": "Write the notes anew: what later subgoals need to know from this screen. Answer with the notes only.",
    "shortcuts": "The task is done. Write one new shortcut for what will come again, as a JSON object with name, description, arguments, sequence "
    "(gestures, arguments as <name>), precondition (gestures that must be possible at its start), about (words of a task that it is for), "
    "after (how the screen's text begins at its end). Answer none if there is nothing new.",
    "tips": "The task is done. Answer with tips for later tasks, one a line, from what went wrong.",
}
"""What each role is asked to do."""
_LAST = 5
_LONG = 400
_SCREEN = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One iteration: the action, its outcome (A, B or C), the error, the subgoal, and the gestures that were made."""

    action: str
    outcome: str
    error: str = ""
    subgoal: str = ""
    gestures: tuple[str, ...] = ()
    page: str = ""
    step: str = ""


@dataclass(slots=True, kw_only=True)
class Shared:
    """The record that all roles share in one task: what the perceptor made of the text ``seen`` (``screen``), and what was done.

    ``calls`` counts model calls by role, ``why`` is why the team stopped. It is kept in memory after each iteration, for a run that is resumed.
    """

    seen: str | None = None
    screen: str = ""
    before: str = ""
    plan: tuple[str, ...] = ()
    history: tuple[Done, ...] = ()
    notes: str = ""
    calls: Mapping[str, int] = field(default_factory=dict)
    finished: bool = False
    why: str = ""

    @property
    def failed(self) -> int:
        """How many of the last actions failed, in a row."""
        count = 0
        for one in reversed(self.history):
            if one.outcome == "A":
                break
            count += 1
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a team stops, and from how many failed actions on the manager is told that it is stuck."""

    iterations: int = 40
    failed: int = 3
    identical: int = 3
    stuck: int = 2

    def stop(self, shared: Shared) -> str:
        """Return why the team stops now, empty if it goes on. Swiping and going back may repeat."""
        if len(shared.history) >= self.iterations:
            return f"{self.iterations} iterations"
        if shared.failed >= self.failed:
            return f"{shared.failed} failed actions in a row"
        last = [one.action for one in shared.history[-self.identical :]]
        again = len(last) == self.identical and len(set(last)) == 1
        if again and not last[0].startswith(("swipe", "back")):
            return f"{self.identical} times {last[0]!r}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What one role sees: its part of the shared record, as one JSON object."""

    shared: Shared
    role: str
    offered: tuple[Skill, ...] = ()
    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the prompt."""
        shared, task = self.shared, situation.task.instruction
        last: list[Json] = [_told(one) for one in shared.history[-_LAST:]]
        seen: dict[str, Json]
        if self.role == "perceptor":
            seen = {"screen": situation.observation.text}
        elif self.role == "manager":
            seen = {"task": task, "screen": shared.screen, "plan": list(shared.plan), "last": last}
            seen |= {"notes": shared.notes, "stuck": situation.feedback == "stuck"}
        elif self.role == "operator":
            seen = {"task": task, "subgoal": situation.goal, "screen": shared.screen, "last": last}
            seen |= {
                "remembered": list(situation.notes),
                "shortcuts": [shown(one) for one in self.offered],
            }
        elif self.role == "reflector":
            seen = {"subgoal": situation.goal, "before": shared.before, "after": shared.screen}
            seen["action"] = situation.feedback
        elif self.role == "notetaker":
            seen = {"task": task, "screen": shared.screen, "notes": shared.notes}
        else:
            names: list[Json] = [one.name for one in self.offered]
            seen = {"task": task, "history": [_told(one) for one in shared.history], "known": names}
        text = json.dumps(seen, ensure_ascii=False)
        return (Message(role="system", content=ROLES[self.role]), Message(role="user", content=text))


def _told(done: Done) -> dict[str, Json]:
    made: dict[str, Json] = {**asdict(done), "gestures": list(done.gestures)}
    del made["step"]
    return made


@dataclass(slots=True, kw_only=True)
class Team:
    """A team on one task. ``samplers`` answers for each role by name, ``*`` for those that are not named.

    ``reflects`` off takes every action as having worked. ``memory`` holds notes, tips and shortcuts; ``tips`` and
    ``shortcuts`` say whether they are recalled and learned. Make one for each task; its ``parts`` go into a ``Runner`` with ``world``
    as the environment and an empty plan. ``budget`` is the runner's, ``pay`` its ``course.pay``: then all roles count in what the run costs.
    """

    samplers: Mapping[str, Sampler | AsyncSampler]
    world: Shortcuts
    memory: Memory
    task: Task
    run: str
    offered: tuple[Skill, ...] = ()
    reflects: bool = True
    tips: bool = True
    rules: Rules = field(default_factory=Rules)
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, max_tokens=512))
    seed: int = 0
    budget: Budget | None = None
    pay: Callable[[Mapping[str, float]], None] | None = None
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    shared: Shared = field(init=False)
    name: str = "reflector"
    threshold: float = 0.5
    _decider: Decider = field(init=False)
    _remembered: Remembered = field(init=False)

    def __post_init__(self) -> None:
        self._decider = Decider(seed=self.seed, budget=self.budget or Budget({}), sleep=self.sleep)
        kept = self.memory.get(f"team:{self.run}")
        self.shared = Shared() if kept is None else decode(Shared, kept.data)
        kinds = (Sort.NOTE, Sort.TIP) if self.tips else (Sort.NOTE,)
        self._remembered = Remembered(self.memory, k=6, kinds=kinds)

    def role(self, name: str) -> Role:
        """Return one member of the team."""
        sampler = self.samplers[name] if name in self.samplers else self.samplers["*"]
        desk = Desk(shared=self.shared, role=name, offered=self.offered)
        return Role(name=name, ways=(Way(sampler=sampler, sampling=self.sampling, context=desk),))

    @property
    def parts(self) -> Parts:
        """What the runner needs: the operator, this team as planner and as verifier, and what memory has to say."""
        return Parts(operator=self.role("operator"), planner=self, verifiers=(self,), recall=self._remembered)

    async def ask(self, name: str, situation: Situation) -> str:
        """Return what a member says; where no model answers the run pauses."""
        decision = await self._decider.decide(self.role(name), situation, parse=_said)
        if self.pay is not None:
            self.pay(decision.cost)
        if decision.chosen is None:
            raise Over(None, f"the {name} does not answer: {decision.why} Resume when it does.")
        self._count(name, int(decision.cost.get("samples", 0)))
        return decision.chosen.action.text.strip()

    def _count(self, name: str, calls: int) -> None:
        self.shared.calls = {**self.shared.calls, name: self.shared.calls.get(name, 0) + calls}

    def _keep(self, done: Done) -> None:
        """Put an iteration down; one that is taken again after the process died takes the place of its first record."""
        past = self.shared.history
        past = past[:-1] if past and past[-1].step == done.step else past
        self.shared.history = (*past, done)
        self.memory.write(
            Item(kind=Sort.EPISODE, id=f"team:{self.run}", text="", data=encode(self.shared), run=self.run)
        )

    def situation(self, node: str, goal: str, seen: Observation, feedback: str = "") -> Situation:
        """Return the situation that a member other than the operator is asked in."""
        step = f"{node}:{len(self.shared.history)}"
        return Situation(
            run=self.run, task=self.task, node=node, goal=goal, step=step, index=0, observation=seen,
            feedback=feedback,
        )  # fmt: skip

    async def perceive(self, seen: Observation) -> str:
        """Return the screen as the perceptor lists it; the same screen is looked at once."""
        if self.shared.seen != seen.text:
            said = await self.ask("perceptor", self.situation("look", "", seen))
            self.shared.screen = said[:_SCREEN]
            self.shared.seen = seen.text
        return self.shared.screen

    # --- the manager: a planner -------------------------------------------------------------------

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]:
        """Ask the manager for the next subgoal; finish, or stop by the rules."""
        del task
        if node is None:
            return [plan.added([_iteration(0)])]
        await self.perceive(observation)
        why = self.rules.stop(self.shared)
        if why:
            self.shared.why = why
            return [plan.failed(node.id, why)]
        stuck = self.shared.failed >= self.rules.stuck
        said = await self.ask("manager", self.situation(node.id, "", observation, "stuck" if stuck else ""))
        left = _plan_of(said)
        if left is None:
            self.shared.why = "the manager's answer cannot be read"
            return [plan.failed(node.id, self.shared.why)]
        self.shared.plan = tuple(left)
        if not left:
            self.shared.finished, self.shared.why = True, "finished"
            return [plan.finished(node.id, "finished")]
        act = Node(id=f"{node.id}.act", instruction=left[0], max_steps=1)
        return [
            plan.added([_iteration(int(node.id[1:]) + 1, node.id)]),
            plan.expanded(node.id, [act]),
        ]

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]:
        """Go on with the manager after an iteration that failed; stop where the rules said so."""
        del task, observation
        if not node.id.endswith(".act"):
            return ()
        past = self.shared.history
        if not past or not past[-1].step.startswith(
            f"{node.id}/"
        ):  # no action came of it, so nobody put it down
            self._keep(Done(action="", outcome="C", error=why, subgoal=node.instruction, step=node.id))
        return [plan.replaced(node.parent or plan.parent(node.id), ())]

    # --- the reflector: a verifier ------------------------------------------------------------------

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:
        """Ask the reflector how an action went, then the notetaker if it went well."""
        if transition is None:
            return self._verdict(situation, "", "")
        shared = self.shared
        self._count("operator", 1)
        shared.before = shared.screen
        await self.perceive(transition.observation)
        label, why = "A", ""
        if self.reflects:
            asked = self.situation(situation.step, situation.goal, transition.observation, action.text)
            label, why = _label_of(await self.ask("reflector", asked))
        if transition.reason and action.text.startswith("use "):
            label, why = (label if label != "A" else "C"), transition.reason
        elif label != "A" and transition.reason:
            why = transition.reason
        page = "\n".join(shared.before.splitlines()[:1])
        did = self.world.done if transition.valid or action.text.startswith("use ") else ()
        done = Done(
            action=action.text.strip()[:_LONG], outcome=label, error=why[:_LONG], subgoal=situation.goal,
            gestures=did, page=page, step=situation.step,
        )  # fmt: skip
        if label == "A":
            await self._note(situation, transition.observation)
        self._keep(done)
        return self._verdict(situation, label, why)

    async def _note(self, situation: Situation, seen: Observation) -> None:
        notes = (await self.ask("notetaker", self.situation(situation.step, situation.goal, seen)))[:2000]
        if notes and notes != self.shared.notes:
            self.shared.notes = notes
            note = Item(kind=Sort.NOTE, id=f"notes:{self.run}", text=notes, run=self.run, step=situation.step)
            self.memory.write(note)

    def _verdict(self, situation: Situation, label: str, why: str) -> Verdict:
        score = None if not label else float(label == "A")
        return Verdict(
            level=Level.STEP, targets=(situation.step,), judge=self.name, score=score, label=label or None,
            reason=why or None,
        )  # fmt: skip

    # --- experience -----------------------------------------------------------------------------------

    async def learn_tips(self, *, helped: bool) -> int:
        """Let the tips be written, if the manager said that the task is done; return how many are new."""
        self._remembered.settle(self.run, helped=helped)
        if not self.shared.finished:
            return 0
        said = await self.ask("tips", self.situation("tips", "", Observation(text="")))
        before = len(self.memory)
        for line in said.splitlines()[:8]:
            if line.strip():
                self.memory.write(Item(kind=Sort.TIP, text=line.strip()[:_LONG], run=self.run))
        return len(self.memory) - before

    async def propose(self) -> tuple[Skill | None, str]:
        """Let one shortcut be written, if the manager said that the task is done; ``None`` and why where there is none.

        One with a name that is known already is refused. It is not kept: try it first (``trial.verify_skill``, ``SkillLibrary.admit``).
        """
        if not self.shared.finished:
            return None, "the task was not finished"
        known = tuple(SkillLibrary(self.memory).skills())
        self.offered = known
        said = await self.ask("shortcuts", self.situation("shortcuts", "", Observation(text="")))
        if said.lower() in ("", "none"):
            return None, "none"
        skill, why = read_shortcut(said)
        if skill is not None and skill.name in {one.name for one in known}:
            return None, f"there is a shortcut {skill.name!r} already"
        return skill, why


def _iteration(number: int, after: str = "") -> Node:
    return Node(
        id=f"i{number}", instruction="go on", kind=NodeKind.COMPOSITE, needs=(after,) if after else ()
    )


def _said(text: str) -> Action:
    return Action(text=text)


def _plan_of(text: str) -> list[str] | None:
    """Return the subgoals of a manager's answer, ``None`` where it cannot be read."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    plan = data.get("plan") if isinstance(data, dict) else None
    if not isinstance(plan, list) or len(plan) > 40 or not all(isinstance(one, str) and one for one in plan):
        return None
    return [one[:_LONG] for one in plan]


def _label_of(text: str) -> tuple[str, str]:
    """Return the label and the reason; what cannot be read counts as a failed action."""
    label, _, why = text.partition(":")
    if label.strip() in ("A", "B", "C"):
        return label.strip(), why.strip()
    return "C", "the reflector's answer cannot be read"
