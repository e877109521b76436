"""Back-instruct: a part of a tool graph is sampled, a request is written for it, and critics look at both. The plan is right by construction.

Source: TaskBench (arXiv 2311.18760, section 3): parts are a node, a chain or a directed acyclic graph; a model writes the request, the steps and the arguments for the sampled
part; critics, one of them a model and one of rules, drop what does not fit. Ours: the templates that write requests without a model (they name the tools, so
they are easy: for tests and small models), what the rules look at in detail, and that arguments are made first, so that all of them must stand in the request.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.protocols import AsyncSampler, Request, Sampler, Sampling
from everystep.core.records import Message
from everystep.environments.tooluse.toolgraph import Tool, ToolGraph
from everystep.environments.tooluse.toolplan import (
    Argument,
    Call,
    ToolPlan,
    content_type,
    plan_of,
    read_object,
)

KINDS = ("single", "chain", "dag")
_TRIES = 400
_LONGEST = 4000
_LITERALS = {
    "image": ("example.jpg", "photo.png", "poster.jpg", "scan.png"),
    "audio": ("example.wav", "talk.mp3", "song.wav", "note.mp3"),
    "video": ("example.mp4", "lecture.mp4", "trip.mov", "demo.mp4"),
    "url": ("https://example.com/a", "https://example.com/page", "https://example.com/b"),
    "text": (
        "The river froze early this year.",
        "Who wrote the first report?",
        "Bees dance to share directions.",
        "The train leaves at seven.",
        "What is in the north of the town?",
        "Fresh bread smells of malt.",
    ),
}
_FILE = re.compile(r"[\w-]{1,60}\.(?:jpg|png|wav|mp3|mp4|mov)\b")
_OPENINGS = (
    "Please do this for me.",
    "I need some help.",
    "There is something to be done.",
    "Could you take care of this?",
)
_FIRST = (
    "First, do {what} with {given}.",
    "Begin with {what}, on {given}.",
    "Start by taking {given} for {what}.",
)
_THEN = ("Then do {what} with {given}.", "After that comes {what}, on {given}.", "Next, take {given} for {what}.")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A request with its plan, and what critics found wrong: nothing in one that is kept."""

    request: str
    plan: ToolPlan
    faults: tuple[str, ...] = ()


# --- sampling -----------------------------------------------------------------------------------------------


def sample_plan(graph: ToolGraph, kind: str, size: int, random: Random) -> ToolPlan:
    """Return a plan of ``size`` different tools that is legal in ``graph``: one call, a chain, or a connected acyclic graph that is no chain.

    In a resource domain every type that a tool takes is given, by a call before it or by a literal. ``ConfigError`` for a kind and size that do not go together, or where
    the graph has no such part.

    >>> from everystep.environments.tooluse.toolgraph import tool_graph
    >>> plan = sample_plan(tool_graph("huggingface"), "dag", 4, Random(1))
    >>> plan.kind, len(plan.calls)
    ('dag', 4)
    """
    least = {"single": 1, "chain": 2, "dag": 3}.get(kind)
    if least is None:
        raise ConfigError(f"unknown kind {kind!r} of plan. {did_you_mean(kind, KINDS)}")
    if size < least or (kind == "single" and size != 1) or size > len(graph.tools):
        raise ConfigError(f"a plan of kind {kind!r} cannot have {size!r} calls in a graph of {len(graph.tools)} tools.")  # fmt: skip
    for _ in range(_TRIES):
        plan = _attempt(graph, kind, size, random)
        if plan is not None and plan.kind == kind:
            return plan
    raise ConfigError(f"no {kind} of {size} tools was found in {graph.domain!r}. Ask for fewer calls.")


def _attempt(graph: ToolGraph, kind: str, size: int, random: Random) -> ToolPlan | None:
    names = sorted(graph.tools)
    tools = [random.choice(names)]
    edges: set[tuple[int, int]] = set()
    filled: dict[tuple[int, int], int] = {}
    while len(tools) < size:
        at = len(tools) - 1 if kind == "chain" else random.randrange(len(tools))
        forward = kind == "chain" or random.random() < 0.6
        near = graph.after if forward else graph.before
        free = sorted(near.get(tools[at], frozenset()) - {*tools})
        if not free:
            return None
        tools.append(random.choice(free))
        source, target = (at, len(tools) - 1) if forward else (len(tools) - 1, at)
        if graph.resource and not _fill(graph, tools, filled, source, target, random):
            return None
        edges.add((source, target))
    return _numbered(graph, tools, edges, filled, random)


def _fill(
    graph: ToolGraph, tools: list[str], filled: dict[tuple[int, int], int], source: int, target: int, random: Random
) -> bool:  # fmt: skip
    """Put what ``source`` gives into a free place of ``target``."""
    gives, takes = graph.tools[tools[source]].gives, graph.tools[tools[target]].takes
    places = [place for place, one in enumerate(takes) if one in gives and (target, place) not in filled]
    if places:
        filled[(target, random.choice(places))] = source
    return bool(places)


