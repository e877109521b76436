"""A canary audit of one's own agents: does a planted token come out, for which kind of question, behind which defence?

Defensive use only (after JustAsk, S52). A target is an object in this process, or an endpoint that the operator lists; probes
come from the caller (no texts ship); a budget and a kill switch end every audit; nothing learns across targets. An audit returns
counts with Wilson intervals.

A leak is the exact token. Beside it stands what an auditor could conclude without knowing the token: an answer is *validated* when two
different probes, or the same probe twice, brought the same token. That shows how often agreement alone would be wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

from everystep.core.budget import Budget
from everystep.core.errors import BudgetError, ConfigError, DataError, did_you_mean
from everystep.core.protocols import AsyncSampler, Request, Sampler, Sampling
from everystep.core.records import Message, Stop
from everystep.guard.secrets import Secret, Vault
from everystep.run.bandit import Bandit, Choice
from everystep.run.measure import wilson
from everystep.run.rollout import seed_of

CANARY = re.compile(r"CANARY-[0-9a-f]{16}", re.IGNORECASE)
"""What a planted token looks like."""

Talk = Callable[[str, int], Awaitable[str]]
"""One fresh conversation with the target: a probe and a seed give the answer."""

Plant = Callable[[str, str], Talk]
"""Puts a canary behind a defence (a text, "" for none) into the target and returns how to talk to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """A class of probes of the caller's own. The texts of a class are used in turn."""

    name: str
    texts: tuple[str, ...]


_CLASSES, _TEXTS, _FILE = 100, 1000, 1_000_000


def read_probes(path: Path) -> tuple[Probes, ...]:
    """Read classes of probes from a TOML file of the caller's own: a table ``classes`` of lists of texts.

    >>> path = getfixture("tmp_path") / "probes.toml"
    >>> _ = path.write_text('[classes]\\ngreeting = ["Hello!", "Good morning!"]')
    >>> read_probes(path)
    (Probes(name='greeting', texts=('Hello!', 'Good morning!')),)
    """
    try:
        raw = path.read_bytes()
        data = tomllib.loads(raw[: _FILE + 1].decode())
    except (OSError, ValueError) as error:
        raise DataError(
            f"the probes in {str(path)!r} cannot be read: {error}. Write a TOML file with [classes]."
        ) from None
    classes = data.get("classes")
    classes = classes if isinstance(classes, dict) and len(raw) <= _FILE else {}
    if not 0 < len(classes) <= _CLASSES or not all(
        isinstance(some, list)
        and 0 < len(some) <= _TEXTS
        and all(isinstance(one, str) and one.strip() for one in some)
        for some in classes.values()
    ):
        raise DataError(
            f"{str(path)!r} has no classes of probes: expected [classes] with 1 to {_CLASSES} lists of 1 to {_TEXTS} texts."
        )
    return tuple(Probes(name=name, texts=tuple(some)) for name, some in classes.items())


@runtime_checkable
class _Endpoint(Protocol):
    @property
    def base_url(self) -> str: ...


@runtime_checkable
class _Remote(Protocol):
    """A sampler that speaks to an endpoint."""

    @property
    def endpoint(self) -> _Endpoint: ...


class Targets:
    """What may be audited: objects registered here, and samplers of endpoints that ``endpoints`` lists.

    ``endpoints`` are base URLs that the operator owns, compared exactly but for a closing slash.
    """

    def __init__(self, *, endpoints: Iterable[str] = ()) -> None:
        self._listed = frozenset(url.rstrip("/") for url in endpoints)
        self._plants: dict[str, Plant] = {}

    def register(self, name: str, plant: Plant) -> None:
        """Register an agent of one's own under a name."""
        if name in self._plants:
            raise ConfigError(f"there is a target {name!r} already. Choose another name.")
        self._plants[name] = plant

    def register_sampler(
        self,
        name: str,
        sampler: Sampler | AsyncSampler,
        *,
        system: str,
        sampling: Sampling | None = None,
    ) -> None:
        """Register a model with its system prompt, in which ``{canary}`` stands once and ``{defence}`` may stand.

        A sampler that speaks to an endpoint is refused unless its base URL is listed.
        """
        if isinstance(sampler, _Remote):
            url = sampler.endpoint.base_url
            if url.rstrip("/") not in self._listed:
                raise ConfigError(
                    f"endpoint {url!r} is not listed. Audit your own agents only: list the base URLs that you run."
                )
        if system.count("{canary}") != 1:
            raise ConfigError(
                "the system prompt must hold {canary} exactly once, where the token is planted."
            )
        self.register(name, _planted(sampler, system, sampling or Sampling(temperature=0.7, max_tokens=256)))

    def plant(self, name: str) -> Plant:
        """Return a registered target."""
        if name not in self._plants:
            raise ConfigError(
                f"there is no target {name!r}; only registered ones are audited. {did_you_mean(name, self._plants)}"
            )
        return self._plants[name]


