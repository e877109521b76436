from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.stored_steps import episode, journal_of
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.records import End, StepCredit, Trajectory
from everystep.data.filter import filter_steps, weights_in
from everystep.data.rules import as_table, parse_rules, rule_of
from everystep.run.export import export
from everystep.run.store import read_parquet, write_parquet


def kept(folder: Path) -> list[str]:
    return [one.id for one in read_parquet(folder)]


def run(tmp_path: Path, rules: list[str], trajectories: list[Trajectory], **more: object) -> Path:
    source = journal_of(tmp_path / "j.sqlite", trajectories, **more)  # type: ignore[arg-type]
    filter_steps(source, tmp_path / "out", parse_rules(rules))
    return tmp_path / "out"


SOME = [
    episode("a", ("go", "take", "stop"), outcome=1.0),
    episode("b", ("go", "drop"), outcome=0.0, invalid=(1,)),
    episode("c", ("go", "take", "stop"), outcome=1.0),
    episode("d", ("wait",), task="u", outcome=0.5),
    episode("e", ("look", "wait", "wait", "go"), task="u", outcome=None),
]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("success", ["a", "c"]),
        ("outcome:at_least=0.5", ["a", "c", "d"]),
        ("outcome:at_least=0.2,at_most=0.9", ["d"]),
        ("outcome:ends=failed", ["b", "d", "e"]),
        ("outcome:success=false", ["b", "d"]),
        ("percentile:top=0.5", ["a", "c"]),
        ("percentile:top=0.25,within=task", ["a", "c", "d"]),
        ("length:min_steps=2,max_steps=3", ["a", "b", "c"]),
        ("length:max_tokens=5", ["d"]),
        ("duplicates", ["a", "b", "d", "e"]),
        ("duplicates:of=actions", ["a", "b", "d", "e"]),
        ("per_task:most=1,by=outcome", ["a", "d"]),
        ("budget:steps=5", ["a", "b"]),
        ("budget:trajectories=2,by=outcome", ["a", "c"]),
        ("errors:then=drop", ["a", "c", "d", "e"]),
    ],
)
def test_what_a_rule_about_trajectories_keeps(tmp_path: Path, rule: str, left: list[str]) -> None:
    assert kept(run(tmp_path, [rule], SOME)) == left


def test_what_is_kept_is_what_it_was(tmp_path: Path) -> None:
    out = run(tmp_path, ["success"], SOME)
    assert list(read_parquet(out)) == [SOME[0], SOME[2]]


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("errors", {"b/1": 0.0}),
        ("segment:start=1", {"a/0": 0.0, "b/0": 0.0, "c/0": 0.0, "e/0": 0.0}),
        (
            "segment:last=true",
            {"a/0": 0.0, "a/1": 0.0, "b/0": 0.0, "c/0": 0.0, "c/1": 0.0, "e/0": 0.0, "e/1": 0.0, "e/2": 0.0},
        ),
        ("duplicates:of=step,within=all", {"b/0": 0.0, "c/0": 0.0, "c/1": 0.0, "c/2": 0.0}),
        ("errors:invalid=false,reason=^can", {"b/1": 0.0}),
    ],
)
def test_masks_are_loss_weights_and_the_steps_stay(
    tmp_path: Path, rule: str, weights: dict[str, float]
) -> None:
    out = run(tmp_path, [rule], SOME)
    found = weights_in(out)
    left = kept(out)
    expected = {step: weight for step, weight in weights.items() if step[0] in left}
    assert {step for step, weight in found.items() if weight == 0} == set(expected)
    assert set(found) == {step.id for one in SOME if one.id in left for step in one.steps}


def test_a_trajectory_without_a_step_to_learn_from_goes(tmp_path: Path) -> None:
    out = run(tmp_path, ["segment:start=1"], SOME)
    assert "d" not in kept(out)
    told = json.loads((out / "manifest.json").read_text())
    assert told["dropped"][-1] | {"examples": []} == {
        "rule": "empty", "number": 1, "trajectories": 1, "steps_masked": 0, "trajectories_cut": 0, "examples": []
    }  # fmt: skip


