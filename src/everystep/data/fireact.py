"""FireAct: question answering runs of fine-tuned models, an object of runs; chat messages or one text with an instruction template.

The reward is exact match, the score ``f1`` stands at the last step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Task, Trajectory
from everystep.data.messages import talk_of
from everystep.data.reading import (
    Found,
    Item,
    a_flag,
    a_number,
    a_text,
    an_object,
    converted,
    items,
    needed,
    stem_of,
)
from everystep.data.thoughts import scored, turns_of
from everystep.data.walks import chain, finished

_TEMPLATE = re.compile(r"^(.*?)### Instruction:\n(.*?)\n\n### Response:\n(.*)$", re.DOTALL)
_TOLD = ("reward", "em", "f1", "gt", "traj", "traj_by_line")


def read_fireact(path: Path) -> Iterator[Item]:
    """Yield the runs of a file."""
    return converted(path, items(path), lambda found: _run(path, found))


def _run(path: Path, found: Found) -> Trajectory:
    record = an_object(found.value, "the run")
    reward = float(a_flag(needed(record, "reward"), "reward"))
    f1 = a_number(needed(record, "f1"), "f1")
    em = float(a_flag(needed(record, "em"), "em"))
    told = needed(record, "traj")
    config: dict[str, Any] = {}
    if isinstance(told, str):
        split = _TEMPLATE.match(told)
        if split is None:
            raise DataError("the text of traj has no '### Instruction:' and '### Response:'")
        asked = split[2]
        turns, final = turns_of(split[3], asked=asked)
        config = {"template": split[1]}
    else:
        talk = talk_of(told)
        asked, turns, final = talk.instruction, list(talk.turns), talk.final
    if not turns:
        raise DataError("no thought and no action: nothing was answered")
    key = found.key if found.key is not None else found.place
    task = Task(
        id=f"hotpotqa/{key}",
        instruction=asked,
        environment="hotpotqa",
        config=config,
        reference=a_text(needed(record, "gt"), "gt"),
    )
    name = f"{stem_of(path)}/{key}"
    return finished(
        name,
        task,
        chain(name, scored(turns, reward, em=em, f1=f1)),
        outcome=reward,
        success=reward == 1.0,
        final=final,
        record={name: value for name, value in record.items() if name not in _TOLD},
    )
