"""The page of a task's run: what it holds, that it stays small, and that nothing a model wrote runs."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from everystep.app.page_run import ENDS, NODES, NOTABLE, POINTS
from everystep.app.viewer import write_page
from everystep.core.acts import (
    Answer,
    Approval,
    ApprovalRequest,
    Effect,
    Reversal,
    Risk,
    action_digest,
)
from everystep.core.records import Action, Observation, Step, Task
from everystep.core.trace import Kind
from everystep.run.journal import Journal
from everystep.run.nodes import Alternative, Edit, Node, NodeKind
from everystep.run.plan import Plan

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> <!-- ]]> {{script}} ${1}"
    " \x00\x1b[31m \u202eevil\u2066 \u2028 \ud800 👩‍🚀 ' \" & javascript:alert(3)"
)


class Page(HTMLParser):
    """The elements of a page, and its data."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._raw, self._inside = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        self._raw += data if self._inside else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    @property
    def data(self) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self._raw, validate=True)))


def made_run(path: Path, text: str = "", *, steps: int = 4, nodes: int = 0) -> Path:
    """A run with a plan that branches, fails and is repaired, votes, flags and a question; ``text`` stands in everything."""
    ticks = count(1)
    with Journal.create(
        path, {"command": "run", "options": {"model": "m" + text}}, clock=lambda: float(next(ticks))
    ) as journal:
        journal.append(Kind.TASK, Task(id="t", instruction="book a trip " + text, environment="shop"))
        plan = Plan(
            [
                Node(id="find", instruction="find flights " + text),
                Node(id="hotel", instruction="find a hotel"),
                Node(id="book", instruction="book", needs=("find", "hotel"), kind=NodeKind.COMPOSITE),
                Node(id="mail", instruction="mail", needs=("book",), alternatives=(Alternative(instruction="post"),)),
                *(Node(id=f"n{i}", instruction=f"more {i}", needs=("mail",)) for i in range(nodes)),
            ]
        )  # fmt: skip
        journal.append_many((Kind.PLAN, edit) for edit in plan.edits())
        numbers = count()

        def edit(one: Edit) -> None:
            plan.apply(one)
            journal.append(Kind.PLAN, one)

        def step(node: str, *, tally: dict[str, float] | None = None, flagged: str | None = None) -> None:
            index = next(numbers)
            name = f"{node}/{index}"
            if flagged is not None:
                body = {"step": name, "role": "agent", "sample": 1, "flag": "format" + text, "reason": "bad " + text, "text": flagged}  # fmt: skip
                journal.append(Kind.FLAG, body)
            if tally is not None:
                journal.append(Kind.VOTE, {"step": name, "role": "agent", "tally": tally})
            made = Step(
                id=name,
                parent=None,
                index=index,
                observation=Observation(text=f"page {index} {text}"),
                action=Action(text=f"click {index} {text}"),
                reward=0.5,
                node=node,
                cost={"samples": 3.0, "discarded": float(flagged is not None), "usd": 0.001},
            )
            journal.append(Kind.STEP, made)

        for node in ("find", "hotel"):
            edit(plan.started(node))
            for number in range(steps):
                step(node, tally={"a": 2.0, "b" + text: 1.0} if number % 2 else None, flagged="junk " + text if number == 0 else None)  # fmt: skip
            edit(plan.finished(node, "found " + text))
        edit(plan.expanded("book", [Node(id="pay", instruction="pay " + text)]))
        edit(plan.started("pay"))
        act = Action(text="pay 420 " + text)
        name = f"pay/{2 * steps}"
        effect = Effect(name="pay", reversal=Reversal.IRREVERSIBLE, risk=Risk.HIGH)
        request = ApprovalRequest(id="q", run="r", step=name, action=act, digest=action_digest(act), effect=effect, reason="risk " + text)  # fmt: skip
        journal.append(Kind.ASKED, request)
        journal.append(Kind.ANSWERED, Approval(request="q", step=name, digest=request.digest, answer=Answer.GRANTED, by="ana" + text))  # fmt: skip
        step("pay")
        edit(plan.finished("pay"))
        edit(plan.started("mail"))
        edit(plan.failed("mail", "no server " + text))
    return path


