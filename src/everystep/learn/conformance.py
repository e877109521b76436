"""What every learner must do, checked from the outside: the same suite for the local and any remote backend.

Each check makes its own learners through ``factory``, which must always return the same initial weights.
Gradients are compared through ``Gradients`` where the learner shows them, else through the metric
``grad_norm`` of ``optim_step`` and through scores after an update.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from everystep.core.errors import ConfigError, EverystepError, did_you_mean
from everystep.core.protocols import Learner, Loss, Request, Sampling
from everystep.core.records import Message, Sample
from everystep.learn.streams import totals_of


@runtime_checkable
class Gradients(Protocol):
    """A learner that shows the gradient that it has gathered, as one vector."""

    def gradient(self) -> NDArray[np.float32]: ...


Factory = Callable[[], Learner]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise: kept, broken (``detail`` says how), or not applicable (``passed`` is ``None``)."""

    name: str
    passed: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of all checks."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no promise was broken."""
        return all(check.passed is not False for check in self.checks)

    def __str__(self) -> str:
        """One line a check."""
        word = {True: "ok", False: "BROKEN", None: "n/a"}
        return "\n".join(
            f"{word[one.passed]:7}{one.name}{': ' if one.detail else ''}{one.detail}" for one in self.checks
        )


class _BrokenError(Exception):
    pass


class _NotApplicableError(Exception):
    pass


def check_learner(
    factory: Factory,
    *,
    vocabulary: int,
    seed: int = 0,
    tolerance: float = 1e-4,
    sample_text: str | None = None,
    only: str | None = None,
) -> Report:
    """Run every check against learners of ``factory`` and report.

    ``vocabulary`` is the number of token ids to draw samples from; ``tolerance`` is relative. ``sample_text`` is a prompt
    for the sampler; without it the sampler is not checked.
    ``only`` runs the check of that name alone.
    """
    case = _Case(factory, vocabulary, seed, tolerance, sample_text)
    if only is not None and only not in _CHECKS:
        raise ConfigError(f"check {only!r} is unknown. {did_you_mean(only, _CHECKS)}")
    checks = []
    for name, check in _CHECKS.items():
        if only not in (None, name):
            continue
        try:
            detail = check(case)
            checks.append(Check(name=name, passed=True, detail=detail or ""))
        except _BrokenError as error:
            checks.append(Check(name=name, passed=False, detail=str(error)))
        except _NotApplicableError as error:
            checks.append(Check(name=name, passed=None, detail=str(error)))
        except Exception as error:  # whatever a learner raises here, it broke its promise
            checks.append(Check(name=name, passed=False, detail=f"{type(error).__name__}: {error}"))
    return Report(checks=tuple(checks))


class _Case:
    """The learner under test and the samples that it is tested with."""

    def __init__(
        self, factory: Factory, vocabulary: int, seed: int, tolerance: float, text: str | None
    ) -> None:
        self.factory = factory
        self.vocabulary = vocabulary
        self.tolerance = tolerance
        self.text = text
        rng = random.Random(seed)
        self.rows = [self._supervised(rng, size, f"r{size}") for size in (7, 12, 9)]

    def _supervised(self, rng: random.Random, size: int, rollout: str) -> Sample:
        ids = tuple(rng.randrange(self.vocabulary) for _ in range(size))
        weight = (0.0, 0.0, *(float(rng.random() < 0.6) for _ in range(size - 3)), 1.0)
        return Sample(ids=ids, supervised_weight=weight, rollout=rollout)

    def policy(self, learner: Learner, sample: Sample, advantage: float, **more: object) -> Sample:
        """Return ``sample`` with a policy stream whose log-probabilities are the learner's own."""
        bare = replace(sample, **more)  # type: ignore[arg-type]
        return replace(
            bare,
            supervised_weight=(),
            policy_weight=sample.supervised_weight,
            advantage=(advantage,) * len(sample.ids),
            logprobs=learner.score([bare])[0].logprobs,
        )

    def gradient(
        self, calls: Sequence[Sequence[Sample]], loss: Loss, totals: dict[str, float] | None = None
    ) -> NDArray[np.float32]:
        """Return the gradient of one or several calls, or its norm as a vector of one number."""
        learner = self.factory()
        for samples in calls:
            learner.forward_backward(samples, loss, totals=totals)
        if isinstance(learner, Gradients):
            return learner.gradient()
        metrics = learner.optim_step(learning_rate=0.0)
        if "grad_norm" not in metrics:
            raise _NotApplicableError("the learner shows neither gradient() nor the metric grad_norm")
        return np.array([metrics["grad_norm"]], dtype=np.float32)

    def same(self, found: NDArray[np.float32], expected: NDArray[np.float32], what: str) -> str:
        scale = float(np.abs(expected).max()) or 1.0
        gap = float(np.abs(found - expected).max()) / scale
        if not gap <= self.tolerance:
            raise _BrokenError(f"{what}: relative gap {gap:.2e}, allowed {self.tolerance:.0e}")
        return f"relative gap {gap:.1e}"


