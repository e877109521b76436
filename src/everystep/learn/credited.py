"""From trajectories to a learner's samples: credit for every step, a critic's targets, and log-probabilities that are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from everystep.core.protocols import Learner
from everystep.core.records import Sample, Step, Trajectory
from everystep.credit.assess import assess
from everystep.credit.terms import Credit, Estimator
from everystep.learn.critic import VALUE, critic_scores, explained, value_targets, with_targets
from everystep.learn.samples import sample_of, with_logprobs
from everystep.models.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Critic:
    """A critic on the learner's own network: ``discount`` of the returns that it foretells, and how far its targets trust the rewards."""

    template: Template
    discount: float = 1.0
    trace: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """Samples in the order of the trajectories, the credit that they carry, and numbers about it."""

    credit: Credit
    samples: tuple[Sample, ...]
    numbers: Mapping[str, float]


def credited(
    trajectories: Sequence[Trajectory],
    estimator: Estimator,
    learner: Learner,
    *,
    rng: np.random.Generator,
    scores: Mapping[str, npt.ArrayLike] | None = None,
    process: Mapping[str, float] | None = None,
    parts: Mapping[str, float] | None = None,
    match_rms: float | None = None,
    critic: Critic | None = None,
    tool_output: bool = False,
    segment: Callable[[Step], str] | None = None,
) -> Credited:
    """Give every step its credit and make one sample a trajectory.

    ``scores`` are further step scores, one number a step in the order of the trajectories; ``process``, ``parts``, ``match_rms`` and ``segment`` are those of
    ``credit.assess``. With a ``critic`` its values are read and its targets set. ``tool_output`` trains what tools wrote.
    """
    given = dict(scores or {})
    if critic is not None:
        bare = [sample_of(one, [0.0] * len(one.steps)) for one in trajectories]
        given |= critic_scores(learner, trajectories, bare, critic.template)
    table, credit = assess(
        trajectories,
        estimator,
        rng=rng,
        match_rms=match_rms,
        scores=given,
        process=process,
        parts=parts,
        segment=segment,
    )
    starts = np.cumsum([0, *(len(one.steps) for one in trajectories)])
    samples = []
    for trajectory, start in zip(trajectories, starts, strict=False):
        values = credit.value_S[start : start + len(trajectory.steps)].tolist()
        samples.append(sample_of(trajectory, values, tool_output=tool_output))
    numbers = {"credit_rms": credit.diagnostics.rms}
    if critic is not None:
        target_S = value_targets(table, discount=critic.discount, trace=critic.trace)
        numbers["explained_variance"] = explained(table.score(VALUE), target_S)
        samples = [
            with_targets(sample, target_S[start : start + len(one.steps)].tolist())
            for sample, one, start in zip(samples, trajectories, starts, strict=False)
        ]
    if tool_output:
        current = learner.score([replace(sample, logprobs=()) for sample in samples])
        samples = [with_logprobs(sample, one.logprobs) for sample, one in zip(samples, current, strict=True)]
    return Credited(credit=credit, samples=tuple(samples), numbers=numbers)
