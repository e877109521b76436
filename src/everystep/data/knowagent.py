"""KnowAgent: Llama-2 runs on ALFWorld games (``name``, ``result``, ``traj``) and on HotpotQA (``question``, ``prompt``, ``correct``, ``reward``), a line a run.

In ALFWorld every line that begins with ``> `` is a step: thoughts and action paths are acts to which the log shows no answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Action, Observation, Task, Trajectory
from everystep.data.reading import (
    Found,
    Item,
    a_flag,
    a_number,
    a_text,
    an_object,
    converted,
    json_lines,
    needed,
    stem_of,
)
from everystep.data.thoughts import scored, turns_of
from everystep.data.walks import Turn, chain, finished

_GOAL = "Your task is to: "
_EXAMPLES = "(END OF EXAMPLES)"
_QUESTION = "Question: "
NOTHING = "Nothing happens."


def read_knowagent(path: Path) -> Iterator[Item]:
    """Yield the runs of a file."""
    return converted(path, json_lines(path), lambda found: _run(path, found))


def _run(path: Path, found: Found) -> Trajectory:
    record = an_object(found.value, "the run")
    if "traj" in record:
        return _household(path, record)
    if "prompt" in record:
        return _question(path, found, record)
    raise DataError("neither 'traj' (ALFWorld) nor 'prompt' (HotpotQA) is there")


def _household(path: Path, record: dict[str, Any]) -> Trajectory:
    game = a_text(needed(record, "name"), "name")
    solved = a_flag(needed(record, "result"), "result")
    pieces = f"\n{a_text(record['traj'], 'traj')}".split("\n> ")
    if len(pieces) < 2:
        raise DataError("no line of traj begins with '> ': nothing was done")
    seen = pieces[0].removeprefix("\n")
    goal = seen.partition(_GOAL)[2].split("\n")[0]
    turns: list[Turn] = []
    for piece in pieces[1:]:
        act, _, shown = piece.partition("\n")
        nothing = turns and turns[-1].action.valid and seen.strip() == NOTHING
        if nothing:
            turns[-1] = _refused(turns[-1])
        turns.append(Turn(observation=Observation(text=seen), action=Action(text=act)))
        seen = shown
    if seen.strip() == NOTHING:
        turns[-1] = _refused(turns[-1])
    task = Task(id=f"alfworld/{game}", instruction=goal or pieces[0].strip(), environment="alfworld")
    name = f"{stem_of(path)}/{game}"
    return finished(
        name,
        task,
        chain(name, scored(turns, float(solved))),
        outcome=float(solved),
        success=solved,
        final=Observation(text=seen),
        record={key: value for key, value in record.items() if key not in ("name", "result", "traj")},
    )


def _refused(turn: Turn) -> Turn:
    return Turn(
        observation=turn.observation, action=Action(text=turn.action.text, valid=False, reason=NOTHING)
    )


def _question(path: Path, found: Found, record: dict[str, Any]) -> Trajectory:
    question = a_text(needed(record, "question"), "question")
    prompt = a_text(record["prompt"], "prompt")
    correct = a_flag(needed(record, "correct"), "correct")
    reward = a_number(needed(record, "reward"), "reward")
    examples, mark, own = prompt.rpartition(_EXAMPLES)
    turns, final = turns_of(own, asked=question)
    if not turns:
        raise DataError("no thought and no action after the examples: nothing was answered")
    head = own.partition("\nActionPath 1:")[0]
    told = ("question", "answer", "correct", "reward", "prompt", "error")
    name = f"{stem_of(path)}/{found.place}"
    task = Task(
        id=f"hotpotqa/{question}",
        instruction=question,
        environment="hotpotqa",
        config={"prompt": examples + mark}
        | ({} if head.strip() == f"{_QUESTION}{question}" else {"head": head}),
        reference=record.get("answer"),
    )
    return finished(
        name,
        task,
        chain(name, scored(turns, reward, correct=float(correct))),
        outcome=reward,
        success=correct,
        cut_off=record.get("halted") is True,
        error="the run broke" if record.get("error") is True else None,
        final=final,
        record={key: value for key, value in record.items() if key not in told},
    )
