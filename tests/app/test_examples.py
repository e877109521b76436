"""Every example runs and says what it promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("credit_of_your_own_traces", "sum: -0.577349 -0.707106 = -1.28446"),
        ("value_of_a_state", "value before it"),
    ],
)
def test_an_example_runs(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert said in capsys.readouterr().out


def test_every_example_is_tried() -> None:
    assert {one.stem for one in EXAMPLES.glob("*.py")} == {"credit_of_your_own_traces", "value_of_a_state"}
