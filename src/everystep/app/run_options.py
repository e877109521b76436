"""What ``everystep run`` can be told, and how the short forms (``ahead:3``, ``window:8``) are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import tyro

from everystep.core.budget import RESOURCES
from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import Flag, VoteRule
from everystep.core.records import Json
from everystep.run.context import History, Window
from everystep.run.decide import AtCap, Price
from everystep.run.vote import AheadBy, FirstTo, Majority, Single
from everystep.verify.flags import BadFormat, Empty, Looping, LowMargin, NotAdmissible, Repeated, TooLong

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Run one long task, step by step: sample, throw ill answers away, vote, ask where it is risky, act, write down."""

    text: tyro.conf.Positional[str] = ""
    """The task in words. It may be left out where the environment has tasks of its own."""
    environment: str = "hanoi"
    """The world to act in: hanoi, boxoban (Sokoban), intercode_sql, household, ... (`everystep environments`)."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of the environment, such as disks=5 start_from=full."""
    task: str = "train:0"
    """Which of the environment's tasks: SPLIT:INDEX."""
    tools: tuple[str, ...] = ()
    """Act with these tools instead of an environment: python, shell (both in a sandbox without network), files:FOLDER (or files:FOLDER:write),
    mcp:FILE.json (MCP servers in the usual form, {"mcpServers": {NAME: {"command": .., "args": [..]}}} or {"url": ..}), or
    Python files, whose public functions, or whose list TOOLS, are the tools."""
    model: str = "noisy:0.1"
    """Who decides. oracle: the environment's own solver. noisy:0.1: it, wrong in 10 % of the answers (noisy:0.1,correlated=0.05:
    at 5 % of the states in the same way each time). random: any admissible action. script:FILE.py: a
    function answer(text, seed) of yours. local:FOLDER: a checkpoint, or the folder of a training. smollm:
    SmolLM2-135M. chat:MODEL@URL: an OpenAI-compatible endpoint."""
    key: str | None = None
    """Name of the environment variable with the endpoint's key; by default OPENAI_API_KEY, and none for an endpoint on this machine."""
    price: str | None = None
    """What the model costs in US dollars per million tokens: PROMPT,COMPLETION or PROMPT,COMPLETION,CACHED."""
    temperature: float | None = None
    """Sampling temperature of a local or chat model (default 1)."""
    max_tokens: int | None = None
    """Tokens that a local or chat model may write in one answer (default 256; 1000 with tools)."""
    plan: str = "none"
    """none; linear:FILE, a text file with a step a line; FILE.json, a graph of steps; ask: the model makes the plan, and mends it."""
    vote: str | None = None
    """How samples become one answer. single: the first that is not flagged. ahead:3: the first to lead all others by 3. first:3: the first with 3
    votes. majority:5: the most frequent of 5. Each takes cap=N, the most samples of one step. By default ahead:3 for oracle, noisy and
    random, single for models whose calls cost something."""
    at_cap: Literal["fail", "best"] = "fail"
    """Where no answer has won at the cap: fail the step, or take the leader and mark it as contested."""
    flags: tuple[str, ...] = ("empty", "format")
    """Which answers do not count: empty, format (cannot be read), admissible (not among the listed actions), long:2000 (characters; also cut off),
    looping, repeated, unsure:0.5 (mean token probability below). none: count everything."""
    view: str | None = None
    """What the model is shown. window:8: the last 8 steps and the observation, at the same cost however long the run. history:
    everything, as one conversation. By default window:8, and history for a model of a training, which learned so."""
    constrain: bool = True
    """Let the model write nothing but admissible actions, where the environment lists them."""
    budget: str = ""
    """Limits that end the run: steps=..,calls=..,tokens=..,usd=..,seconds=.. (any of them). Raise them with `everystep resume`."""
    max_steps: int | None = None
    """Step limit of the run; the environment may have one of its own."""
    seed: int = 0
    """Seed of all sampling: the same seed gives the same run."""
    approve: Literal["auto", "terminal", "mailbox", "http", "never"] = "auto"
    """Who is asked before a risky act. terminal: whoever sits here. mailbox: `everystep approve RUN`, from anywhere. http: a page on
    this machine. never: nobody, so risky acts are refused. auto: terminal where there is one, else mailbox."""
    ask: Literal["risky", "every"] = "risky"
    """Ask before risky acts (risk of the act against --reliability), or before every act."""
    reliability: float = 0.5
    """How often this agent's acts are right, 0 to 1, as measured (`everystep forecast`): the more, the fewer questions."""
    wait: float = 3600.0
    """Seconds that a question may wait for its answer; then the act does not happen. 0: do not wait, pause the run (exit code 3)
    and go on with `everystep resume` when it is answered."""
    in_doubt: Literal["ask", "skip", "repeat"] = "ask"
    """An act was interrupted and nothing can tell whether it happened. ask: pause. skip: take it as done. repeat: do it again."""


# --- short forms ----------------------------------------------------------------------------------


def number(text: str, kind: Callable[[str], T], option: str) -> T:
    """Return a number that stands in an option."""
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"--{option}: {text!r} is no number.") from None


