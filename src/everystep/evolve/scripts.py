"""Graph scripts: what many orders of the steps of one task have in common (Zhou et al., ACL 2023, arXiv 2305.17542).

A list of steps says one order. People, and agents, take many: some steps are left out, some change places, some lead here or there. From observed paths a script keeps which step
follows which and how often (the published graph: adjacent pairs above a threshold), and beyond that which step always comes before which, which are optional, which change
places and which stand for each other. Paths are any sequences of names: annotated videos, or the actions of trajectories (``paths_of``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from everystep.core.errors import ConfigError, DataError
from everystep.core.records import Trajectory

Path = tuple[str, ...]
_WIDTH = 38


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One step straight after another: in how many paths, and in which share of all paths."""

    before: str
    after: str
    count: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What was induced from ``paths`` paths.

    ``steps`` stand in the order of their mean place. ``share`` is the share of the paths that have a step, ``starts`` and ``ends`` the shares that begin and end with it. ``order`` are
    the pairs of which the first came before the second (nearly) whenever both did, without those that follow from others; ``swappable`` pairs come in both orders; ``alternatives``
    are pairs that hardly ever come together although both are frequent; ``optional`` steps are often left out.
    """

    steps: tuple[str, ...]
    paths: int
    share: Mapping[str, float]
    starts: Mapping[str, float]
    ends: Mapping[str, float]
    edges: tuple[Edge, ...]
    order: tuple[tuple[str, str], ...]
    swappable: tuple[tuple[str, str], ...]
    alternatives: tuple[tuple[str, str], ...]
    optional: tuple[str, ...]

    @property
    def branching(self) -> tuple[str, ...]:
        """The steps with more than one edge to a next step."""
        count = Counter(edge.before for edge in self.edges)
        return tuple(step for step in self.steps if count[step] > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What counts as what. Shares from 0 to 1.

    ``edge``: an edge is kept in more than this share of the paths (published: more than 4 of 40 sampled paths). ``sure``: pairs in this share of the paths with both are an order.
    ``swapped``: the rarer order of a swappable pair has at least this share. ``optional``: steps in less than this share of the paths. ``apart``: alternatives come together in at
    most this share of what chance would say. ``least``: pairs seen together (for alternatives: expected together) less often say nothing.
    """

    edge: float = 0.1
    sure: float = 0.9
    swapped: float = 0.25
    optional: float = 0.75
    apart: float = 0.2
    least: int = 5

    def __post_init__(self) -> None:
        for name in ("edge", "sure", "swapped", "optional", "apart"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"threshold {name} is {getattr(self, name)!r}; it is a share from 0 to 1.")
        if self.swapped <= 1 - self.sure:
            raise ConfigError(
                f"a pair could be an order and swappable at once: swapped {self.swapped!r} must be above 1 - sure {1 - self.sure!r}."
            )


USUAL = Thresholds()


def induce(paths: Iterable[Sequence[str]], thresholds: Thresholds = USUAL) -> Script:
    """Induce the script of one task from its paths. Where a step comes back, its first place counts for the order. Raises ``DataError`` without any step.

    >>> tea = induce([("boil", "pour", "milk"), ("boil", "milk", "pour"), ("boil", "pour")] * 5)
    >>> tea.order, tea.swappable, tea.optional, tea.branching
    ((('boil', 'pour'), ('boil', 'milk')), (('pour', 'milk'),), ('milk',), ('boil',))
    """
    seen = [tuple(path) for path in paths if path]
    if not seen:
        raise DataError("there is no step in these paths: a script is induced from paths with at least one.")
    firsts = [_first_places(path) for path in seen]
    share = Counter(step for places in firsts for step in places)
    total = len(seen)
    mean = {
        step: sum(places[step] / len(places) for places in firsts if step in places) / count
        for step, count in share.items()
    }
    steps = tuple(sorted(share, key=lambda step: (mean[step], -share[step], step)))
    before = Counter(
        (one, other) for places in firsts for one in places for other in places if places[one] < places[other]
    )
    adjacent = Counter(pair for path in seen for pair in set(pairwise(path)))
    pairs = [(one, other) for number, one in enumerate(steps) for other in steps[number + 1 :]]
    together = {pair: before[pair] + before[pair[::-1]] for pair in pairs}
    known = [pair for pair in pairs if together[pair] >= thresholds.least]
    order = [
        way for pair in known for way in (pair, pair[::-1]) if before[way] >= thresholds.sure * together[pair]
    ]
    return Script(
        steps=steps,
        paths=total,
        share={step: share[step] / total for step in steps},
        starts=_shares([path[0] for path in seen], steps),
        ends=_shares([path[-1] for path in seen], steps),
        edges=tuple(
            Edge(before=one, after=other, count=count, weight=count / total)
            for (one, other), count in sorted(adjacent.items(), key=lambda item: (-item[1], item[0]))
            if count > thresholds.edge * total
        ),
        order=tuple(_reduced(order)),
        swappable=tuple(
            pair
            for pair in known
            if min(before[pair], before[pair[::-1]]) >= thresholds.swapped * together[pair]
        ),
        alternatives=tuple(
            pair
            for pair in pairs
            if _expected(share, pair, total) >= thresholds.least
            and together[pair] <= thresholds.apart * _expected(share, pair, total)
        ),
        optional=tuple(step for step in steps if share[step] < thresholds.optional * total),
    )


