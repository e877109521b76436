"""Local web sites in a real browser: the known way solves every goal, what is hostile is refused, a dead browser costs one episode."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Observation
from everystep.environments.check import check_environment, format_report
from everystep.environments.web.site import links, page_at, route
from everystep.environments.web.sites import GOALS, SITES, Browser, WebSites, goal_names, made
from everystep.run.hosts import LocalHosts
from everystep.tools.axprune import page_text, prune
from everystep.tools.axtree import nodes_of, raw_text
from everystep.tools.chromium import NAMES

with_browser = pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="there is no Chromium here")


@pytest.fixture
def env() -> Iterator[Browser]:
    made = WebSites().make()
    yield made
    made.close()


def begun(env: Browser, goal: str, index: int = 0, **options: str) -> Observation:
    world = WebSites(goal=goal, **options)  # type: ignore[arg-type]
    env._world = world
    return env.reset(world.task("test", index))


def play(env: Browser, limit: int = 20) -> tuple[bool | None, int]:
    for number in range(1, limit + 1):
        told = env.step(env.parse(env.oracle()))
        assert told.valid, told.reason
        if told.terminated:
            return told.success, number
    return None, limit


def shown(env: Browser, role: str, name: str) -> int:
    return next(number for number, one in env._shown.items() if (one.role, one.name) == (role, name))


# --- without a browser ------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
def test_every_link_of_a_site_leads_to_a_page(site: str) -> None:
    for goal in GOALS[site]:
        built, _ = made(goal, "links")
        state = built.begin()
        known, queue = {"/"}, ["/"]
        while queue:
            html = page_at(built, state, queue.pop())
            assert html is not None
            for one in links(html):
                if one not in known:
                    known.add(one)
                    queue.append(one)
        assert len(known) > 4


def test_goals_have_the_names_that_are_listed_and_differ_from_seed_to_seed() -> None:
    for goal in goal_names():
        texts = {made(goal, str(seed))[1].text for seed in range(8)}
        assert made(goal, "0")[1].kind == goal
        assert len(texts) > 1, goal


def test_a_way_is_a_shortest_one() -> None:
    built, _ = made("shop price", "0")
    assert route(built, built.begin(), "/", "/c/lamps?page=3") == ("/c/lamps", "/c/lamps?page=3")
    assert route(built, built.begin(), "/", "/nowhere") is None


@pytest.mark.parametrize("path", ["/nowhere", "/p/999", "/p/x", "/c/x", "/t/1", "/c/lamps/x"])
def test_what_a_site_does_not_have_is_no_page(path: str) -> None:
    built, _ = made("shop price", "0")
    assert built.page(built.begin(), path, {}) is None


def test_forms_refuse_what_they_do_not_offer() -> None:
    shop, _ = made("shop order", "0")
    for given in ({}, {"item": "0"}, {"item": "0", "quantity": "9"}, {"item": "-1", "quantity": "1"}, {"item": "²", "quantity": "1"}):  # fmt: skip
        try:
            told = shop.post(shop.begin(), "/add", given)
        except ValueError:
            pytest.fail(f"{given} raised")
        assert told is None
    assert shop.post(shop.begin(), "/order", {}) is None


@pytest.mark.parametrize(
    ("option", "value"),
    [("site", "bank"), ("observation", "picture"), ("history", "some"), ("goal", "shop x")],
)
def test_an_unknown_option_is_refused(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=option):
        WebSites(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "click", "click 3", "click [0]", "click [x]", "click [3] [4]", "type [3]", "type [3] [a\x00]", "stop", "go_forward", "branch [0]", "prune [] [x]",
     "click [3]\nclick [4]", "seen [x]", "CLICK [3]", "click [\u0661]", "note []", "x" * 3000],
)  # fmt: skip
def test_what_is_no_action_is_refused_with_a_reason(text: str) -> None:
    action = WebSites().make().parse(text)
    assert not action.valid
    assert action.reason


def test_lines_before_an_action_are_read() -> None:
    action = WebSites().make().parse("seen [a list]\nkeep [3] [5]\ntype [4] [a [b] c]")
    assert action.calls[0].name == "type"
    assert action.calls[0].arguments["text"] == "a [b] c"
    assert action.calls[0].arguments["keep"] == " [3] [5]"


# --- in a browser -----------------------------------------------------------------------------------


@with_browser
@pytest.mark.parametrize("goal", ["shop cheapest", "forum vote", "wiki people", "account language"])
def test_the_known_way_solves(env: Browser, goal: str) -> None:
    begun(env, goal)
    assert play(env)[0] is True


@with_browser
@pytest.mark.parametrize("observation", ["raw", "lines", "pruned_roles"])
def test_the_known_way_does_not_depend_on_what_is_shown(env: Browser, observation: str) -> None:
    begun(env, "shop two", observation=observation)
    assert play(env)[0] is True


@with_browser
def test_the_pruned_page_is_shorter_and_holds_every_control(env: Browser) -> None:
    begun(env, "forum answer")
    env.step(env.parse(env.oracle()))
    short = prune(env.tree)
    assert 3 * len(page_text(short)) < len(raw_text(env.tree))
    assert {one.name for one in nodes_of(env.tree) if one.role in ("textbox", "button")} == {
        one.name for one in nodes_of(short) if one.role in ("textbox", "button")
    }


@with_browser
def test_a_wrong_answer_and_a_wrong_state_fail(env: Browser) -> None:
    begun(env, "wiki founded")
    told = env.step(env.parse("stop [1234567]"))
    assert (told.terminated, told.success, told.reward) == (True, False, 0.0)
    begun(env, "account cancel")
    assert env.step(env.parse("stop [done]")).success is False


@with_browser
def test_what_cannot_be_done_is_refused_and_nothing_happens(env: Browser) -> None:
    seen = begun(env, "account email")
    link = next(one.id for one in nodes_of(env.tree) if one.role == "link")
    for text in ("click [99999]", f"type [{link}] [x]", "go_back", "prune [7] [x]", "branch [3] [x]"):
        told = env.step(env.parse(text))
        assert not told.valid
        assert told.reason
        assert told.observation.text == f"refused: {told.reason}\n{seen.text}"
        assert told.observation.anchor == seen.anchor


@with_browser
def test_an_option_that_is_not_there_is_named_with_those_that_are(env: Browser) -> None:
    begun(env, "account language")
    env.step(env.parse(env.oracle()))
    number = shown(env, "combobox", "Language")
    told = env.step(env.parse(f"type [{number}] [Klingon]"))
    assert told.reason == "it has no option 'Klingon'; it has: English, German, French, Spanish, Dutch"


@with_browser
def test_typed_text_is_text_and_no_code(env: Browser) -> None:
    begun(env, "forum answer")
    while not env._address.startswith("/t/"):
        env.step(env.parse(env.oracle()))
    hostile = """<script>document.title='x'</script>" & %41 ü"""
    box = shown(env, "textbox", "Your answer")
    env.step(env.parse(f"type [{box}] [{hostile}]"))
    env.step(env.parse(f"click [{shown(env, 'button', 'Send answer')}]"))
    assert env._server.state.answers[0][1] == hostile
    assert hostile in env._text.replace("\\'", "'")


