"""What the known way acts on, page by page: which element, in which tree. For measuring how pages are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Protocol, runtime_checkable

from everystep.core.errors import WorldError
from everystep.core.protocols import Environment, Oracle, World
from everystep.core.records import Task
from everystep.tools.axprune import candidates, prune
from everystep.tools.axtree import AXNode, nodes_of

_TARGET = re.compile(r"(?:click|type|select|drag|scroll|hover) \[?(\d+)")


@runtime_checkable
class Shows(Protocol):
    """An environment whose page has an accessibility tree, which is open now."""

    @property
    def tree(self) -> AXNode | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A page on the known way: what is shown before the step, its tree, the action, and the number of the element that it acts on, 0 for none.

    ``action`` is empty where there is no known way.
    """

    task: Task
    seen: str
    tree: AXNode
    action: str
    target: int


def aims(environment: Environment, task: Task, *, limit: int = 20) -> Iterator[Aim]:
    """Yield the pages of the known way of a task, the first page alone where there is none. ``WorldError`` for an environment that shows no tree."""
    seen = environment.reset(task)
    for _ in range(limit):
        tree = environment.tree if isinstance(environment, Shows) else None
        if tree is None:
            raise WorldError(f"{type(environment).__name__} shows no accessibility tree. Choose an observation that is one.")  # fmt: skip
        try:
            action = environment.oracle() if isinstance(environment, Oracle) else ""
        except WorldError:
            action = ""
        found = _TARGET.match(action)
        yield Aim(
            task=task, seen=seen.text, tree=tree, action=action, target=int(found.group(1)) if found else 0
        )
        if not action:
            return
        told = environment.step(environment.parse(action))
        if told.terminated or told.truncated:
            return
        seen = told.observation


def ways(world: World, tasks: Iterable[int]) -> Iterator[list[Aim]]:
    """Yield the pages of the known way of each test task."""
    env = world.make()
    for index in tasks:
        yield list(aims(env, world.task("test", index)))
    env.close()


def picked(world: World, number: int, most: int, random: Random) -> list[Aim]:
    """Return one step of each of ``most`` of ``number`` test tasks, and of ``number`` more in turn, among the steps that act on one of several elements."""
    tasks = random.sample(range(2 * number), 2 * number)
    found = ([aim for aim in way if aim.target in (some := candidates(aim.tree)) and len(some) > 1] for way in ways(world, tasks))  # fmt: skip
    return list(islice((random.choice(way) for way in found if way), most))


def detour(tree: AXNode, random: Random) -> str:
    """Return a click on a random link of a page, going back where it has none."""
    links = [one.id for one in nodes_of(prune(tree)) if one.role == "link" and one.id]
    return f"click [{random.choice(links)}]" if links else "go_back"


def with_detour(goal: str, clicks: int) -> Sequence[str]:
    """Return the actions of a way that begins with a wrong goal, in which there are ``clicks`` places for wrong clicks (empty texts), gives it up, and begins the right one."""
    return ("branch [0] [look around]", *[""] * clicks, "prune [0] [it is not there]", f"branch [0] [{goal[:200]}]")  # fmt: skip