_SUM = Loss(aggregate="constant")


def _scaled(sample: Sample, factor: float) -> Sample:
    return replace(sample, supervised_weight=tuple(factor * weight for weight in sample.supervised_weight))


def _linear(case: _Case) -> str:
    for loss in (_SUM, Loss()):
        one = case.gradient([case.rows], loss)
        two = case.gradient([[_scaled(row, 2.5) for row in case.rows]], loss)
        detail = case.same(two, 2.5 * one, f"weights times 2.5 under aggregate={loss.aggregate!r}")
    return detail


def _sign(case: _Case) -> None:
    learner = case.factory()
    probe = case.rows[1]
    for factor, expected in ((1.0, 1), (-1.0, -1)):
        learner = case.factory()
        before = _likelihood(learner, probe)
        learner.forward_backward([_scaled(probe, factor)], _SUM)
        learner.optim_step(learning_rate=1e-3)
        change = _likelihood(learner, probe) - before
        if change * expected <= 0:
            raise _BrokenError(f"weight {factor:+} changed the log-likelihood by {change:+.3e}")
        learner = case.factory()
        sample = case.policy(learner, probe, factor)
        learner.forward_backward([sample], _SUM)
        learner.optim_step(learning_rate=1e-3)
        change = _likelihood(learner, probe) - before
        if change * expected <= 0:
            raise _BrokenError(f"advantage {factor:+} changed the log-likelihood by {change:+.3e}")


def _likelihood(learner: Learner, sample: Sample) -> float:
    scored = learner.score([replace(sample, supervised_weight=())])[0].logprobs
    return sum(w * p for w, p in zip(sample.supervised_weight, scored, strict=True))


def _additive_samples(case: _Case) -> str:
    together = case.gradient([case.rows], _SUM)
    if together.size == 1:
        raise _NotApplicableError("needs gradient()")
    apart = np.sum([case.gradient([[row]], _SUM) for row in case.rows], axis=0)
    return case.same(together, apart, "a batch against the sum of its samples")


def _additive_calls(case: _Case) -> str:
    for loss in (_SUM, Loss(), Loss(aggregate="token"), Loss(aggregate="sum")):
        totals = totals_of(case.rows)
        once = case.gradient([case.rows], loss)
        split = case.gradient([[row] for row in case.rows], loss, totals)
        detail = case.same(split, once, f"three calls against one under aggregate={loss.aggregate!r}")
    return detail


def _zero(case: _Case) -> None:
    none = [_scaled(row, 0.0) for row in case.rows]
    gradient = case.gradient([none], _SUM)
    if np.any(gradient):
        raise _BrokenError(f"the gradient of zero weights has norm {np.linalg.norm(gradient):.3e}")
    with_zero = case.gradient([[case.rows[0], *none[1:]]], _SUM)
    case.same(with_zero, case.gradient([[case.rows[0]]], _SUM), "rows of weight zero beside others")


def _context(case: _Case) -> None:
    """A token of weight zero is still seen by those behind it."""
    row = case.rows[1]
    other = replace(row, ids=(row.ids[0], (row.ids[1] + 1) % case.vocabulary, *row.ids[2:]))
    one, two = case.factory().score([row, other])
    if one.logprobs[-1] == two.logprobs[-1]:
        raise _BrokenError(
            "changing a token of the context did not change the log-probability of the last token"
        )


