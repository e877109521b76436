"""InterCode's published SQL runs made live again, and policies that go on from any of their steps.

The runs are executed anew in ``InterCodeSQL``, so that every step has the anchor of the live database and can be branched from.
Nobody can ask the published models for another continuation; two stated policies stand for them:

- ``Imitator`` acts as its agent usually does in such a situation: the *kind* of the next act is drawn from the frequencies of that
  agent on tasks with other gold queries, and its text from the runs of this task (for a right query: the gold query).
- ``Splicer`` draws the next act from those that any published run of this very task took at the same anchor.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from random import Random

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Generation, Request, Sampling, Turn
from everystep.core.records import Stop, Task, Trajectory
from everystep.environments.code.intercode_sql import SUBMIT, InterCodeSQL
from everystep.environments.published import read_text
from everystep.models.scripted import Scripted
from everystep.run.hosts import Hosts, LocalHosts
from everystep.run.rollout import Job, Limits, rollout

ACTS = 10
"""The turn limit of the published runs. Where the agent cannot submit, the last result is submitted for it then."""
LIMIT = ACTS + 1
"""Steps of an episode: the acts and the submission."""

_EXECUTE = re.compile(r"execute\[(.*)\]", re.DOTALL)
_LOOK = re.compile(r"\s*(?:show|desc|describe|explain)\b|information_schema|sqlite_master", re.IGNORECASE)
_FOLDS = 5
_PRIOR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One published run: the question's number, who ran it, its acts as SQL or ``submit``, and whether the agent submits itself."""

    number: int
    agent: str
    acts: tuple[str, ...]
    submits: bool

    @property
    def name(self) -> str:
        """The id of its trajectory."""
        return f"{self.number}.{self.agent}"


def published_runs(path: Path, agent: str) -> list[Run]:
    """Read a file of InterCode-SQL runs. A file of another form raises ``ConfigError``."""
    found = json.loads(read_text(path))
    if not isinstance(found, dict) or not found or "turn_history" not in next(iter(found.values())):
        raise ConfigError(
            f"{str(path)!r} holds no InterCode runs; a mapping of runs with turn_history was expected."
        )
    runs = []
    for one in found.values():
        submits = "thoughts" in one["turn_history"]
        acts = [_sql(text) if submits else text for text in one["turn_history"]["actions"][:LIMIT]]
        acts = [
            text if text.strip() else ";" for text in acts
        ]  # nothing at all is an error for the database too
        if acts:
            runs.append(Run(number=int(one["task_id"]), agent=agent, acts=tuple(acts), submits=submits))
    return runs


def _sql(action: str) -> str:
    match = _EXECUTE.search(action)
    return match[1] if match else action


def live_world(data: str = "published") -> InterCodeSQL:
    """The world that the runs are executed in."""
    return InterCodeSQL(data=data, turns=LIMIT)


def tasks_by_number(world: InterCodeSQL) -> dict[int, Task]:
    """All tasks of a world by the number of their question."""
    places = [(split, index) for split in ("train", "test") for index in range(world.size(split))]
    return {task.seed: task for task in (world.task(*place) for place in places)}


def replayed(runs: Sequence[Run], tasks: Mapping[int, Task], world: InterCodeSQL) -> list[Trajectory]:
    """Execute runs in the live environment, in their order. Runs of one question are a group.

    An agent that cannot submit has its last result submitted for it: the score of that is the reward of its last step. ``scores``
    get ``gain``, by how much the step raised the overlap with the gold rows.
    """
    submitted = {run.name: run.acts if run.submits else (*run.acts, SUBMIT) for run in runs}
    jobs = [Job(id=run.name, task=tasks[run.number], group=tasks[run.number].id) for run in runs]
    limits = Limits(max_steps=LIMIT)
    # The script ends where a published run gave up; then the episode is over as it stands.
    script = {name: (*acts, *([""] * (LIMIT - len(acts)))) for name, acts in submitted.items()}
    made = rollout(LocalHosts(world), Scripted(script), jobs, sampling=Sampling(), limits=limits, slots=1)
    return [_trimmed(one, run) for one, run in zip(made, runs, strict=True)]


def _trimmed(made: Trajectory, run: Run) -> Trajectory:
    steps = made.steps[: len(run.acts)]
    if not run.submits and len(made.steps) > len(steps):
        steps = (*steps[:-1], replace(steps[-1], reward=made.steps[len(steps)].reward))
    before = 0.0
    scored = []
    for step in steps:
        after = step.scores["overlap"]
        scored.append(replace(step, scores={**step.scores, "gain": after - before}))
        before = after
    return replace(made, steps=tuple(scored))


