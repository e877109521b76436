"""TaskBench as a benchmark: plan the calls of tools that a request needs (S42)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from everystep.bench.benchmark import ROWS, About, Benchmark, Measure, mean_of
from everystep.bench.worlds import INVALID, WorldBenchmark
from everystep.core.protocols import Sampling, World
from everystep.core.records import Task, Trajectory
from everystep.environments.exact import SPLITS
from everystep.environments.tooluse.taskbench import SOURCE, TaskBench, domain_of, reference
from everystep.environments.tooluse.toolgraph import GOLD, tool_graph
from everystep.environments.tooluse.toolplan import ToolPlan, read_plan
from everystep.evaluate.plan_metrics import distance, f1, nothing_counts, plan_counts
from everystep.evaluate.step_metrics import accuracy

_PAPER = "arXiv 2311.18760, section 4"
_GNN = "arXiv 2405.19119"


def _f1(name: str, definition: str, source: str = _PAPER, title: str = "") -> Measure:
    columns = (f"{name}_hit", f"{name}_both")
    return Measure(name=title or f"{name}_f1", columns=columns, of=f1, definition=definition, source=source)


_SHARED = (
    _f1("node", "micro F1 of the tools of a plan, as sets; tools that do not exist are passed over"),
    _f1("edge", "F1 of pairs of tools that follow each other; in resource domains those that arguments make"),
)
_ARGUMENTS = (
    _f1("argument_name", "F1 of (tool, argument); in resource domains the argument's type"),
    _f1("argument_value", "F1 of (tool, argument, value); a result that is referred to is its tool"),
)
_REST = (
    Measure(name="edit_distance", columns=(ROWS, "similarity"), of=distance, definition="normalised edit distance of the sequences of tools; 0 is best", source=_PAPER),
    mean_of("success", "the gold plan: the same calls, arguments and edges, in any order"),
    _f1("node_strict", "as node_f1, tools that do not exist counted as wrong", source=""),
    mean_of("case_node_f1", "mean over cases of each one's node F1", source=_GNN),
    Measure(name="case_edge_f1", columns=("edged", "case_edge_f1"), of=accuracy, definition="mean over cases with edges of each one's edge F1", source=_GNN),
    mean_of("accuracy", "share of the cases with exactly the right tools", source=_GNN),
    Measure(name="calls_right", columns=("matched_of", "matched"), of=accuracy, definition="calls that are right, arguments too, matched by assignment, of the more of both plans"),
    mean_of("flawed", "share of the plans with a tool that does not exist or a link that is no edge of the graph"),
    INVALID,
)  # fmt: skip


def benchmark(
    domain: str = "huggingface", cases: str = "generated", kind: str = "any", number: int = 300
) -> Benchmark:
    """Return TaskBench as a benchmark. ``cases`` is ``generated`` (``number`` in each split, by templates) or ``published`` (gold plans: tmdb and ultratool)."""
    world = TaskBench(domain=domain, cases=cases, kind=kind, number=number)
    data = "nothing" if cases == "generated" and domain == "huggingface" else "EVERYSTEP_DATA/taskbench"
    counted = {"tmdb": 100, "ultratool": 3527}.get(domain) if kind == "any" else None
    bare = domain in GOLD  # no arguments are published
    return WorldBenchmark(
        about=About(
            name="taskbench",
            kind="agent",
            summary="plans of tool calls over a graph of tools: single calls, chains and graphs",
            source=SOURCE,
            licence="MIT",
            cases=2 * number if cases == "generated" else counted,
            needs=data,
        ),
        world=partial(TaskBench, domain=domain, cases=cases, kind=kind, number=world.number),
        tasks=every,
        read=scores,
        empty=nothing_counts(),
        measures=(*_SHARED, *(() if bare else _ARGUMENTS), *_REST),
        sampling=Sampling(temperature=0.0, max_tokens=1024),
        constrain=False,
    )


def every(world: World) -> Iterator[Task]:
    """Yield the cases of both splits: published ones in their published order."""
    found = [(split, index) for split in SPLITS for index in range(world.size(split) or 0)]
    tasks = [world.task(split, index) for split, index in found]
    yield from sorted(tasks, key=lambda task: task.seed)


def scores(made: Trajectory) -> Mapping[str, float]:
    """Return the numbers of an attempt; an answer that is no plan counts as an empty one."""
    gold, graph = reference(made.task), tool_graph(domain_of(made.task.config))
    last = made.steps[-1] if made.steps else None
    read = read_plan(last.action.text) if last is not None and last.action.valid else ToolPlan()
    return plan_counts(read if isinstance(read, ToolPlan) else ToolPlan(), gold, graph)
