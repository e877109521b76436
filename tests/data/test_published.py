"""Item 6: published runs come in with nothing lost. Every number is counted again from the raw files, not by our readers.

Needs the folder that EVERYSTEP_DATA names; what is not there is skipped by its name.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter, defaultdict
from math import comb
from pathlib import Path
from typing import Any

import pytest

from everystep.core.records import Trajectory
from everystep.data.formats import reader
from everystep.data.messages import messages_of
from everystep.data.reading import Unread


def raw(name: str) -> tuple[Path, str]:
    root = os.environ.get("EVERYSTEP_DATA")
    if not root:
        pytest.skip("EVERYSTEP_DATA is not set: published runs are not here")
    path = Path(root) / name
    if not path.is_file():
        pytest.skip(f"{name} is not in EVERYSTEP_DATA")
    return path, gzip.open(path, "rt", encoding="utf-8").read()


def imported(form: str, path: Path) -> list[Trajectory]:
    found = list(reader(form)(path))
    assert [one for one in found if isinstance(one, Unread)] == []
    return [one for one in found if isinstance(one, Trajectory)]


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message as what it says: null is no text, arguments are read, a tool's name follows from its call."""
    calls = [
        (one["function"]["name"], one["function"]["arguments"], one["id"])
        for one in message.get("tool_calls") or []
    ]
    calls = [(name, json.loads(told) if isinstance(told, str) else told, key) for name, told, key in calls]
    content = message["content"]
    told = content if isinstance(content, str | None) else "".join(part["text"] for part in content)
    return {
        "role": message["role"],
        "content": told or "",
        "calls": calls,
        "for": message.get("tool_call_id"),
    }


def pass_hat(successes: list[int], trials: int, k: int) -> float:
    """tau-bench's pass^k: the mean over tasks of C(c, k) / C(n, k)."""
    return sum(comb(c, k) / comb(trials, k) for c in successes) / len(successes)


def test_tau_bench_messages_rewards_and_pass_hat_k() -> None:
    path, text = raw("tau_bench/gpt-4o-airline.json.gz")
    runs, ours = json.loads(text), imported("tau-bench", path)
    assert len(ours) == len(runs) == 100
    for run, one in zip(runs, ours, strict=True):
        assert [plain(message) for message in messages_of(one)] == [plain(message) for message in run["traj"]]
        assert (one.outcome, one.seed) == (run["reward"], run["trial"])
        assert [(call.name, dict(call.arguments)) for call in one.task.reference_calls or ()] == [
            (gold["name"], gold["kwargs"]) for gold in run["info"]["task"]["actions"]
        ]
    assert sum(len(messages_of(one)) for one in ours) == 2302
    assert sum(len(step.action.calls) for one in ours for step in one.steps) == 487
    solved, theirs = defaultdict(int), defaultdict(int)
    for one in ours:
        solved[one.group] += one.success is True
    for run in runs:
        theirs[run["task_id"]] += run["reward"] == 1.0
    assert sum(solved.values()) == 44  # of these 100; 84 of the 200 that were published
    for k in (1, 2, 3, 4):
        expected = pass_hat(list(theirs.values()), 4, k)
        assert pass_hat(list(solved.values()), 4, k) == pytest.approx(expected, abs=1e-12)
    assert pass_hat(list(solved.values()), 4, 1) == pytest.approx(0.44)


def test_tau_bench_conversations_as_text() -> None:
    path, text = raw("tau_bench/MockRetailDomainEnv-few_shot.jsonl.gz")
    rows = [json.loads(line)["messages_display"] for line in text.splitlines()]
    ours = imported("tau-bench", path)
    assert len(ours) == len(rows) == 69
    for row, one in zip(rows, ours, strict=True):
        roles = re.findall(r"^(user|assistant|tool|system): ", row, re.MULTILINE)
        assert [message["role"] for message in messages_of(one)] == roles


