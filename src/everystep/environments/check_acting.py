"""Clauses of the contract about acting: admissible actions, hostile text, the oracle, the life of an episode, plain values.

Each function checks one clause on the tasks of its case.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from everystep.core.errors import WorldError
from everystep.core.protocols import Oracle, Snapshots
from everystep.core.records import Action
from everystep.environments.check_case import STEP_CAP, Case, Finding
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


def admissible(case: Case) -> Finding:
    """Every listed action can be executed."""
    env = case.world.make()
    tried = 0
    for task in case.tasks():
        seen = env.reset(task)
        if seen.admissible is None:
            return case.told("any text goes")
        for _ in range(min(10, case.world.max_steps - 1)):
            if seen.admissible is None:
                break  # any text goes from here on
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


def hostile(case: Case) -> Finding:
    """No text raises, and what is refused has a reason."""
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


def oracle(case: Case) -> Finding:
    """The oracle solves the tasks within the step limit."""
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


def life(case: Case) -> Finding:
    """An episode begins with reset, ends once, and can be closed twice."""
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


def values_are_json(case: Case) -> Finding:
    """What is shown is text and JSON, and numbers are finite."""
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


def vocabulary(case: Case) -> Finding:
    """Tell how many words of test tasks the train tasks have."""
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
