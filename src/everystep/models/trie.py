"""The admissible answers of a turn as a trie over tokens: where a model may choose, and between what."""

from __future__ import annotations

from collections.abc import Sequence

from everystep.core.errors import ModelError


class Node:
    """A point inside an answer: the token ids that may come next (ascending), and where each leads.

    At the end of an answer ``ids`` is empty and ``text`` is the answer.
    """

    __slots__ = ("depth", "ids", "next", "text")

    def __init__(self) -> None:
        self.ids: tuple[int, ...] = ()
        self.next: dict[int, Node] = {}
        self.text: str | None = None
        self.depth = 0


def trie(texts: Sequence[str], sequences: Sequence[tuple[int, ...]]) -> Node:
    """Return the root of the trie over ``sequences``; the leaf of ``sequences[i]`` carries ``texts[i]``.

    ``depth`` of the root is the length of the longest sequence. Every sequence ends with the same
    end-of-turn ids, so none is a prefix of another one. Two texts that have the same tokens raise
    ``ModelError``: the model could not tell them apart.

    >>> root = trie(["up", "upper"], [(1, 9), (1, 2, 9)])
    >>> root.ids, root.next[1].ids, root.next[1].next[9].text
    ((1,), (2, 9), 'up')
    """
    root = Node()
    for text, ids in zip(texts, sequences, strict=True):
        node = root
        for token in ids:
            node = node.next.setdefault(token, Node())
        if node.text not in (None, text) or node.next:
            raise ModelError(
                f"the allowed answers {node.text or 'another one'!r} and {text!r} have the same tokens, so the model "
                "cannot tell them apart. Train the tokenizer on texts that contain every action, or give it a "
                "fallback to characters."
            )
        node.text = text
        root.depth = max(root.depth, len(ids))
    stack = [root]
    while stack:
        node = stack.pop()
        node.ids = tuple(sorted(node.next))
        stack.extend(node.next.values())
    return root


def walk(root: Node, ids: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the ids that could be chosen at each token of one complete answer."""
    allowed = []
    node = root
    for token in ids:
        allowed.append(node.ids)
        node = node.next[token]
    return allowed
