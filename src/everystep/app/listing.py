"""``everystep recipes``, ``environments``, ``estimators`` and ``doctor``."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from everystep import __version__
from everystep.app.extras import EXTRAS
from everystep.app.flags import parse
from everystep.core.errors import ConfigError
from everystep.core.records import Json
from everystep.environments.catalog import WORLDS, world, world_class
from everystep.recipes.catalog import RECIPES, recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRecipes:
    """The recipes: one published system a file."""

    name: tyro.conf.Positional[str | None] = None
    """Print what is known about this one."""
    json: bool = False
    """Print JSON."""


def recipes(words: Sequence[str]) -> int:
    """List the recipes, or print the header of one."""
    asked = parse(AskRecipes, words, command="recipes")
    if asked.name is not None:
        sys.stdout.write(f"{inspect.getdoc(recipe(asked.name))}\n")
        return 0
    if asked.json:
        rows = [
            {
                "name": name,
                "system": one.system,
                "summary": one.summary,
                "command": f"everystep {one.verb} {name}",
            }
            for name, one in RECIPES.items()
        ]
        sys.stdout.write(json.dumps(rows) + "\n")
        return 0
    table = Table("recipe", "system", "what")
    for name, one in RECIPES.items():
        table.add_row(name, one.system or "", one.summary)
    Console().print(table)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskEnvironments:
    """The environments, what one of them offers, and whether it keeps the contract."""

    name: tyro.conf.Positional[str | None] = None
    """Print the options of this one and a first observation."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of the environment."""
    check: bool = False
    """Test the environment against the contract."""
    json: bool = False
    """Print JSON."""


def environments(words: Sequence[str]) -> int:
    """List the environments; describe or check one."""
    asked = parse(AskEnvironments, words, command="environments")
    if asked.name is None:
        return _list_environments(as_json=asked.json)
    chosen = world(asked.name, **asked.options)
    if asked.check:
        from everystep.environments.check import check_environment, format_report

        report = check_environment(chosen)
        sys.stdout.write(format_report(report) + "\n")
        return 0 if report.ok else 1
    console = Console()
    console.print(inspect.getdoc(type(chosen)) or chosen.summary)
    table = Table("option", "now")
    for option in fields(chosen):  # type: ignore[arg-type]
        table.add_row(option.name, repr(getattr(chosen, option.name)))
    console.print(table)
    environment = chosen.make()
    task = chosen.task("train", 0)
    observation = environment.reset(task)
    console.print(
        f"[bold]task[/bold] {escape(task.id)}: {escape(task.instruction)}", highlight=False, emoji=False
    )
    console.print(observation.text, markup=False, highlight=False)
    if observation.admissible is not None:
        console.print(f"admissible: {', '.join(observation.admissible)}", markup=False, highlight=False)
    environment.close()
    return 0


def _list_environments(*, as_json: bool) -> int:
    rows = []
    for name in WORLDS:
        try:
            default = world_class(name)()
            rows.append((name, default.summary, "ready"))
        except ConfigError as error:
            rows.append((name, "", str(error)))
        except TypeError:
            rows.append((name, inspect.getdoc(world_class(name)) or "", "ready; needs options"))
    if as_json:
        sys.stdout.write(
            json.dumps([dict(zip(("name", "summary", "state"), row, strict=True)) for row in rows]) + "\n"
        )
        return 0
    table = Table("environment", "what", "here")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskEstimators:
    """The credit methods: each is a row of terms."""

    name: tyro.conf.Positional[str | None] = None
    """Print the terms and options of this one."""
    variant: str = "paper"
    """paper or released."""
    json: bool = False
    """Print JSON."""


def estimators(words: Sequence[str]) -> int:
    """List the estimators, or the terms of one."""
    from everystep.credit.estimators import METHODS, estimator

    asked = parse(AskEstimators, words, command="estimators")
    console = Console()
    if asked.name is None:
        if asked.json:
            sys.stdout.write(json.dumps({name: method.summary for name, method in METHODS.items()}) + "\n")
            return 0
        table = Table("estimator", "what", "variants")
        for name, method in METHODS.items():
            table.add_row(name, method.summary, ", ".join(method.variants))
        console.print(table)
        return 0
    built, method = estimator(asked.name, asked.variant), METHODS[asked.name]
    console.print(
        f"{asked.name} ({asked.variant}): {method.summary}\nsource: {method.source}", highlight=False
    )
    if method.differs:
        console.print(f"released code: {method.differs}", highlight=False)
    terms = Table("term", "value", "group", "sound when", "normaliser", "weight")
    for term in built.terms:
        terms.add_row(
            term.name,
            term.value.name,
            term.key.name,
            term.key.assumption,
            term.normaliser.kind,
            f"{term.weight:g}",
        )
    console.print(terms)
    options = Table("option", "value")
    for name, value in built.options.items():
        options.add_row(name, repr(value))
    console.print(options)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskDoctor:
    """What is installed here, what it can run, and what to install for the rest."""

    json: bool = False
    """Print JSON."""


def doctor(words: Sequence[str]) -> int:
    """Say what this machine can do."""
    asked = parse(AskDoctor, words, command="doctor")
    facts: dict[str, Json] = {
        "everystep": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": os.environ.get("OMP_NUM_THREADS", "not limited"),
        "data": os.environ.get("EVERYSTEP_DATA", "not set (EVERYSTEP_DATA): samples only"),
    }
    if importlib.util.find_spec("torch"):
        import torch

        name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        facts["gpu"] = name
    extras = {
        extra: [one for one in modules if not importlib.util.find_spec(one)]
        for extra, modules in EXTRAS.items()
    }
    if asked.json:
        sys.stdout.write(json.dumps({**facts, "missing": extras}) + "\n")
        return 0
    console = Console()
    for name, value in facts.items():
        console.print(f"{name:>10}  {value}", highlight=False)
    table = Table("extra", "state", "to install")
    for extra, missing in extras.items():
        present = ", ".join(f"{one} {_version(one)}" for one in EXTRAS[extra] if one not in missing)
        remedy = escape(f"pip install 'everystep[{extra}]'") if missing else ""
        table.add_row(extra, present if not missing else f"missing {', '.join(missing)}", remedy)
    console.print(table)
    return 0


def _version(module: str) -> str:
    try:
        return version(module.replace("_", "-"))
    except PackageNotFoundError:
        return "?"
