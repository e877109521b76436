"""Nested budgets: reserve before an act, settle after it, never exceed a parent's limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from everystep.core.errors import BudgetError, ConfigError, did_you_mean

RESOURCES = frozenset({"steps", "calls", "tokens", "seconds", "usd"})
_ENDLESS = float("inf")
_ROUNDING = 1e-9  # three times 0.1 fits into 0.3


def _check(amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        if name not in RESOURCES:
            raise ConfigError(f"unknown resource {name!r} in a budget. {did_you_mean(name, RESOURCES)}")
        if not amount >= 0:
            raise ConfigError(f"the amount of {name!r} is {amount!r}; it must be zero or more.")


class Budget:
    """Limits on named resources, inside a parent's limits.

    ``reserve`` takes an estimate out of this budget and all of its parents, or raises ``BudgetError``
    and takes nothing. ``settle`` replaces the estimate by what was really used, which may be more:
    the overrun is then booked, and the next reservation fails. Threads may share a budget.

    >>> run = Budget({"calls": 3})
    >>> step = run.child({"calls": 2})
    >>> ticket = step.reserve({"calls": 1})
    >>> step.settle(ticket, {"calls": 1})
    >>> run.left("calls"), step.left("calls")
    (2.0, 1.0)
    >>> step.reserve({"calls": 2})
    Traceback (most recent call last):
        ...
    everystep.core.errors.BudgetError: budget for 'calls' is spent: 1.0 left, 2.0 asked. Raise the limit or stop here.
    """

    def __init__(self, limits: Mapping[str, float], parent: Budget | None = None) -> None:
        _check(limits)
        self.limits = {name: float(limit) for name, limit in limits.items()}
        self.parent = parent
        self._used: dict[str, float] = {}
        self._held: dict[int, dict[str, float]] = {}
        self._numbers: Iterator[int] = count(1) if parent is None else parent._numbers
        self._guard: threading.RLock = threading.RLock() if parent is None else parent._guard
        self._chain: tuple[Budget, ...] = (self,) if parent is None else (self, *parent._chain)

    def child(self, limits: Mapping[str, float]) -> Budget:
        """Return a budget inside this one."""
        return Budget(limits, parent=self)

    def used(self, resource: str) -> float:
        """Return what was settled."""
        return self._used.get(resource, 0.0)

    def held(self, resource: str) -> float:
        """Return what is reserved and not yet settled."""
        with self._guard:
            return sum(amounts.get(resource, 0.0) for amounts in self._held.values())

    def left(self, resource: str) -> float:
        """Return what can still be reserved here, parents included; infinite without a limit."""
        with self._guard:
            return self._left(resource)

    def _left(self, resource: str) -> float:
        least = _ENDLESS
        for budget in self._chain:
            limit = budget.limits.get(resource)
            if limit is not None:
                least = min(least, limit - budget.used(resource) - budget.held(resource))
        return least

    def reserve(self, amounts: Mapping[str, float]) -> tuple[int, ...]:
        """Hold ``amounts`` in this budget and its parents; return the ticket to settle with."""
        _check(amounts)
        held = {name: float(amount) for name, amount in amounts.items()}
        with self._guard:
            for name, amount in held.items():
                left = self._left(name)
                if left < _ENDLESS and amount > left + _ROUNDING * abs(left):
                    raise BudgetError(
                        f"budget for {name!r} is spent: {left} left, {amount} asked. "
                        "Raise the limit or stop here."
                    )
            ticket = []
            for budget in self._chain:
                number = next(self._numbers)
                budget._held[number] = held
                ticket.append(number)
            return tuple(ticket)

    def settle(self, ticket: tuple[int, ...], used: Mapping[str, float]) -> None:
        """Book what was used and give the rest of the reservation back. A ticket settles once."""
        _check(used)
        with self._guard:
            if len(ticket) != len(self._chain) or not all(map(_holds, self._chain, ticket)):
                raise BudgetError(
                    f"reservation {ticket!r} is not open here: it was settled before, or belongs to another "
                    "budget. Settle each ticket once, where it was reserved."
                )
            for budget, number in zip(self._chain, ticket, strict=True):
                del budget._held[number]
                booked = budget._used
                for name, amount in used.items():
                    booked[name] = booked.get(name, 0.0) + amount

    @contextmanager
    def spend(self, amounts: Mapping[str, float]) -> Iterator[dict[str, float]]:
        """Reserve on entry and settle on exit; the body may correct the yielded amounts."""
        ticket = self.reserve(amounts)
        used = dict(amounts)
        try:
            yield used
        finally:
            self.settle(ticket, used)


def _holds(budget: Budget, number: int) -> bool:
    return number in budget._held
