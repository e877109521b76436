"""Records to JSON values and back, by their types. Versioned; unknown fields are refused by name."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from everystep.core.errors import StoreError

VERSION = 1
"""Version of the encoded form; it goes up when a stored field changes its meaning."""

R = TypeVar("R")


def encode(value: Any) -> Any:
    """Return ``value`` (a record, a container of records, a JSON value) as a JSON value.

    Fields that hold their default are left out, so a step stores only what it added.

    >>> from everystep.core.records import Action
    >>> encode(Action(text="go"))
    {'text': 'go'}
    """
    kind: type = type(value)
    if kind in _PLAIN:
        return value
    pairs = _defaults(kind)
    if pairs is not None:
        return {name: encode(item) for name, item in _added(value, pairs)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return list(value) if _PLAIN.issuperset(map(type, value)) else [encode(item) for item in value]
    if isinstance(value, frozenset):
        return [encode(item) for item in sorted(value)]
    return value


_PLAIN = frozenset({int, float, str, bool, type(None)})


def dumps(value: Any) -> str:
    """Return the compact JSON text of ``value``; it can always be written as UTF-8."""
    text = _TEXT.encode(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8: escape it
            return _ESCAPED.encode(value)
    return text


def _shallow(value: Any) -> Any:
    """Return what JSON's own writer, which does the rest, cannot take as it is."""
    kind: type = type(value)
    pairs = _defaults(kind)
    if pairs is not None:
        return dict(_added(value, pairs))
    if isinstance(value, Mapping):
        return dict(value)
    encoded = encode(value)
    if encoded is value:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return encoded


_TEXT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=_shallow)
_ESCAPED = json.JSONEncoder(separators=(",", ":"), default=_shallow)


def loads(cls: type[R], text: str) -> R:
    """Parse JSON text into a record of type ``cls``."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(f"not JSON, expected a {cls.__name__}: {error}. The line is damaged.") from None
    return decode(cls, data)


def decode(cls: type[R], data: Any) -> R:
    """Build a record of type ``cls`` from a JSON value made by ``encode``.

    Raises ``StoreError`` naming the field that is missing, unknown or of the wrong type.

    >>> from everystep.core.records import Action
    >>> decode(Action, {"text": "go", "valid": False})
    Action(text='go', calls=(), valid=False, reason=None)
    >>> decode(Action, {"txt": "go"})
    Traceback (most recent call last):
        ...
    everystep.core.errors.StoreError: cannot read Action: unknown field 'txt'. It was written by another version, or the data is damaged.
    """
    kind: Any = cls
    result: R = _reader(kind)(data)
    return result


def decode_fields(cls: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of some fields of the dataclass ``cls`` from JSON values made by ``encode``.

    Raises ``StoreError`` naming the field that is unknown or of the wrong type.
    """
    values = {}
    for name, value in data.items():
        reader = _field_readers(cls).get(name)
        if reader is None:
            raise StoreError(
                f"cannot read {cls.__name__}: unknown field {name!r}. "
                "It was written by another version, or the data is damaged."
            )
        try:
            values[name] = reader(value)
        except (TypeError, ValueError) as error:
            raise StoreError(f"cannot read {cls.__name__}: field {name!r} is damaged ({error}).") from None
    return values


@cache
def _field_readers(cls: type) -> dict[str, Callable[[Any], Any]]:
    hints = get_type_hints(cls)
    return {f.name: _reader(hints[f.name]) for f in fields(cls)}


def _added(value: Any, pairs: tuple[tuple[str, Any], ...]) -> list[tuple[str, Any]]:
    """Return the fields of a record that do not hold their default."""
    found = []
    for name, default in pairs:
        item = getattr(value, name)
        if item is not default and (default is MISSING or item != default):
            found.append((name, item))
    return found


@cache
def _defaults(cls: type) -> tuple[tuple[str, Any], ...] | None:
    """Return the fields of a record with their defaults, ``None`` for what is no record."""
    if not is_dataclass(cls):
        return None
    pairs: list[tuple[str, Any]] = []
    for f in fields(cls):
        if f.default is not MISSING:
            pairs.append((f.name, f.default))
        elif f.default_factory is not MISSING:
            pairs.append((f.name, f.default_factory()))
        else:
            pairs.append((f.name, MISSING))
    return tuple(pairs)


_SCALARS: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), bool: (bool,), float: (float, int)}


@cache
def _reader(kind: Hashable) -> Callable[[Any], Any]:
    """Return the function that turns a JSON value into a value of type ``kind``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record_reader(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind in _SCALARS:
        return _scalar_reader(_SCALARS[kind])
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _tuple_reader(arguments[0])
    if origin is tuple:
        return _row_reader(arguments)
    if origin is frozenset:
        members = _tuple_reader(arguments[0])
        return lambda data: frozenset(members(data))
    if origin in (Union, types.UnionType):
        options = [one for one in arguments if one is not type(None)]
        if len(options) == 1 and type(None) in arguments:
            inner = _reader(options[0])
            return lambda data: None if data is None else inner(data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(*arguments)
    return lambda data: data


def _scalar_reader(accepted: tuple[type, ...]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if type(data) not in accepted:
            raise TypeError(f"expected {accepted[0].__name__}, found {data!r}")
        return data

    return read


def _tuple_reader(kind: Any) -> Callable[[Any], Any]:
    item, accepted = _reader(kind), frozenset(_SCALARS.get(kind, ()))

    def read(data: Any) -> Any:
        if not isinstance(data, list | tuple):
            raise TypeError(f"expected a list, found {data!r}")
        if accepted.issuperset(map(type, data)):
            return tuple(data)
        return tuple([item(one) for one in data])

    return read


def _row_reader(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    items = [_reader(kind) for kind in kinds]

    def read(data: Any) -> Any:
        if not isinstance(data, list | tuple) or len(data) != len(items):
            raise TypeError(f"expected a list of {len(items)}, found {data!r}")
        return tuple([item(one) for item, one in zip(items, data, strict=True)])

    return read


def _mapping_reader(key: Any, kind: Any) -> Callable[[Any], Any]:
    item = _reader(kind)

    def read(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise TypeError(f"expected an object, found {data!r}")
        if key is int:
            return {int(name): item(one) for name, one in data.items()}
        return {name: item(one) for name, one in data.items()}

    return read


def _record_reader(cls: Any) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise StoreError(f"cannot read {cls.__name__}: expected an object, found {type(data).__name__}.")
        try:
            return cls(**decode_fields(cls, data))
        except TypeError as error:
            raise StoreError(f"cannot read {cls.__name__}: {error}.") from None

    return read
