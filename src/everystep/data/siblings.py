"""Preference pairs of sibling steps that are at hand: by the values of a search, or by a judge's choice. ``data.pairs`` makes pairs of stored steps.

Both sides of a pair stand behind the same steps, which are its context, and were executed from the same snapshot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from everystep.core.errors import ConfigError
from everystep.core.records import Level, Observation, PreferencePair, Step, Verdict
from everystep.credit.overlap import CHARACTER_BLEU_SMOOTHED, character_bleu
from everystep.run.branch import Tried
from everystep.run.search import SearchTree

_DIGITS = 9

IsError = Callable[[Step, Observation], bool]
"""Whether a candidate is a format or execution error, from the step and what it led to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingPairs:
    """Pairs of steps, and what gave none, counted by reason."""

    pairs: tuple[PreferencePair, ...]
    left_out: Mapping[str, int]


def value_pairs(
    trees: Iterable[SearchTree], *, margin: float = 0.7, least_visits: int = 1, most: int | None = None
) -> SiblingPairs:
    """Pair siblings whose values differ by more than ``margin`` and that were both visited ``least_visits`` times or more.

    The margin 0.7 and all such pairs are those of arXiv 2412.15904; ``most`` keeps the widest of each state. ``margin`` of a pair is the difference.
    ``left_out`` counts siblings that were visited too seldom, and two siblings that are too close.
    """
    if margin < 0 or least_visits < 1 or (most is not None and most < 1):
        raise ConfigError(
            f"margin={margin!r}, least_visits={least_visits!r}, most={most!r}; expected 0 or more, and 1 or more."
        )
    pairs: list[PreferencePair] = []
    left_out: Counter[str] = Counter()
    for tree in trees:
        paths: dict[str | None, tuple[str, ...]] = {None: ()}
        families: dict[str | None, list[Step]] = defaultdict(list)
        for step in tree.steps:  # parents come first
            paths[step.id] = (*paths[step.parent], step.id)
            families[step.parent].append(step)
        for parent, family in families.items():
            known = [step.id for step in family if tree.visits.get(step.id, 0) >= least_visits]
            left_out["a sibling was visited too seldom"] += len(family) - len(known)
            found = []
            for place, one in enumerate(known):
                for other in known[place + 1 :]:
                    gap = round(tree.values[one] - tree.values[other], _DIGITS)
                    if abs(gap) > margin:
                        chosen, rejected = (one, other) if gap > 0 else (other, one)
                        found.append((abs(gap), chosen, rejected))
                    else:
                        left_out["the values are too close"] += 1
            found.sort(key=lambda pair: -pair[0])  # stable: equal margins stay in the order of the tree
            pairs += [
                PreferencePair(
                    context=paths[parent],
                    chosen=chosen,
                    rejected=rejected,
                    level=Level.STEP,
                    margin=gap,
                    source=f"search/margin>{margin:g}/visits>={least_visits}",
                )
                for gap, chosen, rejected in found[:most]
            ]
    return SiblingPairs(pairs=tuple(pairs), left_out=_counts(left_out))


def refused(step: Step, result: Observation) -> bool:  # noqa: ARG001
    """Say whether the world refused the step: it could not be read, or not be executed."""
    return not step.action.valid


def choice_pairs(
    tried: Iterable[Tried],
    verdicts: Iterable[Verdict],
    *,
    most_errors: int = 2,
    alike: float = 0.3,
    is_error: IsError = refused,
) -> SiblingPairs:
    """Pair the candidate that a judge chose in each state with some of the others: the filters of SPORT (arXiv 2504.21561, released code).

    Rejected are the first ``most_errors`` candidates that are format or execution errors, and every candidate whose character BLEU-4 against the chosen
    text is below ``alike`` (the version is ``credit.overlap.CHARACTER_BLEU_SMOOTHED``). The others say nearly the same as the chosen one and
    are dropped. ``verdicts`` name the chosen among the same targets; a state without one, or where the judge failed, gives no pair.
    """
    if most_errors < 0 or not 0 <= alike <= 1:
        raise ConfigError(f"most_errors={most_errors!r}, alike={alike!r}; expected 0 or more, and 0 to 1.")
    choices = {one.targets: one for one in verdicts if one.level is Level.LIST}
    pairs: list[PreferencePair] = []
    left_out: Counter[str] = Counter()
    for state in tried:
        said = choices.get(tuple(step.id for step in state.steps))
        chosen = next((step for step in state.steps if said and step.id == said.label), None)
        if said is None or chosen is None:
            left_out["no choice in a state"] += 1
            continue
        errors = 0
        for step, result in zip(state.steps, state.results, strict=True):
            if step is chosen:
                continue
            wrong = is_error(step, result)
            errors += wrong
            near = character_bleu(step.action.text, chosen.action.text, smoothing=0.1) >= alike
            if near and not (wrong and errors <= most_errors):
                left_out["one error too many" if wrong else "a candidate is like the chosen one"] += 1
                continue
            pairs.append(
                PreferencePair(
                    context=tuple(one.id for one in state.before),
                    chosen=chosen.id,
                    rejected=step.id,
                    level=Level.STEP,
                    source=f"choice/{said.judge}/{said.version}/{CHARACTER_BLEU_SMOOTHED}<{alike:g}",
                )
            )
    return SiblingPairs(pairs=tuple(pairs), left_out=_counts(left_out))


def _counts(left_out: Counter[str]) -> dict[str, int]:
    return {reason: number for reason, number in left_out.items() if number}