def _alignment(case: _Case) -> str:
    learner = case.factory()
    scored = learner.score(case.rows)
    for row, one in zip(case.rows, scored, strict=True):
        if len(one.logprobs) != len(row.ids):
            raise _BrokenError(f"{len(one.logprobs)} log-probabilities for {len(row.ids)} tokens")
        if one.logprobs[0] != 0.0:
            raise _BrokenError(f"position 0 is {one.logprobs[0]!r}, expected 0.0")
    prefix = case.rows[1].ids[:5]
    mass = sum(
        math.exp(one.logprobs[5])
        for one in learner.score([Sample(ids=(*prefix, token)) for token in range(case.vocabulary)])
    )
    if mass > 1 + 1e-3:
        raise _BrokenError(f"the probabilities of one position add up to {mass:.4f}")
    short = learner.score([Sample(ids=case.rows[1].ids[:6])])[0].logprobs
    gap = max(abs(a - b) for a, b in zip(short, scored[1].logprobs[:6], strict=True))
    if gap > 1e-3:
        raise _BrokenError(f"log-probability t depends on tokens behind t (gap {gap:.2e})")
    return f"mass {mass:.4f} over the ids drawn from"


def _ratio(case: _Case) -> None:
    learner = case.factory()
    for policy in sorted(learner.capabilities.losses & {"ppo", "cispo", "gspo", "step", "importance"}):
        learner = case.factory()
        samples = [case.policy(learner, row, 1.0) for row in case.rows]
        gradient = case.gradient([samples], Loss(policy=policy))
        case.same(gradient, case.gradient([case.rows], Loss()), f"{policy} on policy against cross-entropy")
        metrics = learner.forward_backward(samples, Loss(policy=policy))
        if abs(metrics.get("ratio_max", 1.0) - 1.0) > 1e-3:
            raise _BrokenError(f"{policy}: the largest ratio before any update is {metrics['ratio_max']!r}")


def _allowed(case: _Case) -> None:
    learner = case.factory()
    row = case.rows[1]
    at = len(row.ids) - 1
    options = tuple({row.ids[at], (row.ids[at] + 1) % case.vocabulary, (row.ids[at] + 2) % case.vocabulary})
    sample = Sample(ids=row.ids, supervised_weight=(0.0,) * at + (1.0,), allowed={at: options})
    if not learner.capabilities.allowed_sets:
        _must_raise(lambda: learner.forward_backward([sample], _SUM), "allowed sets")
        raise _NotApplicableError("not offered, and refused as it must be")
    rows = [replace(sample, ids=(*row.ids[:at], token)) for token in options]
    mass = sum(math.exp(one.logprobs[at]) for one in learner.score(rows))
    if abs(mass - 1) > 1e-4:
        raise _BrokenError(f"the allowed ids have a mass of {mass:.5f}, expected 1")
    single = replace(sample, allowed={at: (row.ids[at],)})
    if learner.score([single])[0].logprobs[at] != 0.0:
        raise _BrokenError("the only allowed id must have log-probability 0")
    if np.abs(case.gradient([[single]], _SUM)).max() > 1e-6:
        raise _BrokenError("a token without a choice must have no gradient")


def _slope(kind: str, h: float) -> float:
    """The derivative of a preference loss by ``h``, at the loss's default options, from its formula."""
    beta = Loss().preference_beta
    lost = 1.0 / (1.0 + math.exp(beta * h))
    slopes = {
        "sigmoid": -beta * lost,
        "ipo": 2.0 * (h - 0.5 / beta),
        "hinge": -beta if beta * h < 1.0 else 0.0,
        "kto": -beta * lost * (1.0 - lost),
    }
    if kind not in slopes:
        raise _BrokenError(f"the preference loss {kind!r} is offered, but has no formula here")
    return slopes[kind]


