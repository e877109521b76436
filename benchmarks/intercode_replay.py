"""Replay the published InterCode-SQL runs on SQLite and print how far the solved flags agree.

Run: EVERYSTEP_DATA=DATA python benchmarks/intercode_replay.py [FILE ...]
Without files: every ic_sql*.json(.gz) in DATA/intercode.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from everystep.environments.code.intercode_replay import replay_published
from everystep.environments.code.intercode_sql import InterCodeSQL
from everystep.environments.published import source_folder


def gold() -> tuple[int, int]:
    """Return how many tasks there are and how many the gold query solves."""
    world = InterCodeSQL(data="published")
    env = world.make()
    solved = total = 0
    for split in ("train", "test"):
        for index in range(world.size(split)):
            env.reset(world.task(split, index))
            env.step(env.parse(env.oracle()))
            solved += env.step(env.parse("submit")).reward == 1.0
            total += 1
    return total, solved


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: gold queries that score 1; a file: runs, share of equal solved flags, of equal rewards a step."""
    total, solved = gold()
    out: list[dict[str, object]] = [{"what": "gold queries", "runs": total, "solved": solved}]
    paths = published()
    for path in paths[:1] if quick else paths:
        found = replay_published(path, order="asked")
        out.append(
            {
                "what": found.file.removesuffix(".gz"),
                "runs": found.runs,
                "solved": found.replayed_solved,
                "solved_published": found.published_solved,
                "agree": found.agreement,
                "steps": found.steps,
                "rewards_agree": found.rewards_agree / found.steps,
                "valid_agree": found.valid_agree / found.steps,
            }
        )
    return out


def published() -> list[Path]:
    """The files of published runs."""
    return sorted((source_folder("intercode") or Path()).glob("ic_sql*.json*"))


def main(names: list[str]) -> None:
    paths = [Path(name) for name in names] or published()
    total, solved = gold()
    print(f"gold queries: {solved} of {total} score 1")
    print(
        f"{'file':46} {'order':>9} {'runs':>5} {'agree':>7} {'MySQL':>6} {'SQLite':>6} {'steps':>6} {'rewards':>8} {'valid':>7}"
    )
    for path in paths:
        for order in ("asked", "published"):
            found = replay_published(path, order=order)
            print(
                f"{found.file.removesuffix('.gz'):46} {order:>9} {found.runs:5} {found.agreement:7.2%} "
                f"{found.published_solved:6} {found.replayed_solved:6} {found.steps:6} "
                f"{found.rewards_agree / found.steps:8.2%} {found.valid_agree / found.steps:7.2%}"
            )
            for reason, count in Counter(d.reason.partition(":")[0] for d in found.differences).most_common():
                print(f"    {count:3} {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
