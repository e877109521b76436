from __future__ import annotations

import gzip
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.stored_steps import episode
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.records import End, Trajectory
from everystep.core.trace import Kind
from everystep.data.formats import FORMATS, reader
from everystep.data.importing import import_runs, unread_in
from everystep.data.messages import messages_of, talk_of
from everystep.data.reading import RECORD_LIMIT, Unread
from everystep.run.export import conversation, export
from everystep.run.journal import Journal

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1, "y": 2}'}}
CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "what is 1 + 2?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "3"},
    {"role": "assistant", "content": "It is 3."},
    {"role": "user", "content": "thanks"},
]


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in rows))
    return path


def read(form: str, path: Path, **fields: str) -> tuple[list[Trajectory], list[Unread]]:
    found = list(reader(form, fields)(path))
    return [one for one in found if isinstance(one, Trajectory)], [
        one for one in found if isinstance(one, Unread)
    ]


def test_a_chat_comes_in_with_its_calls_and_goes_out_as_it_was(tmp_path: Path) -> None:
    row = {"id": "x", "messages": CHAT, "reward": 0.5, "success": False, "metadata": {"model": "m"}}
    (one,), unread = read("chat", written(tmp_path / "a.jsonl", [row]))
    assert unread == []
    assert (one.id, one.outcome, one.success, one.end) == ("a/x", 0.5, False, End.FAILED)
    assert [step.observation.text for step in one.steps] == ["what is 1 + 2?", "3"]
    assert dict(one.steps[0].action.calls[0].arguments) == {"x": 1, "y": 2}
    assert one.final is not None
    assert one.final.info["record"] == {"metadata": {"model": "m"}}
    told = [(message["role"], message["content"] or "") for message in CHAT]
    assert [(message["role"], message["content"]) for message in messages_of(one)] == told
    out = conversation(one.task, one.steps)  # what is exported for training ends with the last answer
    assert [(message.role, message.content) for message in out] == told[:-1]
    assert out[3].call_id == "c1"


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES, "content": st.one_of(st.text(max_size=8), st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=4)}), max_size=2))},
        optional={"name": st.text(max_size=3), "tool_call_id": st.text(max_size=3), "weight": st.integers(0, 1)},
    ),
    max_size=9,
)  # fmt: skip


@given(MESSAGES)
def test_every_message_comes_back_in_its_place(messages: list[dict[str, Any]]) -> None:
    answers = sum(one["role"] == "assistant" for one in messages)
    if not answers:
        with pytest.raises(DataError, match="nothing was answered"):
            talk_of(messages)
        return
    talk = talk_of(messages)
    assert len(talk.turns) == answers
    made = episode("e", ("x",))
    from everystep.data.walks import chain, finished

    one = finished("e", made.task, chain("e", talk.turns), outcome=None, success=None, final=talk.final)
    assert messages_of(one) == messages


def test_calls_that_cannot_be_read_are_kept_and_not_valid() -> None:
    broken = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{not json"}}
    (turn,) = talk_of([{"role": "assistant", "content": "", "tool_calls": [broken]}]).turns
    assert not turn.action.valid
    assert turn.action.reason == "the arguments of the call 'f' are no JSON object"
    assert turn.observation.info["answer"] == {"tool_calls": [broken]}


GOOD: dict[str, tuple[str, Any]] = {
    "chat": (".jsonl", {"messages": CHAT, "reward": 1}),
    "tau-bench": (".json", {"task_id": 1, "trial": 0, "reward": 1.0, "info": {}, "traj": CHAT}),
    "intercode": (
        ".json",
        {
            "environment": "ic_sql", "task_id": 3, "query": "q", "summary": {"max_reward": 1.0, "turns_taken": 1, "turns_max": 10},
            "turn_history": {"actions": ["SELECT 1"], "observations": ["[1]"], "rewards": [1.0], "valid_action": [True]},
        },
    ),
    "swe-agent": (".jsonl", {"path": "p.traj", "data": {"history": CHAT, "trajectory": [], "info": {}}}),
    "fireact": (".json", {"reward": True, "em": True, "f1": 1.0, "gt": "a", "traj": CHAT}),
    "knowagent": (".jsonl", {"name": "g", "result": True, "traj": "A room.\nYour task is to: go.\n> go to desk 1\nNothing happens."}),
    "verifiers": (".jsonl", {"prompt": "1 + 2?", "completion": "3", "reward": 1.0, "metrics": {"success": 1.0, "n": 2}}),
    "trl": (".jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"}),
    "inspect": (".json", {"id": "s", "epoch": 1, "input": "q", "messages": CHAT, "scores": {"exact": {"value": "C"}}}),
}  # fmt: skip


