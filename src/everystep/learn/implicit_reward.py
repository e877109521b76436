"""A second language model as a reward model of steps: it learns to prefer the trajectories that succeeded, and a step's score is how
much more likely it finds the step than the policy that wrote it did.

``score[i, t] = beta * sum over the step's sampled tokens of (log p - log p_rollout)``; the loss compares the sums (or means) of two trajectories'
log-ratios: DPO over whole trajectories. No step is labelled. The reference is the policy that produced the rollouts: its log-probabilities
were recorded when it sampled, so nothing is scored twice.

Source: OPRL, "iStar" (Online Process Reward Learning for Agentic Reinforcement Learning); with a token for a step, PRIME.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from everystep.core.errors import LearnerError
from everystep.core.protocols import Learner, Loss, Scored
from everystep.core.records import End, Level, PreferencePair, Sample, Trajectory
from everystep.credit.columns import TERMINATED, from_arrays
from everystep.credit.grouping import FloatArray
from everystep.credit.implicit import log_ratio_scores
from everystep.credit.terms import Credit, Estimator, assign
from everystep.learn.losses import preference_terms
from everystep.learn.pairs import as_cross_entropy, pair_samples
from everystep.learn.samples import sample_of

PREFER = Loss(preference="sigmoid", preference_beta=0.05)
"""The published loss: ``-log sigmoid(beta * (log-ratio of the success - log-ratio of the failure))``."""


def outcome_pairs(
    trajectories: Sequence[Trajectory], *, above: float = 0.0, cut_off: bool = False
) -> list[PreferencePair]:
    """Pair every success with every failure of its group; a success has an outcome ``above`` the number.

    A trajectory that was cut off has not failed and is in no pair, unless ``cut_off`` counts it as a failure (as released code does).
    """
    groups: dict[str, tuple[list[Trajectory], list[Trajectory]]] = {}
    for one in trajectories:
        if one.outcome is None or not (one.end in TERMINATED or (cut_off and one.end is End.TRUNCATED)):
            continue
        good, bad = groups.setdefault(one.group, ([], []))
        (good if one.outcome > above else bad).append(one)
    return [
        PreferencePair(
            context=(),
            chosen=better.id,
            rejected=worse.id,
            level=Level.TRAJECTORY,
            margin=(better.outcome or 0.0) - (worse.outcome or 0.0),
            source="groups/outcome",
        )
        for good, bad in groups.values()
        for better in good
        for worse in bad
    ]


def rollout_rows(trajectories: Sequence[Trajectory]) -> list[Sample]:
    """Return each trajectory as a row with the log-probabilities that its tokens were sampled with, and no credit."""
    return [sample_of(one, [0.0] * len(one.steps)) for one in trajectories]


def log_ratios(learner: Learner, trajectories: Sequence[Trajectory]) -> list[FloatArray]:
    """Return for each trajectory ``log p - log p_rollout`` of every token that was a choice, ``[T]``; 0 elsewhere."""
    rows = rollout_rows(trajectories)
    found = []
    for row, scored in zip(rows, learner.score(rows), strict=True):
        chosen = np.asarray(row.policy_weight) != 0
        found.append(np.where(chosen, np.subtract(scored.logprobs, row.logprobs), 0.0))
    return found


def implicit_scores(
    learner: Learner, trajectories: Sequence[Trajectory], *, beta: float = 0.05
) -> FloatArray:
    """Return one score a step, trajectory after trajectory, under the current weights of the reward model ``learner``.

    Whether they are those before or after its update is the caller's choice; a learner's ``updates`` says which.
    """
    rows = rollout_rows(trajectories)
    new, old = list[list[float]](), list[list[float]]()
    for one, row, scored in zip(trajectories, rows, learner.score(rows), strict=True):
        first = len(new)
        new += [[] for _ in one.steps]
        old += [[] for _ in one.steps]
        for place in np.flatnonzero(row.policy_weight).tolist():
            new[first + row.step_of[place]].append(scored.logprobs[place])
            old[first + row.step_of[place]].append(row.logprobs[place])
    return log_ratio_scores(new, old, beta=beta)


def token_credit(
    trajectories: Sequence[Trajectory],
    ratios: Sequence[FloatArray],
    estimator: Estimator,
    *,
    score: str = "implicit",
    beta: float = 0.05,
    match_rms: float | None = None,
) -> tuple[Credit, list[Sample]]:
    """Give credit with a token in the place of a step: ``estimator`` sees one row for every token that was a choice.

    ``ratios`` are those of ``log_ratios``. Returns the credit of these rows, and the samples with each token's own advantage.
    """
    rows = rollout_rows(trajectories)
    places = [np.flatnonzero(row.policy_weight) for row in rows]
    owner = np.repeat(np.arange(len(rows)), [one.size for one in places])
    groups = {name: number for number, name in enumerate(dict.fromkeys(one.group for one in trajectories))}
    outcome = [np.nan if one.outcome is None else one.outcome for one in trajectories]
    tokens = from_arrays(
        task_S=np.array([groups[one.group] for one in trajectories], dtype=np.int64)[owner],
        trajectory_S=owner,
        reward_S=np.zeros(owner.size),
        outcome_S=np.array(outcome)[owner],
        scores={score: np.concatenate([beta * one[at] for one, at in zip(ratios, places, strict=True)])},
    )
    credit = assign(tokens, estimator, match_rms=match_rms)
    samples, start = [], 0
    for row, at in zip(rows, places, strict=True):
        advantage = np.zeros(len(row.ids))
        advantage[at] = credit.value_S[start : start + at.size]
        samples.append(replace(row, advantage=tuple(advantage.tolist())))
        start += at.size
    return credit, samples


def prefer_outcomes(
    learner: Learner,
    trajectories: Sequence[Trajectory],
    *,
    learning_rate: float,
    loss: Loss = PREFER,
    length: str = "sum",
    above: float = 0.0,
    cut_off: bool = False,
) -> dict[str, float]:
    """Do one update of the reward model ``learner`` on all pairs of successes and failures; return its numbers, empty without a pair.

    ``length`` says what a trajectory's log-ratio is: the ``sum`` over its steps (the paper) or the mean over its ``steps`` (the released
    code), each the sum over its tokens. However many pairs a trajectory is in, it is computed once: the slopes of the pairs' losses are
    gathered on its tokens, which gives the same gradient.
    """
    pairs = outcome_pairs(trajectories, above=above, cut_off=cut_off)
    known = {row.ids: row for row in rollout_rows(trajectories)}
    sides = [
        _referred(side, known)
        for side in pair_samples(pairs, trajectories, length=length, restrict=True).samples
    ]
    if not sides:
        return {}
    once = {side.ids: side for side in sides}
    scored = dict(zip(once, learner.score(list(once.values())), strict=True))
    found = [scored[side.ids] for side in sides]
    numbers = _told(sides, found, loss)
    plain, entropy = as_cross_entropy(sides, found, loss)
    numbers |= learner.forward_backward(_gathered(plain), entropy)
    return numbers | learner.optim_step(learning_rate=learning_rate)


def _referred(side: Sample, known: dict[tuple[int, ...], Sample]) -> Sample:
    """Return one side of a pair with the log-probabilities of the policy that sampled it as the reference."""
    row = known.get(side.ids)
    if row is None:
        raise LearnerError(f"the row {side.rollout!r} of a pair is none of the trajectories' rows.")
    return replace(side, reference_logprobs=row.logprobs, temperature=row.temperature)


def _gathered(rows: Sequence[Sample]) -> list[Sample]:
    """Return rows of equal tokens as one, with the sum of their weights."""
    sums: dict[tuple[int, ...], FloatArray] = {}
    for row in rows:
        sums[row.ids] = sums.get(row.ids, np.zeros(len(row.ids))) + np.asarray(row.supervised_weight)
    first = {row.ids: row for row in reversed(rows)}
    return [
        replace(first[ids], supervised_weight=tuple(weight.tolist()), reference_logprobs=())
        for ids, weight in sums.items()
    ]


def _told(sides: Sequence[Sample], scored: Sequence[Scored], loss: Loss) -> dict[str, float]:
    """Return the loss over the pairs before the update, their number, and the share that is ordered rightly."""
    ratio = [
        float(np.dot(side.preference_weight, np.subtract(one.logprobs, side.reference_logprobs)))
        for side, one in zip(sides, scored, strict=True)
    ]
    margin = torch.tensor(ratio).reshape(-1, 2).sum(1)
    return {
        "pairs": float(len(margin)),
        "preference_loss": float(preference_terms(loss.preference, margin, loss).mean()),
        "preference_accuracy": float((margin > 0).float().mean()),
    }
