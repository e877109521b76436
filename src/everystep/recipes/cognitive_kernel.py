"""Cognitive Kernel (S30): one policy model as autopilot: it answers, asks, or writes code that calls the web, files, memory and itself.

Paper: Cognitive Kernel, An Open-source Agent System towards Generalist Autopilots (arXiv 2409.10277). Claim: comparable to closed systems on real-time
information, private files and long-term memory.

Certain (released code): three branches a turn (a mark for a direct answer, a mark for a question to the user, else code), the functions
(the web, memory, the model itself), what is printed goes back to the model, at most three trials; memory of documents, propositions and concepts, mixed by
the maximum. Changed: the released system runs the code in its own process; here it runs in the sandbox, and each function is a tool that is called outside of it
(``tools/calling.py``). Left out: the trained 8B and 70B policies, clicking in a browser (a page is fetched as text), the model's filter of what
memory finds, vectors (the index is full text). Ours: the study's dialogue and the scripted policy, which knows general things, finds its way
with stated errors, and reads what memory found without any.

    everystep reproduce cognitive_kernel

The three use cases run end to end in ``tests/recipes/test_cognitive_kernel.py``. A scripted policy proves the control logic, and the dialogue is made so that
some questions need other words than the facts: neither says what a language model gains. Measured: docs/recipes/cognitive_kernel.md.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean

from everystep.core.acts import Effect, Reversal
from everystep.core.protocols import Generation, Logger, Request, Sampler, Sampling, Situation
from everystep.core.records import Action, Message, Stop, Task, ToolCall
from everystep.environments.reasoning.dialogue import KNOWN, RELATIONS, Dialogue, asked_of, draw, read_value
from everystep.evaluate.study import REPORT, Trial, study
from everystep.evolve.layers import Layer, Layers, LayersRecall
from everystep.evolve.memory import Memory
from everystep.run.decide import Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import scratch
from everystep.run.loop import Runner
from everystep.run.nodes import Node
from everystep.run.parts import Parts, Patience
from everystep.run.plan import Plan
from everystep.tools.calling import calling_tool
from everystep.tools.function import tool_of
from everystep.tools.sandbox import Limits, Sandbox
from everystep.tools.tool import Tool, reading
from everystep.tools.toolbox import ToolBox

ANSWER, ASK = "ANSWER:", "ASK:"
_CODE = re.compile(r"```python[ \t]*\n(.*?)\n```", re.DOTALL)
_MEANT = re.compile(r"^\| I mean ([A-Z][a-z]+)\.$", re.MULTILINE)
_NOTED = re.compile(r"^(?:\| )?\[([0-9]+)\] (.*)$", re.MULTILINE)
_FORM = f"expected a line {ANSWER} TEXT, a line {ASK} QUESTION, or one fenced block of Python"
_TRIALS = 4  # turns for one question: ask, act, answer, and one to spare
PERSONA = (
    f"You help one user. If you know the answer, write one line: {ANSWER} the answer. If you need to know something from the user, write one line: "
    f"{ASK} the question. Else write one fenced block of Python that finds it out and prints it; then you are shown what it printed."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Memory of three granularities, and when to answer, ask or act."""

    turns: int = 200
    """Turns of the dialogue."""
    facts: int = 50
    """Facts in it."""
    updated: float = 0.2
    """Share of facts that change later."""
    questions: int = 30
    """Questions of one trial of the memory study."""
    k: int = 3
    """Documents that memory finds for a question."""
    missed: float = 0.1
    """Chance that a fact is missed when propositions and concepts are written down."""
    astray: float = 0.1
    """Chance of a wrong branch in the arm that errs."""
    acted: int = 12
    """Questions of one trial of the branch study; its code runs in the sandbox."""
    memory_seeds: int = 20
    """Paired seeds of the memory study."""
    branch_seeds: int = 10
    """Paired seeds of the branch study."""
    seed: int = 0
    """The first seed."""


# --- the agent: any sampler and any tools ------------------------------------------------------------------


def read_turn(text: str) -> Action:
    """Return what a turn does: an answer, a question to the user, or code, in this order.

    >>> [read_turn(one).calls[0].name for one in ("ANSWER: 4", "ASK: Which one?", "Look.\\n```python\\nprint(1)\\n```")]
    ['answer', 'ask_user', 'python']
    """
    for mark, name, argument in ((ANSWER, "answer", "answer"), (ASK, "ask_user", "question")):
        told = [line.partition(mark)[2].strip() for line in text.splitlines() if line.startswith(mark)]
        if told:
            wrong = (
                None if len(told) == 1 and told[0] else f"{len(told)} lines {mark}; expected one with a text"
            )
            calls = () if wrong else (ToolCall(name=name, arguments={argument: told[0]}),)
            return Action(text=text, calls=calls, valid=wrong is None, reason=wrong)
    blocks = _CODE.findall(text)
    if len(blocks) != 1:
        return Action(text=text, valid=False, reason=_FORM)
    return Action(text=text, calls=(ToolCall(name="python", arguments={"code": blocks[0]}),))


