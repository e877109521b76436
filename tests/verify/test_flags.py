"""Flags: each says what it is for, nothing else, and never raises for what a model wrote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.core.protocols import Candidate, Flag, Generation, Situation, Usage
from everystep.core.records import Action, Observation, Step, Stop, Task, TokenRecord, ToolCall
from everystep.verify.flags import (
    BadFormat,
    Empty,
    Looping,
    LowMargin,
    NotAdmissible,
    Repeated,
    TooLong,
    UnknownTool,
)
from everystep.verify.schema import Schema
from strategies import json_values

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string", "maxLength": 20}, "lines": {"type": "integer", "minimum": 1}},
    "required": ["path"],
    "additionalProperties": False,
}


def candidate(
    text: str = "go", *calls: ToolCall, logprobs: tuple[float, ...] | None = None, **more: Any
) -> Candidate:
    action = Action(text=text, calls=calls, valid=more.pop("valid", True), reason=more.pop("reason", None))
    tokens = None if logprobs is None else TokenRecord(ids=(1,) * len(logprobs), spans=(), logprobs=logprobs)
    stop = more.pop("stop", Stop.STOP)
    generation = Generation(text=text, stop=stop, tokens=tokens, usage=Usage(**more))
    return Candidate(sample=0, action=action, generation=generation)


def situation(seen: str = "a door", *recent: Step, anchor: str | None = None, **more: Any) -> Situation:
    observation = Observation(text=seen, anchor=anchor, **more)
    task = Task(id="t", instruction="", environment="")
    return Situation(
        run="r", task=task, node="", goal="", step="s", index=0, observation=observation, recent=recent
    )


def step(seen: str, did: str, *calls: ToolCall, anchor: str | None = None) -> Step:
    action = Action(text=did, calls=calls)
    return Step(id="", parent=None, index=0, observation=Observation(text=seen, anchor=anchor), action=action)


HERE = situation()


def test_too_long_counts_tokens_characters_and_what_was_cut_off() -> None:
    flag = TooLong(max_tokens=750, max_chars=10)
    assert flag(candidate("short", completion=750), HERE) is None
    assert flag(candidate("short", completion=751), HERE) == "751 tokens; the limit is 750"
    assert flag(candidate("short", logprobs=(0.0,) * 800), HERE) == "800 tokens; the limit is 750"
    assert flag(candidate("x" * 11), HERE) == "11 characters; the limit is 10"
    assert "cut off" in (flag(candidate("x", stop=Stop.LENGTH), HERE) or "")


def test_empty_and_bad_format() -> None:
    assert Empty()(candidate(" \n"), HERE)
    assert Empty()(candidate("", ToolCall(name="look")), HERE) is None
    assert BadFormat()(candidate("x"), HERE) is None
    assert BadFormat()(candidate("x", valid=False, reason="no move"), HERE) == "no move"
    assert BadFormat()(candidate("x", valid=False), HERE) == "it cannot be read"
    assert len(BadFormat()(candidate("x", valid=False, reason="y" * 9999), HERE) or "") == 200


def test_unknown_tools_and_what_is_not_admissible() -> None:
    flag = UnknownTool(["read_file"])
    assert flag(candidate("", ToolCall(name="read_file")), HERE) is None
    assert "Did you mean 'read_file'?" in (flag(candidate("", ToolCall(name="readfile")), HERE) or "")
    listed = situation(admissible=("open", "wait"))
    assert NotAdmissible()(candidate(" open\n"), listed) is None
    assert "not among the 2" in (NotAdmissible()(candidate("break"), listed) or "")
    assert NotAdmissible()(candidate("break"), HERE) is None


def test_an_action_that_led_back_here_is_repeated_and_one_that_changed_something_is_not() -> None:
    same, other = step("a door", "push"), step("a wall", "push")
    flag = Repeated(times=2, window=3)
    assert flag(candidate("push"), situation("a door", same)) is None
    assert "tried 2 times" in (flag(candidate(" push "), situation("a door", same, same)) or "")
    assert flag(candidate("pull"), situation("a door", same, same)) is None
    assert flag(candidate("push"), situation("a door", same, other)) is None
    assert flag(candidate("push"), situation("a door", same, same, other, other)) is None
    cycle = (step("a door", "push"), step("a wall", "back"), step("a door", "push"))
    assert flag(candidate("push"), situation("a door", *cycle))
    by_anchor = [step(f"clock {i}", "wait", anchor="s") for i in range(2)]
    assert flag(candidate("wait"), situation("clock 9", *by_anchor, anchor="s"))
    call = ToolCall(name="read", arguments={"path": "x"})
    assert flag(candidate("1", call), situation("a door", *[step("a door", "2", call)] * 2))
    assert (
        flag(candidate("", ToolCall(name="read")), situation("a door", *[step("a door", "", call)] * 2))
        is None
    )


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    st.integers(6, 60),
    st.text(max_size=200),
    st.integers(0, 59),
)
def test_a_loop_to_the_end_is_found_wherever_it_breaks_off(
    piece: str, times: int, before: str, cut: int
) -> None:
    flag = Looping(times=6, min_chars=1)
    text = before + piece * times + piece[: cut % len(piece)]
    if text.strip():
        assert (
            flag.piece(text.rstrip() if not piece.isspace() else text + piece * 6) is not None
            or not piece.strip()
        )


def test_loops_within_and_ordinary_texts() -> None:
    flag = Looping()
    loop = "Wait, let me check that again. " * 12
    assert flag.piece("First. " + loop + "So the answer is: move disk 3 from peg a to peg c.") is not None
    assert flag(candidate("ok " * 200), HERE) is not None
    assert flag(candidate("x" * 5000), HERE) is not None
    state = "[[20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4], [1], [3, 2]]"
    answer = (
        f"The previous move was of disk 1, so the next is not.\nmove = [2, 2, 0]\nnext_state = {state}\n" * 2
    )
    assert flag.piece(answer) is None
    table = "\n".join(f"| {name} | {len(name)} | yes |" for name in dir(str))
    assert flag.piece(table) is None
    assert flag.piece("") is None


def test_low_margin_reads_log_probabilities_where_there_are_any() -> None:
    flag = LowMargin(mean=0.5, least=0.1)
    assert flag(candidate("x"), HERE) is None
    assert flag(candidate("x", logprobs=(-0.1, -0.2)), HERE) is None
    assert "0.0498" in (flag(candidate("x", logprobs=(-0.01, -3.0) + (0.0,) * 9), HERE) or "")
    assert "on average" in (flag(candidate("x", logprobs=(-1.0, -1.0)), HERE) or "")
    assert "finite" in (flag(candidate("x", logprobs=(float("nan"),)), HERE) or "")
    assert "finite" in (flag(candidate("x", logprobs=(float("-inf"),)), HERE) or "")


def test_calls_are_checked_against_their_schemas() -> None:
    flag = Schema({"read": SCHEMA})

    def told(**arguments: Any) -> str | None:
        return flag(candidate("", ToolCall(name="read", arguments=arguments)), HERE)

    assert told(path="a.txt", lines=3) is None
    assert "'path' is a required property" in (told(lines=3) or "")
    assert "lines: 0 is less than" in (told(path="a", lines=0) or "")
    assert "mode" in (told(path="a", mode="w") or "")
    assert "too long" in (told(path="a" * 21) or "")
    assert flag(candidate("", ToolCall(name="other", arguments={"x": 1})), HERE) is None
    deep: Any = {}
    for _ in range(100_000):
        deep = {"x": deep}
    assert "cannot be checked" in (told(path=deep) or "")
    assert "characters" in (told(path="a" * 200_000) or "")


def test_a_schema_from_elsewhere_fetches_nothing_and_runs_no_pattern() -> None:
    evil = {"type": "object", "properties": {"x": {"type": "string", "pattern": "(a+)+$"}}}
    assert Schema({"t": evil}).fault(ToolCall(name="t", arguments={"x": "a" * 40 + "!"})) is None
    keyed = {"type": "object", "patternProperties": {"(a+)+$": {}}, "additionalProperties": False}
    assert Schema({"t": keyed}).fault(ToolCall(name="t", arguments={"a" * 40 + "!": 1})) is None
    remote = {"$ref": "http://127.0.0.1:9/schema.json"}
    assert "cannot be checked" in (Schema({"t": remote}).fault(ToolCall(name="t")) or "")
    circle = {"$ref": "#"}
    assert "cannot be checked" in (Schema({"t": circle}).fault(ToolCall(name="t")) or "")
    with pytest.raises(ConfigError, match="not a JSON schema"):
        Schema({"t": {"type": "strange"}})


FLAGS: tuple[Flag, ...] = (
    TooLong(max_tokens=10, max_chars=10),
    Empty(),
    BadFormat(),
    UnknownTool(["read"]),
    NotAdmissible(),
    Repeated(times=1),
    Looping(),
    LowMargin(mean=0.5),
    Schema({"read": SCHEMA}),
)

texts = st.text(max_size=400) | st.text(max_size=5).map(lambda piece: piece * 300)
calls = st.builds(
    ToolCall,
    name=st.sampled_from(["read", "rm"]) | st.text(max_size=8),
    arguments=st.dictionaries(
        st.sampled_from(["path", "lines"]) | st.text(max_size=5), json_values, max_size=3
    ),
)


@settings(deadline=None, max_examples=200)
@given(
    texts, st.lists(calls, max_size=3), st.lists(st.floats(max_value=0.0) | st.just(float("nan")), max_size=4)
)
def test_no_flag_ever_raises_for_what_a_model_wrote(
    text: str, made: list[ToolCall], logprobs: list[float]
) -> None:
    one = candidate(text, *made, logprobs=tuple(logprobs))
    here = situation("a door", step("a door", text, *made), admissible=("open",))
    for flag in FLAGS:
        reason = flag(one, here)
        assert reason is None or 0 < len(reason) < 700, flag.name
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Repeated(times=3, window=2), "window"),
        (lambda: Looping(times=1), "2 or more"),
        (lambda: LowMargin(), "above 0"),
        (lambda: LowMargin(mean=1.5), "probabilities"),
    ],
)
def test_options_out_of_range_are_refused(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()
