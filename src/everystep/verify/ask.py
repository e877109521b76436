"""A model as a judge: one prompt template a level, several votes, answers read strictly, and nothing paid for twice.

Votes go through the same ``decide`` as an agent's steps: an answer without the asked form is thrown away and drawn again, up to a cap
(WebSTAR asks up to 20 times); without one that can be read the judge says so and gives no verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from everystep.core.errors import ConfigError, JudgeError, ModelError
from everystep.core.protocols import (
    AsyncSampler,
    Candidate,
    Evidence,
    Looks,
    Sampler,
    Sampling,
    Situation,
)
from everystep.core.records import Action, Level, Message, Observation, Task, Verdict
from everystep.run.decide import AtCap, Decider, Decision, Role, Way
from everystep.run.rollout import seed_of
from everystep.run.vote import Weighted
from everystep.verify.answers import Answers, key_of
from everystep.verify.templates import FIRST_WRONG, SYSTEM, TEMPLATES, Template, prompt
from everystep.verify.verdicts import verdict

_TASK = Task(id="judging", instruction="", environment="judging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The view of a judging role: the question stands in the observation."""

    system: str = SYSTEM
    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the system message and the question."""
        user = Message(role="user", content=situation.observation.text)
        return (Message(role="system", content=self.system), user) if self.system else (user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Asks a model ``votes`` times; ``retries`` further answers may be drawn where some cannot be read.

    Scores are averaged, labels go by the most votes (a tie between two candidates is ``equal``); ``confidence`` is the share of votes that agree with the label,
    or 1 less the spread of the scores. ``answers`` keeps what was paid for. With more votes than one, candidates of a pair change
    places in every other vote, since models prefer a place. The same seed asks in the same way.
    """

    sampler: Sampler | AsyncSampler
    templates: Mapping[Level, Template] = field(default_factory=lambda: TEMPLATES)
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.0, max_tokens=512))
    looks: Looks = field(default_factory=lambda: Looks(observations=3))
    votes: int = 1
    retries: int = 3
    seed: int = 0
    answers: Answers | None = None
    name: str = "asked"
    decider: Decider = field(default_factory=lambda: Decider(retries=0))  # endpoints try again by themselves
    system: str = SYSTEM

    def __post_init__(self) -> None:
        if self.votes < 1 or self.retries < 0:
            raise ConfigError(
                f"votes {self.votes!r}, retries {self.retries!r}: expected 1 or more votes, 0 or more retries."
            )

    @property
    def version(self) -> str:
        """The model, the number of votes, and a hash of what else the answers depend on."""
        told = {
            "templates": sorted(one.version for one in self.templates.values()),
            "sampling": asdict(self.sampling),
            "looks": asdict(self.looks),
            "system": self.system,
            "seed": self.seed,
        }
        return f"{self.sampler.policy} x{self.votes} {key_of(told)[:8]}"

    @property
    def levels(self) -> frozenset[Level]:
        """The levels that there are templates for."""
        return frozenset(self.templates)

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        """Return the verdict; for ``FIRST_WRONG`` also one on each step up to the first wrong one."""
        template = self.templates.get(level)
        if template is None:
            raise ConfigError(
                f"judge {self.name!r} has no template for {level}; it has {', '.join(sorted(self.templates))}."
            )
        if template.level is Level.PAIR and self.votes > 1:
            tally = await self._both_ways(template, evidence)
        else:
            tally = await self._tally(template, evidence, self.votes)
        return self._verdicts(template, evidence, tally)

    async def _both_ways(self, template: Template, evidence: Evidence) -> dict[str, float]:
        """Ask half of the votes with the candidates in each order, and add them up in the first order."""
        turned = Evidence(
            task=evidence.task,
            targets=evidence.targets[::-1],
            candidates=evidence.candidates[::-1],
            before=evidence.before,
            after=evidence.after,
            results=evidence.results[::-1],
            outcomes=evidence.outcomes[::-1],
            seen=evidence.seen,
        )
        tally = await self._tally(template, evidence, self.votes - self.votes // 2)
        for key, count in (await self._tally(template, turned, self.votes // 2)).items():
            back = {"1": "2", "2": "1"}.get(key, key)
            tally[back] = tally.get(back, 0.0) + count
        return tally

    async def _tally(self, template: Template, evidence: Evidence, votes: int) -> dict[str, float]:
        """Return how often each answer was given, from the disk where it was asked before."""
        text = prompt(template, evidence, chars=self.looks.chars)
        key = key_of(
            {
                "model": self.sampler.policy,
                "system": self.system,
                "prompt": text,
                "template": template.version,
                "sampling": asdict(self.sampling),
                "votes": votes,
                "retries": self.retries,
                "seed": self.seed,
            }
        )
        kept = None if self.answers is None else _counts(self.answers.get(key))
        if kept is not None:
            return kept
        decision = await self._ask(template, text, key, votes, places=_places(template, evidence))
        if decision.chosen is None:
            if decision.cause == "model":
                raise ModelError(
                    f"judge {self.name!r} got no answer on {evidence.targets[0]!r}: {decision.why}"
                )
            raise JudgeError(
                f"judge {self.name!r} gave no verdict on {evidence.targets[0]!r}: {decision.why or decision.cause}. "
                "Ask a better model, or more often (retries)."
            )
        tally = {one: float(count) for one, count in decision.tally.items()}
        if self.answers is not None:
            self.answers.put(
                key, {"tally": tally, "answer": decision.chosen.generation.text, "cost": dict(decision.cost)}
            )
        return tally

    async def _ask(self, template: Template, text: str, key: str, votes: int, *, places: int) -> Decision:
        def read(answer: str) -> Action:
            found = template.read(answer, places)
            if found is None:
                raise JudgeError("the last line does not have the form that was asked for")
            return Action(text=found)

        role = Role(
            name=self.name,
            ways=(Way(sampler=self.sampler, sampling=self.sampling, context=Question(system=self.system)),),
            parse=read,
            vote=Weighted(n=votes, weigh=_one, cap=votes + self.retries),
            at_cap=AtCap.BEST,
        )
        situation = Situation(
            run="judging",
            task=_TASK,
            node="",
            goal="",
            step=str(seed_of(self.seed, key)),
            index=0,
            observation=Observation(text=text),
        )
        return await self.decider.decide(role, situation)

    def _verdicts(
        self, template: Template, evidence: Evidence, tally: Mapping[str, float]
    ) -> tuple[Verdict, ...]:
        count = sum(tally.values())
        told = None if len(tally) == 1 else "votes: " + json.dumps(dict(tally))
        level = template.level
        if template.scored:
            mean = sum(float(key) * n for key, n in tally.items()) / count
            spread = (sum(n * (float(key) - mean) ** 2 for key, n in tally.items()) / count) ** 0.5
            sure = 1 - 2 * spread / (template.high - template.low)
            return (
                verdict(
                    self, level, evidence,
                    score=mean, low=template.low, high=template.high, reason=told, confidence=max(0.0, sure),
                ),
            )  # fmt: skip
        best = min(tally, key=lambda one: (-tally[one], one))  # of equals the worse: failure, a wrong step
        if sum(n == tally[best] for n in tally.values()) > 1 and level is not Level.TRAJECTORY:
            best = "equal"
        agreed = tally.get(best, 0.0) / count
        if template.version == FIRST_WRONG.version:
            return self._first_wrong(evidence, best, agreed, told)
        if level is Level.TRAJECTORY:
            score: float | None = tally.get("success", 0.0) / count
            label = best
        else:
            score = (
                (tally.get("1", 0.0) + tally.get("equal", 0.0) / 2) / count if level is Level.PAIR else None
            )
            label = "equal" if best == "equal" else evidence.targets[int(best) - 1]
        return (verdict(self, level, evidence, score=score, label=label, reason=told, confidence=agreed),)

    def _first_wrong(
        self, evidence: Evidence, best: str, agreed: float, told: str | None
    ) -> tuple[Verdict, ...]:
        """Return the verdict on the trajectory, and on the steps that it says something of: those before the first wrong one, and that one."""
        steps = evidence.candidates[0]
        wrong = None if best == "none" else int(best)
        found = [
            verdict(
                self, Level.TRAJECTORY, evidence,
                score=float(wrong is None), label="none" if wrong is None else steps[wrong].id,
                reason=told, confidence=agreed,
            )
        ]  # fmt: skip
        for place, step in enumerate(steps[: None if wrong is None else wrong + 1]):
            found.append(
                Verdict(
                    level=Level.STEP,
                    targets=(step.id,),
                    judge=self.name,
                    version=self.version,
                    score=float(place != wrong),
                    evidence=(*evidence.seen, "whole trajectory"),
                    sees_future=True,
                    confidence=agreed,
                )
            )
        return tuple(found)


def _one(_: Candidate) -> float:
    return 1.0


def _places(template: Template, evidence: Evidence) -> int:
    return len(evidence.candidates[0]) if template.level is Level.TRAJECTORY else len(evidence.candidates)


def _counts(kept: Mapping[str, object] | None) -> dict[str, float] | None:
    tally = None if kept is None else kept.get("tally")
    if not isinstance(tally, dict) or not tally:
        return None
    return {str(key): float(count) for key, count in tally.items()}
