from __future__ import annotations

from typing import Any

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Snapshots
from everystep.core.records import Action
from everystep.environments.check import check_environment, format_report

gymnasium = pytest.importorskip("gymnasium")

from everystep.environments.gymnasium import Gymnasium, write  # noqa: E402

TAXI = max((name for name in gymnasium.registry if name.startswith("Taxi-v")), default="")
CLIFF = max(name for name in gymnasium.registry if name.startswith("CliffWalking-v"))


class Echo(gymnasium.Env[str, str]):
    """A world of text: say the word that is shown, three times."""

    observation_space = gymnasium.spaces.Text(20)
    action_space = gymnasium.spaces.Text(8, min_length=1, charset="abc")
    copies = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        self.word = "".join(self.np_random.choice(list("abc"), 3))
        return f"say {self.word}", {"count": 0, "skipped": [object()]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.count += action == self.word
        return f"say {self.word} {self.count}", float(action == self.word), self.count == 3, False, {}


class Uncopied(Echo):
    """The same, but a copy of it does not work."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Echo:
        raise TypeError("holds a handle")


class Careless(Echo):
    """The same, but its copies share their state, which every step shows."""

    turns = 0

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        seen, *rest = super().step(action)
        self.turns += 1
        return f"{seen} {self.turns}", *rest  # type: ignore[return-value]

    def __deepcopy__(self, memo: dict[int, Any]) -> Echo:
        return self


for _name, _class in (("Echo-v0", Echo), ("Uncopied-v0", Uncopied), ("Careless-v0", Careless)):
    gymnasium.register(_name, _class)


@pytest.mark.parametrize(
    "world",
    [
        Gymnasium(actions="left,down,right,up", success_reward=1.0),
        Gymnasium(id="FrozenLake-v1", kwargs={"is_slippery": False, "map_name": "8x8"}, horizon=50),
        Gymnasium(id=TAXI, actions="south,north,east,west,pickup,dropoff"),
        Gymnasium(id=CLIFF, actions="up,right,down,left"),
        Gymnasium(id="Echo-v0", horizon=20),
        Gymnasium(id="Uncopied-v0", horizon=20),
    ],
    ids=lambda world: world.id,
)
def test_contract(world: Gymnasium) -> None:
    report = check_environment(world, tasks=2)
    slippery = {"anchors are states"} if world.id == "FrozenLake-v1" and not world.kwargs else set()
    assert set(report.broken) <= slippery, format_report(report)


def test_frozen_lake_is_walked_to_its_goal() -> None:
    world = Gymnasium(kwargs={"is_slippery": False}, actions="left,down,right,up", success_reward=1.0)
    env = world.make()
    seen = env.reset(world.task("test", 0))
    assert (seen.text, seen.anchor, seen.admissible) == ("0", "0", ("left", "down", "right", "up"))
    assert seen.info == {"prob": 1}
    results = [env.step(env.parse(word)) for word in ["down", "down", "right", "right", "down", "right"]]
    assert [result.observation.text for result in results] == ["4", "8", "9", "10", "14", "15"]
    assert (results[-1].reward, results[-1].success, results[-1].terminated) == (1.0, True, True)
    with pytest.raises(WorldError):
        env.step(Action(text="left"))


def test_taxi_lists_only_what_changes_something() -> None:
    world = Gymnasium(id=TAXI)
    env = world.make()
    seen = env.reset(world.task("train", 3))
    assert seen.admissible is not None
    assert 0 < len(seen.admissible) < 6
    before = seen.anchor
    for name in seen.admissible:
        assert isinstance(env, Snapshots)
        saved = env.snapshot()
        assert env.step(env.parse(name)).observation.anchor != before
        env.restore(saved)


def test_snapshots_are_offered_only_where_copies_go_on_alike() -> None:
    assert isinstance(Gymnasium(id="Echo-v0").make(), Snapshots)
    assert not isinstance(Gymnasium(id="Uncopied-v0").make(), Snapshots)
    assert not isinstance(Gymnasium(id="Careless-v0").make(), Snapshots)


def test_text_spaces_take_text() -> None:
    world = Gymnasium(id="Echo-v0", horizon=5)
    env = world.make()
    seen = env.reset(world.task("train", 0))
    assert seen.admissible is None
    assert seen.info == {"count": 0}
    word = seen.text.split()[1]
    refused = env.step(env.parse("xyz"))
    assert (refused.valid, refused.observation.text) == (False, f"nothing happens . say {word}")
    assert env.step(env.parse("")).observation.text == f"nothing happens . say {word}"
    assert [env.step(env.parse(word)).reward for _ in range(3)] == [1.0, 1.0, 1.0]


def test_observations_are_written_out() -> None:
    spaces = gymnasium.spaces
    both = spaces.Tuple((spaces.Discrete(3), spaces.MultiDiscrete([2, 5])))
    assert write(both, (2, [1, 4])) == "2 , 1 4"
    assert write(spaces.Box(-1, 1, (2,)), [0.12345, -1]) == "0.123 -1.0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "FrozenLike-v1"}, "knows no environment 'FrozenLike-v1'"),
        ({"kwargs": {"colour": 1}}, "cannot make 'FrozenLake-v1' with"),
        ({"actions": "left,right"}, "has 4 actions, but 2 words"),
        ({"id": "Pendulum-v1"}, "has Box actions"),
    ],
)
def test_what_cannot_be_used_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Gymnasium(**options).make()


def test_an_environment_that_breaks_is_a_world_error() -> None:
    world = Gymnasium(id="Echo-v0")
    env = world.make()
    env.reset(world.task("train", 0))
    env._env.unwrapped.step = None
    with pytest.raises(WorldError, match="Echo-v0 raised TypeError"):
        env.step(Action(text="abc"))
