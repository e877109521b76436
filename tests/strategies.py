"""Hypothesis strategies for every record, for the tests of whatever stores records."""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from everystep.core import protocols, records, trace

RECORDS = (
    records.ToolCall,
    records.Message,
    records.Task,
    records.Observation,
    records.Action,
    records.Span,
    records.TokenRecord,
    records.Step,
    records.Trajectory,
    records.Group,
    records.Verdict,
    records.StepCredit,
    records.PreferencePair,
    records.Sample,
    trace.Ending,
    protocols.Transition,
    protocols.Sampling,
    protocols.Request,
    protocols.Usage,
    protocols.Generation,
    protocols.Loss,
    protocols.Scored,
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
finite = st.floats(allow_nan=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
_PLAIN = {str: texts, int: st.integers(-(2**60), 2**60), float: finite, bool: st.booleans()}


def records_of(cls: type) -> st.SearchStrategy[Any]:
    """Return values of the record type ``cls``, fields with a default present or not."""
    hints = get_type_hints(cls)
    required, optional = {}, {}
    for f in fields(cls):
        has_default = f.default is not MISSING or f.default_factory is not MISSING
        (optional if has_default else required)[f.name] = _values(hints[f.name])
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: cls(**values))


def _values(kind: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin in (Union, UnionType) and len(arguments) > 2:
        return json_values  # only ``Json`` has that many alternatives
    if origin in (Union, UnionType):
        return st.one_of(*(_values(one) for one in arguments))
    if kind is type(None):
        return st.none()
    if origin is not None:
        return st.dictionaries(_values(arguments[0]), _values(arguments[1]), max_size=2)
    return records_of(kind)
