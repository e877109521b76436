"""BabyAI in text: the contract, what the agent sees against the engine's own view, the oracle, the limits."""

from __future__ import annotations

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Sampling
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report
from everystep.environments.places.babyai import VIEW_AHEAD, VIEW_ASIDE, BabyAI
from everystep.run.demonstrate import demonstrator
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout


@pytest.mark.parametrize("options", [{}, {"style": "plain"}, {"level": "PickupLoc", "max_steps": 64}])
def test_it_keeps_the_contract(options: dict[str, object]) -> None:
    report = check_environment(BabyAI(reward="success", **options), tasks=2)  # type: ignore[arg-type]
    assert report.ok, format_report(report)


def test_the_levels_own_reward_depends_on_the_time_and_the_checker_says_so() -> None:
    assert check_environment(BabyAI(max_steps=30), tasks=2).broken == ("anchors are states",)


@pytest.mark.parametrize("level", ["GoToLocal", "GoToLocalS6N2", "GoTo", "Open"])
def test_the_text_shows_what_the_engine_shows(level: str) -> None:
    world = BabyAI(level=level, max_steps=40)
    environment = world.make()
    for index in range(8):
        environment.reset(world.task("train", index))
        for move in ("left", "forward", "right", "forward", "forward"):
            grid = environment._now.grid
            view, mask = grid.gen_obs_grid()
            seen = {
                (VIEW_AHEAD - 1 - y, x - VIEW_ASIDE, item.color, item.type)
                for x in range(7)
                for y in range(7)
                if (item := view.get(x, y))
                and item.type in ("ball", "box", "key", "door")
                and mask[x, y]
                and (x, y) != (VIEW_ASIDE, VIEW_AHEAD - 1)
            }
            assert set(environment._visible()) == seen
            if environment.step(Action(text=move)).terminated:
                break


def test_the_bot_solves_rooms_and_a_habit_makes_it_clumsy() -> None:
    world = BabyAI(level="GoToLocal", max_steps=64)
    hosts = LocalHosts(world)
    jobs = jobs_of([world.task("train", index) for index in range(40)], group_size=1, prefix="o", seed=0)
    play = {"sampling": Sampling(), "limits": Limits(max_steps=64)}
    solved = rollout(hosts, demonstrator(hosts), jobs, **play)  # type: ignore[arg-type]
    assert sum(one.success is True for one in solved) >= 38
    clumsy = rollout(hosts, demonstrator(hosts, error_rate=0.9, habit="forward"), jobs, **play)  # type: ignore[arg-type]
    moves = [step.action.text for one in clumsy for step in one.steps]
    assert moves.count("forward") / len(moves) > 0.8


def test_reward_is_the_levels_own_and_the_limit_fails_the_episode() -> None:
    world = BabyAI(max_steps=3)
    environment = world.make()
    environment.reset(world.task("train", 0))
    for move in ("left", "left", "left"):
        last = environment.step(environment.parse(move))
    assert (last.terminated, last.success, last.reward) == (True, False, 0.0)
    with pytest.raises(WorldError, match="over"):
        environment.step(environment.parse("left"))
    hosts = LocalHosts(BabyAI(max_steps=20))
    jobs = jobs_of([BabyAI(max_steps=20).task("train", 3)], group_size=1, prefix="r", seed=0)
    (done,) = rollout(hosts, demonstrator(hosts), jobs, sampling=Sampling(), limits=Limits(max_steps=20))
    assert done.outcome == pytest.approx(1 - 0.9 * len(done.steps) / 20)


def test_wrong_levels_and_splits_are_named() -> None:
    with pytest.raises(ConfigError, match="GoToRedBall"):
        BabyAI(level="GoToRedBal")
    with pytest.raises(ConfigError, match="split"):
        BabyAI().task("valid", 0)
    with pytest.raises(ConfigError, match="compact"):
        BabyAI(style="compct")
