"""Benchmarks are scored once a case, whatever dies, and go on where they stopped."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from little_bench import Make, Numbers, even, right

from everystep.bench.benchmark import Measure
from everystep.bench.running import ROWS_FILE, Plan, Row, Source, Told, mended, read_rows, run_here
from everystep.bench.summary import by_tag, passes, report, summary, write_parquet
from everystep.core.errors import DataError, StoreError
from everystep.run.pool import Limits, Processes, Tasks


def test_every_case_has_one_row_for_each_run(tmp_path: Path) -> None:
    told: list[Told] = []
    source = Source(Make(20, str(tmp_path)), even)
    assert run_here(source, Tasks(Limits(workers=3)), tmp_path / "b", Plan(runs=2), tell=told.append)
    rows = read_rows(tmp_path / "b" / ROWS_FILE)
    assert Counter((row.case, row.run) for row in rows) == {
        (f"n{n}", r): 1 for n in range(20) for r in (0, 1)
    }
    assert told[-1] == Told(done=40, total=40, lost=0, lost_tries=0, tokens=400)
    found = summary(Numbers(20, ""), rows)
    assert (found.cases, found.attempts, found.lost) == (20, 40, 0)
    assert found.measures["success"].value == 0.5
    assert {value: one["success"].value for value, one in by_tag(Numbers(20, ""), rows, "parity").items()} == {"0": 1.0, "1": 0.0}  # fmt: skip
    with pytest.raises(DataError, match="no case has the tag 'size'"):
        by_tag(Numbers(20, ""), rows, "size")


def test_a_worker_opens_its_benchmark_once(tmp_path: Path) -> None:
    pool = Processes(Limits(workers=2))
    source = Source(partial(Make(64, str(tmp_path))), right)  # a partial equals only itself
    assert run_here(source, pool, tmp_path / "b", Plan(batch=4))
    opened = (tmp_path / "opened").read_text(encoding="utf-8").split()
    assert len(opened) == len(set(opened)) <= 2


def test_workers_that_die_lose_nothing(tmp_path: Path) -> None:
    source = Source(Make(120, str(tmp_path), dies=40, bad=77), right)
    pool = Processes(Limits(workers=2, tries=2))
    assert run_here(source, pool, tmp_path / "b", Plan())
    rows = read_rows(tmp_path / "b" / ROWS_FILE)
    assert sorted(Counter(row.case for row in rows).values()) == [1] * 120
    lost = [row for row in rows if row.error]
    assert [row.case for row in lost] == ["n77"]  # the others of its batch were tried again, one by one
    assert lost[0].numbers == {"success": 0.0}
    assert summary(Numbers(120, ""), rows).measures["success"].value == pytest.approx(119 / 120)


@pytest.mark.slow
def test_ten_thousand_cases_with_one_percent_of_the_workers_dying(tmp_path: Path) -> None:
    source = Source(Make(10_000, str(tmp_path), dies=100, batch=1), right)
    assert run_here(source, Processes(Limits(workers=2)), tmp_path / "b", Plan())
    rows = read_rows(tmp_path / "b" / ROWS_FILE)
    assert len(list(tmp_path.glob("died*"))) == 100
    assert sorted(Counter(row.case for row in rows).values()) == [1] * 10_000
    assert not any(row.error for row in rows)


def test_it_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    source, place = Source(Make(50, str(tmp_path)), right), tmp_path / "b"
    assert not run_here(source, Tasks(Limits(workers=1)), place, Plan(tokens=200))
    first = read_rows(place / ROWS_FILE)
    assert 20 <= len(first) < 50
    with (place / ROWS_FILE).open("a", encoding="utf-8") as file:
        file.write('{"case": "n49", "run"')  # half a line: the kill came while it was written
    assert len(mended(place / ROWS_FILE)) == len(first)
    assert run_here(source, Tasks(Limits(workers=1)), place, Plan())
    rows = read_rows(place / ROWS_FILE)
    assert rows[: len(first)] == first
    assert sorted(Counter(row.case for row in rows).values()) == [1] * 50


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / ROWS_FILE
    row = json.dumps(Row(case="a", run=0, problem="a", numbers={}).as_json())
    path.write_text(f"{row}\nnonsense\n{row}\n", encoding="utf-8")
    with pytest.raises(StoreError, match="line 2 of"):
        read_rows(path)


def test_pass_k_is_the_unbiased_estimate() -> None:
    won = {"a": (1, 1, 1, 0), "b": (0, 0, 1, 0)}
    rows = [Row(case=c, run=n, problem=c, numbers={"success": float(w)}) for c, all_ in won.items() for n, w in enumerate(all_)]  # fmt: skip
    found = passes(rows)
    assert found["pass^1"].value == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert found["pass^2"].value == pytest.approx((3 / 6 + 0) / 2)
    assert found["pass@2"].value == pytest.approx((1 + 3 / 6) / 2)
    assert found["pass^4"].value == 0.0
    assert passes([row for row in rows if row.run == 0]) == {}


def test_ratios_are_taken_over_all_cases(tmp_path: Path) -> None:
    class Found(Numbers):
        @property
        def measures(self) -> tuple[Measure, ...]:
            return (Measure(name="precision", columns=("said", "hit"), of=lambda c: c[..., 1] / c[..., 0], definition="hits by what was said"),)  # fmt: skip

    rows = [
        Row(case="a", run=0, problem="a", numbers={"said": 9.0, "hit": 3.0}, tags={"length": "2"}),
        Row(case="b", run=0, problem="b", numbers={"said": 1.0, "hit": 1.0}, tags={"length": "10"}),
    ]
    told = summary(Found(2, ""), rows)
    assert told.measures["precision"].value == pytest.approx(0.4)  # not the mean of 1/3 and 1
    page = report(Found(2, ""), rows, ("length",))
    assert page.index("| 2 | 0.333") < page.index("| 10 | 1.000")
    write_parquet(rows, tmp_path / "rows.parquet")
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["number.hit"] for row in table] == [3.0, 1.0]


def test_the_report_says_why_attempts_were_lost(tmp_path: Path) -> None:
    errors = ["task 1: no pytest", "task 22: no pytest", "", "the worker died"]
    rows = [Row(case=f"{n}", run=0, problem=f"{n}", numbers={}, error=one) for n, one in enumerate(errors)]
    told = report(Numbers(4, str(tmp_path)), rows)
    assert "- 2 of 3: task 1: no pytest\n- 1 of 3: the worker died" in told
    assert "Lost" not in report(Numbers(4, str(tmp_path)), rows[2:3])
