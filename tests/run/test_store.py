import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
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
    ToolCall,
    Trajectory,
)
from everystep.core.trace import Kind, ending_of
from everystep.run import store
from everystep.run.journal import Journal
from everystep.run.store import Written, read_parquet, write_parquet
from strategies import json_values, records_of, texts

TASK = Task(id="t", instruction="open the door", environment="keydoor", tags={"level": "easy"})
small = st.integers(-(2**31), 2**31 - 1)


def step(name: str, parent: str | None = None, index: int = 0, **more: object) -> Step:
    return Step(
        id=name,
        parent=parent,
        index=index,
        observation=Observation(text=f"at {name}", admissible=("go", "stay")),
        action=Action(text="go"),
        **more,  # type: ignore[arg-type]
    )


def trajectory(name: str, *steps: Step, task: Task = TASK) -> Trajectory:
    return Trajectory(id=name, task=task, group="g", steps=steps, end=End.DONE, outcome=1.0, success=True)


ROOT, LEFT, RIGHT = step("root"), step("left", "root", 1), step("right", "root", 1)
DEEP = step("deep", "right", 2)
TREE = [
    trajectory("a", ROOT, LEFT),
    trajectory("b", ROOT, RIGHT),
    trajectory("c", ROOT, RIGHT, DEEP),
    trajectory("d", ROOT),
    trajectory("e"),
]


@st.composite
def forests(draw: st.DrawFn) -> list[Trajectory]:
    """Trajectories that may branch off each other, with every field filled in some of them."""
    tasks = [
        Task(
            id=f"t{n}",
            instruction=draw(texts),
            environment=draw(texts),
            seed=draw(small),
            config=draw(st.dictionaries(texts, json_values, max_size=2)),
            reference=draw(json_values),
            reference_calls=draw(st.none() | st.lists(records_of(ToolCall), max_size=2).map(tuple)),
            tags=draw(st.dictionaries(texts, texts, max_size=2)),
        )
        for n in range(2)
    ]
    made: list[Trajectory] = []
    for n in range(draw(st.integers(0, 5))):
        source = draw(st.sampled_from(made)) if made and draw(st.booleans()) else None
        steps = list(source.steps[: draw(st.integers(0, len(source.steps)))]) if source else []
        for k in range(draw(st.integers(0, 3))):
            steps.append(
                Step(
                    id=f"{n}.{k}",
                    parent=steps[-1].id if steps else None,
                    index=len(steps),
                    observation=draw(records_of(Observation)),
                    action=draw(records_of(Action)),
                    reward=draw(st.none() | st.floats(allow_nan=False)),
                    scores=draw(st.dictionaries(texts, st.floats(allow_nan=False), max_size=2)),
                    tokens=draw(st.none() | _tokens()),
                    agent=draw(texts),
                )
            )
        ended = draw(records_of(Trajectory))
        made.append(
            Trajectory(
                id=f"trajectory {n}",
                task=draw(st.sampled_from(tasks)),
                group=ended.group,
                steps=tuple(steps),
                end=ended.end,
                outcome=ended.outcome,
                success=ended.success,
                seed=ended.seed,
                error=ended.error,
                final=ended.final,
            )
        )
    return made


def _tokens() -> st.SearchStrategy[TokenRecord]:
    spans = st.builds(
        Span, start=small, end=small, kind=st.sampled_from(list(SpanKind)), weight=st.floats(0, 1)
    )
    ids = st.lists(small, max_size=4).map(tuple)
    return st.builds(
        TokenRecord,
        ids=ids,
        spans=st.lists(spans, max_size=2).map(tuple),
        logprobs=st.lists(st.floats(max_value=0, allow_nan=False), max_size=3).map(tuple),
        allowed=st.none() | st.lists(ids, max_size=2).map(tuple),
        temperature=st.floats(0, 2),
        policy=texts,
    )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(forests())
def test_what_is_written_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory, made: list[Trajectory]
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    written = write_parquet(made, folder)
    assert list(read_parquet(folder)) == made
    assert written.steps == len({one.id for each in made for one in each.steps})


