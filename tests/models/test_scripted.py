"""Scripts, stated error rates, teachers and replays."""

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Forks, Primes, Request, Sampler, Sampling, Turn
from everystep.core.records import Action, End, Message, Observation, SpanKind, Step, Stop, Task, Trajectory
from everystep.models.local import LocalSampler
from everystep.models.replay import Replay
from everystep.models.scripted import Noisy, Scripted, Teacher
from everystep.models.tiny import tiny_model

ALLOWED = ("left", "right", "up", "down")
SEES = tuple(f"you see {i}" for i in range(10))


def ask(text="x", session="s", allowed=ALLOWED, seed=0):
    return Request(
        session=session, messages=(Message(role="user", content=text),), allowed=allowed, seed=seed
    )


@pytest.fixture(scope="module")
def model():
    return tiny_model([*SEES, *ALLOWED], size="0.02M")


def test_a_script_is_read_turn_by_turn_and_ends():
    sampler = Scripted(["left", "jump"])
    assert isinstance(sampler, Forks)
    assert isinstance(sampler, Primes)
    typed: Sampler = sampler
    first, other = typed.sample([ask(), ask(session="t")], Sampling())
    assert (first.text, other.text, first.stop) == ("left", "left", Stop.ALLOWED)
    sampler.fork("s", "f")
    second, forked = typed.sample([ask(), ask(session="f")], Sampling())
    assert (second.text, forked.text, second.stop) == ("jump", "jump", Stop.STOP)
    [end] = typed.sample([ask()], Sampling())
    assert end.stop is Stop.ERROR
    assert "2 answers" in end.error
    sampler.release(["s"])
    assert typed.sample([ask()], Sampling())[0].text == "left"
    sampler.prime("p", [Turn(messages=(), text="left")])
    assert typed.sample([ask(session="p")], Sampling())[0].text == "jump"
    with pytest.raises(ConfigError, match="one text"):
        Scripted("left")


def test_scripts_by_session_and_by_function():
    by_name = Scripted({"a": ["up"]})
    assert [g.text for g in by_name.sample([ask(session="a"), ask(session="b")], Sampling())] == ["up", ""]
    by_function = Scripted(lambda request: request.messages[-1].content)
    assert by_function.sample([ask("down")], Sampling())[0].text == "down"


@pytest.mark.parametrize("correlated", [0.0, 0.5, 1.0])
def test_the_error_rate_is_the_stated_one_and_repeats(correlated):
    sampler = Noisy(Scripted(lambda _: "left"), error_rate=0.3, correlated=correlated)
    requests = [ask(f"state {i}", session=str(i), seed=i) for i in range(4000)]
    texts = [g.text for g in sampler.sample(requests, Sampling())]
    wrong = [text for text in texts if text != "left"]
    assert 0.27 < len(wrong) / len(texts) < 0.33
    assert set(wrong) == {"right", "up", "down"}
    assert texts == [g.text for g in sampler.sample(requests, Sampling())]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_correlated_errors_are_the_same_whatever_the_seed(share):
    """Two answers to one state agree in being wrong with the probability that the share implies."""
    rate = 0.3
    sampler = Noisy(Scripted(lambda _: "left"), error_rate=rate, correlated=share)
    both = same = 0
    for i in range(3000):
        answers = sampler.sample([ask(f"state {i}", seed=i), ask(f"state {i}", seed=i + 10**6)], Sampling())
        first, second = (g.text for g in answers)
        both += first != "left" and second != "left"
        same += first == second != "left"
    expected = share * rate + (1 - share) * rate**2
    assert abs(both / 3000 - expected) < 0.03
    assert abs(same / 3000 - (share * rate + (1 - share) * rate**2 / 3)) < 0.03


def test_noise_says_what_it_cannot_do(model):
    with pytest.raises(ConfigError, match="error_rate"):
        Noisy(Scripted(["left"]), error_rate=1.5)
    with pytest.raises(ConfigError, match="corrupt"):
        Noisy(Scripted(["left"]), error_rate=1.0).sample([ask(allowed=None)], Sampling())
    shout = Noisy(Scripted(["left"]), error_rate=1.0, corrupt=lambda _r, text, _g: text.upper())
    assert shout.sample([ask(allowed=None)], Sampling())[0].text == "LEFT"
    with pytest.raises(ConfigError, match="carries tokens"):
        Noisy(Scripted(["left"], model=model), error_rate=0.5).sample([ask()], Sampling())
    assert (
        Noisy(Scripted(["left"]), error_rate=1.0).sample([ask(allowed=("left",))], Sampling())[0].text
        == "left"
    )
    assert Noisy(Scripted([]), error_rate=1.0).sample([ask()], Sampling())[0].stop is Stop.ERROR


def test_a_teachers_row_is_token_for_token_a_row_of_generation(model):
    """Force what the model sampled: every id, span and allowed set must be the same."""
    sampler, teacher = LocalSampler(model), Teacher(model)
    for turn, allowed in enumerate([ALLOWED, ("left", "left left"), ALLOWED, ("up",)]):
        request = ask(SEES[turn], allowed=allowed, seed=turn)
        [sampled] = sampler.sample([request], Sampling())
        taught = teacher.answer(request, sampled.text)
        assert (taught.text, taught.stop) == (sampled.text, sampled.stop)
        assert taught.tokens.ids == sampled.tokens.ids
        assert taught.tokens.spans == sampled.tokens.spans
        assert taught.tokens.allowed == sampled.tokens.allowed
        assert set(taught.tokens.logprobs) == {0.0}
    teacher.release(["s"])
    assert teacher.answer(ask(), "up").tokens.policy == "teacher"


def test_scripts_and_noise_with_a_model_carry_tokens(model):
    for sampler in (
        Scripted(["up", "fly"], model=model),
        Noisy(Scripted(["up", "up"]), error_rate=0.5, model=model),
    ):
        for _ in range(2):
            [answer] = sampler.sample([ask(SEES[0])], Sampling())
            span = answer.tokens.spans[-1]
            assert span.kind is SpanKind.SAMPLED
            assert answer.tokens.ids[span.start : span.end] == model.template.action(answer.text)
            assert (answer.tokens.allowed is None) == (answer.text not in ALLOWED)


def trajectory(name, texts):
    steps = tuple(
        Step(
            id=f"{name}/{i}",
            parent=f"{name}/{i - 1}" if i else None,
            index=i,
            observation=Observation(text=SEES[i]),
            action=Action(text=text),
            stop=Stop.ALLOWED,
        )
        for i, text in enumerate(texts)
    )
    task = Task(id="t", instruction="go", environment="e")
    return Trajectory(id=name, task=task, group="g", steps=steps, end=End.DONE)


def test_a_replay_answers_by_session_and_turn():
    sampler = Replay([trajectory("a", ["left", "up"]), trajectory("b", ["down"])])
    assert isinstance(sampler, Forks)
    first = sampler.sample([ask("go\n" + SEES[0], session="a"), ask(SEES[0], session="b")], Sampling())
    assert [g.text for g in first] == ["left", "down"]
    sampler.fork("a", "fork")
    answers = sampler.sample([ask(SEES[1], session=s) for s in ("a", "b", "fork", "nobody")], Sampling())
    assert [g.text for g in answers] == ["up", "", "up", ""]
    assert "1 steps" in answers[1].error
    assert "'nobody'" in answers[3].error
    sampler.release(["a"])
    [astray] = sampler.sample([ask("elsewhere", session="a")], Sampling())
    assert astray.stop is Stop.ERROR
    assert "differs" in astray.error
    sampler.prime("b", [])
    assert dict(sampler.sessions) == {"a": 2, "b": 1}
