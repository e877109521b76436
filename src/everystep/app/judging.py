"""``everystep judge`` and ``everystep calibrate``: verdicts on stored steps, and what a judge's verdicts are worth."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table

from everystep.app.flags import parse
from everystep.app.judges import Built, build_judge
from everystep.app.reading import journal_of, trajectories_of
from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Judge
from everystep.core.records import Level, Trajectory, Verdict
from everystep.core.trace import Kind
from everystep.run.folder import JOURNAL
from everystep.run.journal import Journal
from everystep.verify.judging import judged, key_of
from everystep.verify.reliability import (
    Cut,
    Effect,
    Judged,
    Reliability,
    Target,
    cut_at,
    filter_effect,
    reliability,
    threshold_for,
)
from everystep.verify.verdicts import FAILED, share_of

VERDICTS = "verdicts.sqlite"
VALUES = "values.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Judge stored steps or trajectories. Verdicts are added beside them, nothing is rewritten; a run that was stopped goes on."""

    traces: tyro.conf.Positional[Path]
    """A run's folder, a journal, or a Parquet folder."""
    judge: str
    """Who judges. rule:NAME (always, never, arithmetic, repeated, valid, rewarded) or rule:FILE.py, which defines judge(evidence). oracle: the environment's
    solver (oracle:distance counts every step that comes closer). executed: the step is run again in its state (executed:SCORE takes a score that the
    environment measures, such as overlap). trained:FILE: a small trained model. chat:MODEL@URL, local:FOLDER, smollm, script:FILE.py: a model is asked."""
    level: Literal["step", "trajectory", "pair", "list"] = "step"
    """What is judged: each step, each trajectory, each two trajectories of a group, or each group as a list."""
    out: Path | None = None
    """Folder for the verdicts; by default they go into the run's own journal, or beside the tables of a Parquet folder."""
    name: str = ""
    """The judge's name in its verdicts; by default what --judge begins with."""
    phase: Literal["train", "test", "all"] = "all"
    """Which trajectories of a training."""
    votes: int = 1
    """How often a model is asked of each target."""
    retries: int = 3
    """Further answers that a model may give where one cannot be read."""
    temperature: float = 0.0
    """Sampling temperature of a model."""
    max_tokens: int = 512
    """Tokens that a model may write in an answer."""
    key: str | None = None
    """Name of the environment variable with an endpoint's key."""
    question: Literal["usual", "first_wrong"] = "usual"
    """What a model is asked of a trajectory: did it succeed, or which step is the first wrong one."""
    actions: int | None = None
    """Evidence: how many earlier actions are shown (by default all)."""
    observations: int | None = None
    """Evidence: of how many steps the observation is shown, the judged one counted first."""
    result: bool = False
    """Evidence: show what the step led to."""
    after: int = 0
    """Evidence: how many later steps are shown. Such verdicts see the future."""
    outcome: bool = False
    """Evidence: show how the trajectory ended. Such verdicts see the future."""
    reference: bool = False
    """Evidence: show the expected answer."""
    chars: int = 4000
    """Evidence: the most characters of a text."""
    false_positive: float = 0.0
    """For studies: share of the bad targets that are called good."""
    false_negative: float = 0.0
    """For studies: share of the good targets that are called bad."""
    answers: Path | None = None
    """File in which a model's answers are kept, so that the same question is never paid for twice; by default in the folder of the verdicts."""
    at_once: int = 8
    """How many questions to an endpoint are open at a time."""
    seed: int = 0
    """Seed of sampling and of the errors made for studies."""


def judge(words: Sequence[str]) -> int:
    """Judge what has no verdict of this judge yet, and print what came of it."""
    asked = parse(Ask, words, command="judge")
    level = Level(asked.level)
    stored = _stored(asked)
    with ExitStack() as stack:
        journal, beside = _sink(asked)
        stack.callback(journal.close)
        built = build_judge(asked, stack, beside)
        tally = asyncio.run(_judge(stored, built, level, journal, asked.at_once))
    if beside is not None:
        from everystep.data.source import write_values  # pyarrow is optional

        with Journal.read(beside / VERDICTS) as opened:
            write_values(opened, beside)
    _tell(built.judge, tally, beside or journal_of(asked.traces))
    return 1 if tally.get("failed", 0) and not tally.get("judged", 0) else 0


async def _judge(
    stored: Iterable[Trajectory], built: Built, level: Level, journal: Journal, at_once: int
) -> dict[str, float]:
    done = _done(journal, built.judge, level)
    tally = {"before": float(len(done)), "judged": 0.0, "failed": 0.0, "silent": 0.0, "sum": 0.0, "good": 0.0}
    try:
        async for found in judged(
            stored, built.judge, level=level, done=done, at_once=at_once if built.remote else 1
        ):
            journal.append_many((Kind.VERDICT, one) for one in found)
            first, share = found[0], share_of(found[0])
            tally["failed"] += first.label == FAILED
            tally["judged"] += first.label != FAILED
            tally["silent"] += share is None and first.label != FAILED
            tally["sum"] += share or 0.0
            tally["good"] += share is not None and share >= 0.5
    finally:
        await built.finish()
    return tally