def paths_of(
    trajectories: Iterable[Trajectory],
    name: Callable[[str], str] = str.strip,
    *,
    only_successes: bool = True,
) -> list[Path]:
    """Return the actions of trajectories as paths, refused and undone ones left out; ``name`` makes a step's name of an action's text."""
    return [
        tuple(name(step.action.text) for step in one.steps if step.action.valid and not step.undone)
        for one in trajectories
        if one.success or not only_successes
    ]


def mermaid(script: Script) -> str:
    """Return the script as a Mermaid diagram: edges with their weights, optional steps dashed, swappable pairs on dotted lines; it begins and ends where at least a tenth of the paths do."""
    number = {step: f"s{place}" for place, step in enumerate(script.steps)}
    lines = ["graph TD", '  start(("start"))', '  finish(("done"))']
    for step in script.steps:
        label = f'"{_wrapped(step)}<br/>{script.share[step]:.0%}"'
        shape = f"({label})" if step in script.optional else f"[{label}]"
        lines.append(f"  {number[step]}{shape}")
    lines += [
        f"  start -->|{value:.2f}| {number[step]}" for step, value in script.starts.items() if value >= 0.1
    ]
    lines += [f"  {number[edge.before]} -->|{edge.weight:.2f}| {number[edge.after]}" for edge in script.edges]
    lines += [
        f"  {number[step]} -->|{value:.2f}| finish" for step, value in script.ends.items() if value >= 0.1
    ]
    lines += [f"  {number[one]} -.-|swappable| {number[other]}" for one, other in script.swappable]
    if script.optional:
        lines.append("  classDef optional stroke-dasharray: 5 5")
        lines.append(f"  class {','.join(number[step] for step in script.optional)} optional")
    return "\n".join(lines) + "\n"


def dot(script: Script) -> str:
    """Return the script for Graphviz; thicker edges are taken more often."""
    number = {step: f"s{place}" for place, step in enumerate(script.steps)}
    lines = ["digraph script {", "  rankdir=TB; node [shape=box, fontsize=10]; edge [fontsize=9];"]
    for step in script.steps:
        told = _wrapped(step, "\\n").replace('"', "'")
        style = ", style=dashed" if step in script.optional else ""
        lines.append(f'  {number[step]} [label="{told}\\n{script.share[step]:.0%}"{style}];')
    lines += [
        f'  {number[edge.before]} -> {number[edge.after]} [label="{edge.weight:.2f}", penwidth={1 + 4 * edge.weight:.1f}];'
        for edge in script.edges
    ]
    lines += [
        f"  {number[one]} -> {number[other]} [dir=none, style=dotted, constraint=false];"
        for one, other in script.swappable
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _first_places(path: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for step in path:
        places.setdefault(step, len(places))
    return places


def _shares(some: Sequence[str], steps: Sequence[str]) -> dict[str, float]:
    count = Counter(some)
    return {step: count[step] / len(some) for step in steps if count[step]}


def _expected(share: Mapping[str, int], pair: tuple[str, str], total: int) -> float:
    return share[pair[0]] * share[pair[1]] / total


def _reduced(order: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out the pairs that follow from two others."""
    known = set(order)
    return [
        (one, other)
        for one, other in order
        if not any((one, middle) in known and (middle, other) in known for _, middle in known)
    ]


def _wrapped(step: str, newline: str = "<br/>") -> str:
    lines: list[str] = []
    for word in step.replace('"', "'").split():
        if lines and len(lines[-1]) + len(word) < _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return newline.join(lines)
