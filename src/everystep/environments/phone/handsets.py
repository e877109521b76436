"""Devices with a screen as something to act on: the small phone as a device, any device as an environment, a specialist for the phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from everystep.core.acts import Effect, Reversal, Risk
from everystep.core.protocols import Gesture, Screen, ScreenView, Settled, Transition
from everystep.core.records import Action, Observation, Task
from everystep.environments.phone.errands import State, goals_of, impossible, moved, plain, plan
from everystep.environments.phone.phones import APPS, EXPECTED, Phone, read_gesture, show, told, written

LONGEST_WORDS = 500
"""Characters that an agent may say at the end."""


class Handset:
    """The small phone as a device (a ``Screen``): it stays as it is between tasks, like a phone does."""

    def __init__(self, phone: Phone, *, name: str = "phone") -> None:
        self.name = name
        stored = (phone.alarms, phone.contacts, phone.threads, phone.notes, phone.switches)
        self.state = State(*stored, miss=phone.miss, luck=phone.luck)

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that can be opened."""
        return APPS

    def view(self) -> ScreenView:
        """Return what the screen shows."""
        return show(self.state)

    def do(self, gesture: Gesture) -> str | None:
        """Perform a gesture; return why it could not be done, ``None`` where it was."""
        self.state, reason = moved(self.state, gesture)
        return reason


def risk_on_phones(gesture: Gesture, view: ScreenView) -> Effect:  # noqa: ARG001
    """Return what a gesture does on the small phone: sending and deleting stay done, a look at a page changes nothing."""
    if gesture.kind == "tap" and gesture.target == "send":
        return Effect(name="send", reversal=Reversal.IRREVERSIBLE, risk=Risk.HIGH, resources=("screen",))
    if gesture.kind == "tap" and gesture.target == "delete":
        return Effect(name="delete", reversal=Reversal.IRREVERSIBLE, risk=Risk.MEDIUM, resources=("screen",))
    if gesture.kind == "tap" and (gesture.target == "save" or gesture.target.startswith(("alarm", "switch"))):
        return Effect(name="change", reversal=Reversal.UNDOABLE, risk=Risk.LOW, resources=("screen",))
    return Effect(name="look", reversal=Reversal.UNDOABLE, resources=("screen",))


def unknown_risk(gesture: Gesture, view: ScreenView) -> Effect:  # noqa: ARG001
    """Return what is assumed of a gesture on a device that nothing is known about: a tap may do anything."""
    risk = Risk.MEDIUM if gesture.kind in ("tap", "hold") else Risk.LOW
    return Effect(name=gesture.kind, reversal=Reversal.IRREVERSIBLE, risk=risk, resources=("screen",))


class ScreenTask:
    """An environment over any ``Screen``: one gesture a step, until the agent says ``done WORDS`` or ``abort WORDS``.

    The device is not put back by ``reset``: an episode begins where the device stands. Acts reach outside of the process, so they are
    journalled before and after, and never replayed. Nobody knows whether the task is done but the agent: ``success`` stays ``None`` after ``done``.
    """

    def __init__(
        self, screen: Screen, *, effects: Callable[[Gesture, ScreenView], Effect] = unknown_risk
    ) -> None:
        self._screen = screen
        self._effects = effects

    def reset(self, task: Task) -> Observation:  # noqa: ARG002
        """Return what the device shows now."""
        return self._seen()

    def rejoin(self, task: Task, observation: Observation) -> Observation:  # noqa: ARG002
        """Return what the device shows now."""
        return self._seen()

    def parse(self, text: str) -> Action:
        """Accept a gesture, ``done WORDS`` or ``abort WORDS``."""
        if _end_of(text) is not None or read_gesture(text) is not None:
            return Action(text=text)
        return Action(text=text, valid=False, reason=f"{EXPECTED}, done WORDS or abort WORDS")

    def effect(self, action: Action) -> Effect:
        """Say what an action would do."""
        gesture = read_gesture(action.text)
        if gesture is None:
            return Effect(name="say")
        return self._effects(gesture, self._screen.view())

    async def act(self, action: Action, *, key: str) -> Transition:  # noqa: ARG002
        """Perform a gesture."""
        return self.step(action)

    async def settled(self, action: Action, *, key: str) -> Settled:  # noqa: ARG002
        """A device does not remember what was done to it."""
        return Settled(known=False)

    def step(self, action: Action) -> Transition:
        """Perform a gesture, or end."""
        end = _end_of(action.text) if action.valid else None
        if end is not None:
            success = None if end[0] == "done" else False
            return Transition(observation=self._seen(), reward=0.0, terminated=True, success=success)
        gesture = read_gesture(action.text) if action.valid else None
        reason = action.reason or "this is no gesture" if gesture is None else self._screen.do(gesture)
        return Transition(observation=self._seen(), reward=0.0, valid=reason is None, reason=reason)

    def close(self) -> None:
        """Leave the device as it is."""

    def _seen(self) -> Observation:
        return Observation(text=told(self._screen.view()))


def words_of(text: str) -> tuple[str, str]:
    """Return how an agent ended and what it said.

    >>> words_of("done the alarm is set")
    ('done', 'the alarm is set')
    >>> words_of("tap save")
    ('', '')
    """
    return _end_of(text) or ("", "")


def _end_of(text: str) -> tuple[str, str] | None:
    word, _, rest = text.strip().partition(" ")
    return (word, rest.strip()[:LONGEST_WORDS]) if word in ("done", "abort") else None


def specialist(handset: Handset, task: str) -> str:
    """Return what an agent that knows the small phone does next about a task in the words of ``phone_errands``."""
    goals = goals_of(task)
    if goals is None:
        return "abort this phone knows no such errand"
    state = replace(handset.state, goals=goals)
    if any(impossible(state, goal) for goal in goals):
        return "abort what the task is about is not on this phone"
    way = plan(plain(state))
    return written(way[0]) if way else "done all of it"
