from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.environments.tooluse.backinstruct import made
from everystep.environments.tooluse.toolgraph import tool_graph
from everystep.evaluate.plan_damage import DAMAGES, damaged
from everystep.evaluate.plan_metrics import plan_counts
from everystep.recipes.taskbench import SHAPES, Config, _cases, critics_table, lexical, repair_table, run
from everystep.run.folder import STUDY, create
from everystep.run.plan_repair import Lexicon

GRAPH = tool_graph("huggingface")


def test_damage_is_one_fault_and_is_repeatable() -> None:
    for shape in SHAPES:
        for seed in range(5):
            plan = made(GRAPH, *shape, seed).plan
            for kind in DAMAGES:
                harmed = damaged(plan, GRAPH, kind, Random(seed))
                assert harmed == damaged(plan, GRAPH, kind, Random(seed))
                if harmed is None:
                    continue
                counts = plan_counts(harmed, plan, GRAPH)
                sizes = {"tool skipped": -1, "tool added": 1}
                assert len(harmed.calls) - len(plan.calls) == sizes.get(kind, 0)
                assert counts["calls_unknown"] == float(kind.startswith("name"))
                wrong = len(plan.calls) - counts["node_strict_hit"]
                assert wrong == float(kind != "tool added")
    with pytest.raises(ConfigError, match="wrong tool"):
        damaged(plan, GRAPH, "wrong tol", Random(0))


def test_the_critics_see_what_no_graph_can_hide() -> None:
    rows = dict(line.split(" | ")[::2] for line in critics_table(Config(made=2))[2:])
    for fault in (
        "a literal is not told",
        "a file is told that no call uses",
        "name restyled",
        "name made up",
    ):
        assert rows[f"| {fault}"] == "100.0% |"


def test_repair_gives_names_back() -> None:
    lines = repair_table(_cases(GRAPH, Config(made=4)), GRAPH, Config())
    found = {tuple(line.split(" | ")[::2][:2]): line.split(" | ") for line in lines[2:]}
    before, after = found["| name restyled", "as it is"], found["| name restyled", "path"]
    assert float(after[3].split()[0]) > 0.9 > float(before[3].split()[0])
    assert (before[5], after[5]) == ("100.0% |", "0.0% |")
    assert all(float(cells[3].split()[0]) == 1 for (kind, _), cells in found.items() if kind == "| none")


def test_the_planner_knows_no_tools_that_there_are_not() -> None:
    lexicon = Lexicon(GRAPH)
    for text in ("", "Hello!", "Transcribe the speech in talk.mp3, then classify it.", "\x00" * 50):
        plan = lexical(text, lexicon)
        assert {*plan.tools} <= {*GRAPH.tools}
        assert len({*plan.tools}) == len(plan.tools)


def test_the_tables_without_published_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("everystep.recipes.taskbench.DOMAINS", {"huggingface": True})
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    folder = create(tmp_path / "out", kind=STUDY, options={}, version="0")
    assert run(Config(made=1), folder) == {"domains": 1.0, "sets": 1.0}
    page = (folder.path / "report.md").read_text()
    assert "| huggingface | 23 | 225 | - | - | - | 8 | 0 |" in page
