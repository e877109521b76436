from __future__ import annotations

import pytest

from everystep.core.codec import decode, dumps, encode, loads
from everystep.core.errors import ConfigError, DataError
from everystep.core.records import Observation, Task
from everystep.environments.places.household import Household
from everystep.evolve.library import SkillLibrary
from everystep.evolve.memory import Memory, Sort
from everystep.evolve.skills import (
    Skill,
    SkillStep,
    Trial,
    applies,
    bind,
    came_true,
    covers,
    fill,
    run_skill,
    unify,
)

FETCH = Skill(
    name="fetch",
    description="go to <a>; [open <a>]; take <b> from <a>",
    parameters=("a", "b"),
    steps=(
        SkillStep(action=("go to ", 0)),
        SkillStep(action=("open ", 0), begins=("You open the ", 0, ".")),
        SkillStep(action=("take ", 1, " from ", 0), begins=("You pick up the ", 1), ends=(0, ".")),
    ),
    needs=(("go to ", 0),),
    named=(1,),
)


def at_work(index: int, errand: str = "heat"):  # type: ignore[no-untyped-def]
    world = Household(errand=errand)
    env = world.make()
    task = world.task("train", index)
    return env, task, env.reset(task)


def closed_case():  # type: ignore[no-untyped-def]
    """An episode whose thing lies in something closed."""
    for index in range(50):
        env, task, seen = at_work(index)
        first, second = env.oracle(), None
        here = env.snapshot()
        env.step(env.parse(first))
        second, third = env.oracle(), None
        if second.startswith("open"):
            env.step(env.parse(second))
            third = env.oracle()
            env.restore(here)
            binding = unify(FETCH.steps[2].action, third, {0: first.removeprefix("go to ")})
            return env, task, seen, binding
    raise AssertionError("no such case")


def test_a_skill_that_fits_is_completed() -> None:
    env, task, seen, binding = closed_case()
    result = run_skill(FETCH, env, task, seen, binding)
    assert (result.completed, len(result.taken), result.over) == (True, 3, False)


def test_it_stops_at_the_first_deviation() -> None:
    env, task, seen, binding = closed_case()
    wrong = {**binding, 1: "spaceship 1"}
    told = Task(
        id=task.id, instruction=task.instruction + " spaceship", environment="household", seed=task.seed
    )
    result = run_skill(FETCH, env, told, seen, wrong)
    assert not result.completed
    assert len(result.taken) == 2
    assert result.why == "step 3, take <b> from <a>, cannot be done here"


def test_it_stops_when_the_effect_is_another_one() -> None:
    env, task, seen, binding = closed_case()
    steps = (*FETCH.steps[:1], SkillStep(action=("open ", 0), begins=("The door creaks",)), *FETCH.steps[2:])
    skill = Skill(name="x", description="", parameters=("a", "b"), steps=steps)
    result = run_skill(skill, env, task, seen, binding)
    assert (result.completed, len(result.taken)) == (False, 2)
    assert result.why == "step 2, open <a>, had another effect"


def test_nothing_is_done_when_the_precondition_does_not_hold() -> None:
    env, task, seen, binding = closed_case()
    result = run_skill(FETCH, env, task, seen, {**binding, 1: "spaceship 1"})  # the task does not speak of it
    assert (result.taken, result.why) == ((), "its precondition does not hold")
    result = run_skill(FETCH, env, task, seen, {**binding, 0: "moon 1"})
    assert (result.taken, result.why) == ((), "its precondition does not hold")
    about = Skill(name="x", description="", parameters=(), steps=FETCH.steps, about=("wash",))
    assert not applies(about, task, seen, binding)
    assert bind(about, task, seen) is None
    with pytest.raises(ConfigError, match="needs a value for a"):
        run_skill(FETCH, env, task, seen, {1: "x"})


