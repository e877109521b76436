"""The household beside ALFWorld's real engine: the same home, the same actions, the same words.

Needs ``pip install alfworld`` (a C++ build of some minutes; GPL parts), so it runs where somebody installed it. The published games are not in the package: the homes are ours,
written as problems of ALFWorld's own domain, goals from its own templates.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from everystep.environments.places.homes import ERRANDS, FITS, LAMP, TREATED, Home
from everystep.environments.places.household import Household

textworld = pytest.importorskip("textworld")
alfworld_info = pytest.importorskip("alfworld.info")
from alfworld.gen.goal_library import gdict  # noqa: E402

ASIDE = ("help", "slice")
"""What the real engine offers and the household leaves out, by its header."""


class Named(textworld.core.Wrapper):  # type: ignore[misc, name-defined]
    """Calls ``apple_1`` "apple 1"."""

    def load(self, *args: Any, **kwargs: Any) -> None:
        super().load(*args, **kwargs)
        for info in self._entity_infos.values():
            info.name = info.id.replace("_", " ")


def problem_of(home: Home) -> str:
    """Write a home as a problem of ALFWorld's domain, every receptacle at a place of its own."""
    low = {name: name.replace(" ", "_") for name in (*home.receptacles, *home.things)}
    facts = ["(= (total-cost) 0)", "(atLocation agent1 middle)"]
    rtypes = {*home.kinds, "sinkbasin", "microwave", "fridge"}
    otypes = {*home.thing_kinds, "knife", "butterknife", home.errand.thing, LAMP}
    for number, (name, kind) in enumerate(zip(home.receptacles, home.kinds, strict=True)):
        facts += [
            f"(receptacleAtLocation {low[name]} place{number})",
            f"(receptacleType {low[name]} {kind}Type)",
        ]
        facts += [f"(openable {low[name]})"] * home.openable[number]
    facts += [
        f"(canContain {rtype}Type {otype}Type)"
        for rtype in rtypes
        for otype in otypes
        if rtype in FITS.get(otype, ())
    ]
    able = {"clean": "cleanable", "heat": "heatable", "cool": "coolable"}
    for name, kind, place in zip(home.things, home.thing_kinds, home.places, strict=True):
        facts += [
            f"(objectType {low[name]} {kind}Type)",
            f"(inReceptacle {low[name]} {low[home.receptacles[place]]})",
            f"(objectAtLocation {low[name]} place{place})",
            f"({'toggleable' if kind == LAMP else 'pickupable'} {low[name]})",
        ]
        facts += [f"({word} {low[name]})" for how, word in able.items() if kind in TREATED[how]]
    errand = home.errand
    words = {"obj": errand.thing, "recep": errand.target, "toggle": LAMP, "mrecep": ""}
    goal = gdict[ERRANDS[errand.how]]["pddl"].format(**words).replace("#", "-")
    objects = [
        "agent1 - agent",
        "middle - location",
        *(f"place{number} - location" for number in range(len(home.receptacles))),
        *(f"{low[name]} - receptacle" for name in home.receptacles),
        *(f"{low[name]} - object" for name in home.things),
        *(f"{kind}Type - rtype" for kind in sorted(rtypes)),
        *(f"{kind}Type - otype" for kind in sorted(otypes)),
    ]
    listed, told = "\n  ".join(objects), "\n  ".join(facts)
    return f"(define (problem home) (:domain alfred)\n (:objects\n  {listed})\n (:init\n  {told})\n{goal}".strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games")


def started(home: Home, folder: Path) -> tuple[Any, Any]:
    """Open a home in the real engine."""
    path = folder / "game.tw-pddl"
    game = {
        "pddl_domain": Path(alfworld_info.ALFRED_PDDL_PATH).read_text(encoding="utf-8"),
        "grammar": Path(alfworld_info.ALFRED_TWL2_PATH).read_text(encoding="utf-8"),
        "pddl_problem": problem_of(home),
    }
    path.write_text(json.dumps(game), encoding="utf-8")
    infos = textworld.EnvInfos(won=True, admissible_commands=True)
    real = textworld.start(str(path), request_infos=infos, wrappers=[Named()])
    return real, real.reset()


def listed(text: str) -> str:
    """Return a text with its list of names sorted: the real engine lists in no fixed order."""
    head, see, tail = text.strip().partition("you see ")
    return head + see + ", ".join(sorted(tail.rstrip(".").replace(", and ", ", ").split(", ")))


@pytest.mark.parametrize("errand", list(ERRANDS))
@pytest.mark.parametrize("index", range(2))
def test_it_answers_as_the_real_engine_does(errand: str, index: int, folder: Path) -> None:
    world = Household(errand=errand, numbered=2, arrives=True, things=8, horizon=200)
    task = world.task("train", index)
    home = world.start(task).home
    ours, (real, state) = world.make(), started(home, folder)
    observation = ours.reset(task)
    random = Random(index)
    for number in range(100):
        offered, true = (
            set(observation.admissible or ()),
            {one for one in state["admissible_commands"] if not one.startswith(ASIDE)},
        )
        assert offered <= true, offered - true
        assert {one for one in true - offered if not one.startswith(("examine", "go to"))} == set()
        # chance for a while, then the oracle to the end
        looks = {one for one in true if one.startswith("examine")}
        treats = {one for one in offered if one.startswith(("clean", "heat", "cool"))}
        chance = random.choice((sorted(offered), sorted(looks or offered), sorted(treats or offered)))
        action = random.choice(chance) if number < 60 else ours.oracle()
        state, _, over = real.step(action)
        result = ours.step(ours.parse(action))
        assert listed(result.observation.text) == listed(state["feedback"]), action
        assert bool(result.success) == state["won"] == over
        observation = result.observation
        if over:
            break
    assert result.success
    real.close()
