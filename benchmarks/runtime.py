"""What a step costs in Everystep's runner and in other agent runtimes, at 100 to 100,000 steps.

``runtime_one.py`` runs one runtime once: a model object that answers at once with one tool call a step, a tool that returns 200
characters. Each measurement is a process of its own; the others' packages are installed from PyPI, pinned, each into an environment of its own below the
folder for temporary files. Every runtime must have made the same calls with the same arguments, in order, and given the same answer,
before a number is reported. ``cpu_us`` is CPU time of the process a step, from the first tool call to the end of the run, of the best of several repetitions; ``first_us`` and
``last_us`` are those of the first and the last tenth of the steps; a run that needs more than ``CAP_S`` seconds of CPU or 3 GB of disk stops, at the step that is shown. ``disk`` is bytes a step once the run is
closed, ``beside`` those that are not the model's and the tool's text.

    python benchmarks/runtime.py            # about half an hour on a busy machine of two cores
    python benchmarks/runtime.py --quick    # 100 and 1,000 steps, and only what is installed already
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from runtime_one import SAID, item_of, last_answer, result_of

SIZES = (100, 1_000, 10_000, 100_000)
CAP_S = 20.0
REPEATS = 3
ENOUGH_S = 15.0  # no further repetition of a measurement after so many seconds of CPU
ONE = Path(__file__).with_name("runtime_one.py")
VENVS = Path(tempfile.gettempdir()) / "everystep-runtimes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One row of each size. ``view`` is what the model is shown, ``kept`` what is on disk if the process dies after a step."""

    name: str
    title: str
    view: str
    kept: str
    packages: tuple[str, ...] = ()
    most: int = SIZES[-1]
    cap_s: float = CAP_S

    @property
    def venv(self) -> Path:
        return VENVS / "+".join(self.packages)

    @property
    def python(self) -> str:
        return str(self.venv / "bin" / "python") if self.packages else sys.executable


