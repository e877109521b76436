#!/usr/bin/env python3
"""ProcBench's published cases against problems that our own generators draw: every parameter of every family.

    EVERYSTEP_DATA=... python benchmarks/procbench_drawn.py

For each published case, four problems with as many states are drawn at fixed seeds. Numbers are compared by their ranges and by the two-sample test of Kolmogorov and
Smirnov, characters by which there are and by a chi-square test; ties make the first one cautious. A table tells all, and at the end what differs.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from scipy.stats import chi2_contingency, ks_2samp

from everystep.environments.procedures.families import CHECKED, read
from everystep.environments.procedures.lists import agreed, runs
from everystep.environments.procedures.rules import composed
from everystep.environments.reasoning.procbench_cases import load_cases

Measures = Mapping[str, Callable[[Any], Iterable[Any]]]
"""What is measured of a problem: numbers, or characters and words."""


def lengths(strings: Iterable[str]) -> list[int]:
    return [len(one) for one in strings]


def unused(problem: Any) -> list[int]:
    """How many rules of a problem of compose are never used."""
    rules = {(a, b): c for a, b, c in problem.rules}
    before = [list(problem.state), *composed(problem.state, rules)][:-1]
    return [len(rules) - len({[pair for pair in pairwise(one) if pair in rules][-1] for one in before})]


MEASURES: Mapping[str, Measures] = {
    "sort": {"length": lambda p: [len(p.string)], "letters": lambda p: p.string},
    "gather": {
        "strings": lambda p: [len(p.strings)],
        "length": lambda p: lengths(p.strings),
        "characters": lambda p: "".join(p.strings),
        "which, of all": lambda p: [one[0] / len(p.strings) for one in p.sets],
        "start": lambda p: [one[1] for one in p.sets],
        "count": lambda p: [one[2] for one in p.sets],
    },
    "count": {
        "length": lambda p: lengths(p.strings),
        "digits": lambda p: [sum(map(str.isdigit, one)) for one in p.strings],
        "characters": lambda p: "".join(p.strings),
    },
    "search": {
        "strings": lambda p: [len(p.strings)],
        "length": lambda p: lengths(p.strings),
        "part length": lambda p: lengths(p.substrings),
        "hits of a part": lambda p: [sum(s.count(one) for s in p.strings) for one in p.substrings],
        "letters": lambda p: "".join(p.strings),
    },
    "copy": {
        "strings": lambda p: [len(p.strings)],
        "length": lambda p: lengths(p.strings),
        "characters": lambda p: "".join(p.strings),
        "index, of all": lambda p: [one / len(p.strings) for one in p.indices],
    },
    "substitute": {
        "pairs": lambda p: [len(p.pairs)],
        "characters": lambda p: p.string,
        "replaced by": lambda p: [one[1] for one in p.pairs],
        "kept": lambda p: [sum(a == b for a, b in p.pairs)],
    },
    "encode": {"run": lambda p: [n for _, n in runs(p.string)], "begins with": lambda p: p.string[0]},
    "split1": {
        "length": lambda p: [len(p.string)],
        "place, of all": lambda p: [one / len(p.string) for one in p.positions],
        "letters": lambda p: p.string,
    },
    "split2": {
        "length": lambda p: [len(p.string)],
        "part": lambda p: [one[0] for one in p.indices],
        "place": lambda p: [one[1] for one in p.indices],
        "letters": lambda p: p.string,
    },
    "compose": {
        "length": lambda p: [len(p.state)],
        "rules": lambda p: [len(p.rules)],
        "unused rules": unused,
        "neighbours with a rule": lambda p: [
            sum(one in {r[:2] for r in p.rules} for one in pairwise(p.state))
        ],
        "letters": lambda p: p.state,
        "made letters": lambda p: [rule[2] for rule in p.rules],
    },
    "rhythm": {
        "numbers": lambda p: [len(p.numbers)],
        "characters": lambda p: [len(p.characters)],
        "number": lambda p: p.numbers,
        "character": lambda p: p.characters,
    },
    "compare": {
        "length": lambda p: [len(p.target)],
        "candidates": lambda p: [len(p.candidates)],
        "agreement": lambda p: lengths(agreed(p.target, one) for one in p.candidates),
        "letters": lambda p: p.target,
    },
    "decode": {"count": lambda p: [n for _, n in p.pieces], "begins with": lambda p: p.pieces[0][0]},
    "pushpop": {
        "length": lambda p: [len(p.string)],
        "letters": lambda p: p.string,
        "action": lambda p: [one.split("(")[0] for one in p.actions],
        "pushed": lambda p: [one[-2] for one in p.actions if "(" in one],
    },
    "rotate": {
        "length": lambda p: [len(p.string)],
        "start": lambda p: [one[0] for one in p.indices],
        "end": lambda p: [one[1] for one in p.indices],
        "letters": lambda p: p.string,
    },
    "delete_char": {
        "length": lambda p: [len(p.string)],
        "place, of all": lambda p: [p.string.index(one) / len(p.string) for one in p.letters],
        "letters": lambda p: p.string,
    },
    "cumulate": {
        "number": lambda p: [p.number],
        "operation": lambda p: [one for one, _ in p.operations],
        "added": lambda p: [n for one, n in p.operations if one == "Add"],
        "multiplied": lambda p: [n for one, n in p.operations if one == "Multiply"],
    },
    "move_cyclic": {
        "length": lambda p: [len(p.array)],
        "place, of all": lambda p: [p.array.index("x") / len(p.array)],
        "direction": lambda p: [one for one, _ in p.moves],
        "amount": lambda p: [n for _, n in p.moves],
    },
    "find_cyclic": {
        "length": lambda p: [len(p.string)],
        "place, of all": lambda p: [p.string.index(p.letter) / len(p.string)],
        "characters": lambda p: p.string,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One parameter of a family: what there is, and how likely so much difference is by chance."""

    family: str
    name: str
    published: tuple[Any, Any]
    drawn: tuple[Any, Any]
    means: tuple[float, float] | None
    p: float

    @property
    def inside(self) -> bool:
        """Whether nothing published lies beyond what is drawn."""
        return bool(self.drawn[0] <= self.published[0] and self.published[1] <= self.drawn[1])


