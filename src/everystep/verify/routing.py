"""Rewards of a step that sends a sub-question to a named store, and of a step that answers from what was found.

R1-Router (arXiv 2505.22095), as in the released ``step_compute_score``. Its embedding model is an argument here: any function of two
texts (``overlap.tf_idf`` needs no model). Answers are compared by ``overlap.answer_words``, which is shorter than the released
normalisation: no table of contractions, and ``a`` is an article too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from everystep.verify.overlap import Similarity, best_overlap

NONE = "none"
SHORT = 5
"""Words up to which a single reference has to be recalled completely."""
LONGEST = 16_000
"""Characters of a text that are read."""

Fields = Callable[[str, Sequence[str]], tuple[str, ...] | None]
"""Reads the contents of named parts of a text, ``None`` where one is missing: ``tagged`` or ``labelled``."""


def tagged(text: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return what stands between ``<name>`` and ``</name>`` for each name, in lower case; ``None`` where a tag is missing.

    >>> tagged("<sub-question>Who?</sub-question> <ret>Text Retriever</ret>", ("sub-question", "ret"))
    ('who?', 'text retriever')
    """
    text = text[:LONGEST].lower()
    found = []
    for name in names:
        _, opened, rest = text.partition(f"<{name}>")
        content, closed, _ = rest.partition(f"</{name}>")
        if not (opened and closed):
            return None
        found.append(content.strip())
    return tuple(found)


def labelled(text: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return what stands behind each ``name:``, up to the next one, in lower case; ``None`` unless they are all there, in this order.

    >>> labelled("ask: ada home from: text", ("ask", "from"))
    ('ada home', 'text')
    """
    pattern = r"\s*" + "".join(rf"\b{re.escape(name)}\s*:\s*([^:]*?)\s*" for name in names)
    match = re.fullmatch(pattern, text[:LONGEST].lower())
    return None if match is None else match.groups()


def routing_reward(
    text: str,
    question: str,
    store: str,
    *,
    stores: Collection[str],
    similarity: Similarity,
    fields: Fields = tagged,
    names: tuple[str, str] = ("sub-question", "ret"),
    also: Sequence[str] = ("think",),
) -> float:
    """Return half the likeness to the reference's sub-question, plus one half if exactly its store is named.

    0 for a missing part (``also`` names parts that must be there beside the two ``names``), for a store that is not among ``stores``, and for
    ``none`` together with others. Stores are separated by commas; a store that is named twice is not exactly one.

    >>> routing_reward("ask: ada home from: text", "ada home", "table", stores=("text", "table"), similarity=lambda one, other: 1.0,
    ...                fields=labelled, names=("ask", "from"), also=())
    0.5
    """
    read = fields(text, (*also, *names))
    if read is None:
        return 0.0
    asked, named = read[-2], [name.strip() for name in read[-1].split(",")]
    known = {NONE, *(name.lower() for name in stores)}
    if any(name not in known for name in named) or (NONE in named and len(named) > 1):
        return 0.0
    return 0.5 * similarity(asked, question.lower()) + 0.5 * (named == [store.lower()])


def answer_reward(
    text: str,
    references: Sequence[str],
    *,
    fields: Fields = tagged,
    name: str = "answer",
    also: Sequence[str] = ("think",),
) -> float:
    """Return the recall of the reference's words, all or nothing for a short reference and for several.

    A single reference of more than five words gives the recall itself. Among several the one of the highest F1 counts. 0 for a missing part.
    It is recall: who lists every candidate gets full marks, so bound the length of an answer.

    >>> answer_reward("<think>.</think><answer>It is Lima.</answer>", ["Lima"])
    1.0
    """
    read = fields(text, (*also, name))
    if read is None:
        return 0.0
    recall = best_overlap(read[-1], references).recall
    partial = len(references) == 1 and len(references[0].split()) > SHORT
    return recall if partial else float(recall == 1.0)


def turn_reward(
    text: str,
    reference: str,
    *,
    stores: Collection[str],
    similarity: Similarity,
    names: tuple[str, str] = ("ask", "from"),
    answer: str = "answer",
) -> float:
    """Return the reward of a turn in labels, given the turn that would have been right, which says what kind of turn it is.

    >>> rules = {"stores": ("text", "table"), "similarity": lambda one, other: 1.0}
    >>> turn_reward("ask: ada home from: table", "ask: ada home from: text", **rules), turn_reward("answer: oslo", "answer: lima", **rules)
    (0.5, 0.0)
    """
    right = labelled(reference, names)
    if right is None:
        wanted = labelled(reference, (answer,)) or ()
        return answer_reward(text, wanted, fields=labelled, name=answer, also=())
    question, store = right
    return routing_reward(
        text, question, store, stores=stores, similarity=similarity, fields=labelled, names=names, also=()
    )