def test_an_optional_step_is_left_out_where_it_cannot_be_done() -> None:
    steps = (FETCH.steps[0], SkillStep(action=("open ", 0), optional=True), FETCH.steps[2])
    skill = Skill(name="fetch", description="", parameters=("a", "b"), steps=steps)
    for index in range(8):
        env, task, seen = at_work(index)
        here = env.snapshot()
        plan = []
        for _ in range(4):
            plan.append(env.oracle())
            env.step(env.parse(plan[-1]))
        env.restore(here)
        found = covers(skill, plan)
        assert found is not None
        assert run_skill(skill, env, task, seen, found[0]).completed
        assert found[1] in (2, 3)


class Reaching:
    """An environment whose acts reach outside."""

    def effect(self, action): ...  # type: ignore[no-untyped-def]
    async def act(self, action, *, key): ...  # type: ignore[no-untyped-def]
    async def settled(self, action, *, key): ...  # type: ignore[no-untyped-def]
    def rejoin(self, task, observation): ...  # type: ignore[no-untyped-def]


def test_nothing_outside_is_done_without_a_run() -> None:
    with pytest.raises(ConfigError, match="without a gate and a journal"):
        run_skill(FETCH, Reaching(), Task(id="t", instruction="", environment="x"), Observation(text=""), {})  # type: ignore[arg-type]


def test_values_are_only_text() -> None:
    assert fill(("say ", 0), {0: "{0.__class__} %s \\1"}) == "say {0.__class__} %s \\1"
    assert unify(("say ", 0, "!"), "say (a+)+!", {}) == {0: "(a+)+"}
    assert unify((0, " and ", 0), "x and y", {}) is None
    assert unify((0, " and ", 0), "x and x", {}) == {0: "x"}
    assert unify(("a",), "b", {}) is None
    with pytest.raises(ConfigError, match="has no value"):
        fill(("say ", 0), {})


def test_beginning_and_end_must_not_overlap() -> None:
    step = SkillStep(action=(), begins=("abc",), ends=("cba",))
    assert came_true(step, Observation(text="abc cba"), {})
    assert not came_true(step, Observation(text="abcba"), {})


def test_a_skill_is_data() -> None:
    assert loads(Skill, dumps(FETCH)) == FETCH
    assert decode(Skill, encode(FETCH)) == FETCH


# --- the library -------------------------------------------------------------------------------------------


def trial(tries: int, completed: int, threshold: float = 0.6) -> Trial:
    return Trial(skill=FETCH, tries=tries, completed=completed, threshold=threshold)


@pytest.mark.parametrize(
    ("tries", "completed", "passed"),
    [(0, 0, False), (3, 3, False), (10, 10, True), (100, 75, True), (100, 65, False), (20, 12, False)],
)
def test_a_trial_is_passed_when_the_interval_is_above_the_threshold(
    tries: int, completed: int, passed: bool
) -> None:
    assert trial(tries, completed).passed is passed


def test_only_what_passed_is_admitted() -> None:
    with Memory.open() as memory:
        library = SkillLibrary(memory)
        with pytest.raises(DataError, match=r"'fetch' was completed in 2 of 3 tries"):
            library.admit(trial(3, 2))
        assert library.names() == []
        library.admit(trial(20, 20), run="r1", time=5.0)
        assert library.names() == ["fetch"]
        item = memory.get("skill:fetch")
        assert item is not None
        assert (item.kind, item.run) == (Sort.SKILL, "r1")


def test_uses_are_counted_and_better_ones_are_versions() -> None:
    with Memory.open() as memory:
        library = SkillLibrary(memory)
        library.admit(trial(20, 20))
        library.record("fetch", completed=False)
        kept = library.get("fetch")
        assert (kept.tries, kept.completed, kept.version) == (21, 20, 1)
        assert library.admit(trial(30, 30)).version == 2
        assert len(library.skills()) == 1
        assert [one.name for one in library.search("take something from somewhere")] == ["fetch"]
        with pytest.raises(ConfigError, match="Did you mean 'fetch'"):
            library.get("fetsh")
