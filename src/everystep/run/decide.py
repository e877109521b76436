"""One decision: sample, throw ill samples away, vote.

A ``Role`` says who decides and how: an operator that acts, a manager that plans, a reflector that checks. All of them
decide in the same way. Samples of one step are independent: each sees the same view and has a seed of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

from everystep.core.budget import Budget
from everystep.core.errors import BudgetError, ConfigError, ModelError
from everystep.core.protocols import (
    AsyncSampler,
    Candidate,
    Context,
    Flag,
    Forks,
    Generation,
    Observer,
    Primes,
    Request,
    Sampler,
    Sampling,
    Situation,
    Turn,
    VoteRule,
    Votes,
)
from everystep.core.records import Action, Message, Stop
from everystep.core.trace import Kind
from everystep.run.context import History, Window, cut
from everystep.run.rollout import seed_of
from everystep.run.vote import Judged, Single, tally_of

_EVIDENCE = 2000  # characters of a flagged answer that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in US dollars per million tokens."""

    prompt: float = 0.0
    cached: float = 0.0
    completion: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to get an answer: a model, how to sample it, what to show it."""

    sampler: Sampler | AsyncSampler
    sampling: Sampling = field(default_factory=Sampling)
    context: Context = field(default_factory=Window)
    price: Price = field(default_factory=Price)


class AtCap(StrEnum):
    """What happens when the samples of a step are used up without a decision. Never a silent guess."""

    ESCALATE = "escalate"  # the role's fallback decides; without one the step fails
    BEST = "best"  # the leader is taken, and marked as contested
    FAIL = "fail"  # the step fails


def plain_key(action: Action, text: str = "") -> str:  # noqa: ARG001
    """Return what votes are counted by: the calls, or the text without surplus space.

    >>> plain_key(Action(text=" go  north "))
    'go north'
    """
    if action.calls:
        return repr([(call.name, sorted(call.arguments.items(), key=str)) for call in action.calls])
    return " ".join(action.text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who decides. Sample ``i`` of a step uses ``ways[i]``, further ones the last way, or the first again with ``cycle``.

    ``ways`` may be a function of the situation (another prompt for steps that are known to be hard). ``parse`` turns an answer into an
    action (by default the environment's); it must return ``valid=False`` with a reason rather than raise. ``key`` names an answer for the votes, from the
    action and what the model wrote. With ``constrain`` the model may only
    write admissible actions. ``fallback`` decides where ``at_cap`` is ``ESCALATE``.
    """

    name: str
    ways: tuple[Way, ...] | Callable[[Situation], Sequence[Way]]
    parse: Callable[[str], Action] | None = None
    flags: tuple[Flag, ...] = ()
    vote: VoteRule = field(default_factory=Single)
    key: Callable[[Action, str], str] = plain_key
    cycle: bool = False
    at_cap: AtCap = AtCap.FAIL
    fallback: Role | None = None
    constrain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a role decided. ``chosen`` is ``None`` when it could not: ``cause`` and ``why`` then say so.

    ``cause`` is ``flagged`` (every sample was thrown away), ``cap`` (no answer won), ``model`` (no model answered). ``cost`` counts
    samples, discarded ones, tokens and dollars; ``events`` are evidence for the journal.
    """

    chosen: Candidate | None
    cause: str = ""
    why: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)
    tally: Mapping[str, float] = field(default_factory=dict)
    events: tuple[tuple[Kind, Any], ...] = ()


@dataclass(slots=True)
class _Race:
    """One role's race for one step, as it goes on."""

    role: Role
    situation: Situation
    votes: Votes
    ways: Sequence[Way]
    check: Callable[[Action], Action] | None = None
    drawn: int = 0
    discarded: int = 0
    dead: bool = False
    why: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    events: list[tuple[Kind, Any]] = field(default_factory=list)
    shown: dict[int, tuple[Message, ...]] = field(default_factory=dict)

    def add(self, name: str, amount: float) -> None:
        if amount:
            self.cost[name] = self.cost.get(name, 0.0) + amount