INTERCODE = [
    ("ic_sql_multiturn_gpt-3.5_10_turns", 1034, 7499, 489),
    ("ic_sql_react_10_turns", 1034, 5551, 607),
    ("ic_sql_multiturn_vicuna_10_turns", 1033, 9812, 65),
    ("ic_bash_multiturn_gpt-3.5_10_turns_fs_1", 60, 380, 27),
    ("ic_bash_multiturn_gpt-4_10_turns_fs_1", 60, 401, 25),
    ("ic_bash_multiturn_gpt-4_10_turns_fs_3", 60, 334, 31),
    ("ic_ctf_multiturn_gpt-4_10_turns", 93, 634, 37),
]


@pytest.mark.parametrize(("name", "runs", "steps", "solved"), INTERCODE)
def test_intercode_turns_rewards_and_success(name: str, runs: int, steps: int, solved: int) -> None:
    path, text = raw(f"intercode/{name}.json.gz")
    theirs, ours = json.loads(text), imported("intercode", path)
    assert (len(ours), sum(len(one.steps) for one in ours), sum(one.success is True for one in ours)) == (
        runs,
        steps,
        solved,
    )
    for run, one in zip(theirs.values(), ours, strict=True):
        history = run["turn_history"]
        acts = [step.action.text for step in one.steps]
        if "thoughts" in history:
            both = zip(history["thoughts"], history["actions"], strict=True)
            assert acts == [f"Thought: {thought}\nAction: {act}" for thought, act in both]
        else:
            assert acts == history["actions"]
        shown = [step.observation.text for step in one.steps[1:]] + ([one.final.text] if one.final else [])
        assert shown == [
            told if isinstance(told, str) else "" if told is None else str(told)
            for told in history["observations"]
        ]
        assert [step.reward for step in one.steps] == history["rewards"]
        assert [step.action.valid for step in one.steps] == history["valid_action"]
        assert (one.outcome, one.task.instruction) == (run["summary"]["max_reward"], run["query"])


def test_react_webshop_scores() -> None:
    path, text = raw("react/webshop_runs.txt.gz")
    ours = imported("react-webshop", path)
    outcomes = [one.outcome or 0.0 for one in ours]
    published = text.rstrip("\n").splitlines()[-1].split()
    assert len(ours) == 500
    assert sum(outcomes) / 500 == pytest.approx(float(published[0]), abs=1e-12)  # 0.638
    assert sum(one.success is True for one in ours) == 179 == round(500 * float(published[1]))
    never = [one for one in ours if "Your score" not in (one.final.text if one.final else "")]
    assert len(never) == 40
    acts = re.findall(r"^Action: ?(\w+)\[", text, re.MULTILINE)
    assert Counter(step.action.text.split("[")[0] for one in ours for step in one.steps) == Counter(acts)
    assert sum(not step.action.valid for one in ours for step in one.steps) == len(
        re.findall(r"^Observation: Invalid action!$", text, re.MULTILINE)
    )
    running = 0.0
    for number, one in enumerate(ours, 1):  # the log's own running mean after each episode
        running += one.outcome or 0.0
        footer = one.final.info["record"]["footer"].split() if one.final else []
        assert (int(footer[0]), float(footer[1])) == (number, pytest.approx(running / number, abs=1e-9))


def test_knowagent_household_games() -> None:
    path, text = raw("knowagent/KnowAgentALFWorld_llama-2-13b_D0.jsonl.gz")
    theirs, ours = [json.loads(line) for line in text.splitlines()], imported("knowagent", path)
    assert len(ours) == 510
    assert sum(one.success is True for one in ours) == 134  # the published 182 are of a file that is not here
    acts = "".join(run["traj"] + "\n" for run in theirs)
    assert sum(len(one.steps) for one in ours) == len(re.findall(r"^> ", acts, re.MULTILINE)) == 20979
    assert (
        sum(not step.action.valid for one in ours for step in one.steps)
        == acts.count("Nothing happens.")
        == 2691
    )
    for run, one in zip(theirs, ours, strict=True):
        seen = [step.observation.text for step in one.steps[1:]] + [one.final.text if one.final else ""]
        told = "".join(
            f"\n> {step.action.text}" + (f"\n{after}" if after else "")
            for step, after in zip(one.steps, seen, strict=True)
        )
        assert (one.steps[0].observation.text + told).rstrip("\n") == run["traj"].rstrip("\n")
        assert one.outcome == float(run["result"])


