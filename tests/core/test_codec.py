import json
import math
from dataclasses import dataclass, fields, is_dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everystep.core import records, trace
from everystep.core.codec import decode, decode_fields, dumps, encode, loads
from everystep.core.errors import StoreError
from everystep.core.records import (
    Action,
    End,
    Observation,
    Sample,
    Span,
    SpanKind,
    Step,
    Task,
    TokenRecord,
    ToolCall,
    Trajectory,
    Verdict,
)
from strategies import RECORDS, records_of


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_record_comes_back_as_it_was(cls: type) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(records_of(cls))
    def check(record: object) -> None:
        assert loads(cls, dumps(record)) == record

    check()


def test_the_strategies_know_every_record() -> None:
    defined = {
        thing
        for module in (records, trace)
        for thing in vars(module).values()
        if isinstance(thing, type) and is_dataclass(thing) and thing.__module__ == module.__name__
    }
    assert defined - set(RECORDS) == {trace.Event, trace.Trace}


def test_records_are_frozen_slotted_and_keyword_only() -> None:
    for cls in RECORDS:
        assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
        assert "__slots__" in vars(cls), cls
        assert all(f.kw_only for f in fields(cls)), cls


def test_a_step_stores_only_what_it_added() -> None:
    step = Step(id="s", parent="r", index=1, observation=Observation(text="door"), action=Action(text="open"))
    assert encode(step) == {
        "id": "s",
        "parent": "r",
        "index": 1,
        "observation": {"text": "door"},
        "action": {"text": "open"},
    }


def test_unknown_is_not_zero() -> None:
    zero = Step(
        id="s", parent=None, index=0, observation=Observation(text=""), action=Action(text=""), reward=0.0
    )
    assert encode(zero)["reward"] == 0.0
    assert "reward" not in encode(decode(Step, {**encode(zero), "reward": None}))


def test_numbers_keep_every_bit() -> None:
    values = (0.1, 1 / 3, 1e-310, -1e300, math.inf, -0.0)
    tokens = TokenRecord(ids=(), spans=(), logprobs=values)
    back = loads(TokenRecord, dumps(tokens)).logprobs
    assert [one.hex() for one in back] == [one.hex() for one in values]
    assert math.isnan(loads(Span, dumps(Span(start=0, end=1, kind=SpanKind.TOOL, weight=math.nan))).weight)


def test_integer_keys_and_nested_tuples_come_back() -> None:
    sample = Sample(ids=(1, 2), allowed={1: (2, 3)})
    assert loads(Sample, dumps(sample)) == sample
    tokens = TokenRecord(ids=(1,), spans=(), logprobs=(), allowed=((1, 2), ()))
    assert loads(TokenRecord, dumps(tokens)).allowed == ((1, 2), ())


def test_any_python_text_can_be_written_as_utf_8() -> None:
    broken = Action(text="caf\udce9 ünd \U0001f600")
    assert loads(Action, dumps(broken).encode().decode()) == broken
    assert "ü" in dumps(Action(text="ü"))


def test_lists_of_mixed_json_values_are_encoded_to_the_bottom() -> None:
    call = ToolCall(name="f", arguments={"x": [1, {"y": [2, None, [True, 0.5]]}]})
    assert json.loads(dumps(call)) == {"name": "f", "arguments": {"x": [1, {"y": [2, None, [True, 0.5]]}]}}
    assert encode([1, SpanKind.TOOL, Action(text="a")]) == [1, "tool", {"text": "a"}]


@pytest.mark.parametrize(
    ("cls", "data", "message"),
    [
        (Action, {"txt": "go"}, "cannot read Action: unknown field 'txt'"),
        (Action, {}, "'text'"),
        (Action, ["go"], "expected an object, found list"),
        (Action, {"text": 5}, "field 'text' is damaged (expected str, found 5)"),
        (Action, {"text": "go", "valid": 1}, "field 'valid' is damaged (expected bool, found 1)"),
        (Action, {"text": "go", "calls": "abc"}, "field 'calls' is damaged (expected a list"),
        (Action, {"text": "go", "calls": [{"nam": "f"}]}, "cannot read ToolCall: unknown field 'nam'"),
        (Observation, {"text": "a", "admissible": "left"}, "field 'admissible' is damaged"),
        (Observation, {"text": "a", "info": [1]}, "field 'info' is damaged (expected an object"),
        (TokenRecord, {"ids": [1, "2"], "spans": [], "logprobs": []}, "field 'ids' is damaged"),
        (Span, {"start": 0, "end": 1, "kind": "sung"}, "field 'kind' is damaged ('sung' is not a valid"),
        (Verdict, {"level": "step", "targets": [], "judge": "j", "score": "1"}, "field 'score' is damaged"),
        (Task, {"id": "t", "instruction": "i", "environment": "e", "seed": 1.5}, "field 'seed' is damaged"),
    ],
)
def test_damaged_data_names_the_field(cls: type, data: object, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        decode(cls, data)
    assert message in str(caught.value)


@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda raw: raw.decode("latin-1")))
def test_text_that_is_no_record_gives_a_store_error(text: str) -> None:
    with pytest.raises(StoreError, match="Trajectory"):
        loads(Trajectory, text)


def test_enums_are_written_as_their_values() -> None:
    assert json.loads(dumps({"end": End.HANDED_OVER})) == {"end": "handed_over"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    known: frozenset[tuple[str, int]] = frozenset()
    pair: tuple[int, tuple[str, ...]] = (0, ())


def test_sets_and_rows_of_several_types_come_back_in_a_fixed_order() -> None:
    rows = Rows(known=frozenset({("b", 1), ("a", 2)}), pair=(3, ("x",)))
    assert dumps(rows) == '{"known":[["a",2],["b",1]],"pair":[3,["x"]]}'
    assert loads(Rows, dumps(rows)) == rows
    with pytest.raises(StoreError, match=r"field .pair. is damaged .expected a list of 2"):
        decode(Rows, {"pair": [3]})
    assert decode_fields(Rows, {"pair": [1, []]}) == {"pair": (1, ())}
    with pytest.raises(StoreError, match="unknown field 'pears'"):
        decode_fields(Rows, {"pears": 1})


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_text_is_the_encoded_value_as_json(cls: type) -> None:
    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(records_of(cls))
    def check(record: object) -> None:
        body = {"one": record, "more": [record, {"deep": (record,)}]}
        text = json.dumps(encode(body), separators=(",", ":"), ensure_ascii=False)
        assert json.loads(dumps(body)) == json.loads(text) or "NaN" in text
        assert dumps(body) == text or "\\ud" in dumps(body)

    check()


def test_what_is_no_json_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        dumps({"x": [Action(text="a"), {1, 2}]})
