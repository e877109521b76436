"""Calibration: the stated error rates come back out, systematic states are named and others are not, a mix mends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from everystep.core.codec import dumps, loads
from everystep.core.errors import ConfigError, DataError
from everystep.core.protocols import Candidate, Generation, Request, Sampling, Situation, Transition, Usage
from everystep.core.records import Action, Level, Message, Observation, Step, Stop, Task, Verdict
from everystep.core.trace import Event, Kind
from everystep.models.scripted import Noisy, Scripted
from everystep.verify.calibrate import By, Calibration, Flagged, Sort, Tally, calibrate
from everystep.verify.mend import PLAIN, mend
from everystep.verify.probe import by_verifier, probe, tallies_of
from everystep.verify.proportions import correlation, discoveries, share, upper_tail
from everystep.verify.race import race

ALLOWED = ("north", "south", "east", "west")


def situation(name: str) -> Situation:
    task = Task(id="t", instruction="go", environment="grid")
    seen = Observation(text=name, anchor=name, admissible=ALLOWED)
    return Situation(run="r", task=task, node="", goal="", step=f"0/{name}", index=0, observation=seen)


class Walker:
    """Draws from a noisy model: right is ``north``."""

    def __init__(self, error: float, correlated: float, *, seed: int = 0, flagged: float = 0.0) -> None:
        self.model = Noisy(Scripted(lambda _: "north"), error_rate=error, correlated=correlated, seed=seed)
        self.flagged = flagged
        self.inside = self.most = 0

    async def __call__(self, at: Situation, sample: int) -> Candidate:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0)
        key = Random(f"{at.step} {sample}").getrandbits(32)
        message = Message(role="user", content=at.observation.text)
        asked = Request(session="s", messages=(message,), allowed=ALLOWED, seed=key)
        text = self.model.sample([asked], Sampling())[0].text
        self.inside -= 1
        usage = Usage(prompt=100, completion=10)
        return Candidate(
            sample=sample,
            action=Action(text=text),
            generation=Generation(text=text, stop=Stop.STOP, usage=usage),
            key=text,
            flag="too long: 900 tokens" if Random(key).random() < self.flagged else None,
        )


def north(_: Situation, candidate: Candidate) -> bool:
    return candidate.action.text == "north"


def drawn(walker: Walker, states: int, samples: int, **more: object) -> list[Tally]:
    situations = (situation(f"s{i}") for i in range(states))
    return asyncio.run(probe(situations, walker, samples=samples, **more))  # type: ignore[arg-type]


# --- what is known comes back out -----------------------------------------------------------------


def test_independent_errors_are_measured_as_such() -> None:
    found = calibrate(drawn(Walker(0.1, 0.0, flagged=0.2), 400, 5, truth=north))
    assert found.success.low < 0.9 < found.success.high
    assert found.valid.low < 0.8 < found.valid.high
    assert found.correlated is not None
    assert found.correlated.low <= 0 <= found.correlated.high
    assert found.weak == ()
    assert found.silent == ()
    assert abs(found.both_wrong - found.both_wrong_expected) < 4 * (found.both_wrong_expected + 1) ** 0.5
    assert found.cost == {"cached_tokens": 0.0, "completion_tokens": 10.0, "prompt_tokens": 100.0}
    assert [one.flag for one in found.flags] == ["too long"]
    assert loads(Calibration, dumps(found)) == found


def test_the_correlated_share_is_the_stated_one_and_the_states_are_named() -> None:
    walker = Walker(0.2, 0.3, seed=3)
    tallies = drawn(walker, 600, 12, truth=north)
    found = calibrate(tallies)
    assert found.correlated is not None
    assert found.correlated.low < 0.3 < found.correlated.high
    assert found.correlated.high - found.correlated.low < 0.25
    assert found.both_wrong > 1.5 * found.both_wrong_expected
    named = {one.state for one in found.weak}
    always_wrong = {one.state for one in tallies if one.right == 0}
    assert len(always_wrong) > 20
    assert always_wrong <= named
    assert set(found.doomed) >= always_wrong
    assert len(named - always_wrong) <= 0.15 * len(named)
    plain = next(part for part in found.parts if part.sort is Sort.PLAIN)
    rest = (0.7 * 0.8 + 0.3 * 0.8) / (1 - 0.3 * 0.2)  # those that are always right stay among them
    assert plain.success.low - 0.01 < rest < plain.success.high + 0.01
    assert found.success.low < 0.8 < found.success.high


def test_nobody_is_named_without_cause() -> None:
    named = sum(bool(calibrate(drawn(Walker(0.2, 0.0, seed=s), 100, 8, truth=north)).weak) for s in range(20))
    assert named <= 4


def test_flags_that_hit_what_errs_remove_collisions() -> None:
    random = Random(5)

    async def draw(at: Situation, sample: int) -> Candidate:
        long = random.random() < 0.2
        text = "south" if long and random.random() < 0.9 else "north"
        flag = "too long: 800 tokens" if long else None
        made = Generation(text=text, stop=Stop.STOP)
        return Candidate(sample=sample, action=Action(text=text), generation=made, key=text, flag=flag)

    found = calibrate(
        asyncio.run(probe([situation(str(i)) for i in range(400)], draw, samples=4, truth=north))
    )
    assert found.both_wrong == 0
    assert found.both_wrong_anyway is not None
    assert found.both_wrong_anyway > 2
    assert found.flags[0].wrong > 5 * found.flags[0].right


def test_silent_states_are_told_from_bad_luck() -> None:
    flag = Flagged(flag="bad format")
    plain = [Tally(state=f"s{i}", right=6, wrong=0, flagged=(flag, flag)) for i in range(50)]
    unlucky = Tally(state="unlucky", right=0, wrong=0, flagged=(flag,))
    mute = Tally(state="mute", right=0, wrong=0, flagged=(flag,) * 8)
    found = calibrate([*plain, unlucky, mute])
    assert found.silent == ("mute",)
    assert found.states == 52


def test_agreement_gives_p_without_truth_and_says_that_it_sees_no_shared_error() -> None:
    for error in (0.1, 0.3):
        found = calibrate(drawn(Walker(error, 0.0, seed=2), 800, 5), by=By.AGREEMENT)
        # wrong answers differ here, so the worst case of one wrong answer makes p a lower bound
        assert 1 - error - 0.08 < found.success.value < 1 - error + 0.03
        assert found.correlated is None
        assert found.pairs == 0


def test_broken_models_are_no_votes_and_too_little_is_refused() -> None:
    async def broken(at: Situation, sample: int) -> Candidate:
        made = Generation(text="", stop=Stop.ERROR, error="down")
        return Candidate(sample=sample, action=Action(text=""), generation=made)

    tallies = asyncio.run(probe([situation("a")], broken, samples=2, truth=north))
    assert tallies == [Tally(state="a", right=0, wrong=0)]
    with pytest.raises(DataError, match="no valid sample"):
        calibrate(tallies)
    with pytest.raises(ConfigError, match="2 or more samples without truth"):
        asyncio.run(probe([], broken, samples=1))
    with pytest.raises(DataError, match="cannot agree"):
        calibrate([Tally(state="a", right=1, wrong=0)], by=By.AGREEMENT)


def test_at_most_so_many_states_are_probed_at_once_and_order_is_kept() -> None:
    walker = Walker(0.1, 0.0)
    tallies = drawn(walker, 30, 2, truth=north, parallel=3)
    assert walker.most == 6
    assert [one.state for one in tallies] == [f"s{i}" for i in range(30)]


def test_a_verifier_can_be_the_truth() -> None:
    class Checks:
        name, threshold = "checks", 0.5

        async def check(self, at: Situation, action: Action, transition: Transition | None) -> Verdict:
            score = None if action.text == "east" else float(action.text == "north")
            return Verdict(level=Level.STEP, targets=(at.step,), judge="checks", score=score)

    tallies = drawn(Walker(0.6, 0.0), 50, 4, truth=by_verifier(Checks()))
    assert sum(one.right + one.wrong for one in tallies) < 200
    assert 0 < sum(one.right for one in tallies) < 120


# --- from a journal -------------------------------------------------------------------------------


def journal_of(p: float, k: int, steps: int, seed: int) -> Iterator[Event]:
    """Yield what a run of voted steps writes, with a fifth of the samples flagged."""
    random, seq = Random(seed), 0
    for number in range(steps):
        votes, flagged = {"right": 0, "wrong": 0}, 0
        name = f"main/{number}"
        while abs(votes["right"] - votes["wrong"]) < k:
            if random.random() < 0.2:
                flagged += 1
                seq += 1
                body = {"step": name, "role": "operator", "sample": 0, "flag": "bad format", "reason": "x"}
                yield Event(seq=seq, kind=Kind.FLAG, body=body)
            else:
                votes["right" if random.random() < p else "wrong"] += 1
        tally = {key: count for key, count in votes.items() if count}
        if len(tally) > 1:
            seq += 1
            yield Event(seq=seq, kind=Kind.VOTE, body={"step": name, "role": "operator", "tally": tally})
        seq += 1
        cost = {"samples": sum(votes.values()) + flagged, "discarded": flagged, "prompt_tokens": 50}
        step = Step(
            id=name,
            parent=None,
            index=number,
            observation=Observation(text=""),
            action=Action(text="right"),
            cost=cost,
        )
        yield Event(seq=seq, kind=Kind.STEP, body={"id": step.id, "cost": step.cost})


def test_a_finished_run_tells_p_and_the_valid_share() -> None:
    found = calibrate(tallies_of(journal_of(0.9, 4, 3000, 7)), by=By.VOTES)
    assert found.states == 3000
    assert found.success.low < 0.9 < found.success.high
    assert found.valid.low < 0.8 < found.valid.high
    one = race(0.9, 4, valid=0.8, cap=1000)
    assert found.samples / 3000 == pytest.approx(one.samples, rel=0.03)
    assert found.cost["prompt_tokens"] == pytest.approx(50 / one.samples, rel=0.03)


def test_a_step_that_nothing_won_counts_against() -> None:
    flag = Event(seq=1, kind=Kind.FLAG, body={"step": "a", "role": "judge", "flag": "empty"})
    vote = Event(seq=2, kind=Kind.VOTE, body={"step": "a", "role": "operator", "tally": {"x": 3, "y": 3}})
    assert list(tallies_of([flag, vote], role="operator")) == [Tally(state="a", right=0, wrong=6)]
    told = list(tallies_of([flag, vote]))
    assert told[0].flagged == (Flagged(flag="empty"),)


# --- mending --------------------------------------------------------------------------------------


def tallies(p: dict[str, float], samples: int = 40) -> list[Tally]:
    return [
        Tally(state=name, right=round(samples * one), wrong=samples - round(samples * one))
        for name, one in p.items()
    ]


def test_two_ways_that_err_at_different_states_save_each_other() -> None:
    plain = {f"s{i}": 0.95 for i in range(30)}
    now = tallies({"a": 0.1, "b": 0.95, **plain})
    other = tallies({"a": 0.95, "b": 0.1, **plain})
    mix = mend({"now": now, "other": other}, bad=["a", "b"])
    assert mix.weights == {"now": 0.5, "other": 0.5}
    assert mix.before["a"] < 0.2
    assert mix.worst > 0.5
    assert mix.doomed == ()
    assert mix.success[PLAIN] > 0.9
    assert mix.ways == ("now", "other") * 5


def test_the_states_to_mend_are_found_and_a_hopeless_one_is_said_to_be_so() -> None:
    plain = {f"s{i}": 0.95 for i in range(40)}
    now = tallies({"trap": 0.05, "dead": 0.05, **plain})
    other = tallies({"trap": 1.0, "dead": 0.1, **plain})
    mix = mend({"now": now, "other": other})
    assert set(mix.success) == {"trap", "dead", PLAIN}
    assert mix.doomed == ("dead",)


def test_of_equal_mixes_the_cheapest_is_taken_and_flags_count() -> None:
    flag = Flagged(flag="empty")
    mute = [Tally(state="a", right=0, wrong=0, flagged=(flag,) * 20)]
    speaks = [Tally(state="a", right=19, wrong=1)]
    mix = mend(
        {"now": mute, "cheap": speaks, "dear": speaks}, bad=["a"], cost={"now": 1, "cheap": 2, "dear": 9}
    )
    assert mix.worst > 0.9
    assert mix.before["a"] == 0
    assert mix.weights == {"now": 0.9, "cheap": 0.1}  # a mute way costs votes, not wrong ones


def test_ways_must_be_tried_at_the_same_states_and_be_few() -> None:
    with pytest.raises(DataError, match="other states"):
        mend({"a": tallies({"x": 0.5}), "b": tallies({"y": 0.5})}, bad=["x"])
    with pytest.raises(ConfigError, match="at most"):
        mend({str(i): tallies({"x": 0.5}) for i in range(12)}, bad=["x"])
    with pytest.raises(ConfigError, match="0 ways"):
        mend({})


# --- the statistics underneath ----------------------------------------------------------------------


@given(st.integers(1, 60), st.floats(1e-4, 0.999), st.data())
def test_the_tail_is_the_binomial_one(trials: int, p: float, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    expected = float(stats.binom.sf(successes - 1, trials, p))
    assert upper_tail(successes, trials, p) == pytest.approx(expected, rel=1e-8, abs=1e-300)


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=30))
def test_discoveries_are_those_of_benjamini_and_hochberg(values: list[float]) -> None:
    cut = discoveries([(p, 1) for p in values], len(values), 0.1)
    expected = stats.false_discovery_control(values) <= 0.1
    assert [p <= cut for p in values] == list(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5]))
def test_the_correlation_of_a_mixture_is_its_share(seed: int, mixed: float) -> None:
    random, counts = Random(seed), {}
    for _ in range(3000):
        q = float(random.random() < 0.3) if random.random() < mixed else 0.3
        n = random.randint(2, 6)
        key = (sum(random.random() < q for _ in range(n)), n)
        counts[key] = counts.get(key, 0) + 1
    found = correlation(counts)
    assert found is not None
    assert found.value == pytest.approx(mixed, abs=0.06)
    wide = (found.high - found.low) / 2 * 2.5
    assert found.value - wide - 0.01 <= mixed <= found.value + wide + 0.01


def test_no_variation_has_no_correlation() -> None:
    assert correlation({(0, 5): 10}) is None
    assert correlation({(0, 1): 5, (1, 1): 5}) is None


def test_the_interval_of_a_share_is_wilsons_and_holds_its_coverage() -> None:
    low, high = stats.binomtest(3, 50).proportion_ci(method="wilson")
    found = share(3, 50)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert share(3, 50, design=4.0).high > found.high
    with pytest.raises(DataError):
        share(2, 1)
