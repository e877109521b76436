"""SuperCoder2.0 (S04): where an issue is, in three levels; whole units rewritten; a regression gate and one retry.

Paper: SuperCoder2.0, Technical Report on Exploring the feasibility of LLMs as Autonomous Programmer (arXiv:2409.11190). Claims: the right file is among the first five in 84.33 % of SWE-bench Lite;
34 % of the issues are resolved (fourth on the board then); whole units by the syntax tree avoid errors of line numbers.

Certain (abstract, second-hand description): queries against embeddings of name, signature, returns and docstring, united with files chosen from the file map; the schematic of those chooses again; places
are top-level, class or method; k solutions; a candidate that breaks a passing test is dropped; one retry with failing test and code. Ours: no language model in any of it. Word statistics (BM25) and
token vectors of SmolLM2 choose where a model chooses; mutations of the localised units propose. So the figures tell what the levels, the edits and the gate do, not what a model with them would.

    EVERYSTEP_DATA=DATA everystep reproduce supercoder

needs the archives that the error names (``pip download``), DATA/swe_bench_lite for the part ``published``, and the sandbox. Measured: docs/recipes/supercoder.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice
from random import Random

import numpy as np

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.environments.code_bugs import Bug, bank, baseline, buggy
from everystep.environments.code_packages import project
from everystep.environments.code_proposals import proposals
from everystep.environments.code_repair import score
from everystep.environments.code_search import WAYS, CodeIndex, described, index_code, localise
from everystep.environments.swe_bench_lite import code_of, gold, issues, obtainable
from everystep.evaluate.edit_noise import BY_NAME, edits
from everystep.evaluate.intervals import bootstrap_mean, paired_difference
from everystep.evaluate.localisation import by_chance, hits
from everystep.evaluate.study import Study, Trial, study
from everystep.models.embed import Embedder
from everystep.models.smollm import folder as smollm_folder
from everystep.run.folder import RunFolder, write_json
from everystep.tools.code_answer import Change
from everystep.tools.code_map import CodeMap, map_sources
from everystep.tools.suite import PASSED, Variant, suite
from everystep.verify.gate import Changes, Feedback, check, chosen, frames_of

PARTS = ("localise", "published", "edit", "repair")
GATES = {"no gate": (False, "none"), "gate": (True, "none"), "no gate, retry": (False, "retry"), "gate, retry": (True, "retry"),
         "gate, twice the candidates": (True, "more")}  # fmt: skip
Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Localisation, edits and the gate, on injected bugs and on SWE-bench Lite."""

    parts: str = ",".join(PARTS)
    """Which parts to run."""
    layers: int = 0
    """Layers of SmolLM2 behind the vectors; 0 takes its token vectors, more are slow."""
    edited: int = 12
    """Bugs a seed on which edits are tried."""
    repaired: int = 6
    """Bugs a seed for which repairs are searched."""
    candidates: int = 10
    """Candidates a try."""
    units: int = 5
    """Localised units that are searched."""
    off: int = 3
    """Line numbers are off by up to this."""
    seeds: int = 5
    """Paired seeds: other bugs, offsets and candidates."""
    seed: int = 0
    """The first seed."""

    def __post_init__(self) -> None:
        for one in self.parts.split(","):
            if one not in PARTS:
                raise ConfigError(f"no part {one!r}. Expected some of {', '.join(PARTS)}.")


@lru_cache(maxsize=1)
def embedder(layers: int) -> Embedder:
    """Return the embedder of unit descriptions."""
    return Embedder(smollm_folder(), layers=layers)


def searched(config: Config, code: CodeMap) -> CodeIndex:
    """Return a code base with words and vectors to search."""
    return index_code(code, embedder(config.layers).index([described(one) for one in code.units]))


@lru_cache(maxsize=8)
def package_searched(config: Config, name: str) -> CodeIndex:
    """Return a package to search, as it was published: a bug changes a word of it."""
    return searched(config, map_sources(project(name).sources().items()))


