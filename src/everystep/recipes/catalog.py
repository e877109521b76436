"""The recipes that come with Everystep, by name. A recipe's module is imported when it is asked for.

A recipe is a module with a frozen ``Config`` and ``run(config, folder, loggers)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.core.registry import Registry
from everystep.run.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a recipe is: its system in the list of systems, one line about it, the command that runs it, and the pip extra that it needs."""

    module: str
    system: str | None
    summary: str
    verb: str = "train"
    extra: str = "train"


class Recipe(Protocol):
    """What a recipe's module offers."""

    @property
    def Config(self) -> type[Any]: ...  # noqa: N802 -- the name of a class

    def run(self, config: Any, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]: ...


RECIPES: Registry[Entry] = Registry("recipe")
for _name, _system, _summary in (
    ("grpo", None, "The outcome, compared within the group: the baseline."),
    ("ppo", None, "Each step against what a critic foretold: the baseline with a value head."),
    ("gigpo", "S11", "GRPO plus steps compared with steps from the same state."),
    ("srgpo", "S37", "GRPO plus a process reward compared in random blocks of steps."),
    ("matchtir", "S44", "Tool calls matched to a reference trace: turn and trajectory level."),
    ("artist", "S01", "Outcome reward over reasoning with tool calls; tool output masked."),
):
    RECIPES.add(_name, Entry(module=f"everystep.recipes.{_name}", system=_system, summary=_summary))
for _name, _system, _summary in (
    ("maker", "S40", "A million steps without an error: votes, red flags, a margin from the forecast."),
    ("maker_recursive", "S40", "MAKER's recursive variant: decompose, judge, solve, judge; votes at each."),
    ("agentic_robot", "S36", "The standard action procedure: plan, act, verify every few steps, recover."),
    ("deep_agent", "S08", "A task graph that grows and is mended level by level; tools from repeated work."),
    (
        "cognitive_kernel",
        "S30",
        "A model whose code calls the web, files, memory and itself, in the sandbox.",
    ),
    ("prompting_framework", "S33", "What there is on four levels, read from the code, and an import lint."),
    ("being_0", "S25", "A slow planner, fast skills, and a connector that knows what a skill needs."),
    (
        "responsible_ta",
        "S18",
        "Can it be done, was it done, and nothing private leaves: checks around an executor.",
    ),
):
    RECIPES.add(
        _name,
        Entry(module=f"everystep.recipes.{_name}", system=_system, summary=_summary, verb="reproduce"),
    )
for _name, _system, _extra, _summary in (
    (
        "adaptive_autonomy",
        "S35",
        "vision,plot",
        "A person is asked where perception is not reliable: confidence, and how far the images have drifted.",
    ),
    (
        "mobile_agent_e",
        "S27",
        "plot",
        "Five roles on a phone's screens; tips and tried shortcuts that grow from task to task.",
    ),
    (
        "data_agent",
        "S16",
        "data,tools",
        "Questions to tables at each level of autonomy, L0 to L5, the level read from the journal.",
    ),
    (
        "justask_audit",
        "S52",
        "train,smollm",
        "An audit of one's own agents with planted canaries: what leaks, and which answers can be believed.",
    ),
):
    _module = f"everystep.recipes.{_name}"
    RECIPES.add(
        _name, Entry(module=_module, system=_system, summary=_summary, verb="reproduce", extra=_extra)
    )


def recipe(name: str) -> Recipe:
    """Import and return a recipe; a missing package is named with its remedy."""
    entry = RECIPES[name]
    try:
        return cast("Recipe", import_module(entry.module))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("everystep"):
            raise
        raise ConfigError(
            f"recipe {name!r} needs the package {error.name!r}. Install it with: pip install 'everystep[{entry.extra}]'"
        ) from None