class Kind(StrEnum):
    """What an act was, seen from outside."""

    START = "start"  # nothing was done yet
    RIGHT = "right"  # a query with the gold rows
    WRONG = "wrong"  # a query with other rows
    ERROR = "error"
    LOOK = "look"  # asked for tables or columns
    REPEAT = "repeat"  # the same text as before in this run
    SUBMIT = "submit"


@dataclass(slots=True)
class History:
    """What a situation is told by: acts so far, whether the tables were looked at, and the kind of the last act."""

    texts: list[str] = field(default_factory=list)
    looked: bool = False
    last: Kind = Kind.START

    def add(self, text: str, shown: str, *, right: bool) -> Kind:
        """Count an act that showed ``shown``; return its kind."""
        kind = _kind(text, shown, right=right, earlier=self.texts)
        self.texts.append(text)
        self.looked = self.looked or kind is Kind.LOOK
        self.last = kind
        return kind

    def cells(self, hardness: str) -> tuple[tuple[object, ...], ...]:
        """The situation from coarse to fine."""
        coarse = (self.last,)
        turn = min(len(self.texts), 4) if len(self.texts) < 7 else 7
        return coarse, (*coarse, self.looked, turn), (*coarse, self.looked, turn, hardness)


def _kind(text: str, shown: str, *, right: bool, earlier: Sequence[str]) -> Kind:
    if text.strip().rstrip(" ;").lower() == SUBMIT:
        return Kind.SUBMIT
    if right:
        return Kind.RIGHT
    if text in earlier:
        return Kind.REPEAT
    if shown.startswith("Error executing"):
        return Kind.ERROR
    return Kind.LOOK if _LOOK.search(text) else Kind.WRONG


def fold_of(task: Task) -> int:
    """The fold of a task; tasks with the same gold query share one."""
    return zlib.crc32(f"{task.tags['database']} {task.reference}".encode()) % _FOLDS


