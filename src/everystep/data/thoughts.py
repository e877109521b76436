"""Runs on questions in ReAct's words (``Thought:``, ``Action:``, ``Observation:``, numbered or not): text to turns."""

from __future__ import annotations

import re

from everystep.core.records import Action, Observation
from everystep.data.walks import Turn

_LABEL = re.compile(r"^(ActionPath|Thought|Action|Observation)(?: ?\d+)?: ?", re.MULTILINE)


def turns_of(text: str, *, asked: str) -> tuple[list[Turn], Observation | None]:
    """Return the turns of a text and what was seen last. The first turn sees what was ``asked``.

    A step is what the model wrote between two observations, as it wrote it. One without an action is not valid.

    >>> turns, last = turns_of("Thought 1: easy\\nAction 1: Finish[42]\\nObservation 1: right", asked="Six times seven?")
    >>> turns[0].action.text, last.text
    ('Thought 1: easy\\nAction 1: Finish[42]', 'right')
    """
    turns: list[Turn] = []
    seen: Observation | None = Observation(text=asked)
    start, acted, open_ = 0, False, False
    for match in [*_LABEL.finditer(text), None]:
        label = match[1] if match else None
        if label == "Observation" or match is None:
            stop = match.start() if match else len(text)
            if open_ and seen is not None:
                turns.append(_turn(seen, text[start:stop].strip("\n"), acted=acted))
                seen = None
            if match is None:
                break
            after = _LABEL.search(text, match.end())
            seen = Observation(text=text[match.end() : after.start() if after else len(text)].strip("\n"))
            open_ = acted = False
            continue
        if not open_:
            start, open_ = match.start(), True
            seen = seen or Observation(text="")
        acted = acted or label == "Action"
    return turns, seen


def _turn(seen: Observation, text: str, *, acted: bool) -> Turn:
    return Turn(
        observation=seen, action=Action(text=text, valid=acted, reason=None if acted else "no action")
    )


def scored(turns: list[Turn], reward: float, **scores: float) -> list[Turn]:
    """Return the turns with the reward on the last one and zero before: these environments reward the answer only."""
    return [
        Turn(
            observation=turn.observation,
            action=turn.action,
            reward=reward if turn is turns[-1] else 0.0,
            scores=scores if turn is turns[-1] else {},
        )
        for turn in turns
    ]
