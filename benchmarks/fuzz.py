"""A million mutated model outputs through the parsers, the flags and the plan checks: no crash, no hang, every failure a named flag.

Each output is made from a number and a seed, so a finding can be made again: ``--show 12345`` prints it. It goes to one parser (the tool box, each
world, the plan reader), what comes out goes through all flags, a plan that was read through the checks of an edit, and the action is encoded as
for the journal. ``crashes`` are exceptions, ``hangs`` outputs that took more than 2 s of CPU time, ``unnamed`` outputs that were refused without a
flag or reason; all three must be 0. ``read`` were accepted by the parser, ``valid`` by every flag as well.

    python benchmarks/fuzz.py                     # 1,000,000 outputs, some ten minutes
    python benchmarks/fuzz.py --outputs 20000     # what the tests do
"""

from __future__ import annotations

import argparse
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import FrameType

from markdown_tables import table

from everystep.core.acts import Effect
from everystep.core.codec import dumps
from everystep.core.protocols import Candidate, Generation, Oracle, Situation, Usage
from everystep.core.records import Action, Json, Observation, Step, Stop, Task, TokenRecord
from everystep.environments.catalog import world
from everystep.run.nodes import NodeKind
from everystep.run.plan import Node, Plan
from everystep.run.plan_text import parse_plan
from everystep.tools.tool import Tool, ToolResult
from everystep.tools.toolbox import ToolBox
from everystep.verify.flags import (
    BadFormat,
    Empty,
    Looping,
    LowMargin,
    NotAdmissible,
    Repeated,
    TooLong,
    UnknownTool,
)
from everystep.verify.schema import Schema

OUTPUTS, QUICK = 1_000_000, 20_000
HANG_S = 2.0
WORLDS = (
    "hanoi",
    "keydoor",
    "stepmath",
    "toolchain",
    "household",
    "procbench",
    "screens",
    "intercode_sql",
    "boxoban",
    "screengrid",
    "trikb",
    "thinkmath",
    "modchain",
    "revise",
)

SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "maxLength": 200},
        "lines": {"type": "integer", "minimum": 1},
        "deep": {"type": "array", "items": {"$ref": "#/properties/deep"}},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["path"],
    "additionalProperties": False,
}
CALLS = (
    '{"tool": "read", "arguments": {"path": "a.txt", "lines": 3}}',
    '{"tool": "read", "arguments": {"path": "b", "deep": [[], [[]]], "tags": ["x", "y"]}}',
    'I will look.\n```json\n{"tool": "read", "arguments": {"path": "a.txt"}}\n```\nThen I go on.',
    '{"answer": 42}',
    '[{"name": "read", "arguments": {}}, {"answer": null}]',
)
PLANS = (
    '["fetch the table", "add the numbers", "write the report"]',
    (
        '{"steps": [{"id": "a", "instruction": "fetch", "needs": []}, {"id": "b", "instruction": "add", "needs": ["a"],'
        ' "tool": "sum", "arguments": {"x": [1, 2.5, null]}, "optional": true, "max_steps": 4, "alternatives": ["by hand"]}]}'
    ),
    '```json\n[{"instruction": "x", "kind": "composite", "weight": 0.5, "produces": ["text"], "consumes": []}]\n```',
)
NASTY = (
    *("\x00", "\x1b[31m", "\ud800", "\udfff", "\u202e", "\u200b", "\ufeff", "\u2028", "🦜", "é", "İ", "ß"),
    *(
        "```",
        "~~~",
        "<tool_call>",
        "</s>",
        "<|im_end|>",
        "\\",
        "\\u0000",
        '\\"',
        '"',
        "'",
        "{",
        "}",
        "[",
        "]",
    ),
    *("null", "true", "NaN", "Infinity", "-Infinity", "1e999", "-0", "0x10", "٣", "½", "1_000", "9" * 5000),
    *(
        "\r\n",
        "\t",
        "\x0b",
        ": ",
        ",,",
        "{}",
        "[]",
        '""',
        "//",
        "#",
        "%s",
        "{0}",
        "$(x)",
        "'; DROP TABLE t; --",
    ),
    *('{"steps": ', '"needs": ["', '"tool": ', "execute[", "move ", "call ", "answer ", "Action: "),
)


