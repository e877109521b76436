"""Boxoban: Sokoban on the levels of Guez et al. (2018), with rewards as in gym-sokoban.

Every step costs 0.1, a box on a target is worth 1 (and costs 1 when it leaves it), all boxes on
targets earn 10 more and end the episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import ClassVar

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    split_of,
)
from everystep.environments.places.sokoban import (
    DIRECTIONS,
    FAR,
    Board,
    bound,
    draw,
    move,
    read_board,
    read_levels,
    solve,
)
from everystep.environments.published import SAMPLES, VARIABLE, find_file, read_text, source_folder

SOURCE = "https://github.com/google-deepmind/boxoban-levels (Apache-2.0)"
STEP_COST, BOX_REWARD, SOLVED_REWARD = 0.1, 1.0, 10.0

_GOAL = (
    "push every box onto a target . # wall , - floor , . target , $ box , * box on target , @ you , "
    "+ you on target . actions : up , down , left , right ."
)


@dataclass(frozen=True, slots=True)
class State:
    """The player's cell and the mask of the boxes on a board."""

    board: Board
    player: int
    boxes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxoban:
    """Options: ``levels`` is ``sample`` (60 packaged ones), ``published`` (every file in EVERYSTEP_DATA/boxoban) or the
    path of a level file or a folder of them; ``horizon`` is the step limit; ``nodes`` bounds the oracle's search.
    """

    levels: str = "sample"
    horizon: int = 120
    nodes: int = 20_000

    name: ClassVar[str] = "boxoban"
    summary: ClassVar[str] = "Sokoban on the Boxoban levels: push the boxes onto the targets"

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, 1, 1_000_000)
        check_range(self.name, "nodes", self.nodes, 1, 100_000_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of levels of ``split``."""
        check_place(split, 0)
        return len(_selected(load_levels(self.levels), split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``; a level belongs to a split by what it contains."""
        check_place(split, index, self.size(split))
        number = _selected(load_levels(self.levels), split)[index]
        boxes = sum(mark in "$*" for mark in load_levels(self.levels)[number])
        return make_task(
            self, split=split, index=index, seed=number, instruction=_GOAL, tags={"boxes": str(boxes)}
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``."""
        levels = load_levels(self.levels)
        if not 0 <= task.seed < len(levels):
            raise WorldError(f"task {task.id!r} names level {task.seed}; there are {len(levels)}.")
        return State(*read_board(levels[task.seed]))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the board; the moves that are not blocked are admissible."""
        board, player, boxes = state.board, state.player, state.boxes
        text = draw(board, player, boxes)
        return Observation(
            text=f"{note}\n{text}" if note else text,
            anchor=f"{player} {boxes:x}",
            admissible=tuple(name for name in DIRECTIONS if move(board, player, boxes, name) is not None),
        )

    def parse(self, text: str) -> Action:
        """Accept one of the four directions."""
        if text.strip() in DIRECTIONS:
            return Action(text=text)
        return Action(text=text, valid=False, reason="expected up, down, left or right")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Walk or push. ``on_target`` is the share of boxes in place, ``progress`` the fall of the lower bound of pushes."""
        word = action.text.strip()
        board, boxes, goal = state.board, state.boxes, state.board.goal
        made = None
        if action.valid and word in DIRECTIONS:
            made = move(board, state.player, boxes, word)
            reason = None if made else "the way is blocked"
        else:
            reason = action.reason or "not an action of this world"
        after = State(board, *made) if made else state
        placed = (after.boxes & goal).bit_count()
        solved = after.boxes == goal
        gained = placed - (boxes & goal).bit_count()
        progress = 0
        if after.boxes != boxes:
            left, before = bound(board, after.boxes), bound(board, boxes)
            progress = before - left if max(before, left) < FAR else 0
        return Outcome(
            state=after,
            reward=-STEP_COST + BOX_REWARD * gained + SOLVED_REWARD * solved,
            over=solved,
            success=True if solved else None,
            scores={"on_target": placed / len(board.targets), "progress": float(progress)},
            reason=reason,
        )

    def oracle(self, state: State) -> str:
        """Return the next move of a solution. Raises ``WorldError`` where none was found within ``nodes``."""
        hints, here = state.board.hints, (state.player, state.boxes)
        if here not in hints:
            for direction in solve(state.board, *here, self.nodes) or ():
                hints[here] = direction
                here = move(state.board, *here, direction) or here
        try:
            return hints[state.player, state.boxes]
        except KeyError:
            raise WorldError(
                f"no solution of this position was found in {self.nodes} nodes; it may have none. "
                "Ask the oracle earlier, or give it more 'nodes'."
            ) from None


def load_levels(levels: str) -> tuple[str, ...]:
    """Return the levels of ``sample``, ``published``, a file or a folder; ``ConfigError`` if there are none."""
    if levels == "sample":
        return _load((SAMPLES / "boxoban_sample.txt",))
    if levels == "published":
        folder = source_folder("boxoban")
    elif Path(levels).is_file():
        return _load((Path(levels),))
    else:
        folder = Path(levels)
    files = sorted(folder.rglob("*.txt*")) if folder is not None else []
    if not files:
        find_file(folder or "boxoban", "000.txt", SOURCE)  # raises with where to get it
    return _load(tuple(files))


@cache
def _load(paths: tuple[Path, ...]) -> tuple[str, ...]:
    levels = tuple(level for path in paths for level in read_levels(read_text(path)))
    if not levels:
        raise ConfigError(
            f"{', '.join(path.name for path in paths)}: no levels found. Boxoban's format was expected "
            f"(blocks of rows, each after a line '; NUMBER'), from {SOURCE}, below {VARIABLE}."
        )
    return levels


@lru_cache(maxsize=32)
def _selected(levels: tuple[str, ...], split: str) -> tuple[int, ...]:
    return tuple(number for number, level in enumerate(levels) if split_of(level) == split)
