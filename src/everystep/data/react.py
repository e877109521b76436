"""ReAct's log of WebShop episodes: ``Action:`` and ``Observation:`` blocks, a line of dashes and a number before each episode.

The score is that of the shop; an episode that never bought anything counts zero, as in the published mean. After each episode stands
the running mean of the scores: one that does not follow from the scores before it is said with the episode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from everystep.core.errors import DataError
from everystep.core.records import Action, Observation, Task, Trajectory
from everystep.data.reading import Found, Item, Unread, converted, stem_of, text_lines
from everystep.data.walks import Turn, chain, finished

_START, _STOP = re.compile(r"^-{17}$"), re.compile(r"^-{13}$")
_SCORE = re.compile(r"Your score \(min 0\.0, max 1\.0\): ([0-9]*\.?[0-9]+)")
_FOOTER = re.compile(r"^(\d+) (\d\S*) (\d\S*) (\d\S*)$")
_ACTION, _OBSERVATION = "Action:", "Observation:"
_INSTRUCTION = re.compile(r"Instruction:\s*\n(.*?)\n\[Search\]", re.DOTALL)
MOST_ACTS = 15


@dataclass(slots=True)
class _Episode:
    """The lines of one episode. ``number`` is what the log calls it."""

    line: int
    number: str = ""
    lines: list[str] = field(default_factory=list)


def read_webshop_log(path: Path) -> Iterator[Item]:
    """Yield the episodes of a log."""
    return converted(path, _episodes(path), lambda found: _run(path, found))


def _episodes(path: Path) -> Iterator[Found | Unread]:
    current: _Episode | None = None
    for one in text_lines(path):
        if isinstance(one, Unread):
            yield one
            continue
        number, line = one
        if _START.match(line):
            if current is not None:
                yield _found(current)
            current = _Episode(line=number)
        elif current is not None and not current.number:
            current.number = line.strip()
        elif current is not None:
            current.lines.append(line)
    if current is not None:
        yield _found(current)


def _found(one: _Episode) -> Found:
    return Found(place=f"line {one.line}", value=one.lines, key=one.number)


def _run(path: Path, found: Found) -> Trajectory:
    if not (found.key or "").isdigit():
        raise DataError(f"an episode's number was expected after the dashes; found {found.key!r}")
    lines = list(found.value)
    rest: dict[str, str] = {}
    while lines and (not lines[-1].strip() or _STOP.match(lines[-1]) or len(lines[-1].split()) == 3):
        if _FOOTER.match(lines[-1]):
            break
        lines.pop()
    if lines and _FOOTER.match(lines[-1]):
        rest["footer"] = lines.pop()
    blocks = blocks_of(lines)
    if not blocks or blocks[0][0] != "reset":
        raise DataError("the episode does not begin with the action 'reset'")
    first = blocks[0][1]
    asked = _INSTRUCTION.search(first)
    turns = []
    seen = first
    for act, shown in blocks[1:]:
        invalid = shown.strip() == "Invalid action!"
        action = Action(text=act, valid=not invalid, reason="Invalid action!" if invalid else None)
        turns.append(Turn(observation=Observation(text=seen), action=action, reward=0.0))
        seen = shown
    if not turns:
        raise DataError("the episode has no action after 'reset'")
    score = _SCORE.search(seen)
    outcome = float(score[1]) if score else 0.0
    turns[-1] = Turn(observation=turns[-1].observation, action=turns[-1].action, reward=outcome)
    task = Task(
        id=f"webshop/{found.key}",
        instruction=asked[1].strip() if asked else first.strip(),
        environment="webshop",
    )
    name = f"{stem_of(path)}/{found.key}"
    return finished(
        name,
        task,
        chain(name, turns),
        outcome=outcome,
        success=outcome == 1.0,
        cut_off=score is None and len(blocks) >= MOST_ACTS,
        final=Observation(text=seen),
        record=dict(rest),
    )


def blocks_of(lines: list[str]) -> list[tuple[str, str]]:
    """Return acts with what they showed. Text before the first act is nothing."""
    blocks: list[tuple[list[str], list[str]]] = []
    for line in lines:
        if line.startswith(_ACTION):
            blocks.append(([line.removeprefix(_ACTION).strip()], []))
        elif blocks and line.startswith(_OBSERVATION) and not blocks[-1][1]:
            blocks[-1][1].append(line.removeprefix(_OBSERVATION).removeprefix(" "))
        elif blocks:
            blocks[-1][1 if blocks[-1][1] else 0].append(line)
    return [("\n".join(act).strip(), "\n".join(shown).rstrip("\n")) for act, shown in blocks]
