"""Recall: what a memory has to say about the step that is to be decided."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.core.protocols import Situation
from everystep.evolve.memory import Item, Memory, Sort

_RECALLED = 4_096


class Remembered:
    """What a memory has to say about a situation: the ``Recall`` of a run.

    Up to ``k`` items of ``kinds``, each cut to ``chars`` characters; notes only of the same run. The rank is the BM25 value times
    ``(1 + helped) / (1 + used)``: what was recalled in runs that failed falls behind.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        k: int = 4,
        kinds: Sequence[Sort] = (Sort.NOTE, Sort.TIP, Sort.EPISODE, Sort.FACT),
        chars: int = 400,
    ) -> None:
        self.memory, self.k, self.kinds, self.chars = memory, k, tuple(kinds), chars
        self._recalled: dict[str, dict[str, None]] = {}

    def recall(self, situation: Situation) -> tuple[str, ...]:
        """Return the best texts for the goal and what is seen now, best first."""

        def fits(item: Item) -> bool:
            return item.kind is not Sort.NOTE or item.run == situation.run

        query = f"{situation.goal or situation.task.instruction}\n{situation.observation.text}"
        hits = self.memory.search(query, 4 * self.k, kinds=self.kinds, only=fits)
        hits.sort(key=lambda hit: -hit.score * (1 + hit.item.helped) / (1 + hit.item.used))
        chosen = hits[: self.k]
        recalled = self._recalled.setdefault(situation.run, {})
        for hit in chosen:
            if len(recalled) < _RECALLED:
                recalled[hit.item.id] = None
        return tuple(f"{hit.item.kind}: {_line(hit.item.text, self.chars)}" for hit in chosen)

    def settle(self, run: str, *, helped: bool) -> None:
        """Count the use of everything that was recalled in ``run``, once it is known how it went."""
        self.memory.credit(tuple(self._recalled.pop(run, {})), helped=helped)


def note(situation: Situation, text: str, *, time: float) -> Item:
    """Return a note of this run and step."""
    return Item(kind=Sort.NOTE, text=text, run=situation.run, step=situation.step, time=time)


def _line(text: str, chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else f"{line[: chars - 4]} ..."
