"""Skills mined from an oracle's episodes, tried in fresh homes, and used again on tasks that nobody has seen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling, Transition
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.environments.places.household import Household
from everystep.evolve.library import SkillLibrary
from everystep.evolve.memory import Memory
from everystep.evolve.mine import mine
from everystep.evolve.shapes import Ends, text_tokens, tokens_of
from everystep.evolve.skills import Skill, SkillStep, applies, covers, run_skill
from everystep.evolve.trial import learn_skills, verify_skill
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout


def walk(name: str, *turns: tuple[str, str], task: str = "do it", success: bool = True) -> Trajectory:
    """An episode of (action, what was seen after it)."""
    seen = ["start", *(text for _, text in turns)]
    listed = tuple(action for action, _ in turns)
    steps = tuple(
        Step(
            id=f"{name}/{place}",
            parent=None,
            index=place,
            observation=Observation(text=seen[place], admissible=listed),
            action=Action(text=action),
        )
        for place, (action, _) in enumerate(turns)
    )
    return Trajectory(
        id=name,
        task=Task(id=name, instruction=task, environment="x"),
        group="g",
        steps=steps,
        end=End.DONE,
        success=success,
        final=Observation(text=seen[-1]),
    )


def test_equal_arguments_become_one_parameter_and_constants_stay() -> None:
    trips = [
        walk(
            str(n),
            (f"go to desk {n}", f"At desk {n} lies a pen {n + 5} and dust."),
            (f"take pen {n + 5} from desk {n}", f"You have the pen {n + 5}."),
            ("ring bell", "Ding."),
        )
        for n in range(4)
    ]
    skill = mine(trips, least_support=4)[0]
    assert skill.parameters == ("a", "b")
    assert [step.action for step in skill.steps] == [("go to ", 0), ("take ", 1, " from ", 0), ("ring bell",)]
    assert skill.steps[0].begins == ("At ", 0, " lies a ", 1, " and dust.")
    assert skill.steps[1].begins == ("You have the ", 1, ".")
    assert skill.description == "go to <a>; take <b> from <a>; ring bell"
    assert set(skill.needs) == {("go to ", 0), ("take ", 1, " from ", 0)}
    assert (skill.support, skill.origin) == (4, "mined")


def test_another_pattern_of_arguments_is_another_skill() -> None:
    same = [walk(f"s{n}", (f"open box {n}", "ok"), (f"close box {n}", "ok")) for n in range(3)]
    other = [walk(f"o{n}", (f"open box {n}", "ok"), (f"close box {n + 9}", "ok")) for n in range(3)]
    skills = mine([*same, *other], least_support=3)
    assert sorted(len(one.parameters) for one in skills if len(one.steps) == 2) == [1, 2]


def test_only_success_and_only_what_was_done_counts() -> None:
    turns = [("open box 1", "ok"), ("close box 1", "ok")]
    failed = [walk(f"f{n}", *turns, success=False) for n in range(9)]
    assert mine(failed, least_support=2) == []
    once = [walk(str(n), *turns) for n in range(2)]
    assert [one.support for one in mine([*failed, *once, *once[:1]], least_support=2)] == [3]
    with pytest.raises(ConfigError, match="shortest <= longest"):
        mine(once, shortest=4, longest=2)


def test_a_step_that_some_have_is_optional() -> None:
    long = [
        walk(f"l{n}", (f"go to box {n}", "closed"), (f"open box {n}", "open"), (f"fill box {n}", "full"))
        for n in range(3)
    ]
    short = [walk(f"s{n}", (f"go to jar {n}", "here"), (f"fill jar {n}", "full")) for n in range(3)]
    skill = mine([*long, *short], least_support=3)[0]
    assert skill.description == "go to <a>; [open <a>]; fill <a>"
    assert skill.support == 6
    assert covers(skill, ["go to jar 1", "fill jar 1"]) == ({0: "jar 1"}, 2)


def test_words_of_the_task_that_tell_become_part_of_the_precondition() -> None:
    turns = [("light fire", "warm"), ("boil water", "hot")]
    tea = [walk(f"t{n}", *turns, task=f"please make tea for guest {n}") for n in range(4)]
    rest = [walk(f"r{n}", ("sit", "ok"), ("sleep", "ok"), task="please rest a little") for n in range(4)]
    boil, sleep = sorted(mine([*tea, *rest], least_support=3), key=lambda one: one.name)
    assert (boil.name, boil.about) == (
        "light_boil",
        ("for",),
    )  # for, guest, make and tea tell the same; one is enough
    assert (sleep.name, sleep.about) == ("sit_sleep", ("a",))


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=6))
def test_what_texts_have_in_common_covers_all_of_them(texts: list[list[str | int]]) -> None:
    both = Ends()
    for tokens in texts:
        both.add(tokens)
    for tokens in texts:
        assert len(both.begins) + len(both.ends) <= len(tokens)
        assert tokens[: len(both.begins)] == both.begins
        assert tokens[len(tokens) - len(both.ends) :] == both.ends


@given(st.text(max_size=40))
def test_tokens_make_up_the_text(text: str) -> None:
    assert "".join(text_tokens(text)) == text
    assert "".join(tokens_of(text)) == text.strip()


def test_mining_any_text_does_not_break() -> None:
    odd = ["", " ", "{0} %s", "\x00", "🦜 1", "go", "1 2 3", "\ud800"]
    skills = mine([walk(str(n), *((text, text) for text in odd)) for n in range(3)], least_support=3)
    assert all(len(one.name) <= 66 and one.name.isprintable() for one in skills)
    assert {len(one.steps) for one in skills} == set(range(2, 9))


# --- trials ------------------------------------------------------------------------------------------------------


class Moody:
    """A world in which pushing works in so many of ten tasks."""

    name = "moody"
    summary = "push"
    max_steps = 5

    def __init__(self, works: int) -> None:
        self.works = works

    def make(self) -> Moody:
        return self

    def size(self, split: str) -> int | None:
        return None

    def task(self, split: str, index: int) -> Task:
        return Task(id=str(index), instruction="push", environment="moody", seed=index)

    def reset(self, task: Task) -> Observation:
        self.good = task.seed % 10 < self.works
        return Observation(text="a button", admissible=("push button 1",))

    def parse(self, text: str) -> Action:
        return Action(text=text)

    def step(self, action: Action) -> Transition:
        seen = Observation(text="it clicks" if self.good else "smoke", admissible=("push button 1",))
        return Transition(observation=seen, reward=0.0, terminated=not self.good)

    def close(self) -> None:
        pass


PUSH = Skill(
    name="push",
    description="push <a>",
    parameters=("a",),
    steps=(SkillStep(action=("push ", 0), begins=("it clicks",)),),
    needs=(("push ", 0),),
)


@pytest.mark.parametrize(("works", "passed"), [(10, True), (9, True), (7, False), (0, False)])
def test_a_trial_finds_how_often_a_skill_works(works: int, passed: bool) -> None:
    world = Moody(works)
    tasks = [world.task("train", index) for index in range(60)]
    trial = verify_skill(PUSH, world, tasks, threshold=0.75)
    assert (trial.tries, trial.completed) == (60, 6 * works)
    assert trial.passed is passed
    assert trial.failures == ({} if works == 10 else {"step 1, push <a>, had another effect": 60 - 6 * works})


# --- all of it, on household errands -------------------------------------------------------------------------


def oracle_episodes(world: Household, count: int) -> list[Trajectory]:
    hosts = LocalHosts(world)
    jobs = jobs_of([world.task("train", index) for index in range(count)], group_size=1, prefix="d", seed=0)
    return rollout(hosts, demonstrator(hosts), jobs, sampling=Sampling(), limits=Limits(max_steps=50))


def work(world: Household, task: Task, skills: Sequence[Skill]) -> tuple[int, int, bool]:
    """An agent that knows what it wants: each decision is a skill that does the next actions of its plan, else one action."""
    env = world.make()
    seen, calls, steps = env.reset(task), 0, 0
    while True:
        here, plan = env.snapshot(), []
        while True:
            plan.append(env.oracle())
            if env.step(env.parse(plan[-1])).terminated:
                break
        env.restore(here)
        calls += 1
        for skill in skills:
            found = covers(skill, plan)
            if found is not None and applies(skill, task, seen, found[0]):
                result = run_skill(skill, env, task, seen, found[0])
                steps += len(result.taken)
                last = result.taken[-1][1]
                break
        else:
            last = env.step(env.parse(plan[0]))
            steps += 1
        seen = last.observation
        if last.terminated or last.truncated:
            return calls, steps, last.success is True


def test_skills_of_fifty_episodes_save_decisions_on_tasks_that_nobody_has_seen() -> None:
    world = Household()
    episodes = oracle_episodes(world, 50)
    fresh = [world.task("train", index) for index in range(100, 220)]
    with Memory.open() as memory:
        library = SkillLibrary(memory)
        for trial in learn_skills(episodes, world, fresh):
            library.admit(trial)
        skills = library.skills()
        assert library.search("heat something")[0].name.startswith("take_go_heat")
    assert 3 <= len(skills) <= 12
    heat = next(one for one in skills if "heat" in one.name)
    assert heat.description == (
        "take <a> from <b>; go to microwave 1; heat <a> with microwave 1; go to <c>; [open <c>]; move <a> to <c>"
    )
    assert heat.about == ("heat", "hot")
    tasks = [world.task("test", index) for index in range(40)]
    without = [work(world, task, ()) for task in tasks]
    with_skills = [work(world, task, skills) for task in tasks]
    assert all(solved for *_, solved in with_skills)
    assert sum(steps for _, steps, _ in with_skills) == sum(steps for _, steps, _ in without)
    saved = 1 - sum(calls for calls, *_ in with_skills) / sum(calls for calls, *_ in without)
    print(f"{saved:.0%} of the decisions saved")
    assert saved > 0.25


def test_what_does_not_work_elsewhere_is_not_learned() -> None:
    """Fetching is the start of every episode, but where the thing lies is not known: as a blind skill it fails its trial."""
    world = Household(errand="heat")
    episodes = oracle_episodes(world, 20)
    fresh = [world.task("train", index) for index in range(100, 140)]
    candidates = {one.name: one for one in mine(episodes)}
    assert not verify_skill(candidates["go_take"], world, fresh).passed
    assert verify_skill(candidates["take_go_heat"], world, fresh).passed
