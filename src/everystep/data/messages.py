"""A list of chat messages to steps, in one place for every format: a step is what the assistant wrote and what came before it.

Nothing is lost. Where the messages before an answer are not simply one user's message, or the one result of the one call,
they are kept as they were in the observation's ``info["messages"]``; fields of an answer that a step has no place for in
``info["answer"]``. ``messages_of`` gives the list back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Action, Observation, Step, ToolCall, Trajectory
from everystep.data.reading import a_list, a_text, an_object, maybe_number, parse_json
from everystep.data.walks import Turn
from everystep.run.export import MESSAGES

ANSWER = "answer"
"""Key in an observation's ``info`` of the answer's further fields."""

UNSAID = "unsaid"
"""Key in an observation's ``info`` of a step that was no message: an act that the source lists elsewhere."""

_ROLES = {"human": "user", "gpt": "assistant", "ai": "assistant", "model": "assistant", "function": "tool"}
_PLAIN = {"role", "content", "from", "value"}
_TOLD = _PLAIN | {"tool_calls", "function_call", "reward"}
_WHO = ("name", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A conversation as turns. ``final`` is what came after the last answer, ``opening`` the messages before the first."""

    turns: tuple[Turn, ...]
    final: Observation | None
    opening: tuple[Mapping[str, Any], ...]

    @property
    def instruction(self) -> str:
        """The first thing that a user said."""
        return next((text_of(one) for one in self.opening if role_of(one) == "user"), "")

    @property
    def key(self) -> str:
        """A short name of the opening: equal prompts are equal tasks."""
        said = [(role_of(one), text_of(one)) for one in self.opening]
        return sha256(json.dumps(said).encode()).hexdigest()[:16]


def talk_of(messages: Any, *, rewards: Sequence[float] | None = None, agent_key: str = "name") -> Talk:
    """Return the turns of a list of messages (OpenAI, ShareGPT, TRL or Inspect form).

    ``rewards`` has one number an answer; a message may carry its own ``reward``. Raises ``DataError`` naming the message.
    """
    turns: list[Turn] = []
    waiting: list[dict[str, Any]] = []
    opening: tuple[Mapping[str, Any], ...] = ()
    calls: tuple[ToolCall, ...] | None = None
    for number, one in enumerate(a_list(messages, "messages")):
        message = an_object(one, f"message {number}")
        if role_of(message, number) != "assistant":
            text_of(message, number)  # refuses what is no text
            waiting.append(message)
            continue
        if calls is None:
            opening = tuple(waiting)
        action, extra = _answer(message, number)
        info: dict[str, Any] = {} if calls is not None and _usual(waiting, calls) else {MESSAGES: waiting}
        if extra:
            info[ANSWER] = extra
        who = message.get(agent_key)
        turns.append(
            Turn(
                observation=Observation(text=_joined(waiting), info=info),
                action=action,
                reward=maybe_number(message.get("reward"), f"the reward of message {number}"),
                agent=who if isinstance(who, str) and who else "agent",
            )
        )
        waiting, calls = [], action.calls
    if not turns:
        raise DataError(f"no assistant's message among {len(waiting)}: nothing was answered")
    if rewards is not None:
        turns = _rewarded(turns, rewards)
    left: dict[str, Any] = {MESSAGES: waiting}
    final = Observation(text=_joined(waiting), info=left) if waiting else None
    return Talk(turns=tuple(turns), final=final, opening=opening)


def _rewarded(turns: list[Turn], rewards: Sequence[float]) -> list[Turn]:
    if len(rewards) != len(turns):
        raise DataError(f"there are {len(rewards)} rewards for {len(turns)} answers")
    return [
        Turn(
            observation=one.observation, action=one.action, reward=reward, scores=one.scores, agent=one.agent
        )
        for one, reward in zip(turns, rewards, strict=True)
    ]


def messages_of(trajectory: Trajectory) -> list[dict[str, Any]]:
    """Return the messages that a trajectory was made from by ``talk_of``, in order.

    >>> talk = talk_of([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}])
    >>> from everystep.core.records import End, Task
    >>> from everystep.data.walks import chain
    >>> one = Trajectory(id="t", task=Task(id="k", instruction="", environment="chat"), group="k", end=End.DONE,
    ...                  steps=chain("t", talk.turns))
    >>> messages_of(one)
    [{'role': 'user', 'content': 'hello'}, {'role': 'assistant', 'content': 'hi'}]
    """
    found: list[dict[str, Any]] = []
    before: Step | None = None
    for step in trajectory.steps:
        found += _before(step.observation, before)
        if not step.observation.info.get(UNSAID):
            found.append(_told(step))
        before = step
    if trajectory.final is not None:
        found += trajectory.final.info.get(MESSAGES, [])  # type: ignore[arg-type]
    return found


def _before(observation: Observation, before: Step | None) -> list[Any]:
    stored = observation.info.get(MESSAGES)
    if isinstance(stored, list):
        return stored
    if before is not None and before.action.calls:
        return [{"role": "tool", "tool_call_id": before.action.calls[0].id, "content": observation.text}]
    return [{"role": "user", "content": observation.text}]


def _told(step: Step) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": step.action.text}
    if step.action.calls:
        message["tool_calls"] = [
            {
                "id": one.id,
                "type": "function",
                "function": {"name": one.name, "arguments": dict(one.arguments)},
            }
            for one in step.action.calls
        ]
    extra = step.observation.info.get(ANSWER)
    return {**message, **(extra if isinstance(extra, dict) else {})}


# --- messages -------------------------------------------------------------------------------------


def role_of(message: Mapping[str, Any], number: int = 0) -> str:
    """Return who wrote a message, in the OpenAI words."""
    role = message.get("role", message.get("from"))
    if not isinstance(role, str) or not role:
        raise DataError(f"message {number} has no role")
    return _ROLES.get(role, role)


def text_of(message: Mapping[str, Any], number: int = 0) -> str:
    """Return the text of a message; of a list of parts the text parts."""
    content = message.get("content", message.get("value"))
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for part in a_list(content, f"the content of message {number}"):
        if isinstance(part, str):
            texts.append(part)
        else:
            said = an_object(part, f"a part of message {number}").get("text")
            texts.append(said if isinstance(said, str) else "")
    return "".join(texts)


def _joined(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return what is seen: the texts, without the system's where anybody else spoke."""
    spoken = [one for one in messages if role_of(one) not in ("system", "developer")] or list(messages)
    return "\n\n".join(text for text in map(text_of, spoken) if text)


