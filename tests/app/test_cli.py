"""The command line: every command works, and every mistake of a user is one clear line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import small
from everystep.app.cli import COMMANDS, main
from everystep.core.errors import StoreError
from everystep.core.trace import Kind
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal

EVERYSTEP = [sys.executable, "-c", "from everystep.app.cli import entry; entry()"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, made by the command line."""
    path = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "gigpo", *small.flags(), "--out", str(path), "--quiet"]) == 0
    return RunFolder(path=path)


def copied(run: RunFolder, place: Path) -> RunFolder:
    return RunFolder(path=Path(shutil.copytree(run.path, place / "copy")))


def says(capsys: Capture, words: list[str], code: int = 0) -> str:
    """Run a command line, expect its exit code, and return what it printed (the errors if it failed)."""
    capsys.readouterr()
    assert main(words) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if code == 0:
        return out
    assert err.startswith("everystep: ")
    assert err.count("\n") == 1
    return err


# --- help and lists ------------------------------------------------------------------------------


def test_the_overview_names_every_command(capsys: Capture) -> None:
    for words in ([], ["--help"], ["help"]):
        assert all(name in says(capsys, words) for name in COMMANDS)
    assert says(capsys, ["--version"]).strip()


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(capsys: Capture, command: str) -> None:
    text = says(capsys, [command, "--help"])
    assert f"usage: everystep {command}" in text


@pytest.mark.parametrize("command", ["recipes", "environments", "estimators", "doctor"])
def test_the_lists_are_tables_and_json(capsys: Capture, command: str) -> None:
    assert says(capsys, [command])
    assert json.loads(says(capsys, [command, "--json"]))


def test_one_of_a_list_is_described(capsys: Capture) -> None:
    assert "2402.03300" in says(capsys, ["recipes", "grpo"])
    assert "outcome" in says(capsys, ["estimators", "gigpo"])
    assert "side" in says(capsys, ["environments", "keydoor", "--options", "side=4"])


def test_an_environment_is_checked_against_the_contract(capsys: Capture) -> None:
    assert "hanoi" in says(capsys, ["environments", "hanoi", "--check"])


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "grppo"], "Did you mean 'grpo'?"),
        (["train", "--environment", "keydor"], "Did you mean 'keydoor'?"),
        (["train", "--environment", "keydoor", "--options", "sides=3"], "Did you mean 'side'?"),
        (["train", "--environment", "keydoor", "--options", "side=big"], "side='big'"),
        (["train", "--environment", "keydoor", "--options", "side=99"], "from 3 to 30"),
        (["train", "--environment", "keydoor", "--schedule", "linaer"], "Did you mean 'linear'?"),
        (["train", "--environment", "keydoor", "--model", "tiny:big"], "'0.1M'"),
        (["train", "--environment", "keydoor", "--max-steps", "0"], "max_steps is 0"),
        (["train", "--environment", "keydoor", "--threads", "0"], "threads is 0"),
        (["train", "--environment", "keydoor", "--variant", "papers"], "papers"),
        (["train", "--environment", "keydoor", "--wandb", "no_such_module"], "no_such_module"),
        (["train", "--config"], "needs a TOML file"),
        (["train", "--config", "nowhere.toml"], "nowhere.toml"),
        (["environments", "keydor"], "Did you mean 'keydoor'?"),
        (["recipes", "grppo"], "Did you mean 'grpo'?"),
        (["estimators", "gigp"], "Did you mean 'gigpo'?"),
        (["compare", "grpo", "gigpoo", "--seeds", "1", "--out", "c"], "Did you mean 'gigpo'?"),
        (["compare", "grpo", "--seeds", "0"], "1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    capsys: Capture, here: Path, words: list[str], expected: str
) -> None:
    few = ["--demonstrations", "2", "--turn-updates", "0", "--warm-updates", "1", "--iterations", "1"]
    words = [*words, *few, "--out", "r"] if words[0] == "train" and "--config" not in words else words
    assert expected in says(capsys, words, 2)
    assert not (here / "r").exists()


