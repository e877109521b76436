"""The rules of a filter, as data: each says what it drops, and nothing about how.

A rule about trajectories drops them whole. A rule about steps says in ``then`` what becomes of a step that fails: ``mask`` (its loss
weight is zero, it stays as context), ``cut`` (its trajectory ends before it) or ``drop`` (its trajectory goes). ``of`` names a value of
a step: ``reward``, ``score/NAME`` (measured by the environment), ``verdict/JUDGE`` or ``credit/ESTIMATOR``.

A rule is written ``kind:name=value,name=value`` or as a table ``[[rule]]`` of a TOML file with its ``kind``.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.records import End, Stop

Then = Literal["mask", "cut", "drop"]
Missing = Literal["keep", "fail"]
Within = Literal["all", "task"]
Order = Literal["order", "outcome", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Keep trajectories by outcome (inclusive bounds), success and reason of their end. An unknown outcome is outside of any bounds."""

    at_least: float | None = None
    at_most: float | None = None
    success: bool | None = None
    ends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Steps whose value ``of`` is outside of the inclusive bounds fail."""

    of: str
    at_least: float | None = None
    at_most: float | None = None
    missing: Missing = "keep"
    then: Then = "mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """Keep the best share ``top`` in (0, 1]: of trajectories by ``outcome`` or ``return``, else of steps by a value. Ties stay."""

    top: float
    of: str = "outcome"
    within: Within = "all"
    missing: Missing = "fail"
    then: Then = "mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Steps of these error classes fail: not valid, generation ended by ``stops``, a verdict's ``labels``, a ``reason`` (regular expression)."""

    invalid: bool = True
    stops: tuple[str, ...] = (Stop.ERROR.value, Stop.LENGTH.value)
    labels: tuple[str, ...] = ()
    reason: str | None = None
    undone: bool = True
    then: Then = "mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Keep the first (or by outcome the best) of what is equal, or alike to ``near`` (Jaccard of 8-byte shingles, estimated by min-hash).

    ``of`` is trajectory (what was seen and done), actions (what was done) or step; later steps are masked, later trajectories dropped.
    """

    of: Literal["trajectory", "actions", "step"] = "trajectory"
    near: float | None = None
    within: Within = "task"
    by: Literal["order", "outcome"] = "order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Keep trajectories of these lengths (inclusive). Tokens are counted where they are stored and else taken as characters / 4."""

    min_steps: int | None = None
    max_steps: int | None = None
    max_tokens: int | None = None
    max_chars: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerTask:
    """Keep at most so many trajectories of a task: the first, those with the best outcomes, or a random choice."""

    most: int
    by: Order = "order"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Keep trajectories, in order, by outcome or at random, as long as all of them together stay within the budget."""

    tokens: int | None = None
    steps: int | None = None
    trajectories: int | None = None
    by: Order = "order"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Which steps are learned from: those of these agents, from and up to an index (exclusive), with tool calls or without. Others are masked."""

    agents: tuple[str, ...] = ()
    start: int | None = None
    stop: int | None = None
    calls: bool | None = None
    last: bool = False


Rule = Outcome | Score | Percentile | Errors | Duplicates | Length | PerTask | Budget | Segment
KINDS: Mapping[str, type[Rule]] = {
    "outcome": Outcome,
    "score": Score,
    "percentile": Percentile,
    "errors": Errors,
    "duplicates": Duplicates,
    "length": Length,
    "per_task": PerTask,
    "budget": Budget,
    "segment": Segment,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
_SHORT: Mapping[str, Rule] = {"success": Outcome(success=True)}
_STEP_VALUE = re.compile(r"reward|(score|verdict|credit)/.+")
_SCALARS: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}


def name_of(rule: Rule) -> str:
    """Return the kind of a rule."""
    return _NAMES[type(rule)]


def as_table(rule: Rule) -> dict[str, Any]:
    """Return a rule as JSON values, without what is at its default.

    >>> as_table(Length(max_steps=20))
    {'kind': 'length', 'max_steps': 20}
    """
    usual = {f.name: f.default for f in fields(rule)}
    told = {
        key: list(one) if isinstance(one, tuple) else one
        for key, one in asdict(rule).items()
        if one != usual[key]
    }
    return {"kind": name_of(rule), **told}


