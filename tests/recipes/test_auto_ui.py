"""Auto-UI on the packaged episodes; the browser's part in a Chromium."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError
from everystep.environments.web.miniwob import MiniWoB
from everystep.recipes.auto_ui import (
    BROWSED,
    CHAINS,
    PAGES,
    Config,
    asked,
    browsed,
    habitual,
    pages,
    run,
    split,
)
from everystep.run.folder import create

SMALL = Config(data="sample", parts="history", updates=2, size="0.02M", seeds=1, demonstrations=1, browser_updates=2, tests=1)  # fmt: skip
chromium = pytest.mark.skipif(
    find_spec("miniwob") is None or shutil.which("chromium") is None, reason="no miniwob or no chromium"
)


def test_episodes_are_on_one_side_and_seeds_divide_them_otherwise() -> None:
    train, test = split(SMALL, 0)
    assert not {one.id for one in train} & {one.id for one in test}
    assert len(test) == round(0.2 * (len(train) + len(test)))
    assert {one.id for one in split(SMALL, 1)[1]} != {one.id for one in test}


def test_arms_differ_in_the_prompt_or_in_the_plan_and_end_in_the_same_decisions() -> None:
    train, _ = split(SMALL, 0)
    rows = {name: asked(chain, train) for name, chain in CHAINS.items()}
    ends = {tuple(answer.rpartition("decision: ")[2] for _, answer in pairs) for pairs in rows.values()}
    assert len(ends) == 1
    assert [p for p, _ in rows["history 8, plan"]] == [p for p, _ in rows["history 8"]]
    assert sum(len(p) for p, _ in rows["history 8, plan"]) > sum(len(p) for p, _ in rows["history 1"])


def test_habits_are_scored_by_the_published_check() -> None:
    assert habitual(SMALL, 0, last=False)["type"] == pytest.approx(
        sum(s.gold.act.kind == "click" or (s.gold.act.kind == "open" and bool(s.gold.boxes)) for one in split(SMALL, 0)[1] for s in one.steps)
        / sum(len(one.steps) for one in split(SMALL, 0)[1])
    )  # fmt: skip


def test_it_runs_and_a_wrong_part_is_refused(tmp_path: Path) -> None:
    folder = create(tmp_path / "run", kind="reproduce", options={}, version="0")
    told = run(SMALL, folder)
    assert {f"type {name}" for name in ("most frequent", "transitions", *CHAINS)} < set(told)
    assert "history 8, plan" in (folder.path / "history" / "report.md").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="browsers"):
        run(replace(SMALL, parts="browsers"), folder)


@chromium
def test_pages_come_in_turn_and_are_apart() -> None:
    train, test = pages("train", 0, 3), pages("test", 0, 3)
    assert [task.tags["task"] for task in train] == [*PAGES] * 3
    assert {task.tags["task"] for task in pages("test", 1, 1)} == set(PAGES)
    assert not {task.seed for task in train} & {task.seed for task in test}
    with pytest.raises(ConfigError, match="click-test"):
        MiniWoB(page="click-test-2,click-tests").pages()


@chromium
@pytest.mark.slow
def test_an_untrained_model_operates_the_browser() -> None:
    found = browsed(SMALL, CHAINS[BROWSED[-1]], 0)
    assert 0.0 <= found["success"] <= 1.0
    assert set(PAGES.values()) < set(found)
