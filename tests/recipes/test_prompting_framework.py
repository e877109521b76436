"""The four levels of the house: every public class on one, imports point down, and the page says what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError
from everystep.evaluate.survey import Module, implementers, survey, upward
from everystep.recipes.prompting_framework import (
    CAPABILITIES,
    LEVELS,
    PACKAGE,
    RISING,
    Config,
    Tier,
    rising,
    run,
    tier_of,
)
from everystep.run.folder import create

PAGE = Path(__file__).parents[2] / "docs" / "capabilities.md"


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return survey(PACKAGE)


def test_every_public_class_is_on_one_level_and_imports_point_down(modules: dict[str, Module]) -> None:
    levels = {
        f"{one.module}.{one.name}": tier_of(one.module)
        for module in modules.values()
        for one in module.classes
    }
    assert len(levels) == sum(len(module.classes) for module in modules.values())
    assert set(levels.values()) == set(Tier)
    assert set(rising(modules)) == RISING  # none is new, and none of the known ones is gone


def test_levels_name_what_there_is(modules: dict[str, Module]) -> None:
    assert {name for name in LEVELS if f"everystep.{name}" not in modules} == set()
    with pytest.raises(ConfigError, match="on no level"):
        tier_of("everystep.somewhere.new")


def test_an_import_that_points_up_is_found(tmp_path: Path) -> None:
    package = tmp_path / "house"
    (package / "low").mkdir(parents=True)
    (package / "low" / "one.py").write_text("def f():\n    from house.high import two\n    return two\n")
    (package / "high.py").write_text("import house.low.one\ntwo = 2\n")
    found = survey(package)
    assert upward(found, {"house.low.one": 0, "house.high": 1}) == [("house.low.one", "house.high")]


def test_a_class_keeps_a_protocol_by_its_methods_parameters_and_attributes(tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    (package / "parts.py").write_text(
        "from typing import Protocol, Generic, TypeVar\n"
        "T = TypeVar('T')\n"
        "class Gate(Protocol):\n"
        "    @property\n    def name(self) -> str: ...\n"
        "    def permit(self, step, action) -> bool: ...\n"
        "class Base(Generic[T]):\n    name: str\n"
        "class Good(Base[int]):\n    def permit(self, step, action, why=''): return True\n"
        "class Set:\n    def __init__(self): self.name = 'x'\n    async def permit(self, step, action): return True\n"
        "class Nameless:\n    def permit(self, step, action): return True\n"
        "class Other:\n    name = 'o'\n    def permit(self, action, step): return True\n"
        "class _Hidden:\n    name = 'h'\n    def permit(self, step, action): return True\n"
    )
    found = survey(package)
    gate = found["house.parts"].classes[0]
    assert [one.name for one in implementers(gate, found)] == ["Good", "Set"]


def test_what_is_read_from_the_code_is_what_python_says(modules: dict[str, Module]) -> None:
    told = {what: probe(modules) for _, what, _, probe in CAPABILITIES}
    assert {"Window", "History"} <= set(told["input: views"])
    assert {"Scripted", "LocalSampler"} <= set(told["models"])
    assert {"AheadBy", "Majority", "Single"} <= set(told["output: votes"])
    assert "hanoi" in told["tasks: worlds"]
    assert told["collection of prompts"] == []  # there is none, and the page says so


def test_the_page_is_what_the_code_says(tmp_path: Path) -> None:
    """If it fails: everystep reproduce prompting_framework --page docs/capabilities.md."""
    # in a process of its own: other tests register worlds
    program = "from everystep.app.cli import entry; entry()"
    words = ["reproduce", "prompting_framework", "--page", "page.md", "--out", "run", "--quiet"]
    subprocess.run([sys.executable, "-c", program, *words], cwd=tmp_path, check=True, capture_output=True)
    fresh = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == fresh, test_the_page_is_what_the_code_says.__doc__


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", recipe="prompting_framework", options={}, version="0")
    numbers = run(Config(page=str(tmp_path / "page.md")), folder)
    assert numbers["imports_up"] == len(RISING)
    assert (tmp_path / "page.md").read_text() == (folder.path / "report.md").read_text()
