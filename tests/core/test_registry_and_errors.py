import inspect

import pytest

from everystep.core import errors
from everystep.core.errors import ConfigError, EverystepError, did_you_mean
from everystep.core.registry import Registry


def fruits() -> Registry[int]:
    registry = Registry[int]("fruit")
    registry.add("apple", 1)
    registry.add("Banana", 2)
    return registry


def test_it_is_a_mapping() -> None:
    registry = fruits()
    assert list(registry) == ["apple", "Banana"]
    assert dict(registry) == {"apple": 1, "Banana": 2}
    assert ("apple" in registry, "pear" in registry, len(registry)) == (True, False, 2)
    assert (registry.get("apple"), registry.get("pear"), registry.get("pear", 7)) == (1, None, 7)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("aple", "Did you mean 'apple'?"), ("BANANA", "Did you mean 'Banana'?"), ("x", "Known: Banana, apple.")],
)
def test_a_wrong_name_gets_a_helpful_answer(wrong: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fruits()[wrong]
    assert str(caught.value) == f"unknown fruit {wrong!r}. {hint}"


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ConfigError, match="fruit 'apple' is registered twice"):
        fruits().add("apple", 3)


def test_long_lists_of_names_are_cut() -> None:
    hint = did_you_mean("zzz", [f"name{n}" for n in range(1000)])
    assert hint.endswith("and 970 more.")
    assert did_you_mean("a", []) == "Known: none."


def test_every_error_is_an_everystep_error() -> None:
    kinds = [
        one for _, one in inspect.getmembers(errors, inspect.isclass) if one.__module__ == errors.__name__
    ]
    assert len(kinds) > 8
    assert all(issubclass(one, EverystepError) and one.__doc__ for one in kinds)
