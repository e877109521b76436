"""The first level of a JSON schema, checked without trusting who wrote it.

Only what cannot go wrong is looked at: which arguments there must and may be, their type, their list of values. References, patterns and deeper
levels are the tool's own business: a pattern of a hostile server could take for ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from everystep.core.errors import did_you_mean
from everystep.core.records import Json

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def schema_problem(schema: Mapping[str, Json], arguments: Mapping[str, Json]) -> str | None:
    """Return what is wrong with ``arguments``, naming the argument, or ``None``.

    >>> schema_problem({"properties": {"path": {"type": "string"}}, "required": ["path"]}, {"path": 1})
    "argument 'path' must be of type string, found 1"
    >>> schema_problem({"properties": {"path": {}}, "required": ["path"]}, {})
    "argument 'path' is missing"
    """
    properties = _object(schema.get("properties"))
    required = schema.get("required")
    for name in required if isinstance(required, list) else []:
        if isinstance(name, str) and name not in arguments:
            return f"argument {name!r} is missing"
    for name, value in arguments.items():
        if name not in properties:
            if schema.get("additionalProperties") is False:
                return f"argument {name[:80]!r} is not known. {did_you_mean(name[:80], properties)}"
            continue
        wrong = _wrong(_object(properties[name]), value)
        if wrong:
            return f"argument {name!r} must be {wrong}, found {shown(value)}"
    return None


def shown(value: Any) -> str:
    """Return ``value`` as short JSON for a message."""
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _wrong(schema: Mapping[str, Any], value: Json) -> str | None:
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    if known and len(known) == len(names) and not any(_is(value, name) for name in known):
        return f"of type {' or '.join(known)}"
    options = schema.get("enum")
    if isinstance(options, list) and options and value not in options:
        return f"one of {shown(options)}"
    return None


def _is(value: Json, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])
