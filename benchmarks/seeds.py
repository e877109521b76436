"""The default training run on several seeds: ``python benchmarks/seeds.py [--seeds 5] [--out runs/seeds]``.

Runs ``everystep train --seed N`` for each seed, one after another in processes of their own, and writes a curve and a
table of held-out success: untrained, after the imitation, and at the end. Finished seeds are kept, stopped ones resumed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from everystep.app.reading import trace_of
from everystep.evaluate.compare import curve_of
from everystep.evaluate.plot import plot_curves

LABELS = (("heldout", "sampled"), ("heldout_greedy", "greedy"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("train", nargs="*", help="further options of everystep train, after --")
    asked = parser.parse_args()
    runs = [asked.out / f"seed-{seed}" for seed in range(asked.seeds)]
    for seed, run in enumerate(runs):
        train(run, seed, asked.train)
    traces = [trace_of(run) for run in runs]
    curves = [curve_of(trace.metrics) for trace in traces]
    plot_curves(
        {"GiGPO": curves},
        asked.docs / "learning_curve.svg",
        title="BabyAI in text, 0.1 M parameters: everystep train",
    )
    text = report(traces)
    (asked.docs / "default_run.md").write_text(text, encoding="utf-8")
    print(text)


def train(run: Path, seed: int, options: list[str]) -> None:
    """Run one seed, or go on with it; a finished one is left alone."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-c", "from everystep.app.cli import entry; entry()"]
    if (run / "model").exists():
        return
    command = (
        ["resume", str(run)]
        if (run / "config.json").exists()
        else ["train", "--seed", str(seed), "--out", str(run), *options]
    )
    subprocess.run([*program, *command], check=True, env=surroundings)


def report(traces: list) -> str:
    lines = [
        "# The default run",
        "",
        "`python benchmarks/seeds.py` runs `everystep train --seed N` for five seeds. Held-out success, sampled at temperature 1 (greedy),",
        "on the same held-out rooms at every test; the 95 % interval is of the last sampled test.",
        "",
        "| seed | untrained | start of reinforcement | end | interval | environment steps | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    ends = []
    for seed, trace in enumerate(traces):
        tests = [row for row in trace.metrics if "heldout_success" in row]
        begin = [row for row in tests if row["phase"] != "train"][-1]
        last = tests[-1]
        ends.append(last["heldout_success"])
        cells = (
            f"{row['heldout_success']:.1%} ({row['heldout_greedy_success']:.1%})"
            for row in (tests[0], begin, last)
        )
        lines.append(
            f"| {seed} | {' | '.join(cells)} | {last['heldout_low']:.1%} to {last['heldout_high']:.1%} | "
            f"{last['environment_steps']:,} | {last['seconds']:.0f} |"
        )
    lines += ["", f"{sum(end >= 0.8 for end in ends)} of {len(ends)} seeds reach 80 %.", ""]
    lines += ["![held-out success over environment steps](learning_curve.svg)", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