def _stored(asked: Ask) -> Iterable[Trajectory]:
    path = asked.traces
    if path.is_dir() and not (path / JOURNAL).exists():
        if not path.exists() or not (
            any(path.glob("steps.parquet")) or any(path.glob("part-*/steps.parquet"))
        ):
            raise StoreError(f"{str(path)!r} is neither a run, nor a journal, nor a Parquet folder of steps.")
        from everystep.run.store import read_parquet  # pyarrow is optional

        return read_parquet(path)
    return trajectories_of(path, phase=asked.phase)


def _sink(asked: Ask) -> tuple[Journal, Path | None]:
    """Return the journal that takes the verdicts, and the folder that gets them as a table, ``None`` where they go into the run's own journal."""
    own = asked.traces.is_file() or (asked.traces / JOURNAL).exists()
    if own and asked.out is None:
        path = journal_of(asked.traces)
        with Journal.read(path) as journal:
            if not any(journal.events(kinds={Kind.END})):  # a run that goes on believes the verdicts it finds
                raise ConfigError(
                    f"{str(asked.traces)!r} is not over yet. Put the verdicts elsewhere with --out."
                )
        return Journal.open(path), None
    folder = asked.out or asked.traces
    path = folder / VERDICTS
    if path.exists():
        return Journal.open(path), folder
    if (folder / VALUES).exists():
        raise StoreError(
            f"{str(folder)!r} has a {VALUES} that `everystep judge` did not write. Choose another folder with --out."
        )
    return Journal.create(path, {"command": "judge", "traces": str(asked.traces)}), folder


def _done(journal: Journal, judge: Judge, level: Level) -> set[str]:
    """Return what has a verdict of this judge in this version; where it failed it is asked again."""
    done = set()
    for one in _verdicts(journal):
        mine = (one.judge, one.version, one.level) == (judge.name, judge.version, level)
        if mine and one.label != FAILED and one.targets:
            done.add(key_of(one.targets))
    return done


def _verdicts(journal: Journal) -> Iterator[Verdict]:
    for event in journal.events(kinds={Kind.VERDICT}):
        yield decode(Verdict, event.body)


def _tell(judge: Judge, tally: Mapping[str, float], where: Path) -> None:
    console = Console()
    scored = tally["judged"] - tally["silent"]
    mean = f", mean {tally['sum'] / scored:.3f}, {tally['good'] / scored:.1%} good" if scored else ""
    console.print(
        f"{judge.name} ({judge.version}): {tally['judged']:.0f} verdicts{mean}; {tally['silent']:.0f} without a score, "
        f"{tally['failed']:.0f} failed, {tally['before']:.0f} were there before"
    )
    if judge.looks.sees_future:
        console.print("these verdicts see the future: good for data, not for live steps", style="yellow")
    console.print(f"verdicts: {where}", soft_wrap=True)
    if tally["failed"]:
        console.print("run the same command again to ask again where it failed", style="dim")


# --- calibrate ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Hold a judge's verdicts against labels: do scores mean what they say, where to cut, what a filter would do."""

    verdicts: tyro.conf.Positional[Path]
    """A folder of verdicts, a run, or a journal with verdicts."""
    labels: tyro.conf.Positional[Path]
    """JSON lines with target, good (true, false, or a number) and if you like group (what is alike: the problem); or verdicts of another judge, such as an oracle."""
    judge: str | None = None
    """Which judge, where there are several."""
    truth: str | None = None
    """Which judge's verdicts are the labels, where there are several."""
    precision: float | None = None
    """Cut where this share of the kept is good."""
    sure: bool = False
    """The lower end of the interval has to reach the precision, so that a few lucky steps do not decide."""
    recall: float | None = None
    """Cut where this share of the good is kept."""
    keep: float | None = None
    """Cut where this share of all is kept."""
    bins: int = 10
    """Bins of the reliability curve."""
    folds: int = 5
    """Parts of the data: a threshold is chosen on all but one and applied to that one."""
    plot: Path | None = None
    """Write the reliability curve to this SVG or PNG."""
    json: bool = False
    """Print one JSON object."""


def calibrate(words: Sequence[str]) -> int:
    """Print the table, the cuts and the expected effect; write the plot."""
    asked = parse(Compare, words, command="calibrate")
    name, scores = _scores(asked.verdicts, asked.judge, "--judge")
    labels = _labels(asked.labels, asked.truth)
    some = [
        Judged(score=scores[target], good=good, group=group or group_of(target))
        for target, (good, group) in labels.items()
        if target in scores
    ]
    if not some:
        raise DataError(
            f"none of the {len(labels)} labels names a target of the {len(scores)} verdicts. Targets are the ids of steps or trajectories."
        )
    found = reliability(some, bins=asked.bins)
    given = (asked.precision, asked.recall, asked.keep)
    targets = (
        [Target(precision=asked.precision, recall=asked.recall, keep=asked.keep, sure=asked.sure)]
        if asked.sure or any(one is not None for one in given)
        else [Target(precision=0.9), Target(recall=0.9), Target(keep=0.5)]
    )
    effects = [(one, filter_effect(some, one, folds=asked.folds)) for one in targets]
    if asked.plot is not None:
        from everystep.evaluate.plot import plot_reliability  # matplotlib is optional

        plot_reliability({name: found}, asked.plot, title=f"{name} on {found.count} labels")
    if asked.json:
        told = {"judge": name, "labels": len(labels), "matched": len(some), "reliability": encode(found)}
        told |= {"effects": [{"target": encode(one), "effect": encode(effect)} for one, effect in effects]}
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        _print(name, len(labels), some, found, effects)
    return 0


