"""A memory of several granularities: whole documents, single propositions and concepts, of which the best match counts.

Cognitive Kernel's memory: a document is found by itself, by any sentence that it says, or by what it is about. Propositions and concepts are
given by whoever writes (a model, as a rule). The scores are the full-text index's, so levels can be compared; a document has the greatest of its pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from everystep.core.protocols import Situation
from everystep.evolve.memory import Item, Memory, Sort


class Layer(StrEnum):
    """How fine a piece of memory is."""

    DOCUMENT = "document"
    PROPOSITION = "proposition"
    CONCEPT = "concept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A document that was found, by which piece of it, and how well."""

    text: str
    piece: str
    layer: Layer
    score: float
    time: float


class Layers:
    """Documents with their pieces in ``memory``, searched on ``layers``.

    >>> with Memory.open() as memory:
    ...     layers = Layers(memory)
    ...     _ = layers.write("Anna called. She has moved north.", propositions=["Anna lives in Oslo."], concepts=["Anna: home, city"])
    ...     [(one.text, one.layer.value) for one in layers.search("Which city is Anna's home?", 1)]
    [('Anna called. She has moved north.', 'concept')]
    """

    def __init__(self, memory: Memory, *, layers: Sequence[Layer] = tuple(Layer)) -> None:
        self.memory, self.layers = memory, frozenset(layers)

    def write(
        self,
        document: str,
        *,
        propositions: Sequence[str] = (),
        concepts: Sequence[str] = (),
        run: str = "",
        time: float = 0.0,
    ) -> str:
        """Keep a document and its pieces; return the document's id. Writing the same again keeps it once."""
        name = self.memory.write(
            Item(
                kind=Sort.EPISODE,
                text=document,
                data={"layer": Layer.DOCUMENT.value},
                run=run,
                time=time,
            )
        )
        for layer, pieces in ((Layer.PROPOSITION, propositions), (Layer.CONCEPT, concepts)):
            for number, piece in enumerate(pieces):
                item = Item(
                    kind=Sort.FACT,
                    id=f"{name}.{layer.value}.{number}",
                    text=piece,
                    data={"layer": layer.value, "of": name},
                    run=run,
                    time=time,
                )
                self.memory.write(item)
        return name

    def search(self, query: str, k: int = 5) -> list[Found]:
        """Return the ``k`` documents with the best pieces, best first."""
        found: dict[str, Found] = {}

        def counts(item: Item) -> bool:
            return item.data.get("layer") in self.layers and str(item.data.get("of", item.id)) not in found

        while len(found) < k:
            before = len(found)
            hits = self.memory.search(query, k - before, only=counts)
            for hit in hits:
                name = str(hit.item.data.get("of", hit.item.id))
                document = self.memory.get(name)
                if document is not None and name not in found:
                    layer = Layer(str(hit.item.data["layer"]))
                    found[name] = Found(
                        text=document.text,
                        piece=hit.item.text,
                        layer=layer,
                        score=hit.score,
                        time=document.time,
                    )
            if len(found) == before:
                break
        return list(found.values())

    def told(self, query: str, k: int = 5) -> tuple[str, ...]:
        """Return what ``search`` finds as lines of text, each after its time."""
        return tuple(f"[{one.time:g}] {' '.join(one.text.split())}" for one in self.search(query, k))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayersRecall:
    """The ``Recall`` of a run: the ``k`` documents that go with the goal."""

    layers: Layers
    k: int = 3

    def recall(self, situation: Situation) -> tuple[str, ...]:
        """Return the documents, best first."""
        return self.layers.told(situation.goal, self.k)