class Habits:
    """How often each agent does what in which situation, and how its runs end from there; always read from the other folds."""

    def __init__(self, runs: Sequence[tuple[Run, Trajectory]]) -> None:
        self._kinds: dict[tuple[object, ...], Counter[Kind]] = defaultdict(Counter)
        self._ends: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for run, made in runs:
            fold, hardness = fold_of(made.task), made.task.tags["hardness"]
            history = History()
            for number, step in enumerate(made.steps):
                cells = history.cells(hardness)
                seen = made.steps[number + 1].observation if number + 1 < len(made.steps) else made.final
                kind = history.add(
                    step.action.text, seen.text if seen else "", right=step.scores["overlap"] == 1.0
                )
                for cell in ((), *cells):
                    self._kinds[run.agent, fold, cell][kind] += 1
                    ends = self._ends[run.agent, fold, cell]
                    ends[0] += made.outcome or 0.0
                    ends[1] += 1.0

    def chances(self, agent: str, fold: int, history: History, hardness: str) -> dict[Kind, float]:
        """The distribution of the next kind: frequencies of the finest cell, drawn towards those of the coarser ones."""
        kinds: list[Kind] = [kind for kind in Kind if kind is not Kind.START]
        chance: dict[Kind, float] = dict.fromkeys(kinds, 1.0 / len(kinds))
        for cell in ((), *history.cells(hardness)):
            counted: Counter[Kind] = Counter()
            for other in range(_FOLDS):
                if other != fold:
                    counted.update(self._kinds.get((agent, other, cell), ()))
            whole = counted.total() + _PRIOR
            chance = {kind: (counted[kind] + _PRIOR * chance[kind]) / whole for kind in kinds}
        return chance

    def end(self, agent: str, fold: int, history: History, hardness: str) -> float:
        """The mean outcome of the agent's runs that were in this situation: a critic."""
        mean = 0.0
        for cell in ((), *history.cells(hardness)):
            some = [
                self._ends.get((agent, other, cell), (0.0, 0.0)) for other in range(_FOLDS) if other != fold
            ]
            mean = (sum(one[0] for one in some) + _PRIOR * mean) / (sum(one[1] for one in some) + _PRIOR)
        return mean

    def critic(self, run: Run, made: Trajectory) -> list[float]:
        """The critic's value before every step of a run."""
        fold, hardness, history = fold_of(made.task), made.task.tags["hardness"], History()
        out = []
        for number, step in enumerate(made.steps):
            out.append(self.end(run.agent, fold, history, hardness))
            seen = made.steps[number + 1].observation if number + 1 < len(made.steps) else made.final
            history.add(step.action.text, seen.text if seen else "", right=step.scores["overlap"] == 1.0)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The acts of all published runs of one task: by kind, and by the anchor that they were taken at."""

    by_kind: Mapping[Kind, tuple[str, ...]]
    by_anchor: Mapping[str, tuple[str, ...]]


def pool_of(group: Sequence[Trajectory]) -> Pool:
    """Collect the acts of one task's runs. A run's end counts as ``submit`` at the state it left."""
    kinds: dict[Kind, list[str]] = defaultdict(list)
    anchors: dict[str, list[str]] = defaultdict(list)
    for made in group:
        for number, step in enumerate(made.steps):
            seen = made.steps[number + 1].observation if number + 1 < len(made.steps) else made.final
            kind = _kind(
                step.action.text, seen.text if seen else "", right=step.scores["overlap"] == 1.0, earlier=()
            )
            kinds[kind].append(step.action.text)
            anchors[step.observation.anchor or ""].append(step.action.text)
        if made.final is not None and (not made.steps or made.steps[-1].action.text != SUBMIT):
            anchors[made.final.anchor or ""].append(SUBMIT)
    return Pool(
        by_kind={kind: tuple(dict.fromkeys(texts)) for kind, texts in kinds.items()},
        by_anchor={anchor: tuple(texts) for anchor, texts in anchors.items()},
    )


_ANY = {Kind.ERROR: "SELECT", Kind.LOOK: "SHOW TABLES", Kind.WRONG: "SELECT 0"}
"""Acts of a kind that no run of the task took."""


class _Continues:
    """The sessions of a sampler that goes on from stored steps; nothing is remembered of a session but its history."""

    def __init__(self, hosts: Hosts, run: Run, task: Task, pool: Pool) -> None:
        self.hosts, self.run, self.task, self.pool = hosts, run, task, pool
        self._live: dict[str, tuple[History, str | None]] = {}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests; the sampling settings do not apply."""
        return [self._answer(request) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget conversations."""
        for session in sessions:
            self._live.pop(session, None)

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Start ``session`` behind acts that were taken before."""
        history, waiting = History(), None
        for turn in turns:
            if waiting is not None:
                history.add(waiting, turn.messages[-1].content, right=False)
            waiting = turn.text
        self._live[session] = history, waiting

    def _answer(self, request: Request) -> Generation:
        best = self.hosts.oracle([request.session])[0]
        if isinstance(best, WorldError):
            return Generation(text="", stop=Stop.ERROR, error=str(best))
        right = best == SUBMIT
        history, waiting = self._live.get(request.session, (History(), None))
        if waiting is not None:
            history.add(waiting, request.messages[-1].content, right=right)
        ended = not self.run.submits and (right or len(history.texts) >= ACTS)  # as the published harness did
        text = SUBMIT if ended else self._next(request, history)
        self._live[request.session] = history, text
        return Generation(text=text, stop=Stop.STOP)

    def _next(self, request: Request, history: History) -> str:
        raise NotImplementedError


class Imitator(_Continues):
    """Goes on as the run's agent usually does in such a situation, with the acts of this task. See the module."""

    def __init__(self, hosts: Hosts, run: Run, task: Task, pool: Pool, habits: Habits) -> None:
        super().__init__(hosts, run, task, pool)
        self.habits = habits
        self._fold = fold_of(task)

    @property
    def policy(self) -> str:
        return f"imitates {self.run.agent}"

    def _next(self, request: Request, history: History) -> str:
        random = Random(request.seed)
        chances = self.habits.chances(self.run.agent, self._fold, history, self.task.tags["hardness"])
        kind = random.choices(list(chances), weights=list(chances.values()))[0]
        if kind is Kind.SUBMIT:
            return SUBMIT
        if kind is Kind.RIGHT:
            return str(self.task.reference)
        if kind is Kind.REPEAT and history.texts:
            return history.texts[-1]
        texts = self.pool.by_kind.get(kind, ()) or (_ANY.get(kind, _ANY[Kind.WRONG]),)
        fresh = [text for text in texts if text not in history.texts]
        return random.choice(fresh or texts)


class Splicer(_Continues):
    """Goes on as any published run of this task did at the same anchor, and submits where none went on."""

    @property
    def policy(self) -> str:
        return "splices published runs"

    def _next(self, request: Request, history: History) -> str:  # noqa: ARG002
        anchor = self.hosts.snapshot(request.session).observation.anchor
        texts = self.pool.by_anchor.get(anchor)
        return Random(request.seed).choice(texts) if texts else SUBMIT