class Hang(BaseException):
    """One output took too long."""


def output(seed: int, number: int, seeds: tuple[str, ...]) -> tuple[str, str]:
    """Return how output ``number`` was made and the output."""
    random = Random(seed * 1_000_003 + number)
    kind = random.choices(tuple(KINDS), weights=[weight for _, weight in KINDS.values()])[0]
    text = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        text = KINDS[kind][0](random, text, seeds)
    return kind, text


def _same(_: Random, text: str, __: tuple[str, ...]) -> str:
    return text


def _truncated(random: Random, text: str, _: tuple[str, ...]) -> str:
    return text[: random.randrange(len(text) + 1)]


def _deep(random: Random, text: str, _: tuple[str, ...]) -> str:
    depth = random.choice((5, 40, 40, 900, 1100, 3000, 20_000))
    opened, closed = random.choice(
        (("[", "]"), ('{"a":', "}"), ("(", ")"), ("[{", "}]"), ('{"arguments":', "}"), ("<a>", "</a>"))
    )
    inner = random.choice(("", text, "1"))
    whole = opened * depth + inner + closed * random.choice((0, depth, depth - 1))
    return _into(random, text, whole)


def _number(random: Random, text: str, _: tuple[str, ...]) -> str:
    digits = random.choice((5, 20, 400, 4299, 4301, 20_000))
    sign = random.choice(("", "-", "+", "0", "."))
    made = (
        sign + random.choice("123456789") * digits + random.choice(("", ".5", "e5", "e99999", "e-99999", "n"))
    )
    return _into(random, text, made)


def _letters(random: Random, text: str, _: tuple[str, ...]) -> str:
    size = random.randint(1, 40)
    return _into(
        random,
        text,
        "".join(chr(random.choice((random.randrange(128), random.randrange(0x110000)))) for _ in range(size)),
    )


def _nasty(random: Random, text: str, _: tuple[str, ...]) -> str:
    for _n in range(random.randint(1, 4)):
        text = _into(random, text, random.choice(NASTY) * random.choice((1, 1, 1, 3, 50)))
    return text


def _fenced(random: Random, text: str, seeds: tuple[str, ...]) -> str:
    for _n in range(random.choice((1, 2, 3, 60))):
        text = f"{random.choice(('', 'So:', '```'))}\n```{random.choice(('', 'json', 'python', 'sql'))}\n{text}\n```{random.choice(('', chr(10) + random.choice(seeds)))}"
    return text


def _repeated(random: Random, text: str, _: tuple[str, ...]) -> str:
    piece = text[random.randrange(len(text) + 1) :][: random.choice((1, 3, 20, 200))] or " "
    return _into(random, text, piece * random.choice((3, 10, 100, 1000)))


def _blank(random: Random, _: str, __: tuple[str, ...]) -> str:
    return random.choice(("", " ", "\n\n\n", "\t", "\u200b", "\u00a0", " " * 5000))


def _long(random: Random, text: str, seeds: tuple[str, ...]) -> str:
    size = random.choice((5_000, 30_000, 100_000, 250_000))
    unit = (
        random.choice(
            (
                text,
                random.choice(seeds),
                random.choice(NASTY),
                '\\"',
                '"',
                "[",
                "```json\n",
                "a ",
                " ",
                "1",
                "\n",
            )
        )
        or "x"
    )
    return _into(random, text, (unit * (size // len(unit) + 1))[:size])


def _flipped(random: Random, text: str, _: tuple[str, ...]) -> str:
    letters = list(text)
    for _n in range(min(len(letters), random.randint(1, 8))):
        at = random.randrange(len(letters))
        letters[at] = random.choice(
            (chr(random.randrange(32, 127)), "", letters[at] * 2, random.choice(letters))
        )
    return "".join(letters)


def _spliced(random: Random, text: str, seeds: tuple[str, ...]) -> str:
    other = random.choice((*seeds, *CALLS, *PLANS))
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other) + 1) :]