def test_scores_verdicts_rewards_and_credit_are_values_of_steps(tmp_path: Path) -> None:
    one = episode("a", ("x", "y", "z"), rewards=(0.0, 1.0, 2.0), scores=({"fit": 0.1}, {}, {"fit": 0.9}))
    verdicts = [
        ("critic", "a/0", 0.2),
        ("critic", "a/1", 0.7),
        ("critic", "a/0", 0.9),
    ]  # the later one counts
    credit = [StepCredit(step="a/2", trajectory="a", estimator="gigpo", value=-1.0)]
    source = journal_of(tmp_path / "j.sqlite", [one], verdicts=verdicts, credits=credit)

    def masked(name: str, rule: str) -> set[str]:
        filter_steps(source, tmp_path / name, parse_rules([rule]))
        return {step for step, weight in weights_in(tmp_path / name).items() if not weight}

    assert masked("1", "score:of=reward,at_least=1") == {"a/0"}
    assert masked("2", "score:of=score/fit,at_least=0.5") == {"a/0"}
    assert masked("3", "score:of=score/fit,at_least=0.5,missing=fail") == {"a/0", "a/1"}
    assert masked("4", "score:of=verdict/critic,at_least=0.8,missing=fail") == {"a/1", "a/2"}
    assert masked("5", "score:of=credit/gigpo,at_least=0") == {"a/2"}
    assert masked("6", "percentile:of=reward,top=0.34") == {"a/0"}  # ceil(0.34 * 3) = 2 stay
    assert masked("7", "errors:labels=critic/bad") == {"a/0"}
    with pytest.raises(DataError, match=r"no step verdict by the judge 'critc'.*Known: critic"):
        filter_steps(source, tmp_path / "8", parse_rules(["score:of=verdict/critc,at_least=0"]))


def test_a_cut_trajectory_ends_before_the_step_and_has_no_outcome(tmp_path: Path) -> None:
    one = episode("a", ("x", "y", "z"), rewards=(1.0, 0.0, 1.0))
    two = episode("b", ("x",), rewards=(0.0,))
    out = run(tmp_path, ["score:of=reward,at_least=0.5,then=cut"], [one, two])
    (left,) = read_parquet(out)
    assert left.steps == one.steps[:1]
    assert (left.end, left.outcome, left.success, left.final) == (End.TRUNCATED, None, None, None)
    assert "cut before step 1 by the rule 'score'" in (left.error or "")
    rows = pq.read_table(out / "dropped.parquet").to_pylist()
    assert {"what": "cut", "trajectory": "a", "step": "a/1", "rule": "score"} in rows
    assert {"what": "dropped", "trajectory": "b", "step": None, "rule": "empty"} in rows


def test_branches_keep_the_prefix_that_a_dropped_trajectory_owned(tmp_path: Path) -> None:
    root = episode("root", ("x", "y", "z"), outcome=0.0)
    left = episode("left", ("l", "m"), outcome=1.0, prefix=root.steps[:2])
    again = episode("again", ("n",), outcome=1.0, prefix=left.steps[:3])
    whole = episode("whole", (), outcome=1.0, prefix=left.steps[:2])
    out = run(tmp_path, ["success"], [root, left, again, whole])
    assert list(read_parquet(out)) == [left, again, whole]
    assert len(pq.read_table(out / "part-00000" / "steps.parquet")) == 5  # shared steps are one row


def test_near_duplicates_are_found_and_different_ones_are_not(tmp_path: Path) -> None:
    base = "the quick brown fox jumps over the lazy dog and runs far away into the deep dark wood " * 4
    other = "colourless green ideas sleep furiously while seven kettles whistle a tune about the sea " * 4
    some = [
        episode("a", (base,)),
        episode("b", (base.replace("wood", "would", 1),), outcome=0.0),
        episode("c", (other,)),
        episode("d", (base,), task="u"),
    ]
    assert kept(run(tmp_path / "1", ["duplicates:near=0.8"], some)) == ["a", "c", "d"]
    assert kept(run(tmp_path / "2", ["duplicates:near=0.8,within=all"], some)) == ["a", "c"]
    out = run(tmp_path / "3", ["duplicates:near=0.8,of=step,within=all"], some)
    assert kept(out) == ["a", "c"]


def test_rules_act_in_order_and_the_manifest_counts_each(tmp_path: Path) -> None:
    out = run(tmp_path, ["per_task:most=1", "success"], SOME)
    assert kept(out) == ["a"]
    told = json.loads((out / "manifest.json").read_text())
    assert [(one["rule"], one["trajectories"]) for one in told["dropped"]] == [
        ("per_task", 3),
        ("outcome", 1),
        ("empty", 0),
    ]
    assert told["state"] == "done"
    assert told["kept"] == {"trajectories": 1, "steps": 3, "steps_with_weight": 3}


