"""What leaves a device: single gestures, whole tasks, whole tasks in private mode, over the same errands with the official client.

python benchmarks/screen_levels.py [--tasks 40] [--miss 0.0]

The client of the gestures is the phone's own specialist reading the screens that come back, so its calls are the fewest that a
large model could make. The table counts its calls, what it received (characters of results) and which private values were among it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from mcp import Client

from everystep.app.mcp_screens import screens_server
from everystep.app.screen_agent import StepByStep
from everystep.environments.phone.errands import goals_of, met, secrets_of
from everystep.environments.phone.handsets import Handset, risk_on_phones, specialist
from everystep.environments.phone.phones import read_gesture
from everystep.environments.phone.screens import Screens
from everystep.models.scripted import Scripted

TOOLS = {
    "tap": ("click", "element"),
    "hold": ("long_press", "element"),
    "swipe": ("swipe", "direction"),
    "open": ("open_app", "app"),
}
MOST = 60


async def flat(client: Client, phone: Handset, task: str) -> tuple[int, str]:
    heard = [str((await client.call_tool("get_screen", {})).structured_content)]
    while len(heard) <= MOST:
        gesture = read_gesture(specialist(phone, task))
        if gesture is None:
            break
        if gesture.kind == "type":
            name, words = "input_text", {"text": gesture.text}
        elif gesture.kind in TOOLS:
            name, words = TOOLS[gesture.kind][0], {TOOLS[gesture.kind][1]: gesture.target}
        else:
            name, words = "press_key", {"key": gesture.kind}
        heard.append(str((await client.call_tool(name, words)).structured_content))
    return len(heard), " ".join(heard)


async def handed(client: Client, phone: Handset, task: str) -> tuple[int, str]:
    return 1, str(
        (await client.call_tool("execute_task", {"task": task, "max_steps": MOST})).structured_content
    )


async def measure(way: str, tasks: int, miss: float) -> str:
    world = Screens(miss=miss)
    calls = size = leaked = solved = 0
    with tempfile.TemporaryDirectory() as folder:
        for index in range(tasks):
            task = world.task("test", index)
            phone = Handset(replace(world.start(task), miss=miss))
            agent = StepByStep(
                lambda _, words, phone=phone: Scripted(lambda request: specialist(phone, words)),
                folder=Path(folder) / str(index),
                effects=risk_on_phones,
            )
            async with Client(screens_server(phone, agent, private=way == "private")) as client:
                did = flat if way == "gestures" else handed
                made, heard = await did(client, phone, task.instruction)
            calls, size = calls + made, size + len(heard)
            leaked += sum(one in heard and one not in task.instruction for one in secrets_of(phone.state))
            solved += all(met(phone.state, goal) for goal in goals_of(task.instruction) or ())
    return (
        f"| {way} | {solved / tasks:.0%} | {calls / tasks:.1f} | {size / tasks:,.0f} | {leaked / tasks:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--miss", type=float, default=0.0)
    asked = parser.parse_args()
    print("| client uses | done | calls of the client | characters it received | private values among them |")
    print("|---|---|---|---|---|")
    for way in ("gestures", "whole tasks", "private"):
        print(asyncio.run(measure(way, asked.tasks, asked.miss)))


if __name__ == "__main__":
    main()
