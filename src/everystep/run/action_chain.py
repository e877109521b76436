"""Chain of action: the last actions stand in the prompt, and the kinds of the next ones are written before the decision (Auto-UI, arXiv 2309.11436).

Only the decision acts and is scored; the plan in front of it is there for what it does to the decision. Each turn is asked anew: what a model knows of the past is what the prompt says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from everystep.core.errors import ConfigError
from everystep.core.protocols import Generation, Request, Sampler, Sampling
from everystep.core.records import Message

_PLAN, _DECISION = "plan:", "decision:"
NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """So many actions of ``history`` are shown, the last ones in full; ``plan`` is how many kinds are written, that of the decision first, 0 for no plan."""

    history: int = 8
    plan: int = 4

    def __post_init__(self) -> None:
        if self.history < 0 or self.plan < 0:
            raise ConfigError(f"{self!r}: expected 0 or more actions of history and of a plan.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What an answer says: the kinds that it plans, and its decision, ``None`` where it has none."""

    plan: tuple[str, ...] = ()
    decision: str | None = None


def kind_of(action: str) -> str:
    """Return the kind of an action that is written as a command: its first word."""
    return (action.split() or [""])[0]


def prompt_of(chain: Chain, *, done: Sequence[str], goal: str = "", screen: str = "") -> str:
    """Return what is asked: the last actions (with a history of 0 nothing is said of them), the goal, the screen.

    >>> print(prompt_of(Chain(history=1), done=["open Maps", "click 3"], goal="find tea", screen="1 button"))
    before: click 3
    goal: find tea
    1 button
    """
    lines = []
    if chain.history:
        lines.append(f"before: {' ; '.join(done[-chain.history :]) or NONE}")
    if goal:
        lines.append(f"goal: {goal}")
    if screen:
        lines.append(screen)
    return "\n".join(lines)


def answer_of(
    chain: Chain, action: str, then: Sequence[str] = (), *, kind: Callable[[str], str] = kind_of
) -> str:
    """Return the answer that is learned: the kinds of an action and of those that come ``then``, and the action.

    >>> answer_of(Chain(plan=3), "click 3", ["type 2 tea", "click 9", "wait"])
    'plan: click type click\\ndecision: click 3'
    """
    if not chain.plan:
        return f"{_DECISION} {action}"
    kinds = [kind(one) for one in (action, *then)][: chain.plan]
    return f"{_PLAN} {' '.join(kinds)}\n{_DECISION} {action}"


def decided(text: str) -> Decided:
    """Read an answer: what stands behind the last mark is the decision. Without a mark, or with nothing behind it, there is none.

    >>> decided("plan: click type\\ndecision: click 3")
    Decided(plan=('click', 'type'), decision='click 3')
    >>> decided("click 3").decision is None
    True
    """
    before, mark, after = text.rpartition(_DECISION)
    if not mark:
        return Decided()
    plan = before.rpartition(_PLAN)[2] if _PLAN in before else ""
    return Decided(plan=tuple(plan.split()), decision=after.strip() or None)


def pairs_of(
    chain: Chain,
    actions: Sequence[str],
    *,
    goal: str = "",
    screens: Sequence[str] = (),
    kind: Callable[[str], str] = kind_of,
) -> Iterator[tuple[str, str]]:
    """Yield a prompt and its answer for each action of an episode; ``screens`` are what was seen before each, where there were any."""
    for place, action in enumerate(actions):
        screen = screens[place] if screens else ""
        yield (
            prompt_of(chain, done=actions[:place], goal=goal, screen=screen),
            answer_of(chain, action, actions[place + 1 :], kind=kind),
        )


class ChainSampler:
    """Asks another sampler turn by turn, each time with the last decisions and the newest message; what it gives on is the decision alone.

    ``show`` changes what is seen before it is asked about. An answer without a decision is given on as it is, for the world to refuse. Generations carry no tokens: a turn is no part of a conversation.
    """

    def __init__(self, sampler: Sampler, chain: Chain, *, show: Callable[[str], str] = str) -> None:
        self._sampler, self._chain, self._show = sampler, chain, show
        self._done: dict[str, list[str]] = {}

    @property
    def policy(self) -> str:
        """The policy of the sampler that is asked."""
        return self._sampler.policy

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Return the decisions, in the order of the requests."""
        asked = []
        for request in requests:
            done = self._done.setdefault(request.session, [])
            prompt = prompt_of(self._chain, done=done, screen=self._show(request.messages[-1].content))
            asked.append(replace(request, session=f"{request.session}#chain", messages=(Message(role="user", content=prompt),), allowed=None))  # fmt: skip
        made = self._sampler.sample(asked, sampling)
        self._sampler.release([request.session for request in asked])
        found = []
        for request, one in zip(requests, made, strict=True):
            decision = decided(one.text).decision
            if decision is not None:
                self._done[request.session].append(decision)
            found.append(replace(one, text=one.text if decision is None else decision, tokens=None))
        return found

    def release(self, sessions: Sequence[str]) -> None:
        """Forget what was done in these sessions."""
        for session in sessions:
            self._done.pop(session, None)
