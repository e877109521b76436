"""How long prompts are on a way with a detour, by how much of the past is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from everystep.core.errors import WorldError
from everystep.core.protocols import Oracle, World
from everystep.evaluate.shown_pages import Count
from everystep.run.aims import Shows, detour, with_detour

CONVERSATION = "conversation"


def prompt_tokens(
    worlds: Mapping[str, World],
    index: int,
    count: Count,
    *,
    clicks: int = 4,
) -> dict[str, list[int]]:
    """Return the tokens of each step's observation in each of ``worlds``, which differ in what they show of the past alone, on one and the same way through test task ``index``.

    The way begins with a wrong goal and ``clicks`` random links, gives that up, and goes on as the oracle does. ``conversation`` is what a model would read that keeps all earlier observations
    and answers of the first world. ``WorldError`` where the worlds do not take the same way.
    """
    found: dict[str, list[int]] = {}
    ways: list[Sequence[str]] = []
    for name, world in worlds.items():
        env, random = world.make(), Random(index)
        seen = env.reset(world.task("test", index))
        if not isinstance(env, Shows) or not isinstance(env, Oracle):
            raise WorldError(f"{world.name} shows no tree or has no oracle; its prompts cannot be compared.")
        plan, done, sizes = (
            list(with_detour(seen.text.split("\n", 1)[0].removeprefix("task: "), clicks)),
            [],
            [],
        )
        for _ in range(world.max_steps + clicks + 4):
            sizes.append(count(seen.text))
            tree = env.tree
            done.append((plan.pop(0) or (detour(tree, random) if tree else "")) if plan else env.oracle())
            result = env.step(env.parse(done[-1]))
            seen = result.observation
            if result.terminated:
                break
        env.close()
        found[name] = sizes
        ways.append(done)
    if any(way != ways[0] for way in ways):
        raise WorldError(f"task {index} of {', '.join(worlds)}: the ways differ, so the prompts cannot be compared.")  # fmt: skip
    before, whole = 0, []
    for size, act in zip(next(iter(found.values())), ways[0], strict=True):
        whole.append(before + size)
        before += size + count(act)
    return {**found, CONVERSATION: whole}
