"""The checker of environments: does a world keep the contract that everything else builds on?

``check_environment`` plays a few short episodes and reports one finding for each clause. A finding
is ``True`` (kept), ``False`` (broken) or ``None`` (cannot be asked of this world, or only told).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from random import Random
from typing import Any

from everystep.core.codec import dumps, encode, loads
from everystep.core.errors import WorldError
from everystep.core.protocols import Environment, Oracle, Snapshots, Transition, World
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import SPLITS

HOSTILE = (
    *(
        "",
        " ",
        "\n\n",
        "\x00",
        "\ud800",
        "\u200b",
        "🦜" * 50,
        "a" * 20_000,
        "(" * 3_000,
        "[" * 3_000 + "]" * 3_000,
    ),
    *(
        "'; DROP TABLE x; --",
        "SELECT",
        "{",
        '{"name":',
        "null",
        "-1",
        "1e999",
        "9" * 5_000,
        "NaN",
        "\\",
        "%s%n{0}",
    ),
    *(
        "call",
        "call (",
        "call x(",
        "answer",
        "move 9 from z to q",
        "step:",
        "thought: step: = =",
        "execute[",
        "```",
    ),
    *(
        "<tool_call>{}</tool_call>",
        "../../etc/passwd",
        "$(reboot)",
        "north\nnorth",
        "north " * 400,
        "\ufeffnorth",
    ),
)
"""Texts that a model may write and that must never raise."""

STEP_CAP = 4_000
"""An episode longer than this is not played to its end by the checker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One clause of the contract: kept, broken, or (``None``) not applicable or only told."""

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the checker found about a world."""

    world: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no clause is broken."""
        return all(finding.ok is not False for finding in self.findings)

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the clauses that are broken."""
        return tuple(finding.name for finding in self.findings if finding.ok is False)