def _preferences(case: _Case) -> str:
    """A pair's gradient is that of a cross-entropy whose weights are the loss's slope at the pair's margin."""
    learner = case.factory()
    trunk = case.rows[1].ids[:6]
    bare = [Sample(ids=(*trunk, *case.rows[at].ids[:size])) for at, size in ((0, 4), (2, 6))]
    rows = []
    for sign, row, scored in zip((1.0, -1.0), bare, learner.score(bare), strict=True):
        weight = (0.0,) * len(trunk) + (sign,) * (len(row.ids) - len(trunk))
        reference = tuple(p - 0.3 * sign * (at % 3) for at, p in enumerate(scored.logprobs))
        rows.append(replace(row, preference_weight=weight, reference_logprobs=reference, pair="one"))
    offered = learner.capabilities.preferences
    if not offered:
        _must_raise(lambda: learner.forward_backward(rows, Loss(preference="sigmoid")), "a preference loss")
        raise _NotApplicableError("not offered, and refused as it must be")
    gaps = [
        sum(
            w * (new - old)
            for w, new, old in zip(row.preference_weight, one.logprobs, row.reference_logprobs, strict=True)
        )
        for row, one in zip(rows, learner.score(rows), strict=True)
    ]
    detail = ""
    for kind in sorted(offered):
        alone = kind == "kto"
        given = [replace(row, pair=f"{at}") for at, row in enumerate(rows)] if alone else rows
        plain = []
        for row, gap in zip(rows, gaps, strict=True):
            slope = _slope(kind, gap) / 2 if alone else _slope(kind, sum(gaps))
            weight = tuple(-slope * w for w in row.preference_weight)
            plain.append(replace(row, preference_weight=(), pair="", supervised_weight=weight))
        found = case.gradient([given], Loss(preference=kind))
        detail = case.same(found, case.gradient([plain], _SUM), f"{kind} against its weighted cross-entropy")
        if not alone:
            side = rows[:1]
            _must_raise(
                lambda side=side, kind=kind: case.factory().forward_backward(side, Loss(preference=kind)),  # type: ignore[misc]
                "one side of a pair",
            )
    return detail


def _values(case: _Case) -> str:
    """Values stand at every token, do not look ahead, and go where their targets are."""
    learner = case.factory()
    if not learner.capabilities.value_head:
        raise _NotApplicableError("not offered; that it is refused is checked with the other options")
    row = replace(case.rows[1], supervised_weight=())
    size = len(row.ids)
    weight = (0.0, *(1.0,) * (size - 1))
    goal = replace(row, value_weight=weight, value_target=(0.0, *(0.5,) * (size - 1)))
    for _ in range(5):
        learner.forward_backward([goal], Loss(value=1.0))
        learner.optim_step(learning_rate=1e-2)
    values = [one.values for one in learner.score([row, replace(row, ids=row.ids[:4])])]
    if values[0] is None or values[1] is None or len(values[0]) != size:
        raise _BrokenError("score gives no value for each token")
    gap = max(abs(a - b) for a, b in zip(values[0], values[1], strict=False))
    if gap > 1e-3:
        raise _BrokenError(f"the value at t depends on tokens behind t (gap {gap:.2e})")
    before = case.factory().score([row])[0].values or ()
    if not _error(values[0]) < _error(before):
        raise _BrokenError("five updates did not bring the values nearer to their target")
    return f"mean distance {_error(values[0]):.3f} after five updates"


def _error(values: Sequence[float]) -> float:
    return sum(abs(value - 0.5) for value in values[1:]) / max(1, len(values) - 1)


def _avoid(case: _Case) -> str:
    learner = case.factory()
    row = replace(case.rows[1], supervised_weight=())
    size = len(row.ids)
    now = learner.score([row])[0].logprobs
    reference = tuple(p + 0.2 * (at % 3 - 1) for at, p in enumerate(now))
    weight = (0.0, *(1.0,) * (size - 1))
    sample = replace(row, avoid_weight=weight, reference_logprobs=reference)
    if not learner.capabilities.avoid:
        _must_raise(lambda: learner.forward_backward([sample], Loss(avoid=0.2)), "tokens to avoid")
        raise _NotApplicableError("not offered, and refused as it must be")
    slopes = tuple(
        -0.2 * w / (size - 1) / (1.0 + math.exp(old - new))
        for w, old, new in zip(weight, reference, now, strict=True)
    )
    found = case.gradient([[sample]], Loss(avoid=0.2))
    expected = case.gradient([[replace(row, supervised_weight=slopes)]], _SUM)
    return case.same(found, expected, "tokens to avoid against their weighted cross-entropy")


