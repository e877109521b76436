"""TriKB: questions of several hops over three stores (text, table, image tags); each hop's fact stands in exactly one of them.

A turn to retrieve (kind ``ret``) asks a sub-question of named stores, or of none, which leads to the final answer. A turn to answer (kind
``ans``) reads the passages and answers the sub-question, or the question at the end. The two wrong stores may hold the same fact with
another value, so a wrong choice of store is not seen in the passages. Some questions state their fact themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Observation, Task, ToolCall
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_range,
    make_task,
    refused,
    split_seed,
)
from everystep.environments.reasoning.trikb_facts import (
    ENTITIES,
    NONE,
    RELATIONS,
    STORES,
    Problem,
    problem_of,
    question_of,
)

KINDS = ("ret", "ans")
"""The kinds of a step, as ``Observation.info["kind"]`` has them; the final answer is an ``ans`` with ``final``."""

_RET = re.compile(
    r"ask\s*:\s*(?P<question>[a-z]+(?:\s+[a-z]+)*)\s+from\s*:\s*(?P<stores>[a-z]+(?:\s*,\s*[a-z]+)*)"
)
_ANS = re.compile(r"answer\s*:\s*(?P<answer>[a-z]+(?:\s+[a-z]+)*)")
_TEXT_LIMIT = 200
_QUESTION_WORDS = 6
_ANSWER_WORDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A sub-question, the stores that it was sent to, and what was answered, ``None`` until then."""

    question: str
    stores: tuple[str, ...]
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The rounds so far, and whether the agent said that it needs no more."""

    problem: Problem
    rounds: tuple[Round, ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TriKB:
    """Options: ``people`` and ``cities`` that there are; questions of ``fewest`` (0: the fact is given) to ``hops`` hops; ``rounds`` of
    retrieval; ``top`` passages a store; ``stale``, the chance that a wrong store holds a fact with another value; facts about an entity in
    one row or picture (``width``). ``static`` shows what all stores have for the whole question and asks for the answer at once.
    """

    people: int = 8
    cities: int = 6
    fewest: int = 0
    hops: int = 2
    rounds: int = 3
    top: int = 2
    stale: float = 0.5
    width: int = 2
    static: bool = False

    name: ClassVar[str] = "trikb"
    summary: ClassVar[str] = "multi-hop questions over text, table and image-tag stores; one holds the truth"

    def __post_init__(self) -> None:
        check_range(self.name, "people", self.people, 5, len(ENTITIES["person"]))
        check_range(self.name, "cities", self.cities, 5, len(ENTITIES["city"]))
        check_range(self.name, "hops", self.hops, 1, 4)
        check_range(self.name, "fewest", self.fewest, 0, self.hops)
        check_range(self.name, "rounds", self.rounds, 1, 8)
        check_range(self.name, "top", self.top, 1, 5)
        check_range(self.name, "stale", self.stale, 0, 1)
        check_range(self.name, "width", self.width, 1, 6)
        if self.rounds < self.hops:
            raise ConfigError(
                f"trikb: {self.hops} hops need as many rounds, and rounds is {self.rounds}. Give more rounds."
            )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode: all rounds, the final answer, and one turn that could not be executed; one answer if static."""
        return 1 if self.static else 2 * self.rounds + 2

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:  # noqa: ARG002
        """Return ``None``: tasks are made from their index, without end."""
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``; a question (entity and relations) is only ever in one split.

        ``reference`` is the answer, ``reference_calls`` the retrievals of the reference chain.
        """
        seed = split_seed(split, index, self._question)
        problem = self._problem(seed)
        retrievals = () if problem.given else problem.chain
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=_instruction(problem),
            reference=problem.values[-1],
            reference_calls=tuple(
                ToolCall(name=RELATIONS[name].store, arguments={"question": f"{entity} {name}"})
                for entity, name in retrievals
            ),
            tags={"hops": str(len(retrievals))},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``: nothing was asked."""
        return State(self._problem(task.seed))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the question with what was found and ask for the next turn or the final answer, or show passages with the sub-question."""
        kind, final = self._kind(state), False
        parts = [note] if note else []
        if kind == "ans" and _waits(state):
            parts += [self._shown(state), f"{state.rounds[-1].question} ?"]
        else:
            final = kind == "ans"
            if state.rounds or state.closed:
                parts.append(_instruction(state.problem))
            parts += [self._shown(state)] if self.static else []
            parts += [f"{one.question} {one.answer}" for one in state.rounds]
            parts.append("final ?" if final else "next ?")
        return Observation(text=" . ".join(parts), anchor=_anchor(state), info={"kind": kind, "final": final})

    def parse(self, text: str) -> Action:
        """Read ``ask: WORDS from: STORE`` (several stores with commas, ``none`` twice for no retrieval) or ``answer: WORDS``."""
        said = _read(text)
        if isinstance(said, Round):
            calls = tuple(
                ToolCall(name=store, arguments={"question": said.question}) for store in said.stores
            )
            return Action(text=text, calls=calls)
        if said.reason:
            return Action(text=text, valid=False, reason=said.reason)
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Retrieve, note an answer, or end with the final one: reward 1 if all words of the answer are in it, success if it is just that."""
        said = (
            _read(action.text)
            if action.valid
            else _Answer(reason=action.reason or "not an action of this world")
        )
        kind = self._kind(state)
        scores = self._scores(state, said)
        if isinstance(said, _Answer) and said.reason:
            return refused(state, said.reason, scores)
        if isinstance(said, Round) != (kind == "ret"):
            form = "ask: WORDS from: STORE" if kind == "ret" else "answer: WORDS"
            return refused(state, f"expected here: {form}", scores)
        if isinstance(said, Round):
            after = (
                replace(state, rounds=(*state.rounds, said)) if said.stores else replace(state, closed=True)
            )
            return Outcome(state=after, scores=scores)
        if _waits(state):
            noted = replace(state.rounds[-1], answer=said.text)
            return Outcome(state=replace(state, rounds=(*state.rounds[:-1], noted)), scores=scores)
        return Outcome(
            state=replace(state, closed=True), note="over", reward=scores["recall"], over=True,
            success=scores["exact"] == 1.0, scores=scores,
        )  # fmt: skip

    def oracle(self, state: State) -> str:
        """Return the next turn of the reference: the first fact that was not found yet, from its store; what the passages truly say."""
        problem = state.problem
        if self._kind(state) == "ret":
            found = _found(state)
            if found == len(problem.chain):
                return write_ret(NONE, NONE)
            entity, name = problem.chain[found]
            return write_ret(f"{entity} {name}", RELATIONS[name].store)
        if _waits(state):
            return f"answer: {problem.base.supported(self._passages(state), state.rounds[-1].question)}"
        return f"answer: {problem.values[-1]}"

    def _kind(self, state: State) -> str:
        done = self.static or state.closed or len(state.rounds) == self.rounds
        return "ans" if done or _waits(state) else "ret"

    def _scores(self, state: State, said: Round | _Answer) -> Mapping[str, float]:
        """Return what can be measured of a turn of this kind; a turn that cannot be executed is wrong in all of it."""
        right = _read(self.oracle(state))
        if isinstance(right, Round):
            this = said if isinstance(said, Round) else Round(question="", stores=("?",))
            return {
                "asked": float(this.question == right.question),
                "routed": float(this.stores == right.stores),
                "retrievals": float(len(this.stores)) if isinstance(said, Round) else 0.0,
            }
        words = said.text.split() if isinstance(said, _Answer) else []
        if _waits(state):
            return {"answered": float(words == right.text.split())}
        wanted = right.text.split()
        scores = {"recall": float(set(wanted) <= set(words)), "exact": float(words == wanted)}
        return {**scores, "retrievals": float(len(STORES))} if self.static else scores

    def _passages(self, state: State) -> tuple[tuple[str, int], ...]:
        if self.static:
            return state.problem.base.passages(STORES, state.problem.question, self.top)
        asked = state.rounds[-1]
        return state.problem.base.passages(asked.stores, asked.question, self.top)

    def _shown(self, state: State) -> str:
        found: dict[str, list[str]] = {
            name: [] for name in (STORES if self.static else state.rounds[-1].stores)
        }
        for name, number in self._passages(state):
            found[name].append(state.problem.base.stores[name].entries[number])
        return " . ".join(f"{name} : {' ; '.join(entries) or 'nothing'}" for name, entries in found.items())

    def _question(self, seed: int) -> str:
        _, entity, names = question_of(self.fewest, self.hops, seed)
        return " ".join((entity, *names))

    def _problem(self, seed: int) -> Problem:
        return problem_of(
            self.people, self.cities, self.fewest, self.hops, self.top, self.stale, self.width, seed
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What an answer says, or why a text is no turn of this world."""

    text: str = ""
    reason: str = ""


def write_ret(question: str, *stores: str) -> str:
    """Return the text of a turn to retrieve.

    >>> write_ret("ada home", "text")
    'ask: ada home from: text'
    """
    return f"ask: {question} from: {', '.join(stores)}"


def _read(text: str) -> Round | _Answer:
    """Read a turn. A ``Round`` without stores asks for no retrieval."""
    stripped = text.strip() if len(text) <= _TEXT_LIMIT else ""
    if match := _ANS.fullmatch(stripped):
        words = match["answer"].split()
        if len(words) > _ANSWER_WORDS:
            return _Answer(reason=f"an answer has up to {_ANSWER_WORDS} words")
        return _Answer(text=" ".join(words))
    if not (match := _RET.fullmatch(stripped)):
        return _Answer(reason="expected: ask: WORDS from: STORE, or answer: WORDS")
    question = " ".join(match["question"].split())
    stores = tuple(name.strip() for name in match["stores"].split(","))
    unknown = [name for name in stores if name not in (*STORES, NONE)]
    if unknown:
        return _Answer(reason=f"there is no store {unknown[0]}")
    if len(set(stores)) != len(stores) or (NONE in stores and len(stores) > 1):
        return _Answer(reason="name different stores, or only none")
    if (question == NONE) != (stores == (NONE,)):
        return _Answer(reason="ask: none goes with from: none")
    if len(question.split()) > _QUESTION_WORDS:
        return _Answer(reason=f"a question has up to {_QUESTION_WORDS} words")
    return Round(question=question, stores=() if stores == (NONE,) else stores)


def _instruction(problem: Problem) -> str:
    (entity, name), *_ = problem.chain
    known = f"known : {entity} has {name} {problem.values[0]} . " if problem.given else ""
    return f"{known}question : {problem.question} ?"


def _waits(state: State) -> bool:
    """Whether the last sub-question is not answered yet."""
    return bool(state.rounds) and state.rounds[-1].answer is None


def _found(state: State) -> int:
    """Return how many facts of the chain, from its beginning, were asked and answered rightly."""
    problem = state.problem
    if problem.given:
        return len(problem.chain)
    known = {(one.question, one.answer) for one in state.rounds}
    right = zip(problem.chain, problem.values, strict=True)
    return next(
        (k for k, ((entity, name), value) in enumerate(right) if (f"{entity} {name}", value) not in known),
        len(problem.chain),
    )


def _anchor(state: State) -> str:
    """Return what was found, in any order, how many rounds it took, and what waits for an answer."""
    known = sorted({f"{one.question} = {one.answer}" for one in state.rounds if one.answer is not None})
    waiting = [one for one in state.rounds if one.answer is None]
    asked = [f"{one.question} ? {' '.join(one.stores)}" for one in waiting]
    return " . ".join([f"{len(state.rounds)}{' closed' if state.closed else ''}", *known, *asked])