def parse_rules(words: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules of words, or of TOML files (words that end in ``.toml``).

    >>> parse_rules(["success", "score:of=verdict/critic,at_least=0.5,then=cut"])[1]
    Score(of='verdict/critic', at_least=0.5, at_most=None, missing='keep', then='cut')
    >>> parse_rules(["lenght:max_steps=3"])
    Traceback (most recent call last):
        ...
    everystep.core.errors.ConfigError: unknown rule 'lenght'. Did you mean 'length'?
    """
    rules: list[Rule] = []
    for word in words:
        if word.endswith(".toml"):
            rules += _file(Path(word))
        elif word in _SHORT:
            rules.append(_SHORT[word])
        else:
            kind, _, rest = word.partition(":")
            options = dict(_option(word, one) for one in rest.split(",") if one)
            rules.append(rule_of(kind, options))
    return tuple(rules)


def _option(word: str, text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{text!r} in the rule {word!r} is not of the form name=value.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value.split("|") if "|" in value else value


def _file(path: Path) -> list[Rule]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("rule")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the rules in {str(path)!r}: {error}.") from None
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ConfigError(f"{str(path)!r} should hold tables [[rule]], each with its kind.")
    return [rule_of(str(one.pop("kind", "")), one) for one in tables]


def rule_of(kind: str, options: Mapping[str, Any]) -> Rule:
    """Return the rule of a kind with these options; ``ConfigError`` names what does not fit."""
    if kind not in KINDS:
        raise ConfigError(f"unknown rule {kind!r}. {did_you_mean(kind, (*KINDS, *_SHORT))}")
    cls = KINDS[kind]
    hints = get_type_hints(cls)
    values = {}
    for name, value in options.items():
        if name not in hints:
            raise ConfigError(f"the rule {kind!r} has no option {name!r}. {did_you_mean(name, hints)}")
        values[name] = _fitting(kind, name, value, hints[name])
    try:
        rule = cls(**values)
    except TypeError:
        needed = [f.name for f in fields(cls) if f.name not in values and f.default is f.default_factory]
        raise ConfigError(f"the rule {kind!r} needs {', '.join(needed)}.") from None
    _check(kind, rule)
    return rule


def _fitting(kind: str, name: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(_fitting(kind, name, one, str) for one in values)
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ConfigError(f"the rule {kind!r}: {name}={value!r}. {did_you_mean(str(value), get_args(hint))}")
    options = [one for one in (get_args(hint) or (hint,)) if one is not type(None)]
    if any(type(value) in _SCALARS[one] for one in options):
        return float(value) if options == [float] else value
    raise ConfigError(f"the rule {kind!r}: {name}={value!r}; expected {options[0].__name__}.")


def _check(kind: str, rule: Rule) -> None:
    """Refuse options out of range, rules without an effect, and regular expressions that are none."""
    problem = None
    if rule in (Outcome(), Length(), Budget(), Segment()):
        problem = "names nothing to go by"
    elif isinstance(rule, Outcome) and (unknown := set(rule.ends) - {one.value for one in End}):
        problem = f"has unknown ends {sorted(unknown)}. Known: {', '.join(End)}"
    elif isinstance(rule, Score) and rule.at_least is rule.at_most is None and rule.missing == "keep":
        problem = "needs at_least or at_most"
    elif isinstance(rule, Percentile) and not 0 < rule.top <= 1:
        problem = f"has top={rule.top}; expected a share above 0 and up to 1"
    elif isinstance(rule, Duplicates) and rule.near is not None and not 0.3 <= rule.near < 1:
        problem = f"has near={rule.near}; expected a likeness from 0.3 to below 1"
    elif isinstance(rule, Errors) and (unknown := set(rule.stops) - {one.value for one in Stop}):
        problem = f"has unknown stops {sorted(unknown)}. Known: {', '.join(Stop)}"
    elif isinstance(rule, PerTask) and rule.most < 1:
        problem = f"has most={rule.most}; expected 1 or more"
    of = rule.of if isinstance(rule, Score | Percentile) else "reward"
    whole = isinstance(rule, Percentile) and of in ("outcome", "return")
    if problem is None and not whole and not _STEP_VALUE.fullmatch(of):
        problem = f"has of={of!r}; expected reward, score/NAME, verdict/JUDGE or credit/ESTIMATOR"
    if problem is None and isinstance(rule, Errors) and rule.reason is not None:
        try:
            re.compile(rule.reason)
        except re.error as error:
            problem = f"has the reason {rule.reason!r}, which is no regular expression ({error})"
    if problem is not None:
        raise ConfigError(f"the rule {kind!r} {problem}.")
