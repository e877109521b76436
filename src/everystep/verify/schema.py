"""The flag that checks calls against JSON schemas (draft 2020-12), with the package jsonschema (extra ``schema``).

Schemas may come from elsewhere (a tool server), so nothing is fetched for a ``$ref`` and regular expressions in them are not run:
``pattern`` and ``patternProperties`` are not checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry

from everystep.core.codec import encode
from everystep.core.errors import ConfigError
from everystep.core.protocols import Candidate, Situation
from everystep.core.records import Json

_MOST = 100_000  # characters of arguments that are checked
_TOLD = 200  # characters of a reason


def _skip(*_: object) -> Iterator[ValidationError]:
    yield from ()


def _unless_patterns(name: str) -> Callable[..., Iterator[ValidationError]]:
    check = Draft202012Validator.VALIDATORS[name]

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from check(validator, value, instance, schema) or ()

    return checked


_Validator = validators.extend(
    Draft202012Validator,
    {
        "pattern": _skip,
        "patternProperties": _skip,
        "additionalProperties": _unless_patterns("additionalProperties"),
        "unevaluatedProperties": _skip,
    },
)


@dataclass(frozen=True, slots=True)
class Schema:
    """A call's arguments do not fit the schema of its tool. ``schemas`` maps a tool to its JSON schema; other tools are not checked.

    Raises ``ConfigError`` for a schema that is none.

    >>> from everystep.core.records import ToolCall
    >>> add = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    >>> Schema({"add": add}).fault(ToolCall(name="add", arguments={"a": "1"}))
    "add: a: '1' is not of type 'integer'"
    """

    schemas: Mapping[str, Mapping[str, Json]]
    _checks: Mapping[str, Any] = field(init=False, repr=False, compare=False)
    name: ClassVar[str] = "schema"

    def __post_init__(self) -> None:
        checks = {}
        for tool, schema in self.schemas.items():
            try:
                _Validator.check_schema(schema)
            except (SchemaError, RecursionError) as error:
                raise ConfigError(
                    f"the schema of tool {tool!r} is not a JSON schema: {str(error)[:200]}. Correct it, or leave it out."
                ) from None
            checks[tool] = _Validator(schema, registry=Registry())
        object.__setattr__(self, "_checks", checks)

    def __call__(self, candidate: Candidate, situation: Situation) -> str | None:  # noqa: ARG002
        """Return the first argument that does not fit, or ``None``."""
        return next((why for call in candidate.action.calls if (why := self.fault(call)) is not None), None)

    def fault(self, call: Any) -> str | None:
        """Return what is wrong with one call, or ``None``."""
        check = self._checks.get(call.name)
        if check is None:
            return None
        try:
            arguments = encode(call.arguments)
            if len(json.dumps(arguments)) > _MOST:
                return f"{call.name}: more than {_MOST} characters of arguments"
            error = best_match(check.iter_errors(arguments))
        except Exception as broken:  # whatever a model's values or a server's schema do to the checker
            return f"{call.name}: cannot be checked ({type(broken).__name__})"
        if error is None:
            return None
        where = ".".join(str(part)[:50] for part in list(error.absolute_path)[:5])
        return f"{call.name}: {f'{where}: ' if where else ''}{error.message[:_TOLD]}"
