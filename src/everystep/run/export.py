"""Trajectories in the forms that other trainers read.

``chat``: one JSON line a trajectory, ``messages`` as in the OpenAI chat form with a ``weight`` on each answer.
``trl``: one line a step, ``prompt`` and ``completion`` (conversational), because TRL's loss covers the whole
completion; a step of weight zero gives no line. ``trl-preference``: one line a pair, ``prompt``, ``chosen``,
``rejected``. ``verifiers``: one line a trajectory with the fields of its saved results. ``parquet``: our
own tables, without loss.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everystep.core.codec import dumps
from everystep.core.errors import ConfigError, StoreError
from everystep.core.records import (
    End,
    Level,
    Message,
    Observation,
    PreferencePair,
    Step,
    Task,
    ToolCall,
    Trajectory,
)
from everystep.core.registry import Registry
from everystep.run.rollout import messages_of

Wire = dict[str, Any]
"""A JSON object as it goes into a file."""

MESSAGES = "messages"
"""Key in an observation's ``info`` of the very messages that were seen, where a trace was imported; they are exported as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export did: lines (for ``parquet``: trajectories) written, and how many were skipped and why."""

    path: Path
    written: int
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a form may be given. ``weights`` are by step id, zero or more; ``pairs`` name steps or trajectories."""

    weights: Mapping[str, float] | None = None
    pairs: tuple[PreferencePair, ...] | None = None


Write = Callable[[Iterable[Trajectory], Path, Options], Exported]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form: how it is written, which options it takes, and its line in the help."""

    write: Write
    summary: str
    takes: frozenset[str] = frozenset()


FORMS = Registry[Form]("export form")


def export(
    trajectories: Iterable[Trajectory],
    form: str,
    path: Path | str,
    *,
    weights: Mapping[str, float] | None = None,
    pairs: Iterable[PreferencePair] | None = None,
) -> Exported:
    """Write ``trajectories`` to ``path`` (a file; a folder for ``parquet``) and return what was written.

    ``weights`` gives the loss weight of a step's answer by step id. Without one a valid action weighs 1
    and an invalid one 0. ``pairs`` is needed by ``trl-preference``. The file is replaced only when it is
    complete. Raises ``ConfigError`` for an unknown form or an option that the form does not take.
    """
    chosen = FORMS[form]
    options = Options(weights=weights, pairs=None if pairs is None else tuple(pairs))
    for name, value in (("weights", weights), ("pairs", pairs)):
        if value is not None and name not in chosen.takes:
            raise ConfigError(f"the export form {form!r} does not use {name!r}; leave it out.")
    for step, weight in (weights or {}).items():
        if not weight >= 0:
            raise ConfigError(f"the weight of step {step!r} is {weight!r}; it must be zero or more.")
    return chosen.write(trajectories, Path(path), options)


# --- the forms ------------------------------------------------------------------------------------


def _chat(trajectories: Iterable[Trajectory], path: Path, options: Options) -> Exported:
    skipped: Counter[str] = Counter()
    with _lines(path) as write:
        for one in trajectories:
            weights = [_weight(step, options) for step in one.steps]
            if not one.steps:
                skipped["no steps"] += 1
            elif not any(weights):
                skipped["every weight is zero"] += 1
            else:
                answers = iter(weights)
                messages = [_openai(message) for message in conversation(one.task, one.steps)]
                for message in messages:
                    if message["role"] == "assistant":
                        message["weight"] = next(answers)
                write({"messages": messages})
        return Exported(path=path, written=write.count, skipped=dict(skipped))


def _trl(trajectories: Iterable[Trajectory], path: Path, options: Options) -> Exported:
    skipped: Counter[str] = Counter()
    done: set[str] = set()
    with _lines(path) as write:
        for one in trajectories:
            if not one.steps:
                skipped["no steps"] += 1
            prompt: list[Wire] = []
            for index, step in enumerate(one.steps):
                previous = one.steps[index - 1] if index else None
                prompt += [_hugging_face(message) for message in _asked(one.task, previous, step.observation)]
                answer = [_hugging_face(_answer(step))]
                if step.id in done:
                    skipped["step shared with an earlier trajectory"] += 1
                elif not _weight(step, options):
                    skipped["weight is zero"] += 1
                else:
                    done.add(step.id)
                    write({"prompt": prompt, "completion": answer})
                prompt = prompt + answer
        return Exported(path=path, written=write.count, skipped=dict(skipped))


