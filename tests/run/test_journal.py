import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everystep.core.errors import StoreError
from everystep.core.records import (
    Action,
    End,
    Observation,
    Span,
    SpanKind,
    Step,
    Task,
    TokenRecord,
    Trajectory,
)
from everystep.core.trace import Event, Kind, ending_of, fold
from everystep.run.journal import Journal, repair
from everystep.run.salvage import readable, wal_damage, wal_of

TASK = Task(id="t", instruction="open the door and leave", environment="keydoor")


def step(index: int) -> Step:
    return Step(
        id=f"s{index}",
        parent=f"s{index - 1}" if index else None,
        index=index,
        observation=Observation(text=f"room {index}"),
        action=Action(text="go"),
        tokens=TokenRecord(
            ids=(index, index + 1),
            spans=(Span(start=0, end=2, kind=SpanKind.SAMPLED),),
            logprobs=(-0.1, -1 / 3),
        ),
    )


def trajectory(length: int) -> Trajectory:
    steps = tuple(step(index) for index in range(length))
    return Trajectory(id="a", task=TASK, group="g", steps=steps, end=End.DONE, outcome=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def filled(path: Path, count: int = 300, size: int = 400) -> Journal:
    """A journal with bodies of many sizes, some larger than a page."""
    noise = random.Random(0)
    journal = Journal.create(path, {"command": "train"})
    for n in range(count - 1):
        journal.append(Kind.METRICS, {"n": n, "text": "x" * noise.choice([5, size, 20 * size])})
    return journal


def bodies(journal: Journal) -> list[object]:
    return [event.body.get("n") for event in journal.events()]


# --- writing and reading ---------------------------------------------------------------------------


def test_a_run_comes_back_from_its_journal(path: Path) -> None:
    whole = trajectory(5)
    with Journal.create(path, {"command": "train"}, clock=lambda: 12.5) as journal:
        assert journal.append(Kind.TASK, TASK) == 2
        assert list(journal.append_many((Kind.STEP, one) for one in whole.steps)) == [3, 4, 5, 6, 7]
        journal.append(Kind.TRAJECTORY, ending_of(whole))
        assert journal.last == 8
    with Journal.read(path) as journal:
        trace = journal.trace()
        assert next(journal.events()) == Event(seq=1, kind=Kind.RUN, body={"command": "train"}, time=12.5)
        assert [event.seq for event in journal.events(after=6)] == [7, 8]
        assert [event.seq for event in journal.events(kinds={Kind.TASK, Kind.TRAJECTORY})] == [2, 8]
        assert journal.last == 8
    assert (trace.run, trace.last) == ({"command": "train"}, 8)
    assert list(trace.trajectories()) == [whole]


def test_a_row_holds_only_what_its_step_added(path: Path) -> None:
    with Journal.create(path, {}) as journal:
        journal.append(Kind.TASK, TASK)
        journal.append_many((Kind.STEP, one) for one in trajectory(50).steps)
    rows = (
        sqlite3.connect(path).execute("SELECT length(body), body FROM events WHERE kind = 'step'").fetchall()
    )
    sizes = [size for size, _ in rows]
    assert max(sizes) - min(sizes) < 20
    assert not any(TASK.instruction in body for _, body in rows)
    assert not any("room 1" in body for _, body in rows[20:])


def test_anyone_can_query_it_with_sqlite(path: Path) -> None:
    with Journal.create(path, {}) as journal:
        journal.append(Kind.METRICS, {"success": 0.25})
    query = "SELECT json_extract(body, '$.success') FROM events WHERE kind = 'metrics'"
    assert sqlite3.connect(path).execute(query).fetchall() == [(0.25,)]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 10), min_size=1, max_size=30))