@dataclass(slots=True, kw_only=True)
class Decider:
    """Decides for one run, within its budget. ``retries`` are further calls after a model broke, ``backoff_s`` apart, doubling."""

    seed: int = 0
    budget: Budget = field(default_factory=lambda: Budget({}))
    retries: int = 3
    backoff_s: float = 1.0
    observers: tuple[Observer, ...] = ()
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    _open: set[str] = field(default_factory=set)

    async def decide(
        self,
        role: Role,
        situation: Situation,
        *,
        parse: Callable[[str], Action] | None = None,
        check: Callable[[Action], Action] | None = None,
    ) -> Decision:
        """Return what ``role`` decides in ``situation``; ``parse`` stands in where the role has none, ``check`` looks at parsed calls.

        Raises ``BudgetError`` before a call that the budget does not allow.
        """
        ways = role.ways(situation) if callable(role.ways) else role.ways
        race = _Race(role, situation, role.vote.start(situation), ways, check=check)
        read = role.parse or parse or _as_text
        if not ways:
            raise ConfigError(f"role {role.name!r} has no way to get an answer. Give it at least one.")
        cap = role.vote.cap
        chosen: Candidate | None = None
        while race.drawn < cap:
            wanted = min(race.votes.wanted, cap - race.drawn)
            if not await self._draw(race, read, wanted):
                race.dead = True
                break
            chosen = race.votes.winner
            if chosen is not None:
                break
        if chosen is not None and isinstance(role.vote, Judged):
            chosen = await role.vote.choose(situation, race.votes)
        if chosen is None:
            return await self._undecided(race, parse)
        return self._decided(race, chosen)

    async def draw(
        self, role: Role, situation: Situation, sample: int, *, parse: Callable[[str], Action] | None = None
    ) -> Candidate:
        """Draw one sample of a step and put the flags to it, without a vote: what a calibration needs."""
        ways = role.ways(situation) if callable(role.ways) else role.ways
        race = _Race(role, situation, role.vote.start(situation), ways, drawn=sample + 1)
        way = _way(role, ways, sample)
        [answer] = await self._ask(race, [(sample, way)])
        way.sampler.release([f"{situation.step}~{role.name}#{sample}"])
        if answer.stop is Stop.ERROR:
            return Candidate(sample=sample, action=Action(text="", valid=False), generation=answer)
        return _candidate(race, sample, answer, role.parse or parse or _as_text)

    async def _undecided(self, race: _Race, parse: Callable[[str], Action] | None) -> Decision:
        role, leader = race.role, race.votes.leader
        if race.dead:
            cause, why = "model", race.why
        elif leader is None:
            cause, why = "flagged", race.why or f"all {race.drawn} samples were thrown away"
        else:
            cause, why = "cap", f"no answer won within {race.drawn} samples: {_told(race.votes)}"
            if role.at_cap is AtCap.BEST:
                return self._decided(race, leader, contested=True)
        self._forget(race, None)
        if role.at_cap is AtCap.ESCALATE and role.fallback is not None:
            further = await self.decide(
                role.fallback, race.situation, parse=role.parse or parse, check=race.check
            )
            cost = dict(race.cost)
            for name, amount in further.cost.items():
                cost[name] = cost.get(name, 0.0) + amount
            escalated = (Kind.VOTE, self._ballot(race, f"{why}; asked {role.fallback.name}"))
            return Decision(
                chosen=further.chosen,
                cause=further.cause,
                why=further.why,
                cost=cost,
                tally=further.tally,
                events=(*race.events, escalated, *further.events),
            )
        events = (*race.events, (Kind.VOTE, self._ballot(race, why))) if leader is not None else race.events
        return Decision(
            chosen=None,
            cause=cause,
            why=why,
            cost=race.cost,
            tally=race.votes.tally,
            events=tuple(events),
        )

    def _decided(self, race: _Race, chosen: Candidate, *, contested: bool = False) -> Decision:
        self._forget(race, chosen)
        events = race.events
        if contested or len(race.votes.tally) > 1:
            events = [
                *events,
                (Kind.VOTE, self._ballot(race, "no answer won; the leader was taken" if contested else "")),
            ]
        return Decision(chosen=chosen, cost=race.cost, tally=race.votes.tally, events=tuple(events))

    def _ballot(self, race: _Race, why: str) -> dict[str, Any]:
        body = {
            "step": race.situation.step,
            "role": race.role.name,
            "tally": {cut(key, 200): count for key, count in tally_of(race.votes).items()},
        }
        return body | {"why": why} if why else body

    # --- sampling -------------------------------------------------------------------------------

    async def _draw(self, race: _Race, read: Callable[[str], Action], wanted: int) -> bool:
        """Draw ``wanted`` samples and count them in order; return whether a model answered."""
        first, race.drawn = race.drawn, race.drawn + wanted
        numbers = range(first, first + wanted)
        pairs = [(number, _way(race.role, race.ways, number)) for number in numbers]
        answers = await self._ask(race, pairs)
        alive = False
        for (number, way), answer in zip(pairs, answers, strict=True):
            self._charge(race, way, answer)
            if answer.stop is Stop.ERROR:
                race.why = answer.error or "the model gave no answer"
                continue
            alive = True
            candidate = _candidate(race, number, answer, read)
            if candidate.flag is None:
                race.votes.add(candidate)
            else:
                race.discarded += 1
                race.add("discarded", 1)
                race.why = candidate.flag
        return alive

    async def _ask(self, race: _Race, pairs: list[tuple[int, Way]]) -> list[Generation]:
        """Ask all models, again where one broke, and return the answers in the order of ``pairs``."""
        answers: list[Generation | None] = [None] * len(pairs)
        open_ = list(range(len(pairs)))
        for attempt in range(self.retries + 1):
            if attempt:
                await self.sleep(self.backoff_s * 2.0 ** (attempt - 1))
            some = await self._once(race, [pairs[i] for i in open_])
            for i, answer in zip(open_, some, strict=True):
                answers[i] = answer
            open_ = [i for i in open_ if (one := answers[i]) is not None and one.stop is Stop.ERROR]
            if not open_:
                break
        return [one for one in answers if one is not None]

    async def _once(self, race: _Race, pairs: list[tuple[int, Way]]) -> list[Generation]:
        limit = sum(way.sampling.max_tokens for _, way in pairs)
        ticket = self.budget.reserve(
            {"calls": len(pairs), "tokens": limit, "usd": 0.0}
        )  # booked when it is known
        used = {"calls": float(len(pairs)), "tokens": 0.0}
        read = written = 0
        step, role = race.situation.step, race.role.name
        for observer in self.observers:
            models = ",".join(sorted({way.sampler.policy for _, way in pairs}))
            observer.started("chat", step, {"model": models, "role": role, "samples": len(pairs)})
        try:
            answers = await self._sample(race, pairs)
            for one in answers:
                read += one.usage.prompt + one.usage.cached
                written += one.usage.completion
            used["tokens"] = float(read + written)
            used["usd"] = sum(_usd(way, one) for (_, way), one in zip(pairs, answers, strict=True))
        finally:
            self.budget.settle(ticket, used)
            for observer in self.observers:
                observer.ended("chat", step, {"prompt_tokens": read, "completion_tokens": written})
        return answers

    async def _sample(self, race: _Race, pairs: list[tuple[int, Way]]) -> list[Generation]:
        """Answer all requests: concurrently where models are remote, in one batch where they are local."""
        requests = [self._request(race, number, way) for number, way in pairs]
        if len(pairs) == 1:
            (_, way), request = pairs[0], requests[0]
            if _remote(way.sampler) is not None:
                return [await _one(way, request)]
            return _batch(way.sampler, [request], way.sampling)
        answers: dict[int, Generation] = {}
        batches: dict[tuple[int, Sampling], list[int]] = {}
        remote: list[int] = []
        for i, (_, way) in enumerate(pairs):
            if _remote(way.sampler) is not None:
                remote.append(i)
            else:
                batches.setdefault((id(way.sampler), way.sampling), []).append(i)
        for (_, sampling), members in batches.items():
            sampler = pairs[members[0]][1].sampler
            batch = _batch(sampler, [requests[i] for i in members], sampling)
            answers |= dict(zip(members, batch, strict=True))
        if remote:
            async with asyncio.TaskGroup() as group:
                tasks = {i: group.create_task(_one(pairs[i][1], requests[i])) for i in remote}
            answers |= {i: task.result() for i, task in tasks.items()}
        return [answers[i] for i in range(len(pairs))]

    def _request(self, race: _Race, number: int, way: Way) -> Request:
        situation, role = race.situation, race.role
        allowed = situation.observation.admissible if role.constrain else None
        seed = seed_of(self.seed, role.name, situation.step, number)
        session = f"{situation.step}~{role.name}#{number}"
        if isinstance(way.context, History):
            if not isinstance(way.sampler, Forks):
                raise ConfigError(
                    f"{type(way.sampler).__name__} cannot continue one conversation in several ways, which the full "
                    "history needs. Use the window view, or another model."
                )
            main = _conversation(role, situation.run, situation.node)
            if main in self._open:
                way.sampler.fork(main, session)
                return Request(
                    session=session, messages=way.context.further(situation), allowed=allowed, seed=seed
                )
        shown = race.shown.get(id(way.context))
        if shown is None:
            shown = race.shown[id(way.context)] = way.context.messages(situation)
        return Request(session=session, messages=shown, allowed=allowed, seed=seed)

    def _forget(self, race: _Race, chosen: Candidate | None) -> None:
        """Drop the conversations of this step; one that grows goes on behind the chosen answer."""
        role, situation = race.role, race.situation
        for number in range(race.drawn):
            way = _way(role, race.ways, number)
            session = f"{situation.step}~{role.name}#{number}"
            if (
                isinstance(way.context, History)
                and isinstance(way.sampler, Forks)
                and chosen is not None
                and chosen.sample == number
            ):
                main = _conversation(role, situation.run, situation.node)
                if main in self._open:
                    way.sampler.release([main])
                way.sampler.fork(session, main)
                self._open.add(main)
            way.sampler.release([session])

    def reopen(self, role: Role, run: str, node: str, taken: Sequence[tuple[Situation, Turn]]) -> None:
        """Put a conversation that grows (``History``) behind turns that were taken before the run was stopped.

        Each turn brings its text and tokens; its messages are made here, from its situation.
        """
        way = None if callable(role.ways) else role.ways[0]
        if way is None or not isinstance(way.context, History) or not isinstance(way.sampler, Primes):
            return
        view = way.context
        shown = [view.messages(one) if at == 0 else view.further(one) for at, (one, _) in enumerate(taken)]
        turns = [replace(turn, messages=new) for new, (_, turn) in zip(shown, taken, strict=True)]
        main = _conversation(role, run, node)
        way.sampler.prime(main, turns)
        self._open.add(main)

    def _charge(self, race: _Race, way: Way, answer: Generation) -> None:
        race.add("samples", 1)
        usage = answer.usage
        race.add("prompt_tokens", usage.prompt)
        race.add("cached_tokens", usage.cached)
        race.add("completion_tokens", usage.completion)
        race.add("usd", _usd(way, answer))