def bugs_of(config: Config, seed: int, count: int = 0) -> list[Bug]:
    """Return a seed's part of the bugs, in an order of its own; the parts of ``seeds`` following seeds do not overlap."""
    some = list(bank())
    Random(0).shuffle(some)
    part = some[(seed - config.seed) % config.seeds :: config.seeds]
    return part[:count] if count else part


def mean(rows: Sequence[Numbers]) -> dict[str, float]:
    """Return the mean of each number."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


# --- (a) where it is ------------------------------------------------------------------------------


def found(
    index: CodeIndex, statement: str, paths: frozenset[str], units: frozenset[str]
) -> dict[str, Numbers]:
    """Return for each way to localise, and for a random order, whether the right file and unit are there."""
    rows: dict[str, Numbers] = {}
    for kind, count, right in (
        ("file", len(index.paths), len(paths)),
        ("unit", len(index.units), len(units)),
    ):
        chance = {f"{kind} top-{k}": value for k, value in by_chance(count, right).items()}
        rows["chance"] = {**rows.get("chance", {}), **chance}
    for way, one in localise(index, statement).items():
        rows[way] = hits(one.paths, paths, "file") | hits(one.units, units, "unit")
    return rows


@lru_cache(maxsize=16)
def localised(config: Config, seed: int) -> Mapping[str, Numbers]:
    """Return the hit rates of a seed's bugs by way."""
    rows = [
        found(
            package_searched(config, bug.package),
            bug.statement,
            frozenset([bug.path]),
            frozenset([bug.place]),
        )
        for bug in bugs_of(config, seed)
    ]
    return {way: mean([row[way] for row in rows]) for way in ("chance", *WAYS)}


def published(config: Config) -> dict[str, object]:
    """Return the hit rates on the issues of SWE-bench Lite whose sources are at hand, with intervals over issues, and by project."""
    rows: list[tuple[str, dict[str, Numbers]]] = []
    for archive, some in groupby(obtainable(), key=lambda one: one.archive):
        code = code_of(archive)
        index = searched(config, code)
        rows += [(one.issue.project, found(index, one.issue.statement, *gold(one, code))) for one in some]
    if not rows:
        raise ConfigError(
            "no release that an issue fits was found. Fetch some: see docs/recipes/supercoder.md, or leave out the part 'published'."
        )
    told: dict[str, object] = {"issues": len(issues()), "obtained": len(rows)}
    for way in ("chance", *WAYS):
        values = {key: [row[way][key] for _, row in rows] for key in rows[0][1][way]}
        base = {key: [row["lexical"][key] for _, row in rows] for key in values}
        told[way] = {
            key: [[round(v, 4) for v in (i.value, i.low, i.high)] for i in (bootstrap_mean(some), paired_difference(some, base[key]))]
            for key, some in values.items()
        }  # fmt: skip
    for name in sorted({name for name, _ in rows}):
        mine = [row[WAYS[-1]] for owner, row in rows if owner == name]
        told[name] = {"obtained": len(mine)} | {key: round(value, 3) for key, value in mean(mine).items()}
    return told


# --- (b) how it is written ------------------------------------------------------------------------


@lru_cache(maxsize=16)
def edited(config: Config, seed: int) -> Mapping[str, Numbers]:
    """Mend bugs by name and by line numbers that are off; return by way how often the file would not parse, is as meant, is mended, and breaks tests."""
    rows: dict[str, list[Numbers]] = {}
    rng = Random(f"{seed} edits")
    for bug in bugs_of(config, seed, config.edited):
        there, right = buggy(bug), project(bug.package).files[bug.path]
        made = edits(there.files[bug.path], right, bug.unit, most=config.off, rng=rng)
        run = {way: one.source for way, one in made.items() if one.source is not None and not one.clean}
        results = suite(there, [Variant(files={bug.path: source}) for source in run.values()]) if run else []
        lost = {
            way: baseline(bug.package) - one.having(PASSED) for way, one in zip(run, results, strict=True)
        }
        for way, one in made.items():
            broken = bool(lost.get(way, frozenset()) - set(bug.failing))
            rows.setdefault(way, []).append(
                {"does not parse": float(one.source is None), "as meant": float(one.clean), "fixed": float(one.clean or (way in lost and not lost[way])), "breaks tests": float(broken)}
            )  # fmt: skip
    return {way: mean(some) for way, some in rows.items()}


