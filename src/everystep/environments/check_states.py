"""Clauses of the contract about tasks and states: pure, disjoint, repeatable, saved and loaded, and anchors that are states.

Each function checks one clause on the tasks of its case.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

from everystep.core.codec import dumps, encode, loads
from everystep.core.errors import WorldError
from everystep.core.protocols import Environment, Portable, Snapshots, Transition
from everystep.core.records import Task
from everystep.environments.check_case import Case, Finding, play
from everystep.environments.exact import SPLITS


def tasks_are_pure(case: Case) -> Finding:
    """A task is a pure function of the options, the split and the index."""
    if not is_dataclass(case.world):
        return case.broken("the world is not a dataclass of its options")
    if not case.world.summary or case.world.max_steps < 1:
        return case.broken("a world needs a summary and max_steps of at least 1")
    cls: Any = type(case.world)
    for task in case.tasks():
        index = int(task.id.rsplit(":", 1)[-1])
        again = cls(**task.config).task(task.split, index)
        if again != task:
            return case.broken(f"task {task.id!r} is another one when it is built from its own config")
        if encode(loads(Task, dumps(task))) != encode(task):
            return case.broken(f"task {task.id!r} does not survive JSON")
        if task.environment != case.world.name:
            return case.broken(f"task {task.id!r} names environment {task.environment!r}")
    return case.kept("the same index gives the same task, also from Task.config")


def splits_are_disjoint(case: Case) -> Finding:
    """No task is in both splits, and no id is used twice."""
    count = max(30, case.count)
    known: dict[str, set[str]] = {split: set() for split in SPLITS}
    shown: dict[str, list[str]] = {split: [] for split in SPLITS}
    ids: set[str] = set()
    env = case.world.make()
    total = 0
    for split in SPLITS:
        for task in case.split(split, count):
            total += 1
            ids.add(task.id)
            known[split].add(dumps([task.seed, task.instruction, dict(task.config)]))
            shown[split].append(f"{task.instruction}\n{env.reset(task).text}")
    if len(ids) != total:
        return case.broken(f"{total - len(ids)} task ids are used twice")
    both = known["train"] & known["test"]
    if both:
        return case.broken(f"{len(both)} of {count} test tasks are also training tasks: {min(both)[:200]}")
    alike = sum(text in set(shown["train"]) for text in shown["test"])
    return case.kept(
        f"{alike} of {len(shown['test'])} test tasks begin like one of {len(shown['train'])} train tasks"
    )


def reset_repeats(case: Case) -> Finding:
    """A task begins alike in a fresh and in a used environment."""
    used, fresh = case.world.make(), case.world.make()
    for task in case.tasks():
        first = fresh.reset(task)
        for _ in case.walk(used, task, 5):
            pass
        if not used.reset(task) == used.reset(task) == first:
            return case.broken(f"task {task.id!r} begins differently after an episode")
    return case.kept("the same task begins alike, in a fresh and in a used environment")


def episodes_repeat(case: Case) -> Finding:
    """The same actions lead to the same results."""
    first, second = case.world.make(), case.world.make()
    steps = 0
    for task in case.tasks():
        walk = list(case.walk(first, task))
        for env in (second, first):
            env.reset(task)
            if play(env, [text for _, text, _ in walk]) != [result for _, _, result in walk]:
                return case.broken(f"task {task.id!r}: the same actions led elsewhere the second time")
        steps += len(walk)
    return case.kept(f"the same actions led to the same results in {steps} steps")


def snapshots(case: Case) -> Finding:
    """A restored episode goes on as it did, any number of times and elsewhere."""
    env, other = case.world.make(), case.world.make()
    if not isinstance(env, Snapshots) or not isinstance(other, Snapshots):
        return case.told("not offered")
    for task in case.tasks():
        seen = env.reset(task)
        texts = [text for _, text, _ in case.walk(case.world.make(), task, 30)]
        half = len(texts) // 2
        for result in play(env, texts[:half]):
            seen = result.observation
        saved = env.snapshot()
        rest = play(env, texts[half:])
        other.reset(task)
        for again, where in ((env, "once"), (env, "twice"), (other, "in another environment")):
            if again.restore(saved) != seen:
                return case.broken(f"task {task.id!r}: restored {where}, the observation is another one")
            if play(again, texts[half:]) != rest:
                return case.broken(f"task {task.id!r}: restored {where}, the episode goes on differently")
    return case.kept("restored twice and elsewhere, episodes went on alike")


def anchors_have_no_clock(case: Case) -> Finding:
    """Where nothing happens the anchor stays as it is."""
    env = case.world.make()
    refusals = 0
    for task in case.tasks():
        seen = env.reset(task)
        if seen.anchor is None:
            return case.told("no anchors offered")
        for _ in range(min(3, case.world.max_steps - 1)):
            result = env.step(env.parse("nonsense"))
            if result.valid or result.terminated or result.truncated:
                break
            refusals += 1
            if result.observation.anchor != seen.anchor:
                return case.broken(
                    f"task {task.id!r}: nothing happened, but the anchor changed from {seen.anchor!r} to "
                    f"{result.observation.anchor!r}. It holds a clock or a nonce; groups by anchor will be empty."
                )
    if not refusals:
        return case.told("every text is an action here; a clock could not be looked for")
    return case.kept(f"the anchor stayed in {refusals} steps in which nothing happened")


def anchors_are_states(case: Case) -> Finding:
    """From equal anchors the same action leads to the same."""
    env = case.world.make()
    steps, repeats, compared = 0, 0, 0
    for task in case.tasks():
        known: dict[str, Any] = {}
        for _ in range(4):
            seen = env.reset(task)
            for _ in range(min(40, case.world.max_steps - 1)):
                if seen.anchor is None:
                    return case.told("no anchors offered")
                steps += 1
                text = case.choose(env, seen)
                if seen.anchor in known:
                    repeats += 1
                    if isinstance(env, Snapshots) and seen.anchor is not None:
                        here = env.snapshot()
                        env.restore(known[seen.anchor])
                        there = env.step(env.parse(text))
                        env.restore(here)
                        result = env.step(env.parse(text))
                        compared += 1
                        if _core(there) != _core(result):
                            return case.broken(
                                f"task {task.id!r}: {text!r} led from anchor {seen.anchor!r} to "
                                f"{_core(there)} on one path and to {_core(result)} on another"
                            )
                    else:
                        result = env.step(env.parse(text))
                else:
                    known[seen.anchor] = env.snapshot() if isinstance(env, Snapshots) else None
                    result = env.step(env.parse(text))
                if result.terminated or result.truncated:
                    break
                seen = result.observation
    share = f"{repeats / max(1, steps):.0%} of {steps} steps came to a known anchor"
    return case.kept(f"{share}; {compared} compared by playing on")


def _core(result: Transition) -> tuple[object, ...]:
    seen = result.observation
    return (seen.anchor, seen.admissible, result.reward, result.terminated, result.success, result.valid)


def portable(case: Case) -> Finding:
    """A dumped episode survives JSON and goes on alike in a new environment, also one that has ended."""
    sizes = []
    for task in case.tasks():
        texts = [text for _, text, _ in case.walk(case.world.make(), task, 30)]
        for part in (0, len(texts) // 2, len(texts)):
            env, other = case.world.make(), case.world.make()
            if not isinstance(env, Portable) or not isinstance(other, Portable):
                return case.told("not offered")
            seen = env.reset(task)
            for result in play(env, texts[:part]):
                seen = result.observation
            told = dumps(env.dump())
            sizes.append(len(told.encode()))
            if other.load(task, json.loads(told)) != seen:
                return case.broken(
                    f"task {task.id!r}: loaded after {part} steps, the observation is another one"
                )
            if dumps(other.dump()) != told:
                return case.broken(f"task {task.id!r}: what was loaded is dumped differently")
            if _future(env, texts[part:]) != _future(other, texts[part:]):
                return case.broken(
                    f"task {task.id!r}: loaded after {part} steps, the episode goes on differently"
                )
    return case.kept(f"loaded elsewhere, episodes went on alike; {max(sizes)} bytes at most")


def _future(env: Environment, texts: Sequence[str]) -> tuple[object, ...]:
    """Return what the texts lead to; at the end of an episode, that it refuses to go on."""
    try:
        return tuple(play(env, texts or ["nonsense"]))
    except WorldError:
        return ("over",)
