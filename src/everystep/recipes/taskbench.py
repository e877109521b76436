"""TaskBench (S42): plans of tool calls. Graphs and gold plans as published, published plans checked and mended, back-instruct with its critics, a planner without a model.

Paper: TaskBench (arXiv 2311.18760, code microsoft/JARVIS): a tool graph, parts of it sampled, requests written for them by a model; F1 of nodes, edges and arguments. Certain:
the graphs, the measures and their released scorer. Not here: TaskBench's own gold plans (they were not at hand; they are read where they
are put beside the others), so published plans are checked without gold, and repair is counted against gold on plans that were damaged on purpose: generated ones, and the gold chains
that GNN4TaskPlan (arXiv 2405.19119) published in the same form. Ours: templates, critics by rules, repair, damage, the planner, which takes for each piece of the request the tool whose words
are most like it. Steps in words (ROUGE, BERTScore) are not scored.

    everystep reproduce taskbench
    everystep bench taskbench --options domain=ultratool cases=published --model MODEL

Measured: docs/recipes/taskbench.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.environments.tooluse.backinstruct import critics, made
from everystep.environments.tooluse.taskbench import Case, gold, published
from everystep.environments.tooluse.toolgraph import DOMAINS, ToolGraph, requests, tool_graph
from everystep.environments.tooluse.toolplan import Argument, ToolPlan, chain
from everystep.evaluate.intervals import Interval
from everystep.evaluate.plan_damage import DAMAGES, damaged
from everystep.evaluate.plan_metrics import distance, f1, flaws, plan_counts
from everystep.evaluate.step_metrics import accuracy, measured
from everystep.evaluate.study import REPORT
from everystep.run.folder import RunFolder
from everystep.run.plan_repair import EDGES, Lexicon, repair, words

SHAPES = (
    ("single", 1),
    ("chain", 2),
    ("chain", 3),
    ("chain", 4),
    ("chain", 5),
    ("dag", 3),
    ("dag", 4),
    ("dag", 5),
)
_PIECE = re.compile(r"[.;!?]\s+|,\s*|\b(?:and|then|after that|finally|next)\b", re.IGNORECASE)
T = TypeVar("T")
Change = Callable[[ToolPlan], ToolPlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The tables of TaskBench."""

    made: int = 40
    """Generated cases of each kind and size, in each domain."""
    most: int = 600
    """Gold chains of a published domain that are damaged or planned, at most."""
    seed: int = 0
    """Seed of cases and damage."""
    models: tuple[str, ...] = ("codellama13b", "mistral7b")
    """Models whose published plans are checked, where their files are there."""


def lexical(request: str, lexicon: Lexicon, least: float = 0.12) -> ToolPlan:
    """Return a chain of tools: for each piece of the request the one whose words are most like it, each once. No model is asked.

    >>> lexical("Summarize the text, then translate it into French.", Lexicon(tool_graph("huggingface"))).tools
    ['Summarization', 'Translation']
    """
    found: dict[str, None] = {}
    for piece in _PIECE.split(request):
        if len({*words(piece)} & lexicon.rare.keys()):
            tool = lexicon.nearest(piece, least=least)
            if tool is not None:
                found[tool] = None
    return chain(*found)


def _cases(graph: ToolGraph, config: Config) -> list[Case]:
    found = []
    for kind, size in SHAPES:
        for number in range(config.made):
            one = made(graph, kind, size, config.seed * 100_000 + number)
            found.append(Case(id=f"{kind} {size} {number}", request=one.request, plan=one.plan, kind=kind))
    return found


def _f1(rows: Sequence[Mapping[str, float]], names: Sequence[str], column: str) -> Interval:
    return measured([(row[f"{column}_hit"], row[f"{column}_both"]) for row in rows], names, f1)


def _mean(rows: Sequence[Mapping[str, float]], names: Sequence[str], column: str) -> Interval:
    return measured([(1.0, row[column]) for row in rows], names, accuracy)


# --- the tables ---------------------------------------------------------------------------------------------


