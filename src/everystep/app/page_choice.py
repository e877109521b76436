"""Which episodes a page holds: whole groups, spread over the iterations, the first one in full."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from everystep.core.trace import Ending

_WINDOW = 8
"""So many iterations of a phase share the room before further ones get any."""


def choose(endings: Iterable[Ending], limit: int) -> set[str]:
    """Return the ids of about ``limit`` episodes, never more: groups are taken whole.

    The first iteration of the main phase (``train``, or the phase with most episodes) comes first and may take half of
    the room; then the iterations take turns, one group each: first, last, middle, quarters. The other
    phases take part with their iterations in the same order. A group that is larger than all the room is cut.
    """
    iterations: dict[str, dict[int, dict[str, list[str]]]] = {}
    for ending in endings:
        groups = iterations.setdefault(ending.phase, {}).setdefault(ending.iteration, {})
        groups.setdefault(ending.group, []).append(ending.id)
    if not iterations or limit < 1:
        return set()
    main = "train" if "train" in iterations else max(iterations, key=lambda phase: _count(iterations[phase]))
    queues = {
        phase: [list(numbers[number].values()) for number in spread(sorted(numbers))]
        for phase, numbers in iterations.items()
    }
    chosen: set[str] = set()
    first = queues[main][0]
    room = limit if len(iterations[main]) == 1 and len(queues) == 1 else max(1, limit // 2)
    _take(first, chosen, room, whole=True)
    while any(queues.values()) and len(chosen) < limit:
        window = queues[main][:_WINDOW] + [
            queue for phase, some in queues.items() if phase != main for queue in some[:2]
        ]
        before = len(chosen)
        for queue in window:
            _take(queue, chosen, limit, whole=False)
        if len(chosen) == before and not any(window):
            queues = {phase: [queue for queue in some if queue] for phase, some in queues.items()}
    return chosen or set(next(iter(iterations[main][min(iterations[main])].values()))[:limit])


def spread(numbers: Sequence[int]) -> list[int]:
    """Return sorted numbers in the order first, last, middle, quarters, and so on.

    >>> spread([0, 1, 2, 3, 4])
    [0, 4, 2, 1, 3]
    """
    if not numbers:
        return []
    found = list(dict.fromkeys([numbers[0], numbers[-1]]))
    gaps = [(0, len(numbers) - 1)]
    while gaps:
        later = []
        for low, high in gaps:
            if high - low > 1:
                middle = (low + high) // 2
                found.append(numbers[middle])
                later += [(low, middle), (middle, high)]
        gaps = later
    return found


def _take(queue: list[list[str]], chosen: set[str], limit: int, *, whole: bool) -> None:
    """Move groups that still fit from the queue: one, or with ``whole`` all of them."""
    while queue and (not whole or len(chosen) + len(queue[0]) <= limit):
        group = queue.pop(0)
        if len(chosen) + len(group) <= limit:
            chosen.update(group)
            if not whole:
                return


def _count(numbers: dict[int, dict[str, list[str]]]) -> int:
    return sum(len(group) for groups in numbers.values() for group in groups.values())
