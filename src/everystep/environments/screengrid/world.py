"""ScreenGrid: small screen apps for learning on a laptop. Many short tasks, few words, elements and pixels.

Six apps (settings, shop, mail, files, calendar, music) are graphs of pages; a goal names stored values that should be other ones when the agent
says ``done``, and nothing else may have changed: a stray change has to be undone. The oracle's plans are shortest ones.

With ``points`` the actions are ``click X Y`` in thousandths of the screen (0 to 999, from the left and from the top), hit-tested against the boxes of the
elements; the text then gives the cell of each element (column 0 to 7 and row 0 to 5 of its upper left corner), and the arrangement differs between tasks.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    REFUSED,
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
    split_of,
)
from everystep.environments.screengrid.apps import APPS, app_of
from everystep.environments.screengrid.boxes import ARRANGEMENTS, hit
from everystep.environments.screengrid.kinds import HELD_OUT, KINDS, WORDS
from everystep.environments.screengrid.parts import distance, wrong_of
from everystep.environments.screengrid.screen import (
    CLICK,
    State,
    check_state,
    look,
    right_part,
    steps_left,
    tapped,
)
from everystep.environments.screengrid.tasks import draw, held_out, read_goal, scene_of, split_goal
from everystep.environments.screengrid.written import WRITTEN

LENGTHS = {"any": (1, 1, 2), "easy": (1,), "hard": (2,)}
"""How many clauses a goal of each length has; one is drawn."""
HOLDOUTS = ("goals", "families", "starts")
LONGEST_PLAN = 8
"""Actions of the longest plan of a task, ``done`` included."""
EXPECTED = "expected tap LABEL, type WORD, scroll up, scroll down, back or done"
EXPECTED_POINT = "expected click X Y with whole numbers from 0 to 999"

_SAID = re.compile(r"(?:tap|type) [a-z]{1,20}|scroll (?:up|down)|back|done")
_ATTEMPTS = 1 << 12
_STARTS = 1500
_NOTHING = {"closer": 0.0, "valid": 0.0, "stray": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenGrid:
    """Options. ``apps`` and ``kinds`` (families of tasks, empty for all) are names with commas between. ``length`` is ``easy`` (one clause), ``hard`` (two)
    or ``any`` (two in one task of three). ``horizon`` is the step limit, plans are at most 8 actions.

    ``holdout`` says what the test split has that the train split has not: ``goals`` (clauses, about one in five of each family; their words are met in
    training in other clauses), ``families`` (whole families, ``HELD_OUT``) or only ``starts`` (the same instruction from another start). ``points`` makes the actions clicks.
    The split ``written`` has goals in the words of people.
    """

    apps: str = ",".join(APPS)
    kinds: str = ""
    length: str = "easy"
    horizon: int = 12
    holdout: str = "goals"
    points: bool = False

    name: ClassVar[str] = "screengrid"
    summary: ClassVar[str] = "small screen apps: many short tasks, few words, elements, boxes and pixels"

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, LONGEST_PLAN, 1000)
        kinds = [kind.name for app in KINDS.values() for kind in app]
        for option, given, known in (
            ("apps", self._apps, list(APPS)),
            ("kinds", self._kinds, kinds),
            ("length", (self.length,), list(LENGTHS)),
            ("holdout", (self.holdout,), list(HOLDOUTS)),
        ):
            for one in given:
                if one not in known:
                    raise ConfigError(
                        f"screengrid: option {option!r} has no {one!r}. {did_you_mean(one, known)}"
                    )
        if not self._able:
            raise ConfigError(
                f"screengrid: none of the kinds {self.kinds!r} belongs to the apps {self.apps!r}. "
                "Name an app for each kind."
            )

    @property
    def _apps(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.apps.split(","))

    @property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.kinds.split(",") if part.strip())

    @property
    def _able(self) -> tuple[str, ...]:
        wanted = self._kinds
        return tuple(
            app for app in self._apps if not wanted or any(kind.name in wanted for kind in KINDS[app])
        )

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int | None:
        """Return ``None``: tasks are made from their index, without end; the split ``written`` has an end."""
        return len(self._written()) if split == "written" else None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``: ``train``, ``test`` or ``written``."""
        if split == "written":
            return self._written_task(index)
        check_place(split, index)
        first = index * _ATTEMPTS
        for seed in range(first, first + _ATTEMPTS):
            app, goal = self._draw(seed)
            if self._split(app, goal, seed) == split:
                return self._made(split, index, seed, goal, goal)
        raise ConfigError(
            f"screengrid: no task of split {split!r} was found among {_ATTEMPTS}: the options leave too few. "
            "Name more apps or kinds, or choose another holdout."
        )

    def task_from(self, instruction: str) -> Task | str:
        """Return a task (of split ``proposed``) for a written goal, or the reason why there is none.

        The first of 1500 starts in which the goal can be reached in at most 8 actions, and is not so already, is taken.

        >>> ScreenGrid().task_from("mail : archive the dog")
        "mail cannot 'archive the dog'"
        >>> ScreenGrid().task_from("shop : buy one pear").tags["kind"]
        'buy'
        """
        found = self._start_for(instruction)
        if isinstance(found, str):
            return found
        seed, goal = found
        index = zlib.crc32(goal.encode())
        return self._made("proposed", index, seed, goal, goal)

    def texts(self) -> tuple[str, ...]:
        """Return every word that an agent reads or writes in this world, written tasks included: what a tiny tokenizer needs."""
        words = {*f"{REFUSED} . : , and tap type scroll up down back done empty".split()}
        for name in self._apps:
            app = app_of(name)
            words |= {name, *app.names}
            for page in app.pages:
                words.add(page.title)
                words.update(word for part in page.parts for word in (part.label, *part.shown))
            for kind in KINDS[name]:
                words.update(word for word in kind.pattern.split() if not word.isupper())
                words.update(word for slot in kind.slots for word in WORDS[slot])
        if self.points:
            words |= {"click", *map(str, range(10))}
        told = {one for one in words if one and one[0] != "#"}
        return (*sorted(told), *(written for written, _ in self._written()))

    def start(self, task: Task) -> State:
        """Return the first state of ``task``. A task without a goal that can be read raises ``WorldError``."""
        return _first(task.seed, str(task.reference), self.points)

    def observe(self, state: State, note: str = "") -> Observation:
        """Name the app and the page, then each element with the word that it shows. A state of another app raises ``ValueError``."""
        check_state(state)
        seen = look(state, self.points)
        return Observation(
            text=f"{note} . {seen.text}" if note else seen.text,
            anchor=f"{state.page} {' '.join(map(str, state.values))}",
            admissible=None if self.points else seen.said,
            info={"boxes": {said: list(spot.box) for said, spot in zip(seen.said, seen.spots, strict=True)}}
            if self.points
            else {},
        )

    def parse(self, text: str) -> Action:
        """Accept what has the form of an action; whether the element is there is seen when it is done."""
        said = text.strip()
        if (CLICK if self.points else _SAID).fullmatch(said):
            return Action(text=text)
        return Action(text=text, valid=False, reason=EXPECTED_POINT if self.points else EXPECTED)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Tap. ``done`` ends the episode: with reward 1 if the goal is reached and nothing else changed, else with 0."""
        if not action.valid:
            return refused(state, action.reason or "not an action of this world", _NOTHING)
        seen = look(state, self.points)
        said = action.text.strip()
        if self.points:
            found = CLICK.fullmatch(said)
            if found is None:
                return refused(state, EXPECTED_POINT, _NOTHING)
            spot = hit(seen.spots, int(found[1]), int(found[2]))
            if spot is None:
                return refused(state, "there is nothing at this point", _NOTHING)
            place = seen.spots.index(spot)
        elif said in seen.places:
            place = seen.places[said]
        else:
            return refused(state, f"there is no {said[:40]!r} on this page", _NOTHING)
        part = seen.parts[place]
        before = wrong_of(state.values, state.target)
        if part is None:
            return _ended(state, solved=not before)
        after = tapped(state, part)
        left = wrong_of(after.values, after.target)
        app = state.scene.app
        closer = distance(app, after.page, left) < distance(app, state.page, before)
        stray = len(left) > len(before)
        return Outcome(state=after, scores={"closer": float(closer), "valid": 1.0, "stray": float(stray)})

    def oracle(self, state: State) -> str:
        """Return the first action of a shortest plan."""
        seen = look(state, self.points)
        place = seen.parts.index(right_part(state, seen))
        if not self.points:
            return seen.said[place]
        x, y = seen.spots[place].centre
        return f"click {x} {y}"

    def _draw(self, seed: int) -> tuple[str, str]:
        longest = min(LONGEST_PLAN, self.horizon)
        return draw(self._able, self._kinds, LENGTHS[self.length], longest, seed)

    def _split(self, app: str, goal: str, seed: int) -> str:
        if self.holdout == "starts":
            scene = scene_of(app, seed)
            return split_of(f"{goal} {scene.page} {scene.names} {scene.values}")
        found = split_goal(goal)
        assert not isinstance(found, str)  # noqa: S101 -- the generator's goals can be read
        if self.holdout == "families":
            return "test" if any(kind.name in HELD_OUT[app] for kind, _ in found[1]) else "train"
        return "test" if any(held_out(app, kind, slots) for kind, slots in found[1]) else "train"

    def _made(self, split: str, index: int, seed: int, instruction: str, goal: str) -> Task:
        state = _first(seed, goal, self.points)
        found = read_goal(state.scene, goal)
        assert not isinstance(found, str)  # noqa: S101 -- it was read when the start was made
        tags = {
            "app": state.scene.app.name,
            "kind": "+".join(sorted(found.kinds)),
            "length": "hard" if len(found.kinds) > 1 else "easy",
            "steps": str(steps_left(state)),
        }
        return make_task(
            self, split=split, index=index, seed=seed, instruction=instruction, reference=goal, tags=tags
        )

    def _written(self) -> list[tuple[str, str]]:
        return [(told, goal) for told, goal in WRITTEN if goal.partition(" ")[0] in self._apps]

    def _written_task(self, index: int) -> Task:
        written = self._written()
        if not 0 <= index < len(written):
            raise ConfigError(
                f"task index {index!r} is out of range: split 'written' has indices 0 to {len(written) - 1}."
            )
        told, goal = written[index]
        found = self._start_for(goal)
        if isinstance(found, str):
            raise ConfigError(f"screengrid: the written goal {goal!r} cannot be reached: {found}.")
        return self._made("written", index, found[0], told, found[1])

    def _start_for(self, text: str) -> tuple[int, str] | str:
        found = split_goal(text)
        if isinstance(found, str):
            return found
        if found[0] not in self._apps:
            return f"this world has no app {found[0]!r}, it has {self.apps}"
        return start_for(found[0], text)


def _ended(state: State, *, solved: bool) -> Outcome[State]:
    return Outcome(
        state=state,
        reward=float(solved),
        over=True,
        success=solved,
        scores={"closer": float(solved), "valid": 1.0, "stray": 0.0},
    )


@lru_cache(maxsize=1 << 14)
def _first(seed: int, goal: str, points: bool) -> State:
    found = split_goal(goal)
    app = APPS[0] if isinstance(found, str) else found[0]
    scene = scene_of(app, seed)
    read = read_goal(scene, goal)
    if isinstance(read, str):
        raise WorldError(
            f"the goal {goal!r} of the task cannot be read: {read}. "
            "Take tasks from ScreenGrid.task or ScreenGrid.task_from."
        )
    arrangement = zlib.crc32(str(seed).encode()) % ARRANGEMENTS if points else 0
    return State(scene, read.target, arrangement, scene.page, scene.values)


@lru_cache(maxsize=1 << 14)
def start_for(app: str, goal: str) -> tuple[int, str] | str:
    """Return the first seed whose start makes a goal possible, with the goal as it was read; the last reason where there is none."""
    first = zlib.crc32(goal.encode())
    reason = ""
    for seed in range(first, first + _STARTS):
        scene = scene_of(app, seed)
        read = read_goal(scene, goal)
        if isinstance(read, str):
            reason = read
            continue
        taps = distance(scene.app, scene.page, wrong_of(scene.values, read.target))
        if taps < LONGEST_PLAN:
            return seed, read.text
        reason = f"the shortest plan has {taps + 1} actions, {LONGEST_PLAN} are the limit"
    return reason