def group_of(target: str) -> str:
    """Return what a target is alike with, where nobody said: the part of its id before the last slash.

    >>> group_of("gsm8k-3/2"), group_of("s1")
    ('gsm8k-3', 's1')
    """
    return target.rpartition("/")[0] or target


def _print(
    name: str,
    labels: int,
    some: Sequence[Judged],
    found: Reliability,
    effects: Sequence[tuple[Target, Effect]],
) -> None:
    console = Console()
    console.print(
        f"{name}: {len(some)} of {labels} labels have a verdict, {found.silent} of these without a score"
    )
    ranked = "unknown" if found.ranks is None else f"{found.ranks:.3f}"
    console.print(
        f"good {found.base}; AUC {ranked}; calibration error {found.error:.3f}; Brier {found.brier:.3f}"
    )
    bins = Table("score", "count", "mean score", "good", title="Reliability")
    for one in found.bins:
        bins.add_row(f"{one.low:.2f} to {one.high:.2f}", str(one.count), f"{one.score:.3f}", str(one.good))
    console.print(bins)
    table = Table(
        "filter for",
        "threshold",
        "kept",
        "precision",
        "recall",
        title="Expected effect, on data it was not chosen on",
    )
    for target, effect in effects:
        table.add_row(_named(target), *_cells(effect))
    console.print(table)
    for target, _ in effects:
        threshold = threshold_for(some, target)
        if threshold is None:
            console.print(f"no threshold reaches {_named(target)} on these labels", style="yellow")
        else:
            console.print(
                f"{_named(target)}: cut at {threshold:.4g} ({_told(cut_at(some, threshold))} on all labels)",
                style="dim",
            )


def _named(target: Target) -> str:
    return next(
        f"{name} {value:g}"
        for name, value in (("precision", target.precision), ("recall", target.recall), ("kept", target.keep))
        if value is not None
    )


def _cells(effect: Effect) -> tuple[str, str, str, str]:
    threshold = "none" if effect.threshold is None else f"{effect.threshold:.4g}"
    precision = "nothing kept" if effect.precision is None else str(effect.precision)
    return threshold, str(effect.kept), precision, str(effect.recall)


def _told(cut: Cut) -> str:
    precision = "nothing kept" if cut.precision is None else f"precision {cut.precision.value:.3f}"
    return f"{precision}, recall {cut.recall.value:.3f}"


def _scores(path: Path, wanted: str | None, option: str) -> tuple[str, dict[str, float | None]]:
    """Return the newest score of each target by one judge, as a share of its range."""
    found: dict[str, dict[str, float | None]] = {}
    journal = path / VERDICTS if (path / VERDICTS).exists() else journal_of(path)
    with Journal.read(journal) as opened:
        for one in _verdicts(opened):
            if len(one.targets) == 1:
                found.setdefault(one.judge, {})[one.targets[0]] = share_of(one)
    if not found:
        raise DataError(
            f"{str(path)!r} has no verdicts on single steps or trajectories. Make some with `everystep judge`."
        )
    if wanted is None and len(found) > 1:
        raise ConfigError(
            f"{str(path)!r} has verdicts of {', '.join(sorted(found))}. Name one with {option}."
        )
    name = wanted or next(iter(found))
    if name not in found:
        raise ConfigError(
            f"{str(path)!r} has no verdicts of {name!r}; it has those of {', '.join(sorted(found))}."
        )
    return name, found[name]


def _labels(path: Path, truth: str | None) -> dict[str, tuple[bool, str | None]]:
    if path.is_dir() or path.suffix in (".sqlite", ".db"):
        _, scores = _scores(path, truth, "--truth")
        return {target: (score >= 0.5, None) for target, score in scores.items() if score is not None}
    found: dict[str, tuple[bool, str | None]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the labels {str(path)!r}: {error}.") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            target, good, group = row["target"], row["good"], row.get("group")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            row = target = good = group = None
        if (
            not isinstance(target, str)
            or not isinstance(good, bool | int | float)
            or not isinstance(group, str | None)
        ):
            raise DataError(
                f"line {number} of {str(path)!r} is no label; expected an object with target (text), good (true, false or a number) and "
                "if you like group (text)."
            )
        found[target] = (good >= 0.5, group)
    return found
