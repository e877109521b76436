"""Mobile-Eval-E as a benchmark of plans: the person's operations are perfect, other answers are not."""

from __future__ import annotations

import pytest

from everystep.bench.benchmark import Ask
from everystep.bench.catalog import benchmark
from everystep.bench.running import Row
from everystep.bench.summary import measure
from everystep.core.errors import ConfigError
from everystep.environments.phone.mobile_eval import sample
from everystep.environments.phone.mobile_eval_plans import operations_of
from everystep.models.scripted import Scripted


def measured(make) -> dict[str, float]:  # type: ignore[no-untyped-def]
    one = benchmark("mobile_eval", {"data": "sample"})
    cases = list(one.cases())
    rows = [
        Row(case=case.id, run=0, problem=case.problem, numbers=scored.numbers)
        for case, scored in zip(cases, one.open(make)([Ask(case=case) for case in cases]), strict=True)
    ]
    return {it.name: measure(it, rows).value for it in one.measures}


def test_the_person_is_perfect() -> None:
    found = measured(lambda oracle: oracle)
    assert found == {"operation_f1": 1.0, "edit_similarity": 1.0, "success": 1.0, "invalid": 0.0}


@pytest.mark.parametrize(("answer", "invalid"), [("", 1.0), ("\n\n", 1.0), ("tap\n" * 9000, 1.0), ("sing a song", 0.0)])  # fmt: skip
def test_nothing_earns_nothing(answer: str, invalid: float) -> None:
    found = measured(lambda oracle: Scripted(lambda request: answer))
    assert found == {"operation_f1": 0.0, "edit_similarity": 0.0, "success": 0.0, "invalid": invalid}


def test_part_of_the_operations_earns_part() -> None:
    wanted = [len(operations_of("\n".join(task.operations))) for task in sample()]
    opened = [sum(one == "open <app>" for one in operations_of("\n".join(task.operations))) for task in sample()]  # fmt: skip
    found = measured(lambda oracle: Scripted(lambda request: "1. open it"))
    hits = sum(min(1, one) for one in opened)
    assert hits > 0
    assert found["operation_f1"] == pytest.approx(2 * hits / (sum(wanted) + len(wanted)))
    assert found["success"] == 0.0


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="sample"):
        benchmark("mobile_eval", {"data": "samples"})
