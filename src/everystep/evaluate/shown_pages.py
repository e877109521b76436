"""How long pages are as they are shown, and whether what must be acted on is still there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from everystep.evaluate.intervals import Interval, bootstrap_mean
from everystep.run.aims import Aim
from everystep.tools.axprune import PASSES, page_text, prune
from everystep.tools.axtree import AXNode, nodes_of, raw_text

Count = Callable[[str], int]
"""How many tokens a text has."""
FORMS: Mapping[str, Callable[[AXNode], str]] = {
    "raw": raw_text,
    "pruned by role": lambda tree: page_text(prune(tree, clickable=False)),
    "pruned": lambda tree: page_text(prune(tree)),
}
"""The forms in which a tree is shown."""


def tokens(aim: Aim, count: Count) -> dict[str, float]:
    """Return the tokens of a page in each form."""
    return {name: float(count(form(aim.tree))) for name, form in FORMS.items()}


def fate(aim: Aim, *, clickable: bool) -> str:
    """Return what became of the element that is acted on.

    ``kept`` with its number; ``around``: what holds it has one, so a click there reaches it or may; ``dropped`` by pruning; ``unnumbered``: it is shown as text without a number;
    ``not in the tree`` that the browser gives, so no form of it could show it; ``none``: the step acts on no element.
    """
    if not aim.target:
        return "none"
    was = _path(aim.tree, aim.target)
    if was is None:
        return "not in the tree"
    short = prune(aim.tree, clickable=clickable)
    numbers = {one.id for one in nodes_of(short) if one.id}
    if aim.target in numbers:
        return "kept"
    if any(one.id in numbers for one in was[:-1] if one.id):
        return "around"
    return "unnumbered" if was[-1].name and was[-1].name in page_text(short) else "dropped"


def fates(some: Iterable[Aim], *, clickable: bool) -> dict[str, int]:
    """Return how often each thing happened to targets."""
    found: dict[str, int] = {}
    for aim in some:
        name = fate(aim, clickable=clickable)
        found[name] = found.get(name, 0) + 1
    return found


def by_pass(some: Sequence[Aim], count: Count) -> list[tuple[str, float]]:
    """Return the mean tokens of a page after each pass, one after the other: the raw text, the short form of the whole tree, then pass by pass, then until nothing changes."""
    sums: dict[str, float] = {}
    for aim in some:
        tree = aim.tree
        told = [("raw", raw_text(tree)), ("another form of line", page_text(tree))]
        for name, one in PASSES:
            tree = one(tree)
            told.append((name, page_text(tree)))
        told.append(("again, until nothing changes", page_text(prune(aim.tree))))
        for name, text in told:
            sums[name] = sums.get(name, 0.0) + count(text)
    return [(name, total / max(1, len(some))) for name, total in sums.items()]


def ratio(some: Sequence[Mapping[str, float]], form: str) -> Interval:
    """Return the mean over pages of the share of the raw page's tokens that a form takes."""
    return bootstrap_mean([one[form] / one["raw"] for one in some])


def page_report(name: str, some: Sequence[Aim], count: Count) -> tuple[list[str], dict[str, float]]:
    """Return lines about pages, and the mean tokens of each form with the share of targets that keep their number."""
    sizes = [tokens(aim, count) for aim in some]
    told = {f"{name} {form}": bootstrap_mean([one[form] for one in sizes]).value for form in FORMS}
    lines = [f"{name}: {len(some)} pages, mean tokens: " + ", ".join(f"{form} {bootstrap_mean([one[form] for one in sizes])}" for form in FORMS)]  # fmt: skip
    lines.append(f"  share of the raw tokens: pruned {ratio(sizes, 'pruned')}, by role {ratio(sizes, 'pruned by role')}")  # fmt: skip
    lines += [f"  after {one}: {mean:.1f}" for one, mean in by_pass(some, count)]
    for form, clickable in (("pruned", True), ("by role", False)):
        found = fates(some, clickable=clickable)
        told[f"{name} kept {form}"] = found.get("kept", 0) / max(
            1, sum(found.values()) - found.get("none", 0)
        )
        lines.append(f"  targets, {form}: {dict(sorted(found.items()))}")
    lost = {f"{fate(aim, clickable=True)}: {aim.task.tags.get('task') or aim.task.tags.get('goal')}, {aim.action}" for aim in some}  # fmt: skip
    lines += [f"  {one}" for one in sorted(lost) if not one.startswith(("kept", "none"))]
    return lines, told


def _path(tree: AXNode, number: int) -> list[AXNode] | None:
    """Return the nodes from the root to the one with a number."""
    stack: list[tuple[AXNode, list[AXNode]]] = [(tree, [])]
    while stack:
        node, above = stack.pop()
        if node.id == number:
            return [*above, node]
        stack += [(child, [*above, node]) for child in node.children]
    return None