LANGGRAPH = ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2")
RUNTIMES = (
    Runtime(name="plain", title="plain loop, one SQLite row a step", view="none", kept="each step"),
    Runtime(
        name="everystep",
        title="Everystep",
        view="last 20 messages",
        kept="each act before and after",
        cap_s=120.0,
    ),
    Runtime(
        name="everystep-irreversible",
        title="Everystep, acts that cannot be undone",
        view="last 20 messages",
        kept="each act before (forced to disk) and after",
        most=1_000,
    ),
    Runtime(
        name="langgraph",
        title="LangGraph 1.2.22, SQLite saver (sync)",
        view="last 20 messages; state keeps all",
        kept="each step",
        packages=LANGGRAPH,
    ),
    Runtime(
        name="langgraph-cut",
        title="LangGraph 1.2.22, SQLite saver (sync), state cut",
        view="last 20 messages; state keeps no more",
        kept="each step; older messages only in older snapshots",
        packages=LANGGRAPH,
    ),
    Runtime(
        name="pydantic-ai",
        title="pydantic-ai 2.68.0",
        view="last 20 messages",
        kept="nothing",
        packages=("pydantic-ai-slim==2.68.0",),
    ),
    Runtime(
        name="smolagents",
        title="smolagents 1.26.0",
        view="last 20 messages, by a callback",
        kept="nothing",
        packages=("smolagents==1.26.0",),
    ),
    Runtime(
        name="mini-swe-agent",
        title="mini-swe-agent 2.4.6, trajectory file",
        view="all messages: it has no window",
        kept="each step",
        packages=("mini-swe-agent==2.4.6",),
    ),
)


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: what, view, kept, steps, cpu_us, first_us, last_us, times ours, disk and beside (bytes a step), ram_mb, stopped_at, import_s, set_up_ms."""
    rows: list[dict[str, object]] = []
    problems = {one.name: install(one, only_look=quick) for one in RUNTIMES}
    stopped: dict[str, str] = {}
    for size in SIZES[: 2 if quick else None]:
        ours: float | None = None
        for one in RUNTIMES:
            row: dict[str, object] = {"what": one.title, "steps": size}
            if size > one.most:
                continue
            if problems[one.name] is not None:
                rows.append(row | {"note": f"not measured: {problems[one.name]}"})
                continue
            if one.name in stopped:
                rows.append(row | {"stopped_at": stopped[one.name], "view": one.view, "kept": one.kept})
                continue
            found = best(one, size, repeats=2 if quick else REPEATS)
            if found["stopped"]:
                stopped[one.name] = f"{found['calls']:,} ({found['stopped']})"
            if one.name == "everystep":
                ours = found["cpu_us"]
            text = len(SAID) + sum(len(result_of(item_of(step))) for step in range(100)) / 100
            rows.append(
                row
                | {
                    "cpu_us": round(found["cpu_us"], 1),
                    "first_us": round(found["first_us"], 1),
                    "last_us": round(found["last_us"], 1),
                    "times": None if ours is None else round(found["cpu_us"] / ours, 2),
                    "disk": round(found["disk"] / found["calls"]),
                    "beside": round(found["disk"] / found["calls"] - text) if found["disk"] else None,
                    "ram_mb": round(found["grown"] / 2**20, 1),
                    "stopped_at": stopped.get(one.name),
                    "import_s": round(found["import_s"], 2),
                    "set_up_ms": round(found["set_up_ms"], 1),
                    "view": one.view,
                    "kept": one.kept,
                }
            )
            print(
                {name: value for name, value in rows[-1].items() if name not in ("view", "kept")}, flush=True
            )
    return rows


def best(one: Runtime, size: int, *, repeats: int) -> dict[str, Any]:
    """Run it several times; return the run with the least CPU time, with the least of each other number."""
    found: list[dict[str, Any]] = []
    spent = 0.0
    while len(found) < repeats and (spent < ENOUGH_S or not found):
        result = run(one, size)
        check(result, size)
        found.append(result)
        spent += result["calls"] * result["cpu_us"] / 1e6
        if result["stopped"]:
            break
    least = min(found, key=lambda result: result["cpu_us"])
    return least | {
        name: min(each[name] for each in found)
        for name in ("first_us", "last_us", "import_s", "set_up_ms", "grown")
    }


def run(one: Runtime, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="everystep-run-") as folder:
        place = Path(folder) / "run"
        place.mkdir()
        words = [one.python, str(ONE), one.name, str(size), str(one.cap_s), str(place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{one.title} broke at {size} steps: {done.stderr.strip()[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result


def check(result: dict[str, Any], size: int) -> None:
    """The same calls with the same arguments in the same order, and the same answer."""
    calls = result["calls"]
    expected = sha256("".join(f"{item_of(step)};" for step in range(calls)).encode()).hexdigest()
    assert result["arguments"] == expected, f"{result['name']} did other calls"
    assert not result["torch"], f"{result['name']} loaded torch"
    if not result["stopped"]:
        assert calls == size, f"{result['name']} made {calls} calls instead of {size}"
        assert result["answer"] == last_answer(size), f"{result['name']} answered {result['answer']!r}"


def install(one: Runtime, *, only_look: bool) -> str | None:
    """Make its environment, and return why there is none where it cannot be made."""
    if not one.packages or _works(one):
        return None
    if only_look:
        return "not installed"
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(one.venv)],
        [one.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *one.packages],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"it could not be installed: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    return None if _works(one) else "it was installed in another version"


def _works(one: Runtime) -> bool:
    if not Path(one.python).exists():
        return False
    pins = [package.split("==") for package in one.packages]
    asked = f"import importlib.metadata as m; assert all(m.version(n) == v for n, v in {pins!r})"
    return subprocess.run([one.python, "-c", asked], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    measure(quick=parser.parse_args().quick)
