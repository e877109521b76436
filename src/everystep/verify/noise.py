"""A judge that errs at stated rates, for studies: what a filter or a reward is worth when its judge is wrong so often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256

from everystep.core.errors import ConfigError
from everystep.core.protocols import Evidence, Judge, Looks
from everystep.core.records import Level, Verdict
from everystep.verify.verdicts import share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Turns verdicts of ``of`` around: a bad one into good with chance ``false_positive``, a good one into bad with ``false_negative``.

    Good is a share of ``cut`` or more of the judge's range; the score is mirrored in its range. A preference between two is turned around with
    the mean of both rates. Of a list another target than the preferred one is named with chance ``wrong_choice``, any other evenly; without that rate
    lists are refused. Whether a verdict is turned depends on the seed and its targets only: asked again, the judge errs again in the same way.
    """

    of: Judge
    false_positive: float = 0.0
    false_negative: float = 0.0
    wrong_choice: float | None = None
    seed: int = 0
    cut: float = 0.5

    def __post_init__(self) -> None:
        for name in ("false_positive", "false_negative", "wrong_choice", "cut"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} of a noisy judge is {value!r}; it must be 0 to 1.")

    @property
    def name(self) -> str:
        """The judge's name with the rates."""
        return f"{self.of.name}+noise"

    @property
    def version(self) -> str:
        """The judge's version with the rates and the seed."""
        choice = "" if self.wrong_choice is None else f"+wrong{self.wrong_choice:g}"
        return (
            f"{self.of.version}+fp{self.false_positive:g}+fn{self.false_negative:g}{choice}+seed{self.seed}"
        )

    @property
    def looks(self) -> Looks:
        """What the judge looks at."""
        return self.of.looks

    @property
    def levels(self) -> frozenset[Level]:
        """What the judge judges."""
        return self.of.levels - (frozenset({Level.LIST}) if self.wrong_choice is None else frozenset())

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the judge's verdicts, some of them turned around."""
        if level is Level.LIST and self.wrong_choice is None:
            raise ConfigError(
                "noise on the choice among a list has no stated rate. Give wrong_choice, or judge its pairs."
            )
        return tuple(self._noised(one) for one in await self.of.judge(level, evidence))

    def _noised(self, one: Verdict) -> Verdict:
        if one.level is Level.LIST:
            return self._rechosen(one)
        share = share_of(one)
        mean = (self.false_positive + self.false_negative) / 2
        pair = one.level is Level.PAIR and one.label in one.targets
        if share is None and not pair:
            return replace(one, judge=self.name, version=self.version)
        rate = (
            mean
            if pair or share is None
            else self.false_negative
            if share >= self.cut
            else self.false_positive
        )
        if self._drawn(one) >= rate:
            return replace(one, judge=self.name, version=self.version)
        turned = replace(one, judge=self.name, version=self.version, reason="turned around by noise")
        if pair:
            other = one.targets[1] if one.label == one.targets[0] else one.targets[0]
            turned = replace(turned, label=other)
        return turned if one.score is None else replace(turned, score=one.low + one.high - one.score)

    def _rechosen(self, one: Verdict) -> Verdict:
        """Name another target of a list with chance ``wrong_choice``."""
        others = [target for target in one.targets if target != one.label]
        drawn, rate = self._drawn(one), self.wrong_choice or 0.0
        if one.label not in one.targets or not others or drawn >= rate:
            return replace(one, judge=self.name, version=self.version)
        other = others[int(drawn / rate * len(others))]  # below the rate the draw is even
        return replace(
            one,
            judge=self.name,
            version=self.version,
            label=other,
            score=None,
            reason="turned around by noise",
        )

    def _drawn(self, one: Verdict) -> float:
        key = "\x1f".join((str(self.seed), one.judge, one.level, *one.targets))
        return int.from_bytes(sha256(key.encode("utf-8", "replace")).digest()[:7], "big") / 2**56
