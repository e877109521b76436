import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import StoreError
from everystep.core.records import (
    Action,
    End,
    Level,
    Observation,
    Step,
    StepCredit,
    Task,
    Trajectory,
    Verdict,
)
from everystep.core.trace import Event, Kind, body_of, ending_of, fold, live, replay

TASK = Task(id="t", instruction="open the door", environment="keydoor")


def step(name: str, parent: str | None, index: int) -> Step:
    return Step(
        id=name, parent=parent, index=index, observation=Observation(text=name), action=Action(text="go")
    )


def trajectory(name: str, *steps: Step, group: str = "g") -> Trajectory:
    return Trajectory(id=name, task=TASK, group=group, steps=steps, end=End.DONE, outcome=1.0, success=True)


def events(*items: tuple[Kind, object]) -> list[Event]:
    return [Event(seq=n, kind=kind, body=body_of(item)) for n, (kind, item) in enumerate(items, start=1)]


ROOT, LEFT, RIGHT = step("root", None, 0), step("left", "root", 1), step("right", "root", 1)
LONG, SHORT = trajectory("a", ROOT, LEFT), trajectory("b", ROOT, RIGHT)
BRANCHED = events(
    (Kind.RUN, {"command": "train"}),
    (Kind.TASK, TASK),
    (Kind.STEP, ROOT),
    (Kind.STEP, LEFT),
    (Kind.STEP, RIGHT),
    (Kind.TRAJECTORY, ending_of(LONG, phase="train", iteration=0)),
    (Kind.TRAJECTORY, ending_of(SHORT, phase="test", iteration=1)),
)


def test_branches_share_their_prefix_and_come_back_whole() -> None:
    trace = fold(BRANCHED)
    assert list(trace.trajectories()) == [LONG, SHORT]
    assert [one.id for one in trace.walk("right")] == ["root", "right"]
    assert len(trace.steps) == 3
    assert trace.last == 7


def test_trajectories_are_selected_by_phase_and_iteration() -> None:
    trace = fold(BRANCHED)
    assert [one.id for one in trace.trajectories(phase="test")] == ["b"]
    assert [one.id for one in trace.trajectories(iteration=0)] == ["a"]
    assert list(trace.trajectories(phase="train", iteration=1)) == []
    (group,) = trace.groups()
    assert group.trajectories == (LONG, SHORT)


def test_a_trajectory_without_steps_comes_back() -> None:
    empty = Trajectory(id="e", task=TASK, group="g", steps=(), end=End.ERROR, error="the world broke")
    trace = fold(events((Kind.TASK, TASK), (Kind.TRAJECTORY, ending_of(empty))))
    assert trace.trajectory("e") == empty


def test_verdicts_credit_and_the_rest_stand_beside_the_steps() -> None:
    verdict = Verdict(level=Level.PAIR, targets=("left", "right"), judge="rule", score=1.0)
    first = StepCredit(step="root", trajectory="a", estimator="gigpo", value=0.5)
    second = StepCredit(step="root", trajectory="b", estimator="gigpo", value=-0.5)
    trace = fold(
        [
            *BRANCHED,
            Event(seq=8, kind=Kind.VERDICT, body=body_of(verdict)),
            Event(seq=9, kind=Kind.CREDIT, body=body_of(first)),
            Event(seq=10, kind=Kind.CREDIT, body=body_of(second)),
            Event(seq=11, kind=Kind.METRICS, body={"success": 0.5}),
            Event(seq=12, kind=Kind.CHECKPOINT, body={"iteration": 3}),
            Event(seq=13, kind=Kind.END, body={"end": "done"}),
        ]
    )
    assert trace.verdicts == {"left": [verdict], "right": [verdict]}
    assert trace.credits["gigpo"] == {"a:root": first, "b:root": second}
    assert (trace.metrics, trace.checkpoints) == ([{"success": 0.5}], [{"iteration": 3}])
    assert trace.end == {"end": "done"}
    assert trace.run == {"command": "train"}


def test_events_after_the_resume_point_are_void() -> None:
    resumed = Event(seq=8, kind=Kind.RESUMED, body={"after": 6})
    again = Event(seq=9, kind=Kind.METRICS, body={"success": 1})
    trace = fold([*BRANCHED, resumed, again])
    assert [one.id for one in trace.trajectories()] == ["a"]
    assert (trace.metrics, trace.last) == ([{"success": 1}], 9)


def test_a_resumed_run_has_not_ended() -> None:
    ended = Event(seq=8, kind=Kind.END, body={"end": "cancelled"})
    assert fold([*BRANCHED, ended]).end == {"end": "cancelled"}
    assert fold([*BRANCHED, ended, Event(seq=9, kind=Kind.RESUMED, body={"after": 8})]).end is None


@given(st.data())
def test_void_events_are_the_union_of_what_each_resume_names(data: st.DataObject) -> None:
    log, void = [], set()
    for seq in range(1, data.draw(st.integers(1, 25)) + 1):
        if data.draw(st.booleans()):
            log.append(Event(seq=seq, kind=Kind.METRICS, body={"n": seq}))
            continue
        after = data.draw(st.integers(0, seq - 1))
        void.update(range(after + 1, seq))
        log.append(Event(seq=seq, kind=Kind.RESUMED, body={"after": after}))
    kept = live(log)
    assert [event.seq for event in kept] == [event.seq for event in log if event.seq not in void]
    assert fold(log) == replay(kept)


@pytest.mark.parametrize("body", [{}, {"after": "3"}, {"after": 9}, {"after": -1}])
def test_a_resume_must_name_an_earlier_event(body: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="event 8 resumes after"):
        fold([*BRANCHED, Event(seq=8, kind=Kind.RESUMED, body=body)])


def test_missing_pieces_are_named() -> None:
    with pytest.raises(StoreError, match="step 'root' is named as a parent"):
        fold(events((Kind.STEP, LEFT))).walk("left")
    with pytest.raises(StoreError, match="no finished trajectory 'alpha'"):
        fold(BRANCHED).trajectory("alpha")
    with pytest.raises(StoreError, match="task 't', which is not in the journal"):
        fold(events((Kind.TRAJECTORY, ending_of(trajectory("a"))))).trajectory("a")


def test_a_circle_of_parents_is_an_error_and_not_forever() -> None:
    circle = fold(events((Kind.STEP, step("x", "y", 0)), (Kind.STEP, step("y", "x", 1))))
    with pytest.raises(StoreError, match="among its own parents"):
        circle.walk("x")
