from __future__ import annotations

import sys
from collections import Counter, deque
from dataclasses import replace
from random import Random
from subprocess import run

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.screengrid.apps import APPS, app_of
from everystep.environments.screengrid.boxes import ARRANGEMENTS, hit, overlap, spots_of
from everystep.environments.screengrid.kinds import HELD_OUT, KINDS, WORDS
from everystep.environments.screengrid.proposals import manual_of, proposals
from everystep.environments.screengrid.screen import State, look, right_spot, steps_left, tapped, view
from everystep.environments.screengrid.tasks import split_goal
from everystep.environments.screengrid.world import LONGEST_PLAN, ScreenGrid


@pytest.mark.parametrize(
    "world",
    [
        ScreenGrid(),
        ScreenGrid(points=True),
        ScreenGrid(holdout="families", length="any"),
        ScreenGrid(holdout="starts", horizon=30),
        ScreenGrid(apps="mail,files", length="hard"),
        ScreenGrid(apps="shop", kinds="buy,drop"),
    ],
)
def test_contract(world: ScreenGrid) -> None:
    report = check_environment(world)
    assert report.ok, format_report(report)


@pytest.mark.parametrize("points", [False, True])
def test_the_oracle_solves_every_family_in_the_steps_that_it_says(points: bool) -> None:
    world = ScreenGrid(points=points, holdout="starts", length="any")
    env = world.make()
    met: Counter[str] = Counter()
    for index in range(400):
        task = world.task("train", index)
        env.reset(task)
        steps = 0
        while True:
            result = env.step(env.parse(env.oracle()))
            steps += 1
            assert result.scores == {"closer": 1.0, "valid": 1.0, "stray": 0.0}
            if result.terminated:
                break
        assert result.success is True
        assert result.reward == 1.0
        assert str(steps) == task.tags["steps"]
        assert 2 <= steps <= LONGEST_PLAN
        met.update(task.tags["app"] + "." + kind for kind in task.tags["kind"].split("+"))
    assert set(met) == {f"{app}.{kind.name}" for app, kinds in KINDS.items() for kind in kinds}


def _search(state: State) -> int:
    """Return the actions of a shortest plan by breadth-first search over whole states."""
    queue, seen = deque([(state, 1)]), {(state.page, state.values)}
    while queue:
        here, steps = queue.popleft()
        if here.values == here.target:
            return steps
        for part in look(here).parts:
            if part is None:
                continue
            after = tapped(here, part)
            if (after.page, after.values) not in seen:
                seen.add((after.page, after.values))
                queue.append((after, steps + 1))
    raise AssertionError("no plan")


@pytest.mark.parametrize("app", APPS)
def test_plans_are_shortest_also_after_wrong_moves(app: str) -> None:
    world, random = ScreenGrid(apps=app, horizon=60, length="any"), Random(3)
    env = world.make()
    checked = 0
    for index in range(400):
        seen = env.reset(world.task("train", index))
        for _ in range(random.randrange(5)):
            assert seen.admissible is not None
            seen = env.step(
                Action(text=random.choice([one for one in seen.admissible if one != "done"]))
            ).observation
        state = env.snapshot().state
        if steps_left(state) <= 6:
            assert steps_left(state) == _search(state)
            checked += 1
        if checked == 25:
            break
    assert checked == 25


@pytest.mark.parametrize(("wrong", "horizon", "share"), [(1, 12, 0.95), (3, 40, 1.0)])
def test_wrong_moves_can_be_undone(wrong: int, horizon: int, share: float) -> None:
    world, random = ScreenGrid(horizon=horizon, length="any"), Random(5)
    env = world.make()
    solved = 0
    for index in range(200):
        seen = env.reset(world.task("test", index))
        for _ in range(wrong):
            assert seen.admissible is not None
            text = random.choice([one for one in seen.admissible if one != "done"])
            seen = env.step(Action(text=text)).observation
        while not ((result := env.step(env.parse(env.oracle()))).terminated or result.truncated):
            pass
        solved += result.success is True
    assert solved >= share * 200


def test_a_stray_change_fails_and_its_undoing_helps() -> None:
    world = ScreenGrid(apps="settings", kinds="turn_on,turn_off")
    env = world.make()
    task = world.task("train", 0)
    for undo in (False, True):
        env.reset(replace(task))
        while steps_left(env.snapshot().state) > 1:
            env.step(env.parse(env.oracle()))
        first = env.snapshot()
        seen = first.observation
        assert seen.admissible is not None
        wrong = seen.admissible[0]
        result = env.step(Action(text=wrong))
        assert result.scores == {"closer": 0.0, "valid": 1.0, "stray": 1.0}
        if undo:
            while (text := env.oracle()) != "done":
                assert env.step(Action(text=text)).scores["closer"] == 1.0
        result = env.step(Action(text="done"))
        assert (result.terminated, result.success, result.reward) == (True, undo, float(undo))


