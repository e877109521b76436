"""Credit at 2k, 25k, 200k and 2M steps, and similarity groups at 1k and 10k observations.

The reference is written here from the published formulas in the form that released trainers use: for every row, a scan over
all rows for its trajectory (quadratic), and Python lists a group. It runs up to 25k rows. Results must be equal
(1e-5) before anything is timed. Times are CPU time, which a busy machine hardly changes.

    python benchmarks/credit.py            # everything, about two minutes
    python benchmarks/credit.py --quick    # up to 25k rows, no slow reference
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from difflib import SequenceMatcher

import numpy as np

from everystep.core.records import Action, End, Observation, Step, Task, Trajectory
from everystep.credit.columns import Columns, columns, from_arrays
from everystep.credit.estimators import estimator
from everystep.credit.returns import discounted
from everystep.credit.similarity import first_fit
from everystep.credit.terms import assign

SIZES = (2_000, 25_000, 200_000, 2_000_000)
REFERENCE_UP_TO = 25_000
REPEATS = 5


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: what, rows, ours_ms (best of 5), reference_ms, times (reference / ours), difference."""
    out: list[dict[str, object]] = []
    for size in SIZES[:2] if quick else SIZES:
        out += measure_credit(size, reference=size <= (2_000 if quick else REFERENCE_UP_TO))
    out += measure_records(25_000)
    if not quick:
        out += measure_records(200_000)
    out += measure_similarity(1_000, states=20, reference=not quick)
    if not quick:
        out += measure_similarity(10_000, states=100, reference=False)
        out += measure_similarity(10_000, states=10_000, reference=False)
    return out


def measure_credit(size: int, *, reference: bool) -> list[dict[str, object]]:
    data = batch(size)
    out, sums, scan_ms = [], np.zeros(0), 0.0
    if reference:
        owner = np.array([f"trajectory-{number:032d}" for number in data.trajectory_S], dtype=object)
        start = time.process_time()
        sums = scan_returns(owner, data.reward_S, 0.95)
        scan_ms = 1e3 * (time.process_time() - start)
    for name in ("returns", "grpo", "gigpo", "hgpo"):
        ours = _ours(name, data)
        row: dict[str, object] = {"what": name, "rows": data.size}
        if reference:
            start = time.process_time()
            wanted = _reference(name, data, sums)
            row["reference_ms"] = 1e3 * (time.process_time() - start) + (0.0 if name == "grpo" else scan_ms)
            row["difference"] = float(np.abs(ours() - wanted).max())
            assert row["difference"] <= 1e-5, (name, row["difference"])
        row["ours_ms"] = 1e3 * best(ours)
        if reference:
            row["times"] = float(row["reference_ms"]) / float(row["ours_ms"])  # type: ignore[arg-type]
        out.append(row)
    return out


