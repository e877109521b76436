"""Runs behind a server: names that cannot leave the folder, options that cannot loosen anything, runs that outlive who started them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everystep.app.run_desk import MOST_STEPS, Allowed, Look, RunDesk
from everystep.core.acts import Answer
from everystep.core.errors import ConfigError, StoreError
from everystep.core.records import Json
from everystep.run.folder import CONFIG, read_json

HANOI: dict[str, Json] = {
    "environment": "hanoi",
    "options": {"disks": 3, "start_from": "full"},
    "model": "oracle",
}


class Still(RunDesk):
    """A desk that starts no processes."""

    def _spawn(self, run: str, *words: str) -> None:
        self.spawned = [*getattr(self, "spawned", []), (run, *words)]


def until(look: Callable[[], Look], good: Callable[[Look], bool], seconds: float = 60.0) -> Look:
    end = time.monotonic() + seconds
    while not good(seen := look()):
        assert time.monotonic() < end, seen
        time.sleep(0.1)
    return seen


# --- what a client may say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"key": "AWS_SECRET_ACCESS_KEY"}, "'key' is not for clients"),
        ({"approve": "never"}, "'approve' is not for clients"),
        ({"reliability": 1.0}, "'reliability' is not for clients"),
        ({"wait": 0}, "'wait' is not for clients"),
        ({"in_doubt": "repeat"}, "'in_doubt' is not for clients"),
        ({"plan": "linear:/etc/passwd"}, "'plan' is not for clients"),
        ({"price": "0,0"}, "'price' is not for clients"),
        ({"out": "x"}, "'out' is not for clients"),
        ({"modle": "oracle"}, "Did you mean 'model'"),
        ({"model": "local:/etc"}, "'local:/etc' is not offered"),
        ({"model": "chat:x@http://169.254.169.254/v1"}, "is not offered"),
        ({"tools": ["shell"]}, "tool 'shell' is not offered"),
        ({"options": {"path": "/etc/passwd"}}, "words without paths"),
        ({"options": {"id": "os:system"}}, "words without paths"),
        ({"options": {"id": ["a"]}}, "expected a number"),
        ({"seed": "1"}, "'seed' is '1'"),
        ({"max_steps": True}, "'max_steps' is True"),
    ],
)
def test_options_that_could_loosen_or_reach_something_are_refused(
    tmp_path: Path, options: dict[str, Json], why: str
) -> None:
    desk = Still(tmp_path / "runs")
    with pytest.raises(ConfigError, match=why.replace("(", r"\(")):
        desk.start(options)
    assert desk.names() == []


def test_what_the_owner_names_is_offered_and_asks(tmp_path: Path) -> None:
    model = "chat:q@http://127.0.0.1:1/v1"
    desk = Still(tmp_path, allowed=Allowed(models=(model,), tools=("shell",)))
    name = desk.start({"model": model, "tools": ["shell"], "text": "list the files"})
    stored = read_json(tmp_path / name / CONFIG)["options"]
    assert (stored["tools"], stored["approve"], stored["reliability"]) == (["shell"], "mailbox", 0.5)


def test_texts_of_clients_are_never_flags(tmp_path: Path) -> None:
    desk = Still(tmp_path)
    name = desk.start(
        {**HANOI, "text": "--approve never --out /tmp"}, plan=["--model=random", "# note", "go"]
    )
    assert desk.spawned == [(name,)]
    stored = read_json(tmp_path / name / CONFIG)["options"]
    assert stored["text"] == "--approve never --out /tmp"
    assert stored["plan"] == f"linear:{tmp_path.resolve() / name / 'plan.txt'}"
    for plan in (["a\nb"], ["x" * 1000], ["a"] * 501, ["#"]):
        with pytest.raises(ConfigError):
            desk.start(HANOI, plan=plan)
    with pytest.raises(ConfigError, match="'seed' cannot be changed"):
        desk.resume(name, {"seed": 3})
    with pytest.raises(ConfigError, match="'max_steps' is '5 --approve never'"):
        desk.resume(name, {"max_steps": "5 --approve never"})
    with pytest.raises(ConfigError, match="not of the form resource=number"):
        desk.resume(name, {"budget": "--approve=never"})
    desk.resume(name, {"budget": "steps=9", "max_steps": 7})
    assert desk.spawned[-1] == (name, "--budget=steps=9", "--max-steps=7")


@given(
    st.one_of(
        st.text(max_size=80), st.sampled_from(["..", ".", "", "a/../b", "/etc", "hanoi-1\0", "Hanoi-1"])
    )
)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_names_cannot_leave_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("desk")
    desk = Still(root / "runs")
    for call in (desk.look, desk.waiting, desk.request, desk.resume):
        with pytest.raises(StoreError, match="there is no run"):
            call(name)


def test_a_link_out_of_the_folder_is_no_run(tmp_path: Path) -> None:
    outside, desk = Still(tmp_path / "other"), Still(tmp_path / "runs")
    name = outside.start(HANOI)
    (tmp_path / "runs" / "hanoi-1").symlink_to(tmp_path / "other" / name)
    with pytest.raises(StoreError, match="there is no run"):
        desk.look("hanoi-1")
    assert desk.names() == []


def test_there_is_a_limit_to_runs_at_once(tmp_path: Path) -> None:
    desk = RunDesk(tmp_path, allowed=Allowed(runs=0))
    with pytest.raises(ConfigError, match="as many as this server allows"):
        desk.start(HANOI)


# --- a run that goes on by itself ---------------------------------------------------------------


def test_a_run_ends_by_itself_and_is_seen_in_bounded_size(tmp_path: Path) -> None:
    desk = RunDesk(tmp_path)
    name = desk.start({**HANOI, "options": {"disks": 6, "start_from": "full"}})
    assert name == "hanoi-1"
    seen = until(lambda: desk.look(name, steps=999), lambda one: not one.busy)
    assert (seen.state, seen.success, seen.steps, seen.reward) == ("done", True, 63, 1.0)
    assert len(seen.last) == MOST_STEPS
    assert seen.last[-1].id == "main/62"
    assert sum(len(str(one)) for one in seen.last) < MOST_STEPS * 1500
    with pytest.raises(ConfigError, match="finished: done"):
        desk.resume(name)


def test_a_run_that_cannot_begin_says_why(tmp_path: Path) -> None:
    desk = RunDesk(tmp_path)
    name = desk.start({"environment": "atlantis"})
    seen = until(lambda: desk.look(name), lambda one: not one.busy)
    assert seen.state == "broken"
    assert "unknown environment 'atlantis'" in seen.why


def test_a_waiting_run_outlives_its_server_and_goes_on_when_it_is_answered(tmp_path: Path) -> None:
    first = RunDesk(tmp_path)
    name = first.start(
        {**HANOI, "options": {"disks": 2, "start_from": "full"}, "ask": "every", "vote": "single"}
    )
    until(lambda: first.look(name), lambda one: one.state == "waiting")
    process = first._mine.pop(name)
    process.kill()  # the run dies while it waits; the server goes too
    process.wait()
    second = RunDesk(tmp_path)
    assert second.look(name).state == "waiting"
    steps = 0
    while steps < 2:
        asked = second.request(name)
        assert asked is not None
        with pytest.raises(StoreError, match="Look at the request again"):
            second.reply(name, asked.id, Answer.GRANTED, digest="0" * 64, by="x")
        second.reply(name, asked.id, Answer.GRANTED, digest=asked.digest, by="x")
        with pytest.raises(StoreError, match="no open request"):
            second.reply(name, asked.id, Answer.GRANTED, digest=asked.digest, by="x")
        steps = until(
            lambda: second.look(name),
            lambda one, now=steps: one.steps > now and (one.waiting or not one.busy),
        ).steps
    second._mine[name].kill()
