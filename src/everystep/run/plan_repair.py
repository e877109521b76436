"""Repair of plans of tool calls: a tool that does not exist becomes the one most like it, and calls that may not follow each other are joined by a legal way, or parted.

Nothing here asks a model, and nothing sees the gold plan. What is like what is counted from names and descriptions: words weighted by how rare they are among the tools,
and letters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from math import log, sqrt

from everystep.core.errors import ConfigError, did_you_mean
from everystep.environments.tooluse.toolgraph import ToolGraph
from everystep.environments.tooluse.toolplan import Argument, Call, ToolPlan, joined

EDGES = ("path", "swap", "drop")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_REFERENCE = re.compile(r"<node-(\d{1,4})>")
_FITS = 0.15  # what it counts that all neighbours of a call allow a tool; names as alike as that are told apart by them
_NAME = 60  # letters that a name may have
_ROUNDS = 6
_NEW = 1000  # numbers of calls that are put in, while the plan is worked on


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A plan after repair, and what was changed, in words."""

    plan: ToolPlan
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The tools of a graph by their words: how alike a text and a tool are, from 0 to 1."""

    graph: ToolGraph
    rare: Mapping[str, float] = field(init=False)
    vectors: Mapping[str, Mapping[str, float]] = field(init=False)
    told: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        texts = {name: words(f"{name} {name} {tool.text}") for name, tool in self.graph.tools.items()}
        seen = Counter(word for some in texts.values() for word in {*some})
        rare = {word: log((1 + len(texts)) / count) for word, count in seen.items()}
        told = {name: f" {' '.join(words(tool.text))} " for name, tool in self.graph.tools.items()}
        object.__setattr__(self, "told", told)
        object.__setattr__(self, "rare", rare)
        object.__setattr__(self, "vectors", {name: _vector(some, rare) for name, some in texts.items()})

    def likeness(self, text: str, tool: str) -> float:
        """Return how alike a name or a sentence and a tool are: the mean of words in common and (for what is short enough to be a name) letters; 0.9 at least where the tool's description has the name in it."""
        return self._likeness(words(text), _bare(text), tool)

    def _likeness(self, said: list[str], bare: str, tool: str) -> float:
        vector, other = _vector(said, self.rare), self.vectors[tool]
        common = sum(weight * other.get(word, 0.0) for word, weight in vector.items())
        if len(bare) > _NAME:
            return common / 2
        letters = SequenceMatcher(None, bare, _bare(tool), autojunk=False).ratio()
        named = len(vector) > 1 and f" {' '.join(said)} " in self.told[tool]
        return max((letters + common) / 2, 0.9 * named)

    def nearest(self, text: str, tools: Collection[str] | None = None, least: float = 0.0) -> str | None:
        """Return the tool most like a text, among ``tools`` or all; ``None`` where all are less like it than ``least``. Of equals the first by name.

        >>> from everystep.environments.tooluse.toolgraph import tool_graph
        >>> lexicon = Lexicon(tool_graph("huggingface"))
        >>> lexicon.nearest("text_summarization"), lexicon.nearest("Named Entity Recognition"), lexicon.nearest("xyzzy", least=0.3)
        ('Summarization', 'Token Classification', None)
        """
        said, bare = words(text), _bare(text)
        scored = sorted((-self._likeness(said, bare, one), one) for one in (tools or self.graph.tools))
        return scored[0][1] if scored and -scored[0][0] >= least else None


def words(text: str) -> list[str]:
    """Return the words of a text or name, in small letters, without the endings that most often differ.

    >>> words("GetMovieCredit: Retrieves credits")
    ['get', 'movi', 'credit', 'retriev', 'credit']
    """
    return [_stem(word.lower()) for word in _WORD.findall(text)]


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ing", "ies", "es", "ed", "er", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def _vector(some: list[str], rare: Mapping[str, float]) -> dict[str, float]:
    weights = {word: count * rare.get(word, 1.0) for word, count in Counter(some).items()}
    length = sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {word: weight / length for word, weight in weights.items()}


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# --- repair -------------------------------------------------------------------------------------------------


def repair(
    plan: ToolPlan, lexicon: Lexicon, *, edges: str = "drop", most: int = 1, least: float = 0.2
) -> Repaired:
    """Return a plan whose tools exist and whose links and references are edges of the graph.

    A tool that does not exist becomes the nearest one; its call is dropped where all are less like it than ``least``. Where a pair is no edge, ``edges`` says what is done: ``path`` puts
    in the fewest tools that lead from one to the other (at most ``most``), ``swap`` takes another tool for one of the two, the most similar one that all its
    neighbours allow, and ``drop`` takes the link and the reference away; where the first two find nothing they drop.
    On plans that were damaged on purpose ``drop`` costs no tool and gives back most edges in all; ``path`` is better where a tool was skipped. Calls that wait in a circle lose what points back; references that count from 1 are counted from 0. A legal plan stays as it is.
    """
    if edges not in EDGES:
        raise ConfigError(f"unknown way {edges!r} to repair edges. {did_you_mean(edges, EDGES)}")
    changes: list[str] = []
    for _ in range(
        _ROUNDS
    ):  # links name tools, not calls: what was put in can change which calls a link joins
        after, some = _round(plan, lexicon, edges, most, least)
        changes += some
        if not some:
            break
        plan = after
    return Repaired(plan=plan, changes=tuple(changes))


