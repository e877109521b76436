"""What usually comes next."""

from __future__ import annotations

import pytest

from everystep.core.errors import DataError
from everystep.evolve.habits import habit
from everystep.run.action_chain import kind_of

EPISODES = [["open a", "click 1", "type x", "click 2"], ["open b", "click 2", "click 2"], ["wait", "click 2"]]


def test_without_the_last_action_it_is_always_the_same() -> None:
    say = habit(EPISODES, kind_of, last=False)
    assert {say(one[:place]) for one in EPISODES for place in range(len(one))} == {"click 2"}


def test_behind_the_last_kind_it_is_what_followed_most_often() -> None:
    say = habit(EPISODES, kind_of, last=True)
    assert say([]) == "open a"
    assert say(["open z"]) == "click 2"
    assert say(["never seen"]) == "click 2"


def test_no_actions_no_habit() -> None:
    with pytest.raises(DataError, match="no action"):
        habit([[]], kind_of, last=True)