def test_its_trace_is_the_fold_of_its_events(
    tmp_path_factory: pytest.TempPathFactory, choices: list[int]
) -> None:
    with Journal.create(tmp_path_factory.mktemp("j") / "j.db", {}) as journal:
        for n, choice in enumerate(choices):
            if choice < 3:
                journal.append(Kind.RESUMED, {"after": journal.last * choice // 3})
            else:
                journal.append(Kind.METRICS, {"n": n})
        assert journal.trace() == fold(journal.events())
        assert [event.seq for event in journal.events(void=False)][-1] == journal.last


def test_many_events_are_read_across_chunks_and_while_they_are_added(path: Path) -> None:
    with Journal.create(path, {}) as journal:
        journal.append_many((Kind.METRICS, {"n": n}) for n in range(1300))
        seen = 0
        for event in journal.events():
            seen += 1
            if event.seq == 1:
                journal.append(Kind.METRICS, {"n": 1300})
        assert seen == 1302


def test_threads_may_append_together(path: Path) -> None:
    with Journal.create(path, {}) as journal:
        threads = [
            threading.Thread(target=lambda: [journal.append(Kind.METRICS, {"n": n}) for n in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [event.seq for event in journal.events()] == list(range(1, 202))


def test_several_events_are_written_all_or_none(path: Path) -> None:
    with Journal.create(path, {}) as journal:
        with pytest.raises(StoreError, match="cannot write the 'metrics' event"):
            journal.append_many([(Kind.METRICS, {"n": 1}), (Kind.METRICS, {"n": object()})])
        assert journal.append_many([]) == range(2, 2)
        assert journal.append(Kind.METRICS, {"n": float("nan")}) == 2
        assert journal.append(Kind.METRICS, {"text": "\udc80"}) == 3
        assert [event.body for event in journal.events(after=2)] == [{"text": "\udc80"}]


def test_a_finished_journal_is_one_plain_file_that_reads_from_a_read_only_folder(path: Path) -> None:
    filled(path, 20).close()
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
    other = path.parent / "archive"
    other.mkdir()
    shutil.copy(path, other)
    (other / path.name).chmod(0o400)
    other.chmod(0o500)
    with Journal.read(other / path.name) as journal:
        assert journal.last == 20
    other.chmod(0o700)


def test_sync_and_reading_while_it_is_written(path: Path) -> None:
    with filled(path, 20) as writer:
        writer.sync()
        with Journal.read(path) as reader:
            assert (reader.last, len(bodies(reader))) == (20, 20)
            writer.append(Kind.METRICS, {"n": 99})
            assert bodies(reader)[-1] == 99
            with pytest.raises(StoreError, match="open for reading here"):
                reader.append(Kind.METRICS, {})


# --- misuse ----------------------------------------------------------------------------------------


def test_what_cannot_be_opened_says_why(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no journal at"):
        Journal.open(path)
    with pytest.raises(StoreError, match="there is no journal at"):
        Journal.read(path)
    Journal.create(path, {}).close()
    with pytest.raises(StoreError, match="exists already"):
        Journal.create(path, {})
    other = tmp_path / "other.db"
    sqlite3.connect(other).executescript("CREATE TABLE cats (name TEXT)")
    for opener in (Journal.open, Journal.read):
        with pytest.raises(StoreError, match="not a journal of Everystep"):
            opener(other)
    journal = Journal.open(path)
    journal.close()
    with pytest.raises(StoreError, match="is closed"):
        journal.append(Kind.METRICS, {})
    with pytest.raises(StoreError, match="is closed"):
        list(journal.events())


def test_an_unknown_kind_is_refused_with_a_hint(path: Path) -> None:
    with Journal.create(path, {}) as journal, pytest.raises(StoreError, match="Did you mean 'metrics'"):
        journal.append("metric", {})  # type: ignore[arg-type]


@pytest.mark.parametrize("opener", [Journal.open, Journal.read, repair])
def test_a_newer_version_is_refused_and_left_alone(path: Path, opener: object) -> None:
    filled(path, 5).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET version = 99")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="has format 99 and this Everystep reads up to 1"):
        opener(path)  # type: ignore[operator]
    assert path.read_bytes() == before


# --- one writer, and its death ---------------------------------------------------------------------

WRITER = """
import sys, time
from everystep.core.trace import Kind
from everystep.run.journal import Journal
journal = Journal.open(sys.argv[1])
for n in range(10**9):
    seq = journal.append(Kind.METRICS, {"n": n, "text": "x" * (n % 7000)})
    print(seq, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def writer(path: Path, pause_s: float = 0.0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), str(pause_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_writer_is_told_who_the_first_is(path: Path) -> None:
    Journal.create(path, {}).close()
    process = writer(path, 0.01)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        for act in (Journal.open, repair):
            with pytest.raises(StoreError, match=f"being written by process {process.pid} on"):
                act(path)
        with Journal.read(path) as reader:
            assert reader.last >= 2
    finally:
        process.kill()
        process.communicate()
    with Journal.open(path) as journal:  # the lock died with its holder
        assert journal.append(Kind.METRICS, {}) == journal.last


def test_a_second_writer_in_the_same_process_is_refused(path: Path) -> None:
    with (
        Journal.create(path, {}),
        pytest.raises(StoreError, match=f"being written by process {os.getpid()} on"),
    ):
        Journal.open(path)


def test_a_forked_child_does_not_write(path: Path) -> None:
    with Journal.create(path, {}) as journal:
        child = os.fork()
        if child == 0:
            try:
                journal.append(Kind.METRICS, {})
            except StoreError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert journal.append(Kind.METRICS, {}) == 2


def test_every_event_that_was_reported_survives_kill_9(path: Path) -> None:
    Journal.create(path, {}).close()
    noise, reported = random.Random(1), 1
    for _ in range(5):
        process = writer(path)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert int(first) == reported + 1
        time.sleep(noise.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        lines = [first, *process.communicate()[0].splitlines()]
        acknowledged = int([line for line in lines if line.strip()][-1])
        with Journal.open(path) as journal:
            assert journal.last >= acknowledged
            assert [event.seq for event in journal.events()] == list(range(1, journal.last + 1))
            reported = journal.last


def test_a_creation_that_was_killed_leaves_nothing_in_the_way(path: Path) -> None:
    path.with_name(path.name + ".new").write_bytes(b"half")
    with Journal.create(path, {"command": "train"}) as journal:
        assert journal.last == 1


# --- damage ----------------------------------------------------------------------------------------


def crashed(path: Path, target: Path, count: int = 300) -> Path:
    """A copy of a journal as a killed process leaves it: part in the file, part in the log."""
    with filled(path, count) as journal:
        target.mkdir()
        copy = target / path.name
        shutil.copy(path, copy)
        shutil.copy(wal_of(path), wal_of(copy))
        assert wal_damage(copy) is None
        assert [event.body for event in readable(copy)] == [event.body for event in journal.events()]
    return copy


def change(path: Path, start: float, size: int) -> None:
    content = bytearray(path.read_bytes())
    place = int(start * (len(content) - size))
    content[place : place + size] = random.Random(2).randbytes(size)
    path.write_bytes(content)


def read_until_damage(path: Path) -> tuple[list[Event], str]:
    """Return the events that come before the error, and what it says."""
    events: list[Event] = []
    with Journal.read(path) as journal:
        try:
            for event in journal.events():
                events.append(event)
        except StoreError as error:
            return events, str(error)
    return pytest.fail("the damage was not reported")


def check_repair(path: Path, events: list[Event]) -> None:
    done = repair(path)
    assert (done.path, done.last) == (path, len(events))
    assert done.damaged is not None
    assert done.damaged.exists()
    with Journal.open(path) as journal:
        assert list(journal.events()) == events
        assert journal.append(Kind.RESUMED, {"after": done.last}) == done.last + 1
    assert repair(path).damaged is None


def test_a_flipped_byte_in_the_log_is_found_and_costs_little(path: Path, tmp_path: Path) -> None:
    copy = crashed(path, tmp_path / "copy")
    change(wal_of(copy), 0.5, 3)
    with pytest.raises(StoreError, match=r"frame [0-9]+ of its write-ahead log is damaged"):
        Journal.open(copy)
    events, message = read_until_damage(copy)
    assert f"is damaged after event {len(events)}" in message
    assert "`everystep resume` continues from there" in message
    assert len(events) == 300  # the damaged page was written again by a later event
    check_repair(copy, events)


def test_a_damaged_log_header_is_found(path: Path, tmp_path: Path) -> None:
    copy = crashed(path, tmp_path / "copy")
    change(wal_of(copy), 0.0, 16)
    with pytest.raises(StoreError, match="header of its write-ahead log is damaged"):
        Journal.open(copy)


def test_a_log_cut_in_the_middle_of_a_write_is_no_damage(path: Path, tmp_path: Path) -> None:
    copy = crashed(path, tmp_path / "copy", 20)
    content = wal_of(copy).read_bytes()
    wal_of(copy).write_bytes(content[:-1000])
    with Journal.open(copy) as journal:
        assert journal.last == 19
        assert journal.append(Kind.METRICS, {}) == 20


@pytest.mark.parametrize("start", [0.2, 0.5, 0.8, 1.0])
def test_garbage_in_the_file_leaves_what_came_before(path: Path, tmp_path: Path, start: float) -> None:
    filled(path).close()
    before = list(_healthy(path))
    change(path, start, 5000)
    damaged = path.read_bytes()
    events, message = read_until_damage(path)
    assert events == before[: len(events)]
    assert 300 * (start - 0.2) - 5 < len(events) < 300
    assert f"{str(path)!r} is damaged after event {len(events)}" in message
    check_repair(path, events)
    assert (tmp_path / f"{path.name}.damaged-1").read_bytes() == damaged


def test_a_destroyed_header_does_not_hide_the_events(path: Path) -> None:
    filled(path).close()
    before = list(_healthy(path))
    change(path, 0.0, 4096)
    with pytest.raises(StoreError, match="is damaged after event 300"):
        Journal.open(path)
    events, _ = read_until_damage(path)
    assert events == before
    check_repair(path, events)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1])
def test_a_cut_off_file_gives_what_is_left(path: Path, keep: float) -> None:
    filled(path).close()
    before = list(_healthy(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    events, _ = read_until_damage(path)
    assert events == before[: len(events)]
    assert len(events) > 300 * keep - 30
    check_repair(path, events)


def test_a_missing_event_ends_the_readable_part(path: Path) -> None:
    filled(path, 30).close()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM events WHERE seq = 12")
    connection.execute("UPDATE events SET body = '{' WHERE seq = 20")
    connection.commit()
    connection.close()
    events, message = read_until_damage(path)
    assert len(events) == 11
    assert "event 12 is missing" in message
    check_repair(path, events)


def test_a_body_that_is_not_json_ends_the_readable_part(path: Path) -> None:
    filled(path, 30).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE events SET body = CAST(X'80FF' AS TEXT) WHERE seq = 20")
    connection.commit()
    connection.close()
    events, _ = read_until_damage(path)
    assert len(events) == 19


def test_a_file_with_nothing_readable_is_left_alone(path: Path) -> None:
    path.write_bytes(random.Random(3).randbytes(20000))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is damaged after event 0"):
        Journal.open(path)
    with pytest.raises(StoreError, match="nothing can be read"):
        repair(path)
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def crash_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crash")
    return crashed(folder / "j.db", folder / "copy", 60)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_damage_gives_a_true_prefix_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, crash_site: Path, data: st.DataObject
) -> None:
    copy = tmp_path_factory.mktemp("damage") / crash_site.name
    shutil.copy(crash_site, copy)
    shutil.copy(wal_of(crash_site), wal_of(copy))
    before = list(readable(copy))
    target = data.draw(st.sampled_from([copy, wal_of(copy)]))
    change(target, data.draw(st.floats(0, 1)), data.draw(st.integers(1, 3000)))
    with Journal.read(copy) as journal:
        events, failure = [], None
        try:
            for event in journal.events():
                events.append(event)
        except StoreError as error:
            failure = str(error)
    changed = sum(one != other for one, other in zip(events, before, strict=False))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert changed <= 1  # SQLite has no checksums on pages: letters inside one text may change unseen
    if failure is None:
        # a log that ends within the last write is what a killed process leaves
        assert len(events) >= (60 if target == copy else 59)
    else:
        assert "is damaged after event" in failure


def _healthy(path: Path) -> list[Event]:
    with Journal.read(path) as journal:
        return list(journal.events())
