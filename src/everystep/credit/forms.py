"""Shapes of estimators: which terms there are, for given options. They know no method's name.

Each form returns the terms and how they combine; ``estimators`` fills in the options of the published methods.
"""

from __future__ import annotations

from everystep.core.errors import ConfigError
from everystep.credit import keys, values
from everystep.credit.keys import Key
from everystep.credit.normalisers import Normaliser, none, normaliser
from everystep.credit.terms import Combine, Term

Form = tuple[tuple[Term, ...], Combine]


def _rule(kind: str, ddof: int | None, eps: float | None, unit: str, singleton: str | None) -> Normaliser:
    return normaliser(kind, ddof=ddof, eps=eps, unit=unit, singleton=singleton)


def _outcome(
    kind: str,
    ddof: int | None,
    eps: float | None,
    unit: str,
    singleton: str,
    *,
    penalty: float = 0.0,
    weight: float = 1.0,
) -> Term:
    """The trajectory's outcome among the trajectories of its task."""
    return Term(
        name="outcome",
        value=values.outcome(penalty=penalty),
        key=keys.task(),
        normaliser=normaliser(kind, ddof=ddof, eps=eps, unit=unit, singleton=singleton),
        weight=weight,
    )


def outcome_only(
    *, normaliser: str, ddof: int | None, eps: float | None, unit: str, singleton: str, penalty: float
) -> Form:
    """The outcome among the trajectories of the task, nothing else."""
    return (_outcome(normaliser, ddof, eps, unit, singleton, penalty=penalty),), Combine.SUM


def batch_return(*, discount: float, normaliser: str, ddof: int | None, eps: float | None) -> Form:
    """The return from each step among all steps of the batch."""
    rule = _rule(normaliser, ddof, eps, "step", None)
    term = Term(name="return", value=values.returns(discount=discount), key=keys.batch(), normaliser=rule)
    return (term,), Combine.SUM


def two_levels(
    *,
    weight: float,
    discount: float,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
    unit: str,
    singleton: str,
    penalty: float,
    similarity: float | None,
) -> Form:
    """The outcome in the task, and the return among steps in the same (or a similar) state."""
    key = keys.anchor() if similarity is None else keys.similar(threshold=similarity)
    state = Term(
        name="state",
        value=values.returns(discount=discount, penalty=penalty),
        key=key,
        normaliser=_rule(normaliser, ddof, eps, "step", "zero"),
        weight=weight,
    )
    return (_outcome(normaliser, ddof, eps, unit, singleton, penalty=penalty), state), Combine.SUM


def history_levels(
    *,
    history: int,
    alpha: float,
    discount: float,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
    penalty: float,
    padded: bool,
    renormalise: bool,
    outcome_level: bool,
) -> Form:
    """The return in nested groups, from the state alone to the state with ``history`` states before it.

    Weights grow with depth as ``(depth + 1) ** alpha`` over their sum; with ``renormalise`` as ``(depth + 2) ** alpha``,
    scaled to one over the levels that are not zero at the row.
    """
    if history < 0:
        raise ConfigError(f"history is {history!r}; expected a number of earlier states, 0 or more.")
    shift = 2 if renormalise else 1  # the released code counts states, the paper the states before
    raw = [(depth + shift) ** alpha for depth in range(history + 1)]
    scale = 1.0 if renormalise else 1.0 / sum(raw)
    value = values.returns(discount=discount, penalty=penalty)
    terms = [
        Term(
            name=f"state, {depth} before",
            value=value,
            key=keys.anchor(history=depth, padded=padded and depth > 0),
            normaliser=_rule(normaliser, ddof, eps, "step", "zero"),
            weight=weight * scale,
        )
        for depth, weight in enumerate(raw)
    ]
    if outcome_level:
        terms.insert(0, _outcome(normaliser, None, eps, "step", "raw", penalty=penalty, weight=scale))
    return tuple(terms), Combine.ACTIVE if renormalise else Combine.SUM


