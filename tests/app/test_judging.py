"""``everystep judge`` and ``everystep calibrate`` on stored runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from everystep.app.cli import main
from everystep.core.codec import decode
from everystep.core.records import Verdict
from everystep.core.trace import Kind
from everystep.run.journal import Journal
from everystep.run.store import write_parquet
from verify.stored import written

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def hanoi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judging") / "run"
    words = [
        "run",
        "--environment",
        "hanoi",
        "--options",
        "disks=5",
        "--model",
        "noisy:0.3",
        "--vote",
        "single",
        "--max-steps",
        "90",
    ]
    main([*words, "--out", str(path)])
    return path


def verdicts(journal: Path) -> list[Verdict]:
    with Journal.read(journal) as opened:
        return [decode(Verdict, event.body) for event in opened.events(kinds={Kind.VERDICT})]


def says(capsys: Capture, words: list[object], code: int = 0) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    told = capsys.readouterr()
    return " ".join((told.out if code in (0, 1) and told.out else told.err).split())


def test_verdicts_stand_beside_the_steps_and_are_made_once(
    hanoi: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = Path(shutil.copytree(hanoi, tmp_path / "run"))
    with Journal.read(run / "journal.sqlite") as journal:
        before = [(event.seq, event.kind, dict(event.body)) for event in journal.events()]
    said = says(capsys, ["judge", run, "--judge", "oracle:distance"])
    found = verdicts(run / "journal.sqlite")
    assert f"{len(found)} verdicts" in said
    assert {one.score for one in found} == {0.0, 1.0}
    with Journal.read(run / "journal.sqlite") as journal:
        after = [(event.seq, event.kind, dict(event.body)) for event in journal.events()]
    assert after[: len(before)] == before
    assert "0 verdicts" in says(capsys, ["judge", run, "--judge", "oracle:distance"])
    assert len(verdicts(run / "journal.sqlite")) == len(found)


def test_a_stopped_judge_goes_on_where_it_was(hanoi: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    says(capsys, ["judge", hanoi, "--judge", "rule:repeated", "--out", out])
    whole = verdicts(out / "verdicts.sqlite")
    with Journal.create(tmp_path / "half" / "verdicts.sqlite", {"command": "judge"}) as journal:
        journal.append_many((Kind.VERDICT, one) for one in whole[:5])
    assert f"{len(whole) - 5} verdicts" in says(
        capsys, ["judge", hanoi, "--judge", "rule:repeated", "--out", tmp_path / "half"]
    )
    assert verdicts(tmp_path / "half" / "verdicts.sqlite") == whole


def test_a_parquet_folder_gets_its_verdicts_as_a_table(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "traces"
    write_parquet([written(["1 + 1 = 2", "2 + 2 = 5"], name=f"t{i}", success=True) for i in range(3)], folder)
    steps = (folder / "steps.parquet").read_bytes()
    says(capsys, ["judge", folder, "--judge", "rule:arithmetic"])
    assert (folder / "steps.parquet").read_bytes() == steps
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "values.parquet").to_pylist()
    assert [(row["name"], row["target"], row["value"]) for row in rows[:2]] == [
        ("arithmetic", "t0/0", 1.0),
        ("arithmetic", "t0/1", 0.0),
    ]
    out = tmp_path / "kept"
    said = says(
        capsys,
        ["filter", folder, "--rules", "score:of=verdict/arithmetic,at_least=0.5,then=mask", "--out", out],
    )
    assert "6 of 6 steps, 3 with weight" in said


def test_a_model_is_asked_once_and_its_failures_again(tmp_path: Path, capsys: Capture) -> None:
    folder, script = tmp_path / "traces", tmp_path / "judge.py"
    write_parquet([written(["yes", "odd"])], folder)
    script.write_text(
        "def answer(text, seed):\n    return 'Score: 9' if 'yes' in text.split('step to judge')[2] else 'hm'\n"
    )
    words: list[object] = ["judge", folder, "--judge", f"script:{script}", "--retries", "0"]
    assert "1 verdicts, mean 0.900" in says(capsys, words)
    script.write_text("def answer(text, seed):\n    return 'Score: 5'\n")
    assert "1 verdicts, mean 0.500" in says(capsys, words)
    assert [one.label for one in verdicts(folder / "verdicts.sqlite")] == [None, "failed", None]


def test_a_judge_is_held_against_another(hanoi: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    says(capsys, ["judge", hanoi, "--judge", "oracle:distance", "--out", out])
    noisy = ["judge", hanoi, "--judge", "oracle:distance", "--name", "poor", "--out", out]
    says(capsys, [*noisy, "--false-negative", "0.1", "--false-positive", "0.1"])
    words: list[object] = [
        "calibrate",
        out,
        out,
        "--judge",
        "poor+noise",
        "--truth",
        "oracle",
        "--json",
        "--plot",
        tmp_path / "r.svg",
    ]
    told = json.loads(says(capsys, words))
    assert (
        told["matched"]
        == told["labels"]
        == len([one for one in verdicts(out / "verdicts.sqlite") if one.judge == "oracle"])
    )
    assert 0.5 < told["reliability"]["ranks"] < 1.0
    assert "<svg" in (tmp_path / "r.svg").read_text()
    assert "Name one with --judge" in says(capsys, ["calibrate", out, out], 2)


def test_labels_of_people_are_lines(tmp_path: Path, capsys: Capture) -> None:
    folder, labels = tmp_path / "traces", tmp_path / "labels.jsonl"
    write_parquet([written(["1 + 1 = 2", "2 + 2 = 5"], name=f"t{i}") for i in range(20)], folder)
    says(capsys, ["judge", folder, "--judge", "rule:arithmetic"])
    labels.write_text(
        "".join(
            json.dumps({"target": f"t{i}/{s}", "good": s == 0 or i < 2}) + "\n"
            for i in range(20)
            for s in (0, 1)
        )
    )
    said = says(capsys, ["calibrate", folder, labels, "--precision", "0.95", "--plot", tmp_path / "r.svg"])
    assert "40 of 40 labels have a verdict" in said
    assert "precision 0.95" in said
    for line in ("{", '{"target": 3, "good": true}', '{"target": "x"}', "[]"):
        labels.write_text(line)
        assert "line 1 of" in says(capsys, ["calibrate", folder, labels], 1)
    labels.write_text('{"target": "elsewhere", "good": true}')
    assert "none of the 1 labels" in says(capsys, ["calibrate", folder, labels], 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--judge", "rule:arithmatic"], "Did you mean 'arithmetic'"),
        (["--judge", "judge:me"], "unknown kind"),
        (["--judge", "oracle", "--after", "2"], "--after has no effect"),
        (["--judge", "oracle:far"], "expected oracle or oracle:distance"),
        (["--judge", "trained"], "which?"),
        (["--judge", "rule:always", "--level", "pair"], "Name another level or judge"),
    ],
)
def test_mistakes_are_one_clear_line(
    hanoi: Path, tmp_path: Path, capsys: Capture, words: list[str], told: str
) -> None:
    assert told in says(capsys, ["judge", hanoi, *words, "--out", tmp_path / "o"], 2)


def test_a_run_that_goes_on_is_not_written_into(tmp_path: Path, capsys: Capture) -> None:
    with Journal.create(tmp_path / "journal.sqlite", {"command": "run"}):
        pass
    assert "not over yet" in says(capsys, ["judge", tmp_path / "journal.sqlite", "--judge", "rule:always"], 2)


def test_a_table_that_somebody_else_wrote_is_left_alone(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "traces"
    write_parquet([written(["a"])], folder)
    (folder / "values.parquet").write_bytes(b"mine")
    assert "did not write" in says(capsys, ["judge", folder, "--judge", "rule:always"], 1)
    assert (folder / "values.parquet").read_bytes() == b"mine"
