"""Sokoban boards: moves, text, and a solver.

Cells are numbered row by row; boxes are a bit mask over cells, so a position is two integers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from itertools import permutations

from everystep.core.errors import WorldError

DIRECTIONS = ("up", "down", "left", "right")
FAR = 1 << 20
"""A distance for what cannot be reached."""

_OPPOSITE = {"up": "down", "down": "up", "left": "right", "right": "left"}
_WEIGHT = 3  # of the pushes that are still needed, against the moves made: larger is faster and less tidy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """What does not change on a level. ``next`` has the cell that each direction leads to, -1 for a wall.

    ``pushes[target][cell]`` is how many pushes bring a box from ``cell`` to that target on an otherwise
    empty board. ``hints`` remembers next moves that were worked out, ``bounds`` the values of ``bound``.
    """

    width: int
    text: str
    targets: tuple[int, ...]
    next: Mapping[str, tuple[int, ...]]
    pushes: tuple[tuple[int, ...], ...]
    drawn: tuple[str, ...]
    hints: dict[tuple[int, int], str] = field(default_factory=dict)
    bounds: dict[int, int] = field(default_factory=dict)

    @property
    def goal(self) -> int:
        """The mask of the targets."""
        return sum(1 << cell for cell in self.targets)


def read_levels(text: str) -> list[str]:
    """Return the levels of a file in Boxoban's format: blocks of rows, each after a line ``; number``."""
    levels: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(";"):
            levels.append([])
        elif line.strip() and levels:
            levels[-1].append(line)
    return ["\n".join(rows) for rows in levels if rows]


@lru_cache(maxsize=4096)
def read_board(text: str) -> tuple[Board, int, int]:
    """Return the board of a level, the player's cell and the mask of the boxes.

    Raises ``WorldError`` for a level without exactly one player, or with other numbers of boxes and targets.
    """
    rows = text.split("\n")
    width = max(map(len, rows)) + 2
    flat = "#" * width + "".join("#" + row.ljust(width - 1, "#") for row in rows) + "#" * width
    players = [cell for cell, mark in enumerate(flat) if mark in "@+"]
    boxes = [cell for cell, mark in enumerate(flat) if mark in "$*"]
    targets = tuple(cell for cell, mark in enumerate(flat) if mark in ".*+")
    if len(players) != 1 or len(boxes) != len(targets) or not boxes or set(flat) - set("# .$*@+-"):
        raise WorldError(
            f"not a Sokoban level: {len(players)} players, {len(boxes)} boxes, {len(targets)} targets:\n{text}"
        )
    steps = {"up": -width, "down": width, "left": -1, "right": 1}
    following = {
        name: tuple(
            -1 if mark == "#" or flat[cell + step] == "#" else cell + step for cell, mark in enumerate(flat)
        )
        for name, step in steps.items()
    }
    return (
        Board(
            width=width,
            text=text,
            targets=targets,
            next=following,
            pushes=tuple(_pushes(following, target) for target in targets),
            drawn=tuple(
                "#" if mark == "#" else "." if cell in targets else "-" for cell, mark in enumerate(flat)
            ),
        ),
        players[0],
        sum(1 << cell for cell in boxes),
    )


def move(board: Board, player: int, boxes: int, direction: str) -> tuple[int, int] | None:
    """Return player and boxes after a step or push, ``None`` where it is blocked."""
    following = board.next[direction]
    to = following[player]
    if to < 0:
        return None
    if boxes >> to & 1:
        beyond = following[to]
        if beyond < 0 or boxes >> beyond & 1:
            return None
        return to, boxes ^ (1 << to | 1 << beyond)
    return to, boxes


def draw(board: Board, player: int, boxes: int) -> str:
    """Return the position as rows of marks with spaces between, without the ring of walls around it."""
    marks = list(board.drawn)
    for cell in cells(boxes):
        marks[cell] = "*" if marks[cell] == "." else "$"
    marks[player] = "+" if marks[player] == "." else "@"
    width = board.width
    inner = range(2 * width, len(marks) - 2 * width, width)
    return "\n".join(" ".join(marks[start + 2 : start + width - 2]) for start in inner)


