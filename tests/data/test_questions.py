"""Items of seven kinds: what each asks, and what a failed trajectory must not yield."""

from __future__ import annotations

import pytest

from everystep.core.errors import DataError
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.data.questions import KNOWLEDGE, Kind, items, yielded


def walk(success: bool | None = True) -> Trajectory:
    told = [("mail main : inbox", "tap inbox"), ("mail inbox : ann", "tap ann"), ("mail ann : star", "done")]
    steps = tuple(
        Step(
            id=f"w.{n}",
            parent=f"w.{n - 1}" if n else None,
            index=n,
            observation=Observation(text=seen),
            action=Action(text=did),
        )
        for n, (seen, did) in enumerate(told)
    )
    task = Task(id="t", instruction="mail : star ann", environment="screengrid")
    return Trajectory(
        id="w",
        task=task,
        group="w",
        steps=steps,
        end=End.DONE,
        success=success,
        final=Observation(text="mail end : star"),
    )


def asked(
    kinds: set[Kind], right: dict[str, bool], reached: bool | None = True
) -> list[tuple[str, str, str]]:
    made = items(walk(), kinds, right=right, reached=reached, brief=lambda text: text.split(" : ")[0])
    return [
        (one.task.instruction, one.steps[0].observation.text, one.steps[0].action.text)
        for one in made
        if len(one.steps) == 1
    ]


def test_each_kind_asks_about_its_own_moment() -> None:
    right = {"w.0": True, "w.1": False, "w.2": True}
    found = asked(set(KNOWLEDGE), right)
    goal = "mail : star ann"
    assert ("progress", f"{goal} . tap inbox , tap ann", "tap inbox") in found
    assert ("summary", "mail inbox : ann", "mail inbox") in found
    assert ("effect", "mail main : inbox . tap inbox", "mail inbox : ann") in found
    assert ("effect", "mail ann : star . done", "mail end : star") in found
    assert ("reflection", f"{goal} . mail inbox : ann . tap ann", "wrong") in found
    assert ("intent", "mail main : inbox . mail inbox : ann", "tap inbox") in found
    assert ("verification", f"{goal} . mail ann : star . done", "right") in found
    assert len(found) == 2 + 3 + 3 + 3 + 3 + 1


def test_what_nobody_said_is_not_asked() -> None:
    assert not asked({Kind.REFLECTION}, {})
    assert not asked({Kind.VERIFICATION}, {}, reached=None)
    assert {answer for _, _, answer in asked({Kind.PROGRESS}, {})} == {"nothing"}


def test_a_failure_yields_everything_but_the_action() -> None:
    assert yielded(True) - yielded(False) == {Kind.ACTION}
    assert yielded(None) == yielded(False) == KNOWLEDGE
    with pytest.raises(DataError, match="trajectory itself"):
        asked({Kind.ACTION}, {})
