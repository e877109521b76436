"""A prioritised buffer of partial histories: what was tried becomes a new place to start from, the more often the more it tells (ExIt).

A history is a task with steps that some attempt took. Its score is the variance of the outcomes, scaled to [0, 1], of the last group that
started from it; where all attempts do equally well there is nothing to learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, inf
from random import Random
from typing import Any

from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError
from everystep.core.protocols import Attempts, Start, TaskSource
from everystep.core.records import End, Json, Step, Task, Trajectory
from everystep.evolve.tasks import body_of, own
from everystep.run.history import as_history

Going = Callable[[Task, tuple[Step, ...], str], Start]
"""Makes a start of a task, steps that were taken before, and a mode."""


def behind(task: Task, steps: tuple[Step, ...], mode: str = "") -> Start:  # noqa: ARG001 -- one way to go on
    """Start behind the steps themselves: the episode is replayed up to there, and the model reads it as a conversation."""
    return Start(task=task, steps=as_history(steps))


def can_go_on(trajectory: Trajectory) -> bool:
    """Whether an episode was cut off, so that it can go on behind its last step."""
    return trajectory.end is End.TRUNCATED


def learnability(outcomes: Sequence[float | None], *, low: float = 0.0, high: float = 1.0) -> float | None:
    """Return the variance of the outcomes of a group, scaled from ``[low, high]`` to [0, 1]: 0 to 0.25. ``None`` for fewer than two.

    Raises ``ConfigError`` for an outcome out of range: scores of different ranges could not be compared.

    >>> learnability([0.0, 10.0, 10.0, 0.0], high=10.0)
    0.25
    """
    known = [outcome for outcome in outcomes if outcome is not None]
    outside = [outcome for outcome in known if not low <= outcome <= high]
    if outside or not low < high:
        raise ConfigError(
            f"outcomes {outside!r} are not in [{low!r}, {high!r}]. Give the range of the outcomes."
        )
    if len(known) < 2:
        return None
    scaled = [(outcome - low) / (high - low) for outcome in known]
    mean = sum(scaled) / len(scaled)
    return sum((one - mean) ** 2 for one in scaled) / len(scaled)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A task, the steps that were taken, and the score. ``id`` grows with every history that is kept; ``rated`` counts the groups that rated it."""

    id: int
    task: Task
    steps: tuple[Step, ...]
    score: float
    rated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a start was made of, until its result is reported: ``parent`` is the history, ``None`` for a fresh task."""

    task: Task
    steps: tuple[Step, ...] = ()
    parent: int | None = None
    inner: str = ""


class HistoryBuffer:
    """Gives a start behind a partial history with probability ``share`` once ``least`` histories are kept, else a fresh one of ``fresh``.

    A history is drawn with probability proportional to ``exp(kappa * score)`` and cut to a random length of at least 1; ``modes`` are drawn by
    their weights, and ``going_on`` makes the start of it all. When a group is reported, the history that it started from is rated anew, and
    ``children`` of its attempts (drawn at random among those that ``can_go_on``) are kept as longer histories with the group's score. A full buffer of ``most``
    drops the one of the lowest score, the oldest of several, and keeps a newcomer only where its score is not below that. ``prioritised`` off draws evenly and drops the
    oldest. Histories have at most ``longest`` steps. ``low`` and ``high`` are the range of the outcomes.
    """

    def __init__(
        self,
        fresh: TaskSource,
        *,
        share: float = 0.5,
        least: int = 128,
        most: int = 512,
        kappa: float = 1.0,
        prioritised: bool = True,
        modes: dict[str, float] | None = None,
        going_on: Going = behind,
        can_go_on: Callable[[Trajectory], bool] = can_go_on,
        children: int = 1,
        longest: int = 64,
        low: float = 0.0,
        high: float = 1.0,
        seed: int = 0,
    ) -> None:
        if (
            not 0.0 <= share <= 1.0
            or not 1 <= least <= most
            or children < 1
            or longest < 1
            or not 0 <= kappa < inf
        ):
            raise ConfigError(
                f"share {share!r}, least {least!r}, most {most!r}, children {children!r}, longest {longest!r}, kappa {kappa!r}: expected a share in [0, 1], "
                "1 <= least <= most, and the others 1 or more (kappa 0 or more)."
            )
        modes = {"": 1.0} if modes is None else modes
        if not modes or min(modes.values()) < 0 or not sum(modes.values()) > 0:
            raise ConfigError(
                f"modes {modes!r}: expected one or more names with weights of 0 or more, not all 0."
            )
        self.fresh, self.share, self.least, self.most = fresh, share, least, most
        self.kappa, self.prioritised, self.modes = kappa, prioritised, dict(modes)
        self.going_on, self.can_go_on = going_on, can_go_on
        self.children, self.longest, self.low, self.high = children, longest, low, high
        self.seed = seed
        self.kept: dict[int, History] = {}
        self._given: dict[str, Given] = {}
        self._drawn = 0
        self._made = 0

    # --- what is tried next -------------------------------------------------------------------------

    def next(self, count: int) -> list[Start]:
        """Return the next ``count`` starts; fewer where the fresh tasks have run out."""
        starts: list[Start] = []
        for _ in range(count):
            rng = Random(f"{self.seed} start {self._drawn}")
            old = rng.random() < self.share and len(self.kept) >= self.least
            start = self._old(rng) if old else self._new()
            if start is None:
                break
            self._drawn += 1
            starts.append(start)
        return starts

    def depth(self, start: Start) -> int:
        """Return how many steps the history has that a start was made of, until its result is reported."""
        return len(self._given[start.id].steps)

    def chances(self) -> dict[int, float]:
        """Return the probability of each kept history to be drawn, by its id."""
        kappa = self.kappa if self.prioritised else 0.0
        peak = max((one.score for one in self.kept.values()), default=0.0)
        weights = {name: exp(kappa * (one.score - peak)) for name, one in self.kept.items()}
        whole = sum(weights.values())
        return {name: weight / whole for name, weight in weights.items()}

    def _old(self, rng: Random) -> Start:
        chances = self.chances()
        parent = self.kept[rng.choices(list(chances), weights=list(chances.values()))[0]]
        steps = parent.steps[: rng.randint(1, len(parent.steps))]
        mode = rng.choices(list(self.modes), weights=list(self.modes.values()))[0]
        return self._out(
            self.going_on(parent.task, steps, mode), Given(task=parent.task, steps=steps, parent=parent.id)
        )

    def _new(self) -> Start | None:
        made = self.fresh.next(1)
        if not made:
            return None
        return self._out(made[0], Given(task=made[0].task, steps=made[0].steps, inner=made[0].id))

    def _out(self, start: Start, given: Given) -> Start:
        name = f"h{self._drawn}"
        self._given[name] = given
        return replace(start, id=name)

    # --- what came of it ----------------------------------------------------------------------------

    def report(self, results: Sequence[Attempts]) -> None:
        """Rate the histories that were started from and keep new ones. A start that this source did not give is passed over."""
        passed_on = []
        for one in results:
            given = self._given.pop(one.start.id, None)
            if given is None:
                continue
            if given.parent is None:
                inner = replace(one.start, task=given.task, steps=given.steps, id=given.inner)
                passed_on.append(replace(one, start=inner))
            score = learnability(one.outcomes, low=self.low, high=self.high)
            if score is None:
                continue
            parent = self.kept.get(given.parent) if given.parent is not None else None
            if parent is not None:
                self.kept[parent.id] = replace(parent, score=score, rated=parent.rated + 1)
            self._bear(one, given, score)
        self.fresh.report(passed_on)

    def _bear(self, one: Attempts, given: Given, score: float) -> None:
        """Keep some of a group's attempts as longer histories."""
        able = [made for made in one.trajectories if self.can_go_on(made)]
        able = [made for made in able if 1 <= len(given.steps) + len(own(made)) <= self.longest]
        rng = Random(f"{self.seed} child {self._made}")
        for made in rng.sample(able, min(self.children, len(able))):
            self._keep(given.task, (*given.steps, *own(made)), score)

    def _keep(self, task: Task, steps: tuple[Step, ...], score: float) -> None:
        self._made += 1
        if len(self.kept) >= self.most:
            out = min(self.kept.values(), key=lambda one: (one.score if self.prioritised else 0.0, one.id))
            if self.prioritised and score < out.score:
                return
            del self.kept[out.id]
        self.kept[self._made] = History(id=self._made, task=task, steps=steps, score=score)

    # --- going on after a pause ---------------------------------------------------------------------

    def dump(self) -> Json:
        return {
            "fresh": self.fresh.dump(),
            "kept": [encode(one) for one in self.kept.values()],
            "given": {name: encode(one) for name, one in self._given.items()},
            "drawn": self._drawn,
            "made": self._made,
        }

    def load(self, state: Json) -> None:
        body = body_of(state, "fresh", "kept", "given", "drawn", "made")
        kept: list[History] = [decode(History, one) for one in body["kept"]]
        given: dict[str, Any] = {name: decode(Given, one) for name, one in body["given"].items()}
        self.fresh.load(body["fresh"])
        self.kept, self._given = {one.id: one for one in kept}, given
        self._drawn, self._made = int(body["drawn"]), int(body["made"])