# --- (c) what is let through ----------------------------------------------------------------------


def proposed(config: Config, bug: Bug, seed: int, feedback: Feedback | None) -> Iterator[Changes]:
    """Yield mutations of the localised units; with feedback, of those that it and the issue name, its lines first."""
    there, index = buggy(bug), package_searched(config, bug.package)
    told = bug.statement if feedback is None else f"{bug.statement}\n{feedback.told}"
    units = list(localise(index, told)[WAYS[-1]].units)
    lines: set[tuple[str, int]] = set()
    if feedback is not None:
        through = [index.code.files[path].at(line) for path, line in feedback.frames]
        units = list(dict.fromkeys([*(one.id for one in through if one), *units]))
        lines = set(feedback.frames)
    known = [one for one in units if one.partition("::")[2]]
    for change in proposals(
        there, known[: config.units], seed=f"{seed} {bug.id} {feedback is None}", lines=lines
    ):
        yield (change,)


@lru_cache(maxsize=16)
def repaired(config: Config, seed: int) -> Mapping[str, Numbers]:
    """Search repairs of a seed's bugs; all arms choose among the same candidates."""
    rows: dict[str, list[Numbers]] = {}
    for bug in bugs_of(config, seed, config.repaired):
        there = buggy(bug)
        wanted, k = bug.failing[:1], config.candidates
        now = suite(there, [Variant()])[0]
        before = now.having(PASSED)
        first = list(islice(proposed(config, bug, seed, None), 2 * k))
        tried = check(there, first, wanted=wanted, before=before)
        told = next((one.why for one in tried if one.applied and not one.passed and one.why), bug.told)
        frames = frames_of(told, package_searched(config, bug.package).code)
        feedback = Feedback(test=wanted[0], told=told, frames=frames)
        known = {change for (change,) in first[:k]}
        fresh = (one for one in proposed(config, bug, seed, feedback) if one[0] not in known)
        again = check(there, list(islice(fresh, k)), wanted=wanted, before=before)
        for name, (gate, more) in GATES.items():
            one = chosen(tried[:k], gate=gate)
            if one is None and more != "none":
                one = chosen(again if more == "retry" else tried[k:], gate=gate)
            fixed = one is not None and one.broke is not None and not one.broke and _whole(bug, one.changes)
            rows.setdefault(name, []).append(
                {"submitted": float(one is not None), "fixed": float(fixed), "breaks tests": float(one is not None and bool(one.broke))}
            )  # fmt: skip
    return {name: mean(some) for name, some in rows.items()}


@lru_cache(maxsize=4096)
def _whole(bug: Bug, changes: tuple[Change, ...]) -> bool:
    """Whether all tests that pass on the published package pass: those that the search did not see too."""
    return score(bug, changes).fixed


Make = Callable[[Config, int], Mapping[str, Numbers]]


def _trial(config: Config, make: Make, arm: str) -> Trial:
    return lambda seed: make(config, seed)[arm]


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the parts; return the main number of each arm. Each part has a folder below the run's, ``published`` a file."""
    seeds = range(config.seed, config.seed + config.seeds)
    parts = config.parts.split(",")
    told: dict[str, float] = {}

    def part(name: str, make: Make, arms: Sequence[str], baseline_: str) -> Study:
        trials = {arm: _trial(config, make, arm) for arm in arms}
        return study(trials, seeds=seeds, baseline=baseline_, folder=folder.path / name, loggers=loggers)

    if "localise" in parts:
        result = part("localise", localised, ("chance", *WAYS), "lexical")
        told |= {f"file top-5 {one.name}": one.means["file top-5"].value for one in result.arms}
    if "published" in parts:
        write_json(folder.path / "published.json", published(config))
    if "edit" in parts:
        result = part("edit", edited, list(edited(config, config.seed)), BY_NAME)
        told |= {f"as meant {one.name}": one.means["as meant"].value for one in result.arms}
    if "repair" in parts:
        result = part("repair", repaired, list(GATES), "no gate")
        told |= {f"fixed {one.name}": one.means["fixed"].value for one in result.arms}
    return told
