"""Run the benchmarks and write ``docs/benchmarks.md`` and ``docs/benchmarks.json``.

Each benchmark is a module here with ``measure(quick=...)``, which asserts equal results before it reports a time. It runs
in a process of its own on one thread. One that fails is reported as failed, and the exit code is 1. What needs data that is not
here is listed with the reason.

    python benchmarks/run.py                  # all, about a quarter of an hour
    python benchmarks/run.py --quick          # small shapes; writes build/benchmarks.{md,json} instead
    python benchmarks/run.py credit journal   # some; the others keep their earlier rows in the documents
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from markdown_tables import table, tables

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("everystep", "numpy", "torch", "transformers", "peft", "pyarrow", "duckdb", "scipy")
TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One module here. ``needs`` names an environment variable without which it is not run."""

    name: str
    title: str
    about: str
    needs: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came out: rows, or why there are none. ``status`` is ok, failed or not run."""

    name: str
    status: str
    command: str
    rows: list[dict[str, object]] = field(default_factory=list)
    error: str | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    machine: dict[str, object] = field(default_factory=dict)


BENCHMARKS = (
    Benchmark(
        name="start",
        title="Starting",
        about="CPU time and modules of an import, each in a fresh process (medians). That the package, its command line and credit load no torch is asserted. The wall times depend on what else the machine does.",
    ),
    Benchmark(
        name="credit",
        title="Credit",
        about="Credit for all steps of a batch against the usual reference (a scan over all rows for each row), and groups of similar observations. Equal results are asserted to 1e-5 where the reference runs; `times` is reference / ours.",
    ),
    Benchmark(
        name="packing",
        title="Training by layout",
        about="The same credit trained as a row a step, as merged rows, and folded into prefix trees. Loss and gradient are asserted equal to 1e-5. `bound` is the number of unique prefixes, `times` the cost relative to merged rows.",
    ),
    Benchmark(
        name="trl_rows",
        title="Training against TRL on the same rows",
        about="TRL's own GRPO trainer and our learner on the same tokens, masks, weights and per-token advantages, fp32, one thread, no activation checkpointing; loss and backward pass. Loss, gradient norm and the gradient's components are asserted equal to 1e-4. `times_as_fast` is TRL / ours. TRL pads all rows of a micro-batch to the longest, ours are sorted and cut: in the last case all rows are equally long, so that its merged rows compare the code alone.",
    ),
    Benchmark(
        name="generation",
        title="Generation over many turns",
        about="Keys and values kept between turns against reading the conversation again each turn, and against transformers' `generate`. Equal tokens and log-probabilities (1e-4) are asserted first.",
    ),
    Benchmark(
        name="journal",
        title="Journal",
        about="What one more step costs when a run has many already, and how large it is on disk. Steps read back equal what was written.",
    ),
    Benchmark(
        name="filter",
        title="Filtering stored steps",
        about="10^6 made steps in Parquet through rules, each case a process of its own with DuckDB at a memory limit of 512 MB. The kept steps of the first rules are asserted against a count made with the steps; `cpu_s` and `peak_mb` are of the whole process, imports included. The last row is the second call after a kill -9.",
    ),
    Benchmark(
        name="runtime",
        title="Agent runtimes by the number of steps",
        about="A model object that answers at once with 100 characters and one tool call a step, a tool that returns 200 characters; each run in a process of its own, the others' packages pinned in environments of their own. The same calls with the same arguments and the same answer are asserted. `cpu_us` is CPU time a step, from the first tool call to the end of the run (the best of up to three), `first_us` and `last_us` that of the first and the last tenth of the steps, `times` theirs / ours; for a run that stopped (20 s of CPU or 3 GB) it is of the steps until then. `disk` is bytes a step, `beside` those without the 300 of text; LangGraph's default durability writes behind the run, here it waits as the others do; `view` is what the model is shown, `kept` what is on disk if the process dies.",
    ),
    Benchmark(
        name="environments",
        title="Environments",
        about="CPU time of a reset and of a step, a random agent among the admissible actions.",
    ),
    Benchmark(
        name="intercode_replay",
        title="InterCode-SQL: published runs on SQLite",
        about="Gold queries that score 1, and how far the solved flags of published runs (made on MySQL) are reproduced on SQLite.",
        needs="EVERYSTEP_DATA",
    ),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(one.name for one in BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small shapes, for a test")
    parser.add_argument("--out", type=Path, help="folder of the documents (docs; with --quick: build)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # the child process
    options = parser.parse_args(arguments)
    if options.one:
        return _child(options.names[0], options.one, quick=options.quick)
    known = {one.name for one in BENCHMARKS}
    if unknown := set(options.names) - known:
        parser.error(f"no benchmark {min(unknown)!r}; there are {', '.join(sorted(known))}")
    out = options.out or ROOT / ("build" if options.quick else "docs")
    out.mkdir(parents=True, exist_ok=True)
    results = earlier(out / "benchmarks.json")
    chosen = [one for one in BENCHMARKS if not options.names or one.name in options.names]
    for number, one in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {one.name} ...", flush=True)
        results[one.name] = found = run(one, quick=options.quick)
        took = "" if found.cpu_s is None else f", {found.cpu_s:.0f} CPU-s, {found.wall_s:.0f} s"
        print(f"    {found.status}, {len(found.rows)} rows{took}", flush=True)
        if found.error:
            print(f"    {found.error.splitlines()[-1]}", flush=True)
        write(out, results)
    failed = [one.name for one in chosen if results[one.name].status == "failed"]
    print(f"wrote {out / 'benchmarks.md'}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def run(one: Benchmark, *, quick: bool, timeout_s: float = TIMEOUT_S) -> Result:
    """Run one benchmark in a process of its own."""
    command = f"python benchmarks/run.py {one.name}{' --quick' if quick else ''}"
    if one.needs and not os.environ.get(one.needs):
        why = f"{one.needs} is not set: name the folder that holds its data, and run it again."
        return Result(name=one.name, status="not run", command=command, error=why)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "rows.json"
        words = [sys.executable, __file__, one.name, "--one", str(target), *(["--quick"] if quick else [])]
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            done = subprocess.run(
                words,
                env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
                stderr=subprocess.PIPE,
                text=True,
                timeout=timeout_s,
                check=False,
            )
            error = None if done.returncode == 0 and target.exists() else _tail(done.stderr, done.returncode)
        except subprocess.TimeoutExpired:
            error = f"stopped after {timeout_s:g} s"
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Result(
            name=one.name,
            status="ok" if error is None else "failed",
            command=command,
            rows=[] if error else json.loads(target.read_text()),
            error=error,
            cpu_s=round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
            wall_s=round(time.perf_counter() - began, 1),
            machine=machine(),
        )


def _tail(stderr: str, code: int) -> str:
    return "\n".join(stderr.strip().splitlines()[-6:]) or f"exit code {code} without a message"


def _child(name: str, target: Path, *, quick: bool) -> int:
    measure: Callable[..., list[dict[str, object]]] = importlib.import_module(name).measure
    target.write_text(json.dumps(measure(quick=quick)))
    return 0


def machine() -> dict[str, object]:
    """When, where and with what: date, processor, cores, load, Python, packages, commit."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD") or "unknown",
        "changed": bool(_git("status", "--porcelain", "--", "src", "benchmarks")),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions,
    }


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


