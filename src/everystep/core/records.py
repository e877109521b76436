"""The records of Everystep: plain, frozen data that every other part reads and writes.

Read this file first. A task is given to an environment; an agent sees observations and answers
with actions; one observation with its action is a step; steps form trajectories; trajectories of
one task form a group. Judges add verdicts and credit methods add credit *beside* the steps, never
inside them, so both can be computed again on old trajectories.

"Unknown" is ``None``, never zero. Dictionaries hold JSON values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
"""A JSON value: what may stand in an ``info`` or ``config`` mapping."""


class End(StrEnum):
    """Why a trajectory ended. Each value is a different fact, so none is a boolean."""

    DONE = "done"  # the environment says that the task is solved
    FAILED = "failed"  # the environment ended the episode without success
    TRUNCATED = "truncated"  # the step limit was reached; the outcome was not decided
    BUDGET = "budget"  # a budget ran out
    ERROR = "error"  # the environment or the model broke; not the agent's doing
    CANCELLED = "cancelled"  # somebody stopped the run
    HANDED_OVER = "handed_over"  # a person took over


class Stop(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the model wrote its end-of-turn token
    LENGTH = "length"  # the token limit was reached
    ALLOWED = "allowed"  # a complete admissible action was written
    TOOL = "tool"  # a tool call was closed
    ERROR = "error"  # the model failed; the text is what had arrived


class SpanKind(StrEnum):
    """Who wrote a run of tokens. Only ``SAMPLED`` tokens can ever carry loss in a policy gradient."""

    CONTEXT = "context"  # instruction, observation, template
    SAMPLED = "sampled"  # written by the model that is trained
    TOOL = "tool"  # tool output inside the model's own turn
    FORCED = "forced"  # a tag or hint that was put into the model's turn
    OTHER_AGENT = "other_agent"  # written by another agent


class Level(StrEnum):
    """What a verdict is about."""

    STEP = "step"
    TRAJECTORY = "trajectory"
    PAIR = "pair"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a named tool."""

    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation with a model. ``role`` is system, user, assistant or tool."""

    role: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An instruction, an environment with its seed, and how success is known.

    ``reference`` is the expected answer and ``reference_calls`` the expected tool trace, where the
    task has them. ``tags`` carry what reports are broken down by (difficulty, app, source).
    """

    id: str
    instruction: str
    environment: str
    seed: int = 0
    config: Mapping[str, Json] = field(default_factory=dict)
    reference: Json = None
    reference_calls: tuple[ToolCall, ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the agent sees before it acts.

    ``anchor`` is a key of the environment's state without history, clock, turn counter or nonce:
    equal anchors mean equal states, which is what step groups are made of. ``None`` means that the
    environment gives no such key. ``admissible`` lists the actions that can be executed now, or is
    ``None`` where any text goes.
    """

    text: str
    anchor: str | None = None
    admissible: tuple[str, ...] | None = None
    info: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What the agent answered: raw text, the parsed tool calls, and why it is invalid if it is."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    valid: bool = True
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Tokens ``start`` (included) to ``end`` (excluded) of a step, by who wrote them."""

    start: int
    end: int
    kind: SpanKind
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """The tokens that one step added to the conversation, exactly as they were fed and sampled.

    ``ids`` holds the step's own tokens only, so a trajectory's row is the concatenation of its steps'
    records. ``spans`` tile ``ids``. ``logprobs`` has one natural-log probability for each token of the
    sampled spans, in order, under the distribution that was sampled from. ``allowed`` has for each sampled token the ids
    that could be chosen there, or is ``None`` when the whole vocabulary could. ``temperature`` is the
    one that the log-probabilities were computed at.
    """

    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    logprobs: tuple[float, ...]
    allowed: tuple[tuple[int, ...], ...] | None = None
    temperature: float = 1.0
    policy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One observation, the action that answered it, and what came of it.

    ``parent`` is the id of the step before, so that steps of several branches form a tree and branches
    are siblings. ``reward`` is the environment's reward for this action; ``scores`` are further named
    numbers that the environment measured (progress, quality), known when the step was made. ``node`` names
    the plan node that the step served, ``cost`` what deciding it took (samples, discarded, tokens, seconds, usd).
    A step that was ``undone`` was checked and taken back: its siblings go on from its parent.
    """

    id: str
    parent: str | None
    index: int
    observation: Observation
    action: Action
    reward: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    tokens: TokenRecord | None = None
    agent: str = "agent"
    stop: Stop = Stop.STOP
    node: str = ""
    undone: bool = False
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A walk from the root to a leaf of the step tree, with an outcome and the reason for its end.

    ``outcome`` is the task's score (by default the sum of the rewards so far), ``None`` when the episode
    broke. ``success`` is what the environment says, ``None`` when it was not decided.
    """

    id: str
    task: Task
    group: str
    steps: tuple[Step, ...]
    end: End
    outcome: float | None = None
    success: bool | None = None
    seed: int = 0
    error: str | None = None
    final: Observation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trajectories of one task that are compared with each other."""

    id: str
    task: Task
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judge's answer about a step, a trajectory, a pair or a list.

    ``score`` lies in ``[low, high]``. ``evidence`` names what the judge saw. A verdict with
    ``sees_future`` used what happened after the step and must not be used as a live filter.
    """

    level: Level
    targets: tuple[str, ...]
    judge: str
    score: float | None = None
    low: float = 0.0
    high: float = 1.0
    label: str | None = None
    reason: str | None = None
    evidence: tuple[str, ...] = ()
    sees_future: bool = False
    confidence: float | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCredit:
    """The credit of one step by one estimator. ``terms`` are its parts before they are added up."""

    step: str
    trajectory: str
    estimator: str
    value: float
    terms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two continuations of one context, the first preferred. Ids are steps, or trajectories."""

    context: tuple[str, ...]
    chosen: str
    rejected: str
    level: Level
    margin: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row for a learner: tokens with aligned per-token streams. The learner knows no method.

    Position ``t`` of every stream speaks about predicting ``ids[t]`` from ``ids[:t]``; position 0 is
    never predicted and its weights must be zero. ``advantage`` is used where ``policy_weight`` is not
    zero, with ``logprobs`` the values recorded at sampling. ``supervised_weight`` weighs the cross-entropy, ``reference_weight``
    the divergence from the reference (``reference_logprobs``). ``step_of`` numbers the step a token
    belongs to, ``-1`` for context. ``allowed`` maps a position to the ids that could be chosen there.
    ``rollout`` names the trajectory, for aggregation per rollout.

    Samples of one ``pair`` are compared: the sum of ``preference_weight`` times the log-ratio to the reference, over all of them, should be
    large. So the preferred side has positive weights and the other negative ones. ``avoid_weight`` weighs tokens that should become unlikely.
    """

    ids: tuple[int, ...]
    policy_weight: tuple[float, ...] = ()
    advantage: tuple[float, ...] = ()
    logprobs: tuple[float, ...] = ()
    supervised_weight: tuple[float, ...] = ()
    reference_weight: tuple[float, ...] = ()
    reference_logprobs: tuple[float, ...] = ()
    value_target: tuple[float, ...] = ()
    value_weight: tuple[float, ...] = ()
    step_of: tuple[int, ...] = ()
    allowed: Mapping[int, tuple[int, ...]] | None = None
    temperature: float = 1.0
    rollout: str = ""
    preference_weight: tuple[float, ...] = ()
    pair: str = ""
    avoid_weight: tuple[float, ...] = ()
