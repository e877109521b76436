"""Pairs of siblings: the value margin on a fixed tree, and SPORT's filters on candidates of known likeness."""

from __future__ import annotations

import pytest

from everystep.core.errors import ConfigError
from everystep.core.protocols import Sampling
from everystep.core.records import Action, Level, Observation, Step, Task, Verdict
from everystep.credit.overlap import character_bleu
from everystep.data.siblings import SiblingPairs, choice_pairs, value_pairs
from everystep.environments.places.keydoor import KeyDoor
from everystep.learn.pairs import pair_samples
from everystep.models.local import LocalModel, LocalSampler
from everystep.run.branch import Tried
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits
from everystep.run.search import SearchTree, search

WORLD = KeyDoor(side=3, horizon=6)
TASK = Task(id="t", instruction="obey", environment="fragile")


def step(name: str, parent: str | None = None, *, text: str = "", valid: bool = True) -> Step:
    action = Action(text=text or name, valid=valid, reason=None if valid else "no")
    return Step(id=name, parent=parent, index=0, observation=Observation(text="now"), action=action)


def tree(**nodes: tuple[str | None, float, int]) -> SearchTree:
    """A tree from (parent, value, visits) of each step."""
    return SearchTree(
        id="j",
        task=TASK,
        steps=tuple(step(name, parent) for name, (parent, _, _) in nodes.items()),
        visits={name: visits for name, (_, _, visits) in nodes.items() if visits},
        values={name: value for name, (_, value, visits) in nodes.items() if visits},
        simulations=(),
    )


FIXED = tree(
    a=(None, 0.8, 10), b=(None, 0.1, 4), c=(None, 0.05, 1), d=(None, 0.0, 0),
    aa=("a", 1.0, 6), ab=("a", 0.25, 4), ba=("b", 0.9, 3),
)  # fmt: skip


def told(made: SiblingPairs) -> list[tuple[str, str, float | None, tuple[str, ...]]]:
    return [(one.chosen, one.rejected, one.margin, one.context) for one in made.pairs]


def test_the_margin_on_a_fixed_tree() -> None:
    """0.8 and 0.1 differ by exactly 0.7, which is not more; 0.8 and 0.05 do; d has no value; ba has no sibling."""
    made = value_pairs([FIXED])
    assert told(made) == [("a", "c", 0.75, ()), ("aa", "ab", 0.75, ("a",))]
    assert {one.level for one in made.pairs} == {Level.STEP}
    assert {one.source for one in made.pairs} == {"search/margin>0.7/visits>=1"}
    assert made.left_out == {"a sibling was visited too seldom": 1, "the values are too close": 2}


def test_seldom_visited_siblings_are_left_out_and_the_widest_kept() -> None:
    assert told(value_pairs([FIXED], least_visits=2)) == [("aa", "ab", 0.75, ("a",))]
    assert [one[:2] for one in told(value_pairs([FIXED], margin=0.0, most=1))] == [("a", "c"), ("aa", "ab")]
    assert [one[:2] for one in told(value_pairs([FIXED, FIXED], margin=0.0))] == [
        ("a", "c"), ("a", "b"), ("b", "c"), ("aa", "ab"),
    ] * 2  # fmt: skip
    with pytest.raises(ConfigError, match="margin=-1"):
        value_pairs([FIXED], margin=-1)


def test_first_steps_of_several_tasks_are_no_siblings() -> None:
    good, bad = tree(a=(None, 1.0, 5)), tree(b=(None, 0.0, 5))
    assert value_pairs([good, bad]).pairs == ()


CHOSEN = "call lookup ( item = fig )"
LIKE = "call lookup ( item = pear )"
UNLIKE = "answer 7 3"


def state(*candidates: tuple[str, bool], name: str = "s") -> Tried:
    steps = tuple(
        step(f"{name}{n}", "p", text=text, valid=valid) for n, (text, valid) in enumerate(candidates)
    )
    return Tried(
        task=TASK, before=(step("p"),), steps=steps, results=tuple(Observation(text="") for _ in steps)
    )


def choice(one: Tried, label: str) -> Verdict:
    return Verdict(
        level=Level.LIST, targets=tuple(s.id for s in one.steps), judge="critic", label=label, version="2"
    )


def test_sports_filters() -> None:
    assert character_bleu(LIKE, CHOSEN, smoothing=0.1) > 0.3 > character_bleu(UNLIKE, CHOSEN, smoothing=0.1)
    one = state(
        (LIKE, False),
        (CHOSEN, True),
        (LIKE, True),
        (UNLIKE, True),
        (LIKE + " ", False),
        (LIKE, False),
        (UNLIKE, False),
    )
    made = choice_pairs([one], [choice(one, "s1")])
    # Errors 0 and 4 fill the class; 5 is one too many and like the chosen; 2 is like it; 3 and 6 are unlike.
    assert [pair.rejected for pair in made.pairs] == ["s0", "s3", "s4", "s6"]
    assert {(pair.chosen, pair.context, pair.level, pair.margin) for pair in made.pairs} == {
        ("s1", ("p",), Level.STEP, None)
    }
    assert made.left_out == {"a candidate is like the chosen one": 1, "one error too many": 1}
    assert made.pairs[0].source == "choice/critic/2/character-bleu-4-epsilon-0.1/1<0.3"
    assert [
        pair.rejected for pair in choice_pairs([one], [choice(one, "s1")], most_errors=0, alike=0.0).pairs
    ] == []
    assert len(choice_pairs([one], [choice(one, "s1")], alike=1.0).pairs) == 6


def test_without_a_choice_there_is_no_pair() -> None:
    one, other = state((CHOSEN, True), (UNLIKE, True)), state((CHOSEN, True), (UNLIKE, True), name="r")
    made = choice_pairs([one, other], [choice(one, "failed")])
    assert (made.pairs, made.left_out) == ((), {"no choice in a state": 2})


def test_pairs_of_a_search_become_rows(model: LocalModel) -> None:
    job = Job(id="k", task=WORLD.task("train", 0), group="g", seed=1)
    [found] = search(
        LocalHosts(WORLD), LocalSampler(model), [job], iterations=24, width=3, weight=0.5,
        sampling=Sampling(), limits=Limits(max_steps=3), value=lambda one: float(len(one.steps[0].action.text) % 2),
    )  # fmt: skip
    made = value_pairs([found], margin=0.5)
    rows = pair_samples(made.pairs, (), siblings=found.steps)
    assert made.pairs
    assert (len(rows.samples), rows.left_out) == (2 * len(made.pairs), {})
