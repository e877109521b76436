"""The checker must pass the good worlds and name what is broken in bad ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from everystep.core.protocols import Transition
from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.check import check_environment, format_report
from everystep.environments.exact import ExactEnvironment
from everystep.environments.places.hanoi import Hanoi
from everystep.environments.places.keydoor import KeyDoor


class Flawed(ExactEnvironment[Any]):
    """An environment with one fault, to see that the checker finds it."""

    fault: str = ""
    clock = 0

    def step(self, action: Action) -> Transition:
        self.clock += 1
        if self.fault == "raises" and "DROP" in action.text:
            raise RuntimeError("boom")
        if self.fault == "immortal" and self._over:
            self._over = False
        result = super().step(action)
        seen = result.observation
        if self.fault == "clock":
            result = replace(result, observation=replace(seen, anchor=f"{seen.anchor} {self._turn}"))
        if self.fault == "luck":
            result = replace(result, reward=float(self.clock))
        if self.fault == "lists":
            result = replace(result, observation=replace(seen, admissible=("move 1 from a to a",)))
        if self.fault == "info":
            result = replace(result, observation=replace(seen, info={"x": object()}))  # type: ignore[dict-item]
        if self.fault == "coarse":
            result = replace(result, observation=replace(seen, anchor="everywhere"))
        return result

    def restore(self, state: Any) -> Observation:
        seen = super().restore(state)
        if self.fault == "forgets":
            self._turn, self._state = 0, self._rules.start(state.task)
        return seen

    def load(self, task: Task, state: Json) -> Observation:
        seen = super().load(task, state)
        if self.fault == "loses":
            self._turn = 0
        return seen

    def oracle(self) -> str:
        return "move 1 from a to a" if self.fault == "oracle" else super().oracle()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlawedHanoi:
    """Hanoi with a fault."""

    fault: str = ""
    name: ClassVar[str] = "hanoi"
    summary: ClassVar[str] = "flawed"
    max_steps: ClassVar[int] = 14

    def make(self) -> Flawed:
        env = Flawed(Hanoi())
        env.fault = self.fault
        return env

    def size(self, split: str) -> int | None:
        return None

    def task(self, split: str, index: int) -> Task:
        task = Hanoi().task("train" if self.fault == "splits" else split, index)
        return replace(task, id=f"{split}:{index}", split=split)


def broken(fault: str) -> tuple[str, ...]:
    return check_environment(FlawedHanoi(fault=fault)).broken


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("raises", "hostile text"),
        ("clock", "anchors have no clock"),
        ("luck", "episodes repeat"),
        ("lists", "admissible actions"),
        ("info", "values are JSON"),
        ("coarse", "anchors are states"),
        ("forgets", "snapshots"),
        ("loses", "portable"),
        ("oracle", "oracle"),
        ("immortal", "life of an episode"),
        ("splits", "splits are disjoint"),
    ],
)
def test_a_fault_is_found(fault: str, finding: str) -> None:
    assert finding in broken(fault)


def test_without_a_fault_only_the_config_differs() -> None:
    # FlawedHanoi(fault="") builds the same tasks again, so nothing is broken.
    assert broken("") == ()


def test_report_text_names_every_finding() -> None:
    report = check_environment(Hanoi(), tasks=1)
    text = format_report(report)
    assert text.startswith("hanoi: ok")
    assert all(finding.name in text for finding in report.findings)


def test_nonce_is_seen_as_a_clock_in_the_anchor() -> None:
    report = check_environment(KeyDoor(nonce=True))
    assert report.broken == ("anchors have no clock",)
    states = next(f for f in report.findings if f.name == "anchors are states")
    plain = next(f for f in check_environment(KeyDoor()).findings if f.name == "anchors are states")
    assert int(states.detail.split("%")[0]) < 10 < int(plain.detail.split("%")[0])
