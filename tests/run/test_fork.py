"""A fork keeps the past and has a future of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from everystep.core.errors import StoreError
from everystep.core.records import End
from everystep.run.fork import fork_run
from everystep.run.journal import Journal
from everystep.run.parts import Parts
from stepping import go, hanoi, moves, runner, voter


def test_a_fork_goes_on_from_any_step_and_leaves_the_first_run_alone(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(rate=0.0)
    with Journal.create(tmp_path / "a", {}) as journal:
        asyncio.run(runner(journal, Parts(operator=voter(sampler)), task, environment).run())
        first = moves(journal)
    before = (tmp_path / "a").read_bytes()
    for index in (0, 12, 30):
        task, environment, sampler = hanoi(rate=0.2)
        target = tmp_path / f"fork{index}"
        fork_run(tmp_path / "a", target, step=f"main/{index}")
        with Journal.open(target) as journal:
            one = runner(journal, Parts(operator=voter(sampler)), task, environment, seed=5)
            outcome = asyncio.run(go(one))
            assert moves(journal)[: index + 1] == first[: index + 1]
        assert outcome.end is End.DONE
    assert (tmp_path / "a").read_bytes() == before


def test_a_fork_at_a_step_that_is_not_there_or_onto_a_run_is_refused(tmp_path: Path) -> None:
    task, environment, sampler = hanoi(disks=3, rate=0.0)
    with Journal.create(tmp_path / "a", {}) as journal:
        asyncio.run(runner(journal, Parts(operator=voter(sampler)), task, environment).run())
    with pytest.raises(StoreError, match="no step 'main/99'"):
        fork_run(tmp_path / "a", tmp_path / "b", step="main/99")
    assert not (tmp_path / "b").exists()
    with pytest.raises(StoreError, match="exists already"):
        fork_run(tmp_path / "a", tmp_path / "a", step="main/1")
