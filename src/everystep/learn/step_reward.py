"""Training step judges: a causal LM that says a label behind each step, or a small model on hashed words, from labels of steps.

Labels are numbers from 0 (bad) to 1 (good) by step id: people's, an oracle's, a judge's scores (StepRM), or outcomes handed down to steps. Steps
without a label are context and never a target. Split by problem before you come here: steps of one solution are alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from everystep.core.errors import DataError
from everystep.core.protocols import Evidence, Learner, Looks, Loss
from everystep.core.records import PreferencePair, Sample, Trajectory
from everystep.verify.estimators import Labels
from everystep.verify.evidence import step_evidence
from everystep.verify.reading import features_of
from everystep.verify.regress import LOOKS, StepModel, Training, train_model


def labelled_steps(
    trajectories: Iterable[Trajectory], labels: Mapping[str, float], looks: Looks = LOOKS
) -> Iterator[tuple[Evidence, float]]:
    """Yield each labelled step with its label. Raises ``DataError`` for a label that is no number from 0 to 1."""
    for trajectory in trajectories:
        for evidence in step_evidence(trajectory, looks):
            label = labels.get(evidence.targets[0])
            if label is None:
                continue
            if not 0.0 <= label <= 1.0:
                raise DataError(f"the label of step {evidence.targets[0]!r} is {label!r}; expected 0 to 1.")
            yield evidence, label


def train_step_model(
    trajectories: Iterable[Trajectory], labels: Mapping[str, float], training: Training | None = None
) -> StepModel:
    """Train the regression form on the labelled steps (``verify.regress``)."""
    training = training or Training()
    rows, goods = [], []
    for evidence, label in labelled_steps(trajectories, labels):
        rows.append(features_of(evidence, size=training.size, view=training.view))
        goods.append(label)
    return train_model(rows, goods, training)


def label_samples(
    trajectories: Iterable[Trajectory],
    labels: Mapping[str, float],
    form: Labels,
    *,
    balance: bool = True,
    looks: Looks = LOOKS,
) -> list[Sample]:
    """Return the rows that train a causal LM to write the right label token behind each labelled step; nothing else has loss.

    One row a step, so that no earlier label stands in the context; rows of a trajectory share their beginnings, which a backend with tree
    packing computes once. A label of 0.5 or more is good. ``balance`` weighs good and bad steps equally in sum.
    """
    found = [(evidence, label >= 0.5) for evidence, label in labelled_steps(trajectories, labels, looks)]
    good = sum(label for _, label in found)
    if good in (0, len(found)):
        raise DataError(
            "all labels are equal, or there are none; a judge needs good and bad steps to learn from."
        )
    weight = {True: len(found) / (2 * good), False: len(found) / (2 * (len(found) - good))}
    return [
        form.sample(evidence, good=label, weight=weight[label] if balance else 1.0)
        for evidence, label in found
    ]


RANKING = Loss(preference="sigmoid", preference_beta=1.0, preference_reference=False)
"""The loss for ``ranking_samples``: -log s(score of the chosen - score of the rejected), the model of Bradley and Terry (1952)."""


def ranking_samples(
    pairs: Iterable[PreferencePair], evidence: Mapping[str, Evidence], form: Labels
) -> list[Sample]:
    """Return the rows that train a causal LM to score the chosen step of each pair above the rejected one, with the loss ``RANKING``.

    The score in training is log p(good | good or bad) behind the step, of which ``verify.estimators.log_odds`` is an increasing function. A pair has two
    rows. ``evidence`` has both sides by step id. Pairs whose sides read the same in the form's view teach nothing and have no rows. Raises
    ``DataError`` for a side without evidence.
    """
    samples: list[Sample] = []
    labels = (form.label(True), form.label(False))
    for number, pair in enumerate(pairs):
        missing = [name for name in (pair.chosen, pair.rejected) if name not in evidence]
        if missing:
            raise DataError(f"step {missing[0]!r} of a pair has no evidence. Give that of all its steps.")
        sides = [form.context(evidence[name]) for name in (pair.chosen, pair.rejected)]
        if sides[0] == sides[1]:
            continue
        name = f"{number}:{pair.chosen}>{pair.rejected}"
        samples += [
            Sample(
                ids=(*context, labels[0]),
                preference_weight=(*(0.0 for _ in context), sign),
                allowed={len(context): labels},
                pair=name,
                rollout=f"{name}/{'chosen' if sign > 0 else 'rejected'}",
            )
            for context, sign in zip(sides, (1.0, -1.0), strict=True)
        ]
    return samples


def train_label_tokens(
    learner: Learner,
    samples: Sequence[Sample],
    *,
    epochs: int = 1,
    batch: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> list[float]:
    """Train on label rows with any learner's primitives; return the mean loss of each epoch."""
    rng = np.random.default_rng(seed)
    losses = []
    for _ in range(epochs):
        order, total = rng.permutation(len(samples)), 0.0
        for start in range(0, len(order), batch):
            some = [samples[i] for i in order[start : start + batch]]
            found = learner.forward_backward(some, Loss(aggregate="token"))
            learner.optim_step(learning_rate=learning_rate)
            total += found["loss"] * len(some)
        losses.append(total / len(samples))
    return losses
