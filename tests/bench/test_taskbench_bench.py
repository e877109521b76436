from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from everystep.bench.benchmark import Ask
from everystep.bench.catalog import benchmark
from everystep.bench.running import Row
from everystep.bench.summary import measure
from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling
from everystep.environments.tooluse.taskbench import gold
from everystep.models.scripted import Scripted

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "taskbench"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="EVERYSTEP_DATA/taskbench is not there")
BEST = {"edit_distance": 0.0, "flawed": 0.0, "invalid": 0.0}


def measured(options: dict[str, object], make, most: int = 10_000) -> dict[str, float]:  # type: ignore[no-untyped-def]
    one = benchmark("taskbench", options)
    cases = list(one.cases())[:most]
    rows = [
        Row(case=case.id, run=0, problem=case.problem, numbers=scored.numbers, tags=case.tags)
        for case, scored in zip(cases, one.open(make)([Ask(case=case) for case in cases]), strict=True)
    ]
    return {it.name: measure(it, rows).value for it in one.measures}


@pytest.mark.parametrize("kind", ["any", "dag"])
def test_the_oracle_is_perfect(kind: str) -> None:
    found = measured({"number": 40, "kind": kind}, lambda oracle: oracle)
    assert found == {name: BEST.get(name, 1.0) for name in found}


@needs_data
@pytest.mark.parametrize("domain", ["tmdb", "ultratool"])
def test_gold_is_perfect_on_published_cases(domain: str) -> None:
    found = measured({"domain": domain, "cases": "published"}, lambda oracle: oracle, most=300)
    flawed = found.pop("flawed")  # the published gold of tmdb uses edges that its own graph lacks
    assert flawed < (0.4 if domain == "tmdb" else 0.01)
    assert found == {name: BEST.get(name, 1.0) for name in found}


@pytest.mark.parametrize(
    ("answer", "invalid"),
    [("", 1.0), ("I would translate it.", 1.0), ('{"task_nodes": []}', 0.0), ("[" * 9000, 1.0), ('{"task_nodes": [{"task": []}]}', 1.0)],
)  # fmt: skip
def test_nothing_earns_nothing(answer: str, invalid: float) -> None:
    found = measured({"number": 8}, lambda oracle: Scripted(lambda request: answer))
    assert found.pop("invalid") == invalid
    assert found.pop("edit_distance") == 1.0
    assert set(found.values()) == {0.0}


def test_one_made_up_tool_costs_nothing_published_but_is_seen() -> None:
    def made_up(oracle):  # type: ignore[no-untyped-def]
        def answer(request) -> str:  # type: ignore[no-untyped-def]
            plan = json.loads(oracle.sample([request], Sampling())[0].text)
            plan["task_nodes"].append({"task": "Make Coffee", "arguments": []})
            return json.dumps(plan)

        return Scripted(answer)

    found = measured({"number": 8}, made_up)
    assert found["node_f1"] == found["edge_f1"] == found["flawed"] == 1.0
    assert found["node_strict_f1"] < 1.0
    assert found["success"] == 0.0


def test_wrong_options_and_missing_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERYSTEP_DATA", raising=False)
    gold.cache_clear()
    with pytest.raises(ConfigError, match="huggingface"):
        benchmark("taskbench", {"domain": "hugingface"})
    with pytest.raises(ConfigError, match="dag"):
        benchmark("taskbench", {"kind": "dga"})
    with pytest.raises(ConfigError, match="GNN4TaskPlan"):
        list(benchmark("taskbench", {"domain": "tmdb", "cases": "published"}).cases())
