"""The sweep: each arm gets its own best rate, trials are kept, and what was run is not run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from everystep.core.errors import DataError
from everystep.evaluate.study import tune


def test_every_arm_gets_its_own_best_rate_and_nothing_runs_twice(tmp_path: Path) -> None:
    ran: list[tuple[str, int, float]] = []

    def arm(name: str, best: float):  # type: ignore[no-untyped-def]
        def trial(seed: int, rate: float) -> dict[str, float]:
            ran.append((name, seed, rate))
            return {"success": 1 - abs(rate - best) + seed}

        return trial

    arms = {"one": arm("one", 0.1), "two": arm("two", 0.3)}
    for _ in range(2):
        best = tune(arms, rates=(0.1, 0.2, 0.3), seeds=(100, 101), by="success", folder=tmp_path)
        assert best == {"one": 0.1, "two": 0.3}
    assert len(ran) == 12
    report = (tmp_path / "sweep" / "report.md").read_text(encoding="utf-8")
    assert report.splitlines()[3].endswith("| 0.3 |")


def test_an_unknown_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'reward'"):
        tune(
            {"one": lambda _seed, _rate: {"success": 1.0}},
            rates=(0.1,),
            seeds=(9,),
            by="reward",
            folder=tmp_path,
        )
