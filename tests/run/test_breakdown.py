"""Numbers by a tag of the tasks."""

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Action, End, Observation, Step, Task, ToolCall, Trajectory
from everystep.run.breakdown import by_tag
from everystep.run.measure import wilson


def walk(turns: str, calls: int, success: bool) -> Trajectory:
    steps = tuple(
        Step(
            id=str(at),
            parent=None,
            index=at,
            observation=Observation(text=""),
            action=Action(text="", calls=(ToolCall(name="f"),) if at < calls else ()),
        )
        for at in range(calls + 1)
    )
    task = Task(id="t", instruction="", environment="e", tags={"turns": turns})
    end = End.DONE if success else End.FAILED
    return Trajectory(id="x", task=task, group="g", steps=steps, end=end, outcome=1.0, success=success)


def test_numbers_by_tag_in_order_of_size() -> None:
    batch = [walk("10", 3, True), walk("2", 1, False), walk("2", 2, True), walk("any", 0, True)]
    found = by_tag(batch, "turns")
    assert list(found) == ["2", "10", "any"]
    assert [found[value]["success"] for value in found] == [0.5, 1.0, 1.0]
    assert [found[value]["calls"] for value in found] == [1.5, 3.0, 0.0]
    assert [found[value]["steps"] for value in found] == [2.5, 4.0, 1.0]
    assert (found["2"]["low"], found["2"]["high"]) == wilson(0.5, 2)
    assert sum(part["tasks"] for part in found.values()) == 4


def test_a_tag_that_no_task_has_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no tag 'turn'.*turns"):
        by_tag([walk("2", 1, True)], "turn")
