"""A run that shows its model the whole history goes on with the same conversation after it was stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from everystep.environments.places.keydoor import KeyDoor
from everystep.models.local import LocalSampler
from everystep.models.scripted import Scripted
from everystep.run.context import History
from everystep.run.decide import Role, Way
from everystep.run.journal import Journal
from everystep.run.journal_file import write_fresh
from everystep.run.parts import Parts
from stepping import go, moves, runner


@pytest.mark.parametrize("constrain", [True, False])
def test_cut_anywhere_the_conversation_goes_on(tmp_path: Path, model: Any, constrain: bool) -> None:
    world = KeyDoor(side=3, horizon=6)

    def run(journal: Journal) -> None:
        role = Role(name="agent", ways=(Way(sampler=LocalSampler(model), context=History()),), constrain=constrain)  # fmt: skip
        asyncio.run(go(runner(journal, Parts(operator=role), world.task("train", 0), world.make(), seed=3)))

    with Journal.create(tmp_path / "whole", {}) as journal:
        run(journal)
        events, expected = list(journal.events()), moves(journal)
    assert len(expected) == 6
    for cut in range(2, len(events) - 1):
        write_fresh(tmp_path / "cut", events[:cut]).replace(tmp_path / "cut")
        with Journal.open(tmp_path / "cut") as journal:
            run(journal)
            assert moves(journal) == expected, cut


def test_the_turns_of_a_plain_conversation_are_those_that_were_taken(tmp_path: Path) -> None:
    world, heard = KeyDoor(side=3, horizon=6), []

    def answer(request: Any) -> str:
        heard.append([message.content for message in request.messages])
        return "north"

    sampler = Scripted(answer)
    role = Role(name="agent", ways=(Way(sampler=sampler, context=History()),), constrain=True)
    with Journal.create(tmp_path / "j", {}) as journal:
        asyncio.run(go(runner(journal, Parts(operator=role), world.task("train", 0), world.make())))
        events = list(journal.events())
    first = list(heard)
    heard.clear()
    write_fresh(tmp_path / "cut", events[:4]).replace(tmp_path / "cut")
    with Journal.open(tmp_path / "cut") as journal:
        asyncio.run(go(runner(journal, Parts(operator=role), world.task("train", 0), world.make())))
    assert heard == first[2:]
