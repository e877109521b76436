"""A judge as a check of a run that goes on: the same judge grades stored steps and guards live ones."""

from __future__ import annotations

from dataclasses import dataclass

from everystep.core.errors import ConfigError, JudgeError, ModelError
from everystep.core.protocols import Judge, Situation, StepVerifier, Transition
from everystep.core.records import Action, Level, Verdict
from everystep.verify.evidence import check_looks, live_evidence, seen_of
from everystep.verify.verdicts import FAILED, share_of, verdict


def live(judge: Judge, *, threshold: float = 0.5, strict: bool = False) -> StepVerifier:
    """Return ``judge`` as a verifier for ``Parts.feasible`` (before the act) or ``Parts.verifiers`` (after it).

    ``threshold`` is a share of the judge's range, 0 to 1: a step below it fails. A judge that comes to no verdict says nothing, or
    fails the step with ``strict``. Raises ``ConfigError`` for a judge that sees the future: what it knows is not there yet when
    a step has to be let through, and a score without it would not be the judge's.
    """
    if judge.looks.sees_future:
        raise ConfigError(
            f"judge {judge.name!r} sees the future ({', '.join(seen_of(judge.looks))}), so it cannot check live steps. "
            "Use it on stored trajectories, or a judge whose looks have after=0 and outcome=False."
        )
    if Level.STEP not in judge.levels:
        raise ConfigError(
            f"judge {judge.name!r} judges {', '.join(sorted(judge.levels))} and not single steps; a run needs one for steps."
        )
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold is {threshold!r}; expected a share of the judge's range, 0 to 1.")
    check_looks(judge.looks)
    return Live(judge=judge, threshold=threshold, strict=strict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A judge in a run; build it with ``live``. Its verdicts' scores are shares of the judge's range."""

    judge: Judge
    threshold: float
    strict: bool = False

    @property
    def name(self) -> str:
        """The judge's name."""
        return self.judge.name

    async def check(self, situation: Situation, action: Action, transition: Transition | None) -> Verdict:
        """Return the judge's verdict on the step; before the act a judge that needs its result raises ``ConfigError``."""
        if self.judge.looks.result and transition is None:
            raise ConfigError(
                f"judge {self.name!r} looks at what a step led to, and was asked before the act. "
                "Give it to Parts.verifiers instead of Parts.feasible."
            )
        evidence = live_evidence(situation, action, transition, self.judge.looks)
        try:
            found = (await self.judge.judge(Level.STEP, evidence))[0]
        except (JudgeError, ModelError) as error:
            score = 0.0 if self.strict else None
            return verdict(
                self.judge, Level.STEP, evidence, score=score, label=FAILED, reason=str(error)[:300]
            )
        share = share_of(found)
        return Verdict(
            level=Level.STEP,
            targets=(situation.step,),
            judge=self.name,
            version=found.version,
            score=share,
            label=found.label,
            reason=found.reason,
            evidence=found.evidence,
            confidence=found.confidence,
        )
