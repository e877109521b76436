"""Every protocol of Everystep in one file: what a part must do to take part.

An optional ability is a protocol of its own (``Snapshots``, ``Oracle``, ``Forks``): ask with
``isinstance``, never with ``hasattr``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from everystep.core.acts import Effect, Permission
from everystep.core.records import (
    Action,
    Json,
    Level,
    Message,
    Observation,
    Sample,
    Step,
    Stop,
    Task,
    TokenRecord,
    ToolCall,
    Trajectory,
    Verdict,
)

# --- environments -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What an action led to.

    ``terminated`` means that the episode is over by its own rules, ``truncated`` that a limit cut it
    off. ``success`` is set when ``terminated`` is, ``None`` where the environment does not know.
    """

    observation: Observation
    reward: float
    terminated: bool = False
    truncated: bool = False
    success: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    valid: bool = True
    reason: str | None = None


class Environment(Protocol):
    """A world that an agent acts in, one episode at a time.

    The same task always gives the same episode. ``parse`` turns what an agent wrote into an action,
    ``valid=False`` with a reason where it cannot. ``step`` never raises for what an agent wrote: an
    action that cannot be executed gives ``valid=False`` with a reason, and an observation.
    """

    def reset(self, task: Task) -> Observation: ...

    def parse(self, text: str) -> Action: ...

    def step(self, action: Action) -> Transition: ...

    def close(self) -> None: ...


@runtime_checkable
class Snapshots(Protocol):
    """An environment whose complete state can be saved and put back, any number of times."""

    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> Observation: ...


@runtime_checkable
class Oracle(Protocol):
    """An environment that knows a best next action of the current state."""

    def oracle(self) -> str: ...


@runtime_checkable
class Portable(Protocol):
    """An environment whose complete state can be written as JSON and read by another process."""

    def dump(self) -> Json: ...

    def load(self, task: Task, state: Json) -> Observation: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of an act in doubt: ``transition`` if it happened, ``known`` is false if nobody can tell."""

    known: bool
    transition: Transition | None = None


@runtime_checkable
class Outside(Protocol):
    """An environment whose acts reach outside of the process. They are journalled before they happen and never replayed.

    ``effect`` says what an action would do. ``act`` does it under an idempotency key. ``settled`` finds out
    whether an act that was started did happen. ``rejoin`` goes on with a task after ``observation`` was seen.
    """

    def effect(self, action: Action) -> Effect: ...

    async def act(self, action: Action, *, key: str) -> Transition: ...

    async def settled(self, action: Action, *, key: str) -> Settled: ...

    def rejoin(self, task: Task, observation: Observation) -> Observation: ...


@runtime_checkable
class Checks(Protocol):
    """An environment that can say whether tool calls, which a model's server has parsed, fit its tools."""

    def checked(self, action: Action) -> Action: ...


# --- models -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample. ``temperature`` 0 is greedy; ``top_p`` in (0, 1]; ``max_tokens`` a turn."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 64
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One turn asked of a model.

    ``session`` names the conversation; ``messages`` are only the new ones since its last turn.
    ``allowed`` restricts the answer to one of these texts. ``seed`` makes this one answer repeatable,
    whatever else is in the batch.
    """

    session: str
    messages: tuple[Message, ...]
    allowed: tuple[str, ...] | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one generation: read anew, read from a cache, written."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A model's answer to one request. ``tokens`` is ``None`` where the model does not show them.

    ``calls`` are tool calls that the model's server has parsed; others stand in the text.
    """

    text: str
    stop: Stop
    tokens: TokenRecord | None = None
    usage: Usage = Usage()
    error: str | None = None
    calls: tuple[ToolCall, ...] = ()


@runtime_checkable
class Sampler(Protocol):
    """A model that answers turns. ``policy`` names the weights that it samples from.

    ``sample`` answers all requests, in order; a failing one gives ``Stop.ERROR`` and an error text,
    it never takes the others down. ``release`` forgets conversations.
    """

    @property
    def policy(self) -> str: ...

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]: ...

    def release(self, sessions: Sequence[str]) -> None: ...


