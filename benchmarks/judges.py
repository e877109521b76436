"""Step judges on published labels: rules, a small trained model, an endpoint if one is given. Writes docs/judges.md and its plot.

    EVERYSTEP_DATA=... python benchmarks/judges.py [--ask chat:MODEL@URL] [--most N] [--seeds 3] [--out docs/judges.md]

Problems are split into five folds. For each fold a model is trained on three others, its threshold is chosen on the fourth, and both are used on the
fold: no problem is on two sides. Intervals resample problems.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np

from everystep.bench.judged import counts_of, decisive, measures_of
from everystep.core.errors import JudgeError
from everystep.core.protocols import Evidence, Judge
from everystep.core.records import Level
from everystep.evaluate.labelled import SETS, Labelled, agent_of, labelled
from everystep.evaluate.plot import plot_reliability
from everystep.evaluate.step_metrics import (
    accuracy,
    gain,
    kept_precision,
    measured,
)
from everystep.verify.ask import Asked
from everystep.verify.evidence import step_evidence, trajectory_evidence
from everystep.verify.reading import DENSE, Features, features_of
from everystep.verify.regress import LOOKS, Training, train_model
from everystep.verify.reliability import Judged, Reliability, Target, filter_effect, ranks, reliability
from everystep.verify.rule import RULES, Rule, Said
from everystep.verify.templates import FIRST_WRONG, STEP_SCORE, TEMPLATES

FOLDS = 5
MARKS = ("<!-- tables: benchmarks/judges.py -->", "<!-- end of tables -->")
_DYCK = re.compile(r"^([\[\](){}<>]) ?; stack: ?(.*)$")
_CLOSES = {")": "(", "]": "[", "}": "{", ">": "<"}


@dataclass
class Case:
    """A labelled trajectory with the features of its steps, and what each judge said: a score a step."""

    item: Labelled
    features: list[Features]
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def part(self) -> str:
        return "" if self.item.trajectory.task.environment in ("who_and_when", "prmbench") else self.item.kind


# --- what is said, from scores --------------------------------------------------------------------


def agent_hit(item: Labelled, place: int) -> tuple[float, ...]:
    return (1.0, float(agent_of(item.trajectory.steps[place].agent) == item.kind.partition(":")[2]))


# --- judges ---------------------------------------------------------------------------------------


def dyck(evidence: Evidence) -> Said:
    """Good: the stack that the step writes down is the one that its bracket makes out of the stack before. An execution judge in twenty lines."""
    match = _DYCK.match(evidence.step.action.text.strip())
    if match is None or not evidence.before:
        return None
    past = evidence.before[-1].action.text.strip()
    known = _DYCK.match(past)
    before = known[2].split() if known else []
    if known is None and past != "stack: empty":
        return None
    before = [] if before == ["empty"] else before
    sign, told = match[1], match[2].split()
    if sign in _CLOSES:
        wanted = before[:-1] if before[-1:] == [_CLOSES[sign]] else [*before, sign]
    else:
        wanted = [*before, sign]
    return ([] if told == ["empty"] else told) == wanted


def ruled(cases: Sequence[Case], rule: Rule) -> None:
    async def all_() -> None:
        for case in cases:
            found = []
            for evidence in step_evidence(case.item.trajectory, rule.looks):
                (verdict,) = await rule.judge(Level.STEP, evidence)
                found.append(1.0 if verdict.score is None else verdict.score)
            case.scores[rule.name] = np.asarray(found)

    asyncio.run(all_())


def trained(name: str, cases: Sequence[Case], label: str, seed: int, **options: object) -> float:
    """Score every step by models that never saw its problem; the scores are moved so that 0.5 is the threshold. Return the seconds taken."""
    start = time.perf_counter()
    fold_C = np.asarray([crc32(f"{seed}\x1f{case.item.problem}".encode()) % FOLDS for case in cases])
    for fold in range(FOLDS):
        tuning = (fold + 1) % FOLDS
        rows, labels = [], []
        for case, at in zip(cases, fold_C, strict=True):
            if at not in (fold, tuning):
                rows += [case.features[place] for place in case.item.places]
                labels += [float(place not in case.item.bad) for place in case.item.places]
        model = train_model(rows, labels, Training(seed=seed, **options))
        mine = [case for case, at in zip(cases, fold_C, strict=True) if at == fold]
        held = [case for case, at in zip(cases, fold_C, strict=True) if at == tuning]
        threshold = tuned(name, held, [model.probabilities(case.features) for case in held])
        for case in mine:
            case.scores[f"{label} {seed}"] = moved(model.probabilities(case.features), threshold)
            case.scores[f"{label} {seed} raw"] = model.probabilities(case.features)
    return time.perf_counter() - start


def only_position(one: Features) -> Features:
    """Where the step stands, and nothing of what it says: what a judge must beat to know anything about steps."""
    mask = [what in ("bias", "index", "first") for what in DENSE]
    return Features(one.buckets[:0], np.where(mask, one.dense, 0).astype(np.float32))


def tuned(name: str, cases: Sequence[Case], scores: Sequence[np.ndarray]) -> float:
    """Return the threshold with the best main measure."""
    if name == "who_and_when":
        return 0.5
    grid = np.quantile(np.concatenate(scores), np.linspace(0.005, 0.995, 60))
    best, _ = max(
        (
            float(
                measures_of(name)[0].of(
                    np.sum(
                        [counts_of(name, c.item, s.tolist(), t) for c, s in zip(cases, scores, strict=True)],
                        axis=0,
                    )
                )
            ),
            t,
        )
        for t in grid
    )
    chosen = [
        t
        for t in grid
        if float(
            measures_of(name)[0].of(
                np.sum(
                    [counts_of(name, c.item, s.tolist(), t) for c, s in zip(cases, scores, strict=True)],
                    axis=0,
                )
            )
        )
        == best
    ]
    return float(np.median(chosen))


def moved(score_S: np.ndarray, threshold: float) -> np.ndarray:
    """Return scores in the same order with ``threshold`` at one half."""
    logit = np.log(score_S / (1 - score_S)) - np.log(threshold / (1 - threshold))
    return 1 / (1 + np.exp(-logit))


async def asked(name: str, cases: Sequence[Case], judge: Judge) -> int:
    """Ask a model of every trajectory; return how many gave no verdict (they count as "no mistake")."""
    silent = 0
    for case in cases:
        score_S = np.ones(len(case.item.trajectory.steps))
        try:
            if name == "gui_critic":
                *_, evidence = step_evidence(case.item.trajectory, judge.looks)
                (verdict,) = await judge.judge(Level.STEP, evidence)
                score_S[-1] = (verdict.score or 0.0) / 10 - 0.001  # more than 5 is good
            else:
                found = await judge.judge(
                    Level.TRAJECTORY, trajectory_evidence((case.item.trajectory,), judge.looks)
                )
                for one in found[1:]:
                    score_S[int(one.targets[0].rpartition("/")[2])] = one.score or 0.0
        except JudgeError:
            silent += 1
        case.scores["asked"] = score_S
    return silent


# --- tables ---------------------------------------------------------------------------------------


def line(name: str, cases: Sequence[Case], label: str, keys: Sequence[str]) -> list[str]:
    """Return a row of the main table; counts of several seeds are added up before the measure."""
    problems = [case.item.problem for case in cases]
    rows = [
        np.sum([counts_of(name, case.item, case.scores[key].tolist()) for key in keys], axis=0)
        for case in cases
    ]
    cells = [label, *(str(measured(rows, problems, one.of)) for one in measures_of(name))]
    if name == "who_and_when":
        hits = [
            np.sum([agent_hit(case.item, decisive(case.scores[key].tolist())) for key in keys], axis=0)
            for case in cases
        ]
        cells.append(str(measured(hits, problems, accuracy)))
    return cells


def rank_of(cases: Sequence[Case], keys: Sequence[str]) -> str:
    """Return the AUC of step scores on labelled steps, the mean over seeds."""
    found = []
    for key in keys:
        pairs = [(float(c.scores[key][i]), i not in c.item.bad) for c in cases for i in c.item.places]
        value = ranks([p for p, _ in pairs], [good for _, good in pairs])
        found.append(float("nan") if value is None else value)
    return f"{np.mean(found):.3f}"


def filters(
    cases: Sequence[Case], label: str, key: str, *, whole: bool, keep: float | None
) -> list[str] | None:
    """Return what keeping the best scored steps (or solutions, by their worst step) does to the share of good ones."""
    some = []
    for case in cases:
        item = case.item
        if whole:
            some.append(
                Judged(score=float(case.scores[key].min()), good=item.first is None, group=item.problem)
            )
        else:
            some += [
                Judged(score=float(case.scores[key][i]), good=i not in item.bad, group=item.problem)
                for i in item.places
            ]
    cut = None if keep is None else filter_effect(some, Target(keep=keep)).threshold
    threshold = 0.5 if keep is None else cut
    if threshold is None:
        return None
    rows = [
        (1.0, float(o.good), float(o.score >= threshold), float(o.good and o.score >= threshold))
        for o in some
    ]
    groups = [one.group for one in some]
    kept = sum(row[2] for row in rows) / len(rows)
    if kept in (0.0, 1.0):
        return None
    base = sum(row[1] for row in rows) / len(rows)
    return [
        label, "solutions" if whole else "steps", f"{kept:.2f}", f"{base:.3f}",
        str(measured(rows, groups, kept_precision)), str(measured(rows, groups, gain)),
    ]  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def study(
    name: str, seeds: int, most: int | None, judge: Judge | None
) -> tuple[list[str], dict[str, Reliability]]:
    """Return the page's section of one set, and reliabilities to plot."""
    start = time.perf_counter()
    cases = []
    for item in labelled(name):
        features = [
            features_of(evidence, size=Training().size) for evidence in step_evidence(item.trajectory, LOOKS)
        ]
        cases.append(Case(item, features))
        if most is not None and len(cases) == most:
            break
    ready = time.perf_counter() - start
    rules = [RULES[one] for one in ("always", "never", "arithmetic", "repeated")]
    if name == "bigbench_mistake":
        rules.append(Rule(name="stack", function=dyck, looks=LOOKS))
    for rule in rules:
        ruled(cases, rule)
    for case in cases:
        last = np.ones(len(case.item.trajectory.steps))
        last[-1] = 0.0
        case.scores["last step"] = last
    judges: dict[str, list[str]] = {
        "says that every step is right": ["always"],
        "says that every step is wrong (the first one is)": ["never"],
        "says that the last step is wrong": ["last step"],
        "arithmetic: an equation of numbers does not hold": ["arithmetic"],
        "repeated: the same step as before": ["repeated"],
    }
    if name == "bigbench_mistake":
        judges["stack: brackets executed (Dyck only, else silent)"] = ["stack"]
    seconds = {}
    for label, options in (
        ("position only", {}),
        ("linear", {}),
        ("8 hidden units", {"hidden": 8}),
        ("linear, maths only", {"view": "maths"}),
    ):
        kept = [case.features for case in cases]
        if label == "position only":
            for case in cases:
                case.features = [only_position(one) for one in case.features]
        if "maths only" in label:
            if name not in ("processbench", "prmbench"):
                continue
            for case in cases:
                case.features = [
                    features_of(one, size=Training().size, view="maths")
                    for one in step_evidence(case.item.trajectory, LOOKS)
                ]
        seconds[label] = sum(trained(name, cases, label, seed, **options) for seed in range(seeds)) / seeds
        for case, features in zip(cases, kept, strict=True):
            case.features = features
        judges[f"trained, {label}"] = [f"{label} {seed}" for seed in range(seeds)]
    if judge is not None:
        silent = asyncio.run(asked(name, cases, judge))
        judges[f"asked: {judge.version} ({silent} without a verdict)"] = ["asked"]
    return _section(name, cases, judges, seconds, ready), {
        name: reliability(
            [
                Judged(
                    score=float(c.scores["linear 0 raw"][i]), good=i not in c.item.bad, group=c.item.problem
                )
                for c in cases
                for i in c.item.places
            ]
        )
    }


