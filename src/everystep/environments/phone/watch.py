"""The small phone under observation: gestures are not taken back, and afterwards it is known which of them could be done and did what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from everystep.core.protocols import Gesture, Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import ExactEnvironment
from everystep.environments.phone.errands import State, impossible, moved, plain, plan
from everystep.environments.phone.phones import APPS, read_gesture, show, told, written
from everystep.environments.phone.screens import DONE, Screens


class WatchedPhone:
    """The environment of ``Screens`` without a way back. ``invalid`` counts refused gestures, ``missed`` those that did something else;
    ``right`` says whether the last one did what it says."""

    def __init__(self, world: Screens) -> None:
        self._inner: ExactEnvironment[State] = world.make()
        self.steps = self.invalid = self.missed = 0
        self.right = True

    @property
    def state(self) -> State:
        """The phone as it is."""
        return self._inner.snapshot().state

    def reset(self, task: Task) -> Observation:
        """Begin the episode of ``task``."""
        return self._inner.reset(task)

    def parse(self, text: str) -> Action:
        """Accept what the world accepts."""
        return self._inner.parse(text)

    def step(self, action: Action) -> Transition:
        """Do it, and compare with what it would have done without a miss."""
        before = self.state
        made = self._inner.step(action)
        gesture = read_gesture(action.text) if action.valid else None
        self.steps += 1
        self.invalid += not made.valid
        self.right = made.valid
        if gesture is not None and made.valid:
            self.right = as_meant(before, gesture, self.state)
            self.missed += not self.right
        return made

    def close(self) -> None:
        """Close the world."""
        self._inner.close()


def doable(state: State, gesture: Gesture) -> bool:
    """Say whether a gesture can be done now."""
    return moved(state, gesture)[1] is None


def as_meant(before: State, gesture: Gesture, after: State) -> bool:
    """Say whether a gesture led to what it leads to where no tap misses."""
    ideal, reason = moved(plain(before), gesture)
    return reason is None and plain(after) == ideal


_ELSEWHERE = (
    *(f"tap {name}" for name in ("add", "save", "send", "delete", "time", "name", "number", "text", "reply")),
    *(f"tap {row}{n}" for row in ("alarm", "contact", "thread", "note", "switch") for n in (1, 3, 5, 9)),
    *(
        "hold switch1",
        "hold thread2",
        "hold alarm9",
        "swipe up",
        "swipe down",
        "open calendar",
        "open camera",
    ),
    *("type hello", "type 07:30", "back", "home", "tap menu", "tap search"),
)


def not_doable(state: State, rng: Random) -> str:
    """Return a command that cannot be carried out on this screen: right elsewhere, or about something that there is not."""
    some = [one for one in _ELSEWHERE if (gesture := read_gesture(one)) and not doable(state, gesture)]
    return rng.choice(some)


def commands(state: State) -> list[str]:
    """Return the commands for all errands from here. One about something that is not there names a row that is not there either."""
    there = tuple(goal for goal in state.goals if not impossible(state, goal))
    found = [written(one) for one in plan(plain(replace(state, goals=there)))]
    for goal in state.goals:
        if impossible(state, goal):
            app, row = ("settings", "switch9") if goal.kind == "switch" else ("messages", "thread9")
            rest = [] if goal.kind == "switch" else ["tap reply", f"type {goal.word}", "tap send"]
            found += [f"open {app}", f"tap {row}", *rest]
    return [*found, DONE]


def walks(
    world: Screens, tasks: Sequence[Task], *, steps: int, seed: int
) -> list[tuple[str, str, str, bool, bool]]:
    """Return acts of a wandering agent: what was seen, the gesture, what was seen after it, whether it could be done and whether it was.

    A third of the gestures are right, a third possible, a third cannot be done.
    """
    found = []
    for task in tasks:
        rng, state = Random(f"{seed}/{task.id}"), world.start(task)
        for _ in range(steps):
            text = _drawn(state, rng)
            gesture = read_gesture(text)
            if gesture is None:
                break
            after, reason = moved(state, gesture)
            right = reason is None and as_meant(state, gesture, after)
            found.append((told(show(state)), text, told(show(after)), reason is None, right))
            state = after
    return found


def _drawn(state: State, rng: Random) -> str:
    kind = rng.randrange(3)
    if kind == 0:
        return not_doable(state, rng)
    listed = [f"tap {one.id}" for one in show(state).elements if one.enabled]
    listed += [f"open {app}" for app in APPS] + [f"type {word}" for word in state.words if state.focus]
    if kind == 1:
        return rng.choice(listed)
    return commands(state)[0]
