"""Data agents, L0 to L5 (S16): the same questions to the same tables at each level of autonomy, and the level read from the journal.

Source: a survey that defines the levels in words. Certain: the words (L0 a person does everything, L1 the agent answers without
seeing the data, L2 it acts inside a person's pipeline, L3 it makes the pipeline and a person supervises, L4 it sets itself goals and nobody
supervises, L5 it invents methods). Ours: everything that can be counted (``guard.levels``), the worlds and the policies. The tables
and questions are Spider's, as InterCode packaged them (two databases, 74 questions whose gold query means the same in DuckDB). The analyst is scripted: it knows
the gold query and slips at stated rates, so this proves what the journal shows and what supervision catches, not that a language model can do it.

    everystep reproduce data_agent

Measured: docs/recipes/data_agent.md.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from everystep.core.acts import Answer, Approval, ApprovalRequest, Permit, Risk
from everystep.core.protocols import Generation, Logger, Request, Sampler, Sampling, Situation, Transition
from everystep.core.records import Action, Json, Level, Message, Observation, Stop, Task, Verdict
from everystep.core.trace import Kind
from everystep.environments.code.intercode_sql import Question
from everystep.evaluate.study import REPORT, Study, Trial, study, table
from everystep.evaluate.table_questions import questions, right, source_of
from everystep.evolve.grower import Grower, LevelView
from everystep.guard.approval import answered
from everystep.guard.autonomy import Autonomy, Policy, Row
from everystep.guard.levels import SELF_STARTED, AutonomyLevel, derived_level, evidence_of, warnings
from everystep.models.scripted import Scripted
from everystep.run.context import Window
from everystep.run.decide import Decider, Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.nodes import Node, NodeKind
from everystep.run.parts import Parts, Patience
from everystep.run.plan import Plan
from everystep.run.plan_text import linear
from everystep.tools.toolbox import ToolBox
from everystep.tools.warehouse import Method, Warehouse, warehouse_tools

L = AutonomyLevel
LOOK, BUILD, KEEP, ANSWER = "look at the tables", "build the table", "keep the method", "answer"
_OUTPUT = "found"


# --- who works on them --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyst:
    """A scripted model that knows the gold query of ``question``. It names a column that is not there with probability ``slip`` and
    loses a row without noticing with probability ``silent``, anew at each attempt. Its ``steps`` are the plan that it makes.
    """

    question: Question
    slip: float = 0.0
    silent: float = 0.0
    steps: tuple[str, ...] = (LOOK, BUILD, ANSWER)
    policy: str = "analyst"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests; what to do stands in the goal of the step."""
        return [Generation(text=self._text(request), stop=Stop.STOP) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations: there are none."""

    def _text(self, request: Request) -> str:
        lines = request.messages[-1].content.splitlines()
        goal = next((line.removeprefix("Now: ") for line in lines if line.startswith("Now: ")), "")
        if request.messages[0].role == "system":  # it is asked for a plan
            return json.dumps(list(self.steps))
        sql = self.sql(Random(request.seed))
        calls: dict[str, Json] = {
            LOOK: {"tool": "tables", "arguments": {}},
            BUILD: {"tool": "build_table", "arguments": {"name": _OUTPUT, "sql": sql}},
            KEEP: {"tool": "keep_method", "arguments": self._method()},
            ANSWER: {"answer": _OUTPUT},
        }
        return json.dumps(calls.get(goal, {"answer": sql}))

    def sql(self, random: Random) -> str:
        """Return a draft of the query."""
        if random.random() < self.slip:
            return f"SELECT no_such_column FROM ({self.question.gold})"  # noqa: S608
        if random.random() < self.silent:
            return f"SELECT * FROM ({self.question.gold}) OFFSET 1"  # noqa: S608
        return self.question.gold

    def _method(self) -> Json:
        name = min(self.question.tables)
        sql = f"SELECT * FROM {name} LIMIT most"  # noqa: S608
        same = f"SELECT * FROM {name} LIMIT 2"  # noqa: S608
        return {"name": "peek", "parameters": ["most"], "sql": sql, "example": [2], "same_as": same}


@dataclass(slots=True, kw_only=True)
class Person:
    """Somebody who knows the answer: writes every act (``does_all``), or stops a table that is wrong."""

    warehouse: Warehouse
    question: Question
    does_all: bool = False
    asked: set[str] = field(default_factory=set)

    async def ask(self, request: ApprovalRequest) -> Approval:
        """Answer at once."""
        node, _, number = request.step.rpartition("/")
        index = number.partition(".")[0]
        self.asked.add(f"{node}/{index}")
        if self.does_all:
            own = Action(text=self._own(int(index)))
            return answered(request, Answer.EDITED, by="person", action=own)
        sql = request.action.calls[0].arguments.get("sql") if request.action.calls else None
        if sql is None or right(self.warehouse, self.question, sql):
            return answered(request, Answer.GRANTED, by="person")
        return answered(request, Answer.DENIED, by="person", reason="rows are missing")

    def _own(self, index: int) -> str:
        order = (LOOK, BUILD, ANSWER)
        goal = Request(session="", messages=(_said(order[min(index, 2)]),))
        return Analyst(question=self.question).sample([goal], Sampling())[0].text


def _said(goal: str) -> Message:
    return Message(role="user", content=f"Now: {goal}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Says that a query cannot be run, before it is: the database plans it (``StepVerifier``)."""

    warehouse: Warehouse
    name: str = "explain"
    threshold: float = 0.5

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:  # noqa: ARG002
        """Return no with what the database says, or yes."""
        queries = [
            str(call.arguments["sql"]) for call in action.calls if call.name in ("query", "build_table")
        ]
        why = next((why for sql in queries if (why := self.warehouse.problem(sql)) is not None), None)
        score = float(why is None)
        return Verdict(level=Level.STEP, targets=(situation.step,), judge=self.name, score=score, reason=why)


# --- the levels ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How an agent is set up: the level that this is meant to be, who plans, and what a person is asked about.

    ``plan`` is ``none``, ``given`` or ``made``. ``supervised`` maps the names of effects to the permit that they need.
    """

    level: AutonomyLevel
    plan: str = "none"
    steps: tuple[str, ...] = (LOOK, BUILD, ANSWER)
    supervised: Mapping[str, Permit] = field(default_factory=dict)
    does_all: bool = False
    own_goal: bool = False
    invents: bool = False


_ASKED = dict.fromkeys(("build_table", "answer"), Permit.ASK)
SETUPS: Mapping[str, Setup] = {
    "L0": Setup(level=L.L0, does_all=True, supervised=dict.fromkeys(("tables", *_ASKED), Permit.ASK)),
    "L1": Setup(level=L.L1),
    "L2": Setup(level=L.L2, plan="given"),
    "L3": Setup(level=L.L3, plan="made", supervised={"build_table": Permit.VETO}),
    "L4": Setup(level=L.L4, plan="made", own_goal=True),
    "L5": Setup(level=L.L5, plan="made", own_goal=True, invents=True, steps=(LOOK, KEEP, BUILD, ANSWER)),
    "L2, all granted": Setup(level=L.L2, plan="made", supervised=_ASKED),
    "L2, padded": Setup(level=L.L2, plan="made", supervised=_ASKED, steps=(*([LOOK] * 4), BUILD, ANSWER)),
}


def box_of(warehouse: Warehouse, question: Question, journal: Journal, *, invents: bool) -> ToolBox:
    """Return the tools of an agent, with the check of its answer; a method that it keeps is noted as its invention."""

    def noted(method: Method) -> None:
        journal.append(Kind.NOTE, {"kind": "method", "name": method.name, "origin": "invented"})

    tools = warehouse_tools(warehouse, kept=noted if invents else None)
    return ToolBox(tools, check=lambda _, answer: right(warehouse, question, answer), max_steps=20)


def parts_of(
    setup: Setup, sampler: Sampler, warehouse: Warehouse, person: Person, journal: Journal, seed: int
) -> Parts:
    """Return the parts of an agent of a level, for any sampler."""
    way = Way(sampler=sampler, context=Window(steps=4))
    planner = Grower(
        ways={"plan": (Way(sampler=sampler, context=LevelView(prompt="Plan how to answer the question.")),)},
        decider=Decider(seed=seed),
    )
    gate = Autonomy(
        reliability=lambda _situation, _action, effect: _TRUST[setup.supervised.get(effect.name, Permit.ACT)],
        approver=person,
        policy=Policy(table=dict.fromkeys(Risk, _ROW), clean=0),
        asked=lambda request: journal.append(Kind.ASKED, request),
    )
    return Parts(
        operator=Role(name="analyst", ways=(way,)),
        feasible=(Explained(warehouse=warehouse),),
        gate=gate if setup.supervised else None,
        planner=planner if setup.plan == "made" else None,
        patience=Patience(infeasible=2, refused=2),
    )


_TRUST: Mapping[Permit, float] = {Permit.ACT: 1.0, Permit.VETO: 0.7, Permit.ASK: 0.0}
_ROW: Row = ((1.0, Permit.ACT), (0.5, Permit.VETO), (0.0, Permit.ASK))


async def own_goal(sampler: Sampler, open_questions: Sequence[Question], seed: int) -> Question:
    """Return the question that an agent chooses to work on, of those that nobody has asked it."""
    texts = {one.text: one for one in open_questions}
    task = Task(id="goal", instruction="Choose what should be found out next.", environment="warehouse")
    situation = Situation(
        run="goal",
        task=task,
        node="goal",
        goal=task.instruction,
        step="goal/0",
        index=0,
        observation=Observation(text="\n".join(texts), admissible=tuple(texts)),
    )
    role = Role(name="initiator", ways=(Way(sampler=sampler),), constrain=True)
    decision = await Decider(seed=seed).decide(role, situation)
    chosen = "" if decision.chosen is None else decision.chosen.action.text
    return texts.get(chosen, open_questions[0])


def plan_of(setup: Setup, question: Question) -> Plan | None:
    """Return the plan that the agent is given: the pipeline, only its goal, or none."""
    if setup.plan == "given":
        return Plan([replace(node, max_steps=1) for node in linear(setup.steps)])
    if setup.plan == "made":
        return Plan([Node(id="goal", instruction=question.text, kind=NodeKind.COMPOSITE)])
    return None


# --- the study ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Questions to tables, by agents of six levels."""

    slip: float = 0.3
    """Chance that a draft cannot be run."""
    silent: float = 0.1
    """Chance that a draft runs and its rows are wrong."""
    seeds: int = 74
    """Paired seeds, one question each."""
    seed: int = 0
    """The first seed."""


def work(setup: Setup, config: Config, folder: Path, path: Path, seed: int) -> dict[str, float]:
    """Let one agent answer one question; return what its journal shows."""
    every = questions(folder)
    question = every[seed % len(every)]
    if setup.own_goal:
        open_questions = (*every[seed % len(every) :], *every[: seed % len(every)])
        first = Scripted(
            lambda request: (request.allowed or ("",))[0]
        )  # so that all arms get the same question
        question = asyncio.run(own_goal(first, open_questions, seed))
    path.unlink(missing_ok=True)
    analyst = Analyst(question=question, slip=config.slip, silent=config.silent, steps=setup.steps)
    task = Task(
        id=f"question-{question.number}",
        instruction=question.text,
        environment="warehouse",
        tags={"origin": SELF_STARTED if setup.own_goal else "person"},
    )
    warehouse = Warehouse(source_of(question.database, folder))
    person = Person(warehouse=warehouse, question=question, does_all=setup.does_all)
    with closing(warehouse), Journal.create(path, {"declared": setup.level.name}) as journal:
        runner = Runner(
            run=task.id,
            task=task,
            environment=box_of(warehouse, question, journal, invents=setup.invents),
            parts=parts_of(setup, analyst, warehouse, person, journal, seed),
            journal=journal,
            plan=plan_of(setup, question),
            seed=seed,
        )
        outcome = asyncio.run(runner.run())
        evidence = evidence_of(journal.trace())
    level = derived_level(evidence)
    return {
        "level": float(level),
        "as meant": float(level is setup.level),
        "right": float(outcome.success is True),
        "asked": float(len(person.asked)),
        "steps": float(outcome.steps),
        "stumbled": float(evidence.stumbled),
        "warned": float(bool(warnings(setup.level, evidence))),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the share of runs whose derived level is the one that was meant, by arm."""

    def arm(name: str, setup: Setup) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            path = folder.path / "journals" / f"{name}-{seed}.sqlite"
            return work(setup, config, folder.path / "tables", path, seed)

        return trial

    result = study(
        {name: arm(name, setup) for name, setup in SETUPS.items()},
        seeds=range(config.seed, config.seed + config.seeds),
        baseline="L3",
        folder=folder.path,
        loggers=loggers,
    )
    told = [table(result), "", *confusion(result), ""]
    (folder.path / REPORT).write_text("\n".join(told), encoding="utf-8")
    return {f"as meant, {one.name}": one.means["as meant"].value for one in result.arms}


def confusion(result: Study) -> list[str]:
    """Return a table: how often each arm was derived as each level."""
    lines = ["| meant | " + " | ".join(level.name for level in L) + " |", "|---|" + "---|" * len(L)]
    for one in result.arms:
        counts = Counter(map(int, one.values["level"]))
        lines.append(f"| {one.name} | " + " | ".join(str(counts[level]) for level in L) + " |")
    return lines
