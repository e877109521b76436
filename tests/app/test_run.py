"""Runs of tasks by the command line: offline, killed, asked, bounded by budgets, forked, shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from everystep.app.cli import main
from everystep.app.run_reading import find_step, head, tail, totals
from everystep.core.errors import ConfigError
from everystep.core.trace import Kind
from everystep.run.folder import TRAIN, RunFolder
from everystep.run.journal import Journal

EVERYSTEP = [sys.executable, "-c", "from everystep.app.cli import entry; entry()"]
HANOI = ["--environment", "hanoi", "--options", "disks=4", "start_from=full"]
Capture = pytest.CaptureFixture[str]

SHOP = """
from pathlib import Path
import time
BOOK = Path(__file__).with_name("booked.txt")
def look() -> str:
    "What was paid so far."
    return BOOK.read_text() if BOOK.exists() else "nothing"
def pay(amount: int) -> str:
    "Pay an amount."
    with BOOK.open("a") as file:
        file.write(f"{amount}\\n")
    return f"paid {amount}"
"""
SCRIPT = """
import json
def answer(text, seed):
    paid = text.count("paid ")
    call = {"tool": "pay", "arguments": {"amount": 10 * (paid + 1)}}
    return json.dumps(call if paid < 3 else {"answer": "three payments"})
