"""Traces made from a seed, shaped like those of a real run."""

from __future__ import annotations

import math
import random
from typing import Any

from everystep.core.records import (
    Action,
    End,
    Level,
    Observation,
    Span,
    SpanKind,
    Step,
    Task,
    TokenRecord,
    ToolCall,
    Verdict,
)  # fmt: skip
from everystep.core.trace import Ending, Trace

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "open the door")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
THINGS = ("ball", "box", "key", "door")


def made_trace(
    *,
    iterations: int = 6,
    tasks: int = 3,
    group_size: int = 4,
    steps: int = 8,
    seed: int = 0,
    evaluate_every: int = 2,
    text: str = "",
) -> Trace:
    """A run of warm start, training and evaluation; ``text`` is added to every observation."""
    rng = random.Random(seed)
    trace = Trace(run={"command": "train", "version": "0.1.0"})
    for number in range(0, 200, 10):
        trace.metrics.append({"phase": "warm", "iteration": number, "loss": 2 * math.exp(-number / 60) + 0.2, "tokens_per_s": 9000.0, "seconds": 0.3})  # fmt: skip
    counts = {"environment_steps": 0, "episodes": 0, "sampled_tokens": 0, "updates": 0, "demonstrations": 600}
    for iteration in range(iterations):
        skill = 0.35 + 0.5 * (1 - math.exp(-2.5 * iteration / max(1, iterations)))
        lengths, wins = [], 0
        for number in range(tasks):
            task = _task(rng, f"train-{iteration * tasks + number}")
            trace.tasks[task.id] = task
            for sample in range(group_size):
                won, length = _episode(trace, rng, task, "train", iteration, f"{iteration}.{number}", sample, skill, steps, text)  # fmt: skip
                lengths.append(length)
                wins += won
        counts["environment_steps"] += sum(lengths)
        counts["episodes"] += len(lengths)
        counts["sampled_tokens"] += 2 * sum(lengths)
        counts["updates"] += 1
        row: dict[str, Any] = {
            "phase": "train", "iteration": iteration, "success": wins / len(lengths), "reward": 0.8 * wins / len(lengths),
            "steps": sum(lengths) / len(lengths), "loss": rng.gauss(0, 0.02), "entropy": 1.1 * (1 - 0.6 * skill),
            "kl": abs(rng.gauss(0.004, 0.002)), "clip_fraction": abs(rng.gauss(0.06, 0.03)), "grad_norm": abs(rng.gauss(0.8, 0.2)),
            "tokens_per_s": rng.gauss(21_000, 900), "seconds": 1.7, "invalid": 0.01, "errors": 0.0, "ratio_max": 1 + abs(rng.gauss(0, 0.2)), **counts,
        }  # fmt: skip
        trace.metrics.append(row)
        if iteration % evaluate_every == 0 or iteration == iterations - 1:
            for number in range(4):
                task = _task(rng, f"test-{number}", split="test")
                trace.tasks.setdefault(task.id, task)
                _episode(
                    trace, rng, task, "eval", iteration, f"eval.{iteration}.{number}", 0, skill, steps, text
                )
            half = 1.96 * math.sqrt(skill * (1 - skill) / 256)
            trace.metrics.append({
                "phase": "eval", "iteration": iteration, "heldout_success": skill, "heldout_low": skill - half,
                "heldout_high": skill + half, "heldout_steps": 9.0, "heldout_greedy_success": min(1, skill + 0.06),
                "heldout_greedy_low": skill, "heldout_greedy_high": 0.9,
            })  # fmt: skip
    trace.end = {"end": "done", "reason": f"{iterations} iterations"}
    return trace


def _task(rng: random.Random, name: str, split: str = "train") -> Task:
    goal = f"go to the {rng.choice(COLOURS)} {rng.choice(THINGS)}"
    return Task(id=name, instruction=goal, environment="babyai", seed=rng.randrange(1000), config={"level": "GoToLocal"}, split=split)  # fmt: skip


def _episode(
    trace: Trace, rng: random.Random, task: Task, phase: str, iteration: int, group: str, sample: int, skill: float,
    steps: int, text: str,
) -> tuple[bool, int]:  # fmt: skip
    won = rng.random() < skill
    length = rng.randint(2, max(3, steps // 2)) if won else steps
    parent = None
    name = f"{group}.{sample}"
    for index in range(length):
        identifier = f"{name}/{index}"
        valid = rng.random() > 0.05
        action = rng.choice(ACTIONS)
        things = ", ".join(f"a {rng.choice(COLOURS)} {rng.choice(THINGS)} {rng.randint(1, 6)} ahead {rng.randint(0, 4)} left" for _ in range(rng.randint(1, 6)))  # fmt: skip
        trace.steps[identifier] = Step(
            id=identifier, parent=parent, index=index,
            observation=Observation(
                text=f"You see {things}.{text}", anchor=f"{task.id}:{rng.randint(0, 3) if index else 0}", admissible=ACTIONS
            ),
            action=Action(
                text=action if valid else "fly away", valid=valid, reason=None if valid else "'fly away' is not an action here",
                calls=(ToolCall(name="act", arguments={"name": action}),) if index == 1 else (),
            ),
            reward=0.9 if won and index == length - 1 else 0.0,
            scores={"progress": index / length},
            tokens=_tokens(rng, len(things.split()) + 3),
        )  # fmt: skip
        if index == 0 and phase == "train":
            verdict = Verdict(level=Level.STEP, targets=(identifier,), judge="rule:closer", score=rng.random(), label="closer", reason="The distance fell from 5 to 4.", evidence=("observation", "action"))  # fmt: skip
            trace.verdicts[identifier] = [verdict]
        parent = identifier
    trace.endings[name] = Ending(
        id=name, task=task.id, group=group, leaf=parent, end=End.DONE if won else End.TRUNCATED, phase=phase,
        outcome=0.9 if won else 0.0, success=True if won else None if sample % 2 else False, seed=rng.randrange(2**62), iteration=iteration,
        final=Observation(text="You see nothing more."),
    )  # fmt: skip
    return won, length


def _tokens(rng: random.Random, context: int) -> TokenRecord:
    ids = tuple(rng.randrange(5, 60) for _ in range(context + 4))
    return TokenRecord(
        ids=ids,
        spans=(
            Span(start=0, end=context, kind=SpanKind.CONTEXT),
            Span(start=context, end=context + 1, kind=SpanKind.FORCED, weight=0.0),
            Span(start=context + 1, end=context + 3, kind=SpanKind.SAMPLED),
            Span(start=context + 3, end=context + 4, kind=SpanKind.TOOL),
        ),
        logprobs=(-0.1 - rng.random() * 2, -0.01),
        allowed=(tuple(range(5)), (1,)),
        policy="tiny@3",
    )