def graphs_table(there: Sequence[str], config: Config) -> list[str]:
    """Return how large the graphs are, and how the generator does on them."""
    lines = ["| domain | tools | edges | requests | gold plans | with an edge that its graph lacks | generated | objections |", "|---|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for domain in there:
        graph, cases = tool_graph(domain), _cases(tool_graph(domain), config)
        bad = sum(bool(critics(one.request, one.plan, graph)) for one in cases)
        known = _or_none(lambda domain=domain: len(gold(domain)))  # type: ignore[misc]
        asked = _or_none(lambda domain=domain: len(requests(domain)))  # type: ignore[misc]
        ill = sum(any(not graph.legal(*link) for link in one.plan.links) for one in gold(domain)) if known else None  # fmt: skip
        cells = [len(graph.tools), graph.edges, asked, known, ill, len(cases), bad]
        lines.append(
            f"| {domain} | " + " | ".join("-" if one is None else f"{one:,}" for one in cells) + " |"
        )
    return lines


def critics_table(config: Config) -> list[str]:
    """Return how many of the faults that were put into generated cases the critics see."""
    graph, cases, random = (
        tool_graph("huggingface"),
        _cases(tool_graph("huggingface"), config),
        Random(config.seed),
    )
    faults: dict[str, Callable[[Case], tuple[str, ToolPlan] | None]] = {
        "a literal is not told": lambda one: (one.request.replace(_literal(one), "it"), one.plan) if _literal(one) else None,
        "a file is told that no call uses": lambda one: (f"{one.request} Use 'other.png' too.", one.plan),
        **{name: _harmed(graph, name, random) for name in DAMAGES},
    }  # fmt: skip
    lines = ["| fault put in | cases | seen |", "|---|---:|---:|"]
    for name, put in faults.items():
        some = [changed for one in cases if (changed := put(one)) is not None]
        seen = sum(bool(critics(request, plan, graph)) for request, plan in some)
        lines.append(f"| {name} | {len(some):,} | {seen / len(some):.1%} |")
    return lines


def _harmed(graph: ToolGraph, name: str, random: Random) -> Callable[[Case], tuple[str, ToolPlan] | None]:
    def harmed(one: Case) -> tuple[str, ToolPlan] | None:
        plan = damaged(one.plan, graph, name, random)
        return None if plan is None else (one.request, plan)

    return harmed


def _literal(one: Case) -> str:
    found: Iterator[Argument] = (it for call in one.plan.calls for it in call.arguments if it.refers is None)
    return next((it.value for it in found), "")


def published_table(there: Sequence[str], config: Config) -> list[str]:
    """Return what is wrong with published plans of models, and with what is left after repair; no gold is needed."""
    lines = ["| domain | model | plans | read | flawed | unknown tool | illegal link | after repair | calls by path / swap / drop | links |", "|---|---|---:|---:|---:|---:|---:|---:|---|---|"]  # fmt: skip
    for domain in there:
        for model in config.models:
            every = _or_none(lambda domain=domain, model=model: list(published(domain, model)))  # type: ignore[misc]
            if every is None:
                continue
            graph = tool_graph(domain)
            lexicon = Lexicon(graph)
            read = [one.plan for one in every if isinstance(one.plan, ToolPlan)]
            was = [flaws(plan, graph) for plan in read]
            now = {
                way: [flaws(repair(plan, lexicon, edges=way).plan, graph) for plan in read] for way in EDGES
            }
            shares = [sum(bool(one[name]) for one in was) / len(was) for name in ("flawed", "calls_unknown", "links_illegal")]  # fmt: skip
            left = sum(one["flawed"] for some in now.values() for one in some)
            more = [
                " / ".join(f"{sum(one[name] for one in now[way]) / sum(one[name] for one in was):.2f}" for way in EDGES)
                for name in ("calls", "links")
            ]  # fmt: skip
            lines.append(f"| {domain} | {model} | {len(every)} | {len(read)} | " + " | ".join(f"{one:.1%}" for one in shares) + f" | {left:.0f} | {more[0]} | {more[1]} |")  # fmt: skip
    return lines


def repair_table(cases: Sequence[Case], graph: ToolGraph, config: Config) -> list[str]:
    """Return node and edge F1 against gold, and the share of flawed plans, of plans with one fault each: as they are, and after each way of repair."""
    lexicon = Lexicon(graph)
    ways: dict[str, Change] = {"as it is": lambda plan: plan}
    for way in EDGES:
        ways[way] = lambda plan, way=way: repair(plan, lexicon, edges=way).plan  # type: ignore[misc]
    lines = ["| fault | plans | repair | node F1 | edge F1 | flawed |", "|---|---:|---|---|---|---:|"]
    for kind in (None, *DAMAGES):
        random = Random(f"{config.seed} {kind}")
        pairs = [
            (one, plan)
            for one in cases
            if (plan := one.plan if kind is None else damaged(one.plan, graph, kind, random)) is not None
        ]
        names = [one.id for one, _ in pairs]
        for way, change in ways.items():
            rows = [plan_counts(change(plan), one.plan, graph) for one, plan in pairs]
            told = (_f1(rows, names, "node_strict"), _f1(rows, names, "edge"))
            lines.append(f"| {kind or 'none'} | {len(pairs):,} | {way} | {told[0]} | {told[1]} | {_mean(rows, names, 'flawed').value:.1%} |")  # fmt: skip
    return lines


def planner_table(sets: Mapping[str, tuple[ToolGraph, Sequence[Case]]]) -> list[str]:
    """Return the scores of the planner without a model, as it is and repaired."""
    lines = ["| cases | kind | cases | repair | node F1 | edge F1 | edit distance | exactly the tools |", "|---|---|---:|---|---|---|---|---|"]  # fmt: skip
    for name, (graph, every) in sets.items():
        lexicon = Lexicon(graph)
        plans = {one.id: lexical(one.request, lexicon) for one in every}
        for kind in dict.fromkeys(one.kind for one in every):
            cases = [one for one in every if one.kind == kind]
            names = [one.id for one in cases]
            for way in ("none", "path", "drop"):
                done = {one.id: plans[one.id] if way == "none" else repair(plans[one.id], lexicon, edges=way).plan for one in cases}  # fmt: skip
                rows = [plan_counts(done[one.id], one.plan, graph) for one in cases]
                apart = measured([(1.0, row["similarity"]) for row in rows], names, distance)
                edge = "-" if kind == "single" else _f1(rows, names, "edge")
                lines.append(f"| {name} | {kind} | {len(cases):,} | {way} | {_f1(rows, names, 'node')} | {edge} | {apart} | {_mean(rows, names, 'accuracy')} |")  # fmt: skip
    return lines


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Make the tables of what is there; without the published files those of the packaged graph."""
    there = [domain for domain in DOMAINS if _or_none(lambda domain=domain: tool_graph(domain)) is not None]  # type: ignore[misc]
    sets: dict[str, tuple[ToolGraph, Sequence[Case]]] = {
        f"generated, {domain}": (tool_graph(domain), _cases(tool_graph(domain), config)) for domain in there
    }
    for domain in there:
        known = _or_none(lambda domain=domain: gold(domain))  # type: ignore[misc]
        if known is not None:
            sets[f"gold, {domain}"] = (tool_graph(domain), known)
    lines = [
        "## Graphs and generated cases",
        "",
        *graphs_table(there, config),
        "",
        "## Critics",
        "",
        *critics_table(config),
    ]
    lines += ["", "## Published plans", "", *published_table(there, config)]
    for name in ("generated, huggingface", *(one for one in sets if one.startswith("gold"))):
        graph, cases = sets[name]
        lines += [
            "",
            f"## Repair against gold: {name}",
            "",
            *repair_table(cases[: config.most], graph, config),
        ]
    lines += [
        "",
        "## A planner without a model",
        "",
        *planner_table({name: (graph, every[: config.most]) for name, (graph, every) in sets.items()}),
    ]
    (folder.path / REPORT).write_text("\n".join(lines) + "\n", encoding="utf-8")
    numbers = {"domains": float(len(there)), "sets": float(len(sets))}
    for logger in loggers:
        logger.log(0, numbers)
    return numbers


def _or_none(make: Callable[[], T]) -> T | None:
    """Return what is made, ``None`` where its files are not there."""
    try:
        return make()
    except ConfigError:
        return None
