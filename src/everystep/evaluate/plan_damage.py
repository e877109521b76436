"""Damage to plans of tool calls, one fault at a time, of the kinds that published plans have: what repair gives back can then be counted against the plan that was whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from everystep.core.errors import ConfigError, did_you_mean
from everystep.environments.tooluse.toolgraph import ToolGraph
from everystep.environments.tooluse.toolplan import Argument, Call, ToolPlan, joined

_REFERENCE = re.compile(r"<node-(\d{1,4})>")
_COMMON = frozenset(("which", "where", "given", "based", "using", "their", "that", "this", "with", "from", "into", "task", "specific", "about"))  # fmt: skip


def damaged(plan: ToolPlan, graph: ToolGraph, kind: str, random: Random) -> ToolPlan | None:
    """Return the plan with one fault of ``kind`` (see ``DAMAGES``), ``None`` where the plan has no place for it."""
    if kind not in DAMAGES:
        raise ConfigError(f"unknown damage {kind!r}. {did_you_mean(kind, DAMAGES)}")
    return DAMAGES[kind](plan, graph, random)


def _restyled(plan: ToolPlan, graph: ToolGraph, random: Random) -> ToolPlan | None:
    """Write a tool's name in another style or with a word more."""
    at = random.randrange(len(plan.calls))
    tool = plan.tools[at]
    parts = [one for one in re.split(r"[\s_-]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", tool)) if one]
    styles = ["_".join(parts).upper(), "".join(map(str.capitalize, parts)), f"{tool} tool", f"use {' '.join(parts).lower()}"]  # fmt: skip
    return _renamed(plan, at, random.choice([one for one in styles if one not in graph.tools]))


def _described(plan: ToolPlan, graph: ToolGraph, random: Random) -> ToolPlan | None:
    """Make up a name for a tool from two words of its description that are not in its name."""
    at = random.randrange(len(plan.calls))
    name = plan.tools[at].lower()
    words = [one for one in re.findall(r"[a-z]{5,}", graph.tools[plan.tools[at]].text.lower()) if one not in name and one not in _COMMON]  # fmt: skip
    if len(words) < 2:
        return None
    start = random.randrange(len(words) - 1)
    made = " ".join(words[start : start + 2]).title()
    return None if made in graph.tools else _renamed(plan, at, made)


def _wrong(plan: ToolPlan, graph: ToolGraph, random: Random) -> ToolPlan | None:
    """Put another tool in the place of one."""
    return _renamed(plan, random.randrange(len(plan.calls)), _other(plan, graph, random))


def _skipped(plan: ToolPlan, graph: ToolGraph, random: Random) -> ToolPlan | None:  # noqa: ARG001
    """Leave out a call between two others, and join these."""
    pairs = [
        *dict.fromkeys((*plan.references, *(pair for link in plan.links if (pair := joined(plan, link)))))
    ]
    inner = [
        n for n in range(len(plan.calls)) if any(b == n for _, b in pairs) and any(a == n for a, _ in pairs)
    ]
    if not inner:
        return None
    gone = random.choice(inner)
    before = [a for a, b in pairs if b == gone]
    after = [b for a, b in pairs if a == gone]
    kept = [number for number in range(len(plan.calls)) if number != gone]
    place = {number: at for at, number in enumerate(kept)} | {gone: kept.index(before[0])}
    links = [link for link in plan.links if plan.tools[gone] not in link]
    links += [(plan.tools[a], plan.tools[b]) for a in before for b in after]
    return ToolPlan(
        calls=tuple(_moved(plan.calls[n], place) for n in kept), links=tuple(dict.fromkeys(links))
    )


def _added(plan: ToolPlan, graph: ToolGraph, random: Random) -> ToolPlan | None:
    """Put a tool between two calls that follow each other."""
    pairs = [(link, pair) for link in plan.links if (pair := joined(plan, link)) is not None]
    if not pairs:
        return None
    (a, b), (source, target) = random.choice(pairs)
    tool = _other(plan, graph, random)
    place = {number: number + (number >= target) for number in range(len(plan.calls))}
    calls = [_moved(call, place) for call in plan.calls]
    taker = place | {source: target}  # where the new call stands
    calls[target] = _moved(plan.calls[target], taker)
    calls.insert(target, Call(tool=tool, arguments=(Argument(value=f"<node-{place[source]}>"),) if calls[target].arguments else ()))  # fmt: skip
    links = [one for one in plan.links if one != (a, b)]
    return ToolPlan(calls=tuple(calls), links=(*links, (a, tool), (tool, b)))


DAMAGES: Mapping[str, Callable[[ToolPlan, ToolGraph, Random], ToolPlan | None]] = {
    "name restyled": _restyled,
    "name made up": _described,
    "wrong tool": _wrong,
    "tool skipped": _skipped,
    "tool added": _added,
}


def _other(plan: ToolPlan, graph: ToolGraph, random: Random) -> str:
    return random.choice(sorted(graph.tools.keys() - {*plan.tools}))


def _renamed(plan: ToolPlan, at: int, tool: str) -> ToolPlan:
    was = plan.tools[at]
    calls = tuple(
        replace(call, tool=tool) if number == at else call for number, call in enumerate(plan.calls)
    )
    links = tuple((tool if a == was else a, tool if b == was else b) for a, b in plan.links)
    return ToolPlan(calls=calls, links=links, steps=plan.steps)


def _moved(call: Call, place: Mapping[int, int]) -> Call:
    def moved(value: str) -> str:
        return _REFERENCE.sub(lambda found: f"<node-{place.get(int(found[1]), int(found[1]))}>", value)

    return replace(call, arguments=tuple(replace(one, value=moved(one.value)) for one in call.arguments))