_ASYNC: dict[type, bool] = {}  # asking a protocol costs more than the rest of a scripted step


def _remote(sampler: Sampler | AsyncSampler) -> AsyncSampler | None:
    """Return the sampler if it answers each request on its own."""
    kind = type(sampler)
    if kind not in _ASYNC:
        _ASYNC[kind] = isinstance(sampler, AsyncSampler)
    return cast("AsyncSampler", sampler) if _ASYNC[kind] else None


def _way(role: Role, ways: Sequence[Way], number: int) -> Way:
    return ways[number % len(ways) if role.cycle else min(number, len(ways) - 1)]


async def _one(way: Way, request: Request) -> Generation:
    try:
        return await cast("AsyncSampler", way.sampler).sample_one(request, way.sampling)
    except ModelError as error:
        return _broken(error)


def _batch(
    sampler: Sampler | AsyncSampler, requests: Sequence[Request], sampling: Sampling
) -> list[Generation]:
    try:
        return cast("Sampler", sampler).sample(requests, sampling)
    except ModelError as error:
        return [_broken(error)] * len(requests)


def _broken(error: ModelError) -> Generation:
    return Generation(text="", stop=Stop.ERROR, error=str(error))


def _candidate(race: _Race, number: int, answer: Generation, read: Callable[[str], Action]) -> Candidate:
    """Parse one answer and put the flags to it; whatever a parser or a flag does wrong is a flag too."""
    name = "parse"
    try:
        action = Action(text=answer.text, calls=answer.calls) if answer.calls else read(answer.text)
        if answer.calls and race.check is not None:
            action = race.check(action)
        candidate = Candidate(
            sample=number, action=action, generation=answer, key=race.role.key(action, answer.text)
        )
        for flag in race.role.flags:
            name = flag.name
            reason = flag(candidate, race.situation)
            if reason is not None:
                return _flagged(race, candidate, name, reason)
    except (BudgetError, ConfigError):
        raise
    except Exception as error:  # model output is bad input, and a flag is somebody's code
        broken = Candidate(sample=number, action=Action(text=answer.text, valid=False), generation=answer)
        return _flagged(race, broken, name, f"{type(error).__name__}: {cut(str(error), 200)}")
    return candidate


def _flagged(race: _Race, candidate: Candidate, name: str, reason: str) -> Candidate:
    body = {
        "step": race.situation.step,
        "role": race.role.name,
        "sample": candidate.sample,
        "flag": name,
        "reason": reason,
        "text": cut(candidate.generation.text, _EVIDENCE),
    }
    race.events.append((Kind.FLAG, body))
    return Candidate(
        sample=candidate.sample,
        action=candidate.action,
        generation=candidate.generation,
        key=candidate.key,
        flag=f"{name}: {reason}",
    )


def _conversation(role: Role, run: str, node: str) -> str:
    return f"{run}/{node}~{role.name}"


def _usd(way: Way, answer: Generation) -> float:
    price, usage = way.price, answer.usage
    return (
        price.prompt * usage.prompt + price.cached * usage.cached + price.completion * usage.completion
    ) / 1e6


def _told(votes: Votes) -> str:
    some = list(tally_of(votes).items())[:3]
    return ", ".join(f"{cut(key, 60)!r} {count:g}" for key, count in some)


def _as_text(text: str) -> Action:
    return Action(text=text, valid=bool(text.strip()), reason=None if text.strip() else "the answer is empty")
