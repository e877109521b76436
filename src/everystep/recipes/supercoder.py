"""SuperCoder2.0 (S04): where an issue is, in three levels; whole units rewritten; a regression gate and one retry.

Paper: SuperCoder2.0, Technical Report on Exploring the feasibility of LLMs as Autonomous Programmer (arXiv:2409.11190). Claims: the right file is among the first five in 84.33 % of SWE-bench Lite;
34 % of the issues are resolved (fourth on the board then); whole units by the syntax tree avoid errors of line numbers.

Certain (abstract, second-hand description): queries against embeddings of name, signature, returns and docstring, united with files chosen from the file map; the schematic of those chooses again; places
are top-level, class or method; k solutions; a candidate that breaks a passing test is dropped; one retry with failing test and code. Ours: no language model in any of it. Word statistics (BM25) and
token vectors of SmolLM2 choose where a model chooses; mutations of the localised units propose. So the figures tell what the levels, the edits and the gate do, not what a model with them would.

    EVERYSTEP_DATA=DATA everystep reproduce supercoder

needs the archives that the error names (``pip download``), DATA/swe_bench_lite for the part ``published``, and the sandbox. Measured (commits aec0457, a10adac; docs/recipes/supercoder.md): right file
among the first five 0.787 [0.730, 0.839] on 230 issues, words alone 0.735; a unit by name is always as meant, lines off by one never; the gate breaks nothing and loses no repair (0.08, with retry 0.16, with as many more
candidates 0.14).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.environments.code.bugs import Bug, bank
from everystep.environments.code.packages import project
from everystep.environments.code.search import WAYS, CodeIndex, described, index_code
from everystep.environments.code.swe_bench_lite import issues
from everystep.evaluate.edit_noise import BY_NAME, mended
from everystep.evaluate.localisation import Numbers, found, over_issues, told_issues
from everystep.evaluate.repair_search import search
from everystep.evaluate.study import Trial, study
from everystep.models.embed import Embedder
from everystep.models.smollm import folder as smollm_folder
from everystep.run.folder import RunFolder, write_json
from everystep.tools.code_map import CodeMap, map_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Localisation, edits and the gate, on injected bugs and on SWE-bench Lite."""

    parts: str = "localise,published,edit,repair"
    """Which parts to run."""
    layers: int = 0
    """Layers of SmolLM2 behind the vectors; 0 takes its token vectors, more are slow."""
    edited: int = 4
    """Bugs a seed on which edits are tried."""
    repaired: int = 4
    """Bugs a seed for which repairs are searched."""
    candidates: int = 8
    """Candidates a try."""
    units: int = 5
    """Localised units that are searched."""
    off: int = 3
    """Line numbers are off by up to this."""
    seeds: int = 5
    """Paired seeds: other bugs, offsets and candidates."""
    seed: int = 0
    """The first seed."""


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


@lru_cache(maxsize=16)
def localised(config: Config, seed: int) -> Mapping[str, Numbers]:
    """Return the share of a seed's bugs whose file and unit are found, by way."""
    rows = [
        found(package_searched(config, bug.package), bug.statement, {bug.path}, {bug.place})
        for bug in bugs_of(config, seed)
    ]
    return means(rows)


@lru_cache(maxsize=16)
def edited(config: Config, seed: int) -> Mapping[str, Numbers]:
    """Mend a seed's bugs by name and by line numbers that are off."""
    rng = Random(f"{seed} edits")
    return means([mended(bug, most=config.off, rng=rng) for bug in bugs_of(config, seed, config.edited)])


@lru_cache(maxsize=16)
def repaired(config: Config, seed: int) -> Mapping[str, Numbers]:
    """Search repairs of a seed's bugs; all arms choose among the same candidates."""
    some = bugs_of(config, seed, config.repaired)
    k, units = config.candidates, config.units
    return means(
        [search(bug, package_searched(config, bug.package), k=k, units=units, seed=str(seed)) for bug in some]
    )


def means(rows: Sequence[Mapping[str, Numbers]]) -> dict[str, Numbers]:
    """Return the mean of each number of each arm."""
    return {
        arm: {key: float(np.mean([row[arm][key] for row in rows])) for key in first}
        for arm, first in rows[0].items()
    }


Make = Callable[[Config, int], Mapping[str, Numbers]]
PARTS: Mapping[str, tuple[Make, str, str]] = {
    "localise": (localised, WAYS[0], "file top-5"),
    "edit": (edited, BY_NAME, "as meant"),
    "repair": (repaired, "no gate", "fixed"),
}
"""What a part measures by seed, its baseline, and its main number. The part ``published`` has no seeds: all issues are taken."""
PUBLISHED = "published"


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the parts; return the main number of each arm. Each part has a folder below the run's, ``published`` a file."""
    seeds = range(config.seed, config.seed + config.seeds)
    told: dict[str, float] = {}
    wanted = config.parts.split(",")
    for name in wanted:
        if name not in PARTS and name != PUBLISHED:
            raise ConfigError(f"no part {name!r}. Expected some of {', '.join([*PARTS, PUBLISHED])}.")
    for name in wanted:
        if name == PUBLISHED:
            rows = over_issues(lambda code: searched(config, code))
            write_json(folder.path / "published.json", told_issues(rows, len(issues())))
            told |= {
                f"published {way}": float(np.mean([row[way]["file top-5"] for _, row in rows]))
                for way in WAYS
            }
            continue
        make, baseline, main = PARTS[name]
        arms = {arm: _trial(config, make, arm) for arm in make(config, config.seed)}
        result = study(arms, seeds=seeds, baseline=baseline, folder=folder.path / name, loggers=loggers)
        told |= {f"{name} {one.name}": one.means[main].value for one in result.arms}
    return told


def _trial(config: Config, make: Make, arm: str) -> Trial:
    return lambda seed: make(config, seed)[arm]
