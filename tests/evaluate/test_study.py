"""A study runs every arm with every seed once, goes on where it was, and pairs the seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from everystep.core.errors import DataError
from everystep.evaluate.study import TRIALS, study, table


def test_a_study_that_was_stopped_goes_on_and_pairs_its_seeds(tmp_path: Path) -> None:
    ran: list[tuple[str, int]] = []

    def arm(name: str, gain: float, stop: int | None = None):  # type: ignore[no-untyped-def]
        def trial(seed: int) -> dict[str, float]:
            if seed == stop:
                raise KeyboardInterrupt
            ran.append((name, seed))
            return {"success": seed / 10 + gain, "calls": 5}

        return trial

    arms = {"plain": arm("plain", 0.0), "better": arm("better", 0.25, stop=2)}
    with pytest.raises(KeyboardInterrupt):
        study(arms, seeds=range(4), baseline="plain", folder=tmp_path)
    with (tmp_path / TRIALS).open("a") as file:
        file.write('{"arm": "plain", "se')
    arms["better"] = arm("better", 0.25)
    result = study(arms, seeds=range(4), baseline="plain", folder=tmp_path)
    assert sorted(ran) == sorted((name, seed) for name in arms for seed in range(4))
    gain = result.arm("better").gains["success"]
    assert gain.value == pytest.approx(0.25)
    assert gain.low == pytest.approx(gain.high)
    assert "| better | 0.4 [" in table(result)


def test_arms_that_give_other_numbers_are_refused(tmp_path: Path) -> None:
    arms = {"a": lambda seed: {"x": 1.0}, "b": lambda seed: {"y": 1.0}}
    with pytest.raises(DataError, match="same numbers"):
        study(arms, seeds=[0], baseline="a", folder=tmp_path)
    with pytest.raises(DataError, match="baseline 'c'"):
        study(arms, seeds=[0], baseline="c", folder=tmp_path / "other")