def batch(size: int, *, turns: int = 25, per_task: int = 8) -> Columns:
    """Ragged trajectories of 1 to ``2 * turns - 1`` steps, eight a task, forty states a task, sparse rewards."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 2 * turns, size=size // turns)
    trajectory = np.repeat(np.arange(lengths.size), lengths)
    reward = np.zeros(trajectory.size)
    reward[np.cumsum(lengths) - 1] = 10.0 * (rng.random(lengths.size) < 0.4)
    return from_arrays(
        task_S=trajectory // per_task,
        trajectory_S=trajectory,
        reward_S=reward,
        anchor_S=rng.integers(0, 40, size=trajectory.size),
    )


def _ours(name: str, data: Columns) -> Callable[[], np.ndarray]:
    if name == "returns":
        return lambda: discounted(data.reward_S, data.trajectory_S, data.turn_S, 0.95)
    variant = {"grpo": {"unit": "step", "singleton": "raw"}, "hgpo": {"penalty": 0.0}, "gigpo": {}}[name]
    made = estimator(name, "paper" if name == "grpo" else "released", **variant)
    return lambda: assign(data, made).value_S


# --- the reference, from the formulas -----------------------------------------------------------------


def _reference(name: str, data: Columns, returns: np.ndarray) -> np.ndarray:
    """Advantages of one method; ``returns`` come from the scan, whose time is added."""
    if name == "returns":
        return returns
    tasks = data.task_S.tolist()
    outcome = data.outcome_S.tolist()
    episode = compare_lists(outcome, tasks, lone="raw")
    if name == "grpo":
        return episode
    sums = returns.tolist()
    if name == "gigpo":
        return episode + compare_lists(
            sums, list(zip(tasks, data.anchor_S.tolist(), strict=True)), lone="zero"
        )
    return nested_levels(data, sums, history=2)


def scan_returns(owner: np.ndarray, reward: np.ndarray, discount: float) -> np.ndarray:
    """Per trajectory a backward pass; then each row searches all rows for its place. Quadratic, as released."""
    sums = {}
    for name in np.unique(owner):
        mine = reward[np.where(owner == name)[0]]
        running, out = 0.0, np.zeros(mine.size)
        for place in reversed(range(mine.size)):
            running = mine[place] + discount * running
            out[place] = running
        sums[name] = out
    result = np.zeros(reward.size)
    for row, name in enumerate(owner):
        places = np.where(owner == name)[0]
        result[row] = sums[name][np.where(places == row)[0][0]]
    return result


def compare_lists(values: list[float], keys: list[object], *, lone: str, ddof: int = 1) -> np.ndarray:
    """(value - mean) / (deviation + 1e-6) with a Python list for each group."""
    groups = defaultdict(list)
    for value, key in zip(values, keys, strict=True):
        groups[key].append(value)
    mean = {key: float(np.mean(found)) for key, found in groups.items()}
    std = {key: float(np.std(found, ddof=ddof)) if len(found) > 1 else 1.0 for key, found in groups.items()}
    for key, found in groups.items():
        if len(found) == 1:
            mean[key] = 0.0 if lone == "raw" else found[0]
    return np.array([(v - mean[k]) / (std[k] + 1e-6) for v, k in zip(values, keys, strict=True)])


def nested_levels(data: Columns, sums: list[float], *, history: int) -> np.ndarray:
    """Released HGPO: weights (k + 2) over the levels that are not zero at the step."""
    state = dict(
        zip(
            zip(data.trajectory_S.tolist(), data.turn_S.tolist(), strict=True),
            data.anchor_S.tolist(),
            strict=True,
        )
    )
    total, weight = np.zeros(data.size), np.zeros(data.size)
    for depth in range(history + 1):
        keys: list[object] = []
        for row, (task, owner, turn) in enumerate(
            zip(data.task_S.tolist(), data.trajectory_S.tolist(), data.turn_S.tolist(), strict=True)
        ):
            enough = turn >= depth
            keys.append(
                (task, *(state[owner, turn - back] for back in range(depth + 1))) if enough else ("lone", row)
            )
        level = compare_lists(sums, keys, lone="zero", ddof=0)
        live = np.abs(level) > 1e-9
        total += np.where(live, (depth + 2) * level, 0.0)
        weight += np.where(live, depth + 2, 0.0)
    return total / np.where(weight > 0, weight, 1.0)


# --- records and similarity -------------------------------------------------------------------------


def measure_records(size: int) -> list[dict[str, object]]:
    """Building columns from plain records, 20 steps a trajectory and 8 trajectories a group."""
    found = records(size)
    return [
        {"what": "columns from records", "rows": size, "ours_ms": 1e3 * best(lambda: columns(found).size, 3)}
    ]


def records(size: int) -> list[Trajectory]:
    rng = np.random.default_rng(0)
    out = []
    for number in range(size // 20):
        name, task = f"t{number}", Task(id=f"task{number // 8}", instruction="", environment="e")
        steps = tuple(
            Step(
                id=f"{name}/{turn}",
                parent=f"{name}/{turn - 1}" if turn else None,
                index=turn,
                observation=Observation(text=f"room {state}", anchor=f"s{state}"),
                action=Action(text="go"),
                reward=0.0,
            )
            for turn, state in enumerate(rng.integers(0, 40, size=20).tolist())
        )
        out.append(
            Trajectory(id=name, task=task, group=f"g{number // 8}", steps=steps, end=End.DONE, outcome=1.0)
        )
    return out


def measure_similarity(size: int, *, states: int, reference: bool) -> list[dict[str, object]]:
    """Observations of 1.5k characters in 8 tasks: pages of ``states`` states a task with a changing clock and inventory.

    ``recall`` is the share of pairs that the exact definition puts together and the sketch does too; ``equal`` says that the
    clusters are the same.
    """
    texts, scope = pages(size, states)
    row: dict[str, object] = {"what": f"similarity 0.95, {states:,} states a task", "rows": size}
    fast = first_fit(texts, scope, threshold=0.95)
    row["clusters"] = int(fast.max()) + 1
    row["ours_ms"] = 1e3 * best(lambda: first_fit(texts, scope, threshold=0.95), 1 if size > 1_000 else 3)
    if size <= 1_000:
        exact = first_fit(texts, scope, threshold=0.95, exact=True)
        if reference:
            start = time.process_time()
            tried = try_every_cluster(texts, scope.tolist(), 0.95)
            row["reference_ms"] = 1e3 * (time.process_time() - start)
            row["times"] = float(row["reference_ms"]) / float(row["ours_ms"])  # type: ignore[arg-type]
            assert exact.tolist() == tried
        row["recall"] = recall(fast, exact)
    else:
        few = np.flatnonzero(scope == 0)[:400]
        some = [texts[place] for place in few]
        row["recall"] = recall(
            first_fit(some, scope[few], threshold=0.95),
            first_fit(some, scope[few], threshold=0.95, exact=True),
        )
    assert float(row["recall"]) >= 0.999, row  # type: ignore[arg-type]
    return [row]


def pages(size: int, states: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshrdlu"), size=rng.integers(3, 9))) for _ in range(400)]
    header = " ".join(rng.choice(words, size=40))
    bodies = [" ".join(rng.choice(words, size=190)) for _ in range(states)]
    texts = []
    for number in range(size):
        body = bodies[int(rng.integers(states)) if states < size else number]
        clock = f" [time {rng.integers(24):02d}:{rng.integers(60):02d}, carrying {words[int(rng.integers(400))]}] "
        texts.append((header + clock + body)[:1500])
    return texts, np.arange(size) % 8


def try_every_cluster(texts: list[str], scope: list[int], threshold: float) -> list[int]:
    """The published definition: each row is compared with every cluster of its task until one is near enough."""
    members: list[tuple[int, str]] = []
    out = []
    for text, where in zip(texts, scope, strict=True):
        for number, (task, member) in enumerate(members):
            if task == where and SequenceMatcher(None, text, member).ratio() >= threshold:
                out.append(number)
                break
        else:
            out.append(len(members))
            members.append((where, text))
    return out


def recall(fast: np.ndarray, exact: np.ndarray) -> float:
    together = exact[:, None] == exact[None, :]
    return float(((fast[:, None] == fast[None, :]) & together).sum() / together.sum())


def best(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def table(rows: list[dict[str, object]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| what | rows | ours ms | reference ms | times | largest difference or recall |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        check = (
            f"recall {row['recall']:.4f}"
            if "recall" in row
            else f"{row['difference']:.1e}"
            if "difference" in row
            else ""
        )
        slow = f"{row['reference_ms']:,.0f}" if "reference_ms" in row else ""
        times = f"{row['times']:,.0f}" if "times" in row else ""
        lines.append(
            f"| {row['what']} | {row['rows']:,} | {row['ours_ms']:,.1f} | {slow} | {times} | {check} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="up to 25k rows, no slow reference")
    print(table(measure(quick=parser.parse_args().quick)))
