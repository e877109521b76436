"""TextWorldExpress and ScienceWorld in their Java engines: published ways lead to the whole score, episodes repeat, a lost engine costs one episode at most."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("py4j") is None or find_spec("textworld_express") is None or find_spec("scienceworld") is None:
    pytest.skip("the packages textworld-express and scienceworld are not installed", allow_module_level=True)
if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
    pytest.skip("there is no Java here", allow_module_level=True)

from py4j.java_gateway import GatewayParameters, JavaGateway

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Transition
from everystep.environments.check import check_environment, format_report
from everystep.environments.places import scienceworld, textworld_express
from everystep.environments.places.scienceworld import VARIATIONS, ScienceWorld
from everystep.environments.places.text_game import TextGame
from everystep.environments.places.textworld_express import FOLDS, GAMES, SEEDS, TextWorldExpress
from everystep.run.hosts import LocalHosts
from everystep.tools import java
from everystep.tools.java import Machine, hold, let_go, running


@pytest.fixture(scope="module")
def science() -> Iterator[Machine]:
    kind = (ScienceWorld().jar, 60.0, 0)
    yield hold(kind, -1)  # it starts in seconds: all tests of this file share one
    let_go(kind, -1)


@pytest.fixture
def before() -> set[int]:
    """The machines that other tests left; none of TextWorldExpress is among them."""
    gc.collect()
    let_go((TextWorldExpress().jar, 60.0, 0), -1)
    return set(running())


def finished(env: TextGame) -> Transition:
    while True:
        told = env.step(env.parse(env.oracle()))
        assert told.valid, told.reason
        if told.terminated or told.truncated:
            return told


def gone(pid: int, within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


# --- TextWorldExpress -----------------------------------------------------------------------------


def test_the_published_ways_of_all_games_win_and_instructions_are_the_engines() -> None:
    world = TextWorldExpress(game="all", horizon=200)
    env = world.make()
    for index in range(len(GAMES)):
        task = world.task("test", index)
        first = env.reset(task)
        assert first.text.startswith("task: ") == (
            task.tags["game"] == "mapreader"
        )  # elsewhere the instruction says it
        told = finished(env)
        assert (told.terminated, told.success, told.scores["score"]) == (True, True, 1.0)
    env.close()


def test_folds_are_the_packages() -> None:
    world = TextWorldExpress(held_out="dev")
    assert world.size("train") == world.size("test") == SEEDS
    machine = Machine(world.jar)
    engine = machine.make("textworldexpress.runtime.PythonInterface")
    engine.load("coin", "")
    for fold, seeds in (("train", engine.getSeedsTrain()), ("dev", engine.getSeedsDev()), ("test", engine.getSeedsTest())):  # fmt: skip
        assert list(seeds) == list(range(FOLDS[fold], FOLDS[fold] + SEEDS))
    machine.close()
    assert world.place(world.task("test", 7).seed) == ("coin", "dev", 10_007)
    assert world.place(world.task("train", 7).seed) == ("coin", "train", 7)


@pytest.mark.parametrize("game", ["simonsays"])
def test_contract(game: str) -> None:
    report = check_environment(TextWorldExpress(game=game), tasks=1)
    assert report.ok, format_report(report)


@pytest.mark.slow
@pytest.mark.parametrize("game", sorted(set(GAMES) - {"simonsays"}))
def test_contract_of_the_other_games(game: str) -> None:
    report = check_environment(TextWorldExpress(game=game, horizon=200), tasks=1)
    assert report.ok, format_report(report)


@pytest.mark.parametrize(("game", "machines"), [("coin", 1), ("sorting", 3)])
def test_episodes_of_one_task_side_by_side_do_not_touch_each_other(
    before: set[int], game: str, machines: int
) -> None:
    world = TextWorldExpress(game=game)
    envs = [world.make() for _ in range(3)]
    first = [env.reset(world.task("test", 0)) for env in envs]
    assert first[0] == first[1] == first[2]
    assert len(set(running()) - before) == machines  # those of sorting keep things in a place that is shared
    over: set[int] = set()
    for turn in range(100):
        for number, env in enumerate(envs):
            if number not in over and turn >= number:  # each begins a turn after the one before it
                told = env.step(env.parse(env.oracle()))
                if told.terminated:
                    assert told.success
                    over.add(number)
    assert over == {0, 1, 2}
    for env in envs:
        env.close()
    assert set(running()) == before


def test_what_is_not_listed_is_refused_and_nothing_happens() -> None:
    world = TextWorldExpress()
    env = world.make()
    seen = env.reset(world.task("test", 0))
    assert seen.admissible is not None
    assert list(seen.admissible) == sorted(set(seen.admissible))
    for text in ("", "take the coin now", "move east\nmove east", "x" * 1000, "\x00", "\ud800"):
        told = env.step(env.parse(text))
        assert not told.valid
        assert told.reason
        assert told.observation.anchor == seen.anchor
    env.close()


# --- engines that end -----------------------------------------------------------------------------


def test_a_killed_engine_costs_nothing_between_steps_and_none_is_left_after_close(before: set[int]) -> None:
    world = TextWorldExpress(game="coin")
    envs = [world.make() for _ in range(2)]
    for env in envs:
        env.reset(world.task("test", 0))
        env.step(env.parse(env.oracle()))
    (pid,) = set(running()) - before
    os.kill(pid, signal.SIGKILL)
    while set(running()) - before:
        time.sleep(0.01)
    for env in envs:
        assert finished(env).success
    (second,) = set(running()) - before
    assert second != pid
    for env in envs:
        env.close()
    assert set(running()) == before
    assert gone(pid)
    assert gone(second)


def test_a_hung_engine_costs_the_episode_that_waits_for_it(before: set[int]) -> None:
    world = TextWorldExpress(game="coin", timeout_s=4.0)
    hosts = LocalHosts(world)
    task = world.task("test", 0)
    hosts.start([("a", task), ("b", task)])
    (pid,) = set(running()) - before
    os.kill(pid, signal.SIGSTOP)
    while {
        one.read_text().rsplit(")", 1)[1].split()[0] for one in Path(f"/proc/{pid}/task").glob("*/stat")
    } != {"T"}:
        time.sleep(0.01)
    lost, told = hosts.act([("a", "look around"), ("b", "look around")])
    assert isinstance(lost, WorldError)
    assert "did not answer" in str(lost)
    assert not isinstance(told, WorldError)
    assert told.transition.valid
    assert gone(pid)
    hosts.close()
    assert set(running()) == before


def test_no_engine_outlives_a_killed_process() -> None:
    code = (
        "from everystep.environments.places.textworld_express import TextWorldExpress as T; from everystep.tools.java import running; import time; "
        "env = T().make(); env.reset(T().task('test', 0)); print(*running(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert not gone(pid, 0.1)
        process.kill()
    assert gone(pid)


def test_it_listens_on_the_loopback_only_and_wants_the_secret(before: set[int]) -> None:
    world = TextWorldExpress()
    env = world.make()
    env.reset(world.task("test", 0))
    (pid,) = set(running()) - before
    if not Path("/proc/net/tcp6").exists():
        pytest.skip("there is no /proc/net here")
    inodes = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()}
    rows = [
        row.split()
        for name in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    mine = [row[1] for row in rows if f"socket:[{row[9]}]" in inodes and row[3] == "0A"]
    addresses = [one.split(":")[0] for one in mine]
    assert len(addresses) == 1
    assert addresses[0] in (
        "0100007F",
        "0000000000000000FFFF00000100007F",
        "00000000000000000000000001000000",
    )
    stranger = JavaGateway(gateway_parameters=GatewayParameters(port=int(mine[0].split(":")[1], 16)))
    with pytest.raises(Exception, match=r".*"):
        stranger.jvm.java.lang.System.currentTimeMillis()
    assert finished(env).success
    env.close()


def test_what_is_missing_is_one_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    java.executable.cache_clear()
    for cls in (TextWorldExpress, ScienceWorld):
        with pytest.raises(ConfigError, match="apt-get install"):
            cls()
    monkeypatch.undo()
    java.executable.cache_clear()
    with pytest.raises(ConfigError, match="pip install"):
        java.jar_of("everystep_no_such_package", "x.jar", textworld_express.INSTALL)
    with pytest.raises(ConfigError, match="cookingworld"):
        TextWorldExpress(game="cookingword")
    with pytest.raises(ConfigError, match="choose one"):
        TextWorldExpress(game="all", params="numLocations=3")
    with pytest.raises(ConfigError, match="melt"):
        ScienceWorld(task_type="mel")
    with pytest.raises(ConfigError, match="openDoors"):
        ScienceWorld(simpler="openDoor")


# --- ScienceWorld ---------------------------------------------------------------------------------


def test_folds_of_scienceworld_are_the_packages(science: Machine) -> None:
    engine = science.make("scienceworld.runtime.pythonapi.PythonInterface")
    assert science.lines("", engine.getTaskNames) == sorted(VARIATIONS)
    assert sum(map(sum, VARIATIONS.values())) == 7207
    for name in ("boil", "find-plant", "identify-life-stages-2", "mendelian-genetics-unknown-plant"):
        engine.load(name, 0, "", False)
        folds = [
            list(one)
            for one in (engine.getVariationsTrain(), engine.getVariationsDev(), engine.getVariationsTest())
        ]
        assert tuple(map(len, folds)) == VARIATIONS[name]
        assert [one for fold in folds for one in fold] == list(range(sum(VARIATIONS[name])))
        world = ScienceWorld(task_type=name)
        assert [
            world.place("test", world.task("test", index).seed)[1] for index in range(world.size("test"))
        ] == folds[2]
    assert ScienceWorld().size("test") == 1819


@pytest.mark.usefixtures("science")
@pytest.mark.parametrize(
    "name", ["lifespan-longest-lived", "find-non-living-thing", "power-component", "test-conductivity"]
)
def test_published_ways_of_scienceworld_get_the_whole_score(name: str) -> None:
    world = ScienceWorld(task_type=name)
    env = world.make()
    first = env.reset(world.task("test", 0))
    assert first.text.startswith("task: Your task is to ")
    told = finished(env)
    assert (told.terminated, told.success, told.scores["score"]) == (True, True, 1.0)
    env.close()


@pytest.mark.usefixtures("science")
def test_what_the_engine_draws_is_drawn_from_the_task() -> None:
    world = ScienceWorld(task_type="mendelian-genetics-unknown-plant", simpler="easy")
    envs = [world.make() for _ in range(2)]
    task = world.task("test", 0)
    texts = ["teleport to greenhouse", "look around", "pick up seed jar", "wait", "look in seed jar", "wait"]
    seen = [[env.reset(task)] for env in envs]
    for text in texts:
        for env, log in zip(envs, seen, strict=True):
            told = env.step(env.parse(text))
            assert told.valid, told.reason
            log.append(told.observation)
    assert seen[0] == seen[1]
    assert envs[1].load(task, envs[0].dump()) == seen[0][-1]
    for env in envs:
        env.close()


@pytest.mark.usefixtures("science")
def test_what_the_engine_does_not_know_is_not_valid_and_a_wrong_choice_ends_it() -> None:
    world = ScienceWorld(task_type="boil")
    env = world.make()
    env.reset(world.task("test", 0))
    told = env.step(env.parse("frobnicate"))
    assert not told.valid
    assert told.reason == "No known action matches that input."
    told = env.step(env.parse("focus on agent"))
    assert (told.terminated, told.success) == (True, False)
    assert told.scores["score"] == -1.0
    with pytest.raises(WorldError, match="no episode is running"):
        env.step(env.parse("look around"))
    env.close()


@pytest.mark.usefixtures("science")
def test_what_can_be_done_is_listed_where_it_is_asked_for() -> None:
    world = ScienceWorld(task_type="boil", listed=True)
    env = world.make()
    seen = env.reset(world.task("test", 0))
    assert seen.admissible is not None
    assert "look around" in seen.admissible
    assert list(seen.admissible) == sorted(set(seen.admissible))
    told = env.step(env.parse("open door to kitchen"))
    assert told.valid
    assert not env.step(env.parse("frobnicate")).valid
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", scienceworld.VARIATIONS)
def test_every_task_type_has_a_way_to_the_whole_score(name: str) -> None:
    world = ScienceWorld(task_type=name, horizon=300)
    env = world.make()
    env.reset(world.task("test", 0))
    assert finished(env).success
    env.close()
