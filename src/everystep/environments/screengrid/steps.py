"""What stands beside stored steps of ScreenGrid: the screen before each of them, and what would have been right there."""

from __future__ import annotations

from dataclasses import dataclass

from everystep.core.protocols import ScreenView
from everystep.core.records import Step, Trajectory
from everystep.environments.screengrid.screen import steps_left, view
from everystep.environments.screengrid.world import ScreenGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A stored step, the screen that it was chosen on, the first action of a shortest plan from there, and the length of that plan."""

    step: Step
    view: ScreenView
    right: str
    left: int


def beside(world: ScreenGrid, trajectory: Trajectory) -> list[Beside]:
    """Return for each step what stands beside it: the actions are executed again, also those that the oracle would not have taken.

    >>> from everystep.core.records import Action, End, Observation
    >>> world = ScreenGrid()
    >>> acts = [Step(id=f"{n}", parent=None, index=n, observation=Observation(text=""), action=Action(text=text))
    ...     for n, text in enumerate(("tap fruit", "back"))]
    >>> task = world.task_from("shop : buy one milk")
    >>> made = Trajectory(id="t", task=task, group="g", steps=tuple(acts), end=End.TRUNCATED)
    >>> [(one.view.page, one.right) for one in beside(world, made)]
    [('main', 'tap drink'), ('fruit', 'back')]
    """
    state = world.start(trajectory.task)
    found = []
    for step in trajectory.steps:
        found.append(Beside(step=step, view=view(state), right=world.oracle(state), left=steps_left(state)))
        state = world.advance(state, world.parse(step.action.text)).state
    return found