def _usual(messages: Sequence[Mapping[str, Any]], calls: tuple[ToolCall, ...]) -> bool:
    """Whether these messages are what the calls before them, or their absence, let one expect."""
    if len(messages) != 1 or len(calls) > 1 or not isinstance(messages[0].get("content"), str):
        return False
    only = messages[0]
    if not calls:
        return only.get("role") == "user" and only.keys() <= _PLAIN
    named = only.get("name") in (None, calls[0].name)
    return (
        only.get("role") == "tool"
        and named
        and only.get("tool_call_id") == calls[0].id
        and only.keys() <= _PLAIN | {"tool_call_id", "name"}
    )


def _answer(message: dict[str, Any], number: int) -> tuple[Action, dict[str, Any]]:
    """Return an answer and its fields that the action has no place for."""
    content = message.get("content", message.get("value"))
    text = text_of(message, number)
    extra = {name: value for name, value in message.items() if name not in _TOLD and value is not None}
    if content is not None and not isinstance(content, str):
        extra["content"] = content
    raw = message.get("tool_calls")
    if raw is None and message.get("function_call") is not None:
        raw = [message["function_call"]]
        extra["function_call"] = message["function_call"]
    calls, wrong, exact = [], [], True
    for one in a_list(raw, f"the calls of message {number}") if raw is not None else []:
        call, problem, same = _call(an_object(one, f"a call of message {number}"), number)
        calls.append(call)
        wrong += [problem] if problem else []
        exact = exact and same
    if not exact and "function_call" not in extra:
        extra["tool_calls"] = raw
    action = Action(text=text, calls=tuple(calls), valid=not wrong, reason="; ".join(wrong)[:500] or None)
    return action, extra


def _call(one: dict[str, Any], number: int) -> tuple[ToolCall, str | None, bool]:
    """Return a call, what is wrong with its arguments, and whether it says nothing else."""
    function = one.get("function", one)
    if isinstance(function, str):  # Inspect: the name stands there itself
        function = {"name": function, "arguments": one.get("arguments", {})}
    function = an_object(function, f"a call of message {number}")
    name = a_text(function.get("name"), f"the name of a call of message {number}")
    given = function.get("arguments")
    identifier = one.get("id")
    exact = one.keys() <= {"id", "type", "function", "name", "arguments"}
    arguments, problem = given, None
    if isinstance(given, str):
        try:
            arguments = parse_json(given) if given.strip() else {}
        except (ValueError, RecursionError):
            arguments = None
    if given is None:
        arguments = {}
    if not isinstance(arguments, dict):
        arguments, problem, exact = {}, f"the arguments of the call {name!r} are no JSON object", False
    call = ToolCall(name=name, arguments=arguments, id=identifier if isinstance(identifier, str) else None)
    return call, problem, exact
