"""Every estimator against plain Python written from its formula, on random ragged batches."""

import numpy as np
import pytest
from credit_oracles import Row, batches, compare, returns, table
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.credit import keys, values
from everystep.credit.estimators import estimator
from everystep.credit.normalisers import normaliser
from everystep.credit.terms import Estimator, Term, assign

FEW = settings(max_examples=30, deadline=None)


def check(got: np.ndarray, wanted: list[float]) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def over(rows: list[Row], numbers: list[float], keys_: list[object], **how: object) -> list[float]:
    return compare(numbers, keys_, [r.trajectory for r in rows], [r.turn for r in rows], **how)  # type: ignore[arg-type]


def state(rows: list[Row]) -> list[object]:
    return [None if r.anchor < 0 else (r.task, r.anchor) for r in rows]


@pytest.mark.parametrize("kind", ["norm", "centre", "leave_one_out"])
@pytest.mark.parametrize("unit", ["step", "trajectory", "first"])
@pytest.mark.parametrize("singleton", ["zero", "raw"])
@settings(max_examples=15, deadline=None)
@given(rows=batches())
def test_every_comparison(kind: str, unit: str, singleton: str, rows: list[Row]) -> None:
    rule = normaliser(kind, unit=unit, singleton=singleton)
    one = Estimator(
        name="one", terms=(Term(name="t", value=values.score("s"), key=keys.anchor(), normaliser=rule),)
    )
    wanted = over(rows, [r.score for r in rows], state(rows), kind=kind, unit=unit, singleton=singleton)
    check(assign(table(rows), one).value_S, wanted)


@FEW
@given(
    rows=batches(), variant=st.sampled_from(["paper", "released"]), kind=st.sampled_from(["norm", "centre"])
)
def test_gigpo(rows: list[Row], variant: str, kind: str) -> None:
    released = variant == "released"
    penalty = 0.1 if released else 0.0
    outcome = over(
        rows,
        [r.outcome - penalty * r.penalty for r in rows],
        [r.task for r in rows],
        kind=kind,
        unit="step" if released else "trajectory",
        singleton="raw" if released else "zero",
    )
    sums = [g - penalty * r.penalty for g, r in zip(returns(rows, 0.95), rows, strict=True)]
    step = over(rows, sums, state(rows), kind=kind, unit="step", singleton="zero")
    got = assign(table(rows), estimator("gigpo", variant, normaliser=kind, weight=0.7)).value_S
    check(got, [a + 0.7 * b for a, b in zip(outcome, step, strict=True)])


@FEW
@given(rows=batches())
def test_istar(rows: list[Row]) -> None:
    tasks: list[object] = [r.task for r in rows]
    for variant, kind, unit, single, penalty in (
        ("paper", "norm", "step", "zero", 0.0),
        ("released", "leave_one_out", "first", "raw", 0.1),
    ):
        whole = over(
            rows,
            [r.outcome - penalty * r.penalty for r in rows],
            tasks,
            kind=kind,
            unit="trajectory",
            singleton=single,
        )
        step = over(rows, [r.score for r in rows], tasks, kind=kind, unit=unit, singleton=single)
        got = assign(table(rows), estimator("istar", variant, score="s")).value_S
        check(got, [a + b for a, b in zip(whole, step, strict=True)])


@FEW
@given(rows=batches())
def test_matchtir(rows: list[Row]) -> None:
    sums: dict[int, float] = {}
    for r in rows:
        sums[r.trajectory] = sums.get(r.trajectory, 0.0) + r.score
    for variant, single in (("paper", "zero"), ("released", "raw")):
        whole = over(
            rows,
            [sums[r.trajectory] for r in rows],
            [r.task for r in rows],
            kind="norm",
            unit="trajectory",
            singleton=single,
        )
        turn = over(
            rows,
            returns(rows, 0.9, "score"),
            [(r.task, r.turn) for r in rows],
            kind="norm",
            unit="step",
            singleton=single,
        )
        got = assign(table(rows), estimator("matchtir_greedy", variant, score="s")).value_S
        check(got, [(a + b) / 2 for a, b in zip(whole, turn, strict=True)])


@FEW
@given(rows=batches(), history=st.integers(0, 3))
def test_hgpo(rows: list[Row], history: int) -> None:
    place = {(r.trajectory, r.turn): r.anchor for r in rows}

    def context(r: Row, depth: int, padded: bool) -> object:
        states = [place.get((r.trajectory, r.turn - back)) for back in range(depth + 1)]
        if any(s == -1 for s in states) or (not padded and None in states):
            return None
        return (r.task, *states)

    sums = returns(rows, 0.95)
    levels = {
        padded: [
            over(
                rows,
                sums,
                [context(r, depth, padded) for r in rows],
                kind="norm",
                unit="step",
                singleton="zero",
                ddof=0,
            )
            for depth in range(history + 1)
        ]
        for padded in (True, False)
    }
    scale = sum(depth + 1 for depth in range(history + 1))
    paper = [
        sum((depth + 1) / scale * level[i] for depth, level in enumerate(levels[True]))
        for i in range(len(rows))
    ]
    check(assign(table(rows), estimator("hgpo", history=history)).value_S, paper)
    released = []
    for i in range(len(rows)):
        live = [(depth + 2, level[i]) for depth, level in enumerate(levels[False]) if level[i] != 0]
        released.append(sum(w * a for w, a in live) / sum(w for w, _ in live) if live else 0.0)
    check(assign(table(rows), estimator("hgpo", "released", history=history, penalty=0.0)).value_S, released)


@FEW
@given(rows=batches(), discount=st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_turn_return_and_reinforce(rows: list[Row], discount: float) -> None:
    sums = returns(rows, discount)
    wanted = over(
        rows, sums, [(r.task, r.turn) for r in rows], kind="leave_one_out", unit="step", singleton="raw"
    )
    check(assign(table(rows), estimator("turn_return", discount=discount)).value_S, wanted)
    wanted = over(rows, sums, [0] * len(rows), kind="norm", unit="step", singleton="zero")
    check(assign(table(rows), estimator("reinforce++", discount=discount)).value_S, wanted)


@FEW
@given(rows=batches())
def test_srgpo_with_one_whole_block(rows: list[Row]) -> None:
    whole = over(
        rows,
        [r.outcome for r in rows],
        [r.task for r in rows],
        kind="norm",
        unit="trajectory",
        singleton="zero",
    )
    step = over(rows, [r.score for r in rows], [0] * len(rows), kind="norm", unit="step", singleton="zero")
    got = assign(table(rows), estimator("srgpo", score="s", block=None)).value_S
    check(got, [a + 0.5 * b for a, b in zip(whole, step, strict=True)])


@FEW
@given(rows=batches(), seed=st.integers(0, 5))
def test_srgpo_with_random_blocks(rows: list[Row], seed: int) -> None:
    """The block is what the key says it is; the rest follows from the formula."""
    columns = table(rows)
    block = keys.block(size=3).ids(columns, np.random.default_rng(seed)).tolist()
    tasks: list[object] = [r.task for r in rows]
    outcome = [r.outcome - 0.1 * r.penalty for r in rows]
    whole = over(rows, outcome, tasks, kind="norm", unit="step", singleton="raw")
    process = [r.score - 0.1 * r.penalty for r in rows]
    step = over(rows, process, block, kind="norm", unit="step", singleton="zero")
    got = assign(
        columns, estimator("srgpo", "released", score="s", block=3), rng=np.random.default_rng(seed)
    ).value_S
    check(got, [a + 0.5 * b for a, b in zip(whole, step, strict=True)])
