"""Published sets of steps that people have labelled: ProcessBench, PRMBench, BIG-Bench Mistake, Who&When, GUI-Critic.

Each file is read record by record. ``EVERYSTEP_DATA`` names the folder that holds them; none is packaged. What a file's names or order give away
(GUI-Critic's pictures lie in folders named ``correct`` and ``incorrect``) never reaches a judge. Licences, as their sources state them: ProcessBench, PRMBench and
BIG-Bench Mistake Apache-2.0; Who&When and GUI-Critic MIT.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.environments.published import source_folder

_STEP_NUMBER = re.compile(r"\s*\d{1,3}\.\s+")
_GOAL = re.compile(
    r"1\. User instruction:\s*\n(.*?)\n2\. History:\s*\n(.*?)3\. Decision:\s*\n(.*?)\n4\. Image", re.DOTALL
)
_HISTORY = re.compile(r"(?:^|;)\s*Step \d+:\s*(.*?)(?=\n;|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One trajectory with what people said of its steps.

    ``bad`` are the places (from 0) of wrong steps. ``known`` says how far the labels go: steps before that place are labelled (with first-error
    labels, those up to and with the first error). ``problem`` is what a split must not cut through. ``kind`` is the set's own class.
    """

    trajectory: Trajectory
    problem: str
    bad: frozenset[int]
    known: int
    kind: str = ""
    only: int | None = None

    @property
    def first(self) -> int | None:
        """The place of the first wrong step, ``None`` where all are right."""
        return min(self.bad, default=None)

    @property
    def places(self) -> range:
        """The places of labelled steps: up to ``known``, or the one place ``only``."""
        return range(self.known) if self.only is None else range(self.only, self.only + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """A published set: where its files lie below ``EVERYSTEP_DATA``, where it comes from, its licence, and how a record is read."""

    name: str
    folder: str
    files: str
    source: str
    licence: str
    read: Callable[[str, int, Any], Labelled]


def labelled(name: str, *, folder: Path | None = None) -> Iterator[Labelled]:
    """Yield the trajectories of a set, file by file. Raises ``ConfigError`` where its files are missing, ``DataError`` naming a record that cannot be read."""
    if name not in SETS:
        raise ConfigError(f"unknown labelled set {name!r}. {did_you_mean(name, SETS)}")
    one = SETS[name]
    place = folder or source_folder(one.folder)
    paths = sorted(place.glob(one.files)) if place is not None else []
    if not paths:
        where = "EVERYSTEP_DATA is not set" if place is None else f"there is no {one.files} in {str(place)!r}"
        raise ConfigError(
            f"{name} is needed, but {where}. Get it from {one.source} and put it into DATA/{one.folder}."
        )
    for path in paths:
        stem = path.name.partition(".")[0]
        for number, record in enumerate(_records(path)):
            try:
                yield one.read(stem, number, record)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise DataError(f"record {number} of {str(path)!r} is none of {name}: {error!r}.") from None


def _records(path: Path) -> Iterator[Any]:
    open_ = gzip.open if path.suffix == ".gz" else open
    with open_(path, "rt", encoding="utf-8") as file:
        if ".jsonl" in path.suffixes:
            yield from (json.loads(line) for line in file if line.strip())
        else:
            yield from json.load(file)


def _trajectory(
    name: str, environment: str, problem: str, steps: list[tuple[str, str]], *, success: bool | None = None
) -> Trajectory:
    """Return steps, each an agent and a text, as a trajectory."""
    chain: list[Step] = []
    for index, (agent, text) in enumerate(steps):
        chain.append(
            Step(
                id=f"{name}/{index}",
                parent=chain[-1].id if chain else None,
                index=index,
                observation=Observation(text=""),
                action=Action(text=text),
                agent=agent,
            )
        )
    task = Task(id=name, instruction=problem, environment=environment)
    end = End.DONE if success else End.FAILED if success is False else End.TRUNCATED
    outcome = None if success is None else float(success)
    return Trajectory(
        id=name, task=task, group=name, steps=tuple(chain), end=end, outcome=outcome, success=success
    )


def _first(found: Trajectory, problem: str, first: int | None, kind: str) -> Labelled:
    """Return a trajectory whose first wrong step is known; nothing is known of the steps behind it."""
    if first is not None and not 0 <= first < len(found.steps):
        raise ValueError(f"the first wrong step is {first} of {len(found.steps)}")
    known = len(found.steps) if first is None else first + 1
    return Labelled(
        trajectory=found,
        problem=problem,
        bad=frozenset() if first is None else frozenset({first}),
        known=known,
        kind=kind,
    )


def _processbench(stem: str, number: int, record: Any) -> Labelled:  # noqa: ARG001
    """``label`` is the place of the first wrong step, -1 for none."""
    steps = [("agent", text) for text in record["steps"]]
    found = _trajectory(
        record["id"], "processbench", record["problem"], steps, success=record["final_answer_correct"]
    )
    label = record["label"]
    return _first(found, record["problem"], None if label == -1 else label, stem)


def _prmbench(stem: str, number: int, record: Any) -> Labelled:  # noqa: ARG001
    """``error_steps`` are numbers from 1; some lie behind the last step and are left out, as the benchmark's own scoring does.

    Some classes number their steps in the text; the numbers are taken off, since they would tell the class.
    """
    steps = [
        ("agent", _STEP_NUMBER.sub("", text, count=1) if _STEP_NUMBER.match(text) else text)
        for text in record["modified_process"]
    ]
    name = f"{record['classification']}/{record['idx']}"
    found = _trajectory(name, "prmbench", record["modified_question"], steps)
    bad = frozenset(one - 1 for one in record["error_steps"] if 1 <= one <= len(steps))
    problem = " ".join(record["original_question"].split())
    return Labelled(
        trajectory=found, problem=problem, bad=bad, known=len(steps), kind=record["classification"]
    )


def _bigbench(stem: str, number: int, record: Any) -> Labelled:
    """``mistake_index`` is the place of the first mistake, null for none."""
    steps = [("agent", text) for text in record["steps"]]
    found = _trajectory(
        f"{stem}/{number}",
        "bigbench_mistake",
        record["input"],
        steps,
        success=record["answer"] == record["target"],
    )
    return _first(found, record["input"], record["mistake_index"], stem)


def _who_and_when(stem: str, number: int, record: Any) -> Labelled:  # noqa: ARG001
    """Each message is a step of its agent; ``mistake_step`` is the place of the decisive mistake. All these runs failed."""
    data = record["data"]
    steps = [
        (agent_of(message.get("name") or message["role"]), message["content"]) for message in data["history"]
    ]
    name = record["path"].removesuffix(".json")
    found = _trajectory(name, "who_and_when", data["question"], steps, success=False)
    return Labelled(
        trajectory=found,
        problem=" ".join(data["question"].split()),
        bad=frozenset({int(data["mistake_step"])}),
        known=len(steps),
        kind=f"{name.split('/')[1]}:{agent_of(data['mistake_agent'])}",
    )


def agent_of(name: str) -> str:
    """Return an agent's name without what it is doing, in lower case.

    >>> agent_of("Orchestrator (-> WebSurfer)")
    'orchestrator'
    """
    return name.partition(" (")[0].strip().lower()


def _gui_critic(stem: str, number: int, record: Any) -> Labelled:
    """The last step is judged; the ones before it are told in words. Nothing but the decision is labelled."""
    match = _GOAL.search(record["problem"])
    verdict = record["solution"].split()[0].strip(".").lower()
    if match is None or verdict not in ("correct", "incorrect"):
        raise ValueError("no instruction, history and decision, or no verdict")
    goal, history, decision = (one.strip() for one in match.groups())
    steps = [("agent", text.strip()) for text in _HISTORY.findall(history)]
    found = _trajectory(f"{stem}/{number}", "gui_critic", goal, [*steps, ("agent", decision)])
    last = len(steps)
    bad = frozenset({last}) if verdict == "incorrect" else frozenset[int]()
    return Labelled(
        trajectory=found, problem=" ".join(goal.split()), bad=bad, known=last + 1, kind=stem, only=last
    )


SETS: Mapping[str, LabelledSet] = MappingProxyType(
    {
        one.name: one
        for one in (
            LabelledSet(
                name="processbench", folder="processbench", files="*.json*", licence="Apache-2.0", read=_processbench,
                source="https://huggingface.co/datasets/Qwen/ProcessBench (arXiv 2412.06559)",
            ),
            LabelledSet(
                name="prmbench", folder="prmbench", files="*.jsonl*", licence="Apache-2.0", read=_prmbench,
                source="https://github.com/ssmisya/PRMBench (arXiv 2501.03124)",
            ),
            LabelledSet(
                name="bigbench_mistake", folder="bigbench_mistake", files="*.jsonl*", licence="Apache-2.0", read=_bigbench,
                source="https://github.com/WHGTyen/BIG-Bench-Mistake (arXiv 2311.08516)",
            ),
            LabelledSet(
                name="who_and_when", folder="who_and_when", files="*.jsonl*", licence="MIT", read=_who_and_when,
                source="https://github.com/mingyin1/Agents_Failure_Attribution (arXiv 2505.00212)",
            ),
            LabelledSet(
                name="gui_critic", folder="gui_critic", files="*.jsonl*", licence="MIT", read=_gui_critic,
                source="https://github.com/X-PLUG/MobileAgent, GUI-Critic-R1 (arXiv 2506.04614)",
            ),
        )
    }
)  # fmt: skip
"""The sets by name."""