@runtime_checkable
class Forks(Protocol):
    """A sampler that can continue one conversation in several ways from the same point."""

    def fork(self, session: str, new_session: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn that was taken before: the messages that were new, the answer, its tokens where known."""

    messages: tuple[Message, ...]
    text: str
    tokens: TokenRecord | None = None


@runtime_checkable
class Primes(Protocol):
    """A sampler that can be put behind turns that were taken before, with their exact tokens."""

    def prime(self, session: str, turns: Sequence[Turn]) -> None: ...


@runtime_checkable
class AsyncSampler(Protocol):
    """A sampler that answers each request on its own, concurrently: remote endpoints."""

    @property
    def policy(self) -> str: ...

    async def sample_one(self, request: Request, sampling: Sampling) -> Generation: ...

    def release(self, sessions: Sequence[str]) -> None: ...


# --- the runtime: how one step is decided ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the parts of a run may look at when a step is decided.

    ``node`` and ``goal`` are the plan node that is worked on and its instruction, ``index`` the steps taken for
    it. ``recent`` are the last steps of this node, oldest first, as many as the context asks for; ``digest`` stands for the older
    ones. ``notes`` were recalled from memory. ``feedback`` says why the attempt before this one did not count.
    """

    run: str
    task: Task
    node: str
    goal: str
    step: str
    index: int
    observation: Observation
    recent: Sequence[Step] = ()
    digest: str = ""
    notes: tuple[str, ...] = ()
    feedback: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One sampled answer. ``key`` is what votes are counted by; ``flag`` says why it does not count."""

    sample: int
    action: Action
    generation: Generation
    key: str = ""
    flag: str | None = None


class Context(Protocol):
    """A view of the trace, made for one step and never stored. ``window`` is how many recent steps it wants."""

    @property
    def window(self) -> int: ...

    def messages(self, situation: Situation) -> tuple[Message, ...]: ...


class Flag(Protocol):
    """Says why a sampled answer looks ill and must not count, or ``None``. It never raises for what a model wrote."""

    @property
    def name(self) -> str: ...

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None: ...


class Votes(Protocol):
    """The count of one step's votes. They are added in the order of sampling.

    ``wanted`` is the smallest number of further votes that could decide, 0 when it is decided or no vote can.
    ``leader`` is the best so far.
    """

    def add(self, candidate: Candidate) -> None: ...

    @property
    def winner(self) -> Candidate | None: ...

    @property
    def leader(self) -> Candidate | None: ...

    @property
    def wanted(self) -> int: ...

    @property
    def tally(self) -> Mapping[str, float]: ...


class VoteRule(Protocol):
    """How samples become one answer. ``cap`` bounds the samples of one step, flagged ones included."""

    @property
    def cap(self) -> int: ...

    def start(self, situation: Situation) -> Votes: ...


class StepVerifier(Protocol):
    """Checks an action before it happens (``transition`` is ``None``: is it feasible?) or after (is it complete?).

    A verdict fails the step when its score is below ``threshold``; a score of ``None`` says nothing.
    """

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float: ...

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict: ...


# --- judging what is stored -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a judge may look at. What it does not name is cut out of the evidence before the judge gets it.

    ``actions`` is how many earlier actions are shown (``None``: all), ``observations`` how many observations, that of the judged step
    counted first. ``result`` shows what the judged step led to: its next observation, its reward, its scores, whether it was valid. ``after``
    shows so many later steps, ``outcome`` how the trajectory ended. ``reference`` shows the task's expected answer, ``tokens`` the
    tokens. Each text is cut to ``chars`` characters.
    """

    actions: int | None = None
    observations: int = 1
    result: bool = False
    after: int = 0
    outcome: bool = False
    reference: bool = False
    tokens: bool = False
    chars: int = 4000

    @property
    def sees_future(self) -> bool:
        """Whether it needs what is only known later than the result of the judged step."""
        return self.after > 0 or self.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a judge gets: the candidates to judge, and as much around them as its ``Looks`` allow.

    ``targets`` names the candidates (a step's id, a trajectory's id); each candidate is its steps: one for the level ``step``, one
    trajectory, two or more for ``pair`` and ``list``. ``before`` are earlier steps that the candidates share, oldest first, ``after`` later ones. ``results``
    and ``outcomes`` have one entry a candidate where they are shown. ``seen`` says in words what is shown: it goes into the verdict.
    """

    task: Task
    targets: tuple[str, ...]
    candidates: tuple[tuple[Step, ...], ...]
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    results: tuple[Observation | None, ...] = ()
    outcomes: tuple[float | None, ...] = ()
    seen: tuple[str, ...] = ()

    @property
    def step(self) -> Step:
        """The last step of the first candidate: the one that is judged at the level ``step``."""
        return self.candidates[0][-1]


class Judge(Protocol):
    """Says how good steps or trajectories are, from stored evidence.

    ``looks`` is what it may see and ``levels`` what it can judge. ``judge`` returns one verdict on the targets, and any number on
    their single steps. The score of a pair is the share in favour of its first target; the label of a pair or list is the preferred target's
    id, or ``equal``. It raises ``JudgeError`` where it comes to no verdict. ``version`` changes when its answers may.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def looks(self) -> Looks: ...

    @property
    def levels(self) -> frozenset[Level]: ...

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]: ...