def page_of(journal: Path) -> tuple[str, Page]:
    text = write_page(journal, journal.with_suffix(".html")).read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_holds_plan_votes_flags_approvals_and_costs(tmp_path: Path) -> None:
    _, page = page_of(made_run(tmp_path / "j.sqlite"))
    data = page.data
    assert data["kind"] == "run"
    nodes = {node["id"]: node for node in data["plan"]["nodes"]}
    assert {name: node["status"] for name, node in nodes.items()} == {
        "find": "done", "hotel": "done", "book": "done", "pay": "done", "mail": "failed", "mail~1": "ready"
    }  # fmt: skip
    assert nodes["book"]["needs"] == ["find", "hotel"]
    assert nodes["pay"]["parent"] == "book"
    steps = data["steps"]
    assert [step["index"] for step in steps] == list(range(9))
    assert steps[1]["tally"] == [["a", 2.0], ["b", 1.0]]
    assert steps[0]["flags"][0]["text"] == "junk "
    assert [one["what"] for one in steps[8]["approvals"]] == ["asked", "granted"]
    assert [one["what"] for one in data["approvals"]] == ["asked", "granted"]
    assert data["flags"] == [["format", 2]]
    assert sum(row["usd"] for row in data["curve"]) == pytest.approx(0.009)


def test_hostile_text_changes_nothing_but_the_data(tmp_path: Path) -> None:
    plain, _ = page_of(made_run(tmp_path / "plain.sqlite"))
    text, page = page_of(made_run(tmp_path / "hostile.sqlite", HOSTILE))
    strip = re.compile(r'(<script type="text/plain" id="data">)[A-Za-z0-9+/=]*(</script>)')
    assert strip.sub(r"\1\2", text) == strip.sub(r"\1\2", plain)
    assert page.data["steps"][0]["flags"][0]["text"] == "junk " + HOSTILE
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "link", "object")]


def test_a_long_run_is_sampled_and_says_so(tmp_path: Path) -> None:
    steps, nodes = 1500, 2 * NODES
    text, page = page_of(made_run(tmp_path / "j.sqlite", steps=steps, nodes=nodes))
    data = page.data
    indices = [step["index"] for step in data["steps"]]
    assert indices == sorted(set(indices))
    assert set(range(ENDS)) | set(range(2 * steps + 1 - ENDS, 2 * steps + 1)) <= set(indices)
    contested = [step for step in data["steps"][ENDS:-ENDS] if step.get("contested")]
    assert 0.8 * NOTABLE <= len(contested) <= NOTABLE
    assert len(data["curve"]) <= POINTS
    assert sum(row["usd"] for row in data["curve"]) == pytest.approx(0.001 * (2 * steps + 1))
    assert len(data["plan"]["nodes"]) <= NODES
    assert any("of 3,001 steps" in note for note in data["notes"])
    assert any(f"of {nodes + 6} nodes" in note for note in data["notes"])
    assert len(text) < 1_000_000


def test_a_run_that_has_not_begun_has_a_page(tmp_path: Path) -> None:
    Journal.create(tmp_path / "j.sqlite", {"command": "run", "options": {}}).close()
    _, page = page_of(tmp_path / "j.sqlite")
    assert page.data["steps"] == []
    assert page.data["plan"] is None


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "seen"),
    [
        ("", "Costs over the steps"),
        ("#view=plan&node=mail", "Step 4 of the plan: mail"),
        ("#view=steps&only=flags", "Discarded answers"),
        ("#view=steps&step=pay/8", "Questions and answers"),
        ("#view=constructor", "Costs over the steps"),
        ("#view=plan&node=nothing", "Choose a step of the plan"),
    ],
)
def test_a_browser_draws_every_view_of_a_hostile_run(tmp_path: Path, place: str, seen: str) -> None:
    page = tmp_path / "j.html"
    write_page(made_run(tmp_path / "j.sqlite", HOSTILE), page)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", f"file://{page}{place}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert 'data-ready="yes"' in done.stdout
    assert "<h1>This page cannot be shown" not in done.stdout
    assert seen in done.stdout
    assert "<title>owned" not in done.stdout
    assert "CONSOLE" not in done.stderr
    shown = Page(done.stdout).tags
    assert not [tag for tag, _ in shown if tag in ("img", "iframe")]
    if "plan" in place:
        assert sum(tag == "rect" for tag, _ in shown) == 6