def agent(
    ways: tuple[Way, ...],
    *,
    sandbox: Sandbox,
    functions: Sequence[Tool],
    user: Callable[[str], Awaitable[str]],
) -> tuple[Parts, ToolBox]:
    """Return the parts and the tools of a kernel: its code may call ``functions`` from within ``sandbox``, ``user`` answers its questions."""

    async def ask_user(question: str) -> str:
        """Ask the user something that only the user knows."""
        return await user(question)

    asking = tool_of(ask_user, effect=reading("ask_user"), timeout_s=3600.0)
    box = ToolBox((calling_tool(sandbox, functions), asking), max_steps=1_000_000, told=False)
    role = Role(name="kernel", ways=ways, parse=lambda text: box.checked(read_turn(text)))
    return Parts(operator=role, finish=answered, patience=Patience(flagged=2)), box


def answered(action: Action) -> str | None:
    """Return the answer that an action gives, ``None`` where it gives none."""
    call = action.calls[0] if action.valid and action.calls else None
    return str(call.arguments["answer"]) if call is not None and call.name == "answer" else None


def memory_tools(layers: Layers, *, k: int = 3) -> tuple[Tool, Tool]:
    """Return ``recall`` and ``remember`` for a memory of several granularities."""

    async def recall(query: str) -> str:
        """Return what was said before that goes best with a text."""
        return "\n".join(layers.told(query, k)) or "nothing was found"

    async def remember(text: str, propositions: list[str], concepts: list[str]) -> str:
        """Keep a text, the single facts in it, and what they are about."""
        return f"kept as {layers.write(text, propositions=propositions, concepts=concepts)}"

    kept = Effect(name="remember", reversal=Reversal.COMPENSATABLE, idempotent=True)
    return tool_of(recall, effect=reading("recall")), tool_of(remember, effect=kept)


def model_tool(sampler: Sampler) -> Tool:
    """Return ``ask_model``: the model called by its own code."""

    async def ask_model(question: str) -> str:
        """Ask the language model a question that can be answered on its own."""
        request = Request(session=f"itself {question}", messages=(Message(role="user", content=question),))
        answer = await asyncio.to_thread(sampler.sample, [request], Sampling(max_tokens=512))
        sampler.release([request.session])
        return answer[0].text

    return tool_of(ask_model, effect=reading("ask_model"))


