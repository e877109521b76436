"""MiniWoB++ in a real browser: what is listed can be acted on, hostile text is refused, a dead browser costs one episode."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.records import Observation
from everystep.environments.check import check_environment, format_report
from everystep.environments.web.miniwob import Browser, MiniWoB, names
from everystep.environments.web.miniwob_script import SOLVED
from everystep.run.hosts import LocalHosts
from everystep.tools.chromium import NAMES

if find_spec("miniwob") is None:
    pytest.skip("the package miniwob is not installed", allow_module_level=True)
if not any(map(shutil.which, NAMES)):
    pytest.skip("there is no Chromium here", allow_module_level=True)


@pytest.fixture
def opened() -> Iterator[Browser]:
    env = MiniWoB().make()
    yield env
    env.close()


def begun(env: Browser, page: str, index: int = 0) -> Observation:
    world = MiniWoB(page=page)
    env._world = world
    return env.reset(world.task("test", index))


def test_there_are_130_pages_and_the_script_knows_pages_only() -> None:
    assert len(names()) == 130
    assert set(SOLVED) <= set(names())


@pytest.mark.parametrize(
    "page", ["click-checkboxes", "click-tab-2", "enter-date", "form-sequence", "drag-shapes", "use-slider"]
)
def test_the_script_solves(opened: Browser, page: str) -> None:
    begun(opened, page)
    for _ in range(30):
        told = opened.step(opened.parse(opened.oracle()))
        if told.terminated:
            break
    assert (told.terminated, told.success, told.reward) == (True, True, 1.0)


def test_a_wrong_click_is_a_failed_episode(opened: Browser) -> None:
    seen = begun(opened, "click-test-2")
    asked = "ONE" if "button ONE" in seen.text.splitlines()[0] else "TWO"
    number = next(
        line.split()[0]
        for line in seen.text.splitlines()[1:]
        if "button" in line and f'"{asked}"' not in line
    )
    told = opened.step(opened.parse(f"click {number}"))
    assert (told.terminated, told.success) == (True, False)
    assert told.reward < 0


@pytest.mark.parametrize(
    "text",
    ["", "click", "click 0", "click 99999", "click 1 2", "CLICK 1", "type x y", "press Power", "press Enter 0", "point 1", "drag 1 to", "scroll 1 left",
     "click 1\nclick 2", "type 1 \x00", "<script>", "select 1 ", "click \u0661"],
)  # fmt: skip
def test_what_is_no_action_is_refused_with_a_reason(text: str) -> None:
    action = MiniWoB().make().parse(text)
    assert not action.valid
    assert action.reason


def test_what_cannot_be_done_is_refused_and_nothing_happens(opened: Browser) -> None:
    seen = begun(opened, "enter-text")
    for text in ("click 900", "type 2 x", "select 1 x", "drag 1 to 900"):
        told = opened.step(opened.parse(text))
        assert not told.valid
        assert told.reason
        assert told.observation.text.split("\n", 1)[1] == seen.text


def test_typed_text_is_text_and_no_code(opened: Browser) -> None:
    begun(opened, "enter-text")
    hostile = """'); core.endEpisode(1) //"</script>"""
    told = opened.step(opened.parse(f"type 1 {hostile}"))
    assert not told.terminated
    assert opened._list[0]["value"] == hostile


def test_a_killed_browser_costs_one_episode() -> None:
    world = MiniWoB(page="click-test", timeout_s=10)
    hosts = LocalHosts(world)
    task = world.task("test", 0)
    assert isinstance(hosts.start([("a", task)])[0], Observation)
    (env,) = hosts._live.values()
    assert isinstance(env, Browser)
    os.killpg(env._held[0].pid, signal.SIGKILL)
    (lost,) = hosts.act([("a", "click 1")])
    assert isinstance(lost, WorldError)
    assert isinstance(hosts.start([("b", task)])[0], Observation)
    (told,) = hosts.act([("b", "click 1")])
    assert not isinstance(told, WorldError)
    assert told.transition.success
    hosts.close()


def test_a_hung_page_is_ended_in_time(opened: Browser) -> None:
    begun(opened, "click-test")
    page = opened._held[0]
    page.timeout_s = 1.0
    with pytest.raises(WorldError, match="did not answer in time"):
        page.evaluate("(() => { for (;;) {} })()")
    assert not page.usable
    assert begun(opened, "click-test").text.startswith("task: ")


def test_a_missing_browser_says_what_to_do() -> None:
    world = MiniWoB(page="click-test", browser="/nowhere/chromium")
    with pytest.raises(ConfigError, match="apt-get install chromium"):
        world.make().reset(world.task("test", 0))


@pytest.mark.slow
def test_contract() -> None:
    report = check_environment(MiniWoB(page="click-test-2"), tasks=1)
    assert report.ok, format_report(report)


@pytest.mark.parametrize("page", ["email-inbox-forward", "click-checkboxes", "use-slider"])
def test_pruned_pages_have_the_same_numbers_and_the_script_goes_on(opened: Browser, page: str) -> None:
    opened._world = MiniWoB(page=page, observation="pruned")
    seen = opened.reset(opened._world.task("test", 0))
    for _ in range(30):
        action = opened.oracle()
        if action.split()[0] in ("click", "type"):
            assert f"[{action.split()[1]}]" in seen.text
        told = opened.step(opened.parse(action))
        seen = told.observation
        if told.terminated:
            break
    assert told.success is True


def test_a_raw_page_is_longer_than_a_pruned_one_and_shows_no_frame(opened: Browser) -> None:
    texts = {}
    for form in ("raw", "pruned", "lines"):
        opened._world = MiniWoB(page="click-button", observation=form)
        texts[form] = opened.reset(opened._world.task("test", 0)).text
        assert "Last reward" not in texts[form]
    assert len(texts["raw"]) > 2 * len(texts["pruned"])


def test_an_unknown_observation_is_refused() -> None:
    with pytest.raises(ConfigError, match="pruned"):
        MiniWoB(observation="prunes")
