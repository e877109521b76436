"""Judges that are functions: rules. They cost nothing, say why, and are the baseline that a learned judge has to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from everystep.core.errors import ConfigError, EverystepError, JudgeError
from everystep.core.protocols import Evidence, Looks
from everystep.core.records import Level, Step, Verdict
from everystep.core.registry import Registry
from everystep.verify.arithmetic import wrong_equation
from everystep.verify.verdicts import verdict

STEPS = frozenset({Level.STEP})

Said = float | bool | tuple[float | bool, str] | None
"""What a rule says: how good the step is from 0 to 1, with a reason if it likes; ``None`` says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A function of the evidence as a judge of steps. Whatever the function does wrong is a ``JudgeError``.

    >>> short = Rule(name="short", function=lambda evidence: len(evidence.step.action.text) < 80)
    >>> short.looks.sees_future
    False
    """

    name: str
    function: Callable[[Evidence], Said]
    looks: Looks = field(default_factory=Looks)
    levels: frozenset[Level] = STEPS
    version: str = "1"

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return what the function says; ``None`` is a verdict without a score."""
        if level not in self.levels:
            raise ConfigError(
                f"rule {self.name!r} judges {', '.join(sorted(self.levels))}; asked for {level}."
            )
        try:
            said = self.function(evidence)
        except EverystepError:
            raise
        except Exception as error:  # somebody's function, on somebody's data
            why = f"{type(error).__name__}: {str(error)[:200]}"
            raise JudgeError(f"rule {self.name!r} broke on {evidence.targets[0]!r}: {why}.") from error
        value, reason = said if isinstance(said, tuple) else (said, None)
        if value is None:
            return (verdict(self, level, evidence, score=None, label="nothing", reason=reason),)
        score = float(value)
        if not 0.0 <= score <= 1.0:
            raise JudgeError(
                f"rule {self.name!r} said {value!r} of {evidence.targets[0]!r}; expected 0 to 1."
            )
        return (verdict(self, level, evidence, score=score, reason=reason),)


def _constant(value: float) -> Callable[[Evidence], Said]:
    return lambda _: value


def _same(one: Step, other: Step) -> bool:
    return " ".join(one.action.text.split()) == " ".join(other.action.text.split()) and [
        (call.name, call.arguments) for call in one.action.calls
    ] == [(call.name, call.arguments) for call in other.action.calls]


def repeated(evidence: Evidence) -> Said:
    """Bad: an earlier step of the window did the same, after seeing the same where observations are shown."""
    for past in reversed(evidence.before):
        if _same(past, evidence.step) and past.observation.text in ("", evidence.step.observation.text):
            return 0.0, f"step {past.index} did the same"
    return 1.0


def arithmetic(evidence: Evidence) -> Said:
    """Bad: an equation of numbers in the step does not hold."""
    wrong = wrong_equation(evidence.step.action.text)
    return 1.0 if wrong is None else (0.0, f"{wrong} does not hold")


def valid(evidence: Evidence) -> Said:
    """Bad: the action could not be executed."""
    action = evidence.step.action
    return 1.0 if action.valid else (0.0, action.reason or "it is not valid")


def rewarded(evidence: Evidence) -> Said:
    """Good: the environment rewarded the step. It says nothing where there is no reward."""
    reward = evidence.step.reward
    return None if reward is None else reward > 0


RULES: Registry[Rule] = Registry("rule")
"""The rules by name: ``everystep judge --judge rule:NAME``."""
for _rule in (
    Rule(name="always", function=_constant(1.0), looks=Looks(actions=0, observations=0)),
    Rule(name="never", function=_constant(0.0), looks=Looks(actions=0, observations=0)),
    Rule(name="arithmetic", function=arithmetic, looks=Looks(actions=0, observations=0)),
    Rule(name="repeated", function=repeated, looks=Looks(actions=64, observations=65)),
    Rule(name="valid", function=valid, looks=Looks(actions=0, observations=0, result=True)),
    Rule(name="rewarded", function=rewarded, looks=Looks(actions=0, observations=0, result=True)),
):
    RULES.add(_rule.name, _rule)
