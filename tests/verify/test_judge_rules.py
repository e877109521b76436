from __future__ import annotations

import asyncio
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everystep.core.errors import ConfigError, JudgeError
from everystep.core.protocols import Evidence, Looks
from everystep.core.records import Level, Verdict
from everystep.verify.arithmetic import equations, value, wrong_equation
from everystep.verify.evidence import step_evidence
from everystep.verify.judging import judged
from everystep.verify.noise import Noise
from everystep.verify.rule import RULES, Rule
from verify.stored import written


def scores(rule: Rule, texts: list[str]) -> list[float | None]:
    trajectory = written(texts)

    async def all_() -> list[float | None]:
        return [(await rule.judge(Level.STEP, one))[0].score for one in step_evidence(trajectory, rule.looks)]

    return asyncio.run(all_())


@given(st.integers(-500, 500), st.integers(1, 500), st.sampled_from("+-*/"))
def test_true_equations_hold_and_changed_ones_do_not(a: int, b: int, sign: str) -> None:
    text = f"({a}) {sign} {b}"
    exact = value(text)
    assert exact is not None
    assert (
        exact == {"+": Fraction(a + b), "-": Fraction(a - b), "*": Fraction(a * b), "/": Fraction(a, b)}[sign]
    )
    if exact.denominator == 1:
        assert wrong_equation(f"So we get {text} = {exact} of them.") is None
        assert wrong_equation(f"So we get {text} = {exact + 1} of them.") is not None


@given(st.text(alphabet="0123456789+-*/^(). =xn$\\{},%≈", max_size=200))
def test_no_text_breaks_the_reader_of_equations(text: str) -> None:
    for left, right, holds in equations(text):
        assert isinstance(left + right, str)
        assert holds in (True, False)


@pytest.mark.parametrize(
    "text",
    ["2x + 3 = 7", "f(3) = 4", "3 * 5 = 4 (mod 11)", "10 / 3 = 3.33", "n = 3", "3! = 6", "1 + 2 = 3y", "at 3:4 = 5",
     r"\frac{1}{2} + \frac{1}{3} = \frac{5}{6}", "15% of 200 = 30", "22/7 ≈ 3.1", "9^9^9^9 = 1"],
)  # fmt: skip
def test_what_is_no_wrong_equation_of_numbers_is_left_alone(text: str) -> None:
    assert wrong_equation(text) is None


@pytest.mark.parametrize(
    "text", ["She has 3 * 4 = 13 apples", "x = 3 + 4 = 8", "5 * 3 = 15 = 30/2 = 16", "$12/4 = 4$."]
)
def test_wrong_equations_are_found(text: str) -> None:
    assert wrong_equation(text) is not None


def test_the_rules_say_what_they_are_for() -> None:
    assert scores(RULES["always"], ["a", "b"]) == [1.0, 1.0]
    assert scores(RULES["never"], ["a", "b"]) == [0.0, 0.0]
    assert scores(RULES["valid"], ["a", "b", "c"]) == [1.0, 0.0, 1.0]
    assert scores(RULES["rewarded"], ["a", "b"]) == [0.0, 1.0]
    blind = Rule(name="r", function=RULES["repeated"].function, looks=Looks(observations=0))
    assert scores(blind, ["a", "b", " a "]) == [1.0, 1.0, 0.0]
    assert scores(RULES["repeated"], ["a", "b", "a"]) == [1.0, 1.0, 1.0]  # the observations differ


def test_what_a_function_does_wrong_is_one_step_and_not_the_run() -> None:
    def odd(evidence: Evidence) -> float:
        if evidence.step.index == 1:
            raise ValueError("no")
        return 7.0 if evidence.step.index == 2 else 1.0

    async def all_() -> list[Verdict]:
        found = judged([written(["a", "b", "c"])], Rule(name="odd", function=odd))
        return [one async for (one,) in found]

    first, second, third = asyncio.run(all_())
    assert first.score == 1.0
    assert second.score is third.score is None
    assert second.label == third.label == "failed"
    assert "ValueError: no" in (second.reason or "")
    assert "expected 0 to 1" in (third.reason or "")


def test_a_rule_is_not_asked_for_what_it_does_not_judge() -> None:
    async def all_() -> None:
        async for _ in judged([written(["a"])], RULES["valid"], level=Level.TRAJECTORY):
            pass

    with pytest.raises(ConfigError, match="Name another level"):
        asyncio.run(all_())


def test_what_has_a_verdict_is_not_judged_again_and_asking_together_keeps_the_order() -> None:
    trajectory = written([str(i) for i in range(7)])

    async def some(**more: object) -> list[str]:
        return [one.targets[0] async for (one,) in judged([trajectory], RULES["always"], **more)]  # type: ignore[arg-type]

    assert asyncio.run(some(done={"t/1", "t/4"})) == ["t/0", "t/2", "t/3", "t/5", "t/6"]
    assert asyncio.run(some(at_once=3)) == [f"t/{i}" for i in range(7)]


def test_noise_errs_at_its_rates_and_again_in_the_same_way() -> None:
    def even(evidence: Evidence) -> bool:
        return evidence.step.index % 2 == 0

    noisy = Noise(of=Rule(name="even", function=even), false_positive=0.1, false_negative=0.3, seed=5)
    trajectory = written([str(i) for i in range(4000)])

    async def all_(judge: Noise) -> list[Verdict]:
        one = Looks(actions=0)
        assert judge.looks == Looks()
        return [(await judge.judge(Level.STEP, evidence))[0] for evidence in step_evidence(trajectory, one)]

    found = asyncio.run(all_(noisy))
    good = [one.score for at, one in enumerate(found) if at % 2 == 0]
    bad = [one.score for at, one in enumerate(found) if at % 2]
    assert good.count(0.0) / len(good) == pytest.approx(0.3, abs=0.04)
    assert bad.count(1.0) / len(bad) == pytest.approx(0.1, abs=0.03)
    assert asyncio.run(all_(noisy)) == found
    assert asyncio.run(all_(Noise(of=noisy.of, false_positive=0.1, false_negative=0.3, seed=6))) != found
    with pytest.raises(ConfigError, match="false_positive"):
        Noise(of=noisy.of, false_positive=2)


def test_a_rule_may_say_nothing() -> None:
    (only,) = scores(Rule(name="mute", function=lambda evidence: None), ["a"])
    assert only is None
    with pytest.raises(JudgeError):
        scores(Rule(name="wild", function=lambda evidence: -1.0), ["a"])
