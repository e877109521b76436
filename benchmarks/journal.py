"""The journal at 100, 1,000 and 10,000 steps: what one more step costs, and how large the file is.

A step is realistic: an observation of about 300 characters, six admissible actions, 60 token ids of which 12 were sampled
with their log-probabilities. It is appended on its own, as a run does, and must come back equal. ``append_us`` is
the time of the last 100 appends of each size, the median of the repeats, so a cost that grows with the
run shows as a trend. ``text_bytes`` is the JSON alone, ``file_bytes`` the closed file, both a step.

    python benchmarks/journal.py            # about half a minute
    python benchmarks/journal.py --quick    # up to 1,000 steps
"""

from __future__ import annotations

import argparse
import random
import struct
import tempfile
import time
from pathlib import Path
from statistics import median

from everystep.core.codec import dumps
from everystep.core.records import Action, Observation, Span, SpanKind, Step, Stop, TokenRecord
from everystep.core.trace import Kind
from everystep.run.journal import Journal

SIZES = (100, 1_000, 10_000)
REPEATS = 7
EPISODE = 20
WORDS = ("red", "blue", "ball", "key", "box", "door", "steps", "ahead", "left", "right", "wall", "and")
ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: steps, append_us and append_cpu_us (median), read_us, text_bytes, file_bytes; a step each."""
    return [measure_size(size, repeats=3 if quick else REPEATS) for size in SIZES[: 2 if quick else 3]]


def measure_size(size: int, *, repeats: int) -> dict[str, object]:
    steps = make_steps(size)
    walls, cpus, reads = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.sqlite"
            with Journal.create(path, {"command": "benchmark"}) as journal:
                for step in steps[:-100]:
                    journal.append(Kind.STEP, step)
                wall, cpu = time.perf_counter(), time.process_time()
                for step in steps[-100:]:
                    journal.append(Kind.STEP, step)
                walls.append((time.perf_counter() - wall) / 100)
                cpus.append((time.process_time() - cpu) / 100)
            started = time.perf_counter()
            with Journal.read(path) as journal:
                found = journal.trace().steps
            reads.append((time.perf_counter() - started) / size)
            assert list(found.values()) == steps
            file_bytes = path.stat().st_size / size
    return {
        "what": "journal",
        "steps": size,
        "append_us": round(median(walls) * 1e6, 1),
        "append_cpu_us": round(median(cpus) * 1e6, 1),
        "read_us": round(median(reads) * 1e6, 1),
        "text_bytes": round(sum(len(dumps(step).encode()) for step in steps) / size),
        "file_bytes": round(file_bytes),
    }


def make_steps(count: int) -> list[Step]:
    draw = random.Random(0)
    return [make_step(index, draw) for index in range(count)]


def make_step(index: int, draw: random.Random) -> Step:
    episode, place = divmod(index, EPISODE)
    return Step(
        id=f"train-3.{episode}.0/{place}",
        parent=f"train-3.{episode}.0/{place - 1}" if place else None,
        index=place,
        observation=Observation(
            text=" ".join(draw.choices(WORDS, k=65))[:300],
            anchor=f"{draw.getrandbits(64):016x}",
            admissible=ACTIONS,
        ),
        action=Action(text=draw.choice(ACTIONS)),
        reward=0.0,
        tokens=TokenRecord(
            ids=tuple(draw.randrange(400) for _ in range(60)),
            spans=(
                Span(start=0, end=48, kind=SpanKind.CONTEXT),
                Span(start=48, end=60, kind=SpanKind.SAMPLED),
            ),
            logprobs=tuple(_float32(-draw.random()) for _ in range(12)),
            policy="iteration-3",
        ),
        stop=Stop.ALLOWED,
    )


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    rows = measure(quick=parser.parse_args().quick)
    print("".join(f"{name:>15}" for name in rows[0]))
    for row in rows:
        print("".join(f"{value!s:>15}" for value in row.values()))


if __name__ == "__main__":
    main()
