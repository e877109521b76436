from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from everystep.app.loggers import JsonLines, TensorBoardLogger, WandbLogger
from everystep.app.progress import ConsoleProgress, clock_text
from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Ten seconds pass between two looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10.0
        return self.now


RUN: list[dict[str, float]] = [
    {"iteration": 0, "heldout_success": 0.05, "heldout_low": 0.03, "heldout_high": 0.08},
    {"iteration": 0, "loss": 1.25},
    {"iteration": 0, "loss": 0.1, "success": 0.5, "reward": 0.4, "tokens_per_second": 21_000.0},
    {
        "iteration": 1,
        "success": 0.75,
        "reward": 0.6,
        "heldout_success": 0.7,
        "heldout_low": 0.6,
        "heldout_high": 0.78,
    },
]


def shown(logger: Logger) -> None:
    for step, metrics in enumerate(RUN):
        logger.log(step, metrics)
    logger.close()


def test_json_lines_are_one_object_a_line_also_with_numbers_json_has_not() -> None:
    stream = io.StringIO()
    logger = JsonLines(stream)
    shown(logger)
    logger.log(4, {"loss": float("inf")})
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[2] == {"step": 2, **RUN[2]}
    assert rows[4]["loss"] is None
    assert not stream.closed


def test_tensorboard_events_hold_the_numbers(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown(TensorBoardLogger(tmp_path / "new" / "tensorboard"))
    events = accumulator.EventAccumulator(str(tmp_path / "new" / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    points = [(event.step, float(event.tensor_proto.float_val[0])) for event in events.Tensors("success")]
    assert points == [(2, 0.5), (3, 0.75)]


STAND_IN = """
calls = []
def init(**options): calls.append(("init", options))
def log(metrics, step): calls.append(("log", step, metrics))
def finish(): calls.append(("finish",))
"""


def test_any_module_with_the_interface_of_wandb_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tracker_for_test.py").write_text(STAND_IN)
    (tmp_path / "no_tracker_for_test.py").write_text("def init(): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    shown(WandbLogger(module="tracker_for_test", name="mine", config={"seed": 1}))
    calls: list[Any] = sys.modules["tracker_for_test"].calls
    assert calls[0] == ("init", {"project": "everystep", "name": "mine", "config": {"seed": 1}})
    assert calls[3] == ("log", 2, RUN[2])
    assert calls[-1] == ("finish",)
    with pytest.raises(ConfigError, match="has no log, finish"):
        WandbLogger(module="no_tracker_for_test")


def test_a_missing_package_is_named_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match="pip install tracker_that_is_not_there"):
        WandbLogger(module="tracker_that_is_not_there")


def test_progress_without_a_terminal_is_plain_lines() -> None:
    stream = io.StringIO()
    shown(ConsoleProgress(4, stream=stream, clock=Clock()))
    assert stream.getvalue().splitlines() == [
        "first test  1/4  held-out 5.0% [3.0, 8.0]  0:10 elapsed  0:30 left",
        "warm start  2/4  loss 1.250  held-out 5.0% [3.0, 8.0]  0:20 elapsed  0:20 left",
        "training  3/4  success 50.0%  reward 0.400  21,000 tokens/s  held-out 5.0% [3.0, 8.0]  0:30 elapsed  0:10 left",
        "training  4/4  success 75.0%  reward 0.600  held-out 70.0% [60.0, 78.0]  0:40 elapsed",
    ]


def test_a_resumed_run_reckons_the_time_left_from_its_own_parts() -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(stream=stream, clock=Clock())
    progress.start(100, "training")
    progress.log(89, {"success": 0.5})
    assert "90/100" in stream.getvalue()
    assert "1:40 left" in stream.getvalue()


def test_progress_on_a_terminal_is_live_and_keeps_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    shown(ConsoleProgress(4, stream=stream, clock=Clock()))
    text = stream.getvalue()
    assert "\x1b[" in text
    assert "training  4/4  held-out 70.0% [60.0, 78.0]" in text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3600, "1:00:00"), (-1, "0:00")])
def test_times(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
