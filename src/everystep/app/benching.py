"""``everystep bench``: run a benchmark, list them, draw a leaderboard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro

from everystep import __version__
from everystep.app.agents import agent_of
from everystep.app.flags import parse
from everystep.app.judges import rule_judge, trained_judge
from everystep.app.progress import ConsoleProgress
from everystep.app.run_models import model_of
from everystep.bench.benchmark import About, Benchmark
from everystep.bench.catalog import BENCHMARKS, benchmark
from everystep.bench.judged import Guess
from everystep.bench.running import ROWS_FILE, Plan, Source, Told, read_rows, run_here
from everystep.bench.summary import report, summary, write_parquet
from everystep.bench.worlds import sampled
from everystep.core.errors import ConfigError
from everystep.core.protocols import AsyncSampler, Judge, Looks, Sampler, Sampling
from everystep.core.records import Json, Level
from everystep.run.demonstrate import OracleSampler
from everystep.run.folder import BENCH, RunFolder, create, free_folder, write_json
from everystep.run.pool import Limits, Pool, Processes, Tasks
from everystep.verify.ask import Asked
from everystep.verify.templates import FIRST_WRONG, TEMPLATES

SHOWN_EVERY_S = 2.0
REAL = ("chat", "local", "smollm")
"""Models whose answers at temperature 0 are always the same."""
RESULTS, REPORT, TABLE = "results.json", "report.md", "rows.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskBench:
    """Run a benchmark: every case once for each run, kept as it comes. The same folder goes on with `everystep resume`."""

    name: tyro.conf.Positional[str]
    """The benchmark; `everystep bench list` shows them, `everystep bench page FOLDERS` compares results."""
    model: str = "oracle"
    """Who attempts the cases: oracle, noisy:RATE, random, local:FOLDER, smollm, chat:MODEL@URL, script:FILE.py; for judges also rule:NAME, rule:FILE.py and trained:FILE."""
    agent: str = "plain"
    """How the model is asked, with commas: plain; window:N (N turns before this one, besides the first); vote:N (the most frequent of N answers; needs --temperature); or FILE.py, whose function
    agent(sampler) returns a sampler. For agents and answers."""
    key: str | None = None
    """Name of the environment variable with an endpoint's key."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of the benchmark."""
    cases: int | None = None
    """At most so many cases, the first ones."""
    runs: int = 1
    """Attempts at each case; with more than one pass^k and pass@k are told."""
    seed: int = 0
    """Seed of all attempts."""
    workers: int = 1
    """Batches that are in work at a time, in processes or on a cluster."""
    where: Literal["here", "processes", "ray"] = "here"
    """Where they are: one at a time in this process, in processes of their own, on a Ray cluster."""
    batch: int | None = None
    """Cases that are attempted side by side, such as requests to an endpoint; by default what suits the benchmark."""
    timeout: float | None = None
    """Seconds that a batch may take before its worker is replaced."""
    temperature: float | None = None
    """Sampling temperature of a model; by default what the benchmark asks for, which is 0. More than one run needs more than 0."""
    max_tokens: int | None = None
    """Most tokens of an answer; by default what the benchmark asks for."""
    tokens: int | None = None
    """Stop when so many tokens were read and written; what is left can be gone on with."""
    seconds: float | None = None
    """Stop after so many seconds."""
    by: tuple[str, ...] = ()
    """Tags to break the table down by, such as length."""
    out: Path | None = None
    """Folder of the results; by default the next free one under runs/."""
    quiet: bool = False
    """Print nothing but the table."""
    json: bool = False
    """Print the results as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPage:
    """Write the leaderboard of some results: one HTML page, a table for each benchmark."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of results."""
    out: Path = Path("leaderboard.html")
    """The file."""


def bench(words: Sequence[str]) -> int:
    """Run a benchmark: ``everystep bench NAME [flags]``; or ``list`` them, or write the leaderboard's ``page``."""
    words = list(words)
    if words[:1] == ["list"]:
        return _list(as_json="--json" in words[1:])
    if words[:1] == ["page"]:
        from everystep.app.bench_page import write_leaderboard

        page = parse(AskPage, words[1:], command="bench page")
        sys.stdout.write(f"{write_leaderboard(page.folders, page.out).resolve().as_uri()}\n")
        return 0
    asked = parse(AskBench, words, command="bench")
    chosen = benchmark(asked.name, asked.options)  # a wrong name or option is refused before a folder is made
    options = {
        one: getattr(asked, one)
        for one in AskBench.__dataclass_fields__
        if one not in ("out", "quiet", "json")
    }
    options["by"] = list(asked.by)
    _pool(asked)
    agent_of(asked.agent)
    if asked.runs > 1 and not asked.temperature and asked.model.split(":")[0] in REAL:
        raise ConfigError(
            f"--runs {asked.runs} at temperature 0 would be the same attempt {asked.runs} times. Give --temperature, such as 0.7."
        )
    folder = create(
        asked.out or free_folder(f"bench-{asked.name}"),
        kind=BENCH, options=options, version=__version__,
    )  # fmt: skip
    return _run(chosen, asked, folder)


def resume_bench(folder: RunFolder, *, quiet: bool, as_json: bool) -> int:
    """Go on with a benchmark; attempts that are scored are not made again."""
    stored = folder.config_of(BENCH)["options"]
    asked = AskBench(**{**stored, "by": tuple(stored["by"])}, out=folder.path, quiet=quiet, json=as_json)
    return _run(benchmark(asked.name, asked.options), asked, folder)


