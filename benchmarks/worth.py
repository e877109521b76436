"""What step credit is worth: every estimator against step values, on KeyDoor, ToolChain and InterCode-SQL's published runs.

Run: python benchmarks/worth.py PART ... [--out docs/worth.json]     (parts: keydoor toolchain converge average sql page)
Each part adds its results to the file, a measure as value, low, high, units, flat share, blind; ``page`` prints the tables of docs/worth.md and draws docs/worth.svg from it.
``sql`` needs EVERYSTEP_DATA. Minutes of one core: keydoor 3, toolchain 4, converge 2, average 1, sql 9.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from everystep.core.protocols import Sampling
from everystep.core.records import Trajectory
from everystep.credit.assess import assess
from everystep.credit.columns import Columns, columns
from everystep.credit.estimators import METHODS, estimator
from everystep.credit.terms import assign
from everystep.environments.places.keydoor import KeyDoor
from everystep.environments.published import source_folder
from everystep.environments.tooluse.toolchain import ToolChain
from everystep.evaluate.intervals import Interval
from everystep.evaluate.plot import plot_intervals
from everystep.evaluate.published_sql import (
    LIMIT,
    Habits,
    Imitator,
    Run,
    Splicer,
    live_world,
    pool_of,
    published_runs,
    replayed,
    tasks_by_number,
)
from everystep.evaluate.step_values import (
    advantages,
    branched_values,
    exact_values,
    explore,
    noisy_values,
)
from everystep.evaluate.worth import worth
from everystep.run.branch import fork
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

WORLDS = {
    "keydoor": KeyDoor(side=5, distractors=1, horizon=20),
    "toolchain": ToolChain(turns=4, choices=4, horizon=7),
}
RATES = (0.2, 0.35, 0.5)
MIDDLE = 0.35
TASKS = {"keydoor": 60, "toolchain": 40}
GROUP = 8
FILES = {
    "gpt-3.5": "ic_sql_multiturn_gpt-3.5_10_turns",
    "gpt-3.5 react": "ic_sql_react_10_turns",
    "vicuna": "ic_sql_multiturn_vicuna_10_turns",
}
EVERY = 5
COPIES = 64
FEW = 4
"""Branches a step that the estimator ``branch_monte_carlo`` may spend."""


@dataclass(frozen=True)
class Asked:
    """An estimator to be tried: its row's label, its name and variant, and options of its own."""

    label: str
    name: str
    variant: str = "paper"
    options: tuple[tuple[str, object], ...] = ()


def asked(*, matched: bool, texts: bool) -> list[Asked]:
    """Every method that applies; ``branch_monte_carlo`` has branches of its own and is not here."""
    found = []
    for name in METHODS:
        if name in ("step_srpo", "branch_monte_carlo") or (name.startswith("matchtir") and not matched):
            continue
        options = (("score", "progress"),) if name == "step_grpo" else ()
        found += [
            Asked(name if variant == "paper" else f"{name}, {variant}", name, variant, options)
            for variant in METHODS[name].variants
        ]
    if texts:
        found.append(Asked("gigpo, similar texts", "gigpo", "paper", (("similarity", 0.95),)))
    return found


def credits_of(
    runs: Sequence[Trajectory], scores: dict[str, np.ndarray], wanted: Iterable[Asked]
) -> dict[str, np.ndarray]:
    """Credit by label; a released form that gives the same numbers as the paper's joins its row."""
    found: dict[str, np.ndarray] = {}
    for one in wanted:
        method = estimator(one.name, one.variant, **dict(one.options))
        credit = assess(runs, method, rng=np.random.default_rng(0), scores=scores)[1].value_S
        paper = found.get(one.name)
        if one.variant == "released" and paper is not None and np.allclose(credit, paper, atol=1e-9):
            found[f"{one.name} (both forms)"] = found.pop(one.name)
        else:
            found[one.label] = credit
    return found