def file_of(form: str, records: list[Any], folder: Path) -> Path:
    ending, _ = GOOD[form]
    path = folder / f"runs{ending}"
    if form == "inspect":
        path.write_text(json.dumps({"version": 2, "eval": {"task": "sums"}, "samples": records}))
    elif form in ("intercode", "fireact"):
        path.write_text(json.dumps({str(n): one for n, one in enumerate(records)}))
    elif form == "tau-bench":
        path.write_text(json.dumps(records))
    else:
        written(path, records)
    return path


@pytest.mark.parametrize("form", sorted(GOOD))
def test_a_malformed_record_is_one_reason_and_the_rest_goes_through(form: str, tmp_path: Path) -> None:
    good = GOOD[form][1]
    wrong: list[Any] = [
        None,
        3,
        [],
        "text",
        {},
        {"messages": 3},
        dict.fromkeys(good),
        {key: [[1]] for key in good},
    ]
    records = [good, *[one for bad in wrong for one in (bad, good)]]
    found, unread = read(form, file_of(form, records, tmp_path))
    each = 2 if form == "trl" else 1
    assert len(found) == each * (len(wrong) + 1)
    assert len(unread) == len(wrong)
    assert all(one.reason and one.place and one.source.endswith(GOOD[form][0]) for one in unread)
    assert len({one.place for one in unread}) == len(wrong)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("form", sorted(GOOD))
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_record_breaks_a_reader(form: str, tmp_path: Path, data: st.DataObject) -> None:
    def spoiled(value: Any) -> Any:
        if isinstance(value, dict) and value:
            key = data.draw(st.sampled_from(sorted(value)))
            return {**value, key: data.draw(JSON_VALUES) if data.draw(st.booleans()) else spoiled(value[key])}
        if isinstance(value, list) and value:
            place = data.draw(st.integers(0, len(value) - 1))
            return [*value[:place], spoiled(value[place]), *value[place + 1 :]]
        return data.draw(JSON_VALUES)

    found, unread = read(form, file_of(form, [spoiled(GOOD[form][1]), GOOD[form][1]], tmp_path))
    each = 2 if form == "trl" else 1
    assert len(unread) <= 1
    assert len(found) >= (each if unread else 2)


def test_lines_that_are_not_json_are_named_by_their_number(tmp_path: Path) -> None:
    good = json.dumps({"messages": CHAT})
    rows = [good, "{broken", "", '{"messages": NaN}', "[" * 100_000, good]
    found, unread = read("chat", written(tmp_path / "a.jsonl", rows))
    assert (len(found), [one.place for one in unread]) == (2, ["line 2", "line 4", "line 5"])
    assert "NaN is no JSON value" in unread[1].reason


def test_bytes_that_are_no_text_and_lines_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everystep.data.reading.RECORD_LIMIT", 200)
    good = json.dumps({"messages": [{"role": "assistant", "content": "hi"}]}).encode()
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([good, b'{"messages": "\xff\xfe"}', b'{"a": "' + b"x" * 5000 + b'"}', good]))
    found, unread = read("chat", path)
    assert (len(found), [one.place for one in unread]) == (2, ["line 2", "line 3"])
    assert RECORD_LIMIT > 200


def test_a_file_that_breaks_off_keeps_what_stands_before(tmp_path: Path) -> None:
    record = GOOD["tau-bench"][1]
    text = json.dumps([record, record, record])
    path = tmp_path / "a.json"
    path.write_text(text[: len(text) * 2 // 3 + 20])
    found, unread = read("tau-bench", path)
    assert len(found) >= 1
    assert [one.place for one in unread] == [f"after {len(found)} records"]
    lines = (json.dumps({"messages": CHAT}) + "\n").encode() * 400
    packed = gzip.compress(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(packed[: len(packed) - 200])
    found, unread = read("chat", tmp_path / "b.jsonl.gz")
    assert found
    assert len(unread) == 1
    assert "breaks off" in unread[0].reason


def test_gzip_is_seen_by_its_bytes_and_arrays_are_chats_too(tmp_path: Path) -> None:
    (tmp_path / "plain-name.json").write_bytes(gzip.compress(json.dumps([{"messages": CHAT}] * 3).encode()))
    found, unread = read("chat", tmp_path / "plain-name.json")
    assert (len(found), unread) == (3, [])
    pretty = tmp_path / "one.json"
    pretty.write_text(
        json.dumps(
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}, indent=2
        )
    )
    ((one,), unread) = read("chat", pretty)
    assert (one.steps[0].observation.text, one.steps[0].action.text) == ("hi", "yo")


def test_inspect_archives_are_read_packed_as_inspect_packs_them(tmp_path: Path) -> None:
    sample = GOOD["inspect"][1]
    long = "a long text " * 50
    attached = {
        **sample,
        "epoch": 2,
        "attachments": {"abc": long},
        "scores": {"s": {"value": {"a": 1, "b": "I"}}},
    }
    attached["messages"] = [
        {"role": "user", "content": "attachment://abc"},
        {"role": "assistant", "content": "ok"},
    ]
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "sums", "model": "m"}}))
        archive.writestr("samples/s_epoch_1.json", json.dumps(sample))
        archive.writestr("samples/s_epoch_2.json", json.dumps(attached))
        archive.writestr("samples/bad.json", "{")
    found, unread = read("inspect", path)
    assert [(one.id, one.outcome, one.task.id) for one in found] == [
        ("log/s.1", 1.0, "sums/s"),
        ("log/s.2", 1.0, "sums/s"),
    ]
    assert found[1].steps[0].observation.text == long
    assert found[1].steps[-1].scores == {"s.a": 1.0, "s.b": 0.0}
    assert [one.place for one in unread] == ["samples/bad.json"]
    (tmp_path / "zstd.eval").write_bytes(with_zstd("samples/s_epoch_1.json", json.dumps(sample).encode()))
    found, unread = read("inspect", tmp_path / "zstd.eval")
    assert (len(found), unread) == (1, [])


