"""Real ALFWorld episodes (KnowAgent, Apache-2.0): their actions and observations, and the home that they show."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from everystep.environments.places.errands import State
from everystep.environments.places.homes import ERRANDS, Errand, Home, kind_of

FOLDER = Path(os.environ.get("EVERYSTEP_DATA", "/nowhere")) / "knowagent"
NAME = re.compile(r"[a-z]+ [0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    name: str
    room: str
    task: str
    turns: tuple[tuple[str, str], ...]


def read_logs() -> Iterator[Log]:
    for path in sorted(FOLDER.glob("KnowAgentALFWorld*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                entry = json.loads(line)
                room, task, *lines = entry["traj"].split("\n")
                yield Log(name=entry["name"], room=room, task=task, turns=tuple(turns_of(lines)))


def turns_of(lines: list[str]) -> Iterator[tuple[str, str]]:
    action: str | None = None
    for line in lines:
        if line.startswith("> "):
            thought = re.match(r"> (think|ActionPath)", line, re.IGNORECASE)
            action = None if thought else line[2:]
        elif line.strip() and action is not None:
            yield action, line
            action = None


def home_of(log: Log) -> Home:
    """The home as far as the episode shows it: what lay where when it was first looked at."""
    receptacles = tuple(NAME.findall(log.room.partition("you see")[2]))
    places: dict[str, int] = {}
    looked: set[str] = set()
    for _, text in log.turns:
        match = re.search(r"(?:On the|The) ([a-z]+ [0-9]+)(?: is open\. In it)?, you see (.*)\.$", text)
        if match and match[1] not in looked and match[1] in receptacles:
            looked.add(match[1])
            for name in NAME.findall(match[2]):
                places.setdefault(name, receptacles.index(match[1]))
    said = " ".join(text for _, text in log.turns)
    kind, thing, _, target, _ = log.name.partition("/")[0].split("-")
    how = next(short for short, long in ERRANDS.items() if long == kind)
    names = sorted(places, key=lambda name: (kind_of(name), -int(name.partition(" ")[2])))
    return Home(
        room="",
        receptacles=receptacles,
        things=tuple(names),
        places=tuple(places[name] for name in names),
        openable=tuple(f"{name} is closed" in said or f"{name} is open" in said for name in receptacles),
        errand=Errand(how=how, thing=thing.lower(), target=target.lower(), wording=log.task),
        kinds=tuple(map(kind_of, receptacles)),
        thing_kinds=tuple(map(kind_of, names)),
    )


def start_of(log: Log) -> State:
    home = home_of(log)
    return State(home, home.places)


def shape(text: str) -> str:
    """The text without the names in it: equal for sentences of the same grammar."""
    text = re.sub(r"\ba [a-z]+ [0-9]+(, a [a-z]+ [0-9]+)*(, and a [a-z]+ [0-9]+)?", "LIST", text)
    return NAME.sub("NAME", text)