@with_browser
def test_prune_goes_back_to_where_the_goal_was_begun(env: Browser) -> None:
    begun(env, "shop dearest", history="active")
    home = env._text
    env.step(env.parse("branch [0] [look at a department]"))
    env.step(env.parse(env.oracle()))
    env.step(env.parse("note [it has pages]"))
    seen = env.step(env.parse(env.oracle())).observation.text
    assert "note: it has pages" in seen
    assert seen.count("\n1. ") == 1
    told = env.step(env.parse("prune [0] [not there]")).observation.text
    assert env._address == "/"
    assert env._text == home
    assert re.search(r"\[0\] .* \(active\) \(came back: not there\)", told)
    assert "look at a department" not in told.split("before:")[0]
    assert play(env)[0] is True


@with_browser
def test_history_of_all_steps_is_longer_than_that_of_the_active_goal(env: Browser) -> None:
    texts = {}
    for history in ("none", "active", "all"):
        begun(env, "shop dearest", history=history)
        for _ in range(3):
            env.step(env.parse(env.oracle()))
        texts[history] = env.step(env.parse("branch [0] [the colour]")).observation.text
    assert len(texts["none"]) == len(texts["active"]) < len(texts["all"])


@with_browser
def test_a_killed_browser_costs_one_episode() -> None:
    world = WebSites(goal="wiki founded", timeout_s=10)
    hosts = LocalHosts(world)
    task = world.task("test", 0)
    assert isinstance(hosts.start([("a", task)])[0], Observation)
    (env,) = hosts._live.values()
    assert isinstance(env, Browser)
    os.killpg(env._held[0].pid, signal.SIGKILL)
    (lost,) = hosts.act([("a", "go_home")])
    assert isinstance(lost, WorldError)
    assert isinstance(hosts.start([("b", task)])[0], Observation)
    (told,) = hosts.act([("b", "stop [x]")])
    assert not isinstance(told, WorldError)
    assert told.transition.success is False
    hosts.close()


@with_browser
@pytest.mark.slow
def test_every_goal_is_solved_by_the_known_way_on_both_splits(env: Browser) -> None:
    world = WebSites()
    env._world = world
    for split in ("train", "test"):
        for index in range(2 * len(goal_names())):
            env.reset(world.task(split, index))
            assert play(env)[0] is True, (split, index)


@with_browser
@pytest.mark.slow
def test_contract() -> None:
    report = check_environment(WebSites(), tasks=1)
    assert report.ok, format_report(report)