def compared(seed: int, each: int) -> Iterator[Compared]:
    cases = load_cases("published")
    for family, measures in MEASURES.items():
        theirs = [(case, read(case.prompt)) for case in cases if case.family == family]
        ours = [
            CHECKED[family].draw(Random(f"{seed} {family} {case.number} {n}"), len(case.states))
            for case, _ in theirs
            for n in range(each)
        ]
        for name, measure in measures.items():
            one = [value for _, problem in theirs for value in measure(problem)]
            other = [value for problem in ours for value in measure(problem)]
            numbers = not isinstance(one[0], str)
            yield Compared(
                family=family,
                name=name,
                published=(min(one), max(one)),
                drawn=(min(other), max(other)),
                means=(sum(one) / len(one), sum(other) / len(other)) if numbers else None,
                p=float(ks_2samp(one, other).pvalue) if numbers else chance(one, other),
            )


def chance(one: list[str], other: list[str]) -> float:
    """The chi-square test of two sets of counts: 0 where one has a character that the other has not."""
    a, b = Counter(one), Counter(other)
    if a.keys() != b.keys():
        return 0.0
    return (
        1.0
        if len(a) == 1
        else float(chi2_contingency([[a[k] for k in sorted(a)], [b[k] for k in sorted(a)]])[1])
    )


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--each", type=int, default=4, help="problems drawn for each published case")
    told = asked.parse_args()
    rows = list(compared(told.seed, told.each))
    print("| family | parameter | published | drawn | mean | mean drawn | p |\n|---|---|---|---|---|---|---|")
    for row in rows:
        means = [f"{mean:.2f}" for mean in row.means] if row.means else ["", ""]
        low, high = (
            "{} to {}".format(*(one if isinstance(one, str) else f"{one:.3g}" for one in ends))
            for ends in (row.published, row.drawn)
        )
        print(f"| {row.family} | {row.name} | {low} | {high} | {means[0]} | {means[1]} | {row.p:.3f} |")
    bound = 0.05 / len(rows)
    print(f"\n{len(rows)} parameters; p below {bound:.5f} (0.05 shared among them): ", end="")
    print(", ".join(f"{row.family} {row.name} ({row.p:.1e})" for row in rows if row.p < bound) or "none")
    outside = [f"{row.family} {row.name} {row.published}" for row in rows if not row.inside]
    print(f"published beyond what is drawn: {', '.join(outside) or 'none'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