def _section(
    name: str, cases: list[Case], judges: dict[str, list[str]], seconds: dict[str, float], ready: float
) -> list[str]:
    one = SETS[name]
    steps = sum(len(case.item.places) for case in cases)
    bad = sum(len(case.item.bad) for case in cases)
    head = [
        "judge",
        *(one.name for one in measures_of(name)),
        *(["agent accuracy"] if name == "who_and_when" else []),
        "AUC",
    ]
    out = [
        f"### {name}",
    ]
    out.append(
        f"{len(cases)} trajectories of {len({c.item.problem for c in cases})} problems, {steps} labelled steps, {bad} of them wrong. "
        f"Source: {one.source}, {one.licence}."
    )
    parts = sorted({case.part for case in cases})
    for part in parts:
        some = [case for case in cases if case.part == part]
        rows = [
            [*line(name, some, label, keys), rank_of(some, keys)]
            for label, keys in judges.items()
            if not (label.startswith("stack") and part not in ("", "dyck_languages"))
        ]
        if len(parts) > 1:
            out.append(f"#### {part} ({len(some)})")
        out.append(table(head, rows))
    if name != "who_and_when":
        rows = []
        for whole in (False, True) if name in ("processbench", "bigbench_mistake") else (False,):
            for label, key in (
                ("trained, position only", "position only 0 raw"),
                ("trained, linear", "linear 0 raw"),
                ("trained, 8 hidden units", "8 hidden units 0 raw"),
            ):
                for keep in (0.5, 0.2):
                    rows.append(filters(cases, f"{label}, best {keep:.0%}", key, whole=whole, keep=keep))
            rows.append(filters(cases, "arithmetic", "arithmetic", whole=whole, keep=None))
            if name == "bigbench_mistake":
                dycks = [case for case in cases if case.part == "dyck_languages"]
                rows.append(filters(dycks, "stack (Dyck)", "stack", whole=whole, keep=None))
        out.append("As a filter: what is kept, and how good it is.")
        out.append(
            table(
                ["judge", "of", "kept", "good before", "good among the kept", "gain"],
                [row for row in rows if row is not None],
            )
        )
    if name == "prmbench":
        out.append(_classes(cases))
    told = ", ".join(f"{label} {taken:.0f} s" for label, taken in seconds.items())
    out.append(f"Reading and features {ready:.0f} s; training and scoring of five folds: {told}.")
    return out


