from __future__ import annotations

from itertools import pairwise

import pytest

from everystep.core.errors import ConfigError
from everystep.learn.schedules import SCHEDULES, scale


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_then_the_schedule(schedule: str) -> None:
    factors = [scale(schedule, step, 100, warmup=10, floor=0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[10] == 1.0
    assert all(later <= sooner for sooner, later in pairwise(factors[10:]))
    assert factors[100] == pytest.approx(1.0 if schedule == "constant" else 0.1)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert scale("cosine", 50, 100) == pytest.approx(0.5)
    assert scale("cosine", 25, 100) == pytest.approx(0.853553, abs=1e-6)


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="cosine"):
        scale("cosin", 0, 10)
    with pytest.raises(ConfigError, match="warmup"):
        scale("linear", 0, 10, warmup=11)