def check_environment(world: World, tasks: int = 3, seed: int = 0) -> Report:
    """Check ``world`` on ``tasks`` tasks of each split, with randomness from ``seed``.

    >>> from everystep.environments.hanoi import Hanoi
    >>> check_environment(Hanoi(), tasks=1).ok
    True
    """
    checks: dict[str, Callable[[_Case], Finding]] = {
        "tasks are pure": _tasks_are_pure,
        "splits are disjoint": _splits_are_disjoint,
        "reset repeats": _reset_repeats,
        "episodes repeat": _episodes_repeat,
        "snapshots": _snapshots,
        "anchors have no clock": _anchors_have_no_clock,
        "anchors are states": _anchors_are_states,
        "admissible actions": _admissible,
        "hostile text": _hostile,
        "oracle": _oracle,
        "life of an episode": _life,
        "values are JSON": _values_are_json,
        "vocabulary": _vocabulary,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(check(_Case(name, world, tasks, seed)))
        except Exception as error:
            detail = f"raised {type(error).__name__}: {error}"
            findings.append(Finding(name=name, ok=False, detail=detail))
    return Report(world=world.name, findings=tuple(findings))


def format_report(report: Report) -> str:
    """Return the report as lines of text, one a finding."""
    marks = {True: "ok    ", False: "BROKEN", None: "-     "}
    lines = [f"{marks[finding.ok]} {finding.name}: {finding.detail}" for finding in report.findings]
    return "\n".join([f"{report.world}: {'ok' if report.ok else 'BROKEN'}", *lines])


class _Case:
    """One check: the world, its tasks, an own generator, and how to say what came out."""

    def __init__(self, name: str, world: World, tasks: int, seed: int) -> None:
        self.name, self.world, self.seed = name, world, seed
        self.rng = Random(seed)
        self.count, self.trust = tasks, 0.3

    def tasks(self, count: int | None = None) -> Iterator[Task]:
        for split in SPLITS:
            yield from self.split(split, self.count if count is None else count)

    def split(self, split: str, count: int) -> Iterator[Task]:
        size = self.world.size(split)
        for index in range(count if size is None else min(count, size)):
            yield self.world.task(split, index)

    def kept(self, detail: str) -> Finding:
        return Finding(name=self.name, ok=True, detail=detail)

    def broken(self, detail: str) -> Finding:
        return Finding(name=self.name, ok=False, detail=detail)

    def told(self, detail: str) -> Finding:
        return Finding(name=self.name, ok=None, detail=detail)

    def choose(self, env: Environment, seen: Observation) -> str:
        """Return a random admissible action, else mostly the oracle's, else nonsense."""
        if seen.admissible and self.rng.random() > self.trust:
            return self.rng.choice(seen.admissible)
        if isinstance(env, Oracle) and (seen.admissible or self.rng.random() < 0.8):
            try:
                return env.oracle()
            except WorldError:  # an oracle may say, after a long search, that there is no way from here
                self.trust /= 2
                return self.rng.choice(seen.admissible or ("nonsense",))
        return "nonsense"

    def walk(
        self, env: Environment, task: Task, limit: int = 60
    ) -> Iterator[tuple[Observation, str, Transition]]:
        """Play at random; yield what was seen, what was done, and what came of it."""
        seen = env.reset(task)
        for _ in range(min(limit, self.world.max_steps)):
            text = self.choose(env, seen)
            result = env.step(env.parse(text))
            yield seen, text, result
            if result.terminated or result.truncated:
                return
            seen = result.observation


def _play(env: Environment, texts: list[str]) -> list[Transition]:
    results = []
    for text in texts:
        results.append(env.step(env.parse(text)))
        if results[-1].terminated or results[-1].truncated:
            break
    return results


def _tasks_are_pure(case: _Case) -> Finding:
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


def _splits_are_disjoint(case: _Case) -> Finding:
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


def _reset_repeats(case: _Case) -> Finding:
    used, fresh = case.world.make(), case.world.make()
    for task in case.tasks():
        first = fresh.reset(task)
        for _ in case.walk(used, task, 5):
            pass
        if not used.reset(task) == used.reset(task) == first:
            return case.broken(f"task {task.id!r} begins differently after an episode")
    return case.kept("the same task begins alike, in a fresh and in a used environment")


def _episodes_repeat(case: _Case) -> Finding:
    first, second = case.world.make(), case.world.make()
    steps = 0
    for task in case.tasks():
        walk = list(case.walk(first, task))
        for env in (second, first):
            env.reset(task)
            if _play(env, [text for _, text, _ in walk]) != [result for _, _, result in walk]:
                return case.broken(f"task {task.id!r}: the same actions led elsewhere the second time")
        steps += len(walk)
    return case.kept(f"the same actions led to the same results in {steps} steps")


def _snapshots(case: _Case) -> Finding:
    env, other = case.world.make(), case.world.make()
    if not isinstance(env, Snapshots) or not isinstance(other, Snapshots):
        return case.told("not offered")
    for task in case.tasks():
        seen = env.reset(task)
        texts = [text for _, text, _ in case.walk(case.world.make(), task, 30)]
        half = len(texts) // 2
        for result in _play(env, texts[:half]):
            seen = result.observation
        saved = env.snapshot()
        rest = _play(env, texts[half:])
        other.reset(task)
        for again, where in ((env, "once"), (env, "twice"), (other, "in another environment")):
            if again.restore(saved) != seen:
                return case.broken(f"task {task.id!r}: restored {where}, the observation is another one")
            if _play(again, texts[half:]) != rest:
                return case.broken(f"task {task.id!r}: restored {where}, the episode goes on differently")
    return case.kept("restored twice and elsewhere, episodes went on alike")


def _anchors_have_no_clock(case: _Case) -> Finding:
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


def _anchors_are_states(case: _Case) -> Finding:
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


def _admissible(case: _Case) -> Finding:
    env = case.world.make()
    tried = 0
    for task in case.tasks():
        seen = env.reset(task)
        if seen.admissible is None:
            return case.told("any text goes")
        for _ in range(min(10, case.world.max_steps - 1)):
            if not seen.admissible:
                return case.broken(f"task {task.id!r}: no action is admissible, yet the episode goes on")
            if len(set(seen.admissible)) != len(seen.admissible):
                return case.broken(f"task {task.id!r}: an action is listed twice: {seen.admissible}")
            if isinstance(env, Snapshots):
                here = env.snapshot()
                for text in seen.admissible:
                    action = env.parse(text)
                    result = env.step(action)
                    tried += 1
                    if not (action.valid and result.valid):
                        why = action.reason or result.reason
                        return case.broken(f"task {task.id!r}: listed action {text!r} is refused: {why}")
                    env.restore(here)
            result = env.step(env.parse(case.rng.choice(seen.admissible)))
            tried += 1
            if not result.valid:
                return case.broken(f"task {task.id!r}: a listed action is refused: {result.reason}")
            if result.terminated or result.truncated:
                break
            seen = result.observation or seen
    return case.kept(f"{tried} listed actions could be executed")


def _hostile(case: _Case) -> Finding:
    env = case.world.make()
    letters = [chr(code) for code in (*range(32, 127), 0, 9, 10, 0x3B1, 0x4E2D, 0x1F600, 0xD83D)]
    texts = [*HOSTILE, *("".join(case.rng.choices(letters, k=case.rng.randrange(1, 60))) for _ in range(60))]
    for task in case.tasks(1):
        seen = env.reset(task)
        texts += [
            mangled
            for text in (seen.admissible or ())[:5]
            for mangled in (text.upper(), text + "x", text[1:])
        ]
        for text in texts:
            for action in (
                env.parse(text),
                Action(text=text),
                Action(text=text, valid=False, reason="told so"),
            ):
                if not action.valid and not action.reason:
                    return case.broken(f"{text[:60]!r} is not valid, but there is no reason")
                result = env.step(action)
                if not result.valid and not result.reason:
                    return case.broken(f"{text[:60]!r} was refused without a reason")
                if not action.valid and result.valid:
                    return case.broken(
                        f"{text[:60]!r} was executed, although the action is marked as not valid"
                    )
                if result.terminated or result.truncated:
                    env.reset(task)
    return case.kept(f"{len(texts)} texts, none raised")


def _oracle(case: _Case) -> Finding:
    env = case.world.make()
    if not isinstance(env, Oracle):
        return case.told("not offered")
    if case.world.max_steps > STEP_CAP:
        return case.told(f"episodes of up to {case.world.max_steps} steps are too long to play here")
    lengths = []
    for task in case.tasks():
        env.reset(task)
        steps = 0
        while steps < case.world.max_steps:
            steps += 1
            text = env.oracle()
            result = env.step(env.parse(text))
            if not result.valid:
                return case.broken(f"task {task.id!r}: the oracle's {text!r} is refused: {result.reason}")
            if result.terminated or result.truncated:
                break
        if not result.terminated or result.success is False:
            return case.broken(f"task {task.id!r}: not solved after {steps} steps")
        lengths.append(steps)
    mean = sum(lengths) / max(1, len(lengths))
    return case.kept(
        f"{len(lengths)} tasks solved in {mean:.1f} steps on average, limit {case.world.max_steps}"
    )


def _life(case: _Case) -> Finding:
    env = case.world.make()
    if not _raises(lambda: env.step(Action(text="x"))):
        return case.broken("step before reset must raise WorldError")
    task = next(case.tasks(1))
    seen = env.reset(task)
    for _ in range(min(case.world.max_steps, STEP_CAP)):
        text = env.oracle() if isinstance(env, Oracle) else case.choose(env, seen)
        result = env.step(env.parse(text))
        if result.terminated or result.truncated:
            if not _raises(lambda: env.step(Action(text="x"))):
                return case.broken("step after the end must raise WorldError")
            break
        seen = result.observation
    else:
        env.close()
        return case.told("the episode had no end within the step limit")
    env.reset(task)
    env.close()
    env.close()
    return case.kept("step raises before reset and after the end; close can be called twice")


def _raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except WorldError:
        return True
    return False


def _values_are_json(case: _Case) -> Finding:
    env = case.world.make()
    for task in case.tasks():
        for seen, _, result in case.walk(env, task):
            for observation in (seen, result.observation):
                json.dumps(dict(observation.info), allow_nan=False)
                if not isinstance(observation.text, str):
                    return case.broken(f"the observation is a {type(observation.text).__name__}, not a text")
            numbers = [result.reward, *result.scores.values()]
            if not all(isinstance(number, float | int) and math.isfinite(number) for number in numbers):
                return case.broken(f"task {task.id!r}: reward or scores are not finite numbers: {numbers}")
            if result.terminated and result.truncated:
                return case.broken(f"task {task.id!r}: a step is both terminated and truncated")
    return case.kept("info is JSON, rewards and scores are finite")


def _vocabulary(case: _Case) -> Finding:
    env = case.world.make()
    words: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, count in (("train", 60), ("test", 20)):
        for task in case.split(split, count):
            words[split] += _words(task.instruction)
            for seen, text, _ in case.walk(env, task, 25):
                words[split] += _words(seen.text) + _words(text)
                for listed in seen.admissible or ():
                    words[split] += _words(listed)
    known = set(words["train"])
    missing = [word for word in words["test"] if word not in known]
    share = 1 - len(missing) / max(1, len(words["test"]))
    some = f", for example {sorted(set(missing))[:5]}" if missing else ""
    return case.told(
        f"{len(known)} words in 60 train tasks cover {share:.2%} of the words of 20 test tasks{some}"
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)