# --- the documents --------------------------------------------------------------------------------


def earlier(path: Path) -> dict[str, Result]:
    """The results that stand in the document now, so that a part can be run again."""
    if not path.exists():
        return {}
    known = {one.name for one in BENCHMARKS}
    return {one["name"]: Result(**one) for one in json.loads(path.read_text()) if one["name"] in known}


def write(out: Path, results: dict[str, Result]) -> None:
    ordered = [results[one.name] for one in BENCHMARKS if one.name in results]
    (out / "benchmarks.json").write_text(json.dumps([asdict(one) for one in ordered], indent=1) + "\n")
    (out / "benchmarks.md").write_text(document(results))


def document(results: dict[str, Result]) -> str:
    parts = [
        "# Benchmarks",
        "",
        (
            "Written by `python benchmarks/run.py`; the numbers are in [benchmarks.json](benchmarks.json) too. Every benchmark asserts "
            "equal results before it reports a time. Columns `cpu_s` and `cpu_ms` are CPU time of one thread, which a busy machine hardly "
            "changes; wall times were taken on the machine as it was, see its load. What runs on a GPU stands in [gpu.md](gpu.md)."
        ),
        "",
    ]
    for one in BENCHMARKS:
        if one.name in results:
            parts += section(one, results[one.name])
        else:
            parts += [
                f"## {one.title}",
                "",
                one.about,
                "",
                f"**Not run yet:** `python benchmarks/run.py {one.name}`",
                "",
            ]
    return "\n".join(parts).rstrip() + "\n"


def section(one: Benchmark, found: Result) -> list[str]:
    parts = [f"## {one.title}", "", one.about, ""]
    if found.status == "not run":
        return [*parts, f"**Not run:** {found.error}", ""]
    if found.status == "failed":
        parts += ["**Failed:**", "", "```", found.error or "", "```", ""]
    for rows in tables(found.rows):
        parts += [*table(rows), ""]
    where = found.machine
    packages = ", ".join(f"{name} {number}" for name, number in dict(where["packages"]).items())  # type: ignore[call-overload]
    changed = " with local changes" if where["changed"] else ""
    return [
        *parts,
        (
            f"`{found.command}`: {found.cpu_s:.0f} CPU-s, {found.wall_s:.0f} s; {where['date']}, commit {where['commit']}{changed}; "
            f"{where['processor']}, {where['cores']} cores, load {where['load']}; {where['system']}, Python {where['python']}, {packages}."
        ),
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