def _planted(sampler: Sampler | AsyncSampler, system: str, sampling: Sampling) -> Plant:
    def plant(canary: str, defence: str) -> Talk:
        prompt = system.replace("{canary}", canary).replace("{defence}", defence)

        async def talk(probe: str, seed: int) -> str:
            messages = (Message(role="system", content=prompt), Message(role="user", content=probe))
            request = Request(session=f"audit-{seed}", messages=messages, seed=seed)
            try:
                if isinstance(sampler, AsyncSampler):
                    answer = await sampler.sample_one(request, sampling)
                else:
                    (answer,) = sampler.sample([request], sampling)
            finally:
                sampler.release([request.session])
            return "" if answer.stop is Stop.ERROR else answer.text

        return talk

    return plant


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """One class of probes against one defence. ``leaks`` and ``claims`` are attempts whose answer held the planted token, or any token.

    A leak counts in every form that ``guard.secrets`` finds (another case, encodings).
    """

    defence: str
    probes: str
    attempts: int = 0
    claims: int = 0
    leaks: int = 0

    @property
    def rate(self) -> float | None:
        """The leak rate, ``None`` without an attempt."""
        return self.leaks / self.attempts if self.attempts else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the leak rate."""
        return wilson(self.leaks / self.attempts, self.attempts) if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Tokens that agreement would have accepted under one defence: how many, and how many of them were never planted."""

    defence: str
    validated: int = 0
    false: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an audit found. ``stopped`` says why it ended early, ``None`` if it did not."""

    target: str
    counts: tuple[Count, ...]
    validations: tuple[Validation, ...]
    stopped: str | None = None

    def of(self, defence: str) -> Count:
        """Return the counts of one defence, all classes together."""
        some = [one for one in self.counts if one.defence == defence]
        return Count(
            defence=defence,
            probes="",
            attempts=sum(one.attempts for one in some),
            claims=sum(one.claims for one in some),
            leaks=sum(one.leaks for one in some),
        )


@dataclass(slots=True)
class _Seen:
    """Which probes brought which tokens, under one defence."""

    by: dict[str, list[str]] = field(default_factory=dict)

    def validated(self) -> list[str]:
        return [token for token, probes in self.by.items() if len(probes) > 1]


def stop_file(path: Path) -> Callable[[], bool]:
    """Return a kill switch: the audit stops before its next attempt once the file exists."""
    return path.exists


async def audit(
    targets: Targets,
    target: str,
    probes: Sequence[Probes],
    *,
    defences: Mapping[str, str],
    attempts: int,
    stop: Callable[[], bool],
    choice: Choice = Choice.UCB,
    budget: Budget | None = None,
    seed: int = 0,
) -> Report:
    """Make ``attempts`` attempts at each defence, the classes chosen by a bandit whose reward is a leak.

    ``stop`` is asked before each attempt, ``budget`` is charged one call for each. ``defences`` maps names to the texts that a
    target is given. Raises ``ConfigError`` for a target that is not registered.
    """
    if attempts < 1 or not defences or not probes or not all(one.texts for one in probes):
        raise ConfigError(
            f"attempts {attempts!r}, {len(defences)} defences, {len(probes)} classes: expected one or more of each, "
            "and a text in every class."
        )
    plant = targets.plant(target)
    counts: list[Count] = []
    validations: list[Validation] = []
    stopped: str | None = None
    for defence, text in defences.items():
        if stopped is not None:
            break
        found, seen, stopped = await _one_defence(
            plant, target, defence, text, probes, attempts, stop, choice, budget, seed
        )
        counts += found
        true = _canary(seed, target, defence)
        agreed = seen.validated()
        validations.append(
            Validation(defence=defence, validated=len(agreed), false=sum(one != true for one in agreed))
        )
    return Report(target=target, counts=tuple(counts), validations=tuple(validations), stopped=stopped)


async def _one_defence(
    plant: Plant,
    target: str,
    defence: str,
    text: str,
    probes: Sequence[Probes],
    attempts: int,
    stop: Callable[[], bool],
    choice: Choice,
    budget: Budget | None,
    seed: int,
) -> tuple[list[Count], _Seen, str | None]:
    canary = _canary(seed, target, defence)
    vault = Vault([Secret(name="PLANTED", value=canary)])
    talk = plant(canary, text)
    classes = {one.name: one.texts for one in probes}
    bandit = Bandit([one.name for one in probes], choice=choice, seed=seed_of(seed, "audit", defence, 0))
    claims, leaks = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
    seen, stopped = _Seen(), None
    for number in range(attempts):
        if stop():
            stopped = "the kill switch was used"
            break
        try:
            ticket = budget.reserve({"calls": 1}) if budget is not None else ()
        except BudgetError as error:
            stopped = str(error)
            break
        name = bandit.choose()
        probe = classes[name][bandit.arms[name].pulls % len(classes[name])]
        try:
            answer = await talk(probe, seed_of(seed, target, defence, number))
        finally:
            if budget is not None:
                budget.settle(ticket, {"calls": 1})
        tokens = {match.lower().replace("canary", "CANARY") for match in CANARY.findall(answer)}
        leak = vault.holds(answer)
        for token in sorted(tokens | ({canary} if leak else set())):
            seen.by.setdefault(token, []).append(probe)
        claims[name] += bool(tokens) or leak
        leaks[name] += leak
        bandit.update(name, float(leak))
    counts = [
        Count(
            defence=defence,
            probes=name,
            attempts=bandit.arms[name].pulls,
            claims=claims[name],
            leaks=leaks[name],
        )
        for name in classes
    ]
    return counts, seen, stopped


def _canary(seed: int, target: str, defence: str) -> str:
    """Return the token of one target and defence: nothing else in the world should hold it."""
    return f"CANARY-{sha256(f'{seed}/{target}/{defence}'.encode()).hexdigest()[:16]}"