def test_a_filtered_folder_can_be_filtered_and_exported(tmp_path: Path) -> None:
    out = run(tmp_path, ["errors"], SOME)
    done = filter_steps(out, tmp_path / "again", parse_rules(["outcome:success=false"]))
    assert kept(tmp_path / "again") == ["b", "d"]
    assert done.trajectories_in == 5
    told = export(read_parquet(out), "chat", tmp_path / "chat.jsonl", weights=weights_in(out))
    rows = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines()]
    assert told.written == 5
    assert [message["weight"] for message in rows[1]["messages"] if message["role"] == "assistant"] == [
        1.0,
        0.0,
    ]


def test_parts_together_are_the_whole(tmp_path: Path) -> None:
    write_parquet(SOME, tmp_path / "p")
    filter_steps(tmp_path / "p", tmp_path / "o", parse_rules(["errors"]), part_steps=3)
    assert len(list((tmp_path / "o").glob("part-*"))) > 2
    assert list(read_parquet(tmp_path / "o")) == SOME


def test_another_call_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    out = run(tmp_path, ["success"], SOME)
    assert (
        filter_steps(tmp_path / "j.sqlite", out, parse_rules(["success"])).trajectories == 2
    )  # done already
    with pytest.raises(StoreError, match="another filter"):
        filter_steps(tmp_path / "j.sqlite", out, parse_rules(["errors"]))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(StoreError, match="not empty"):
        filter_steps(tmp_path / "j.sqlite", tmp_path / "mine", parse_rules(["success"]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sucess", "Did you mean 'success'"),
        ("length", "names nothing to go by"),
        ("length:max_step=3", "Did you mean 'max_steps'"),
        ("length:max_steps=many", "expected int"),
        ("score:at_least=1", "needs of"),
        ("score:of=karma,at_least=1", "expected reward"),
        ("score:of=reward", "needs at_least or at_most"),
        ("percentile:top=0", "expected a share"),
        ("errors:reason=(", "no regular expression"),
        ("outcome:ends=solved", "unknown ends"),
        ("score:of=reward,at_least=1,then=burn", "then='burn'"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_to_do(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_rules([word])


def test_rules_of_a_toml_file_are_those_of_words(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(
        '[[rule]]\nkind = "outcome"\nsuccess = true\n\n[[rule]]\nkind = "errors"\nstops = ["error"]\nthen = "cut"\n'
    )
    rules = parse_rules([str(file)])
    assert rules == parse_rules(["success", "errors:stops=error,then=cut"])
    assert [rule_of(told.pop("kind"), told) for told in map(as_table, rules)] == list(rules)


def test_hostile_names_do_not_become_queries(tmp_path: Path) -> None:
    source = journal_of(tmp_path / "j.sqlite", SOME, verdicts=[("it's; DROP TABLE step", "a/0", 0.1)])
    done = filter_steps(
        source, tmp_path / "it's", parse_rules(["score:of=verdict/it's; DROP TABLE step,at_least=0.5"])
    )
    assert done.dropped[0].steps_masked == 1


KILLED = """
import sys
from pathlib import Path
from everystep.data.filter import filter_steps
from everystep.data.rules import parse_rules
filter_steps(Path(sys.argv[1]), Path(sys.argv[2]), parse_rules(["outcome:at_least=0.5", "errors"]), part_steps=40)
"""


def test_a_killed_filter_leaves_whole_parts_and_goes_on(tmp_path: Path) -> None:
    many = [
        episode(f"e{n}", tuple(f"act {n} {k}" for k in range(4)), task=f"t{n % 7}", outcome=float(n % 3 > 0))
        for n in range(900)
    ]
    write_parquet(many, tmp_path / "p")
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "p"), str(out)])
    deadline = time.monotonic() + 60
    while (
        not any(out.glob("part-?????/steps.parquet")) and child.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    whole = [one for one in out.glob("part-?????") if one.is_dir()]
    assert whole
    assert (
        json.loads((out / "manifest.json").read_text())["state"] == "running"
        if (out / "manifest.json").exists()
        else True
    )
    partial = [one.id for part in sorted(whole) for one in read_parquet(part)]
    wanted = [one for one in many if one.outcome == 1.0]
    assert partial == [one.id for one in wanted[: len(partial)]]
    assert len(partial) < len(wanted)
    before = {part.name: (part / "steps.parquet").stat().st_mtime_ns for part in whole}
    done = filter_steps(tmp_path / "p", out, parse_rules(["outcome:at_least=0.5", "errors"]), part_steps=40)
    assert done.resumed == len(whole)
    assert before == {name: (out / name / "steps.parquet").stat().st_mtime_ns for name in before}
    assert list(read_parquet(out)) == wanted
    assert json.loads((out / "manifest.json").read_text())["state"] == "done"