def contestant(
    spec: str, agent: str, key: str | None, seed: int, oracle: OracleSampler
) -> Sampler | AsyncSampler:
    """Return the model that ``spec`` names, asked as ``agent`` says, in the worker that asks for it."""
    chosen = model_of(
        spec,
        answer=lambda request: oracle.sample([request], Sampling())[0].text,
        seed=seed,
        key=key,
    )
    return agent_of(agent)(chosen.sampler)


def judge_of(
    spec: str, key: str | None, seed: int, temperature: float | None, tokens: int | None, known: Judge
) -> Judge:
    """Return the judge that ``spec`` names, in the worker that asks for it; ``known`` has the labels."""
    kind, _, rest = spec.partition(":")
    if kind == "oracle":
        return known
    if kind == "random":
        return Guess(seed=seed)
    if kind == "rule":
        return rule_judge(rest)
    if kind == "trained":
        return trained_judge(rest)
    chosen = model_of(spec, answer=None, seed=seed, key=key)
    return Asked(
        sampler=chosen.sampler,
        templates={**TEMPLATES, Level.TRAJECTORY: FIRST_WRONG},
        sampling=Sampling(temperature=temperature or 0.0, max_tokens=tokens or 1024),
        looks=Looks(observations=3),
        seed=seed,
        name=kind,
    )


def _made(
    name: str, options: dict[str, Json], temperature: float | None, max_tokens: int | None
) -> Benchmark:
    return sampled(benchmark(name, options), temperature, max_tokens)


def _run(chosen: Benchmark, asked: AskBench, folder: RunFolder) -> int:
    who: Callable[..., Any] = partial(contestant, asked.model, asked.agent, asked.key, asked.seed)
    if chosen.about.kind == "judge":
        if asked.agent != "plain":
            raise ConfigError(f"--agent {asked.agent!r} has no effect on judges. Leave it out.")
        who = partial(judge_of, asked.model, asked.key, asked.seed, asked.temperature, asked.max_tokens)
    source = Source(partial(_made, asked.name, asked.options, asked.temperature, asked.max_tokens), who)
    plan = Plan(
        most=asked.cases, runs=asked.runs, seed=asked.seed, batch=asked.batch, tokens=asked.tokens,
        seconds=asked.seconds,
    )  # fmt: skip
    progress = None if asked.quiet or asked.json else _Progress()
    try:
        done = run_here(source, _pool(asked), folder.path, plan, tell=progress)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped. Scored attempts are kept: everystep resume {folder.path}\n")
        raise
    finally:
        if progress is not None:
            progress.close()
    rows = read_rows(folder.path / ROWS_FILE)
    if not done:
        sys.stderr.write(f"stopped by its limit. Go on with: everystep resume {folder.path}\n")
    if not rows:
        return 0
    told = summary(chosen, rows)
    write_json(folder.path / RESULTS, {"benchmark": asked.name, "model": asked.model, **told.as_json()})
    page = report(chosen, rows, asked.by)
    (folder.path / REPORT).write_text(page, encoding="utf-8")
    write_parquet(rows, folder.path / TABLE)
    sys.stdout.write(json.dumps(told.as_json()) + "\n" if asked.json else f"{page}\nresults: {folder.path}\n")
    return 0


def _pool(asked: AskBench) -> Pool:
    if asked.where == "here" and asked.workers != 1:
        raise ConfigError(
            f"--workers {asked.workers} needs --where processes or ray. To ask an endpoint of many cases at a time: --batch {asked.workers}."
        )
    limits = Limits(workers=asked.workers, timeout_s=asked.timeout)
    if asked.where == "processes":
        return Processes(limits)
    if asked.where == "ray":
        from everystep.run.pool_ray import RayActors

        return RayActors(limits)
    return Tasks(limits)


class _Progress:
    """The progress on the screen, by the cases: at most a few lines a second, and the last."""

    def __init__(self) -> None:
        self._shown = ConsoleProgress(stream=sys.stderr)
        self._begun, self._next = False, 0.0

    def __call__(self, told: Told) -> None:
        if not self._begun:
            self._shown.start(told.total or 0, "cases")
            self._begun = True
        now = time.monotonic()
        if told.done and (now >= self._next or told.done == told.total):
            self._next = now + SHOWN_EVERY_S
            self._shown.log(told.done - 1, {"lost": float(told.lost), "tokens": float(told.tokens)})

    def close(self) -> None:
        self._shown.close()


def _list(*, as_json: bool) -> int:
    about = [benchmark(name).about for name in BENCHMARKS]
    if as_json:
        rows: list[dict[str, Any]] = [
            {one: getattr(it, one) for one in it.__dataclass_fields__} for it in about
        ]
        sys.stdout.write(json.dumps(rows) + "\n")
        return 0
    wide = max(len(it.name) for it in about)
    for it in about:
        size = "no end" if it.cases is None else f"{it.cases:,} cases, about {_lasting(it)}"
        sys.stdout.write(f"{it.name:<{wide}}  {it.kind:<6}  {it.summary}\n")
        sys.stdout.write(f"{'':<{wide}}  {'':<6}  {size}; needs {it.needs}; licence: {it.licence}\n")
    return 0


def _lasting(it: About) -> str:
    """Say how long all cases take a contestant that answers at once."""
    seconds = (it.cases or 0) * it.seconds
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
