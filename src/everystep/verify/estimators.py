"""Learned judges that read a language model or a value: label tokens, log-ratios, progress.

All three need one ability from below, so any learner or endpoint that has it can be the model: log-probabilities of given tokens
(``core.protocols.Learner.score``), or a value of a state. How such models are trained is ``learn``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import exp, isfinite
from typing import Protocol

from everystep.core.errors import ConfigError, JudgeError
from everystep.core.protocols import Evidence, Looks, Scored
from everystep.core.records import Level, Sample, SpanKind, Step, Verdict
from everystep.verify.rule import STEPS
from everystep.verify.templates import action_text
from everystep.verify.verdicts import verdict
from everystep.verify.views import Tell

Encode = Callable[[str], Sequence[int]]
"""Text to token ids, without special tokens."""


class Scores(Protocol):
    """What gives log-probabilities of tokens: every learner does."""

    def score(self, samples: Sequence[Sample]) -> list[Scored]: ...


# --- label tokens ---------------------------------------------------------------------------------


def told_whole(evidence: Evidence) -> str:
    """Return the task, and every step after what was seen."""
    return "\n".join(
        [evidence.task.instruction, *(_told(step) for step in evidence.before), _told(evidence.step)]
    )


def _told(step: Step) -> str:
    seen = step.observation.text
    return f"{seen}\n> {action_text(step)}" if seen else action_text(step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """How a step is written for a causal LM that says after it whether it is good.

    The step and what came before it are text, then comes ``ask``, then one label token: ``good`` or ``bad``. Only the label is ever a target, and
    no earlier label stands in the context: at use they are not known. ``tell`` makes the text (see ``verify.views``); by default it is the task and
    each step after what was seen. ``most`` bounds the tokens, cut in the middle.
    """

    encode: Encode
    tell: Tell = told_whole
    ask: str = "\nIs this step right?"
    good: str = " yes"
    bad: str = " no"
    most: int = 1024

    def __post_init__(self) -> None:
        if self.most < 8:
            raise ConfigError(f"most is {self.most!r} tokens; expected 8 or more.")
        if self.label(True) == self.label(False):
            raise ConfigError(
                f"{self.good!r} and {self.bad!r} begin with the same token; choose other labels."
            )

    def label(self, good: bool) -> int:
        """Return the label's token: the first one of its text."""
        ids = list(self.encode(self.good if good else self.bad))
        if not ids:
            raise ConfigError(f"the label {self.good if good else self.bad!r} has no token.")
        return ids[0]

    def context(self, evidence: Evidence) -> tuple[int, ...]:
        """Return the tokens before the label. Of a long text the beginning (the task) and the end (the step) are kept."""
        ids, ask = list(self.encode(self.tell(evidence))), list(self.encode(self.ask))
        room = self.most - len(ask) - 1
        if len(ids) > room:
            ids = [*ids[: room // 4], *ids[len(ids) - (room - room // 4) :]]
        return (*ids, *ask)

    def sample(self, evidence: Evidence, *, good: bool, weight: float = 1.0) -> Sample:
        """Return the row that trains the label of one step. Rows of one trajectory share their beginnings: backends may pack them as a tree."""
        ids = (*self.context(evidence), self.label(good))
        return Sample(
            ids=ids, supervised_weight=(*(0.0 for _ in ids[1:]), weight), rollout=evidence.targets[0]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelToken:
    """Judges a step by the chance of the label ``good`` against ``bad`` behind it: p(good) / (p(good) + p(bad))."""

    model: Scores
    labels: Labels
    name: str = "label token"
    version: str = "1"
    looks: Looks = field(default_factory=lambda: Looks(actions=None, observations=1))
    levels: frozenset[Level] = STEPS

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the verdict on one step."""
        _only_steps(self.name, level)
        [odds] = log_odds(self.model, self.labels, [evidence])
        return (verdict(self, level, evidence, score=_sigmoid(odds)),)


def log_odds(model: Scores, labels: Labels, evidence: Sequence[Evidence]) -> list[float]:
    """Return log p(good) - log p(bad) behind each step, with one call of ``model``. Any real number; more is better.

    Raises ``JudgeError`` where the model gives both labels no chance.
    """
    contexts = [labels.context(one) for one in evidence]
    rows = [Sample(ids=(*context, labels.label(good))) for context in contexts for good in (True, False)]
    found = [one.logprobs[-1] for one in model.score(rows)] if rows else []
    for one, good, bad in zip(evidence, found[::2], found[1::2], strict=True):
        if not (isfinite(good) or isfinite(bad)):
            raise JudgeError(f"the model gives both labels no chance behind step {one.targets[0]!r}.")
    return [good - bad for good, bad in zip(found[::2], found[1::2], strict=True)]


# --- log-ratios -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRatio:
    """Judges a step by ``beta * (log p - log p_reference)`` of its sampled tokens (PRIME, iStar), as a chance: its logistic function.

    The tokens are those that were sampled, in the context of all steps before; a step without tokens is a ``JudgeError``. The credit
    term of the same form is ``credit.implicit``; here it is a verdict beside others.
    """

    model: Scores
    reference: Scores
    beta: float = 0.05
    name: str = "log-ratio"
    version: str = "1"
    looks: Looks = field(default_factory=lambda: Looks(actions=None, observations=1, tokens=True))
    levels: frozenset[Level] = STEPS

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the verdict on one step; the log-ratio itself stands in the reason."""
        _only_steps(self.name, level)
        ids = list[int]()
        places = list[int]()
        for step in (*evidence.before, evidence.step):
            if step.tokens is None:
                raise JudgeError(
                    f"step {step.id!r} has no tokens; a log-ratio needs those that were sampled."
                )
            if step is evidence.step:
                for span in step.tokens.spans:
                    if span.kind is SpanKind.SAMPLED:
                        places += range(len(ids) + span.start, len(ids) + span.end)
            ids += step.tokens.ids
        places = [place for place in places if place]  # the first token of a row is never predicted
        [ours], [theirs] = (one.score([Sample(ids=tuple(ids))]) for one in (self.model, self.reference))
        ratio = self.beta * sum(ours.logprobs[place] - theirs.logprobs[place] for place in places)
        if not isfinite(ratio):
            raise JudgeError(f"the log-ratio of step {evidence.targets[0]!r} is {ratio!r}.")
        return (verdict(self, level, evidence, score=_sigmoid(ratio), reason=f"log-ratio {ratio:.6g}"),)


# --- progress -------------------------------------------------------------------------------------

Value = Callable[[Evidence], float]
"""The chance that the task will be solved, 0 to 1, as things stand behind the evidence's step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Judges a step by how far it moved a learned value: the value behind it less the value behind the step before, from -1 to 1.

    ``value`` may be any model of outcomes, such as a ``StepModel`` trained on the outcomes of trajectories; ``start`` is the value
    before any step. The measures of ``credit.progress`` are the same difference of a score that the environment measured.
    """

    value: Value
    start: float = 0.5
    name: str = "progress"
    version: str = "1"
    looks: Looks = field(default_factory=lambda: Looks(actions=None, observations=2))
    levels: frozenset[Level] = STEPS

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the verdict on one step."""
        _only_steps(self.name, level)
        after = self.value(evidence)
        before = self.start
        if evidence.before:
            *earlier, last = evidence.before
            before = self.value(
                replace(
                    evidence, before=tuple(earlier), candidates=((last,),), targets=(last.id,), results=()
                )
            )
        if not (0 <= after <= 1 and 0 <= before <= 1):
            raise JudgeError(
                f"the values around step {evidence.targets[0]!r} are {before!r} and {after!r}; expected 0 to 1."
            )
        return (verdict(self, level, evidence, score=after - before, low=-1.0, high=1.0),)


def _only_steps(name: str, level: Level) -> None:
    if level is not Level.STEP:
        raise ConfigError(f"judge {name!r} judges single steps; asked for {level}.")


def _sigmoid(x: float) -> float:
    x = max(-700.0, min(700.0, x))
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
