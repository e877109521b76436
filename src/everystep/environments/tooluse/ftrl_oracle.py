"""Calls that solve FTRL's sub-goals, found by reading the tools' own source: the cases come without reference calls.

The published tools answer the arguments that their source compares with. So the constants that a parameter is compared with, the values that its schema
lists, and its default are tried together, and a call counts when its output contains the sub-goal's text. That finds 661 of the 817 different published sub-goals
and all of them in 98 of the 200 cases; some texts are in no output at all, since the tool says the same in other words.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any

from everystep.core.records import Json, ToolCall
from everystep.environments.tooluse.ftrl import Case, run_source
from everystep.tools.sandbox import Sandbox

MOST_CALLS = 2000
"""Arguments that are tried for one tool."""
_USUAL: Mapping[str, tuple[Json, ...]] = {
    "boolean": (True, False),
    "integer": (1,),
    "number": (1.0,),
    "string": ("",),
}


async def reference_calls(case: Case, sandbox: Sandbox) -> dict[tuple[str, str], ToolCall | None]:
    """Return for every sub-goal (tool, text) a call whose output contains the text, ``None`` where none was found."""
    found: dict[tuple[str, str], ToolCall | None] = {}
    described = {str(one["name"]): one for one in case.tools}
    for name, texts in case.wanted.items():
        if name not in described:
            found |= dict.fromkeys(((name, text) for text in texts), None)
            continue
        tried = list(islice(candidates(case.sources[name], described[name]), MOST_CALLS))
        results = await run_source(sandbox, name, case.sources[name], tried)
        for text in texts:
            hits = (
                arguments
                for arguments, result in zip(tried, results, strict=True)
                if not result.error and text.lower() in result.text.lower()
            )
            hit = next(hits, None)
            found[name, text] = None if hit is None else ToolCall(name=name, arguments=hit)
    return found


def candidates(source: str, described: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    """Yield arguments to try: the required ones alone, then with the optional ones that the source compares, then with every flag set."""
    schema = described.get("parameters") or {}
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = [name for name in schema.get("required", ()) if name in properties]
    near, keys = _constants(source)
    options = {
        name: _values(
            properties[name], near.get(name, ()), () if near.get(name) and name not in required else keys
        )
        for name in properties
    }
    compared = [name for name in properties if name not in required and near.get(name)]
    flags = {
        name: True
        for name in properties
        if name not in required and properties[name].get("type") == "boolean"
    }
    for names, fixed in (
        (required, {}),
        ([*required, *compared], {}),
        ([*required, *(name for name in compared if name not in flags)], flags),
    ):
        for values in islice(product(*(options[name] for name in names)), MOST_CALLS // 3):
            yield {**fixed, **dict(zip(names, values, strict=True))}


def _values(described: Mapping[str, Any], near: tuple[Json, ...], keys: tuple[str, ...]) -> tuple[Json, ...]:
    kind = str(described.get("type"))
    default = (described["default"],) if "default" in described else ()
    further = keys if kind == "string" else ()
    some = [*near, *(described.get("enum") or ()), *default, *_USUAL.get(kind, ()), *further]
    if kind == "array":
        texts: list[Json] = [one for one in (*near, *keys) if isinstance(one, str)]
        singles: list[Json] = [[one] for one in texts]
        return (texts, *singles)
    fitting = [one for one in some if kind != "string" or isinstance(one, str)]
    return tuple({repr(one): one for one in fitting}.values()) or ("",)


def _constants(source: str) -> tuple[dict[str, tuple[Json, ...]], tuple[str, ...]]:
    """Return for each name the constants that it is compared with, and all texts that dictionaries are looked up by."""
    near: dict[str, dict[str, Json]] = {}
    keys: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            inside = [one for part in (node.left, *node.comparators) for one in ast.walk(part)]
            values = [
                one.value
                for one in inside
                if isinstance(one, ast.Constant) and isinstance(one.value, str | int | float | bool)
            ]
            for name in {one.id for one in inside if isinstance(one, ast.Name)}:
                near.setdefault(name, {}).update({repr(value): value for value in values})
        if isinstance(node, ast.Dict):
            for key in node.keys:
                if key is not None:
                    texts = [one.value for one in ast.walk(key) if isinstance(one, ast.Constant)]
                    keys |= dict.fromkeys(text for text in texts if isinstance(text, str))
    return {name: tuple(values.values()) for name, values in near.items()}, tuple(keys)
