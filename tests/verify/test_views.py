"""Views of a step: what each of the four shows, what none may show, and the labels that read them."""

from __future__ import annotations

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Evidence, Looks
from everystep.core.records import Action, Observation, Step, Task
from everystep.run.search import SearchTree
from everystep.verify.evidence import tree_evidence
from everystep.verify.views import FULL, MATHS, NEWEST, NEXT_THOUGHT, StepView, parts_of

TASK = Task(id="t", instruction="start with 7", environment="stepmath", reference=24)
LOOKS = Looks(actions=None, observations=0)


def step(name: str, parent: str | None, thought: str, expression: str) -> Step:
    action = Action(text=f"thought: {thought}\nstep: {expression}")
    return Step(
        id=name, parent=parent, index=0, observation=Observation(text="value 1 2"), action=action, reward=1.0
    )


TREE = SearchTree(
    id="j", task=TASK, visits={}, values={}, simulations=(),
    steps=(step("a", None, "add 5", "7 + 5 = 1 2"), step("b", "a", "double it", "1 2 + 1 2 = 2 4"), step("c", None, "x", "y")),
)  # fmt: skip
FIRST, SECOND, THIRD = tree_evidence(TREE, LOOKS)


def test_the_four_views() -> None:
    assert FULL.tell(SECOND) == "start with 7\nadd 5 ; 7 + 5 = 1 2\ndouble it ; 1 2 + 1 2 = 2 4"
    assert MATHS.tell(SECOND) == "start with 7\n7 + 5 = 1 2\n1 2 + 1 2 = 2 4"
    assert NEWEST.tell(SECOND) == "start with 7\n1 2 + 1 2 = 2 4"
    assert NEXT_THOUGHT.tell(SECOND) == "start with 7\nadd 5 ; 7 + 5 = 1 2\ndouble it"
    assert StepView(name="bare", judged=("step",), task=False).tell(SECOND) == "1 2 + 1 2 = 2 4"


def test_what_stands_behind_each_step_of_a_tree() -> None:
    assert [[one.id for one in evidence.before] for evidence in (FIRST, SECOND, THIRD)] == [[], ["a"], []]
    assert [evidence.targets for evidence in (FIRST, SECOND, THIRD)] == [("a",), ("b",), ("c",)]
    for evidence in (FIRST, SECOND, THIRD):
        assert evidence.task.reference is None
        assert evidence.step.reward is None  # what it led to is not shown
        assert evidence.results == ()


def test_no_view_shows_an_observation_which_would_give_away_the_value() -> None:
    shown = Evidence(task=TASK, targets=("b",), candidates=((TREE.steps[1],),), before=TREE.steps[:1])
    assert all("value" not in view.tell(shown) for view in (FULL, MATHS, NEWEST, NEXT_THOUGHT))


def test_parts_by_name() -> None:
    assert parts_of("no name") == {"": "no name"}
    assert parts_of("Thought : a\nb\nstep: c : d\nthought: e") == {"thought": "a\nb\ne", "step": "c : d"}
    assert parts_of("step:\nthought: x") == {"thought": "x"}
    assert (
        NEXT_THOUGHT.tell(Evidence(task=TASK, targets=("s",), candidates=((step("s", None, "", "1"),),)))
        == "start with 7"
    )
    with pytest.raises(ConfigError, match="shows nothing"):
        StepView(name="blind", earlier=("step",))