# --- the study ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The view of the scripted policy: the question, and all that was noted and seen for it so far, as a JSON list."""

    window: int = _TRIALS

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the prompt of one turn."""
        seen = [*situation.notes, *(step.observation.text for step in situation.recent)]
        shown = [situation.goal, "\n".join((*seen, situation.observation.text))]
        return (Message(role="user", content=json.dumps(shown)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clerk:
    """The scripted policy. ``first`` is what it does first, always: answer, ask, act or read its notes; "" what fits. ``astray`` is the chance of another.

    It knows ``KNOWN``, guesses where it knows nothing, and takes the newest of the values that it reads.
    """

    first: str = ""
    astray: float = 0.0
    policy: str = "clerk"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from what they show."""
        return [Generation(text=self._turn(request), stop=Stop.STOP) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _turn(self, request: Request) -> str:
        question, seen = json.loads(request.messages[0].content)
        rng = Random(request.seed)
        who, relation = asked_of(question) or ("", "")
        meant = _MEANT.search(seen)
        who = meant[1] if meant else who
        branch = self.first or ("answer" if not relation else "act" if who else "ask")
        if not seen and rng.random() < self.astray:
            branch = rng.choice([one for one in ("answer", "ask", "act") if one != branch])
        if not seen and branch == "ask":
            return f"{ASK} Whom do you mean? {question}"
        if branch in ("ask", "act") and "Tool 'python' gave" not in seen:
            query = question if who in question else f"{question} {who}"
            return f"```python\nprint(recall({query!r}))\n```"
        return f"{ANSWER} {_best(question, who, relation, seen, rng)}"


def _best(question: str, who: str, relation: str, seen: str, rng: Random) -> str:
    if not relation:
        return KNOWN[question]
    values = [read_value(line, who, relation) for _, line in sorted(_lines(seen))]
    found = [one for one in values if one is not None]
    return found[-1] if found else rng.choice(RELATIONS[relation].values)


def _lines(seen: str) -> list[tuple[int, str]]:
    return [(int(time), text) for time, text in _NOTED.findall(seen)]


def quiz(dialogue: Dialogue, parts: Parts, box: ToolBox, seed: int) -> tuple[list[bool], int]:
    """Ask all questions of a dialogue in one run, each a node of its plan; return which answers are right, and the model's turns."""
    asked = [
        Node(id=f"q{i}", instruction=one.text, max_steps=_TRIALS, optional=True)
        for i, one in enumerate(dialogue.questions)
    ]
    with scratch() as journal:
        runner = Runner(
            run="cognitive_kernel",
            task=Task(id=f"dialogue-{seed}", instruction="Answer the user.", environment="tools"),
            environment=box,
            parts=parts,
            journal=journal,
            seed=seed,
            plan=(plan := Plan(asked)),
        )
        outcome = asyncio.run(runner.run())
    right = [plan.result(f"q{i}") == one.answer for i, one in enumerate(dialogue.questions)]
    return right, outcome.steps


def remembered(dialogue: Dialogue, layers: Layers, *, missed: float, seed: int) -> None:
    """Write a dialogue down, turn by turn; each fact's proposition and concept are missed with a chance."""
    rng = Random(f"missed {seed}")
    for number, turn in enumerate(dialogue.turns):
        kept = [fact for fact in turn.facts if rng.random() >= missed]
        layers.write(
            turn.text,
            propositions=[fact.sentence for fact in kept],
            concepts=[f"{fact.who}: {RELATIONS[fact.relation].about}" for fact in kept],
            time=float(number),
        )


def _memory(config: Config) -> dict[str, Trial]:
    def arm(*which: Layer) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            dialogue = draw(
                turns=config.turns,
                facts=config.facts,
                kinds=("same", "other"),
                questions=config.questions,
                updated=config.updated,
                seed=seed,
            )
            with Memory.open() as memory:
                layers = Layers(memory, layers=which)
                remembered(dialogue, layers, missed=config.missed, seed=seed)
                recall = LayersRecall(layers=layers, k=config.k) if which else None
                role = Role(
                    name="kernel", ways=(Way(sampler=Clerk(first="read"), context=Desk()),), parse=read_turn
                )
                box = ToolBox((), told=False)
                right, _ = quiz(dialogue, Parts(operator=role, finish=answered, recall=recall), box, seed)
                found = [
                    any(one.time == asked.turn for one in layers.search(asked.text, config.k))
                    for asked in dialogue.questions
                ]
            rows = list(zip(dialogue.questions, right, found, strict=True))
            same = [row for row in rows if row[0].kind == "same"]
            other = [row for row in rows if row[0].kind == "other"]
            return {
                "accuracy": mean(row[1] for row in rows),
                "recall_same_words": mean(row[2] for row in same),
                "recall_other_words": mean(row[2] for row in other),
            }

        return trial

    return {
        "no memory": arm(),
        "documents": arm(Layer.DOCUMENT),
        "documents, propositions": arm(Layer.DOCUMENT, Layer.PROPOSITION),
        "all three by maximum": arm(*Layer),
    }


def _branches(config: Config, scratch_folder: Path) -> dict[str, Trial]:
    def arm(clerk: Clerk) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            dialogue = draw(
                turns=config.turns,
                facts=config.facts,
                kinds=("known", "same", "unclear", "other"),
                questions=config.acted,
                updated=config.updated,
                seed=1000 + seed,
            )
            asked: list[str] = []

            async def user(question: str) -> str:
                asked.append(question)
                return next(
                    (f"I mean {one.who}." for one in dialogue.questions if one.text in question and one.who),
                    "Nobody.",
                )

            with Memory.open() as memory:
                layers = Layers(memory)
                remembered(dialogue, layers, missed=config.missed, seed=seed)
                parts, box = agent(
                    (Way(sampler=clerk, context=Desk()),),
                    sandbox=Sandbox(scratch_folder, limits=Limits(time_s=20.0)),
                    functions=memory_tools(layers, k=config.k),
                    user=user,
                )
                right, turns = quiz(dialogue, parts, box, seed)
            count = len(dialogue.questions)
            return {
                "accuracy": mean(right),
                "model_turns": turns / count,
                "code_runs": (turns - count - len(asked)) / count,
                "asked_the_user": len(asked) / count,
            }

        return trial

    return {
        "answer at once": arm(Clerk(first="answer")),
        "always act": arm(Clerk(first="act")),
        "always ask, then act": arm(Clerk(first="ask")),
        "three branches": arm(Clerk()),
        f"three branches, {config.astray:.0%} astray": arm(Clerk(astray=config.astray)),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run both studies; return accuracy by arm."""
    found: dict[str, float] = {}
    reports = []
    for title, arms, baseline, count in (
        ("Memory", _memory(config), "documents", config.memory_seeds),
        ("Branches", _branches(config, folder.path / "scratch"), "three branches", config.branch_seeds),
    ):
        at = folder.path / title.lower()
        seeds = range(config.seed, config.seed + count)
        result = study(arms, seeds=seeds, baseline=baseline, folder=at, loggers=loggers)
        reports.append(f"## {title}\n\n{(at / REPORT).read_text(encoding='utf-8')}")
        found |= {f"accuracy {one.name}": one.means["accuracy"].value for one in result.arms}
    (folder.path / REPORT).write_text("\n".join(reports), encoding="utf-8")
    return found