def process_block(
    *,
    score: str,
    block: int | None,
    within: str,
    weight: float,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
    unit: str,
    singleton: str,
    penalty: float,
) -> Form:
    """The outcome in the task, and a step score inside random blocks."""
    process = Term(
        name="process",
        value=values.score(score, penalty=penalty),
        key=keys.block(size=block, within=within),
        normaliser=_rule(normaliser, ddof, eps, "step", "zero"),
        weight=weight,
    )
    return (_outcome(normaliser, ddof, eps, unit, singleton, penalty=penalty), process), Combine.SUM


def turn_levels(
    *,
    score: str,
    weight: float,
    discount: float,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
    singleton: str,
) -> Form:
    """The sum of a step score in the task, and its return among equal turns, with weights that sum to one."""
    if not 0.0 <= weight <= 1.0:
        raise ConfigError(f"weight is {weight!r}; expected the turn term's share, from 0 to 1.")
    whole = Term(
        name="trajectory",
        value=values.score_total(score),
        key=keys.task(),
        normaliser=_rule(normaliser, ddof, eps, "trajectory", singleton),
        weight=1.0 - weight,
    )
    part = Term(
        name="turn",
        value=values.score_return(score, discount=discount),
        key=keys.turn(),
        normaliser=_rule(normaliser, ddof, eps, "step", singleton),
        weight=weight,
    )
    return (whole, part), Combine.SUM


def _one_term(name: str, value: values.Value, key: Key, rule: Normaliser, weight: float = 1.0) -> Form:
    return (Term(name=name, value=value, key=key, normaliser=rule, weight=weight),), Combine.SUM


def same_prompt(
    *, score: str | None, normaliser: str, ddof: int | None, eps: float | None, singleton: str
) -> Form:
    """The step's own reward, or a score, among the samples of one prompt."""
    value = values.reward() if score is None else values.score(score)
    return _one_term("step", value, keys.prefix(), _rule(normaliser, ddof, eps, "step", singleton))


def two_segments(
    *,
    judge: str,
    answer: str,
    judge_segment: str,
    answer_segment: str,
    carry: float,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
    singleton: str,
) -> Form:
    """One score for each of two segments; the second is also carried to the first with weight ``carry``."""
    rule = _rule(normaliser, ddof, eps, "step", singleton)
    rows = (
        ("judge", judge, judge_segment, 1.0),
        ("answer carried to judge", answer, judge_segment, carry),
        ("answer", answer, answer_segment, 1.0),
    )
    terms = tuple(
        Term(
            name=name,
            value=values.score(score),
            key=keys.task(),
            normaliser=rule,
            weight=weight,
            segment=segment,
        )
        for name, score, segment, weight in rows
        if weight
    )
    return terms, Combine.SUM


def implicit_step(
    *,
    score: str,
    weight: float,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
    step_unit: str,
    singleton: str,
    penalty: float,
) -> Form:
    """The outcome in the task, and a step score among all steps of the task."""
    step = Term(
        name="implicit",
        value=values.score(score),
        key=keys.task(),
        normaliser=_rule(normaliser, ddof, eps, step_unit, singleton),
        weight=weight,
    )
    whole = _outcome(normaliser, ddof, eps, "trajectory", singleton, penalty=penalty)
    return (whole, step), Combine.SUM


def return_at_turn(
    *, discount: float, normaliser: str, ddof: int | None, eps: float | None, singleton: str
) -> Form:
    """The return from each step among equal turns of the task."""
    rule = _rule(normaliser, ddof, eps, "step", singleton)
    return _one_term("return", values.returns(discount=discount), keys.turn(), rule)


def branch_value(*, normaliser: str, ddof: int | None, eps: float | None) -> Form:
    """The mean outcome below a step among its siblings, each sibling as often as trajectories pass it."""
    rule = _rule(normaliser, ddof, eps, "trajectory", "zero")
    return _one_term("branch", values.branch_outcome(), keys.siblings(), rule)


def critic(
    *,
    discount: float,
    trace: float,
    value: str,
    value_after: str,
    normaliser: str,
    ddof: int | None,
    eps: float | None,
) -> Form:
    """Advantages from a critic's values, over the batch, or as they are with normaliser ``none``."""
    estimate = values.advantage(value=value, value_after=value_after, discount=discount, trace=trace)
    rule = (
        none() if normaliser == "none" and ddof is eps is None else _rule(normaliser, ddof, eps, "step", None)
    )
    return _one_term("advantage", estimate, keys.batch(), rule)
