"""Environments: microseconds of one processor a reset and a step, played by a random agent among admissible actions."""

from __future__ import annotations

import time
from random import Random
from typing import Any

from everystep.environments.catalog import world

WORLDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("babyai", {}),
    ("babyai", {"style": "plain", "level": "GoTo", "max_steps": 40}),
    ("boxoban", {}),
    ("hanoi", {}),
    ("keydoor", {}),
    ("screengrid", {}),
    ("stepmath", {"mode": "choose"}),
    ("toolchain", {}),
)


def measure(quick: bool = False) -> list[dict[str, Any]]:
    return [play(name, options, episodes=20 if quick else 200) for name, options in WORLDS]


def play(name: str, options: dict[str, Any], *, episodes: int) -> dict[str, Any]:
    chosen = world(name, **options)
    environment, random = chosen.make(), Random(0)
    resets = acts = 0.0
    steps = 0
    for index in range(episodes):
        task = chosen.task("train", index % (chosen.size("train") or episodes))
        begun = time.process_time()
        observation = environment.reset(task)
        resets += time.process_time() - begun
        begun = time.process_time()
        for _ in range(chosen.max_steps):
            result = environment.step(environment.parse(random.choice(observation.admissible)))
            observation, steps = result.observation, steps + 1
            if result.terminated or result.truncated:
                break
        acts += time.process_time() - begun
    environment.close()
    return {
        "environment": name,
        "options": ", ".join(f"{key}={value}" for key, value in options.items()),
        "reset_us": round(resets / episodes * 1e6),
        "step_us": round(acts / steps * 1e6),
        "steps": steps,
    }


if __name__ == "__main__":
    for row in measure():
        print(row)