def _twice(_: Random, text: str, __: tuple[str, ...]) -> str:
    return text.replace("{", '{"arguments": 1, "id": "a", ').replace(": ", ": [", 1)


def _into(random: Random, text: str, piece: str) -> str:
    at = random.randrange(len(text) + 1)
    return random.choice((piece, text[:at] + piece + text[at:], text[:at] + piece, piece + text))


Mutation = Callable[[Random, str, tuple[str, ...]], str]
KINDS: dict[str, tuple[Mutation, float]] = {
    "as it is": (_same, 4),
    "truncated": (_truncated, 10),
    "deep nesting": (_deep, 4),
    "huge numbers": (_number, 6),
    "unicode and control": (_letters, 12),
    "nasty pieces": (_nasty, 18),
    "nested fences": (_fenced, 6),
    "repeated text": (_repeated, 6),
    "empty": (_blank, 2),
    "very long": (_long, 1),
    "flipped": (_flipped, 16),
    "spliced": (_spliced, 12),
    "doubled keys": (_twice, 3),
}


@dataclass(slots=True)
class Target:
    """One parser with what it reads well, and what came out of it."""

    name: str
    seeds: tuple[str, ...]
    parse: Callable[[str], Action]
    situation: Situation
    outputs: int = 0
    read: int = 0
    valid: int = 0
    named: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    slowest: str = ""


FLAGS = (
    Empty(),
    TooLong(max_tokens=2000, max_chars=20_000),
    BadFormat(),
    UnknownTool(["read", "lookup", "add", "subtract", "multiply"]),
    Schema({"read": SCHEMA}),
    NotAdmissible(),
    Repeated(times=1),
    Looping(),
    LowMargin(mean=0.01, least=1e-9),
)


async def _read(arguments: object, *, key: str) -> ToolResult:
    return ToolResult(text="")


def targets() -> list[Target]:
    box = ToolBox(
        [Tool(name="read", description="", schema=SCHEMA, effect=Effect(name="read"), call=_read)],
        max_calls=3,
    )
    task = Task(id="fuzz", instruction="", environment="tools")
    found = [
        Target("tool box", CALLS, box.parse, _situation(task, box.reset(task), box.parse(CALLS[0]))),
        Target(
            "plan", PLANS, _plan_action, _situation(task, Observation(text="plan"), Action(text=PLANS[0]))
        ),
    ]
    for name in WORLDS:
        made = world(name)
        environment = made.make()
        task = made.task("train", 0)
        seen = environment.reset(task)
        listed = (
            *(seen.admissible or ())[:6],
            *([environment.oracle()] if isinstance(environment, Oracle) else []),
        )
        seeds = listed or (task.instruction[:200], "SELECT name FROM singer", "[1, 2]", *CALLS[:1])
        found.append(
            Target(
                name,
                (*seeds, "```sql\nSELECT 1\n```"),
                environment.parse,
                _situation(task, seen, environment.parse(seeds[0])),
            )
        )
    return found


def _situation(task: Task, seen: Observation, tried: Action) -> Situation:
    step = Step(id="0", parent=None, index=0, observation=seen, action=tried)
    return Situation(
        run="f", task=task, node="", goal="", step="1", index=1, observation=seen, recent=(step,)
    )


def _plan_action(text: str) -> Action:
    """Read a plan and check it as an edit of a plan that runs; a problem is the reason."""
    read = parse_plan(text)
    if read.problems:
        return Action(text=text, valid=False, reason=str(read.problems[0]))
    plan = Plan(
        [
            Node(id="whole", instruction="all", kind=NodeKind.COMPOSITE),
            Node(id="b", instruction="after", needs=("whole",)),
        ]
    )
    edit = plan.expanded("whole", read.nodes)
    problems = plan.problems(edit, tools=["sum"], graph={"sum": ["sum"]}, given=["text"])
    if not problems:
        plan.apply(edit)
        dumps(edit).encode()
        assert Plan.rebuilt(plan.edits()) == plan
    return Action(text=text, valid=not problems, reason=str(problems[0]) if problems else None)


