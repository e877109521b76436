"""Names to things, with a helpful answer to a wrong name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, overload

from everystep.core.errors import ConfigError, did_you_mean

T = TypeVar("T")
D = TypeVar("D")


class Registry(Mapping[str, T], Generic[T]):
    """A read-mostly mapping whose keys are unique and whose misses suggest a name.

    >>> colours = Registry[int]("colour")
    >>> colours.add("red", 1)
    1
    >>> colours["rad"]
    Traceback (most recent call last):
        ...
    everystep.core.errors.ConfigError: unknown colour 'rad'. Did you mean 'red'?
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register ``item``; a name that is taken raises ``ConfigError``."""
        if name in self._items:
            raise ConfigError(f"{self.noun} {name!r} is registered twice; choose another name.")
        self._items[name] = item
        return item

    def __getitem__(self, name: str) -> T:
        try:
            return self._items[name]
        except KeyError:
            hint = did_you_mean(name, self._items)
            raise ConfigError(f"unknown {self.noun} {name!r}. {hint}") from None

    @overload
    def get(self, name: str, /) -> T | None: ...

    @overload
    def get(self, name: str, /, default: T | D) -> T | D: ...

    def get(self, name: str, /, default: object = None) -> object:
        """Return the item, or ``default`` where there is none."""
        return self._items.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
