"""Tallies for a calibration: drawn on purpose at some states, or read from the journal of a run that voted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from inspect import isawaitable

from everystep.core.errors import ConfigError
from everystep.core.protocols import Candidate, Situation, StepVerifier
from everystep.core.records import Stop
from everystep.core.trace import Event, Kind
from everystep.verify.calibrate import Flagged, Tally

Draw = Callable[[Situation, int], Awaitable[Candidate]]
"""Draws one sample at a situation; the number makes its seed. ``Candidate.flag`` says whether it would count."""

Truth = Callable[[Situation, Candidate], bool | Awaitable[bool | None] | None]
"""Says whether a sample is right, ``None`` where nobody knows."""


def state_of(situation: Situation) -> str:
    """Return the name of a state: its anchor, or the step where there is none."""
    return situation.observation.anchor or situation.step


def by_verifier(verifier: StepVerifier) -> Truth:
    """Return the truth that a verifier tells before an act: right where its score reaches its threshold."""

    async def check(situation: Situation, candidate: Candidate) -> bool | None:
        verdict = await verifier.check(situation, candidate.action, None)
        return None if verdict.score is None else verdict.score >= verifier.threshold

    return check


async def probe(
    situations: Iterable[Situation],
    draw: Draw,
    *,
    samples: int,
    truth: Truth | None = None,
    parallel: int = 8,
    name: Callable[[Situation], str] = state_of,
) -> list[Tally]:
    """Draw ``samples`` at each situation, at ``parallel`` situations at once, and count them, in the order of ``situations``.

    Without ``truth`` the most frequent valid answer of a state counts as right: calibrate then with ``By.AGREEMENT``. A model that breaks
    is no vote; a sample whose truth nobody knows is left out.
    """
    if samples < 1 or parallel < 1 or (truth is None and samples < 2):
        raise ConfigError(
            f"{samples!r} samples at {parallel!r} states at once: expected 1 or more, and 2 or more samples without truth."
        )
    found: dict[int, Tally] = {}
    numbered = iter(enumerate(situations))

    async def work() -> None:
        for index, situation in numbered:
            drawn = await asyncio.gather(*(draw(situation, number) for number in range(samples)))
            alive = [one for one in drawn if one.generation.stop is not Stop.ERROR]
            right = (
                _agreement(alive) if truth is None else [await _ask(truth, situation, one) for one in alive]
            )
            found[index] = _tally(name(situation), alive, right, known=truth is not None)

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(work())
    return [found[index] for index in sorted(found)]


async def _ask(truth: Truth, situation: Situation, candidate: Candidate) -> bool | None:
    answer = truth(situation, candidate)
    return await answer if isawaitable(answer) else answer


def _agreement(drawn: Sequence[Candidate]) -> list[bool | None]:
    counts = Counter(one.key for one in drawn if one.flag is None)
    leader = counts.most_common(1)[0][0] if counts else None
    return [None if one.flag is not None else one.key == leader for one in drawn]


def _tally(state: str, drawn: Sequence[Candidate], right: Sequence[bool | None], *, known: bool) -> Tally:
    votes = [told for one, told in zip(drawn, right, strict=True) if one.flag is None and told is not None]
    anyway = [told for told in right if told is not None]
    cost: dict[str, float] = {}
    for one in drawn:
        usage = one.generation.usage
        for name, amount in (
            ("prompt_tokens", usage.prompt),
            ("cached_tokens", usage.cached),
            ("completion_tokens", usage.completion),
        ):
            cost[name] = cost.get(name, 0.0) + amount
    return Tally(
        state=state,
        right=sum(votes),
        wrong=len(votes) - sum(votes),
        flagged=tuple(
            Flagged(flag=_flag_name(one.flag), right=told)
            for one, told in zip(drawn, right, strict=True)
            if one.flag is not None
        ),
        both_wrong=not any(votes[:2]) if known and len(votes) > 1 else None,
        both_wrong_anyway=not any(anyway[:2]) if known and len(votes) > 1 else None,
        cost=cost,
    )


def _flag_name(told: str) -> str:
    return told.partition(":")[0]


def tallies_of(events: Iterable[Event], *, role: str | None = None) -> Iterator[Tally]:
    """Yield the tally of each step of a journal that was decided by votes: calibrate with ``By.VOTES``.

    ``FLAG`` and ``VOTE`` events stand before the ``STEP`` that they led to; a step without a ``VOTE`` was unanimous. With
    ``role`` only the votes of that role are read. A step that nothing won (no ``STEP`` follows) is counted with its leader as wrong:
    nobody accepted it. The votes of a race that stops at a lead of k give p without bias in the pooled ratio (Wald 1944).
    """
    flags: dict[str, list[Flagged]] = {}
    ballots: dict[str, Counter[str]] = {}
    for event in events:
        body = event.body
        step = str(body.get("step", ""))
        if event.kind in (Kind.FLAG, Kind.VOTE) and role not in (None, body.get("role")):
            continue
        if event.kind is Kind.FLAG:
            flags.setdefault(step, []).append(Flagged(flag=str(body.get("flag", ""))))
        elif event.kind is Kind.VOTE:
            ballots[step] = Counter({str(key): int(count) for key, count in body["tally"].items()})
        elif event.kind is Kind.STEP:
            name = str(body["id"])
            yield _accepted(name, body.get("cost", {}), flags.pop(name, []), ballots.pop(name, None))
    for name in {**flags, **ballots}:
        votes = sum(ballots.get(name, Counter()).values())
        yield Tally(state=name, right=0, wrong=votes, flagged=tuple(flags.get(name, ())))


def _accepted(
    state: str, cost: dict[str, float], flagged: list[Flagged], ballot: Counter[str] | None
) -> Tally:
    drawn = {name: float(cost[name]) for name in cost if name not in ("samples", "discarded")}
    if ballot is None:
        right, wrong = max(0, int(cost.get("samples", 0) - cost.get("discarded", 0))), 0
    else:
        right = max(ballot.values(), default=0)
        wrong = sum(ballot.values()) - right
    return Tally(state=state, right=right, wrong=wrong, flagged=tuple(flagged), cost=drawn)