def test_wrong_flags_are_explained(capsys: Capture) -> None:
    for words in (
        ["train", "--iteratons", "3"],
        ["show"],
        ["train", "--iterations", "many"],
        ["show", "a", "b"],
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert err
        assert "Traceback" not in err


@pytest.mark.parametrize("command", ["show", "view", "credit", "resume", "eval"])
def test_a_path_that_is_no_run(capsys: Capture, here: Path, command: str) -> None:
    (here / "file").write_text("not a journal")
    (here / "folder").mkdir()
    for name in ("nowhere", "file", "folder"):
        assert name in says(capsys, [command, name], 1)


def test_a_run_is_never_overwritten(capsys: Capture, run: RunFolder) -> None:
    before = small.weights(run)
    assert "everystep resume" in says(capsys, ["train", *small.flags(), "--out", str(run.path)], 1)
    assert small.weights(run) == before


def test_a_folder_that_cannot_be_made(capsys: Capture, here: Path) -> None:
    (here / "file").write_text("")
    assert "cannot make" in says(capsys, ["train", *small.flags(), "--out", "file/run"], 1)


# --- config files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("iteratons = 3", "Did you mean 'iterations'?"),
        ('iterations = "three"', "option 'iterations' is 'three'; expected int"),
        ("environment = 3", "expected str"),
        ("iterations = [", "cannot read"),
        ("iterations = true", "expected int"),
    ],
)
def test_a_wrong_config_file_names_the_key(capsys: Capture, here: Path, text: str, expected: str) -> None:
    (here / "c.toml").write_text(text)
    for words in (["--config", "c.toml"], ["--config=c.toml"]):
        assert expected in says(capsys, ["train", *words], 2)


def test_flags_come_before_the_file_and_the_file_before_the_defaults(capsys: Capture, here: Path) -> None:
    (here / "c.toml").write_text(
        'environment = "keydoor"\nlearning_rate = 1\ntasks = 5\n[options]\nside = 4\n'
    )
    words = small.flags(iterations=0, turn_updates=0, warm_updates=0)
    keep = [
        word for at, word in enumerate(words)
        if not {"--environment", "--options"} & {word, words[at - 1]} and "=" not in word
    ]  # fmt: skip
    del keep[keep.index("--tasks") : keep.index("--tasks") + 2]
    assert main(["train", "--config", "c.toml", *keep, "--group-size", "2", "--out", "r", "--quiet"]) == 0
    options = RunFolder(path=here / "r").config()["options"]
    assert (options["options"], options["tasks"], options["learning_rate"], options["group_size"]) == ({"side": 4}, 5, 1, 2)  # fmt: skip


# --- a run ---------------------------------------------------------------------------------------