def _trl_preference(trajectories: Iterable[Trajectory], path: Path, options: Options) -> Exported:
    if not options.pairs:
        raise ConfigError(
            "the export form 'trl-preference' needs pairs, and there are none. Make pairs first."
        )
    sides = _sides(trajectories, {name for pair in options.pairs for name in (pair.chosen, pair.rejected)})
    skipped: Counter[str] = Counter()
    with _lines(path) as write:
        for pair in options.pairs:
            chosen, rejected = (sides.get((pair.level, name)) for name in (pair.chosen, pair.rejected))
            if chosen is None or rejected is None:
                skipped["one side is not in the trajectories"] += 1
            elif chosen[0] != rejected[0]:
                skipped["the two sides answer different prompts"] += 1
            elif chosen[1] == rejected[1]:
                skipped["the two sides are equal"] += 1
            else:
                write({"prompt": chosen[0], "chosen": chosen[1], "rejected": rejected[1]})
        return Exported(path=path, written=write.count, skipped=dict(skipped))


def _sides(
    trajectories: Iterable[Trajectory], names: set[str]
) -> dict[tuple[Level, str], tuple[list[Wire], list[Wire]]]:
    """Return prompt and answer of each named step and trajectory; nothing else is kept."""
    sides = {}
    for one in trajectories:
        if one.id in names and one.steps:
            first = len(_asked(one.task, None, one.steps[0].observation))
            messages = [_hugging_face(message) for message in conversation(one.task, one.steps)]
            sides[Level.TRAJECTORY, one.id] = (messages[:first], messages[first:])
        for index, step in enumerate(one.steps):
            if step.id in names:
                messages = [_hugging_face(each) for each in conversation(one.task, one.steps[: index + 1])]
                sides[Level.STEP, step.id] = (messages[:-1], messages[-1:])
    return sides


def _verifiers(trajectories: Iterable[Trajectory], path: Path, _: Options) -> Exported:
    skipped: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    with _lines(path) as write:
        for one in trajectories:
            if not one.steps:
                skipped["no steps"] += 1
            elif one.outcome is None:
                skipped["no outcome"] += 1
            else:
                number = numbers.setdefault(one.task.id, len(numbers))
                write(_verifiers_row(one, number))
        return Exported(path=path, written=write.count, skipped=dict(skipped))


def _verifiers_row(one: Trajectory, number: int) -> Wire:
    first = len(_asked(one.task, None, one.steps[0].observation))
    messages = [_openai(message) for message in conversation(one.task, one.steps)]
    reference = one.task.reference
    success = {} if one.success is None else {"success": float(one.success)}
    return {
        "example_id": number,
        "task": one.task.environment,
        "prompt": messages[:first],
        "completion": messages[first:],
        "answer": reference if isinstance(reference, str) else "" if reference is None else dumps(reference),
        "info": {"task_id": one.task.id, "group": one.group, "seed": one.seed},
        "reward": one.outcome,
        "metrics": {"num_turns": float(len(one.steps)), **success, **one.steps[-1].scores},
        "is_completed": one.end not in (End.CANCELLED, End.ERROR),
        "is_truncated": one.end in (End.TRUNCATED, End.BUDGET),
        "stop_condition": one.end.value,
        "error": one.error,
    }


def _parquet(trajectories: Iterable[Trajectory], path: Path, _: Options) -> Exported:
    try:  # here and not at the top: the other forms need no pyarrow
        from everystep.run.store import write_parquet
    except ImportError as error:
        raise ConfigError(
            f"the export form 'parquet' needs pyarrow ({error}): pip install 'everystep[store]'"
        ) from None

    return Exported(path=path, written=write_parquet(trajectories, path).trajectories)


