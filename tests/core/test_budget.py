import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.budget import Budget
from everystep.core.errors import BudgetError, ConfigError

amounts = st.floats(0, 5, allow_nan=False)


@given(
    limits=st.lists(st.floats(0, 10), min_size=1, max_size=4),
    acts=st.lists(st.tuples(st.integers(0, 3), amounts, st.booleans(), st.floats(0, 1)), max_size=40),
)
def test_nested_reservations_never_exceed_any_limit(
    limits: list[float], acts: list[tuple[int, float, bool, float]]
) -> None:
    budgets = [Budget({"usd": limits[0]})]
    for limit in limits[1:]:
        budgets.append(budgets[-1].child({"usd": limit}))
    for place, amount, settles, share in acts:
        budget = budgets[place % len(budgets)]
        before = [(one.used("usd"), one.held("usd")) for one in budgets]
        try:
            ticket = budget.reserve({"usd": amount})
        except BudgetError:
            assert [(one.used("usd"), one.held("usd")) for one in budgets] == before
            continue
        if settles:
            budget.settle(ticket, {"usd": amount * share})
        for one in budgets:
            assert one.used("usd") + one.held("usd") <= one.limits["usd"] * (1 + 1e-6)


def test_a_child_can_spend_no_more_than_its_parent_has_left() -> None:
    run = Budget({"calls": 3})
    one, other = run.child({"calls": 3}), run.child({})
    one.reserve({"calls": 2})
    assert other.left("calls") == 1
    with pytest.raises(BudgetError, match=r"'calls' is spent: 1.0 left, 2.0 asked"):
        other.reserve({"calls": 2})


def test_a_refused_reservation_takes_nothing() -> None:
    budget = Budget({"calls": 5, "tokens": 1})
    with pytest.raises(BudgetError):
        budget.reserve({"calls": 1, "tokens": 2})
    assert budget.left("calls") == 5


def test_an_overrun_is_booked_and_stops_the_next() -> None:
    budget = Budget({"tokens": 10})
    budget.settle(budget.reserve({"tokens": 5}), {"tokens": 12})
    assert budget.left("tokens") == -2
    with pytest.raises(BudgetError):
        budget.reserve({"tokens": 1})


def test_rounding_does_not_refuse_the_last_share() -> None:
    budget = Budget({"usd": 0.3})
    for _ in range(3):
        budget.reserve({"usd": 0.1})


def test_a_ticket_settles_once_and_only_where_it_was_reserved() -> None:
    run = Budget({"calls": 9})
    one, other = run.child({}), run.child({})
    mine, theirs = one.reserve({"calls": 1}), other.reserve({"calls": 2})
    with pytest.raises(BudgetError, match="is not open here"):
        one.settle(theirs, {})
    with pytest.raises(BudgetError, match="is not open here"):
        run.settle(mine, {})
    assert run.held("calls") == 3
    one.settle(mine, {"calls": 1})
    with pytest.raises(BudgetError, match="settled before"):
        one.settle(mine, {"calls": 1})
    assert (run.used("calls"), run.held("calls")) == (1, 2)


def test_spend_books_what_the_body_corrected_even_when_it_fails() -> None:
    budget = Budget({"tokens": 10})
    with pytest.raises(RuntimeError), budget.spend({"tokens": 8}) as used:  # noqa: PT012
        used["tokens"] = 3
        raise RuntimeError
    assert (budget.used("tokens"), budget.held("tokens")) == (3, 0)


@pytest.mark.parametrize("bad", [{"token": 1}, {"tokens": -1}, {"tokens": float("nan")}])
def test_wrong_amounts_are_refused_everywhere(bad: dict[str, float]) -> None:
    budget = Budget({"tokens": 10})
    ticket = budget.reserve({"tokens": 1})
    for act in (Budget, budget.reserve, lambda used: budget.settle(ticket, used)):
        with pytest.raises(ConfigError):
            act(bad)
    assert budget.left("tokens") == 9


def test_threads_together_get_exactly_the_limit() -> None:
    budget = Budget({"calls": 100})
    won: list[int] = []

    def work() -> None:
        for _ in range(50):
            try:
                budget.child({}).reserve({"calls": 1})
            except BudgetError:
                return
            won.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 100
