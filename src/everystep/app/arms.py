"""The arms of a comparison: a recipe, and options of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from everystep.app.flags import checked, pairs
from everystep.core.errors import ConfigError
from everystep.core.records import Json
from everystep.environments.catalog import world
from everystep.recipes.catalog import recipe

OF_THE_PROTOCOL = ("seed", "learning_rate", "match_rms")
"""Options that the comparison itself sets."""
OF_THE_START = (
    "model",
    *("demonstrations", "demonstration_errors", "demonstration_habit"),
    *(f"{stage}_{name}" for stage in ("turn", "warm") for name in ("updates", "batch", "learning_rate")),
)
"""Options that make the common start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm as it was written: ``RECIPE[:KEY=VALUE[,KEY=VALUE...]]``."""

    text: str
    recipe: str
    own: Mapping[str, Json] = field(default_factory=dict)

    def label(self, *, full: bool = False) -> str:
        """Return the arm's name in tables and plots; keys are cut to their last part unless ``full``."""
        told = (
            f"{key if full else key.rpartition('.')[2]}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in self.own.items()
        )
        return f"{self.recipe} ({', '.join(told)})" if self.own else self.recipe


def read_arm(text: str) -> Arm:
    """Read an arm. A comma divides options only where another ``KEY=`` follows it.

    >>> read_arm("grpo:process.closer=1,clip_high=0.3").label()
    'grpo (closer=1, clip_high=0.3)'
    """
    name, colon, told = text.partition(":")
    recipe(name)
    if not colon:
        return Arm(text=text, recipe=name)
    try:
        own = pairs(re.split(r",(?=[\w.]+=)", told))
    except ValueError as error:
        raise ConfigError(f"arm {text!r}: {error}.") from None
    for key in own:
        if key in OF_THE_START:
            raise ConfigError(
                f"arm {text!r}: {key!r} belongs to the start that all arms share. Give it to --set."
            )
    _refuse(own, f"arm {text!r}: ")
    return Arm(text=text, recipe=name, own=own)


def options_of(
    name: str, shared: Mapping[str, Json], own: Mapping[str, Json] | None = None
) -> dict[str, Any]:
    """Return the options of a recipe's config: ``shared`` ones, then ``own``.

    ``options.x`` sets one entry of the mapping ``options`` and leaves the others as the recipe has them. The recipe's
    environment options are left out where the environment is another than the recipe's.
    """
    _refuse(shared, "--set: ")
    given = {**shared, **(own or {})}
    standard = recipe(name).Config()
    mappings = {
        f.name: dict(value) for f in fields(standard) if isinstance(value := getattr(standard, f.name), dict)
    }
    elsewhere = given.get("environment", standard.environment) != standard.environment
    found: dict[str, Any] = {"options": {}} if elsewhere else {}
    for layer in (shared, own or {}):
        for key, value in layer.items():
            head, dot, rest = key.partition(".")
            if not dot:
                found[key] = value
                continue
            before = found.get(head, mappings.get(head, {}))
            found[head] = {**(before if isinstance(before, dict) else {}), rest: value}
    return found


def check_arms(arms: Sequence[Arm], shared: Mapping[str, Json], config: Callable[[Arm], Any]) -> None:
    """Refuse, before anything runs, an option that is wrong, arms that are equal, and arms in different worlds.

    ``config`` builds the config that an arm is run with. Raises ``ConfigError`` that names the arm.
    """
    worlds = [_world(arm.recipe, options_of(arm.recipe, shared)) for arm in arms]
    for arm, one in zip(arms, worlds, strict=True):
        if one != worlds[0]:
            raise ConfigError(
                f"arms {arms[0].text!r} and {arm.text!r} act in different worlds: {_told(worlds[0])} and {_told(one)}. "
                "Say where: --environment NAME --set options.KEY=VALUE."
            )
    configs: list[Any] = []
    for arm in arms:
        try:
            made = config(arm)
            world(made.environment, **made.options)
        except ConfigError as error:
            raise ConfigError(f"arm {arm.text!r}: {error}" if arm.own else str(error)) from None
        for other, before in zip(arms, configs, strict=False):
            if other.recipe == arm.recipe and before == made:
                raise ConfigError(
                    f"arms {other.text!r} and {arm.text!r} are equal. Leave one out, or give it an option that "
                    f"differs, such as {arm.recipe}:clip_high=0.3."
                )
        configs.append(made)


def _world(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Json]]:
    config: Any = checked(recipe(name).Config, options, source=f"recipe {name!r}, --set")
    world(config.environment, **config.options)
    return config.environment, config.options


def _told(chosen: tuple[str, Mapping[str, Json]]) -> str:
    return " ".join([chosen[0], *(f"{key}={json.dumps(value)}" for key, value in chosen[1].items())])


def _refuse(options: Mapping[str, Json], source: str) -> None:
    for key in OF_THE_PROTOCOL:
        if key in options:
            instead = {
                "seed": "--seeds and --selection-seeds say how many",
                "learning_rate": "--learning-rates is the sweep",
                "match_rms": "--rms makes the control arms",
            }
            raise ConfigError(f"{source}{key!r} is set by the comparison; {instead[key]}.")