def with_zstd(name: str, data: bytes) -> bytes:
    """A zip of one member packed with zstd (method 93), which Python writes from 3.14 on."""
    import struct
    import zlib

    packed = pa.compress(data, "zstd", asbytes=True)
    sizes = struct.pack("<III", zlib.crc32(data), len(packed), len(data))
    common = struct.pack("<HHHHH", 63, 0, 93, 0, 0) + sizes + struct.pack("<HH", len(name), 0)
    local = b"PK\x03\x04" + common + name.encode() + packed
    central = (
        b"PK\x01\x02" + struct.pack("<H", 63) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    )
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def test_what_verifiers_saved_comes_back(tmp_path: Path) -> None:
    some = [episode("a", ("x", "y"), rewards=(0.0, 1.0)), episode("b", ("z",), outcome=0.0)]
    export(some, "verifiers", tmp_path / "v.jsonl")
    found, unread = read("verifiers", tmp_path / "v.jsonl")
    assert unread == []
    assert [(one.outcome, one.success, [step.action.text for step in one.steps]) for one in found] == [
        (1.0, True, ["x", "y"]), (0.0, False, ["z"])
    ]  # fmt: skip
    assert found[0].group == found[1].group


def test_trl_preferences_are_siblings_after_a_shared_prompt(tmp_path: Path) -> None:
    prompt = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    rows = [
        {"prompt": prompt, "chosen": [{"role": "assistant", "content": "d"}], "rejected": [{"role": "assistant", "content": "e"}]},
        {"chosen": [*prompt, {"role": "assistant", "content": "d"}], "rejected": [*prompt, {"role": "assistant", "content": "e"}]},
        {"prompt": "p", "completion": "c", "label": False},
        {"prompt": "p", "completions": ["one", "two"], "labels": [True, False]},
        {"messages": CHAT},
    ]  # fmt: skip
    found, unread = read("trl", written(tmp_path / "t.jsonl", rows))
    assert unread == []
    for chosen, rejected in (found[0:2], found[2:4]):
        assert chosen.steps[0] is rejected.steps[0]
        assert (chosen.steps[1].parent, rejected.steps[1].parent) == (chosen.steps[0].id,) * 2
        assert (chosen.steps[1].action.text, chosen.outcome) == ("d", 1.0)
        assert (rejected.steps[1].action.text, rejected.outcome) == ("e", 0.0)
    assert found[4].outcome == 0.0
    assert [step.scores["label"] for step in found[5].steps] == [1.0, 0.0]