class Gate(Protocol):
    """Says whether an action may happen now; asks a person where it must."""

    async def permit(self, situation: Situation, action: Action, effect: Effect) -> Permission: ...


@runtime_checkable
class Trusts(Protocol):
    """A gate whose trust follows how checked acts turned out. Its state goes into checkpoints."""

    def outcome(self, good: bool) -> None: ...

    def dump(self) -> Json: ...

    def load(self, state: Json) -> None: ...


class Recall(Protocol):
    """What memory has to say about a situation, best first."""

    def recall(self, situation: Situation) -> tuple[str, ...]: ...


class Observer(Protocol):
    """Hears what a run does, as it does it: spans for tracing, a live view, statistics.

    ``started`` and ``ended`` enclose an operation (``run``, ``node``, ``step``, ``chat``, ``act``, ``verify``, ``gate``) that ``key`` names.
    """

    def started(self, operation: str, key: str, facts: Mapping[str, Json]) -> None: ...

    def ended(self, operation: str, key: str, facts: Mapping[str, Json]) -> None: ...


# --- learning -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What to minimise, as functions of per-token log-probabilities; never a method's name.

    ``policy``: ``ppo`` (clipped ratio, with dual clip when ``dual_clip`` > 0), ``cispo``,
    ``gspo`` (one ratio a sample), ``step`` (one ratio a step), ``importance`` (unclipped) or ``reinforce`` (no ratio). ``clip_low`` and ``clip_high`` bound the ratio to
    ``[1 - clip_low, 1 + clip_high]``; where ``ppo`` clips, ``keep_above`` and ``keep_below`` are the shares of the bound's gradient that are kept. ``aggregate``: ``rollout`` (mean over the tokens of a rollout,
    then over rollouts), ``token`` (mean over all tokens of the batch), ``sum`` (per rollout sum, mean over rollouts),
    ``constant`` (sum divided by ``constant``). ``kl``: ``none``, ``k1``, ``k2``, ``k3`` (low variance) against
    ``reference_logprobs`` with weight ``kl_coefficient``. ``entropy`` adds an entropy bonus.

    ``preference`` compares the samples of a pair by ``h``, their weighted log-ratio to the reference (``Sample.preference_weight``), and is averaged
    over pairs: ``sigmoid``, ``ipo``, ``hinge``, or ``kto`` for samples that are good or bad alone. ``preference_beta`` scales ``h``,
    ``preference_offset`` is what it is compared with, ``preference_smoothing`` the share of labels taken to be wrong. Without
    ``preference_reference`` the log-probability stands for the log-ratio. ``avoid`` weighs the loss that makes tokens less likely than under the reference.
    """

    policy: str = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0
    keep_above: float = 0.0
    keep_below: float = 0.0
    aggregate: str = "rollout"
    constant: float = 1.0
    kl: str = "none"
    kl_coefficient: float = 0.0
    entropy: float = 0.0
    supervised: float = 1.0
    value: float = 0.0
    preference: str = "none"
    preference_beta: float = 0.1
    preference_offset: float = 0.0
    preference_smoothing: float = 0.0
    preference_reference: bool = True
    avoid: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a learner can honour. An option outside of it raises ``LearnerError``."""

    losses: frozenset[str]
    allowed_sets: bool = False
    entropy: bool = False
    value_head: bool = False
    reference: bool = False
    tree_packing: bool = False
    exact_resume: bool = False
    preferences: frozenset[str] = frozenset()
    avoid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Log-probabilities of a sample's tokens (position 0 is ``0.0``), and values where there is a head."""

    logprobs: tuple[float, ...]
    values: tuple[float, ...] | None = None