def cells(mask: int) -> Iterator[int]:
    """Yield the cells of a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def bound(board: Board, boxes: int) -> int:
    """Return a lower bound of the pushes to the solution: the cheapest matching of boxes and targets."""
    found = board.bounds.get(boxes)
    if found is None:
        places = list(cells(boxes))
        found = min(
            sum(table[cell] for table, cell in zip(board.pushes, order, strict=True))
            for order in permutations(places)
        )
        found = board.bounds[boxes] = min(found, FAR)
    return found


def solve(board: Board, player: int, boxes: int, nodes: int) -> list[str] | None:
    """Return moves that solve the position, ``None`` if ``nodes`` positions were not enough or there are none.

    Best-first search over pushes, by moves made plus three times the lower bound of the pushes to
    come; positions that differ only by where the player can walk are one. Not always the shortest.
    """
    goal = board.goal
    came: dict[tuple[int, int], tuple[tuple[int, int], int, str] | None] = {}
    start = (player, boxes)
    best: dict[tuple[int, int], int] = {}
    queue: list[tuple[int, int, int, tuple[int, int], tuple[tuple[int, int], int, str] | None]] = []
    heappush(queue, (_WEIGHT * bound(board, boxes), 0, 0, start, None))
    ticket = expanded = 0
    while queue and expanded < nodes:
        _, _, cost, here, origin = heappop(queue)
        walks = _walks(board, *here)
        key = (min(walks), here[1])
        if best.get(key, FAR) <= cost:
            continue
        best[key] = cost
        came[here] = origin
        if here[1] == goal:
            return _retrace(board, came, here)
        expanded += 1
        for stand, box, direction in _possible_pushes(board, here[1], walks):
            beyond = board.next[direction][box]
            after = (box, here[1] ^ (1 << box | 1 << beyond))
            if _stuck(board, beyond, after[1]):
                continue
            left = bound(board, after[1])
            if left >= FAR:
                continue
            ticket += 1
            made = cost + walks[stand] + 1
            heappush(queue, (made + _WEIGHT * left, ticket, made, after, (here, stand, direction)))
    return None


def _walks(board: Board, player: int, boxes: int) -> dict[int, int]:
    """Return the cells that the player can walk to, with the number of steps."""
    found = {player: 0}
    queue = deque([player])
    tables = tuple(board.next.values())
    while queue:
        cell = queue.popleft()
        steps = found[cell] + 1
        for table in tables:
            near = table[cell]
            if near >= 0 and near not in found and not boxes >> near & 1:
                found[near] = steps
                queue.append(near)
    return found


def _possible_pushes(board: Board, boxes: int, walks: Mapping[int, int]) -> Iterator[tuple[int, int, str]]:
    for box in cells(boxes):
        for direction in DIRECTIONS:
            stand = board.next[_OPPOSITE[direction]][box]
            beyond = board.next[direction][box]
            if stand in walks and beyond >= 0 and not boxes >> beyond & 1:
                yield stand, box, direction


def _stuck(board: Board, box: int, boxes: int) -> bool:
    """Whether ``box`` stands in a square of four walls or boxes that are not all on targets."""
    for vertical in ("up", "down"):
        for side in ("left", "right"):
            above, beside = board.next[vertical][box], board.next[side][box]
            corner = -1
            if above >= 0:
                corner = board.next[side][above]
            elif beside >= 0:
                corner = board.next[vertical][beside]
            others = (above, beside, corner)
            if all(cell < 0 or boxes >> cell & 1 for cell in others):
                members = [cell for cell in (box, *others) if cell >= 0]
                if any(cell not in board.targets for cell in members):
                    return True
    return False


def _retrace(
    board: Board,
    came: Mapping[tuple[int, int], tuple[tuple[int, int], int, str] | None],
    end: tuple[int, int],
) -> list[str]:
    moves: list[str] = []
    origin = came[end]
    while origin is not None:
        before, stand, direction = origin
        moves = [*_path(board, *before, stand), direction, *moves]
        origin = came[before]
    return moves


def _path(board: Board, player: int, boxes: int, to: int) -> list[str]:
    """Return the shortest walk from ``player`` to ``to``."""
    walks = _walks(board, player, boxes)
    moves: list[str] = []
    while to != player:
        for direction in DIRECTIONS:
            near = board.next[_OPPOSITE[direction]][to]
            if walks.get(near, FAR) == walks[to] - 1:
                moves.append(direction)
                to = near
                break
    return moves[::-1]


def _pushes(following: Mapping[str, tuple[int, ...]], target: int) -> tuple[int, ...]:
    """Return for each cell the pushes that bring a lone box to ``target``, by pulling it backwards."""
    found = [FAR] * len(following["up"])
    found[target] = 0
    queue = deque([target])
    while queue:
        box = queue.popleft()
        for direction in DIRECTIONS:
            near = following[direction][box]
            stand = following[direction][near] if near >= 0 else -1
            if near >= 0 and stand >= 0 and found[near] == FAR:
                found[near] = found[box] + 1
                queue.append(near)
    return tuple(found)