def test_any_lines_through_a_field_map(tmp_path: Path) -> None:
    runs = [
        {
            "name": "r",
            "task": {"goal": "win"},
            "turns": [{"do": "up", "see": "0", "r": 0}, {"do": "go", "see": "1", "r": 2}],
        }
    ]
    path = written(tmp_path / "a.jsonl", runs)
    (one,), unread = read(
        "jsonl",
        path,
        steps="turns",
        action="do",
        observation="see",
        reward="r",
        id="name",
        instruction="task.goal",
    )
    assert unread == []
    assert (one.id, one.task.instruction, one.outcome) == ("a/r", "win", 2.0)
    rows = [{"ep": e, "do": f"{e}{k}", "see": k, "ok": k < 2} for e in ("x", "y") for k in range(3)]
    rows.append({"ep": "x", "do": "late", "see": 9, "ok": True})
    found, unread = read(
        "jsonl",
        written(tmp_path / "b.jsonl", rows),
        trajectory="ep",
        action="do",
        observation="see",
        valid="ok",
    )
    assert [[step.action.text for step in one.steps] for one in found] == [
        ["x0", "x1", "x2"],
        ["y0", "y1", "y2"],
    ]
    assert [step.action.valid for step in found[0].steps] == [True, True, False]
    assert [one.reason for one in unread] == ["the lines of 'x' do not stand together: sort the file by 'ep'"]
    columns = [{"h": {"a": ["x", "y"], "r": [0.5]}}, {"h": {"a": ["x", "y"], "r": [0.5, 1]}}]
    found, unread = read("jsonl", written(tmp_path / "c.jsonl", columns), action="h.a", reward="h.r")
    assert [one.outcome for one in found] == [1.5]
    assert [one.reason for one in unread] == ["'reward' has 1 entries for 2 actions"]
    with pytest.raises(ConfigError, match="Did you mean 'observation'"):
        reader("jsonl", {"action": "a", "observaton": "b"})
    with pytest.raises(ConfigError, match="needs at least action=PATH"):
        reader("jsonl")
    with pytest.raises(ConfigError, match="has its own fields"):
        reader("chat", {"action": "a"})


def test_an_import_is_a_run_and_says_what_it_could_not_read(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "messages": CHAT, "reward": 1.0},
        "nonsense",
        {"id": 1, "messages": CHAT, "reward": 0.0},
    ]
    path = written(tmp_path / "a.jsonl", rows)
    done = import_runs("chat", [path], tmp_path / "run", version="test")
    assert (done.trajectories, done.steps, done.tasks, done.calls, done.unreadable) == (2, 4, 1, 2, 1)
    with Journal.read(tmp_path / "run" / "journal.sqlite") as journal:
        trace = journal.trace()
        (unread,) = unread_in(journal)
    assert sorted(trace.endings) == ["a/1", "a/1~2"]  # an id that occurs twice loses nothing
    assert [len(one.steps) for one in trace.trajectories(phase="train")] == [2, 2]
    assert len(trace.groups()) == 1
    assert unread.place == "line 2"
    with pytest.raises(StoreError, match="holds a run already"):
        import_runs("chat", [path], tmp_path / "run", version="test")


def test_the_wrong_format_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"messages": CHAT}])
    with pytest.raises(
        DataError, match=r"nothing in .* could be read as 'tau-bench'.*line 1: the field 'task_id' is missing"
    ):
        import_runs("tau-bench", [path], tmp_path / "run", version="test")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="Did you mean 'chat'"):
        import_runs("chats", [path], tmp_path / "run", version="test")
    with pytest.raises(DataError, match="there is no file"):
        import_runs("chat", [tmp_path / "none"], tmp_path / "run", version="test")


def test_shared_steps_are_written_once(tmp_path: Path) -> None:
    prompt = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    row = {"prompt": prompt, "chosen": "d", "rejected": "e"}
    row = {
        key: [{"role": "assistant", "content": one}] if isinstance(one, str) else one
        for key, one in row.items()
    }
    done = import_runs("trl", [written(tmp_path / "t.jsonl", [row, row])], tmp_path / "run", version="test")
    assert (done.trajectories, done.steps) == (4, 6)
    with Journal.read(tmp_path / "run" / "journal.sqlite") as journal:
        assert journal.counts()[Kind.STEP.value] == 6
        assert [len(one.steps) for one in journal.trace().trajectories()] == [2, 2, 2, 2]


def test_every_format_has_its_line_in_the_help() -> None:
    assert all(one.summary for one in FORMATS.values())


@pytest.mark.parametrize("form", ["tau-bench", "intercode", "inspect"])
def test_nan_in_an_array_costs_one_record(form: str, tmp_path: Path) -> None:
    good = GOOD[form][1]
    found, unread = read(
        form,
        file_of(
            form, [good, {**good, "extra": [float("nan")]}, {**good, "more": float("inf")}, good], tmp_path
        ),
    )
    assert len(found) == 2
    assert ["NaN or Infinity" in one.reason for one in unread] == [True, True]


def test_a_big_array_is_read_in_the_memory_of_one_record(tmp_path: Path) -> None:
    record = {
        **GOOD["tau-bench"][1],
        "traj": [{"role": "user", "content": "x" * 20_000}, {"role": "assistant", "content": "y"}],
    }
    path = tmp_path / "big.json.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("[")
        for number in range(400):  # 8 MB
            file.write(("," if number else "") + json.dumps({**record, "task_id": number}))
        file.write("]")
    tracemalloc.start()
    try:
        count = sum(isinstance(one, Trajectory) for one in reader("tau-bench")(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 400
    assert peak < 2_000_000
