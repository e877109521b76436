"""A typed Python function as a tool: pydantic makes the schema and checks what comes over the wire."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_jsonable_python

from everystep.core.acts import Effect
from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import Json
from everystep.tools.schema import shown
from everystep.tools.tool import Settle, Tool, ToolResult, unknown

_SECTIONS = r"(?:Args|Arguments|Parameters|Returns|Yields|Raises|Example|Examples|Note|Notes):"
_PARAMETER = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


def tool_of(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect | None = None,
    settle: Settle | None = None,
    key: str | None = None,
    timeout_s: float = 60.0,
    max_output_chars: int = 20_000,
) -> Tool:
    """Return ``function``, sync or async, as a tool; sync ones run in a thread, which a time-out cannot stop.

    Name, description and the arguments' descriptions come from the function and its docstring (Google style). Without ``effect`` the
    tool counts as irreversible, with risk. ``key`` names a parameter that receives the idempotency key and that the agent
    does not see. The function may return anything that has a JSON form, or a ``ToolResult``; what it raises is a failed call.

    >>> def add(a: int, b: int = 1) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> tool = tool_of(add)
    >>> tool.name, tool.description, tool.schema["required"]
    ('add', 'Add two numbers.', ['a'])
    >>> tool.problem({"a": "many"})
    'argument \\'a\\': Input should be a valid integer, unable to parse string as an integer, found "many"'
    """
    called = name or function.__name__
    text, told = _described(inspect.getdoc(function) or "")
    model = _model(function, called, told, key)
    schema = model.model_json_schema()
    schema.pop("title", None)
    if not schema.get("properties"):
        schema["properties"] = {}

    def problem(arguments: Mapping[str, Json]) -> str | None:
        try:
            model.model_validate(dict(arguments))
        except ValidationError as error:
            return _problem(error, model)
        return None

    async def call(arguments: Mapping[str, Json], *, key: str) -> ToolResult:
        try:
            values = model.model_validate(dict(arguments))
        except ValidationError as error:
            return ToolResult(text=_problem(error, model), error=True)
        given = {one: getattr(values, one) for one in model.model_fields if one in values.model_fields_set}
        if hidden is not None:
            given[hidden] = key
        if inspect.iscoroutinefunction(function):
            return _result(await function(**given))
        return _result(await asyncio.to_thread(function, **given))

    hidden = key
    return Tool(
        name=called,
        description=text if description is None else description,
        schema=schema,
        effect=unknown(called) if effect is None else effect,
        call=call,
        settle=settle,
        problem=problem,
        timeout_s=timeout_s,
        max_output_chars=max_output_chars,
    )


def _model(
    function: Callable[..., Any], name: str, told: Mapping[str, str], hidden: str | None
) -> type[BaseModel]:
    signature = inspect.signature(function)
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"tool {name!r}: {error}. Types of parameters must stand at the top of a module."
        ) from None
    if hidden is not None and hidden not in signature.parameters:
        raise ConfigError(f"tool {name!r}: the function has no parameter {hidden!r} for the key.")
    fields: dict[str, Any] = {}
    for one in signature.parameters.values():
        if one.name == hidden:
            continue
        if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) or one.name.startswith("_"):
            raise ConfigError(
                f"tool {name!r}: parameter {str(one)!r} cannot be filled by name. A tool's function takes named "
                "parameters without a leading underscore."
            )
        default = ... if one.default is one.empty else one.default
        fields[one.name] = (hints.get(one.name, Any), Field(default, description=told.get(one.name)))
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise ConfigError(f"tool {name!r}: its parameters have no JSON schema: {error.message}") from None


def _problem(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:80]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "missing":
        return f"argument {where!r} is missing{more}"
    if first["type"] == "extra_forbidden":
        return f"argument {where!r} is not known. {did_you_mean(where, model.model_fields)}{more}"
    return f"argument {where!r}: {first['msg']}, found {shown(first['input'])}{more}"


def _result(value: Any) -> ToolResult:
    if isinstance(value, ToolResult):
        return value
    if value is None:
        return ToolResult(text="done")
    if isinstance(value, str):
        return ToolResult(text=value, data=value)
    try:
        data = to_jsonable_python(value)
    except PydanticSerializationError:
        return ToolResult(text=str(value))
    return ToolResult(text=json.dumps(data, ensure_ascii=False), data=data)


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring before its sections, and what its ``Args`` section says of each parameter."""
    text, *rest = re.split(rf"^({_SECTIONS})\s*$", docstring, flags=re.MULTILINE)
    told: dict[str, str] = {}
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        if title not in ("Args:", "Arguments:", "Parameters:"):
            continue
        current = ""
        for line in body.splitlines():
            match = _PARAMETER.match(line.strip())
            if match and (len(line) - len(line.lstrip()) <= 4):
                current = match[1]
                told[current] = match[2].strip()
            elif current and line.strip():
                told[current] += f" {line.strip()}"
    return text.strip(), told
