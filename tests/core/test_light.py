"""Importing the package is light, the core needs the standard library only, and its names are frozen."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import pytest

import everystep.core

NAMES = Path(__file__).with_name("public_names.txt")
CORE = sorted(f"everystep.core.{module.name}" for module in pkgutil.iter_modules(everystep.core.__path__))
HEAVY = {"numpy", "torch", "transformers", "rich", "typer", "click", "pyarrow", "scipy", "minigrid", "httpx"}


def loaded_by(*modules: str) -> set[str]:
    program = f"import sys\nbefore = set(sys.modules)\nimport {', '.join(modules)}\n"
    program += "print('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("everystep") <= {"everystep", "__future__"}


def test_the_core_loads_the_standard_library_only() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by(*CORE)}
    assert loaded - set(sys.stdlib_module_names) == {"everystep"}


@pytest.mark.parametrize(
    "module",
    [
        "everystep.run.journal",
        "everystep.run.export",
        "everystep.environments.catalog",
        "everystep.run.loop",
        "everystep.run.resume",
        "everystep.run.pool",
    ],
)
def test_modules_that_promise_it_load_nothing_heavy(module: str) -> None:
    assert not {name.partition(".")[0] for name in loaded_by(module)} & HEAVY


def test_the_core_imports_at_the_top_only() -> None:
    for name in CORE:
        tree = ast.parse(Path(str(import_module(name).__file__)).read_text())
        inner = {
            node
            for part in tree.body
            for node in ast.walk(part)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert inner <= set(tree.body), f"{name} imports inside a function"


def public_names() -> list[str]:
    names = []
    for name in CORE:
        module = import_module(name)
        for thing, value in vars(module).items():
            own = getattr(value, "__module__", name) == name and not inspect.ismodule(value)
            if not thing.startswith("_") and own and not isinstance(value, TypeVar | type(annotations)):
                names.append(f"{name}.{thing}{_signature(value)}")
    return sorted(names)


def _signature(value: object) -> str:
    record = (
        inspect.isclass(value) and "__init__" in vars(value) and not getattr(value, "_is_protocol", False)
    )
    if inspect.isfunction(value) or record:
        return str(inspect.signature(value))
    return ""


def test_the_public_names_are_those_that_were_agreed() -> None:
    """Run ``python tests/core/test_light.py`` to write the list anew after a change that is meant."""
    assert public_names() == NAMES.read_text().splitlines()


if __name__ == "__main__":
    NAMES.write_text("\n".join(public_names()) + "\n")