def split_spec(spec: str, option: str) -> tuple[str, str, dict[str, str]]:
    """Return name, argument and further settings of a short form.

    >>> split_spec("ahead:3,cap=50", "vote")
    ('ahead', '3', {'cap': '50'})
    """
    head, *rest = spec.split(",")
    name, _, argument = head.partition(":")
    more = {}
    for word in rest:
        key, sign, value = word.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--{option} {spec!r}: {word!r} is not of the form key=value.")
        more[key.strip()] = value.strip()
    return name.strip(), argument.strip(), more


def only(more: Mapping[str, str], known: tuple[str, ...], spec: str, option: str) -> None:
    """Refuse settings that a short form does not know."""
    for key in more:
        if key not in known:
            raise ConfigError(f"--{option} {spec!r} has no setting {key!r}. {did_you_mean(key, known)}")


def vote_of(spec: str) -> VoteRule:
    """Return the vote that a short form describes.

    >>> vote_of("ahead:3,cap=50")
    AheadBy(k=3, cap=50)
    """
    name, argument, more = split_spec(spec, "vote")
    only(more, ("cap",), spec, "vote")
    known = ("single", "ahead", "first", "majority")
    if name not in known:
        raise ConfigError(f"--vote {spec!r}: unknown vote {name!r}. {did_you_mean(name, known)}")
    cap = {"cap": number(more["cap"], int, "vote")} if "cap" in more else {}
    if name == "single":
        if argument:
            raise ConfigError(f"--vote {spec!r}: single takes no number; more samples are ahead:{argument}.")
        return Single(**cap)
    if not argument:
        raise ConfigError(f"--vote {spec!r}: how many? For example {name}:3.")
    count = number(argument, int, "vote")
    if name == "ahead":
        return AheadBy(count, **cap)
    return FirstTo(count, **cap) if name == "first" else Majority(count, **cap)


def flags_of(specs: tuple[str, ...]) -> tuple[Flag, ...]:
    """Return the flags that short forms describe.

    >>> flags_of(("empty", "long:80"))
    (Empty(), TooLong(max_tokens=None, max_chars=80))
    """
    if specs == ("none",):
        return ()
    return tuple(_flag(spec) for spec in specs)


def _flag(spec: str) -> Flag:
    name, argument, more = split_spec(spec, "flags")
    only(more, (), spec, "flags")
    plain: dict[str, Callable[[], Flag]] = {
        "empty": Empty,
        "format": BadFormat,
        "admissible": NotAdmissible,
        "looping": Looping,
    }
    if name in plain:
        if argument:
            raise ConfigError(f"--flags {spec!r}: {name} takes no number.")
        return plain[name]()
    if name == "long":
        return TooLong(max_chars=number(argument or "2000", int, "flags"))
    if name == "repeated":
        return Repeated(times=number(argument or "2", int, "flags"))
    if name == "unsure":
        return LowMargin(mean=number(argument or "0.5", float, "flags"))
    known = (*plain, "long", "repeated", "unsure", "none")
    raise ConfigError(f"--flags {spec!r}: unknown flag {name!r}. {did_you_mean(name, known)}")


def view_of(spec: str) -> Window | History:
    """Return the view that a short form describes.

    >>> view_of("window:4").steps
    4
    """
    name, argument, more = split_spec(spec, "view")
    only(more, ("chars",), spec, "view")
    chars = number(more.get("chars", "4000"), int, "view")
    if name == "window":
        return Window(steps=number(argument or "8", int, "view"), chars=chars)
    if name == "history":
        if argument:
            raise ConfigError(f"--view {spec!r}: history is all of it and takes no number.")
        return History(chars=chars)
    raise ConfigError(f"--view {spec!r}: unknown view {name!r}. {did_you_mean(name, ('window', 'history'))}")


def budget_of(spec: str) -> dict[str, float]:
    """Return the limits of a budget by resource.

    >>> budget_of("steps=100,usd=0.5")
    {'steps': 100.0, 'usd': 0.5}
    """
    limits: dict[str, float] = {}
    for word in spec.replace(",", " ").split():
        key, sign, value = word.partition("=")
        if not sign or key not in RESOURCES:
            raise ConfigError(
                f"--budget {spec!r}: {word!r} is not of the form resource=number. {did_you_mean(key, RESOURCES)}"
            )
        limits[key] = number(value, float, "budget")
        if not limits[key] > 0:
            raise ConfigError(f"--budget {spec!r}: {key} is {value}; it must be more than 0.")
    return limits


def price_of(spec: str | None) -> Price:
    """Return prices in dollars per million tokens.

    >>> price_of("0.5,1.5").completion
    1.5
    """
    if spec is None:
        return Price()
    parts = [number(word.strip(), float, "price") for word in spec.split(",")]
    if len(parts) not in (2, 3) or min(parts) < 0:
        raise ConfigError(
            f"--price {spec!r}: expected PROMPT,COMPLETION or PROMPT,COMPLETION,CACHED in dollars per million tokens."
        )
    return Price(prompt=parts[0], completion=parts[1], cached=parts[2] if len(parts) == 3 else parts[0])


def task_of(spec: str) -> tuple[str, int]:
    """Return split and index of a task.

    >>> task_of("test:4")
    ('test', 4)
    """
    split, sign, index = spec.partition(":")
    if not sign:
        raise ConfigError(f"--task {spec!r}: expected SPLIT:INDEX, such as train:0 or test:4.")
    return split, number(index, int, "task")


def at_cap_of(word: str) -> AtCap:
    """Return what happens when the samples of a step are used up."""
    return AtCap(word)