FORMS.add(
    "chat",
    Form(
        write=_chat, summary="chat messages with weights, a line a trajectory", takes=frozenset({"weights"})
    ),
)
FORMS.add(
    "trl", Form(write=_trl, summary="TRL prompt and completion, a line a step", takes=frozenset({"weights"}))
)
FORMS.add(
    "trl-preference",
    Form(write=_trl_preference, summary="TRL preference pairs, a line a pair", takes=frozenset({"pairs"})),
)
FORMS.add("verifiers", Form(write=_verifiers, summary="saved results of verifiers, a line a trajectory"))
FORMS.add("parquet", Form(write=_parquet, summary="three Parquet tables, without loss"))


# --- conversations --------------------------------------------------------------------------------


def conversation(task: Task, steps: Iterable[Step]) -> list[Message]:
    """Return the messages of a walk: what was asked and what was answered, in order."""
    messages: list[Message] = []
    previous = None
    for step in steps:
        messages += _asked(task, previous, step.observation)
        messages.append(_answer(step))
        previous = step
    return messages


def _asked(task: Task, previous: Step | None, observation: Observation) -> tuple[Message, ...]:
    """Return what an observation adds: a user's message, or the results of the calls before it.

    One observation answers all calls of a turn, so it stands under the last of them. Messages that an import kept go out as they came.
    """
    stored = observation.info.get(MESSAGES)
    if isinstance(stored, list):
        return tuple(_as_it_came(one) for one in stored if isinstance(one, dict))
    if previous is None or not previous.action.calls:
        return messages_of(task, observation, after=previous)
    names = [_call_id(previous, n) for n in range(len(previous.action.calls))]
    return tuple(
        Message(role="tool", content=observation.text if name == names[-1] else "", call_id=name)
        for name in names
    )


def _as_it_came(wire: Wire) -> Message:
    content, call = wire.get("content", wire.get("value")), wire.get("tool_call_id")
    parts = content if isinstance(content, list) else [content]
    texts = [
        one if isinstance(one, str) else one.get("text", "") for one in parts if isinstance(one, str | dict)
    ]
    role = str(wire.get("role", wire.get("from", "user")))
    return Message(
        role=role, content="".join(map(str, texts)), call_id=call if isinstance(call, str) else None
    )


def _answer(step: Step) -> Message:
    calls = tuple(
        ToolCall(name=call.name, arguments=call.arguments, id=_call_id(step, n))
        for n, call in enumerate(step.action.calls)
    )
    return Message(role="assistant", content=step.action.text, calls=calls)


def _call_id(step: Step, n: int) -> str:
    return step.action.calls[n].id or f"call_{step.index}_{n}"


def _weight(step: Step, options: Options) -> float:
    usual = 1.0 if step.action.valid else 0.0
    return usual if options.weights is None else options.weights.get(step.id, usual)


def _openai(message: Message) -> Wire:
    return _wire(message, lambda call: json.dumps(dict(call.arguments), ensure_ascii=False))


def _hugging_face(message: Message) -> Wire:
    return _wire(message, lambda call: dict(call.arguments))


def _wire(message: Message, arguments: Callable[[ToolCall], Any]) -> Wire:
    wire: Wire = {"role": message.role, "content": message.content}
    if message.calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments(call)}}
            for call in message.calls
        ]
    if message.call_id is not None:
        wire["tool_call_id"] = message.call_id
    return wire


# --- files ----------------------------------------------------------------------------------------


class _Lines:
    """Writes JSON lines and counts them."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.count = 0

    def __call__(self, row: Wire) -> None:
        self._file.write(dumps(row) + "\n")
        self.count += 1


@contextmanager
def _lines(path: Path) -> Iterator[_Lines]:
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            yield _Lines(file)
        fresh.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {str(path)!r}: {error}. Check the folder and the disk.") from None
    finally:
        fresh.unlink(missing_ok=True)
