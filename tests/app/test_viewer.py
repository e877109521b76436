from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import made_trace

from everystep.app.page_choice import choose, spread
from everystep.app.page_data import TEXT_LIMIT, TOKEN_LIMIT
from everystep.app.viewer import SIZE_LIMIT, write_page
from everystep.core.errors import ConfigError, StoreError
from everystep.core.trace import Kind, Trace, body_of
from everystep.credit.columns import columns
from everystep.credit.estimators import estimator
from everystep.credit.explain import explain, row_of
from everystep.credit.terms import assign, step_credits
from everystep.run.journal import Journal

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> <!-- ]]> {{script}} ${1} \x00\x07\x1b[31m"
    " \u202eevil\u2066 \u2028 \ud800 👩‍🚀 ' \" & javascript:alert(3)"
)


class Page(HTMLParser):
    """The elements of a page, with the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._at = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        self._at = "data" if values.get("id") == "data" else tag

    def handle_data(self, data: str) -> None:
        self.texts[self._at] = self.texts.get(self._at, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._at = ""

    @property
    def data(self) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self.texts["data"], validate=True)))


def page_of(trace: Trace, folder: Path, **options: Any) -> tuple[str, Page]:
    out = write_page(trace, folder / "page.html", **{"estimator": "gigpo", **options})
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def test_a_page_is_self_contained_and_lets_only_its_own_script_run(tmp_path: Path) -> None:
    text, page = page_of(made_trace(), tmp_path)
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text.replace(page.texts["data"], ""))
    for tag, values in page.tags:
        assert tag not in ("link", "img", "iframe", "base", "object", "form")
        assert "src" not in values
        assert not [name for name in values if name.startswith("on") or name == "style"]
    policy = next(
        values["content"] for _, values in page.tags if values.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind in ("script", "style"):
        digest = base64.b64encode(sha256(page.texts[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in policy
    assert "MIT License" in page.texts["script"]


def test_no_script_of_the_page_can_turn_data_into_markup() -> None:
    assets = Path(write_page.__code__.co_filename).parent / "assets"
    for path in assets.rglob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        ), path.name


def test_hostile_output_changes_nothing_but_the_data(tmp_path: Path) -> None:
    plain, _ = page_of(made_trace(), tmp_path)
    text, page = page_of(made_trace(text=HOSTILE), tmp_path)
    strip = re.compile(r'(<script type="text/plain" id="data">)[A-Za-z0-9+/=]*(</script>)')
    assert strip.sub(r"\1\2", text) == strip.sub(r"\1\2", plain)
    assert page.data["episodes"][0]["steps"][0]["observation"].endswith(HOSTILE)


def test_huge_texts_are_cut_with_a_note(tmp_path: Path) -> None:
    trace = made_trace(iterations=1, tasks=1, group_size=2, text="é" * 200_000)
    _, page = page_of(trace, tmp_path)
    seen = page.data["episodes"][0]["steps"][0]["observation"]
    assert len(seen) < TEXT_LIMIT + 100
    assert re.search(r"… \(\d+ more characters\)$", seen)
    assert TOKEN_LIMIT > 0


def test_the_terms_on_the_page_are_those_of_explain_and_add_up(tmp_path: Path) -> None:
    trace = made_trace(iterations=2)
    _, page = page_of(trace, tmp_path, estimator="gigpo")
    table = columns(trace.groups(phase="train", iteration=1))
    credit = assign(table, estimator("gigpo"), rng=np.random.default_rng(1))
    compared = 0
    for one in page.data["episodes"]:
        if not one["id"].startswith("1."):
            continue
        for step in one["steps"]:
            why = explain(table, credit, row_of(table, step["id"], trajectory=one["id"]))
            assert step["credit"] == pytest.approx(why.credit, abs=1e-6)
            assert sum(term["contribution"] for term in step["terms"]) == pytest.approx(why.credit, abs=1e-6)
            for shown, term in zip(step["terms"], why.terms, strict=True):
                assert (shown["name"], shown["key"], shown["size"], shown["rows"]) == (term.name, term.key, term.entries, len(term.members))  # fmt: skip
                for key, value in (("value", term.value), ("mean", term.mean), ("std", term.std), ("weight", term.weight), ("contribution", term.contribution)):  # fmt: skip
                    assert shown[key] == pytest.approx(value, abs=1e-6)
            compared += 1
    assert compared > 10


def test_return_to_go_tokens_and_masks(tmp_path: Path) -> None:
    trace = made_trace(iterations=1)
    _, page = page_of(trace, tmp_path)
    for one in page.data["episodes"]:
        rewards = [step["reward"] for step in one["steps"]]
        assert [step["rest"] for step in one["steps"]] == pytest.approx(
            [sum(rewards[at:]) for at in range(len(rewards))]
        )
        for step in one["steps"]:
            record = trace.steps[step["id"]].tokens
            assert record is not None
            assert step["tokens"]["ids"] == list(record.ids)
            assert step["tokens"]["allowed"] == [5, 1]
            assert [span[2] for span in step["tokens"]["spans"]] == [span.kind.value for span in record.spans]


@pytest.mark.slow
def test_a_large_run_stays_small_and_says_what_is_left_out(tmp_path: Path) -> None:
    trace = made_trace(iterations=100, tasks=12, group_size=8, steps=12, evaluate_every=10)
    out = write_page(trace, tmp_path / "page.html", estimator="gigpo")
    data = Page(out.read_text()).data
    assert out.stat().st_size < SIZE_LIMIT
    assert data["total"] == len(trace.endings) == len(data["index"]["rows"])
    assert data["stored"] == len(data["episodes"]) <= 200
    assert any(f"{data['stored']} of {data['total']}" in note for note in data["notes"])


def test_chosen_episodes_are_whole_groups_of_first_last_and_middle_iterations() -> None:
    trace = made_trace(iterations=30, tasks=12, group_size=8, steps=4)
    chosen = choose(trace.endings.values(), 200)
    by_group: dict[str, set[bool]] = {}
    for ending in trace.endings.values():
        by_group.setdefault(ending.group, set()).add(ending.id in chosen)
    assert all(len(states) == 1 for states in by_group.values())
    seen = {trace.endings[one].iteration for one in chosen if trace.endings[one].phase == "train"}
    assert {0, 29} < seen
    assert any(5 < one < 25 for one in seen)
    first = [
        ending.id for ending in trace.endings.values() if ending.phase == "train" and ending.iteration == 0
    ]
    assert set(first) <= chosen
    assert any(trace.endings[one].phase == "eval" for one in chosen)
    assert 180 <= len(chosen) <= 200


@pytest.mark.parametrize("limit", [0, 1, 3, 7, 50, 10_000])
def test_choosing_never_takes_more_than_the_limit(limit: int) -> None:
    endings = made_trace(iterations=5, tasks=2, group_size=4).endings
    chosen = choose(endings.values(), limit)
    assert len(chosen) == min(limit, len(endings)) if limit in (0, 10_000) else 0 < len(chosen) <= limit


def test_spread_is_a_permutation() -> None:
    for size in range(20):
        assert sorted(spread(range(size))) == list(range(size))


def test_an_empty_run_and_odd_numbers_give_a_page(tmp_path: Path) -> None:
    _, page = page_of(Trace(), tmp_path, estimator=None)
    assert page.data["total"] == 0
    trace = made_trace(iterations=1)
    trace.metrics.append(
        {"iteration": 7, "loss": float("nan"), "reward": float("inf"), "kind": "text", "flag": True}
    )
    _, page = page_of(trace, tmp_path)
    assert page.data["metrics"][-1] == {"iteration": 7}
    assert "loss was not a finite number at iteration 7." in page.data["notes"]


def test_stored_credit_is_shown_where_no_estimator_is_named(tmp_path: Path) -> None:
    trace = made_trace(iterations=1)
    _, page = page_of(trace, tmp_path, estimator=None)
    assert not [step for one in page.data["episodes"] for step in one["steps"] if "credit" in step]
    assert page.data["nocredit"]
    table = columns(trace.groups(phase="train", iteration=0))
    for one in step_credits(table, assign(table, estimator("gigpo"))):
        trace.credits.setdefault("gigpo", {})[f"{one.trajectory}:{one.step}"] = one
    _, page = page_of(trace, tmp_path, estimator=None)
    step = next(one for one in page.data["episodes"] if one["id"] == "0.0.0")["steps"][0]
    assert step["credit"] == pytest.approx(trace.credits["gigpo"]["0.0.0:0.0.0/0"].value, abs=1e-6)
    assert sum(term["contribution"] for term in step["terms"]) == pytest.approx(step["credit"], abs=1e-6)
    assert page.data["estimator"] == "gigpo"


def test_credit_of_other_options_than_the_runs_is_told(tmp_path: Path) -> None:
    trace = made_trace(iterations=1)
    table = columns(trace.groups(phase="train", iteration=0))
    row = next(row for row in trace.metrics if row.get("phase") == "train")
    notes = []
    for discount in (0.5, 0.9):
        row["credit_rms"] = assign(table, estimator("gigpo", discount=discount)).diagnostics.rms
        trace.run = {"estimator": {"name": "gigpo", "variant": "paper", "options": {"discount": 0.5}}}
        notes.append(page_of(trace, tmp_path, estimator=None)[1].data["notes"])
    assert not notes[0]
    assert "other options" in notes[1][0]


def test_a_run_folder_its_journal_and_its_trace_give_the_same_episodes(tmp_path: Path) -> None:
    trace = made_trace(iterations=1, tasks=1, group_size=2)
    folder = tmp_path / "my-run"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"recipe": "gigpo", "version": "0", "options": {"seed": 3}})
    )
    trace.run = {"estimator": {"name": "gigpo", "variant": "paper", "options": {}}}
    with Journal.create(folder / "journal.sqlite", trace.run) as journal:
        for kind, records in (
            (Kind.TASK, trace.tasks),
            (Kind.STEP, trace.steps),
            (Kind.TRAJECTORY, trace.endings),
        ):
            for record in records.values():
                journal.append(kind, body_of(record))
    first = Page(write_page(folder, tmp_path / "a.html", estimator=None).read_text()).data
    second = Page(
        write_page(folder / "journal.sqlite", tmp_path / "b.html", estimator="gigpo").read_text()
    ).data
    third = page_of(trace, tmp_path)[1].data
    assert first["episodes"] == second["episodes"]
    assert [one["id"] for one in first["episodes"]] == [one["id"] for one in third["episodes"]]
    assert first["name"] == second["name"] == "my-run"
    assert "gigpo" in first["summary"]
    assert first["estimator"].startswith("gigpo")


def test_bad_sources_and_names_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run"):
        write_page(tmp_path, tmp_path / "page.html", estimator=None)
    with pytest.raises(ConfigError, match="gigpo"):
        write_page(made_trace(iterations=1), tmp_path / "page.html", estimator="gigp")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write the page"):
        write_page(made_trace(iterations=1), tmp_path / "file" / "page.html", estimator=None)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser")
@pytest.mark.slow
@pytest.mark.parametrize("place", ["", "#view=episodes&q=door", "#episode=0.0.1&step=1", "#episode=nothing"])
def test_a_browser_draws_every_view_of_a_hostile_run(tmp_path: Path, place: str) -> None:
    trace = made_trace(text=HOSTILE)
    for at, odd in enumerate((1.0000003576, 1.0000004768, 1e-30, 1e300, -5.0)):
        one = {"ratio": 1 + at * 1e-7, "zero": 0.0, "tiny": at * 1e-30, "huge": at * 1e300, "odd": odd}
        trace.metrics.append({"phase": "train", "iteration": 6 + at, **one})
    write_page(trace, tmp_path / "page.html", estimator="gigpo")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path / 'page.html'}{place}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert 'data-ready="yes"' in done.stdout
    assert "<h1>This page cannot be shown" not in done.stdout
    assert "CONSOLE" not in done.stderr
    assert not [tag for tag, _ in Page(done.stdout).tags if tag in ("img", "iframe")]
