"""TriKB: every fact stands in one store, the reference always leads to the answer, and what a model writes is read strictly."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Transition
from everystep.core.records import Action, Task
from everystep.environments.check import check_environment, format_report
from everystep.environments.exact import ExactEnvironment
from everystep.environments.reasoning.trikb import State, TriKB
from everystep.environments.reasoning.trikb_facts import ENTITIES, RELATIONS, STORES, problem_of

SMALL = TriKB(hops=1, people=5, cities=5, rounds=1, top=1)


@pytest.mark.parametrize(
    "world", [TriKB(), SMALL, TriKB(hops=3, fewest=1, stale=1.0), TriKB(static=True), TriKB(hops=4, rounds=4, stale=0, width=1)]
)  # fmt: skip
def test_contract(world: TriKB) -> None:
    report = check_environment(world)
    assert report.ok, format_report(report)


def play(env: ExactEnvironment[State], task: Task, *texts: str) -> list[Transition]:
    env.reset(task)
    return [env.step(env.parse(text)) for text in texts]


def found(world: TriKB, **wanted: object) -> Task:
    """The first task with so many hops, or whose first fact is also told, wrongly, by ``stale_in``."""
    for index in range(500):
        task = world.task("train", index)
        problem = world.start(task).problem
        (entity, name), *_ = problem.chain
        told = [
            store
            for store in STORES
            if store != RELATIONS[name].store
            and any((entity, name) in facts for facts in problem.base.stores[store].facts)
        ]
        if task.tags["hops"] == wanted["hops"] and bool(told) == wanted.get("stale", bool(told)):
            return task
    raise AssertionError("no such task")


# --- the knowledge --------------------------------------------------------------------------------


def test_each_fact_is_true_in_exactly_one_store() -> None:
    for seed in range(20):
        base = problem_of(8, 6, 0, 2, 2, 0.5, 2, seed).base
        for (entity, name), value in base.truth.items():
            said = {
                store: f"{name} {value}" in line
                for store in STORES
                for line in told(base, store, entity, name)
            }
            assert [store for store, right in said.items() if right] == [RELATIONS[name].store]
            assert value != entity


def told(base: object, store: str, entity: str, name: str) -> list[str]:
    kept = base.stores[store]  # type: ignore[attr-defined]
    return [line for line, facts in zip(kept.entries, kept.facts, strict=True) if (entity, name) in facts]


def test_stale_is_the_share_of_facts_that_a_wrong_store_tells_too() -> None:
    def share(stale: float) -> float:
        base = problem_of(20, 16, 0, 2, 2, stale, 2, 3).base
        wrong = [
            bool(told(base, store, entity, name))
            for entity, name in base.truth
            for store in STORES
            if store != RELATIONS[name].store
        ]
        return sum(wrong) / len(wrong)

    assert share(0.0) == 0.0
    assert share(1.0) == 1.0
    assert 0.4 < share(0.5) < 0.6


def test_the_reference_chain_is_followed_through_the_passages() -> None:
    world = TriKB(hops=3)
    env = world.make()
    for index in range(60):
        task = world.task("test", index)
        seen = env.reset(task)
        calls, entity = [], task.instruction.split("question : ")[1].split()[0]
        while True:
            text = env.oracle()
            if seen.info == {"kind": "ans", "final": False}:
                assert (
                    text.removeprefix("answer: ") in seen.text.split(" . ")[0].split()
                )  # it stands in the passages
                entity = text.removeprefix("answer: ")
            action = env.parse(text)
            if seen.info["kind"] == "ret" and action.calls:
                assert str(action.calls[0].arguments["question"]).split()[0] == entity
                calls += [(call.name, call.arguments["question"]) for call in action.calls]
            result = env.step(action)
            if result.terminated:
                break
            seen = result.observation
        assert result.success is True
        assert task.reference_calls is not None
        assert calls == [(call.name, call.arguments["question"]) for call in task.reference_calls]
        assert len(calls) == int(task.tags["hops"])
        assert entity == task.reference or not calls


def test_questions_of_the_splits_are_apart_and_of_the_same_words() -> None:
    world = TriKB(hops=2)
    questions = {
        split: {world.task(split, index).instruction.split("question : ")[1] for index in range(300)}
        for split in ("train", "test")
    }
    assert not questions["train"] & questions["test"]
    words = {split: {word for one in some for word in one.split()} for split, some in questions.items()}
    assert words["test"] <= words["train"]
    vocabulary = {name for names in ENTITIES.values() for name in names} | set(RELATIONS) | set(STORES)
    assert len(vocabulary) < 150


# --- acting ---------------------------------------------------------------------------------------


def test_a_wrong_store_shows_a_wrong_value_or_something_else_and_can_be_made_good() -> None:
    world = TriKB(hops=2, fewest=1)
    env = world.make()
    task = found(world, hops="1", stale=True)
    problem = world.start(task).problem
    (entity, name), right = problem.chain[0], problem.values[0]
    true = RELATIONS[name].store
    misled = 0
    for store in STORES:
        [result] = play(env, task, f"ask: {entity} {name} from: {store}")
        assert result.scores == {"asked": 1.0, "routed": float(store == true), "retrievals": 1.0}
        values = re.findall(rf"\b{name} (\w+)", result.observation.text.partition(" . ")[0])
        assert (right in values) == (store == true)
        misled += store != true and bool(values)
        assert env.oracle() == f"answer: {right if store == true else 'none'}"
        env.step(env.parse("answer: none"))
        assert env.oracle() == f"ask: {entity} {name} from: {true}"
    assert misled
    *_, result = play(
        env, task, f"ask: {entity} {name} from: {true}", f"answer: {right}", "ask: none from: none", f"answer: {right}"
    )  # fmt: skip
    assert (result.reward, result.success) == (1.0, True)


def test_a_given_fact_needs_no_retrieval() -> None:
    world = TriKB()
    env = world.make()
    task = found(world, hops="0")
    assert task.instruction.startswith("known : ")
    assert str(task.reference) in task.instruction.split()
    needless, *_ = play(env, task, "ask: ada home from: text")
    assert needless.scores == {"asked": 0.0, "routed": 0.0, "retrievals": 1.0}
    none, last = play(env, task, "ask: none from: none", f"answer: {task.reference}")
    assert none.scores == {"asked": 1.0, "routed": 1.0, "retrievals": 0.0}
    assert last.success is True


def test_recall_is_not_exactness() -> None:
    world = TriKB(fewest=0, hops=1)
    env = world.make()
    task = found(world, hops="0")
    for answer, recall, exact in ((f"{task.reference}", 1.0, 1.0), (f"it is {task.reference}", 1.0, 0.0), ("it", 0.0, 0.0)):  # fmt: skip
        *_, result = play(env, task, "ask: none from: none", f"answer: {answer}")
        assert (result.reward, result.scores["exact"], result.success) == (recall, exact, exact == 1.0)
    *_, long = play(env, task, "ask: none from: none", "answer: a b c d e")
    assert (long.valid, long.terminated) == (False, False)


def test_rounds_are_bounded_and_several_stores_cost_as_many_retrievals() -> None:
    world = TriKB(hops=2, fewest=2)
    env = world.make()
    task = world.task("train", 0)
    turns = ["ask: ada home from: text, image , table", "answer: none"] * 3
    results = play(env, task, *turns)
    assert results[0].scores["retrievals"] == 3.0
    assert re.findall(r"(\w+) : ", results[0].observation.text) == ["text", "image", "table"]
    assert results[-1].observation.info == {"kind": "ans", "final": True}
    assert env.step(env.parse(f"answer: {task.reference}")).success is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ask: ada home", "expected"),
        ("from: text ask: ada home", "expected"),
        ("ask: ada home from: web", "there is no store web"),
        ("ask: ada home from: text, none", "only none"),
        ("ask: ada home from: text, text", "different stores"),
        ("ask: none from: text", "goes with"),
        ("ask: ada home from: none", "goes with"),
        ("ask: a b c d e f g from: text", "6 words"),
        ("answer:", "expected"),
        ("answer: lima", "expected here: ask"),
        ("ask: ada home from: text" + " " * 200, "expected"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    env = TriKB(fewest=1).make()
    seen = env.reset(TriKB(fewest=1).task("train", 0))
    result = env.step(env.parse(text))
    assert not result.valid
    assert reason in str(result.reason)
    assert result.observation.anchor == seen.anchor
    assert result.scores == {"asked": 0.0, "routed": 0.0, "retrievals": 0.0}
    assert env.step(Action(text="ask: ada home from: text")).valid


def test_anchors_forget_the_order_and_keep_the_rounds() -> None:
    world = TriKB(fewest=1)
    env = world.make()
    task = world.task("train", 0)
    ways = [
        ("ask: ada home from: text", "answer: lima", "ask: bob age from: table", "answer: none"),
        ("ask: bob age from: image", "answer: none", "ask: ada home from: table", "answer: lima"),
    ]
    anchors = [[result.observation.anchor for result in play(env, task, *way)] for way in ways]
    assert anchors[0][-1] == anchors[1][-1]
    assert all(one != other for way in anchors for one, other in pairwise(way))


def test_static_shows_all_stores_at_once() -> None:
    world = TriKB(static=True, hops=2, fewest=1)
    env = world.make()
    seen = env.reset(world.task("train", 0))
    assert re.findall(r"(\w+) : ", seen.text) == list(STORES)
    result = env.step(env.parse(env.oracle()))
    assert result.success is True
    assert result.scores["retrievals"] == 3.0


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="rounds"):
        TriKB(hops=4)
    with pytest.raises(ConfigError, match="fewest"):
        TriKB(fewest=3)
