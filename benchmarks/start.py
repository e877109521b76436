"""What it costs to start: CPU time, wall time and modules of an import, each in a fresh process.

``cpu_ms`` and ``wall_ms`` are the medians of several processes, the interpreter's own start included (the first row);
``modules`` counts what an import adds to ``sys.modules``, ``megabytes`` is the largest resident size. What must stay light is asserted: the package, its command line
and credit load no torch, transformers, pyarrow or scipy.

    python benchmarks/start.py            # under two minutes
    python benchmarks/start.py --quick
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

HEAVY = ("torch", "transformers", "pyarrow", "scipy", "minigrid", "peft", "tokenizers", "httpx", "matplotlib")
REPEATS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A program to start. ``light``: it may load none of ``HEAVY``; ``heavy``: it takes seconds, so few repeats."""

    name: str
    program: str
    light: bool = True
    heavy: bool = False


STARTS = (
    Start(name="python, nothing imported", program="pass"),
    Start(name="import numpy", program="import numpy"),
    Start(name="import everystep", program="import everystep"),
    Start(name="every module of everystep.core", program="{core}"),
    Start(
        name="everystep --help",
        program="from everystep.app.cli import main; import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): assert main(['--help']) == 0",
    ),
    Start(
        name="everystep train --help (argument parsing with tyro)",
        program="from everystep.app.cli import main; import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): assert main(['train', '--help']) == 0",
        light=False,
        heavy=True,
    ),
    Start(
        name="everystep.credit (terms and estimators)",
        program="import everystep.credit.terms, everystep.credit.estimators",
    ),
    Start(name="everystep.run.journal", program="import everystep.run.journal"),
    Start(name="import torch", program="import torch", light=False, heavy=True),
    Start(
        name="torch and transformers' LlamaForCausalLM",
        program="import torch; from transformers import LlamaForCausalLM",
        light=False,
        heavy=True,
    ),
    Start(
        name="everystep.learn.training (the training stack)",
        program="import everystep.learn.training",
        light=False,
        heavy=True,
    ),
)

PROBE = """
import sys
before = set(sys.modules)
{program}
loaded = set(sys.modules) - before
import json, resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, sorted(loaded)]))
"""


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: what, modules, heavy packages loaded, cpu_ms, wall_ms, megabytes."""
    return [
        measure_start(start, repeats=(1 if start.heavy else 3) if quick else 3 if start.heavy else REPEATS)
        for start in STARTS
    ]


def measure_start(start: Start, *, repeats: int) -> dict[str, object]:
    core = "import everystep.core, importlib, pkgutil\nfor m in pkgutil.iter_modules(everystep.core.__path__): importlib.import_module('everystep.core.' + m.name)"
    program = PROBE.replace("{program}", start.program.replace("{core}", core))
    cpu, wall, size, loaded = [], [], [], set[str]()
    for _ in range(repeats):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        wall.append(time.perf_counter() - began)
        seconds, megabytes, names = json.loads(done.stdout.splitlines()[-1])
        cpu.append(seconds)
        size.append(megabytes)
        loaded = set(names)
    heavy = sorted({name.partition(".")[0] for name in loaded} & set(HEAVY))
    if start.light:
        assert not heavy, f"{start.name} loads {', '.join(heavy)}"
    return {
        "what": start.name,
        "modules": len(loaded),
        "heavy": ", ".join(heavy) or "none",
        "cpu_ms": round(1e3 * median(cpu), 1),
        "wall_ms": round(1e3 * median(wall), 1),
        "megabytes": round(median(size), 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    for row in measure(quick=parser.parse_args().quick):
        print(row)
