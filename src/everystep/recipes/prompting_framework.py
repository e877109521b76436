"""Prompting frameworks (S33): four levels, data, base, execute and service, seen in the house; what it can do, read from the code.

Paper: Prompting Frameworks for Large Language Models, A Survey (arXiv 2311.12785): a framework has four levels from the bottom up, data, base, execute and
service; its list of 2025 names a core (models, tasks, input, output) and options (context and memory, external tools, data processing, a
collection of prompts). Certain: these names. Inferred: what belongs to a level. Ours: the use as a lint (every public class is on
one level, imports point down) and as a table that is written from the code and never by hand.

    everystep reproduce prompting_framework
    everystep reproduce prompting_framework --page docs/capabilities.md

Result: docs/capabilities.md; a test says when it is out of date. It shows what there is, not how good it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.evaluate.study import REPORT
from everystep.evaluate.survey import Module, implementers, registries, survey, upward
from everystep.run.folder import RunFolder

PACKAGE = Path(__file__).parents[1]


class Tier(StrEnum):
    """The four levels, the lowest first."""

    DATA = "data"
    BASE = "base"
    EXECUTE = "execute"
    SERVICE = "service"


LEVELS: Mapping[str, Tier] = {
    "bench": Tier.EXECUTE,
    "core": Tier.DATA,
    "data": Tier.DATA,
    "data.corrected": Tier.EXECUTE,
    "data.corrections": Tier.EXECUTE,
    "data.curate": Tier.EXECUTE,
    "data.segments": Tier.EXECUTE,
    "data.siblings": Tier.EXECUTE,
    "data.slips": Tier.EXECUTE,
    "data.teachers": Tier.EXECUTE,
    "environments": Tier.DATA,
    "environments.tooluse.bfcl": Tier.BASE,
    "environments.tooluse.ftrl": Tier.BASE,
    "environments.tooluse.ftrl_oracle": Tier.BASE,
    "environments.code": Tier.BASE,
    "environments.web.miniwob": Tier.BASE,
    "environments.places.scienceworld": Tier.BASE,
    "environments.tooluse.tau2": Tier.BASE,
    "environments.places.text_game": Tier.BASE,
    "environments.places.textworld_express": Tier.BASE,
    "environments.web.sites": Tier.BASE,
    "environments.web.way": Tier.BASE,
    "run.journal": Tier.DATA,
    "run.journal_file": Tier.DATA,
    "run.store": Tier.DATA,
    "run.export": Tier.DATA,
    "run.tables": Tier.DATA,
    "run.folder": Tier.DATA,
    "run.salvage": Tier.DATA,
    "run.measure": Tier.DATA,
    "models": Tier.BASE,
    "tools": Tier.BASE,
    "run.action_chain": Tier.BASE,
    "run.context": Tier.BASE,
    "run.nodes": Tier.BASE,
    "run.plan_text": Tier.BASE,
    "evolve.memory": Tier.BASE,
    "evolve.layers": Tier.BASE,
    "evolve.recall": Tier.BASE,
    "evolve.shapes": Tier.BASE,
    "evolve.skills": Tier.BASE,
    "evolve.library": Tier.BASE,
    "run": Tier.EXECUTE,
    "credit": Tier.EXECUTE,
    "verify": Tier.EXECUTE,
    "guard": Tier.EXECUTE,
    "learn": Tier.EXECUTE,
    "evolve": Tier.EXECUTE,
    "evaluate": Tier.EXECUTE,
    "recipes": Tier.SERVICE,
    "app": Tier.SERVICE,
}
"""The level of a folder or a module; the longest name that fits counts."""
RISING = frozenset({("everystep.run.export", "everystep.run.rollout")})
"""Imports that point up and are known: an export writes a conversation as the rollout showed it. No other one is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The four levels of the house."""

    page: str = ""
    """File to write the page to, beside the folder of the run."""


def tier_of(module: str) -> Tier:
    """Return the level of a module; ``ConfigError`` for one that has none.

    >>> tier_of("everystep.run.journal").value, tier_of("everystep.run.loop").value
    ('data', 'execute')
    """
    name = module.removeprefix("everystep").removeprefix(".")
    if not name:
        return Tier.DATA
    while name:
        if name in LEVELS:
            return LEVELS[name]
        name = name.rpartition(".")[0]
    raise ConfigError(f"module {module!r} is on no level. Give its folder one in prompting_framework.LEVELS.")


def rising(modules: Mapping[str, Module]) -> list[tuple[str, str]]:
    """Return the imports that point from a level to a higher one."""
    order = list(Tier)
    return upward(modules, {name: order.index(tier_of(name)) for name in modules})


# --- what there is: each row says where it is read from ----------------------------------------------------

Probe = Callable[[Mapping[str, Module]], Sequence[str]]


def _keeping(*protocols: str) -> Probe:
    def found(modules: Mapping[str, Module]) -> Sequence[str]:
        known = {one.name: one for module in modules.values() for one in module.classes if one.is_protocol}
        kept = [one for name in protocols for one in implementers(known[name], modules)]
        return sorted({one.name for one in kept if tier_of(one.module) is not Tier.SERVICE})

    return found


def _registered(noun: str) -> Probe:
    def found(modules: Mapping[str, Module]) -> Sequence[str]:
        names = [(module, name) for module, name, what in registries(modules) if what == noun]
        return sorted(key for module, name in names for key in vars(import_module(module))[name])

    return found


def _returning(kind: str) -> Probe:
    def found(modules: Mapping[str, Module]) -> Sequence[str]:
        return sorted(
            name
            for module in modules.values()
            if tier_of(module.name) is not Tier.SERVICE
            for name, returned in module.functions.items()
            if kind in returned.replace("[", " ").replace(",", " ").replace("]", " ").split()
        )

    return found


def _classes(module: str) -> Probe:
    return lambda modules: sorted(one.name for one in modules[f"everystep.{module}"].classes)


CAPABILITIES: Sequence[tuple[Tier, str, str, Probe]] = (
    (Tier.DATA, "data processing: records", "classes of core.records", _classes("core.records")),
    (Tier.DATA, "data processing: forms of export", "registry", _registered("export form")),
    (Tier.DATA, "tasks: worlds", "registry", _registered("environment")),
    (Tier.BASE, "models", "protocols Sampler, AsyncSampler", _keeping("Sampler", "AsyncSampler")),
    (Tier.BASE, "input: views", "protocol Context", _keeping("Context")),
    (Tier.BASE, "context and memory", "protocol Recall", _keeping("Recall")),
    (Tier.BASE, "external tools", "functions that return Tool", _returning("Tool")),
    (Tier.BASE, "collection of prompts", "registry", _registered("prompt")),
    (Tier.EXECUTE, "task management: planners", "protocol Planner", _keeping("Planner")),
    (Tier.EXECUTE, "output: votes", "protocol VoteRule", _keeping("VoteRule")),
    (Tier.EXECUTE, "output: flags", "protocol Flag", _keeping("Flag")),
    (Tier.EXECUTE, "output: checks of a step", "protocol StepVerifier", _keeping("StepVerifier")),
    (Tier.EXECUTE, "permission", "protocol Gate", _keeping("Gate")),
    (Tier.EXECUTE, "credit", "registry", _registered("estimator")),
    (Tier.EXECUTE, "learning", "protocol Learner", _keeping("Learner")),
    (Tier.SERVICE, "published systems", "registry", _registered("recipe")),
    (Tier.SERVICE, "commands", "registry", _registered("command")),
)


def page(modules: Mapping[str, Module]) -> str:
    """Return the page of capabilities, from nothing but the code."""
    lines = [
        "# What Everystep can do, on four levels",
        "",
        "Written from the code by `everystep reproduce prompting_framework --page docs/capabilities.md`; do not edit it.",
        "The levels are those of the survey of prompting frameworks (S33). A part counts for a protocol if it has its methods, with their parameters, and its attributes; those of recipes and of the app are left out.",
        "",
        "| level | folders and modules |",
        "|---|---|",
    ]
    for tier in Tier:
        own = [f"`{name}`" for name, one in LEVELS.items() if one is tier]
        lines.append(f"| {tier} | {', '.join(own)} |")
    bad = rising(modules)
    told = "None points up" if not bad else f"These point up: {'; '.join(f'`{a}` to `{b}`' for a, b in bad)}"
    lines += ["", "The longest name that fits counts. Imports point down or stay on a level.", f"{told}.", ""]
    lines += ["| level | capability | read from | there is |", "|---|---|---|---|"]
    for tier, what, where, probe in CAPABILITIES:
        found = probe(modules)
        lines.append(
            f"| {tier} | {what} | {where} | {len(found)}: {', '.join(found)} |"
            if found
            else f"| {tier} | {what} | {where} | none |"
        )
    lines += ["", "| extra | packages | modules with an import of them |", "|---|---|---|"]
    for extra, packages in vars(import_module("everystep.app.extras"))["EXTRAS"].items():
        users = [
            name.removeprefix("everystep.") for name, one in modules.items() if one.packages & set(packages)
        ]
        lines.append(f"| {extra} | {', '.join(packages)} | {', '.join(sorted(users)) or 'none'} |")
    return "\n".join(lines) + "\n"


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Write the page; return how many modules, public classes and imports there are, and how many imports point up."""
    modules = survey(PACKAGE)
    text = page(modules)
    for path in (folder.path / REPORT, *([Path(config.page)] if config.page else [])):
        path.write_text(text, encoding="utf-8")
    numbers = {
        "modules": float(len(modules)),
        "public_classes": float(sum(len(module.classes) for module in modules.values())),
        "imports": float(sum(len(module.imports) for module in modules.values())),
        "imports_up": float(len(rising(modules))),
    }
    for logger in loggers:
        logger.log(0, numbers)
    return numbers
