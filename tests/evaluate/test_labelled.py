from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everystep.core.errors import ConfigError, DataError
from everystep.evaluate.labelled import SETS, Labelled, labelled
from everystep.evaluate.step_metrics import (
    accuracy,
    first_error_counts,
    first_error_f1,
    gain,
    location_accuracy,
    measured,
    prm_score,
    step_counts,
)

DATA = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(
    not (DATA / "processbench").is_dir(), reason="EVERYSTEP_DATA/processbench is not there"
)

RECORDS: dict[str, tuple[str, Any]] = {
    "processbench": ("gsm8k.json", {"id": "gsm8k-0", "problem": "p", "steps": ["a", "b", "c"], "final_answer_correct": False, "label": 1}),
    "prmbench": (
        "circular.jsonl",
        {"idx": "x", "classification": "circular", "modified_question": "q2", "original_question": "q  1",
         "modified_process": ["1. a", "2. b", "c"], "error_steps": [2, 3, 9]},
    ),
    "bigbench_mistake": ("dyck.jsonl", {"input": "(", "answer": ")", "target": ")", "steps": ["a", "b"], "mistake_index": None}),
    "who_and_when": (
        "w.jsonl",
        {"path": "Who&When/Hand-Crafted/9.json", "data": {"question": "q", "mistake_step": "1", "mistake_agent": "WebSurfer",
         "history": [{"role": "human", "content": "q"}, {"role": "WebSurfer", "content": "x"}]}},
    ),
    "gui_critic": (
        "gui_i.jsonl",
        {"images": ["amex/incorrect/a.png"], "solution": "Incorrect \n Tap.", "problem": "... 1. User instruction:\nOpen it.\n2. History:\n Step 1: Tap a.\n; "
         "Step 2: Tap b.\n; \n3. Decision:\nTap c.\n4. Image is the screenshot"},
    ),
}  # fmt: skip


def one(name: str, folder: Path, **changed: Any) -> Labelled:
    file, record = RECORDS[name]
    record = record | changed
    text = json.dumps([record]) if file.endswith(".json") else json.dumps(record)
    (folder / file).write_text(text, encoding="utf-8")
    (found,) = labelled(name, folder=folder)
    return found


def test_first_errors_say_nothing_of_what_stands_behind_them(tmp_path: Path) -> None:
    found = one("processbench", tmp_path)
    assert (found.first, list(found.places), found.trajectory.success) == (1, [0, 1], False)
    whole = one("processbench", tmp_path, label=-1)
    assert (whole.first, list(whole.places)) == (None, [0, 1, 2])
    assert one("bigbench_mistake", tmp_path).first is None
    assert one("bigbench_mistake", tmp_path, mistake_index=0).first == 0


def test_numbers_from_one_become_places_and_numbering_is_taken_off(tmp_path: Path) -> None:
    found = one("prmbench", tmp_path)
    assert found.bad == {1, 2}  # step 9 does not exist
    assert [step.action.text for step in found.trajectory.steps] == ["a", "b", "c"]
    assert found.problem == "q 1"


def test_agents_and_the_decisive_step(tmp_path: Path) -> None:
    found = one("who_and_when", tmp_path)
    assert (found.first, found.kind) == (1, "Hand-Crafted:websurfer")
    assert [step.agent for step in found.trajectory.steps] == ["human", "websurfer"]


def test_nothing_that_tells_the_label_reaches_a_judge(tmp_path: Path) -> None:
    found = one("gui_critic", tmp_path)
    assert [step.action.text for step in found.trajectory.steps] == ["Tap a.", "Tap b.", "Tap c."]
    assert (found.bad, list(found.places)) == ({2}, [2])
    assert "incorrect" not in repr(found.trajectory).lower()


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for changed in ({"label": 7}, {"steps": None}, {"label": "x"}):
        with pytest.raises(DataError, match=r"record 0 of .*gsm8k.json"):
            one("processbench", tmp_path, **changed)
    with pytest.raises(ConfigError, match="Did you mean 'prmbench'"):
        list(labelled("prmbenc"))
    with pytest.raises(ConfigError, match="Get it from https"):
        list(labelled("prmbench", folder=tmp_path / "none"))


@needs_data
def test_the_published_counts() -> None:
    """Error-free solutions of ProcessBench are 193 and 406 (its table 1); BIG-Bench Mistake has 300 and 986 traces; the rest is part of each set."""
    found = list(labelled("processbench"))
    free = {
        kind: sum(item.first is None for item in found if item.kind == kind) for kind in ("gsm8k", "math")
    }
    assert free == {"gsm8k": 193, "math": 406}
    gui = list(labelled("gui_critic"))
    assert (len(gui), sum(bool(item.bad) for item in gui)) == (656, 328)
    assert all(SETS[item.trajectory.task.environment].licence for item in (found[0], gui[0]))


# --- measures -------------------------------------------------------------------------------------


def total(rows: list[tuple[float, ...]]) -> np.ndarray[Any, Any]:
    return np.asarray(rows).sum(axis=0)


def test_first_error_f1_is_the_harmonic_mean_of_both_accuracies() -> None:
    rows = [
        first_error_counts(2, 2),
        first_error_counts(1, 0),
        first_error_counts(None, None),
        first_error_counts(3, None),
    ]
    assert float(first_error_f1(total(rows))) == pytest.approx(2 * (1 / 3) * 1 / (1 / 3 + 1))
    assert float(location_accuracy(total(rows))) == 0.5
    assert float(first_error_f1(total([first_error_counts(2, None), first_error_counts(None, None)]))) == 0.0


def test_prm_score_is_the_mean_of_two_f1() -> None:
    counts = total([step_counts({1}, {1, 2}, 4), step_counts({0}, set(), 3)])
    assert counts.tolist() == [4.0, 1.0, 1.0, 1.0]
    assert float(prm_score(counts)) == pytest.approx((8 / 10 + 2 / 4) / 2)


def test_problems_are_resampled_whole() -> None:
    rows = [(1.0, float(i < 50)) for i in range(100)]
    alone = measured(rows, [str(i) for i in range(100)], accuracy)
    alike = measured(rows, [str(i // 10) for i in range(100)], accuracy)
    assert alone.value == alike.value == 0.5
    assert alike.high - alike.low > 2 * (alone.high - alone.low)
    assert float(gain(np.array([10.0, 5.0, 4.0, 3.0]))) == 0.25