def _round(
    plan: ToolPlan, lexicon: Lexicon, edges: str, most: int, least: float
) -> tuple[ToolPlan, list[str]]:
    draft = _draft(plan)
    _count_from_zero(draft)
    _name(draft, lexicon, least)
    for a, b in sorted(draft.pairs(), key=lambda one: (one[1], one[0])):
        if lexicon.graph.legal(draft.tool(a), draft.tool(b)):
            continue
        if edges == "path" and _bridge(draft, a, b, lexicon.graph, most):
            continue
        if edges == "swap" and _swap(draft, a, b, lexicon):
            continue
        draft.changes.append(f"{draft.tool(a)!r} to {draft.tool(b)!r} dropped")
        draft.part(a, b)
    _untangle(draft)
    return draft.plan(plan), draft.changes


@dataclass(slots=True)
class _Draft:
    """A plan while it is worked on: calls by number, their order, links as pairs of numbers."""

    calls: dict[int, Call]
    order: list[int]
    links: dict[tuple[int, int], None]
    changes: list[str] = field(default_factory=list)

    def tool(self, number: int) -> str:
        return self.calls[number].tool

    def pairs(self) -> set[tuple[int, int]]:
        """Return the pairs that links and references make."""
        referred = {
            (int(found), taker)
            for taker, call in self.calls.items()
            for one in call.arguments
            for found in _REFERENCE.findall(one.value)
            if int(found) in self.calls and int(found) != taker
        }
        return referred | {*self.links}

    def part(self, a: int, b: int) -> None:
        """Take away what joins two calls."""
        self.links.pop((a, b), None)
        kept = tuple(one for one in self.calls[b].arguments if str(a) not in _REFERENCE.findall(one.value))
        self.calls[b] = replace(self.calls[b], arguments=kept)

    def refer(self, taker: int, old: int, new: int) -> None:
        """Let a call take the result of another one."""
        arguments = tuple(
            replace(one, value=_REFERENCE.sub(lambda found: f"<node-{new}>" if int(found[1]) == old else found[0], one.value))
            for one in self.calls[taker].arguments
        )  # fmt: skip
        self.calls[taker] = replace(self.calls[taker], arguments=arguments)

    def plan(self, was: ToolPlan) -> ToolPlan:
        """Return it with its calls numbered anew."""
        place = {number: at for at, number in enumerate(self.order)}

        def renumbered(one: Argument) -> Argument:
            return replace(
                one, value=_REFERENCE.sub(lambda found: f"<node-{place[int(found[1])]}>", one.value)
            )

        calls = tuple(
            Call(
                tool=self.tool(number),
                arguments=tuple(
                    renumbered(one)
                    for one in self.calls[number].arguments
                    if all(int(found) in place for found in _REFERENCE.findall(one.value))
                ),
            )
            for number in self.order
        )
        links = dict.fromkeys((self.tool(a), self.tool(b)) for a, b in self.links)
        return ToolPlan(
            calls=calls, links=tuple(links), steps=was.steps if self.order == [*range(len(was.calls))] else ()
        )


def _draft(plan: ToolPlan) -> _Draft:
    links: dict[tuple[int, int], None] = {}
    changes = []
    for link in plan.links:
        pair = joined(plan, link)
        if pair is None:
            changes.append(
                f"the link of {link[0][:60]!r} and {link[1][:60]!r} dropped: they are not two calls"
            )
        else:
            links[pair] = None
    calls = {
        number: replace(
            call,
            arguments=tuple(  # references to calls that there are not would point at what is put in
                one
                for one in call.arguments
                if all(int(found) <= len(plan.calls) for found in _REFERENCE.findall(one.value))
            ),
        )
        for number, call in enumerate(plan.calls)
    }
    return _Draft(calls, [*calls], links, changes)


