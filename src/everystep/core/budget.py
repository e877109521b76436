"""Nested budgets: reserve before an act, settle after it, never exceed a parent's limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from everystep.core.errors import BudgetError, ConfigError, did_you_mean

RESOURCES = frozenset({"steps", "calls", "tokens", "seconds", "usd"})


class Budget:
    """Limits on named resources, inside a parent's limits.

    ``reserve`` takes an estimate out of this budget and all of its parents, or raises ``BudgetError``
    and takes nothing. ``settle`` replaces the estimate by what was really used, which may be more:
    the overrun is then booked, and the next reservation fails.

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
        for name, limit in limits.items():
            if name not in RESOURCES:
                raise ConfigError(f"unknown resource {name!r} in a budget. {did_you_mean(name, RESOURCES)}")
            if not limit >= 0:
                raise ConfigError(f"the limit for {name!r} is {limit!r}; it must be zero or more.")
        self.limits = {name: float(limit) for name, limit in limits.items()}
        self.parent = parent
        self._used: dict[str, float] = {}
        self._held: dict[int, dict[str, float]] = {}
        self._next = 0

    def child(self, limits: Mapping[str, float]) -> Budget:
        """Return a budget inside this one."""
        return Budget(limits, parent=self)

    def _chain(self) -> Iterator[Budget]:
        budget: Budget | None = self
        while budget is not None:
            yield budget
            budget = budget.parent

    def used(self, resource: str) -> float:
        """Return what was settled."""
        return self._used.get(resource, 0.0)

    def held(self, resource: str) -> float:
        """Return what is reserved and not yet settled."""
        return sum(amounts.get(resource, 0.0) for amounts in self._held.values())

    def left(self, resource: str) -> float:
        """Return what can still be reserved here, parents included; infinite without a limit."""
        return min(
            budget.limits.get(resource, float("inf")) - budget.used(resource) - budget.held(resource)
            for budget in self._chain()
        )

    def reserve(self, amounts: Mapping[str, float]) -> tuple[int, ...]:
        """Hold ``amounts`` in this budget and its parents; return the ticket to settle with."""
        for name, amount in amounts.items():
            if name not in RESOURCES:
                raise ConfigError(f"unknown resource {name!r} in a budget. {did_you_mean(name, RESOURCES)}")
            left = self.left(name)
            if amount > left:
                raise BudgetError(
                    f"budget for {name!r} is spent: {left} left, {float(amount)} asked. "
                    "Raise the limit or stop here."
                )
        ticket = []
        for budget in self._chain():
            budget._next += 1
            budget._held[budget._next] = {name: float(amount) for name, amount in amounts.items()}
            ticket.append(budget._next)
        return tuple(ticket)

    def settle(self, ticket: tuple[int, ...], used: Mapping[str, float]) -> None:
        """Book what was used and give the rest of the reservation back. A ticket settles once."""
        for budget, number in zip(self._chain(), ticket, strict=True):
            if number not in budget._held:
                raise BudgetError(f"reservation {number!r} was settled before; settle each ticket once.")
            del budget._held[number]
            for name, amount in used.items():
                budget._used[name] = budget._used.get(name, 0.0) + amount

    @contextmanager
    def spend(self, amounts: Mapping[str, float]) -> Iterator[dict[str, float]]:
        """Reserve on entry and settle on exit; the body may correct the yielded amounts."""
        ticket = self.reserve(amounts)
        used = dict(amounts)
        try:
            yield used
        finally:
            self.settle(ticket, used)