def _temperature(case: _Case) -> None:
    learner = case.factory()
    row = case.rows[1]
    prefix, size = row.ids[:5], case.vocabulary
    scores = {
        heat: np.array(
            [
                one.logprobs[5]
                for one in learner.score(
                    [Sample(ids=(*prefix, token), temperature=heat) for token in range(size)]
                )
            ]
        )
        for heat in (1.0, 2.0)
    }
    gaps = [scores[heat] - scores[heat].max() for heat in (1.0, 2.0)]
    if np.abs(gaps[0] - 2.0 * gaps[1]).max() > 1e-3:
        raise _BrokenError("log-probabilities at temperature 2 are not those of the halved logits")


def _restore(case: _Case) -> None:
    learner = case.factory()
    if not learner.capabilities.exact_resume:
        raise _NotApplicableError("exact_resume is not offered")
    with tempfile.TemporaryDirectory() as folder:
        _train(learner, case, 3)
        learner.save(Path(folder) / "point")
        _train(learner, case, 3)
        other = case.factory()
        other.load(Path(folder) / "point")
        _train(other, case, 3)
    if learner.score(case.rows) != other.score(case.rows):
        raise _BrokenError("three steps after a restore are not those of the undisturbed run, to the bit")


def _train(learner: Learner, case: _Case, steps: int) -> None:
    for _ in range(steps):
        learner.forward_backward(case.rows, Loss())
        learner.optim_step(learning_rate=1e-3)


def _sampler(case: _Case) -> None:
    if case.text is None:
        raise _NotApplicableError("no sample_text was given")
    learner = case.factory()
    answers = []
    for _ in range(2):
        sampler = learner.sampler()
        request = Request(session="conformance", messages=(Message(role="user", content=case.text),), seed=1)
        generation = sampler.sample([request], Sampling(max_tokens=12))[0]
        sampler.release(["conformance"])
        if generation.tokens is None:
            raise _NotApplicableError("the sampler shows no tokens")
        answers.append(generation.tokens)
        for _ in range(5):
            learner.forward_backward(case.rows, Loss())
            learner.optim_step(learning_rate=0.03)
    if answers[0].logprobs == answers[1].logprobs:
        raise _BrokenError("the same request has the same log-probabilities after five large updates")


def _unsupported(case: _Case) -> None:
    learner = case.factory()
    row = case.rows[0]
    ones = row.supervised_weight
    _must_raise(
        lambda: learner.forward_backward([row], Loss(policy="no-such-loss")), "an unknown policy loss"
    )
    _must_raise(
        lambda: learner.forward_backward([row], Loss(kl="k3", kl_coefficient=0.1)), "kl without a reference"
    )
    ragged = replace(row, supervised_weight=(*ones, 1.0))
    _must_raise(lambda: learner.forward_backward([ragged], Loss()), "a stream longer than ids")
    broken = replace(row, supervised_weight=(0.0, math.nan, *ones[2:]))
    _must_raise(lambda: learner.forward_backward([broken], Loss()), "a weight that is not a number")
    if not learner.capabilities.value_head:
        valued = replace(row, value_weight=ones, value_target=ones)
        _must_raise(
            lambda: learner.forward_backward([valued], Loss(value=1.0)), "a value loss without a value head"
        )
    if not learner.capabilities.entropy:
        _must_raise(lambda: learner.forward_backward([row], Loss(entropy=0.1)), "an entropy bonus")


def _must_raise(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except EverystepError:
        return
    raise _BrokenError(f"{what} was accepted; it must raise, never be ignored")


_CHECKS: dict[str, Callable[[_Case], str | None]] = {
    "linear in the weights": _linear,
    "sign": _sign,
    "additive over samples": _additive_samples,
    "additive over calls": _additive_calls,
    "zero weight is zero gradient": _zero,
    "weightless tokens stay in the context": _context,
    "log-probabilities are aligned": _alignment,
    "ratio is 1 before the first update": _ratio,
    "allowed sets": _allowed,
    "preferences": _preferences,
    "tokens to avoid": _avoid,
    "values": _values,
    "temperature": _temperature,
    "restore to the bit": _restore,
    "the sampler sees new weights": _sampler,
    "unsupported options raise": _unsupported,
}