"""


def says(capsys: Capture, words: list[str], code: int = 0) -> str:
    """Run a command line, expect its exit code, and return what it printed (the errors if it was refused)."""
    capsys.readouterr()
    assert main(words) == code, capsys.readouterr()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out or err


def moves(path: Path) -> list[tuple[str, str]]:
    with Journal.read(path / "journal.sqlite") as journal:
        bodies = [event.body for event in journal.events(kinds={Kind.STEP})]
    return [(body["id"], body["action"]["text"]) for body in bodies]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*EVERYSTEP, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )


def until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(f"{word!r} was never printed: {process.communicate()}")


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["hanoi", "boxoban", "intercode_sql", "household"])
@pytest.mark.parametrize("model", ["oracle", "noisy:0.1"])
def test_every_world_is_run_offline_with_nothing_but_its_name(
    capsys: Capture, here: Path, environment: str, model: str
) -> None:
    told = says(capsys, ["run", "--environment", environment, "--model", model])
    assert "done, solved" in told
    assert f"run: runs/run-{environment}-1" in told
    assert f"everystep show runs/run-{environment}-1" in told
    says(capsys, ["view", f"runs/run-{environment}-1"])
    assert (here / "runs" / f"run-{environment}-1" / "page.html").stat().st_size > 50_000


def test_the_default_run_votes_errors_away_and_says_so(capsys: Capture, here: Path) -> None:
    told = says(capsys, ["run", *HANOI, "--model", "noisy:0.3", "--out", "r"])
    assert told.count("step main/") == 15  # the shortest way: no error got through
    assert "vote ahead:3" in told
    assert "votes 5:2" in told
    options = RunFolder(path=here / "r").config()
    assert (options["kind"], options["options"]["model"]) == ("run", "noisy:0.3")


def test_the_same_seed_gives_the_same_run(capsys: Capture, here: Path) -> None:
    for name in ("a", "b"):
        says(capsys, ["run", *HANOI, "--model", "noisy:0.4", "--vote", "single", "--seed", "5", "--out", name, "--quiet", "--max-steps", "30"], 1 if name else 0)  # fmt: skip
    assert moves(here / "a") == moves(here / "b")


def test_json_is_one_object_a_line_and_ends_with_the_outcome(capsys: Capture, here: Path) -> None:
    rows = [json.loads(line) for line in says(capsys, ["run", *HANOI, "--json", "--out", "r"]).splitlines()]
    assert sum(row["event"] == "step" for row in rows) == 15
    assert (rows[-1]["end"], rows[-1]["success"], rows[-1]["steps"]) == ("done", True, 15)


def test_flags_and_attempts_are_told(capsys: Capture, here: Path) -> None:
    (here / "odd.py").write_text(
        'def answer(text, seed):\n    return "" if seed % 2 else "move 1 from a to c"\n'
    )
    told = says(capsys, ["run", *HANOI, "--model", "script:odd.py", "--no-constrain", "--out", "r", "--max-steps", "2"], 1)  # fmt: skip
    assert "discarded at main/" in told
    assert "(empty: there is no text and no call)" in told
    assert "discarded answers" in says(capsys, ["show", "r"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--model", "orcale"], "Did you mean 'oracle'?"),
        (["--model", "noisy:much"], "'much' is no number"),
        (["--model", "noisy:0.1,corelated=1"], "Did you mean 'correlated'?"),
        (["--model", "local"], "local:FOLDER"),
        (["--model", "chat:x"], "chat:MODEL@URL"),
        (["--model", "script:nowhere.py"], "nowhere.py"),
        (["--vote", "ahed:3"], "Did you mean 'ahead'?"),
        (["--vote", "ahead"], "ahead:3"),
        (["--vote", "ahead:0"], "1 or more"),
        (["--vote", "ahead:3,kap=2"], "Did you mean 'cap'?"),
        (["--flags", "emty"], "Did you mean 'empty'?"),
        (["--view", "windw:3"], "Did you mean 'window'?"),
        (["--view", "history"], "Use window:8"),
        (["--budget", "step=3"], "Did you mean 'steps'?"),
        (["--budget", "usd=3"], "needs --price"),
        (["--temperature", "0.5"], "have no effect"),
        (["--task", "train"], "SPLIT:INDEX"),
        (["--plan", "linear:nowhere"], "nowhere"),
        (["--plan", "ask"], "cannot write a plan"),
        (["--plan", "file.txt"], "linear:FILE"),
        (["--approve", "mailbox"], "--ask every"),
        (["--key", "NAME"], "key of an endpoint"),
        (["--options", "discs=3"], "Did you mean 'disks'?"),
        (["do it", "--tools", "files:."], "another model"),
        (["--tools", "python"], "needs a task in words"),
        (["do it", "--tools", "pyton", "--model", "random"], "Did you mean 'python'?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    capsys: Capture, here: Path, words: list[str], expected: str
) -> None:
    told = says(capsys, ["run", *words, "--out", "r"], 2)
    assert expected in told
    assert told.count("\n") == 1
    assert not (here / "r").exists()


# --- plans ----------------------------------------------------------------------------------------


def test_a_linear_plan_is_worked_through(capsys: Capture, here: Path) -> None:
    (here / "plan").write_text(
        "# how\ngo there => On the dresser 1\ntake it => You pick up the pencil\nuse the lamp\n"
    )
    told = says(capsys, ["run", "--environment", "household", "--plan", "linear:plan", "--out", "r"])
    assert [line for line in told.splitlines() if line.startswith("plan: finish")] == ["plan: finish 1", "plan: finish 2"]  # fmt: skip
    assert "✓ 2 take it" in says(capsys, ["show", "r"])


def test_a_plan_in_json_may_have_alternatives(capsys: Capture, here: Path) -> None:
    plan = [{"instruction": "find gold", "done": "gold", "max_steps": 2, "alternatives": ["take one step"]}]
    (here / "plan.json").write_text(json.dumps(plan))
    told = says(capsys, ["run", "--environment", "household", "--plan", "plan.json", "--out", "r"])
    assert "plan: fail 1 (not complete after 2 steps)" in told
    assert "plan: start 1~1" in told
    (here / "plan.json").write_text('[{"instruction": "a", "needs": ["b"]}]')
    words = ["run", "--environment", "household", "--plan", "plan.json", "--out", "s"]
    assert "unknown need" in says(capsys, words, 2)


# --- endpoints ------------------------------------------------------------------------------------


class Endpoint(BaseHTTPRequestHandler):
    """Plans when it is asked to, and otherwise takes the first of the actions that it is offered."""

    plans: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        first, last = body["messages"][0]["content"], body["messages"][-1]["content"]
        planning = first.startswith("Make a plan")
        text = self.plans.pop(0) if planning else last.splitlines()[-1].strip().lstrip("- ")
        reply = {
            "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 10},
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"chat:small@http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_paid_within_its_budget(capsys: Capture, here: Path, endpoint: str) -> None:
    pytest.importorskip("httpx")
    words = [
        "run",
        *HANOI,
        "--model",
        endpoint,
        "--price",
        "1,2",
        "--budget",
        "usd=0.005",
        "--out",
        "r",
        "--json",
    ]
    outcome = json.loads(says(capsys, words, 1).splitlines()[-1])
    assert outcome["end"] == "budget"
    price = (1000 * 1 + 10 * 2) / 1e6
    assert outcome["cost"]["usd"] == pytest.approx(price * outcome["cost"]["samples"])
    assert 0.005 <= outcome["cost"]["usd"] < 0.005 + price
    assert outcome["cost"]["prompt_tokens"] == 1000 * outcome["cost"]["samples"]


def test_a_model_makes_the_plan_and_mends_it(capsys: Capture, here: Path, endpoint: str) -> None:
    pytest.importorskip("httpx")
    Endpoint.plans[:] = [
        "First I would go there.",
        '[{"instruction": "find gold", "done": "gold", "max_steps": 2}]',
        '["look around", "look again"]',
    ]
    told = says(
        capsys, ["run", "--environment", "household", "--model", endpoint, "--plan", "ask", "--out", "r"]
    )
    assert "plan: add find gold" in told
    assert "plan: fail 1 (not complete after 2 steps)" in told
    assert "plan: replace look around, look again (a step failed)" in told
    assert Endpoint.plans == []
    assert "7 samples, 7,070 tokens" in told  # the planner's three are paid too
    assert "✗ 1 find gold" in says(capsys, ["show", "r"])


# --- stopping and going on ------------------------------------------------------------------------

LONG = ["--environment", "hanoi", "--options", "disks=12", "start_from=full", "--model", "noisy:0.2", "--vote", "ahead:6"]  # fmt: skip


def test_killed_it_goes_on_with_the_same_steps_as_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = [
        "--environment",
        "hanoi",
        "--options",
        "disks=9",
        "start_from=full",
        "--model",
        "noisy:0.2",
        "--quiet",
    ]
    assert main(["run", *words, "--out", str(whole)]) == 0
    process = start("run", *[word for word in words if word != "--quiet"], "--json", "--out", str(killed))
    until(process, '"id": "main/40"')
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    count = len(moves(killed))
    assert 40 <= count < 511
    assert main(["resume", str(killed), "--quiet"]) == 0
    assert moves(killed) == moves(whole)
    assert len(moves(killed)) >= 511


def test_interrupted_it_ends_cleanly_and_says_how_to_go_on(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "run"
    process = start("run", *LONG, "--json", "--out", str(path))
    until(process, '"id": "main/30"')
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"everystep resume {path}" in errors
    assert "Traceback" not in errors
    with Journal.read(path / "journal.sqlite") as journal:
        end = journal.newest(Kind.END)
    assert end is not None
    assert end.body["end"] == "cancelled"
    before = moves(path)
    says(capsys, ["resume", str(path), "--max-steps", str(len(before) + 5), "--quiet"], 1)
    assert moves(path)[: len(before)] == before
    assert len(moves(path)) == len(before) + 5


def test_a_budget_ends_a_run_and_a_larger_one_goes_on(capsys: Capture, here: Path) -> None:
    words = ["run", *HANOI, "--budget", "steps=5,calls=1000", "--out", "r"]
    told = says(capsys, words, 1)
    assert "budget for 'steps' is spent" in told
    assert "everystep resume r --budget" in told
    assert len(moves(here / "r")) == 5
    assert "done, solved" in says(capsys, ["resume", "r", "--budget", "steps=50"])
    assert len(moves(here / "r")) == 15
    stored = RunFolder(path=here / "r").config()
    assert stored["options"]["budget"] == "steps=50,calls=1000"
    assert stored["changed"] == [{"budget": "steps=50,calls=1000"}]
    assert "is finished: done" in says(capsys, ["resume", "r"], 2)


def test_a_step_limit_needs_a_higher_one(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--max-steps", "4", "--out", "r"], 1)
    assert "--max-steps" in says(capsys, ["resume", "r"], 2)
    assert "done, solved" in says(capsys, ["resume", "r", "--max-steps", "40"])


def test_options_of_the_other_kind_of_run_are_refused(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--out", "r", "--quiet"])
    assert "--threads is for trainings" in says(capsys, ["resume", "r", "--threads", "1"], 2)
    with pytest.raises(ConfigError, match="expected a training"):
        RunFolder(path=here / "r").config_of(TRAIN)
    assert "--episode is for a training" in says(capsys, ["show", "r", "--episode", "x"], 2)
    config = json.loads((here / "r" / "config.json").read_text())
    (here / "r" / "config.json").write_text(
        json.dumps({**config, "options": {**config["options"], "fear": 1}})
    )
    assert "'fear'" in says(capsys, ["resume", "r"], 2)


# --- forks ----------------------------------------------------------------------------------------


def test_a_fork_shares_the_steps_up_to_its_point(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--model", "noisy:0.4", "--vote", "single", "--max-steps", "25", "--seed", "1", "--out", "r", "--quiet"], 1)  # fmt: skip
    told = says(capsys, ["fork", "r", "--at", "9", "--out", "f"])
    assert "everystep resume f" in told
    assert moves(here / "f") == moves(here / "r")[:10]
    says(capsys, ["resume", "f", "--quiet"], 1)
    assert moves(here / "f") == moves(here / "r")  # the same seed goes the same way again
    says(capsys, ["fork", "r", "--at", "9", "--out", "e", "--seed", "2", "--continue", "--quiet"])
    assert moves(here / "e")[:10] == moves(here / "r")[:10]
    assert moves(here / "e") != moves(here / "r")
    told = says(capsys, ["fork", "r", "--at", "9", "--out", "g", "--model", "oracle", "--continue"])
    assert "done, solved" in told
    assert moves(here / "g")[:10] == moves(here / "r")[:10]
    stored = RunFolder(path=here / "g").config()
    assert stored["forked"]["step"] == moves(here / "r")[9][0]
    assert stored["options"]["model"] == "oracle"
    assert "no step 99" in says(capsys, ["fork", "r", "--at", "99", "--out", "h"], 1)
    assert "no step 'x/1'" in says(capsys, ["fork", "r", "--at", "x/1", "--out", "h"], 1)
    assert not (here / "h").exists()


# --- approvals ------------------------------------------------------------------------------------


@pytest.fixture
def shop(here: Path) -> Path:
    pytest.importorskip("pydantic")
    (here / "shop.py").write_text(SHOP)
    (here / "script.py").write_text(SCRIPT)
    return here


PAY = ["run", "pay three times", "--tools", "shop.py", "--model", "script:script.py", "--vote", "single", "--approve", "mailbox"]  # fmt: skip


def waiting(capsys: Capture) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(says(capsys, ["approve", "r", "--json"]))
    return found


def test_a_risky_act_waits_for_exactly_its_grant(capsys: Capture, shop: Path) -> None:
    booked = shop / "booked.txt"
    told = says(capsys, [*PAY, "--wait", "0", "--out", "r"], 3)
    assert "everystep approve r, then everystep resume r" in told
    assert not booked.exists()
    says(capsys, ["resume", "r"], 3)
    assert not booked.exists()  # nobody has answered
    (one,) = waiting(capsys)
    listed = says(capsys, ["approve", "r"])
    assert '{"name":"pay","arguments":{"amount":10}}' in listed
    assert "no open request" in says(capsys, ["approve", "r", "--grant", "zzz"], 1)
    assert "everystep resume r" in says(capsys, ["approve", "r", "--grant", one["id"][:8]])
    says(capsys, ["resume", "r"], 3)
    assert booked.read_text() == "10\n"
    (two,) = waiting(capsys)
    assert two["id"] != one["id"]
    edit = '[{"name": "pay", "arguments": {"amount": 7}}]'
    says(capsys, ["approve", "r", "--edit", two["id"], edit])
    says(capsys, ["resume", "r"], 3)
    (edited,) = waiting(capsys)  # after a restart the edited action is asked about like any other
    assert booked.read_text() in ("10\n", "10\n7\n")
    says(capsys, ["approve", "r", "--deny", edited["id"], "--reason", "enough"])
    assert "nothing waits" in says(capsys, ["approve", "r"])
    assert "enough" in says(capsys, ["resume", "r"], 3)


def test_a_live_run_takes_the_answer_of_another_process(capsys: Capture, shop: Path) -> None:
    process = start(*PAY, "--out", "r")
    try:
        granted: set[str] = set()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            mailbox = shop / "r" / "approvals.sqlite"
            for one in waiting(capsys) if mailbox.exists() else ():
                if one["id"] not in granted:
                    granted.add(one["id"])
                    assert "the run is alive" in says(capsys, ["approve", "r", "--grant", one["id"]])
            time.sleep(0.1)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0, out
    assert (shop / "booked.txt").read_text() == "10\n20\n30\n"
    assert len(granted) == 3


def test_nobody_to_ask_means_that_nothing_risky_happens(capsys: Capture, shop: Path) -> None:
    words = [word if word != "mailbox" else "never" for word in PAY]
    told = says(capsys, [*words, "--out", "r"], 1)
    assert "refused" in told
    assert not (shop / "booked.txt").exists()


def test_every_act_of_a_simulated_world_can_be_asked_about(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--ask", "every", "--approve", "mailbox", "--wait", "0", "--out", "r"], 3)
    (one,) = waiting(capsys)
    assert one["step"] == "main/0"
    assert one["action"]["text"].startswith("move 1")


# --- looking --------------------------------------------------------------------------------------


def test_follow_shows_a_live_run_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = start("run", *LONG, "--quiet", "--max-steps", "1500", "--out", str(path))
    while not (path / "journal.sqlite").exists():
        time.sleep(0.02)
        assert process.poll() is None
    done = subprocess.run([*EVERYSTEP, "show", str(path), "--follow"], capture_output=True, text=True, timeout=120)  # fmt: skip
    process.communicate()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("ended: truncated after 1,500 steps")
    assert any(line.startswith("step main/1499 ") for line in lines)


def test_follow_of_a_stopped_run_says_so(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--ask", "every", "--approve", "mailbox", "--wait", "0", "--out", "r"], 3)
    told = says(capsys, ["show", "r", "--follow"])
    assert "waits for approval at main/0" in told
    assert "everystep resume r" in told


def test_one_step_is_shown_with_its_votes(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--model", "noisy:0.3", "--out", "r", "--quiet"])
    assert "5 votes for move 1 from b to a" in says(capsys, ["show", "r", "--step", "4"])
    body = json.loads(says(capsys, ["show", "r", "--step", "4", "--json"]))
    assert [event["event"] for event in body["before"]] == ["vote"]
    assert json.loads(says(capsys, ["show", "r", "--json"]))["steps"] == 15
    assert "no step 15" in says(capsys, ["show", "r", "--step", "15"], 2)


def test_head_tail_totals_and_single_steps_are_those_of_the_whole_journal(tmp_path: Path) -> None:
    words = ["--environment", "hanoi", "--options", "disks=11", "start_from=full", "--model", "noisy:0.3"]
    assert main(["run", *words, "--vote", "ahead:5", "--out", str(tmp_path / "r"), "--quiet"]) == 0
    with Journal.read(tmp_path / "r" / "journal.sqlite") as journal:
        steps = [event.body for event in journal.events(kinds={Kind.STEP})]
        found = totals(journal)
        assert found.steps == len(steps) >= 2047
        assert found.cost["samples"] == sum(one["cost"]["samples"] for one in steps)
        assert [one.step for one in head(journal, 4)] == steps[:4]
        assert [one.step for one in tail(journal, 300)] == steps[-300:]
        for number in (0, 1, 7, 1023, len(steps) - 1):
            event = find_step(journal, number)
            assert event is not None
            assert event.body == steps[number]
        assert find_step(journal, len(steps)) is None


# --- forecasts ------------------------------------------------------------------------------------


def test_a_forecast_says_what_a_run_then_takes(capsys: Capture, here: Path) -> None:
    words = ["--environment", "hanoi", "--options", "disks=8", "start_from=full"]
    told = json.loads(says(capsys, ["forecast", *words, "--states", "60", "--json"]))
    success, forecast = told["calibration"]["success"], told["forecast"]
    assert success["low"] < 0.9 < success["high"]
    assert forecast["steps"] == 255
    assert forecast["used"] in (4, 5)
    vote = f"ahead:{forecast['used']}"
    rows = says(capsys, ["run", *words, "--vote", vote, "--out", "r", "--json"]).splitlines()
    taken = json.loads(rows[-1])["cost"]["samples"]
    assert taken == pytest.approx(forecast["calls"], rel=0.1)
    again = json.loads(says(capsys, ["forecast", "r", "--json"]))
    assert again["calibration"]["success"]["low"] < 0.9 < again["calibration"]["success"]["high"]
    assert again["calibration"]["correlated"] is None


def test_a_forecast_names_the_steps_that_no_margin_saves(capsys: Capture, here: Path) -> None:
    words = ["--environment", "hanoi", "--options", "disks=8", "start_from=full", "--states", "60"]
    told = says(capsys, ["forecast", *words, "--model", "noisy:0.2,correlated=0.4"])
    assert "steps that no margin can save" in told
    named = [line.split(":")[0].strip() for line in told.splitlines() if "20 wrong, 0 right" in line]
    assert named
    body = json.loads(says(capsys, ["forecast", *words, "--model", "noisy:0.2,correlated=0.4", "--json"]))
    assert set(named) <= set(body["forecast"]["doomed"])
    assert body["forecast"]["chance"]["value"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--target", "2"], "target"),
        (["--view", "history"], "needs a window"),
        (["--environment", "hanoi", "--options", "disks=20", "start_from=full", "--walk", "50"], "--steps"),
        (["nowhere"], "nowhere"),
    ],
)
def test_a_wrong_forecast_is_refused(capsys: Capture, here: Path, words: list[str], expected: str) -> None:
    assert expected in says(capsys, ["forecast", *words], 1 if words == ["nowhere"] else 2)


def test_a_run_without_votes_says_nothing_about_errors(capsys: Capture, here: Path) -> None:
    says(capsys, ["run", *HANOI, "--model", "oracle", "--vote", "single", "--out", "r", "--quiet"])
    assert "did not vote" in says(capsys, ["forecast", "r"], 2)
    assert "--model has no effect" in says(capsys, ["forecast", "r", "--model", "oracle"], 2)


@pytest.mark.slow
def test_a_journal_of_a_million_steps_is_shown_in_bounded_memory(tmp_path: Path) -> None:
    from everystep.core.trace import Event
    from everystep.run.journal_file import write_fresh

    path = tmp_path / "journal.sqlite"
    step = {
        "observation": {"text": "peg a : 3 2 1"},
        "action": {"text": "move 1 from a to b"},
        "cost": {"samples": 3.0},
    }

    def events() -> Iterator[Event]:
        yield Event(seq=1, kind=Kind.RUN, body={"command": "run", "options": {}})
        yield Event(seq=2, kind=Kind.TASK, body={"id": "t", "instruction": "go", "environment": "hanoi"})
        seq = 3
        for number in range(1_000_000):
            yield Event(seq=seq, kind=Kind.STEP, body={"id": f"main/{number}", "parent": None, "index": number, "reward": 0.0, **step})  # fmt: skip
            seq += 1
            if number % 1000 == 999:
                body = {"steps": number + 1, "reward": 0.0, "cost": {"samples": 3.0 * (number + 1)}}
                yield Event(seq=seq, kind=Kind.CHECKPOINT, body=body)
                seq += 1

    write_fresh(path, events()).replace(path)
    measured = "import sys; from everystep.app.cli import main; code = main(sys.argv[1:]); print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); sys.exit(code)"  # fmt: skip
    for words in (["show", str(path)], ["show", str(path), "--step", "777777"], ["view", str(path), "--out", str(tmp_path / "p.html")]):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", measured, *words], capture_output=True, text=True, env=dict(os.environ))  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[-1]) < 200_000, done.stdout
    assert (tmp_path / "p.html").stat().st_size < 2_000_000
