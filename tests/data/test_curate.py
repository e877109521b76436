"""Curation: criteria are required or weighed, the choice is spread, judges read what has no rule, files are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError, DataError
from everystep.core.protocols import Evidence, Looks
from everystep.core.records import Action, End, Level, Observation, Step, Task, Trajectory, Verdict
from everystep.data.curate import RULES, Criterion, curate, read_criteria
from everystep.verify.verdicts import verdict


def _made(name: str, app: str, closer: str, *, success: bool = True) -> Trajectory:
    """A trajectory of which each step comes closer (``+``) or not (``-``)."""
    steps = tuple(
        Step(
            id=f"{name}/{at}",
            parent=None,
            index=at,
            observation=Observation(text=""),
            action=Action(text="a"),
            scores={"closer": float(sign == "+")},
        )
        for at, sign in enumerate(closer)
    )
    task = Task(id=name, instruction="", environment="e", tags={"app": app})
    end = End.DONE if success else End.FAILED
    return Trajectory(
        id=name, task=task, group=name, steps=steps, end=end, success=success, outcome=float(success)
    )


MADE = [
    _made("a", "mail", "+++"),
    _made("b", "mail", "++++"),
    _made("c", "mail", "+-++"),
    _made("d", "shop", "++-"),
    _made("e", "shop", "++", success=False),
    _made("f", "files", "+"),
]
SOLVED = Criterion(name="solved", text="the task was solved", score=RULES["solved"], least=1.0)
DIRECT = Criterion(name="direct", text="no detours", score=RULES["direct"])


def test_required_criteria_refuse_and_the_choice_is_spread() -> None:
    found = curate(MADE, [SOLVED, DIRECT], 4, spread=lambda one: one.task.tags["app"])
    assert [one.id for one in found.chosen] == [
        "b",
        "f",
        "d",
        "a",
    ]  # longest of equals first, each app in turn
    assert found.refused == {"solved": 1}
    assert found.scores["d"] == {"solved": 1.0, "direct": pytest.approx(2 / 3)}


def test_recovery_can_be_asked_for() -> None:
    recovers = Criterion(name="recovers", text="a mistake is mended", score=RULES["recovers"], least=1.0)
    assert [one.id for one in curate(MADE, [SOLVED, recovers], 9).chosen] == ["c"]


@dataclass(frozen=True)
class _Long:
    """A judge that likes long trajectories and says nothing of ``f``."""

    name: str = "long"
    version: str = "1"
    looks: Looks = field(default_factory=lambda: Looks(outcome=True))
    levels: frozenset[Level] = frozenset({Level.TRAJECTORY})

    async def judge(self, level: Level, evidence: Evidence) -> tuple[Verdict, ...]:
        score = None if evidence.targets[0] == "f" else len(evidence.candidates[0]) / 4
        return (verdict(self, level, evidence, score=score, label="nothing" if score is None else None),)


def test_a_judge_reads_what_has_no_rule() -> None:
    asked: list[str] = []

    def judges(criterion: Criterion) -> _Long:
        asked.append(criterion.text)
        return _Long()

    long = Criterion(name="long", text="it is long", least=0.5)
    found = curate(MADE, [long], 2, judges=judges)
    assert asked == ["it is long"]
    assert [one.id for one in found.chosen] == ["b", "c"]
    assert found.refused == {"long": 1}
    assert found.scores["f"]["long"] is None
    with pytest.raises(ConfigError, match="a judge must read it"):
        curate(MADE, [long], 2)


def test_criteria_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "criteria.toml"
    file.write_text(
        '[[criterion]]\nname = "solved"\ntext = "the task was solved"\nrule = "solved"\nleast = 1\n'
        '[[criterion]]\nname = "calm"\ntext = "no haste"\nweight = 0.5\n',
        encoding="utf-8",
    )
    first, second = read_criteria(file)
    assert (first.score, first.least) == (RULES["solved"], 1.0)
    assert (second.score, second.weight) == (None, 0.5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"no \[\[criterion\]\]"),
        ("[[criterion]]\nname = 'a'\n", "name and text"),
        ("[[criterion]]\nname = 'a'\ntext = 'b'\nrule = 'solvd'\n", "solved"),
        ("[[criterion]]\nname = 'a'\ntext = 'b'\nweigth = 1\n", "weight"),
        ("[[criterion]]\nname = 'a'\ntext = 'b'\nweight = 'x'\n", "a number"),
        ("[[criterion", "cannot read"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "criteria.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=why):
        read_criteria(file)
