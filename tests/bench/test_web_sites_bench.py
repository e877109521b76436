"""The local web sites as a benchmark: cases, tags and options."""

from __future__ import annotations

import pytest

from everystep.bench.catalog import benchmark
from everystep.core.errors import ConfigError
from everystep.environments.web.sites import goal_names


def test_each_kind_of_goal_comes_as_often_as_there_are_seeds() -> None:
    made = benchmark("web_sites", {"seeds": 3})
    cases = list(made.cases())
    assert len(cases) == made.about.cases == 3 * len(goal_names())
    assert {sum(one.tags["goal"] == goal for one in cases) for goal in goal_names()} == {3}
    assert len({one.id for one in cases}) == len(cases)


def test_one_site_has_its_goals_alone_and_no_seeds_are_refused() -> None:
    assert {one.tags["site"] for one in benchmark("web_sites", {"site": "wiki"}).cases()} == {"wiki"}
    with pytest.raises(ConfigError, match="'seeds' is 0"):
        benchmark("web_sites", {"seeds": 0})