def one(target: Target, number: int, kind: str, text: str) -> None:
    """Put one output through a target and book what came of it."""
    before = time.process_time()
    where = f"{number} ({kind})"
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
        action = target.parse(text)
        logprobs = (-0.1, -float(number * 7919 // 8 % 12))
        made = Generation(
            text=text,
            stop=Stop.LENGTH if number % 50 == 0 else Stop.STOP,
            tokens=TokenRecord(ids=(1, 2), spans=(), logprobs=logprobs),
            usage=Usage(completion=len(text) // 4),
        )
        candidate = Candidate(sample=0, action=action, generation=made, key=text[:50])
        hits = {
            flag.name: reason for flag in FLAGS if (reason := flag(candidate, target.situation)) is not None
        }
        dumps(action).encode()
    except Hang:
        target.hangs.append(where)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        target.crashes.append(f"{where}: {type(error).__name__}: {str(error)[:120]}")
    else:
        target.named.update(hits.keys())
        target.read += action.valid
        target.valid += not hits
        if not action.valid and (not action.reason or "bad format" not in hits):
            target.unnamed.append(where)
        if any(not reason or len(reason) > 1000 for reason in hits.values()):
            target.unnamed.append(where)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    took = time.process_time() - before
    target.outputs += 1
    target.cpu_s += took
    if took > target.slowest_s:
        target.slowest_s, target.slowest = took, where


@contextmanager
def watched() -> Iterator[None]:
    """Turn an output that takes too long into ``Hang``."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGVTALRM, before)


def fuzz(outputs: int, seed: int = 0) -> list[Target]:
    """Put ``outputs`` outputs through all targets in turn; the tool box and plans get half of them."""
    found = targets()
    order = [found[0], found[1]] * (len(found) - 2) + [*found[2:], *found[2:]]
    with watched():
        for number in range(outputs):
            target = order[number % len(order)]
            kind, text = output(seed, number, target.seeds)
            one(target, number, kind, text)
    return found


def rows(found: list[Target]) -> list[dict[str, object]]:
    return [
        {
            "parser": target.name,
            "outputs": target.outputs,
            "read": target.read,
            "valid": target.valid,
            **{flag.name: target.named[flag.name] for flag in FLAGS},
            "unnamed": len(target.unnamed),
            "crashes": len(target.crashes),
            "hangs": len(target.hangs),
            "mean_us": round(1e6 * target.cpu_s / max(1, target.outputs)),
            "slowest_ms": round(1e3 * target.slowest_s),
        }
        for target in found
    ]


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows; it fails where there is a crash, a hang, or a refusal without a name."""
    found = fuzz(QUICK if quick else OUTPUTS)
    bad = [
        f"{target.name}: {one}"
        for target in found
        for one in (*target.crashes, *target.hangs, *target.unnamed)
    ]
    assert not bad, bad[:20]
    return rows(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--outputs", type=int, default=OUTPUTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, help="print one output as it went to its parser")
    options = parser.parse_args()
    if options.show is not None:
        found = targets()
        order = [found[0], found[1]] * (len(found) - 2) + [*found[2:], *found[2:]]
        target = order[options.show % len(order)]
        print(target.name, *map(repr, output(options.seed, options.show, target.seeds)))
        return 0
    found = fuzz(options.outputs, options.seed)
    print("\n".join(table(rows(found))))
    bad = 0
    for target in found:
        print(f"slowest of {target.name}: {target.slowest}")
        for what in ("crashes", "hangs", "unnamed"):
            for where in getattr(target, what)[:10]:
                bad += 1
                print(f"{what}: {target.name}: {where}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