def test_knowagent_questions() -> None:
    path, text = raw("knowagent/KnowAgentHotpotQA_llama-2-13b_D0.jsonl.gz")
    theirs, ours = [json.loads(line) for line in text.splitlines()], imported("knowagent", path)
    assert len(ours) == 500
    assert sum(one.success is True for one in ours) == sum(run["correct"] for run in theirs) == 132
    assert sum(one.outcome or 0 for one in ours) == pytest.approx(sum(run["reward"] for run in theirs))
    for run, one in zip(theirs, ours, strict=True):
        own = run["prompt"].rpartition("(END OF EXAMPLES)")[2]
        assert len(re.findall(r"^Action \d+:", own, re.MULTILINE)) == sum(
            len(re.findall(r"^Action \d+:", step.action.text, re.MULTILINE)) for step in one.steps
        )
        assert letters(own) == letters(spoken(one, f"Question: {run['question']}"))


def letters(text: str) -> str:
    """A text without what the labels and line ends add."""
    return re.sub(r"\s+|Observation ?\d*:", "", text)


def spoken(one: Trajectory, head: str) -> str:
    seen = [step.observation.text for step in one.steps[1:]] + [one.final.text if one.final else ""]
    return head + "".join(step.action.text + after for step, after in zip(one.steps, seen, strict=True))


@pytest.mark.parametrize(
    ("name", "runs", "right"),
    [
        (
            "hotpotqa_dev_0_500_ft_gpt-3.5-turbo-0613_princeton-nlp__7woQRsdi_0.0_2023-09-21-16-19-51",
            465,
            200,
        ),
        ("hotpotqa_dev_0_500_llama_models_lora_llama-2-13b-d_1000_0.7_2023-09-18-13-40-08", 499, 172),
    ],
)
def test_fireact_answers(name: str, runs: int, right: int) -> None:
    path, text = raw(f"fireact/{name}.json.gz")
    theirs, ours = json.loads(text), imported("fireact", path)
    assert (len(ours), sum(one.success is True for one in ours)) == (runs, right)
    f1 = sum(one.steps[-1].scores["f1"] for one in ours) / runs
    assert f1 == pytest.approx(sum(run["f1"] for run in theirs.values()) / runs)
    for run, one in zip(theirs.values(), ours, strict=True):
        assert one.task.reference == run["gt"]
        if isinstance(run["traj"], str):
            body = run["traj"].partition("### Response:\n")[2]
            assert letters(body) == letters(spoken(one, ""))
            assert (
                one.task.instruction
                == run["traj"].partition("### Instruction:\n")[2].partition("\n\n### Response:")[0]
            )
        else:
            assert messages_of(one) == run["traj"]


def test_swe_agent_messages_and_entries() -> None:
    path, text = raw("swe_agent/swe_agent_demos.jsonl.gz")
    whole, one_text = raw("swe_agent/pandas-dev__pandas.95280573.pr_53856.traj.gz")
    theirs = [json.loads(line)["data"] for line in text.splitlines()] + [json.loads(one_text)]
    ours = imported("swe-agent", path) + imported("swe-agent", whole)
    assert len(ours) == 23
    for run, one in zip(theirs, ours, strict=True):
        assert [plain(message) for message in messages_of(one)] == [
            plain(message) for message in run["history"]
        ]
        entries = [step.observation.info["entry"] for step in one.steps if "entry" in step.observation.info]
        assert [told.get("action", "") for told in entries] == [
            told["action"] for told in run.get("trajectory", [])
        ]
        assert [told.get("observation") or "" for told in entries] == [
            told["observation"] or "" for told in run.get("trajectory", [])
        ]
    calls = sum(len(message.get("tool_calls") or []) for run in theirs for message in run["history"])
    assert sum(len(step.action.calls) for one in ours for step in one.steps) == calls == 61
