from __future__ import annotations

import math

import pytest

from everystep.core.errors import ConfigError
from everystep.environments.check import check_environment, format_report
from everystep.environments.published import source_folder
from everystep.environments.web.webshop import BUY, WebShop, clickables
from everystep.environments.web.webshop_catalog import Goal, bought, goal_of, load_catalog

WORLDS = [WebShop(), WebShop(listed=True, words=6)]


@pytest.mark.parametrize("world", WORLDS)
def test_contract(world: WebShop) -> None:
    report = check_environment(world)
    assert report.ok, format_report(report)


def _oracle(world: WebShop, split: str, index: int) -> tuple[float, int]:
    env = world.make()
    seen = env.reset(world.task(split, index))
    for steps in range(1, world.max_steps + 1):
        text = env.oracle()
        if world.listed:
            assert text in (seen.admissible or ())
        result = env.step(env.parse(text))
        assert result.valid, result.reason
        seen = result.observation
        if result.terminated:
            assert result.success is True
            return result.reward, steps
    raise AssertionError(f"not bought: {world.task(split, index)}")


@pytest.mark.parametrize("world", WORLDS)
def test_the_oracle_buys_what_is_asked_for(world: WebShop) -> None:
    for split in ("train", "test"):
        for index in range(world.size(split)):
            assert _oracle(world, split, index)[0] == 1.0


@pytest.mark.skipif(source_folder("webshop") is None, reason="EVERYSTEP_DATA is not set")
def test_the_published_products() -> None:
    world = WebShop(data="published")
    assert world.size("train") + world.size("test") == 415
    assert len(load_catalog("published").ids) == 1000
    for index in range(world.size("test")):
        assert _oracle(world, "test", index)[0] == 1.0


def test_no_product_is_in_two_splits() -> None:
    world = WebShop()
    names = [
        {world.task(split, i).reference for i in range(world.size(split))} for split in ("train", "test")
    ]
    assert not names[0] & names[1]


def _goal(options: int) -> Goal:
    catalog = load_catalog("sample")
    goals = [goal_of(catalog, place, 1) for place in range(len(catalog.wanted))]
    return next(one for one in goals if len(one.options) == options and len(one.attributes) > 1)


def test_the_reward_is_the_published_product() -> None:
    goal = _goal(1)
    parts = len(goal.attributes) + 2
    right = bought(goal.product, dict(goal.options), goal)
    assert right.reward == 1.0
    without = bought(goal.product, {}, goal)
    assert without.options == 0.0
    assert without.reward == pytest.approx((parts - 1) / parts)
    dear = Goal(
        product=goal.product, attributes=goal.attributes, options=goal.options, price=0.01, instruction=""
    )
    assert bought(goal.product, dict(goal.options), dear).reward == pytest.approx((parts - 1) / parts)
    others = [
        one for one in load_catalog("sample").products.values() if one.category != goal.product.category
    ]
    for other in others:
        result = bought(other, {}, goal)
        assert result.reward <= result.type
        assert result.reward < 1.0


def test_a_search_finds_a_title_and_ranks_by_rare_words() -> None:
    catalog = load_catalog("sample")
    for product in list(catalog.products.values())[::7]:
        assert catalog.search(product.title)[0] == product.id
    assert catalog.search("qqqq zzzz") == ()


def test_what_cannot_be_done_says_why() -> None:
    env = WebShop().make()
    env.reset(WebShop().task("train", 0))
    for text, why in (
        ("click[buy now]", "no button"),
        ("search[]", "1 to 300"),
        ("search[qqqq]", "nothing was found"),
        ("buy it", "expected search"),
        ("search[" + "a" * 5000 + "]", "expected search"),
    ):
        result = env.step(env.parse(text))
        assert not result.valid
        assert why in (result.reason or "")
    assert env.step(env.parse("think[a hat]")).observation.text.startswith("OK.")


def test_an_option_can_be_chosen_again() -> None:
    world = WebShop()
    env = world.make()
    for index in range(world.size("train")):
        task = world.task("train", index)
        if task.tags["options"] == "0":
            continue
        env.reset(task)
        env.step(env.parse(env.oracle()))
        while env.snapshot().state.item == "":
            env.step(env.parse(env.oracle()))
        goal = env.snapshot().state.goal
        wrong = [one for one in goal.product.options[goal.options[0][0]] if one != goal.options[0][1]]
        if wrong:
            env.step(env.parse(f"click[{wrong[0]}]"))
            assert BUY in clickables(env.snapshot().state)
            while not (result := env.step(env.parse(env.oracle()))).terminated:
                pass
            assert result.reward == 1.0
            return
    raise AssertionError("no product of the sample has two values of an option")


def test_prices_asked_for_are_above_the_product() -> None:
    catalog = load_catalog("sample")
    for place in range(len(catalog.wanted)):
        goal = goal_of(catalog, place, place)
        assert goal.price > goal.product.price
        assert math.isinf(goal.price) or f"{goal.price:.2f}" in goal.instruction


def test_missing_data_says_where_it_comes_from(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="princeton-nlp/WebShop"):
        WebShop(data=str(tmp_path)).size("train")