def test_anchors_are_equal_where_states_are() -> None:
    world, random = ScreenGrid(horizon=400), Random(1)
    env = world.make()
    for index in range(6):
        states: dict[str, State] = {}
        seen = env.reset(world.task("train", index))
        for _ in range(60):
            state = env.snapshot().state
            assert seen.anchor is not None
            assert states.setdefault(seen.anchor, state) == state
            assert seen.admissible is not None
            seen = env.step(
                Action(text=random.choice([one for one in seen.admissible if one != "done"]))
            ).observation
        assert len(set(map(repr, states.values()))) == len(states)


def test_what_is_shown_is_short_and_every_label_is_one_word() -> None:
    world, random = ScreenGrid(horizon=40), Random(2)
    env = world.make()
    for index in range(200):
        seen = env.reset(world.task("train", index))
        for _ in range(20):
            assert len(seen.text.split()) <= 40
            assert seen.admissible is not None
            assert 2 <= len(seen.admissible) <= 12
            assert all(len(one.split()) <= 2 for one in seen.admissible)
            seen = env.step(Action(text=random.choice(seen.admissible[:-1]))).observation


def test_a_held_out_family_is_never_trained() -> None:
    world = ScreenGrid(holdout="families", length="any")
    for split, wanted in (("train", 0), ("test", 1)):
        for index in range(200):
            task = world.task(split, index)
            held = set(task.tags["kind"].split("+")) & set(HELD_OUT[task.tags["app"]])
            assert min(len(held), 1) == wanted


def test_no_instruction_is_in_both_splits() -> None:
    world = ScreenGrid(length="any")
    goals = {
        split: {world.task(split, index).instruction for index in range(500)} for split in ("train", "test")
    }
    assert not goals["train"] & goals["test"]


def test_the_apps_are_drawn_alike() -> None:
    counts = Counter(ScreenGrid().task("train", index).tags["app"] for index in range(600))
    assert set(counts) == set(APPS)
    assert min(counts.values()) >= 60


def test_points_hit_boxes_and_nothing_else() -> None:
    for app in map(app_of, APPS):
        for page in range(len(app.pages)):
            for arrangement in range(ARRANGEMENTS):
                spots = spots_of(app, page, arrangement)
                for place, spot in enumerate(spots):
                    left, top, right, bottom = spot.box
                    assert 0 <= left < right < 1000
                    assert 0 <= top < bottom < 1000
                    for x, y in (spot.centre, (left, top), (right, bottom)):
                        assert hit(spots, x, y) == spot
                    assert all(overlap(spot.box, other.box) == 0 for other in spots[:place])
    assert overlap((0, 0, 9, 9), (0, 0, 9, 4)) == 0.5
    world = ScreenGrid(points=True)
    env = world.make()
    task = world.task("train", 0)
    assert env.reset(task).admissible is None
    state = env.snapshot().state
    x, y = right_spot(state).centre
    assert env.oracle() == f"click {x} {y}"
    missed = env.step(env.parse("click 0 0"))
    assert (missed.valid, missed.reason) == (False, "there is nothing at this point")
    for bad in ("click 1000 5", "click -1 5", "click 5", "tap back", "click ٣ ٣"):
        assert not env.parse(bad).valid
    assert env.step(env.parse(f"click {x} {y}")).scores["closer"] == 1.0


def test_the_arrangement_differs_between_tasks_only_with_points() -> None:
    seen = {points: set() for points in (False, True)}
    for points, boxes in seen.items():
        world = ScreenGrid(points=points, apps="shop", holdout="starts")
        env = world.make()
        for index in range(40):
            env.reset(world.task("train", index))
            boxes.add(view(env.snapshot().state).elements[-1].box)
    assert (len(seen[False]), len(seen[True])) == (1, ARRANGEMENTS)


def test_a_written_goal_becomes_a_task_or_is_refused_with_a_reason() -> None:
    world = ScreenGrid()
    for text, reason in {
        "buy a pear": "expected an app, a colon",
        "phone : call mum": "there is no app 'phone'",
        "settings : turn radar on": "settings has no switch 'radar'",
        "settings : choose theme west": "settings has no theme 'west'",
        "music : turn repeat on and turn repeat on": "",
        "shop : buy one pear and buy one lime and buy one milk": "a goal has one or two clauses",
        "shop : swap pear for pear": "cannot take its own place",
        "files : move map from docs to docs": "cannot move to where it is",
        "calendar : shift gym from noon on mon to noon": "cannot move to where it is",
        "mail : send": "mail cannot 'send'",
        "": "expected an app",
        "mail : " + "archive " * 10_000: "mail cannot",
    }.items():
        found = world.task_from(text)
        assert isinstance(found, str), found
        assert reason in found
    assert isinstance(ScreenGrid(apps="shop").task_from("mail : archive ann"), str)
    env = world.make()
    task = world.task_from("  files :  move map from  docs to work ")
    assert not isinstance(task, str)
    assert task.instruction == "files : move map from docs to work"
    assert task.split == "proposed"
    env.reset(task)
    while not (result := env.step(env.parse(env.oracle()))).terminated:
        pass
    assert result.success