def journal_of(path: Path, made: list[Trajectory]) -> Journal:
    journal = Journal.create(path, {"command": "train"})
    written: set[str] = set()
    for task in {one.task.id: one.task for one in made}.values():
        journal.append(Kind.TASK, task)
    for n, one in enumerate(made):
        for each in one.steps:
            if each.id not in written:
                journal.append(Kind.STEP, each)
                written.add(each.id)
        journal.append(Kind.TRAJECTORY, ending_of(one, phase="train", iteration=n))
    return journal


def test_a_shared_step_is_one_row_and_branches_come_back(tmp_path: Path) -> None:
    assert write_parquet(TREE, tmp_path) == Written(trajectories=5, steps=4, tasks=1)
    assert list(read_parquet(tmp_path)) == TREE
    rows = pq.read_table(tmp_path / "trajectories.parquet").to_pylist()
    assert [row["prefix"] for row in rows] == [None, "a", "b", "a", None]
    assert [row["own_steps"] for row in rows] == [2, 1, 1, 0, 0]


def test_a_journal_and_its_trace_give_the_same_files(tmp_path: Path) -> None:
    with journal_of(tmp_path / "j.db", TREE) as journal:
        assert write_parquet(journal, tmp_path / "a", run="r1") == Written(trajectories=5, steps=4, tasks=1)
        write_parquet(journal.trace(), tmp_path / "b", run="r1")
    for name in ("steps", "trajectories", "tasks"):
        one, other = (pq.read_table(tmp_path / each / f"{name}.parquet") for each in "ab")
        assert one.equals(other)
    assert list(read_parquet(tmp_path / "a")) == TREE
    steps = pq.read_table(tmp_path / "a" / "steps.parquet").to_pylist()
    assert [(row["run"], row["phase"], row["iteration"]) for row in steps[:3]] == [
        ("r1", "train", 0),
        ("r1", "train", 0),
        ("r1", "train", 1),
    ]


def test_what_a_resume_made_void_is_not_written(tmp_path: Path) -> None:
    with journal_of(tmp_path / "j.db", TREE[:1]) as journal:
        keep = journal.last
        journal.append(Kind.STEP, RIGHT)
        journal.append(Kind.TRAJECTORY, ending_of(TREE[1]))
        journal.append(Kind.RESUMED, {"after": keep})
        write_parquet(journal, tmp_path / "out")
    assert list(read_parquet(tmp_path / "out")) == TREE[:1]


def test_a_step_row_holds_only_what_the_step_added(tmp_path: Path) -> None:
    write_parquet(TREE, tmp_path)
    (row,) = pq.read_table(tmp_path / "steps.parquet", filters=[("step", "=", "deep")]).to_pylist()
    assert "open the door" not in json.dumps(row)
    assert "at right" not in json.dumps(row)
    assert row["observation_admissible"] == ["go", "stay"]


def test_many_rows_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROW_GROUP", 7)
    steps = [step("s0")]
    for n in range(1, 40):
        steps.append(step(f"s{n}", f"s{n - 1}", n))
    write_parquet([trajectory("long", *steps)], tmp_path)
    assert pq.ParquetFile(tmp_path / "steps.parquet").num_row_groups == 6
    assert list(read_parquet(tmp_path)) == [trajectory("long", *steps)]


def test_rows_in_another_order_still_come_back(tmp_path: Path) -> None:
    write_parquet(TREE, tmp_path)
    path = tmp_path / "steps.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(table.num_rows)))), path)
    assert list(read_parquet(tmp_path)) == TREE


def rewrite(path: Path, change: object) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table), path)  # type: ignore[operator]