def _classes(cases: list[Case]) -> str:
    rows = []
    for kind in sorted({case.item.kind for case in cases}):
        some = [case for case in cases if case.item.kind == kind]
        rows.append(
            [kind, str(len(some)), *line("prmbench", some, "", ["linear 0"])[1:], rank_of(some, ["linear 0"])]
        )
    return "By class, trained linear (seed 0):\n\n" + table(
        ["class", "n", "PRMScore", "F1 on wrong steps", "AUC"], rows
    )


def transfer(names: Sequence[str]) -> list[str]:
    """Return what a model of one set is worth on another: does it know errors, or how this set's errors were made?"""
    sets: dict[str, list[tuple[str, Features, bool]]] = {}
    for name in names:
        sets[name] = []
        for item in labelled(name):
            features = [
                features_of(one, size=Training().size) for one in step_evidence(item.trajectory, LOOKS)
            ]
            problem = " ".join(item.trajectory.task.instruction.split())
            sets[name] += [(problem, features[at], at not in item.bad) for at in item.places]
    rows = []
    for source in names:
        cells = [source]
        for target in names:
            if source == target:
                cells.append("")
                continue
            tested = {problem for problem, *_ in sets[target]}
            some = [(row, good) for problem, row, good in sets[source] if problem not in tested]
            model = train_model([row for row, _ in some], [float(good) for _, good in some], Training())
            score_S = model.probabilities([row for _, row, _ in sets[target]])
            cells.append(f"{ranks(score_S.tolist(), [good for *_, good in sets[target]]):.3f}")
        rows.append(cells)
    return [
        "### From one set to another",
        "AUC of step scores of a linear model trained on one set (less the other's problems) and used on another.",
        table(["trained on", *names], rows),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=None)
    parser.add_argument("--ask", default=None, help="a model, such as chat:MODEL@URL")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    judge = None
    if options.ask:
        from everystep.app.run_models import model_of

        sampler = model_of(options.ask, answer=None).sampler
        templates = dict(TEMPLATES) | {Level.TRAJECTORY: FIRST_WRONG, Level.STEP: STEP_SCORE}
        judge = Asked(sampler=sampler, templates=templates)
    sections, curves = [], {}
    for name in options.sets:
        text, found = study(name, options.seeds, options.most, judge)
        sections += text
        curves |= found
        print("\n\n".join(text), flush=True)
    three = [name for name in ("processbench", "prmbench", "bigbench_mistake") if name in options.sets]
    if len(three) > 1 and options.most is None:
        sections += transfer(three)
        print("\n\n".join(sections[-3:]), flush=True)
    if options.out is not None:
        text = (
            options.out.read_text(encoding="utf-8") if options.out.exists() else f"{MARKS[0]}\n{MARKS[1]}\n"
        )
        before, behind = text.partition(MARKS[0])[0], text.partition(MARKS[1])[2]
        made = "\n\n".join((MARKS[0], *sections, MARKS[1]))
        options.out.write_text(f"{before}{made}{behind}", encoding="utf-8")
        plot_reliability(
            curves, options.out.with_suffix(".svg"), title="Trained linear judges, held-out problems"
        )


if __name__ == "__main__":
    main()