def test_training_prints_json_or_little(capsys: Capture, run: RunFolder, here: Path) -> None:
    short = small.flags(iterations=1, warm_updates=1, turn_updates=0)
    rows = [json.loads(line) for line in says(capsys, ["train", *short, "--out", "a", "--json"]).splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert all("environment_steps" in row for row in rows)
    text = says(capsys, ["train", *short, "--quiet"])
    assert text.splitlines()[0].startswith("held-out success")
    assert (here / "runs" / "gigpo-keydoor-1" / "page.html").is_file()
    assert "training  3/3" in says(capsys, ["train", *short, "--no-page"])
    assert (here / "runs" / "gigpo-keydoor-2" / "model").is_dir()


def test_show(capsys: Capture, run: RunFolder) -> None:
    path = str(run.path)
    assert "recipe gigpo" in says(capsys, ["show", path])
    assert len(says(capsys, ["show", path, "--json"]).splitlines()) == len(small.trace_of(run).metrics)
    assert "i2." in says(capsys, ["show", path, "--failed"])
    assert "take the key" in says(capsys, ["show", path, "--episode", "i0.0.0"])
    assert "recipe gigpo" in says(capsys, ["show", str(run.journal)])
    assert "i9.0.0" in says(capsys, ["show", path, "--episode", "i9.0.0"], 2)


def test_view(capsys: Capture, run: RunFolder, here: Path) -> None:
    says(capsys, ["view", str(run.path), "--out", "p.html"])
    assert (here / "p.html").read_text().startswith("<!")
    assert "Did you mean" in says(
        capsys, ["view", str(run.path), "--out", "q.html", "--estimator", "gigp"], 2
    )


def test_credit_is_computed_explained_and_saved(capsys: Capture, run: RunFolder, tmp_path: Path) -> None:
    path = str(run.path)
    assert "gigpo (paper)" in says(capsys, ["credit", path])
    rows = [json.loads(line) for line in says(capsys, ["credit", path, "--json"]).splitlines()]
    trace = small.trace_of(run)
    assert len(rows) == sum(len(one.steps) for one in trace.trajectories(phase="train"))
    assert rows[0]["step"] in says(capsys, ["credit", path, "--step", rows[0]["step"]])
    first = says(capsys, ["credit", path, "--json", "--iteration", "0"]).splitlines()
    assert len(first) == sum(len(one.steps) for one in trace.trajectories(phase="train", iteration=0))
    every = says(capsys, ["credit", path, "--json", "--phase", "all"]).splitlines()
    assert len(every) == sum(len(one.steps) for one in trace.trajectories())
    assert "iteration 99" in says(capsys, ["credit", path, "--iteration", "99"], 2)
    assert "Did you mean" in says(capsys, ["credit", path, "--estimator", "grppo"], 2)
    says(capsys, ["credit", path, "--step", "nothing/0"], 2)

    saved = copied(run, tmp_path)
    says(capsys, ["credit", str(saved.path), "--estimator", "grpo", "--save", "--json"])
    assert len(small.trace_of(saved).credits["grpo"]) == len(rows)
    says(capsys, ["credit", str(saved.journal), "--estimator", "rloo", "--save"])
    assert set(small.trace_of(saved).credits) == {"grpo", "rloo"}
    says(capsys, ["view", str(saved.path)])
    assert "is finished" in says(capsys, ["resume", str(saved.path)], 2)


@pytest.mark.parametrize("form", ["chat", "trl", "verifiers"])
def test_export(capsys: Capture, run: RunFolder, here: Path, form: str) -> None:
    said = says(capsys, ["export", str(run.path), "x.jsonl", "--form", form])
    lines = (here / "x.jsonl").read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert said.startswith(f"{len(lines)} rows of 27 episodes")
    assert "Did you mean 'chat'?" in says(capsys, ["export", str(run.path), "y", "--form", "chta"], 2)


def test_parquet_goes_out_and_comes_back(capsys: Capture, run: RunFolder, here: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    says(capsys, ["export", str(run.path), "p", "--form", "parquet"])
    direct = says(capsys, ["credit", str(run.path), "--json"])
    assert says(capsys, ["credit", "p", "--json"]) == direct
    says(capsys, ["export", "p", "again.jsonl"])
    assert "is not a run" in says(capsys, ["credit", "p", "--save"], 1)
    table = parquet.read_table(here / "p" / "steps.parquet")
    parquet.write_table(table.drop_columns(["reward"]), here / "p" / "steps.parquet")
    assert "'reward'" in says(capsys, ["credit", "p"], 1)
    (here / "p" / "steps.parquet").write_bytes(b"not parquet")
    assert "steps.parquet" in says(capsys, ["credit", "p"], 1)


def test_eval(capsys: Capture, run: RunFolder) -> None:
    path = str(run.path)
    numbers = json.loads(says(capsys, ["eval", path, "--tasks", "4", "--json"]))
    last = [row for row in small.trace_of(run).metrics if "heldout_success" in row][-1]
    assert numbers == {name: last[name] for name in numbers}  # the model on disk is the one that was tested
    assert "of 3 held-out tasks" in says(capsys, ["eval", path, "--tasks", "3"])
    assert "nothing to test" in says(capsys, ["eval", path, "--tasks", "0"], 2)
    assert "temperature" in says(capsys, ["eval", path, "--temperature", "0"], 2)
    assert "nowhere" in says(capsys, ["eval", path, "--model", "nowhere"], 1)


# --- stopping and damage -------------------------------------------------------------------------


def test_resume_says_when_there_is_nothing_to_do_or_the_run_is_unknown(capsys: Capture, run: RunFolder, tmp_path: Path) -> None:  # fmt: skip
    assert "is finished" in says(capsys, ["resume", str(run.path)], 2)
    assert small.trace_of(run).end is not None
    folder = copied(run, tmp_path)
    config = folder.path / "config.json"
    stored = json.loads(config.read_text())
    config.write_text(json.dumps({**stored, "recipe": "alchemy"}))
    assert "'alchemy'" in says(capsys, ["resume", str(folder.path)], 2)
    config.write_text(json.dumps({**stored, "options": {**stored["options"], "fear": 1}}))
    assert "'fear'" in says(capsys, ["resume", str(folder.path)], 2)
    for text in ("{", "[]", "{}"):
        config.write_text(text)
        assert "config.json" in says(capsys, ["resume", str(folder.path)], 1)


def unfinished(run: RunFolder, place: Path) -> RunFolder:
    """A copy of a run that stopped after its last checkpoint."""
    folder = copied(run, place)
    shutil.rmtree(folder.model)
    return folder


def test_a_damaged_checkpoint(capsys: Capture, run: RunFolder, tmp_path: Path) -> None:
    folder = unfinished(run, tmp_path)
    newest = folder.checkpoints()[-1]
    (newest / "learner" / "weights.safetensors").write_bytes(b"?")
    assert "weights.safetensors" in says(capsys, ["resume", str(folder.path)], 1)
    (newest / "learner" / "weights.safetensors").unlink()
    assert "is missing" in says(capsys, ["resume", str(folder.path)], 1)
    shutil.rmtree(newest)
    says(capsys, ["resume", str(folder.path), "--quiet"])
    assert small.weights(folder) == small.weights(run)


@pytest.mark.parametrize("damage", ["zeros", "cut"])
def test_a_damaged_journal_is_repaired_and_kept(
    capsys: Capture, run: RunFolder, tmp_path: Path, damage: str
) -> None:
    folder = unfinished(run, tmp_path)
    content = folder.journal.read_bytes()
    half = len(content) // 2
    broken = content[:half] if damage == "cut" else content[:half] + b"\0" * 40_000 + content[half + 40_000 :]
    folder.journal.write_bytes(broken)
    with pytest.raises(StoreError, match="damaged"), Journal.read(folder.journal) as journal:
        list(journal.events())
    assert "damaged" in says(capsys, ["show", str(folder.path)], 1)
    capsys.readouterr()
    assert main(["resume", str(folder.path), "--quiet"]) == 0
    err = capsys.readouterr().err
    assert "the journal was damaged" in err
    assert "journal.sqlite.damaged-1" in err
    assert (folder.path / "journal.sqlite.damaged-1").read_bytes() == broken
    assert small.weights(folder) == small.weights(run)
    assert small.trace_of(folder).end is not None


def test_a_journal_that_is_being_written_is_left_alone(
    capsys: Capture, run: RunFolder, tmp_path: Path
) -> None:
    folder = unfinished(run, tmp_path)
    with Journal.open(folder.journal) as journal:
        assert "is being written by" in says(capsys, ["resume", str(folder.path)], 1)
        assert "recipe gigpo" in says(capsys, ["show", str(folder.path)])
        journal.append(Kind.METRICS, {})


def test_interrupting_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["train", *small.flags(iterations=5000), "--out", str(tmp_path / "run"), "--json"]
    process = subprocess.Popen(
        [*EVERYSTEP, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["step"] == 9:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"everystep resume {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
    folder = RunFolder(path=tmp_path / "run")
    assert small.trace_of(folder).end is None
    assert len(folder.checkpoints()) == 2


def test_a_reader_that_has_seen_enough_is_no_error(run: RunFolder) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*EVERYSTEP, "credit", str(run.path), "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


# --- free text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["keydoor", "hanoi", "stepmath", "toolchain", "boxoban"])
def test_whatever_an_untrained_model_writes_is_survived(
    capsys: Capture, here: Path, environment: str
) -> None:
    words = small.flags(
        environment=environment, options={}, iterations=1, warm_updates=1, turn_updates=0, demonstrations=3,
        max_steps=3, max_tokens=12, temperature=3.0, test_tasks=2,
    )  # fmt: skip
    place = words.index("--options")
    del words[place : place + 1]
    says(capsys, ["train", *words, "--no-constrain", "--out", "r", "--quiet"])
    trace = small.trace_of(RunFolder(path=here / "r"))
    assert trace.metrics[-1]["errors"] == 0.0
    assert trace.metrics[-1]["first_ratio_max"] == pytest.approx(1.0, abs=1e-4)
    stops = {step.stop.value for one in trace.trajectories(phase="train") for step in one.steps}
    assert stops <= {"stop", "length"}


def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        one for one in sys.modules if one.startswith(("everystep.app.comparing", "everystep.evaluate"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["compare", "grpo", "gigpo"]) == 2
    assert "pip install 'everystep[plot]'" in capsys.readouterr().err