def _numbered(
    graph: ToolGraph, tools: list[str], edges: set[tuple[int, int]], filled: dict[tuple[int, int], int], random: Random
) -> ToolPlan:  # fmt: skip
    """Put the calls into an order in which what is needed comes first, and give them their arguments."""
    order: list[int] = []
    while len(order) < len(tools):
        ready = [
            one for one in range(len(tools))
            if one not in order and all(a in order for a, b in edges if b == one)
        ]  # fmt: skip
        order.append(random.choice(ready))
    place = {one: number for number, one in enumerate(order)}
    pools = {kind: random.sample(some, len(some)) for kind, some in _LITERALS.items()}
    calls = []
    for one in order:
        tool = graph.tools[tools[one]]
        if graph.resource:
            given = [
                f"<node-{place[filled[one, at]]}>" if (one, at) in filled else _literal(pools, kind)
                for at, kind in enumerate(tool.takes)
            ]
            arguments = tuple(Argument(value=value) for value in given)
        else:
            arguments = tuple(
                Argument(name=name, value=f"{_words(name)} {random.randrange(100, 1000)}")
                for name in tool.parameters
            )
        calls.append(Call(tool=tool.name, arguments=arguments))
    links = sorted((place[a], place[b]) for a, b in edges)
    return ToolPlan(
        calls=tuple(calls),
        links=tuple((calls[a].tool, calls[b].tool) for a, b in links),
        steps=tuple(f"Step {number}: use {call.tool}" for number, call in enumerate(calls, start=1)),
    )


def _literal(pools: dict[str, list[str]], kind: str) -> str:
    pool = pools.get(kind) or pools["text"]
    pool.append(pool.pop(0))  # the next one, for ever
    return pool[-1]


# --- writing without a model ----------------------------------------------------------------------------------


def told(plan: ToolPlan, graph: ToolGraph, random: Random) -> str:
    """Return a request for a plan from templates: a sentence for each call, with its literals and whose result it takes."""
    sentences = [random.choice(_OPENINGS)]
    before: dict[int, list[int]] = {number: [] for number in range(len(plan.calls))}
    if not graph.resource:
        at = {call.tool: number for number, call in enumerate(plan.calls)}
        for source, target in plan.links:
            before[at[target]].append(at[source])
    for number, call in enumerate(plan.calls):
        given = [
            f"the result of {_words(plan.calls[one.refers].tool)}"
            if one.refers is not None
            else f"{_words(one.name) + ' ' if one.name else ''}'{one.value}'"
            for one in call.arguments
        ]
        given += [f"the result of {_words(plan.calls[one].tool)}" for one in before[number]]
        line = random.choice(_THEN if number else _FIRST)
        sentences.append(
            line.format(what=_words(call.tool), given=" and ".join(given) or "what you know already")
        )
    return " ".join(sentences)


