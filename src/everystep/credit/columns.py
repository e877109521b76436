"""Trajectories as columns: one row a step, one numpy array a field.

Every credit method reads columns only, so stored trajectories, live ones and arrays of another
program are treated the same. Building is linear in the number of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import End, Group, Level, Trajectory, Verdict
from everystep.credit.grouping import BoolArray, FloatArray, IntArray, count, dense, pair, time_order, total

TERMINATED = frozenset({End.DONE, End.FAILED})
"""Ends by the task's own rules. All others cut a trajectory off, so that a value may follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """One row a step (``_S``), in any order. Unknown numbers are NaN, missing ids ``-1``.

    ``task_S`` numbers the groups: steps of one task (and agent) whose trajectories are compared with each other. ``trajectory_S``
    numbers the trajectories and ``turn_S`` the steps inside one. ``reward_S`` is the environment's reward and
    ``outcome_S`` the trajectory's outcome on each of its rows. ``penalty_S`` is 1 where a rule was broken
    (an invalid action); an estimator's ``penalty`` weighs it. ``terminated_S`` says that the trajectory ended by its own
    rules. ``anchor_S`` numbers states and ``prefix_S`` exact histories (actions and states before, and the
    state now). ``sibling_S`` numbers the parents, so that branches share a number; ``node_S`` numbers distinct
    steps, which occur in several trajectories of a tree. ``segment_S`` indexes ``segments`` where a row is only a part of a
    step. ``scores`` are named numbers. ``texts`` are the observations, where they are kept.
    """

    task_S: IntArray
    trajectory_S: IntArray
    turn_S: IntArray
    reward_S: FloatArray
    outcome_S: FloatArray
    penalty_S: FloatArray
    terminated_S: BoolArray
    anchor_S: IntArray
    prefix_S: IntArray
    sibling_S: IntArray
    node_S: IntArray
    scores: Mapping[str, FloatArray] = field(default_factory=dict)
    segment_S: IntArray | None = None
    segments: tuple[str, ...] = ()
    texts: tuple[str, ...] | None = None
    step_ids: tuple[str, ...] | None = None
    trajectory_ids: tuple[str, ...] | None = None
    group_ids: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        """Number of rows."""
        return int(self.task_S.size)

    def score(self, name: str) -> FloatArray:
        """The named score of every row; an unknown name raises ``ConfigError``."""
        if name not in self.scores:
            hint = did_you_mean(name, self.scores)
            raise ConfigError(
                f"the columns have no score {name!r}, which this credit needs. {hint} Add it with `with_scores`."
            )
        return self.scores[name]


def columns(
    groups: Iterable[Group | Trajectory], *, state: str = "anchor", undecided: float | None = None
) -> Columns:
    """Turn groups, or loose trajectories, into columns; rows keep their order.

    ``state`` says what makes two states equal: ``"anchor"``, the environment's own key, or ``"text"``, the
    observation's text. ``undecided`` is the outcome of trajectories that have none; ``None`` leaves it unknown,
    and an unknown outcome gives no credit and enters no statistic. Groups never reach over tasks, nor over agents.

    Raises ``ConfigError`` for an unknown ``state`` and for a trajectory that comes twice.
    """
    if state not in ("anchor", "text"):
        raise ConfigError(f"state is {state!r}; expected 'anchor' or 'text'.")
    rows = _Rows(use_text=state == "text")
    for item in groups:
        for trajectory in item.trajectories if isinstance(item, Group) else (item,):
            rows.add(trajectory, undecided)
    return rows.finish()


class _Rows:
    """Collects the fields of trajectories; ids are numbered as they are met."""

    def __init__(self, *, use_text: bool) -> None:
        self.use_text = use_text
        self.scopes: dict[tuple[str, str], int] = {}
        self.tasks: dict[tuple[int, str], int] = {}
        self.group_ids: list[str] = []
        self.trajectories: dict[tuple[int, str], int] = {}
        self.anchors: dict[tuple[int, str], int] = {}
        self.prefixes: dict[tuple[object, ...], int] = {}
        self.parents: dict[tuple[int, str | None], int] = {}
        self.nodes: dict[tuple[int, str], int] = {}
        self.per_trajectory: list[tuple[int, float, bool]] = []
        self.integers: list[tuple[int, int, int, int, int, int]] = []
        self.numbers: list[tuple[float, float]] = []
        self.scores: dict[str, tuple[list[int], list[float]]] = {}
        self.texts: list[str] = []
        self.step_ids: list[str] = []

    def add(self, trajectory: Trajectory, undecided: float | None) -> None:
        task = self.scopes.setdefault((trajectory.task.id, trajectory.group), len(self.scopes))
        if (task, trajectory.id) in self.trajectories:
            raise ConfigError(
                f"trajectory {trajectory.id!r} of group {trajectory.group!r} comes twice, so every group statistic "
                f"would count it twice. Pass each trajectory once; pad a batch after its credit is assigned."
            )
        self.trajectories[task, trajectory.id] = len(self.trajectories)
        outcome = trajectory.outcome if trajectory.outcome is not None else undecided
        self.per_trajectory.append((len(trajectory.steps), _number(outcome), trajectory.end in TERMINATED))
        prefix: int | None = None
        action = ""
        for turn, step in enumerate(trajectory.steps):
            seen = step.observation
            state = seen.text if self.use_text else seen.anchor
            anchor = -1 if state is None else self.anchors.setdefault((task, state), len(self.anchors))
            where = (task, prefix, action, seen.text, seen.anchor)
            prefix = self.prefixes.setdefault(where, len(self.prefixes))
            action = step.action.text
            parent = self.parents.setdefault((task, step.parent), len(self.parents))
            node = self.nodes.setdefault((task, step.id), len(self.nodes))
            row = len(self.step_ids)
            compared = self.tasks.setdefault((task, step.agent), len(self.tasks))
            if compared == len(self.group_ids):
                self.group_ids.append(trajectory.group)
            self.integers.append((turn, anchor, prefix, parent, node, compared))
            self.numbers.append((_number(step.reward), 0.0 if step.action.valid else 1.0))
            for name, value in step.scores.items():
                where_name = self.scores.setdefault(name, ([], []))
                where_name[0].append(row)
                where_name[1].append(value)
            self.texts.append(seen.text)
            self.step_ids.append(step.id)

    def finish(self) -> Columns:
        size = len(self.step_ids)
        integers = np.array(self.integers, dtype=np.int64).reshape(size, 6)
        numbers = np.array(self.numbers, dtype=np.float64).reshape(size, 2)
        lengths = np.array([row[0] for row in self.per_trajectory], dtype=np.int64)
        outcome_N = np.array([row[1] for row in self.per_trajectory], dtype=np.float64)
        terminated_N = np.array([row[2] for row in self.per_trajectory], dtype=np.bool_)
        scores: dict[str, FloatArray] = {}
        for name, (where, values) in self.scores.items():
            scores[name] = np.full(size, np.nan)
            scores[name][where] = values
        return Columns(
            task_S=integers[:, 5].copy(),
            trajectory_S=np.repeat(np.arange(len(lengths), dtype=np.int64), lengths),
            turn_S=integers[:, 0].copy(),
            reward_S=numbers[:, 0].copy(),
            outcome_S=np.repeat(outcome_N, lengths),
            penalty_S=numbers[:, 1].copy(),
            terminated_S=np.repeat(terminated_N, lengths),
            anchor_S=integers[:, 1].copy(),
            prefix_S=integers[:, 2].copy(),
            sibling_S=integers[:, 3].copy(),
            node_S=integers[:, 4].copy(),
            scores=scores,
            texts=tuple(self.texts),
            step_ids=tuple(self.step_ids),
            trajectory_ids=tuple(name for _, name in self.trajectories),
            group_ids=tuple(self.group_ids),
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def from_arrays(
    *,
    task_S: npt.ArrayLike,
    trajectory_S: npt.ArrayLike,
    reward_S: npt.ArrayLike,
    turn_S: npt.ArrayLike | None = None,
    outcome_S: npt.ArrayLike | None = None,
    penalty_S: npt.ArrayLike | None = None,
    terminated_S: npt.ArrayLike | None = None,
    anchor_S: npt.ArrayLike | None = None,
    prefix_S: npt.ArrayLike | None = None,
    sibling_S: npt.ArrayLike | None = None,
    node_S: npt.ArrayLike | None = None,
    scores: Mapping[str, npt.ArrayLike] | None = None,
    segment_S: npt.ArrayLike | None = None,
    segments: Sequence[str] = (),
    texts: Sequence[str] | None = None,
) -> Columns:
    """Columns from plain arrays of equal length, one entry a step.

    ``turn_S`` is by default the order of a trajectory's rows; ``outcome_S`` the sum of its rewards; ``terminated_S`` true.
    Anchors are ids inside their task: equal ids of two tasks are different states. Raises ``ConfigError`` when
    lengths differ, a trajectory spans two tasks, or a turn comes twice.
    """
    owner, scope, reward = _ids(trajectory_S), _ids(task_S), _floats(reward_S)
    size = owner.size
    for name, shape in (("task_S", scope.shape), ("reward_S", reward.shape)):
        _check_length(name, shape, size)
    if size and min(int(owner.min()), int(scope.min())) < 0:
        raise ConfigError(
            "task_S or trajectory_S has a negative id; every row belongs to a trajectory of a task."
        )
    trajectory, trajectories = dense(owner)
    task, _ = dense(scope)
    turn = _positions(trajectory) if turn_S is None else _ids(turn_S)
    none = np.full(size, -1, dtype=np.int64)
    given = {
        "task_S": task,
        "turn_S": turn,
        "reward_S": reward,
        "outcome_S": np.bincount(trajectory, weights=reward, minlength=trajectories)[trajectory]
        if outcome_S is None
        else _floats(outcome_S),
        "penalty_S": np.zeros(size) if penalty_S is None else _floats(penalty_S),
        "terminated_S": np.ones(size, dtype=np.bool_)
        if terminated_S is None
        else np.asarray(terminated_S, dtype=np.bool_),
        "anchor_S": none if anchor_S is None else _ids(anchor_S),
        "prefix_S": none if prefix_S is None else _ids(prefix_S),
        "sibling_S": none if sibling_S is None else _ids(sibling_S),
        "node_S": np.arange(size, dtype=np.int64) if node_S is None else _ids(node_S),
    }
    for name, array in given.items():
        _check_length(name, array.shape, size)
    if segment_S is not None:
        _check_length("segment_S", _ids(segment_S).shape, size)
    if texts is not None:
        _check_length("texts", (len(texts),), size)
    if size and pair(trajectory, task).max() + 1 != trajectories:
        raise ConfigError("a trajectory has rows of two tasks; expected one task id for each trajectory_S.")
    result = Columns(
        trajectory_S=trajectory,
        texts=None if texts is None else tuple(texts),
        segment_S=None if segment_S is None else _ids(segment_S),
        segments=tuple(segments),
        **given,  # type: ignore[arg-type]
    )
    if segment_S is None and size:
        order = time_order(trajectory, turn)
        same = np.diff(trajectory[order]) == 0
        if bool(np.any(same & (np.diff(turn[order]) == 0))):
            raise ConfigError("a trajectory has two rows with the same turn_S; expected one row a step.")
    return with_scores(result, scores or {})


def with_scores(source: Columns, scores: Mapping[str, npt.ArrayLike]) -> Columns:
    """Add named scores, one number a row, NaN where unknown; an existing name is replaced."""
    arrays = {name: _floats(values) for name, values in scores.items()}
    for name, array in arrays.items():
        _check_length(f"score {name!r}", array.shape, source.size)
    return replace(source, scores={**source.scores, **arrays})


def with_rewards(
    source: Columns, *, process: Mapping[str, float] | None = None, parts: Mapping[str, float] | None = None
) -> Columns:
    """Add step scores to rewards and outcomes, by name and weight.

    A score of ``process`` is added to the reward of its row, and its sum to the outcome. A score of ``parts`` adds
    its mean over the trajectory's rows to the outcome, and to the reward of the last row: a share such as executed calls of all calls.
    A row without the score does not count; a trajectory, or a batch, without any gets 0. An unknown ``process`` raises ``ConfigError``.
    """
    if source.segment_S is not None:
        raise ConfigError("rewards are added to whole steps; call `with_rewards` before `split_segments`.")
    owner = source.trajectory_S
    size = int(owner.max()) + 1 if source.size else 0
    reward_S, outcome_S = source.reward_S.copy(), source.outcome_S.copy()
    for name, weight in (process or {}).items():
        added_S = weight * np.nan_to_num(source.score(name))
        reward_S += added_S
        outcome_S += total(added_S, owner, size)[owner]
    order = time_order(owner, source.turn_S)
    last_S = order[np.flatnonzero(np.diff(owner[order], append=-1))]
    for name, weight in (parts or {}).items():
        if name not in source.scores:
            continue  # nobody has called a tool, say: everyone's share is 0
        score_S = source.scores[name]
        known = count(owner[~np.isnan(score_S)], size)
        mean = weight * total(np.nan_to_num(score_S), owner, size) / np.maximum(known, 1)
        reward_S[last_S] += mean[owner[last_S]]
        outcome_S += mean[owner]
    return replace(source, reward_S=reward_S, outcome_S=outcome_S)


def verdict_scores(source: Columns, verdicts: Iterable[Verdict], *, judge: str) -> FloatArray:
    """One judge's step scores as a column, NaN where it said nothing; the last verdict about a step counts.

    The columns must come from records. Raises ``ConfigError`` otherwise.
    """
    if source.step_ids is None:
        raise ConfigError(
            "these columns have no step ids, so verdicts cannot be matched; build them from records."
        )
    score_of: dict[str, float] = {}
    for verdict in verdicts:
        if verdict.judge == judge and verdict.level is Level.STEP and verdict.score is not None:
            score_of.update(dict.fromkeys(verdict.targets, verdict.score))
    return np.array([score_of.get(step, np.nan) for step in source.step_ids], dtype=np.float64)


def name_segments(source: Columns, names: Sequence[str]) -> Columns:
    """Say which segment each row is, where every step is one segment: a decision is a step, the answer to it another.

    ``names`` has one name a row. Terms of a segment then see its rows only, so segments never share a statistic.
    """
    if source.segment_S is not None:
        raise ConfigError(f"these columns have segments already: {source.segments!r}. Name whole steps.")
    _check_length("names", (len(names),), source.size)
    segments = tuple(dict.fromkeys(names))
    numbers = {name: number for number, name in enumerate(segments)}
    segment_S = np.array([numbers[name] for name in names], dtype=np.int64)
    return replace(source, segment_S=segment_S, segments=segments)


def split_segments(source: Columns, segments: Sequence[str]) -> Columns:
    """Repeat every row once for each named segment of a step, so that segments get credit of their own.

    Rows of one step are neighbours, in the order of ``segments``.
    """
    if source.segment_S is not None:
        raise ConfigError(f"these columns are split already, into {source.segments!r}; split whole steps.")
    if len(set(segments)) != len(segments) or not segments:
        raise ConfigError(f"segments are {tuple(segments)!r}; expected one or more different names.")
    times = len(segments)
    row_S = np.repeat(np.arange(source.size), times)
    return replace(
        source,
        task_S=source.task_S[row_S],
        trajectory_S=source.trajectory_S[row_S],
        turn_S=source.turn_S[row_S],
        reward_S=source.reward_S[row_S],
        outcome_S=source.outcome_S[row_S],
        penalty_S=source.penalty_S[row_S],
        terminated_S=source.terminated_S[row_S],
        anchor_S=source.anchor_S[row_S],
        prefix_S=source.prefix_S[row_S],
        sibling_S=source.sibling_S[row_S],
        node_S=source.node_S[row_S],
        scores={name: values[row_S] for name, values in source.scores.items()},
        texts=None if source.texts is None else tuple(source.texts[row] for row in row_S),
        step_ids=None if source.step_ids is None else tuple(source.step_ids[row] for row in row_S),
        segment_S=np.tile(np.arange(times, dtype=np.int64), source.size),
        segments=tuple(segments),
    )


def _positions(trajectory_S: IntArray) -> IntArray:
    """The number of earlier rows of the same trajectory, for each row."""
    order = np.argsort(trajectory_S, kind="stable")
    lengths = np.bincount(trajectory_S)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    out_S = np.empty(trajectory_S.size, dtype=np.int64)
    out_S[order] = np.arange(trajectory_S.size) - starts
    return out_S


def _ids(values: npt.ArrayLike) -> IntArray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ConfigError(f"ids have dtype {array.dtype.name!r}; expected integers, -1 for none.")
    return array.astype(np.int64)


def _floats(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _check_length(name: str, shape: tuple[int, ...], size: int) -> None:
    if shape != (size,):
        raise ConfigError(f"{name} has shape {shape!r}; expected one entry for each of the {size} rows.")
