"""Graphs of tools: which tools there are and which may follow which. Those of TaskBench, and two that were brought into its form.

In a resource domain a tool takes and gives types of data, and one may follow another that gives what it takes; the edges of a plan are what its
arguments refer to. In the other domains tools have parameters (or none are published), edges are orders in time, and a plan states them. Source: TaskBench
(Shen et al. 2023, arXiv 2311.18760) for huggingface, multimedia and dailylifeapis; GNN4TaskPlan (Wu et al. 2024, arXiv 2405.19119), from RestBench and UltraTool,
for tmdb and ultratool. The tools of huggingface are packaged; everything else is read from ``EVERYSTEP_DATA/taskbench``.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.environments.published import SAMPLES, find_file, read_text

FOLDER = "taskbench"
JARVIS = "https://github.com/microsoft/JARVIS (MIT): taskbench/data_DOMAIN/FILE as DOMAIN_FILE"
GNN4TASKPLAN = "https://github.com/WxxShirley/GNN4TaskPlan (MIT): data/DOMAIN/FILE as DOMAIN_FILE"
DOMAINS: Mapping[str, bool] = {
    "huggingface": True, "multimedia": True, "dailylifeapis": False, "tmdb": False, "ultratool": False,
}  # fmt: skip
"""The domains, and whether their edges are resources."""
GOLD = ("tmdb", "ultratool")
"""The domains whose published gold plans can be read."""
_SAMPLE = "taskbench_sample.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool: what it does in words, the types that it ``takes`` and ``gives`` (resource domains), and the names of its ``parameters`` (where they are published)."""

    name: str
    text: str
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolGraph:
    """The tools of a domain by name, and for each the tools that may come ``after`` it."""

    domain: str
    tools: Mapping[str, Tool]
    after: Mapping[str, frozenset[str]]
    resource: bool
    before: Mapping[str, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        found: dict[str, set[str]] = {name: set() for name in self.tools}
        for source, targets in self.after.items():
            for target in targets:
                found.setdefault(target, set()).add(source)
        object.__setattr__(self, "before", {name: frozenset(some) for name, some in found.items()})

    @property
    def edges(self) -> int:
        """How many pairs of tools may follow each other."""
        return sum(map(len, self.after.values()))

    def legal(self, source: str, target: str) -> bool:
        """Say whether ``target`` may follow ``source``."""
        return target in self.after.get(source, frozenset())

    def between(self, source: str, target: str, most: int = 2) -> tuple[str, ...] | None:
        """Return the fewest tools, ``most`` of them, that lead from one to the other; ``None`` where there is no such way.

        Of equally short ways the first by name. O(edges).

        >>> graph = ToolGraph(domain="d", tools={}, after={"a": frozenset("b"), "b": frozenset("c")}, resource=False)
        >>> graph.between("a", "b"), graph.between("a", "c"), graph.between("c", "a")
        ((), ('b',), None)
        """
        came: dict[str, str | None] = {source: None}
        line = deque([(source, 0)])
        while line:
            name, far = line.popleft()
            if self.legal(name, target):
                way: list[str] = []
                at: str | None = name
                while at is not None and at != source:
                    way.append(at)
                    at = came[at]
                return tuple(reversed(way))
            for other in sorted(self.after.get(name, ())) if far < most else ():
                if other not in came:
                    came[other] = name
                    line.append((other, far + 1))
        return None


def tool_graph(domain: str) -> ToolGraph:
    """Return the graph of a domain. ``ConfigError`` for another name or where the files are not there, ``DataError`` for files of another form.

    >>> graph = tool_graph("huggingface")
    >>> len(graph.tools), graph.edges, graph.legal("Translation", "Text-to-Speech")
    (23, 225, True)
    """
    known_domain(domain)
    return _graph(domain)


def known_domain(domain: str) -> None:
    """Raise ``ConfigError`` for a domain that there is not."""
    if domain not in DOMAINS:
        raise ConfigError(f"unknown domain {domain!r} of tools. {did_you_mean(domain, DOMAINS)}")


@lru_cache(maxsize=8)
def _graph(domain: str) -> ToolGraph:
    if (
        domain == "huggingface"
    ):  # packaged; its published links are the pairs whose types fit, and a test says so
        tools = _tools(json.loads(read_text(SAMPLES / _SAMPLE)), domain)
        after = {
            one.name: frozenset(
                other.name for other in tools.values() if other is not one and {*one.gives} & {*other.takes}
            )
            for one in tools.values()
        }
        return ToolGraph(domain=domain, tools=tools, after=after, resource=True)
    try:
        body = json.loads(text_of(domain, "graph_desc.json"))
        links = {(str(link["source"]), str(link["target"])) for link in body["links"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the graph of {domain!r} is of another form: {error!r}.") from None
    found = _tools(body, domain)
    parts: dict[str, set[str]] = {name: set() for name in found}
    for source, target in links:
        parts.setdefault(source, set()).add(target)
    return ToolGraph(
        domain=domain,
        tools=found,
        after={name: frozenset(some) for name, some in parts.items()},
        resource=DOMAINS[domain],
    )


def _tools(body: Mapping[str, Any], domain: str) -> dict[str, Tool]:
    try:
        return {node["id"]: _tool(node) for node in body["nodes"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the tools of {domain!r} are of another form: {error!r}.") from None


def _tool(node: Mapping[str, Any]) -> Tool:
    return Tool(
        name=node["id"],
        text=node["desc"],
        takes=tuple(one.lower() for one in node.get("input-type", ())),
        gives=tuple(one.lower() for one in node.get("output-type", ())),
        parameters=tuple(one["name"] for one in node.get("parameters", ())),
    )


def text_of(domain: str, name: str) -> str:
    """Return a published file of a domain; ``ConfigError`` says where it comes from."""
    where = GNN4TASKPLAN if domain in GOLD else JARVIS
    return read_text(find_file(FOLDER, f"{domain}_{name}", where))


def records(text: str, what: str) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects of a file with one on each line; ``DataError`` for a line that is none."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise DataError(f"line {number} of {what} is not JSON: {error}.") from None
        if not isinstance(found, dict):
            raise DataError(f"line {number} of {what} is a {type(found).__name__}; expected an object.")
        yield found


def requests(domain: str) -> Sequence[tuple[str, str]]:
    """Return the published requests of a domain, (id, text)."""
    known_domain(domain)
    name = "user_requests.json"
    return [
        (str(one["id"]), str(one["user_request"]))
        for one in records(text_of(domain, name), f"{domain}_{name}")
    ]
