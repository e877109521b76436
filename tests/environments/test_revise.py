"""Revise: the contract, the reward of a revision, answers read strictly, and a rule that gains one value a round."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Transition
from everystep.core.records import Task
from everystep.environments.check import check_environment
from everystep.environments.reasoning.revise import NOTHING, Revise, next_values, revision, spell

WORLD = Revise(values=4, base=7, rounds=9)


def once(task: Task, text: str) -> Transition:
    environment = WORLD.make()
    environment.reset(task)
    return environment.step(environment.parse(text))


@pytest.mark.parametrize(
    "world", [Revise(), WORLD, Revise(values=1, base=2), Revise(values=3, answer="1 2 3", mode="diverge")]
)
def test_the_contract_holds(world: Revise) -> None:
    assert check_environment(world, tasks=2).broken == ()


def test_the_reward_is_the_share_of_what_was_missing() -> None:
    task = WORLD.task("train", 0)
    right = [int(one) for one in str(task.reference).split()]
    wrong = [(one + 1) % 7 for one in right]
    half, most = spell((*wrong[:2], *right[2:])), spell((*wrong[:1], *right[1:]))
    assert once(task, half).reward == 0.5
    assert once(revision(task, half), most).reward == pytest.approx(0.5)
    assert once(revision(task, most), half).reward == 0.0  # worse: no less than 0
    assert once(revision(task, most), half).scores == {"quality": 0.5, "change": -0.25}
    ended = once(revision(task, most), spell(tuple(right)))
    assert (ended.reward, ended.terminated, ended.success) == (1.0, True, True)
    assert once(revision(task, spell(tuple(right))), half).reward == 0.0


def test_an_episode_of_several_rounds_is_rewarded_by_the_same_rule() -> None:
    environment = WORLD.make()
    task = WORLD.task("train", 1)
    seen = environment.reset(task)
    assert seen.text.count(NOTHING) == 4
    qualities = []
    while True:
        assert environment.snapshot().state.chain.first == int(seen.text.split()[5])
        stands = environment.snapshot().state.answer
        asked = task if stands is None else revision(task, spell(stands))
        text = spell(tuple(0 if one is None else one for one in next_values(asked, WORLD)))
        made = environment.step(environment.parse(text))
        qualities.append(made.scores["quality"])
        seen = made.observation
        if made.terminated:
            break
    assert len(qualities) <= 4
    assert all(quality >= (k + 1) / 4 for k, quality in enumerate(qualities))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.lists(st.integers(0, 6), min_size=4, max_size=4))
def test_the_rule_makes_the_right_beginning_one_longer(index: int, answer: list[int]) -> None:
    task = WORLD.task("train", index)
    right = tuple(int(one) for one in str(task.reference).split())[::-1]
    stood = answer[::-1]
    correct = next((k for k in range(4) if stood[k] != right[k]), 4)
    found = next_values(revision(task, spell(tuple(answer))), WORLD)[::-1]
    assert found[: correct + 1] == right[: correct + 1]


@pytest.mark.parametrize(
    "text", ["1 2 3", "1 2 3 4 5", "1 2 3 7", "a", "", "1,2,3,4", "1 2 3 \uff14", "9" * 500, "- - - -"]
)
def test_what_is_no_answer_leaves_the_old_one(text: str) -> None:
    made = once(revision(WORLD.task("train", 0), "1 2 3 4"), text)
    assert (made.valid, made.reward) == (False, 0.0)
    assert "1 2 3 4" in made.observation.text


def test_revisions_are_tasks_of_their_own() -> None:
    task = WORLD.task("test", 2)
    one, other = revision(task, "1 2 3 4"), revision(task, "1 2 3 4", mode="diverge")
    assert len({task.id, one.id, other.id}) == 3
    assert revision(one, "4 4 4 4").id == revision(task, "4 4 4 4").id
    assert "mode" not in revision(other, "4 4 4 4").config
    environment = WORLD.make()
    assert environment.reset(other).text.endswith("diverge")
    assert environment.reset(one).text.endswith("improve")


@pytest.mark.parametrize(
    "options", [{"values": 0}, {"base": 11}, {"mode": "x"}, {"answer": "1"}, {"rounds": 0}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Revise(**options)  # type: ignore[arg-type]
