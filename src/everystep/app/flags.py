"""Flags from dataclasses, defaults from TOML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import Json

C = TypeVar("C")

_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _mapping(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Read a mapping as ``key=value`` words; a value is JSON where it can be, else text."""
    if info.type_origin is not dict:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE ...",
        instance_from_str=pairs,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [f"{key}={json.dumps(item)}" for key, item in value.items()],
    )


def pairs(words: Sequence[str]) -> dict[str, Json]:
    """Return the mapping of ``key=value`` words.

    >>> pairs(["level=GoToLocal", "max_steps=12"])
    {'level': 'GoToLocal', 'max_steps': 12}
    """
    found: dict[str, Json] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key:
            raise ValueError(f"{word!r} is not of the form key=value")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            found[key] = text
    return found


def parse(kind: type[C], words: Sequence[str], *, command: str, default: C | None = None) -> C:
    """Return the dataclass that a command's words describe; ``--help`` prints its fields and exits."""
    with _REGISTRY:
        if default is None:
            return tyro.cli(kind, args=list(words), prog=f"everystep {command}")
        return tyro.cli(kind, args=list(words), prog=f"everystep {command}", default=default)


def from_toml(kind: type[C], path: Path) -> C:
    """Return a config whose defaults are replaced by those of a TOML file; an unknown key is named."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot read {str(path)!r}: {error}. It should be a TOML file of options."
        ) from None
    return checked(kind, values, source=str(path))


def checked(kind: type[C], values: dict[str, Any], *, source: str) -> C:
    """Build a config from named values; an unknown name is refused with a suggestion."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    fitting = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"{source} has an option {name!r} that is not known. {did_you_mean(name, known)}"
            )
        if not _fits(value, hints[name]):
            expected = getattr(hints[name], "__name__", str(hints[name]))
            raise ConfigError(f"{source}: option {name!r} is {value!r}; expected {expected}.")
        fitting[name] = tuple(value) if get_origin(hints[name]) is tuple else value
    return kind(**fitting)


def _fits(value: Any, hint: Any) -> bool:
    """Say whether a value from TOML or JSON can stand in a field of this type."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    expected = {tuple: list}.get(get_origin(hint), get_origin(hint) or hint)
    return type(value) is expected or (expected is float and type(value) is int)