def test_a_proposer_that_knows_the_app_proposes_what_can_be_done() -> None:
    world = ScreenGrid()
    for app in APPS:
        known = [world.task_from(text) for text in proposals(app, manual_of(app), count=40, seed=1)]
        guessed = [world.task_from(text) for text in proposals(app, count=40, seed=1)]
        shares = [sum(not isinstance(one, str) for one in tasks) / 40 for tasks in (known, guessed)]
        assert shares[0] >= 0.7
        assert 0 < shares[1] <= shares[0] - 0.2
        assert all(one.tags["app"] == app for one in known if not isinstance(one, str))
    assert proposals("mail", count=5, seed=1) == proposals("mail", count=5, seed=1)
    assert proposals("mail", count=5, seed=1) != proposals("mail", count=5, seed=2)
    part = "shop\npage drink : milk , tea"
    words = set(" ".join(proposals("shop", part, count=30, seed=0)).split())
    assert words & {"milk", "tea"}
    assert not words & {"apple", "soap", "wine"}


def test_the_manual_names_every_label() -> None:
    for app in APPS:
        told = set(manual_of(app).split())
        for page in app_of(app).pages:
            assert all(part.label in told for part in page.parts if part.label[0] != "#")


def test_a_tokenizer_of_the_texts_knows_every_word() -> None:
    world, random = ScreenGrid(points=True, horizon=40), Random(4)
    words = {word for text in world.texts() for word in text.split()}
    env = world.make()
    for index in range(60):
        task = world.task("test", index)
        seen = env.reset(task)
        assert set(task.instruction.split()) <= words
        for _ in range(15):
            assert {"".join(letters) for letters in seen.text.split()} <= words
            x, y = random.choice([spot.centre for spot in spots_of(env.snapshot().state.scene.app, 0)])
            result = env.step(Action(text=f"click {x} {y}"))
            if result.terminated or result.truncated:
                break
            seen = result.observation


def test_generated_goals_can_be_read_back() -> None:
    world = ScreenGrid(length="any")
    for index in range(100):
        task = world.task("test", index)
        found = split_goal(task.instruction)
        assert not isinstance(found, str)
        app, clauses = found
        assert app == task.tags["app"]
        assert all(
            word in WORDS[slot]
            for kind, slots in clauses
            for slot, word in zip(kind.slots, slots, strict=True)
        )
        again = world.task_from(task.instruction)
        assert not isinstance(again, str)
        assert again.tags["kind"] == task.tags["kind"]


def test_written_tasks_can_all_be_done() -> None:
    world = ScreenGrid()
    env = world.make()
    size = world.size("written")
    assert size is not None
    assert size >= 60
    told = set()
    for index in range(size):
        task = world.task("written", index)
        told.add(task.instruction)
        env.reset(task)
        while not (result := env.step(env.parse(env.oracle()))).terminated:
            pass
        assert result.success
        assert isinstance(split_goal(task.instruction), str)
    assert len(told) == size
    with pytest.raises(ConfigError, match="split 'written' has indices 0 to"):
        world.task("written", size)
    assert ScreenGrid(apps="shop").task("written", 0).tags["app"] == "shop"


def test_bad_options_and_tasks_are_named() -> None:
    with pytest.raises(ConfigError, match=r"option 'apps' has no 'shops'. Did you mean 'shop'"):
        ScreenGrid(apps="shops")
    with pytest.raises(ConfigError, match="none of the kinds 'buy'"):
        ScreenGrid(apps="mail", kinds="buy")
    with pytest.raises(ConfigError, match="no task was found"):
        ScreenGrid(kinds="stop", length="hard").task("train", 0)
    with pytest.raises(ConfigError, match="'horizon' is 3"):
        ScreenGrid(horizon=3)
    world = ScreenGrid()
    with pytest.raises(WorldError, match="cannot be read"):
        world.make().reset(replace(world.task("train", 0), reference=None))


@pytest.mark.parametrize(
    "state",
    [{"page": 99}, {"page": -1}, {"values": [0]}, {"values": "x"}, {"values": [9] * 15}, {"scene": 1}],
)
def test_a_state_that_does_not_fit_is_refused(state: dict[str, object]) -> None:
    world = ScreenGrid(apps="settings")
    with pytest.raises(WorldError, match="no state of task"):
        world.make().load(world.task("train", 0), {"state": state})  # type: ignore[dict-item]


def test_the_world_needs_no_numpy() -> None:
    code = "import sys; from everystep.environments.screengrid.world import ScreenGrid; ScreenGrid().task('train', 0); assert 'numpy' not in sys.modules"
    run([sys.executable, "-c", code], check=True)
