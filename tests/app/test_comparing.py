"""``everystep compare``: what its words mean, before anything runs."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from everystep.app.arms import OF_THE_PROTOCOL, OF_THE_START, options_of, read_arm
from everystep.app.cli import main
from everystep.app.comparing import Ask, Plan, plan_of
from everystep.core.errors import ConfigError
from everystep.learn.config import Training
from everystep.run.folder import open_run


def planned(*arms: str, **more: Any) -> Plan:
    return plan_of(Ask(recipes=arms, **more))


def test_an_arm_s_own_options_override_set_and_stand_in_its_label() -> None:
    plan = planned(
        "grpo", "grpo:process.closer=1,tasks=4", environment="keydoor", set={"tasks": 2, "options.side": 4}
    )
    assert list(plan.arms) == ["grpo", "grpo (closer=1, tasks=4)"]
    plain, own = (plan.run(arm, 1e-3, 0).options for arm in plan.arms.values())
    assert (plain["tasks"], own["tasks"]) == (2, 4)
    assert "process" not in plain
    assert own["process"] == {"closer": 1}
    assert plain["options"] == own["options"] == {"side": 4}
    assert plain["model"] == own["model"]  # one start for all arms ...
    start = plan.warm(0).options
    assert (start["tasks"], start.get("process")) == (2, None)  # ... which no arm's own options change


def test_one_entry_of_a_mapping_leaves_the_recipe_s_others() -> None:
    given = options_of("artist", {"options.digits": 5}, {"options.tools": False, "parts.format": 0})
    assert given["options"]["digits"] == 5
    assert given["options"]["tools"] is False
    assert given["options"]["answers"] == 4  # the recipe's own
    assert given["parts"] == {"format": 0, "executed": 1.0}
    elsewhere = options_of("artist", {"environment": "keydoor", "options.side": 4})
    assert elsewhere["options"] == {"side": 4}  # options of another world mean nothing here
    assert options_of("artist", {"environment": "keydoor"})["options"] == {}


def test_values_may_hold_commas_and_labels_stay_apart() -> None:
    assert read_arm('grpo:process={"closer": 1, "valid": 2},tasks=3').own == {
        "process": {"closer": 1, "valid": 2},
        "tasks": 3,
    }
    arms = planned("grpo:process.closer=1", "grpo:parts.closer=1", environment="keydoor").arms
    assert list(arms) == ["grpo (process.closer=1)", "grpo (parts.closer=1)"]
    folders = {
        str(planned("grpo", "grpo:tasks=3").run(read_arm(one), 1e-3, 0).folder)
        for one in ("grpo", "grpo:tasks=3")
    }
    assert len(folders) == 2


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (("grpo", "grpo"), "arms 'grpo' and 'grpo' are equal"),
        (("grpo", "grpo:clip_high=0.2"), "arms 'grpo' and 'grpo:clip_high=0.2' are equal"),
        (("grpo:clip_high=0.3", "grpo:clip_high=0.30"), "are equal"),
        (("grpo", "grpo:proces.closer=1"), "arm 'grpo:proces.closer=1': the arm has an option 'proces' that is not known. Did you mean 'process'?"),
        (("grpo", "grpo:tasks=many"), "arm 'grpo:tasks=many': the arm: option 'tasks' is 'many'; expected int"),
        (("grpo", "grpo:tasks=0"), "arm 'grpo:tasks=0': tasks is 0; it must be 1 or more"),
        (("grpo", "grpo:options.sied=4"), "arm 'grpo:options.sied=4': environment 'keydoor' has no option 'sied'. Did you mean 'side'?"),
        (("grpo", "grpo:tasks"), "arm 'grpo:tasks': 'tasks' is not of the form key=value"),
        (("grpo", "grpo:"), "arm 'grpo:': '' is not of the form key=value"),
        (("grpo", "grpoo:tasks=3"), "Did you mean 'grpo'?"),
        (("grpo", "grpo:learning_rate=1"), "--learning-rates is the sweep"),
        (("grpo", "grpo:warm_updates=1"), "'warm_updates' belongs to the start that all arms share"),
        (("grpo", "srgpo"), "arms 'grpo' and 'srgpo' act in different worlds: keydoor and keydoor side=4 horizon=14"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_arm(arms: tuple[str, ...], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(*arms, environment="keydoor")
    assert expected in str(caught.value)


def test_what_makes_the_start_are_options_that_exist() -> None:
    assert {*OF_THE_START, *OF_THE_PROTOCOL} <= {f.name for f in fields(Training)}
    assert read_arm("matchtir:turn_weight=1").label() == "matchtir (turn_weight=1)"


def test_what_the_comparison_sets_cannot_be_set() -> None:
    with pytest.raises(ConfigError, match="--seeds and --selection-seeds say how many"):
        planned("grpo", "gigpo", set={"seed": 3})


def test_arms_of_one_recipe_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = [
        "model=tiny:0.02M",
        "demonstrations=8",
        "demonstration_habit=null",
        "turn_updates=0",
        "warm_updates=1",
    ]
    small = ["iterations=1", "tasks=2", "group_size=2", "test_tasks=4", "test_every=1", "options.side=3"]
    words = ["compare", "grpo", "grpo:process.closer=1", "--environment", "keydoor", "--set", *quick, *small]
    words += ["--seeds", "1", "--learning-rates", "1e-3", "--rms", "None", "--out", str(tmp_path / "c")]
    assert main(words) == 0
    found = json.loads((tmp_path / "c" / "results.json").read_text())
    assert [arm["name"] for arm in found["arms"]] == ["grpo", "grpo (closer=1)"]
    assert "grpo (closer=1)" in (tmp_path / "c" / "curves.svg").read_text()
    assert "| grpo (closer=1) | 0.001 |" in (tmp_path / "c" / "results.md").read_text()
    with_own = [
        open_run(path).config()["options"]["process"] for path in sorted((tmp_path / "c" / "runs").iterdir())
    ]
    assert with_own == [{}, {"closer": 1}, {}]
    capsys.readouterr()