class Learner(Protocol):
    """Weights that can be trained. It receives streams, and four primitives; it knows no method.

    ``forward_backward`` adds to the gradient; the loss is normalised by the totals of ``samples`` (or
    by ``totals`` when a batch is split over several calls). ``optim_step`` applies it and clears it.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def forward_backward(
        self, samples: Sequence[Sample], loss: Loss, *, totals: Mapping[str, float] | None = None
    ) -> dict[str, float]: ...

    def optim_step(self, *, learning_rate: float) -> dict[str, float]: ...

    def score(self, samples: Sequence[Sample]) -> list[Scored]: ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...

    def sampler(self) -> Sampler: ...


# --- which tasks are tried next -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the attempts of a group begin: a task, behind ``steps`` that were taken before and that all of them share.

    ``id`` is the source's own name for it, by which it knows the results.
    """

    task: Task
    steps: tuple[Step, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How the attempts from one start went: an outcome each, ``None`` where one broke. ``trajectories`` are those that did not."""

    start: Start
    outcomes: tuple[float | None, ...]
    trajectories: tuple[Trajectory, ...] = ()


class TaskSource(Protocol):
    """Says what is tried next, and hears how whole groups of attempts went.

    ``next`` returns ``count`` starts, fewer only where it has no more. ``report`` gets the results in any order and portions. ``dump``
    returns the state as JSON; a source that was made in the same way goes on from it by ``load``, with the same choices.
    """

    def next(self, count: int) -> list[Start]: ...

    def report(self, results: Sequence[Attempts]) -> None: ...

    def dump(self) -> Json: ...

    def load(self, state: Json) -> None: ...


# --- watching -----------------------------------------------------------------------------------


class Logger(Protocol):
    """Receives named numbers as a run goes on."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


# --- screens --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """Something on a screen. ``kind`` is button, field, item, switch or text.

    ``text`` is what it shows (a field: what stands in it). ``box`` is left, top, right and bottom in thousandths of the screen.
    """

    id: str
    kind: str
    text: str
    enabled: bool = True
    box: tuple[int, int, int, int] = (0, 0, 1000, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenView:
    """What a screen shows now. ``focus`` is the id of the field that typing goes to, empty for none."""

    app: str
    page: str
    elements: tuple[Element, ...] = ()
    focus: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gesture:
    """One thing that a finger or a key does. ``kind`` is tap, hold, type, swipe, back, home or open.

    ``target`` is an element's id, a direction (``up``, ``down``) or an app; ``text`` is what is typed.
    """

    kind: str
    target: str = ""
    text: str = ""


class Screen(Protocol):
    """A device that is operated by its screen: a phone, a desktop, a browser.

    ``do`` performs one gesture and returns why it could not be done, ``None`` where it was.
    """

    @property
    def name(self) -> str: ...

    @property
    def apps(self) -> tuple[str, ...]: ...

    def view(self) -> ScreenView: ...

    def do(self, gesture: Gesture) -> str | None: ...


# --- worlds: how environments are offered ---------------------------------------------------------


class World(Protocol):
    """A family of tasks and the environment that runs them, as a frozen dataclass of its options.

    ``task(split, index)`` is a pure function of the options; the splits ``train`` and ``test`` never
    share a task. ``size`` is the number of tasks of a split, ``None`` without end. ``max_steps`` is
    the default step limit of an episode.
    """

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def max_steps(self) -> int: ...

    def make(self) -> Environment: ...

    def task(self, split: str, index: int) -> Task: ...

    def size(self, split: str) -> int | None: ...
