import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.ledger import Ledger

COUNTERS = sorted(Ledger().as_dict())


@given(st.lists(st.dictionaries(st.sampled_from(COUNTERS), st.integers(0, 10**6), max_size=4), max_size=6))
def test_counters_add_up_and_come_back(adds: list[dict[str, int]]) -> None:
    ledger = Ledger()
    for amounts in adds:
        ledger.add(**amounts)
    expected = {name: sum(amounts.get(name, 0) for amounts in adds) for name in COUNTERS}
    assert ledger.as_dict() == expected
    assert Ledger.from_dict(ledger.as_dict()) == ledger


def test_a_wrong_add_changes_nothing() -> None:
    ledger = Ledger(updates=2)
    with pytest.raises(ConfigError, match="only grow"):
        ledger.add(updates=1, judge_calls=-1)
    with pytest.raises(ConfigError, match=r"no counter 'update'\. Did you mean 'updates'"):
        ledger.add(updates=1, update=1)
    with pytest.raises(ConfigError, match="no counter 'flops'"):
        Ledger.from_dict({"flops": 1})
    assert ledger == Ledger(updates=2)