def implicit(table: Columns, runs: Sequence[Trajectory]) -> np.ndarray:
    """The stand-in for a trained implicit reward: log of an action's frequency in the group's solved runs over that in all its runs."""
    actions = [step.action.text for run in runs for step in run.steps]
    best = np.array([run.success is True for run in runs])[table.trajectory_S]
    whole: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    kinds: dict[tuple[int, int], set[str]] = defaultdict(set)
    keys = list(zip(table.task_S.tolist(), table.anchor_S.tolist(), actions, strict=True))
    for key, solved in zip(keys, best, strict=True):
        kinds[key[:2]].add(key[2])
        for place in (key, key[:2]):
            whole[place][0] += 1.0
            whole[place][1] += float(solved)
    out = []
    for key in keys:
        size = len(kinds[key[:2]])
        ours, theirs = whole[key], whole[key[:2]]
        out.append(np.log((ours[1] + 1) / (theirs[1] + size)) - np.log((ours[0] + 1) / (theirs[0] + size)))
    return np.array(out)


def critic_of(runs: Sequence[Trajectory], other: Sequence[Trajectory]) -> np.ndarray:
    """A table of what an independent group of runs of the same task still earned from each state, drawn towards the task's mean."""
    sums: dict[tuple[str, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for run in other:
        for place in [(run.task.id,), *((run.task.id, step.observation.anchor) for step in run.steps)]:
            sums[place][0] += run.outcome
            sums[place][1] += 1.0
    out = []
    for run in runs:
        mean = sums[(run.task.id,)][0] / max(1.0, sums[(run.task.id,)][1])
        for step in run.steps:
            seen = sums.get((run.task.id, step.observation.anchor), (0.0, 0.0))
            out.append((seen[0] + mean) / (seen[1] + 1.0))
    return np.array(out)


def branch_credit(run: Trajectory, branches: Iterable[Trajectory]) -> np.ndarray:
    """The credit of a run's steps from the tree that it makes with its own branches."""
    tree = [replace(one, group=run.id) for one in (run, *branches)]
    table, credit = assess(tree, estimator("branch_monte_carlo"))
    return credit.value_S[table.trajectory_S == 0]


def scored(
    table: Columns, given: dict[str, np.ndarray], reference: np.ndarray, *, solved: float, tolerance: float
) -> dict[str, dict[str, object]]:
    failed = table.outcome_S < solved
    return {
        label: {
            name: [*astuple(measure.interval), measure.units, measure.flat, measure.blind]
            for name, measure in worth(table, credit, reference, failed_S=failed, tolerance=tolerance).items()
        }
        for label, credit in given.items()
    }


def facts(
    runs: Sequence[Trajectory], table: Columns, reference: np.ndarray, tolerance: float
) -> dict[str, object]:
    credit = assess(runs, estimator("gigpo"))[1]
    state = credit.diagnostics.terms[1]
    return {
        "tasks": len({run.group for run in runs}),
        "runs": len(runs),
        "steps": table.size,
        "solved": float(np.mean([run.success is True for run in runs])),
        "good": float(np.mean(reference > tolerance)),
        "bad": float(np.mean(reference < -tolerance)),
        "alone in state": state.singleton_share,
        "state without spread": state.constant_share,
    }


def simulated(name: str) -> dict[str, object]:
    """Runs of the noisy oracle at every rate, against the exact values under that same policy."""
    world = WORLDS[name]
    solved = 10.0 if name == "keydoor" else 1.0
    hosts, limits = LocalHosts(world), Limits(max_steps=world.max_steps)
    tasks = [world.task("train", index) for index in range(TASKS[name])]
    graphs = {task.id: explore(world, task) for task in tasks}
    out: dict[str, object] = {"tasks": len(tasks), "group": GROUP}
    for rate in RATES:
        sampler = demonstrator(hosts, error_rate=rate)

        def collect(seed: int, sampler: object = sampler) -> list[Trajectory]:
            jobs = jobs_of(tasks, group_size=GROUP, prefix=f"s{seed}", seed=seed)
            return rollout(hosts, sampler, jobs, sampling=Sampling(), limits=limits)

        runs, other = collect(0), collect(1)
        table = columns(runs)
        values = {key: noisy_values(graph, rate) for key, graph in graphs.items()}
        before = [exact_values(run, graphs[run.task.id], values[run.task.id]) for run in runs]
        reference = np.concatenate([advantages(run, value) for run, value in zip(runs, before, strict=True)])
        exact = np.concatenate([value[:-1] for value in before])
        scores = {
            "implicit": implicit(table, runs),
            "value": critic_of(runs, other),
            "value_after": np.zeros(table.size),
        }
        given = credits_of(runs, scores, asked(matched=name == "toolchain", texts=False))
        given["gae, exact critic"] = assess(runs, estimator("gae"), scores={**scores, "value": exact})[
            1
        ].value_S
        branched = []
        for run in runs:
            few = [
                one
                for at in range(len(run.steps))
                for one in fork(
                    hosts, sampler, run, at, copies=FEW, sampling=Sampling(), limits=limits, seed=7
                )
            ]
            branched.append(branch_credit(run, few))
        given[f"branch_monte_carlo, {FEW} a step"] = np.concatenate(branched)
        apart = replace(table, anchor_S=np.arange(table.size, dtype=np.int64))
        alone = assign(apart, estimator("gigpo")).value_S
        grpo = given.get("grpo (both forms)", given.get("grpo"))
        told: dict[str, object] = {
            "facts": facts(runs, table, reference, 1e-6),
            "gigpo without repeating anchors is grpo": bool(np.allclose(alone, grpo)),
            "value": scored(table, given, reference, solved=solved, tolerance=1e-6),
        }
        if rate == MIDDLE:
            told["distance"] = scored(table, given, table.score("progress"), solved=solved, tolerance=1e-6)
        out[f"{rate:g}"] = told
        print(name, rate, told["facts"], f"{time.process_time():.0f} s", flush=True)
    return out


def converge() -> dict[str, object]:
    """How fast branches find the exact values: error and rank correlation of the advantages over copies a state."""
    out = {}
    for name, world in WORLDS.items():
        hosts, limits = LocalHosts(world), Limits(max_steps=world.max_steps)
        sampler = demonstrator(hosts, error_rate=MIDDLE)
        tasks = [world.task("train", index) for index in range(12)]
        runs = rollout(
            hosts,
            sampler,
            jobs_of(tasks, group_size=1, prefix="c", seed=3),
            sampling=Sampling(),
            limits=limits,
        )
        graphs = {task.id: explore(world, task) for task in tasks}
        values = {key: noisy_values(graph, MIDDLE) for key, graph in graphs.items()}
        exact = [exact_values(run, graphs[run.task.id], values[run.task.id]) for run in runs]
        wanted = np.concatenate([advantages(run, value) for run, value in zip(runs, exact, strict=True)])
        most = 128
        found = [
            branched_values(hosts, sampler, run, copies=most, sampling=Sampling(), limits=limits, seed=11)
            for run in runs
        ]
        rows = []
        for copies in (2, 4, 8, 16, 32, 64, most):
            errors, ranks = [], []
            for first in range(0, most, copies):
                drawn = []
                for run, one in zip(runs, found, strict=True):
                    earned = np.cumsum([0.0, *(step.reward or 0.0 for step in run.steps)])[:-1]
                    means = [
                        np.mean([b.outcome for b in some[first : first + copies]]) for some in one.branches
                    ]
                    drawn.append(np.array([*(np.array(means) - earned), 0.0]))
                errors += [float(np.mean((a[:-1] - b[:-1]) ** 2)) for a, b in zip(drawn, exact, strict=True)]
                told = np.concatenate(
                    [advantages(run, value) for run, value in zip(runs, drawn, strict=True)]
                )
                ranks.append(float(stats.spearmanr(told, wanted).statistic))
            rows.append(
                {"copies": copies, "rmse": float(np.sqrt(np.mean(errors))), "spearman": float(np.mean(ranks))}
            )
        out[name] = {"steps": int(wanted.size), "rows": rows}
        print(name, rows, flush=True)
    return out


def average() -> dict[str, object]:
    """Noise or bias: credit averaged over more and more groups of the same tasks, by state and action, against the exact advantage."""
    world = WORLDS["keydoor"]
    hosts, limits = LocalHosts(world), Limits(max_steps=world.max_steps)
    sampler = demonstrator(hosts, error_rate=MIDDLE)
    tasks = [world.task("train", index) for index in range(10)]
    most = 64
    names = ("grpo", "gigpo", "hgpo", "reinforce++", "turn_return", "srgpo", "istar")
    rows: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in names}
    for task in tasks:
        graph = explore(world, task)
        value = noisy_values(graph, MIDDLE)
        runs = rollout(
            hosts,
            sampler,
            jobs_of([task] * most, group_size=GROUP, prefix="a", seed=5),
            sampling=Sampling(),
            limits=limits,
        )
        table = columns(runs)
        reference = np.concatenate([advantages(run, exact_values(run, graph, value)) for run in runs])
        keys = [(step.observation.anchor, step.action.text) for run in runs for step in run.steps]
        scores = {"implicit": implicit(table, runs)}
        for name in names:
            credit = assess(runs, estimator(name), rng=np.random.default_rng(0), scores=scores)[1].value_S
            for groups in (1, 4, 16, most):
                for first in range(0, most, groups):
                    inside = (table.task_S >= first) & (table.task_S < first + groups)
                    rows[name][groups].append(_alignment(keys, credit, reference, inside))
        print(task.id, {name: round(float(np.mean(rows[name][most])), 2) for name in names}, flush=True)
    return {
        name: {str(groups): float(np.mean(some)) for groups, some in one.items()}
        for name, one in rows.items()
    }


def _alignment(keys: list, credit: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> float:
    """The cosine between two directions of a tabular policy's update: summed credit by state and action, the state's mean taken off."""
    sums: dict[object, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for row in np.flatnonzero(inside):
        for place in (keys[row], keys[row][:1]):
            sums[place] += (credit[row], reference[row], 1.0)
    parts = np.array(
        [one - one[2] * sums[key[:1]] / sums[key[:1]][2] for key, one in sums.items() if len(key) == 2]
    )
    a, b = parts[:, 0], parts[:, 1]
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


def sql() -> dict[str, object]:
    """The published runs, replayed and branched live."""
    folder = source_folder("intercode") or Path()
    every = [
        run for agent, name in FILES.items() for run in published_runs(folder / f"{name}.json.gz", agent)
    ]
    every.sort(key=lambda run: run.number)
    world = live_world()
    made = replayed(every, tasks_by_number(world), world)
    habits = Habits(list(zip(every, made, strict=True)))
    pairs = [(run, one) for run, one in zip(every, made, strict=True) if run.number % EVERY == 0]
    runs = [one for _, one in pairs]
    table = columns(runs)
    hosts = LocalHosts(world)
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for one in runs:
        groups[one.group].append(one)
    pools = {name: pool_of(some) for name, some in groups.items()}
    limits = Limits(max_steps=LIMIT)

    def grow(
        make: Callable[[Run, Trajectory], object], copies: int, seed: int
    ) -> tuple[list[np.ndarray], list]:
        """Outcomes ``[steps, copies]`` of every run's branches, and the branches where there are few."""
        drawn, kept = [], []
        for run, one in pairs:
            found = branched_values(
                hosts,
                make(run, one),
                one,
                copies=copies,
                sampling=Sampling(),
                limits=limits,
                seed=seed,
                constrain=False,
            )
            drawn.append(np.array([[branch.outcome for branch in some] for some in found.branches]))
            kept.append([branch for some in found.branches for branch in some] if copies <= FEW else [])
        return drawn, kept

    def imitate(run: Run, one: Trajectory) -> Imitator:
        return Imitator(hosts, run, one.task, pools[one.group], habits)

    def splice(run: Run, one: Trajectory) -> Splicer:
        return Splicer(hosts, run, one.task, pools[one.group])

    def gained(drawn: list[np.ndarray], which: slice) -> np.ndarray:
        values = [np.array([*part[:, which].mean(1), 0.0]) for part in drawn]
        return np.concatenate([advantages(one, value) for one, value in zip(runs, values, strict=True)])

    copies, _ = grow(imitate, COPIES, 1)
    print("imitated", f"{time.process_time():.0f} s", flush=True)
    spliced, _ = grow(splice, COPIES // 2, 2)
    print("spliced", f"{time.process_time():.0f} s", flush=True)
    _, few = grow(imitate, FEW, 3)
    whole, half = slice(None), COPIES // 2
    reference, other = gained(copies, whole), gained(spliced, whole)
    gain = table.score("gain")
    scores = {
        "progress": gain,
        "implicit": implicit(table, runs),
        "value": np.concatenate([habits.critic(run, one) for run, one in pairs]),
        "value_after": np.zeros(table.size),
    }
    given = credits_of(runs, scores, asked(matched=False, texts=True))
    given[f"branch_monte_carlo, {FEW} a step"] = np.concatenate(
        [branch_credit(one, some) for one, some in zip(runs, few, strict=True)]
    )
    given["the step's own gain in overlap"] = gain
    given["the other policy's values"] = other
    tolerance = 0.1
    halves = gained(copies, slice(0, half)), gained(copies, slice(half, None))
    single = [replace(one, group=one.id) for one in runs]
    lone = {form: assess(single, estimator("grpo", form))[1].value_S for form in ("paper", "released")}
    solved = np.concatenate([np.full(len(one.steps), one.outcome == 1.0) for one in runs])
    before = np.concatenate([part.mean(1) for part in copies])
    agents = np.concatenate([[run.agent] * len(one.steps) for run, one in pairs])
    return {
        "facts": facts(runs, table, reference, tolerance),
        "failed statements": {
            "of good steps": float(table.penalty_S[reference > tolerance].mean()),
            "of bad steps": float(table.penalty_S[reference < -tolerance].mean()),
            "of all": float(table.penalty_S.mean()),
        },
        "split half": scored(table, {"half": halves[0]}, halves[1], solved=1.0, tolerance=tolerance)["half"],
        "value of a state tells whether its run is solved": {
            agent: {
                "auc": _area(before[agents == agent], solved[agents == agent]),
                "mean value at the start": float(
                    np.mean(
                        [
                            part[0].mean()
                            for (run, _), part in zip(pairs, copies, strict=True)
                            if run.agent == agent
                        ]
                    )
                ),
                "solved": float(np.mean([one.outcome == 1.0 for run, one in pairs if run.agent == agent])),
            }
            for agent in FILES
        },
        "groups of one": scored(table, lone, reference, solved=1.0, tolerance=tolerance),
        "value": scored(table, given, reference, solved=1.0, tolerance=tolerance),
        "spliced": scored(
            table,
            {k: v for k, v in given.items() if k != "the other policy's values"},
            other,
            solved=1.0,
            tolerance=tolerance,
        ),
        "solvable only": _solvable(runs, table, given, reference, tolerance),
    }


def _solvable(
    runs: Sequence[Trajectory], table: Columns, given: dict, reference: np.ndarray, tolerance: float
) -> object:
    """The same without vicuna's runs, most of which are lost from start to end."""
    kept_N = np.array([not run.id.endswith(".vicuna") for run in runs])
    kept = kept_N[table.trajectory_S]
    some = [run for run, keep in zip(runs, kept_N, strict=True) if keep]
    return scored(
        columns(some),
        {k: v[kept] for k, v in given.items()},
        reference[kept],
        solved=1.0,
        tolerance=tolerance,
    )


def _area(value: np.ndarray, good: np.ndarray) -> float:
    ranks = stats.rankdata(value)
    first, second = int(good.sum()), int((~good).sum())
    return float((ranks[good].sum() - first * (first + 1) / 2) / (first * second))


PARTS = {
    "keydoor": lambda: simulated("keydoor"),
    "toolchain": lambda: simulated("toolchain"),
    "converge": converge,
    "average": average,
    "sql": sql,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "page"])
    parser.add_argument("--out", type=Path, default=Path("docs/worth.json"))
    asked_for = parser.parse_args()
    results = json.loads(asked_for.out.read_text(encoding="utf-8")) if asked_for.out.exists() else {}
    for part in asked_for.parts:
        if part == "page":
            print(page(results, asked_for.out.with_suffix(".svg")))
            continue
        results[part] = rounded(PARTS[part]())
        results[part]["seconds"] = round(time.process_time())
        asked_for.out.write_text(json.dumps(results) + "\n", encoding="utf-8")


def rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


PRIVILEGED = ("srgpo", "step_grpo", "matchtir", "the step's own gain", "gae, exact", "the other")
SHOWN = (
    ("spearman_trajectory", "rho in a run"),
    ("spearman_group", "rho in a group"),
    ("spearman_all", "rho over all"),
    ("kendall_group", "tau in a group"),
    ("sign", "sign"),
    ("auc_trajectory", "AUC in a run"),
    ("auc_state", "AUC in a state"),
    ("hit@1", "hit@1"),
    ("hit@3", "hit@3"),
)
SHORT = tuple(
    one for one in SHOWN if one[0] in ("spearman_trajectory", "spearman_group", "auc_state", "hit@1")
)


def page(results: dict, plot: Path) -> str:
    """The tables of the page; the plot is drawn on the way."""
    lines: list[str] = []
    panels = {}
    places = [
        ("KeyDoor", results.get("keydoor", {}).get(f"{MIDDLE:g}", {}).get("value")),
        ("ToolChain", results.get("toolchain", {}).get(f"{MIDDLE:g}", {}).get("value")),
        ("InterCode-SQL", results.get("sql", {}).get("value")),
    ]
    for title, rows in places:
        if rows is None:
            continue
        lines += ["", f"### {title}", "", *_table(rows, SHOWN)]
        panels[title] = {
            told: {_marked(label): _interval(one[name]) for label, one in rows.items() if name in one}
            for name, told in SHOWN[:2]
        }
    if "sql" in results:
        lines += ["", "### Spliced", "", *_table(results["sql"]["spliced"], SHORT)]
    if results.keys() >= WORLDS.keys():
        lines += ["", "### Error rates", "", *_rates(results)]
    if panels:
        plot_intervals(panels, plot, across="Spearman's rho with the step's advantage")
    return "\n".join(lines)


def _interval(measure: list) -> Interval:
    value, low, high = measure[:3]
    return Interval(value=value, low=low, high=high)


def _table(rows: dict, shown: tuple[tuple[str, str], ...]) -> list[str]:
    names = [(name, told) for name, told in shown if any(name in one for one in rows.values())]
    first = next(iter(rows.values()))
    cells = ["*knows nothing*", *(f"{first[name][-1]:.2f}" for name, _ in names)]
    out = [
        "| estimator | " + " | ".join(told for _, told in names) + " |",
        "|---|" + "---:|" * len(names),
        "| " + " | ".join(cells) + " |",
    ]
    for label, one in rows.items():
        told = [_cell(one[name]) if name in one else "" for name, _ in names]
        out.append(f"| {_marked(label)} | " + " | ".join(told) + " |")
    return out


def _marked(label: str) -> str:
    """A dagger for rows that read a score which only a world with a known solution can give."""
    return f"{label} †" if label.startswith(PRIVILEGED) else label


def _cell(measure: list) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*measure[:3])


def _rates(results: dict) -> list[str]:
    """The rank correlation in a group at every error rate of both worlds."""
    ones = [results[name][f"{rate:g}"]["value"] for name in WORLDS for rate in RATES]
    titles = [f"{name} {rate:g}" for name in WORLDS for rate in RATES]
    both = " (both forms)"
    labels = dict.fromkeys(label.removesuffix(both) for one in ones for label in one)
    out = ["| estimator | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for label in labels:
        found = [one.get(label, one.get(label.partition(",")[0] + both)) for one in ones]
        told = (_cell(one["spearman_group"]) if one else "" for one in found)
        out.append(f"| {_marked(label)} | " + " | ".join(told) + " |")
    return out


if __name__ == "__main__":
    sys.exit(main())
