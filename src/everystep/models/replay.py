"""A model that answers what was answered before: stored trajectories, turn by turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from everystep.core.protocols import Generation, Request, Sampling, Turn
from everystep.core.records import Step, Stop, Trajectory


class Replay:
    """A sampler that replays recorded generations by session and turn, with their tokens.

    A session is named like the trajectory that it replays. When the observation that was recorded for a
    turn does not occur in its messages, the world went another way: that turn gives ``Stop.ERROR``, as
    do unknown sessions and turns behind the end.
    """

    def __init__(self, trajectories: Iterable[Trajectory], *, policy: str = "replay") -> None:
        self._policy = policy
        self._steps: dict[str, tuple[Step, ...]] = {one.id: one.steps for one in trajectories}
        self._turns: dict[str, int] = {}
        self._origin: dict[str, str] = {}

    @property
    def policy(self) -> str:
        return self._policy

    @property
    def sessions(self) -> Mapping[str, int]:
        """The sessions that can be replayed, with their numbers of turns."""
        return {name: len(steps) for name, steps in self._steps.items()}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests; the sampling settings do not apply."""
        return [self._answer(request) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Forget how far sessions have come."""
        for session in sessions:
            self._turns.pop(session, None)
            self._origin.pop(session, None)

    def fork(self, session: str, new_session: str) -> None:
        """Replay the rest of ``session`` in ``new_session`` too."""
        self._origin[new_session] = self._origin.get(session, session)
        self._turns[new_session] = self._turns.get(session, 0)

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        """Start behind turns that were taken before."""
        self._turns[session] = len(turns)

    def _answer(self, request: Request) -> Generation:
        name = self._origin.get(request.session, request.session)
        turn = self._turns.get(request.session, 0)
        steps = self._steps.get(name)
        if steps is None:
            return _error(f"no recorded trajectory is named {name!r}")
        if turn >= len(steps):
            return _error(f"trajectory {name!r} has {len(steps)} steps and was asked for one more")
        step = steps[turn]
        if not any(step.observation.text in message.content for message in request.messages):
            return _error(
                f"at turn {turn} of trajectory {name!r} the observation differs from the recorded one"
            )
        self._turns[request.session] = turn + 1
        return Generation(text=step.action.text, stop=step.stop, tokens=step.tokens, calls=step.action.calls)


def _error(why: str) -> Generation:
    return Generation(text="", stop=Stop.ERROR, error=f"cannot replay: {why}. Sample afresh from here.")
