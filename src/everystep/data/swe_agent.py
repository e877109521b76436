"""SWE-agent: a ``.traj`` file is one run; bundles of them, a line a run (``{path, data}``), are read too.

What the agent saw and wrote is the ``history`` of messages. The entries of ``trajectory`` (parsed command, raw output, state, time) are
kept beside the answers that they belong to, in ``info["entry"]``, as far as the message does not say the same; entries
after the last answer (the exit of the run) become steps of their own. The file says whether a patch was submitted, not whether it is right:
outcome and success are unknown. Needs nothing of SWE-agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from everystep.core.errors import DataError
from everystep.core.records import Action, Observation, Task, Trajectory
from everystep.data.messages import ANSWER, UNSAID, Talk, role_of, talk_of, text_of
from everystep.data.reading import (
    Found,
    Item,
    a_list,
    a_text,
    an_object,
    converted,
    maybe_number,
    needed,
    records,
    stem_of,
    whole,
)
from everystep.data.walks import Turn, chain, finished

ENTRY = "entry"
"""Key in an observation's ``info`` of the entry of ``trajectory`` that belongs to the answer."""


def read_swe_agent(path: Path) -> Iterator[Item]:
    """Yield the run of a ``.traj`` file, or the runs of a bundle."""
    single = path.name.removesuffix(".gz").endswith(".traj")
    return converted(path, whole(path) if single else records(path), lambda found: _run(path, found))


def _run(path: Path, found: Found) -> Trajectory:
    record = an_object(found.value, "the run")
    name = stem_of(path)
    if "data" in record and "history" not in record:
        where = a_text(record.get("path", found.place), "path")
        record, name = an_object(record["data"], "data"), f"{name}/{where.removesuffix('.traj')}"
    history = a_list(needed(record, "history"), "history")
    entries = [
        an_object(one, "an entry of trajectory")
        for one in a_list(record.get("trajectory") or [], "trajectory")
    ]
    talk = talk_of(history, agent_key="agent")
    turns, extra = _with_entries(talk, entries)
    info = an_object(record.get("info") or {}, "info")
    world = record.get("environment")
    instance = a_text(world, "environment") if world is not None else stem_of(Path(name))
    task = Task(id=f"swe-agent/{instance}", instruction=_instruction(talk), environment="swe-agent")
    final = talk.final
    if extra:
        turns, final = turns + _after(talk, extra), Observation(text=_output(extra[-1]))
    status = info.get("exit_status")
    left = {
        key: value for key, value in record.items() if key not in ("history", "trajectory", "environment")
    }
    made = finished(
        name, task, chain(name, turns), outcome=None, success=None, cut_off=True, final=final, record=left
    )
    return replace(made, error=None if status in (None, "submitted") else f"exit status {status!r}"[:300])


def _instruction(talk: Talk) -> str:
    """The last thing that the user said before the first answer that is no demonstration."""
    said = [text_of(one) for one in talk.opening if role_of(one) == "user" and not one.get("is_demo")]
    return said[-1] if said else talk.instruction


def _with_entries(talk: Talk, entries: list[dict[str, Any]]) -> tuple[list[Turn], list[dict[str, Any]]]:
    """Lay each entry beside its answer; return the turns and the entries that no answer belongs to.

    Demonstrations are answers without an entry. Entries and answers stand in the same order.
    """
    turns, rest = [], list(entries)
    for turn in talk.turns:
        answer = turn.observation.info.get(ANSWER)
        demo = isinstance(answer, Mapping) and bool(answer.get("is_demo"))
        if demo or not rest:
            turns.append(turn)
            continue
        entry = rest.pop(0)
        told = {
            key: value for key, value in entry.items() if key != "messages" and value not in (None, {}, [])
        }
        for key in ("response", "thought"):
            if told.get(key) == turn.action.text:
                del told[key]
        observation = replace(turn.observation, info={**turn.observation.info, ENTRY: told})
        seconds = maybe_number(entry.get("execution_time"), "execution_time")
        turns.append(
            replace(turn, observation=observation, cost={} if seconds is None else {"seconds": seconds})
        )
    return turns, rest


def _after(talk: Talk, entries: list[dict[str, Any]]) -> list[Turn]:
    """Return the turns of entries that come after the last message."""
    seen = talk.final or Observation(text="", info={"messages": []})
    turns = []
    for entry in entries:
        text = a_text(entry.get("response") or entry.get("action") or "", "response")
        told = {key: value for key, value in entry.items() if key != "messages"}
        observation = replace(seen, info={**seen.info, ENTRY: told, UNSAID: True})
        turns.append(Turn(observation=observation, action=Action(text=text)))
        seen = Observation(text=_output(entry), info={"messages": []})
    return turns


def _output(entry: Mapping[str, Any]) -> str:
    shown = entry.get("observation")
    if shown is not None and not isinstance(shown, str):
        raise DataError("the observation of an entry is no text")
    return shown or ""