def with_column(name: str, values: object) -> object:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values(table))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("steps", lambda table: table.drop_columns(["reward"]), "column 'reward' is missing"),
        (
            "steps",
            with_column("reward", lambda table: pa.array(["1"] * len(table))),
            "column 'reward' of .*steps.parquet' is string; expected double",
        ),
        (
            "steps",
            with_column("index", lambda table: pa.array([2**40] * len(table))),
            "column 'index' of .* cannot be read as int32",
        ),
        (
            "steps",
            with_column("scores", lambda table: pa.array(["{"] * len(table))),
            "column 'scores' of .*steps.parquet' is damaged in row 'root'",
        ),
        (
            "steps",
            with_column("stop", lambda table: pa.array(["tired"] * len(table))),
            "'tired' is not a valid Stop",
        ),
        (
            "steps",
            with_column("action_text", lambda table: pa.nulls(len(table), pa.string())),
            "column 'action_text' .* it is empty",
        ),
        ("steps", lambda table: table.slice(1), "rows of its own"),
        ("tasks", lambda table: table.slice(1), "task 't' is missing"),
        ("tasks", lambda table: table.drop_columns(["instruction"]), "column 'instruction' is missing"),
        (
            "trajectories",
            with_column("end", lambda table: pa.array(["?"] * len(table))),
            "'\\?' is not a valid End",
        ),
        (
            "trajectories",
            lambda table: table.replace_schema_metadata({"everystep": "99"}),
            "has format '99' and this Everystep reads up to",
        ),
    ],
)
def test_a_wrong_file_gives_one_error_that_names_it(
    tmp_path: Path, file: str, change: object, message: str
) -> None:
    write_parquet(TREE, tmp_path)
    rewrite(tmp_path / f"{file}.parquet", change)
    with pytest.raises(StoreError, match=message):
        list(read_parquet(tmp_path))


@pytest.mark.parametrize("keep", [0, 4, 100, -20])
def test_a_cut_off_file_is_named(tmp_path: Path, keep: int) -> None:
    write_parquet(TREE, tmp_path)
    path = tmp_path / "steps.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"steps\.parquet' is damaged or not a Parquet file"):
        list(read_parquet(tmp_path))
    path.unlink()
    with pytest.raises(StoreError, match=r"there is no '.*steps\.parquet'"):
        list(read_parquet(tmp_path))


def test_text_that_is_not_unicode_is_refused_by_column_and_nothing_is_replaced(tmp_path: Path) -> None:
    write_parquet(TREE, tmp_path)
    bad = trajectory(
        "x", Step(id="x", parent=None, index=0, observation=ROOT.observation, action=Action(text="\udc80"))
    )
    with pytest.raises(StoreError, match="column 'action_text'"):
        write_parquet([bad], tmp_path)
    assert list(read_parquet(tmp_path)) == TREE
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".parquet"] * 3


def test_ids_are_unique(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="trajectory 'a' occurs twice"):
        write_parquet([TREE[0], TREE[0]], tmp_path)


def test_other_programs_may_have_rewritten_the_types(tmp_path: Path) -> None:
    write_parquet(TREE, tmp_path)
    path = tmp_path / "steps.parquet"
    table = pq.read_table(path)
    wide = {
        pa.string(): pa.large_string(),
        pa.int32(): pa.int64(),
        pa.list_(pa.string()): pa.large_list(pa.large_string()),
    }
    schema = pa.schema([pa.field(one.name, wide.get(one.type, one.type)) for one in table.schema])
    pq.write_table(table.cast(schema), path)
    assert list(read_parquet(tmp_path)) == TREE


def test_duckdb_reads_and_rewrites_it(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    write_parquet(TREE, tmp_path)
    steps = duckdb.read_parquet(str(tmp_path / "steps.parquet"))
    found = steps.aggregate("trajectory, count(*), sum(len(observation_admissible))").order("1").fetchall()
    assert found == [("a", 2, 4), ("b", 1, 2), ("c", 1, 2)]
    for name in ("steps", "trajectories", "tasks"):
        duckdb.read_parquet(str(tmp_path / f"{name}.parquet")).write_parquet(str(tmp_path / "again.parquet"))
        (tmp_path / "again.parquet").replace(tmp_path / f"{name}.parquet")
    assert list(read_parquet(tmp_path)) == TREE