def _count_from_zero(draft: _Draft) -> None:
    """Where references count calls from 1: those to the call before each number are links more often than those to the number itself."""
    pairs = [(int(n), b) for b, call in draft.calls.items() for one in call.arguments for n in _REFERENCE.findall(one.value)]  # fmt: skip
    if any(a == 0 for a, _ in pairs):
        return
    if sum((a - 1, b) in draft.links for a, b in pairs) <= sum(pair in draft.links for pair in pairs):
        return
    draft.changes.append("references counted from 0, no longer from 1")
    for number, call in draft.calls.items():
        draft.calls[number] = replace(
            call,
            arguments=tuple(
                replace(one, value=_REFERENCE.sub(lambda found: f"<node-{int(found[1]) - 1}>", one.value))
                for one in call.arguments
            ),
        )


def _name(draft: _Draft, lexicon: Lexicon, least: float) -> None:
    """Give every call a tool that exists, or drop it and join what was around it."""
    for number in [*draft.order]:
        tool = draft.tool(number)
        if tool in lexicon.graph.tools:
            continue
        near = _fitting(draft, number, lexicon, least)
        if near is not None:
            draft.changes.append(f"{tool[:60]!r} became {near!r}")
            draft.calls[number] = replace(draft.calls[number], tool=near)
            continue
        draft.changes.append(f"{tool[:60]!r} dropped")
        before = [a for a, b in draft.pairs() if b == number]
        after = [b for a, b in draft.pairs() if a == number]
        draft.order.remove(number)
        del draft.calls[number]
        draft.links = {one: None for one in draft.links if number not in one}
        for b in after:
            if before:
                draft.refer(b, number, before[0])
            for a in before:
                if a != b:
                    draft.links[(a, b)] = None


def _fitting(draft: _Draft, number: int, lexicon: Lexicon, least: float) -> str | None:
    """Return the tool that is most like the name of a call, where its neighbours allow it rather than not."""
    name, graph, pairs = draft.tool(number), lexicon.graph, draft.pairs()
    before = [draft.tool(a) for a, b in pairs if b == number and draft.tool(a) in graph.tools]
    after = [draft.tool(b) for a, b in pairs if a == number and draft.tool(b) in graph.tools]
    around = len(before) + len(after)
    found: list[tuple[float, str]] = []
    for tool in graph.tools:
        alike = lexicon.likeness(name, tool)
        fits = sum(graph.legal(one, tool) for one in before) + sum(graph.legal(tool, one) for one in after)
        if alike >= least:
            found.append((-alike - (_FITS * fits / around if around else 0.0), tool))
    return min(found)[1] if found else None


def _untangle(draft: _Draft) -> None:
    """Where calls wait for each other in a circle: part those pairs that point back."""
    place = {number: at for at, number in enumerate(draft.order)}
    waiting = {number: {a for a, b in draft.pairs() if b == number} for number in draft.order}
    while free := [number for number, some in waiting.items() if not some & waiting.keys()]:
        for number in free:
            del waiting[number]
    for a, b in sorted(draft.pairs()):
        if a in waiting and b in waiting and place[a] > place[b]:
            draft.changes.append(f"{draft.tool(a)!r} to {draft.tool(b)!r} dropped: they wait in a circle")
            draft.part(a, b)


def _bridge(draft: _Draft, a: int, b: int, graph: ToolGraph, most: int) -> bool:
    """Put the fewest tools between two calls that lead from one to the other."""
    way = graph.between(draft.tool(a), draft.tool(b), most)
    if not way:
        return False
    draft.changes.append(f"{', '.join(map(repr, way))} put between {draft.tool(a)!r} and {draft.tool(b)!r}")
    draft.links.pop((a, b), None)
    last = a
    for tool in way:
        new = _NEW + len(draft.calls)
        draft.calls[new] = Call(tool=tool, arguments=(Argument(value=f"<node-{last}>"),))
        draft.order.insert(max(draft.order.index(last) + 1, draft.order.index(b)), new)
        draft.links[(last, new)] = None
        last = new
    draft.links[(last, b)] = None
    draft.refer(b, a, last)
    return True


def _swap(draft: _Draft, a: int, b: int, lexicon: Lexicon) -> bool:
    """Take another tool for one of two calls: the most similar one that all its neighbours allow."""
    graph, pairs = lexicon.graph, draft.pairs()
    used = {draft.tool(one) for one in draft.order}
    best: tuple[float, str, int] | None = None
    for number in (a, b):
        before = [draft.tool(one) for one, other in pairs if other == number]
        after = [draft.tool(other) for one, other in pairs if one == number]
        text = f"{draft.tool(number)} {graph.tools[draft.tool(number)].text}"
        for tool in graph.tools:
            fits = all(graph.legal(one, tool) for one in before) and all(
                graph.legal(tool, one) for one in after
            )
            if fits and tool not in used:
                found = (-lexicon.likeness(text, tool), tool, number)
                best = found if best is None else min(best, found)
    if best is None:
        return False
    _, tool, number = best
    draft.changes.append(f"{draft.tool(number)!r} became {tool!r}")
    draft.calls[number] = replace(draft.calls[number], tool=tool)
    return True