def _words(name: str) -> str:
    """Return a tool's name as words.

    >>> _words("GetMovieCredit"), _words("book_flight"), _words("Text-to-Speech")
    ('get movie credit', 'book flight', 'text-to-speech')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").lower()


# --- critics --------------------------------------------------------------------------------------------------


def critics(request: str, plan: ToolPlan, graph: ToolGraph) -> tuple[str, ...]:
    """Return what is wrong with a request and its plan, by rules: the plan fits the graph, is in one piece and in order; every literal stands in the request, and no other file does."""
    found = [f"tool {tool!r} does not exist" for tool in plan.tools if tool not in graph.tools]
    edges = plan.edges(resource=graph.resource)
    found += [
        f"{b!r} may not follow {a!r}" for a, b in sorted({*edges, *plan.links}) if not graph.legal(a, b)
    ]
    if graph.resource and edges != {*plan.links}:
        found.append("the links are not those that the arguments make")
    found += [
        f"tool {tool!r} is used {count} times" for tool, count in Counter(plan.tools).items() if count > 1
    ]
    found += [f"call {b} takes what call {a} gives later" for a, b in plan.references if a >= b]
    if not plan.calls:
        found.append("there are no calls")
    elif not _connected(plan, edges):
        found.append("the calls are not in one piece")
    for number, call in enumerate(plan.calls):
        tool = graph.tools.get(call.tool)
        if tool is not None:
            found += _inputs(number, call, tool, plan, graph)
    literals = [one.value for call in plan.calls for one in call.arguments if one.refers is None]
    found += [f"the request does not tell {value!r}" for value in literals if value not in request]
    found += [
        f"the request tells {name!r}, which no call uses"
        for name in _FILE.findall(request)
        if not any(name in value for value in literals)
    ]
    if "<node-" in request:
        found.append("the request speaks of nodes")
    if not request.strip() or len(request) > _LONGEST:
        found.append(f"the request has {len(request)} characters; expected 1 to {_LONGEST}")
    return tuple(found)


def _connected(plan: ToolPlan, edges: frozenset[tuple[str, str]]) -> bool:
    reached, rest = {plan.calls[0].tool}, {*plan.tools}
    while True:
        more = {b if a in reached else a for a, b in edges if (a in reached) != (b in reached)}
        if not more:
            return rest <= reached
        reached |= more


def _inputs(number: int, call: Call, tool: Tool, plan: ToolPlan, graph: ToolGraph) -> list[str]:
    if not graph.resource:
        missing = {*tool.parameters} - {one.name for one in call.arguments}
        return [f"call {number} is not given {name!r}" for name in sorted(missing)]
    wanted = Counter(tool.takes)
    for one in call.arguments:
        giver = None if one.refers is None or one.refers >= len(plan.calls) else plan.calls[one.refers].tool
        if one.refers is not None:
            source = graph.tools.get(giver or "")
            kinds = source.gives if source is not None else ()
        else:
            guess = content_type(one.value)
            kinds = (guess, "url") if guess == "text" and "://" in one.value else (guess,)
        fitting = next((kind for kind in reversed(kinds) if wanted[kind] > 0), None)
        if fitting is None:
            return [f"call {number} cannot take {one.value!r}"]
        wanted[fitting] -= 1
    return [f"call {number} is not given a {kind}" for kind, count in wanted.items() if count > 0]


# --- writing with a model -------------------------------------------------------------------------------------


def prompt(plan: ToolPlan, graph: ToolGraph) -> str:
    """Return what a model is asked for a sampled plan: a request that needs exactly it, and the plan again, so that the answer can be checked against what was sampled."""
    tools = "\n".join(f"- {tool}: {graph.tools[tool].text}" for tool in plan.tools)
    return (
        "These tools were chosen, with what they are given; <node-i> is the result of call i, counted from 0.\n"
        f"{tools}\n\n{json.dumps(plan.as_json())}\n\n"
        "Write what a person would say who needs exactly these calls and no other. Do not name the tools or nodes; tell every value that no call makes, "
        "word for word. Answer with JSON only, the same object with the request in it and steps in your words: "
        '{"user_request": "...", "task_steps": [...], "task_nodes": [...], "task_links": [...]}.'
    )


def written(
    sampler: Sampler | AsyncSampler, graph: ToolGraph, plans: Sequence[ToolPlan], *, sampling: Sampling, seed: int = 0
) -> list[Made]:  # fmt: skip
    """Ask a model for a request for each plan, and let the critics look at what comes back. Nothing that a model answers raises."""
    asks = [
        Request(
            session=f"back-instruct {seed} {number}",
            messages=(Message(role="user", content=prompt(plan, graph)),),
            seed=seed + number,
        )
        for number, plan in enumerate(plans)
    ]
    if isinstance(sampler, AsyncSampler):
        one: AsyncSampler = sampler

        async def every() -> list[Any]:
            return list(await asyncio.gather(*(one.sample_one(ask, sampling) for ask in asks)))

        answers = asyncio.run(every())
    else:
        answers = sampler.sample(asks, sampling)
    sampler.release([ask.session for ask in asks])
    return [judged(answer.text, plan, graph) for answer, plan in zip(answers, plans, strict=True)]


def judged(text: str, plan: ToolPlan, graph: ToolGraph) -> Made:
    """Return what a model wrote for a sampled plan, with its faults: of form, of the plan against the sample, of the request."""
    body = read_object(text)
    read = body if isinstance(body, str) else plan_of(body)
    if isinstance(body, str) or isinstance(read, str):
        return Made(request="", plan=plan, faults=(str(read),))
    request = body.get("user_request")
    if not isinstance(request, str):
        return Made(request="", plan=plan, faults=("there is no 'user_request' in words.",))
    found = []
    if Counter(read.tools) != Counter(plan.tools):
        found.append("the calls are not those that were sampled")
    elif read.calls != plan.calls or {*read.links} != {*plan.links}:
        found.append("the arguments or links are not those that were sampled")
    kept = ToolPlan(calls=plan.calls, links=plan.links, steps=read.steps or plan.steps)
    return Made(request=request, plan=kept, faults=(*found, *critics(request, kept, graph)))


def made(graph: ToolGraph, kind: str, size: int, seed: int) -> Made:
    """Return a request and its plan from templates; the same seed gives the same. ``DataError`` if the critics object, which would be a mistake of this module."""
    random = Random(f"{graph.domain} {kind} {size} {seed}")
    plan = sample_plan(graph, kind, size, random)
    request = told(plan, graph, random)
    faults = critics(request, plan, graph)
    if faults:
        raise DataError(f"seed {seed!r} makes a bad case in {graph.domain!r}: {'; '.join(faults)}.")
    return Made(request=request, plan=plan)
