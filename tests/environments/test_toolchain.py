from __future__ import annotations

from random import Random

import pytest

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Observation, Task, ToolCall
from everystep.environments.check import check_environment, format_report
from everystep.environments.reasoning.numerals import read, spell
from everystep.environments.tooluse.toolchain import ITEMS, State, ToolChain, write_call


@pytest.mark.parametrize(
    "world",
    [
        ToolChain(),
        ToolChain(mode="free"),
        ToolChain(turns=1),
        ToolChain(turns=8, digits=6, items=8, choices=12),
        ToolChain(turns=12, digits=12, mode="free"),
        ToolChain(turns=4, fewest=1, answers=4, shown=True, partial=0),
        ToolChain(answers=4, shown=True, tools=False),
        ToolChain(turns=4, fewest=2, notes=True),
    ],
)
def test_contract(world: ToolChain) -> None:
    report = check_environment(world, tasks=2)
    assert report.ok, format_report(report)


def reckon(question: str, table: dict[str, int]) -> int:
    """Work out a question from its words alone, from left to right."""
    value = 0
    for part in question.replace(" plus ", "|+").replace(" minus ", "|-").replace(" times ", "|*").split("|"):
        sign, told = (part[0], part[1:]) if part[0] in "+-*" else ("+", part)
        operand = table[told.removeprefix("value of ")] if told.startswith("value of ") else read(told)
        assert operand is not None
        value = value + operand if sign == "+" else value - operand if sign == "-" else value * operand
    return value


@pytest.mark.parametrize("turns", [1, 2, 5, 9])
def test_reference_trace_has_the_asked_length_and_answers_the_question(turns: int) -> None:
    world = ToolChain(turns=turns, digits=3, mode="free")
    env = world.make()
    for index in range(40):
        task = world.task("train", index)
        table = {}
        env.reset(task)
        assert task.reference_calls is not None
        assert len(task.reference_calls) == turns
        for call in task.reference_calls:
            result = env.step(env.parse(write_call(call)))
            assert result.scores == {"valid": 1.0, "progress": 1.0, "format": 1.0, "executed": 1.0}
            value = read(result.observation.text.removeprefix("result "))
            if call.name == "lookup":
                table[call.arguments["item"]] = value
        question = task.instruction.split(" . ")[0]
        assert reckon(question, table) == task.reference == value  # type: ignore[arg-type]
        last = env.step(env.parse(f"answer {task.reference}"))
        assert (last.reward, last.success, last.terminated) == (1.0, True, True)


def start(world: ToolChain, index: int = 0) -> tuple[Task, Observation, list[int]]:
    env = world.make()
    task = world.task("train", index)
    seen = env.reset(task)
    state: State = env.snapshot().state
    return task, seen, list(state.problem.results)


def test_partial_answers_are_graded() -> None:
    world = ToolChain(turns=4, mode="free")
    env = world.make()
    task, _, results = start(world, 3)
    assert len(set(results)) == 4
    rewards = []
    for value in (*results, 10**9):
        env.reset(task)
        rewards.append(env.step(Action(text=f"answer {spell(value)}")).reward)
    assert rewards == [0.125, 0.25, 0.375, 1.0, 0.0]


def test_the_anchor_is_a_set_of_calls() -> None:
    world = ToolChain(turns=3, mode="free")
    env = world.make()
    task, _, _ = start(world)
    table = dict(env.snapshot().state.problem.table) if env.reset(task) else {}
    one, two = (f"call lookup ( item = {name} )" for name in list(table)[:2])
    anchors = []
    for order in ((one, two), (two, one), (one, one, two, one)):
        env.reset(task)
        for text in order:
            result = env.step(Action(text=text))
        anchors.append(result.observation.anchor)
    assert anchors[0] == anchors[1] == anchors[2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("call lookup ( item = nothing )", "the table has no such item"),
        ("call look ( item = fig )", "there is no tool look"),
        ("call lookup ( thing = fig )", "lookup takes item"),
        ("call add ( a = 1 )", "add takes a , b"),
        ("call add ( b = 1 , a = 2 )", "add takes a , b"),
        ("call add ( a = 1 , b = x )", "b must be a number"),
        ("call add ( a = 1 , b = " + "9" * 99 + " )", "b must be a number"),
        ("answer x", "expected: call TOOL ( NAME = VALUE , ... ) or answer NUMBER"),
        ("answer", "expected: call TOOL ( NAME = VALUE , ... ) or answer NUMBER"),
    ],
)
def test_errors_are_observations(text: str, reason: str) -> None:
    world = ToolChain(mode="free")
    env = world.make()
    task, _, _ = start(world)
    env.reset(task)
    result = env.step(env.parse(text))
    assert (result.valid, result.reason, result.scores["valid"]) == (False, reason, 0.0)
    assert result.observation.text == f"nothing happens : error {reason}"
    assert not result.terminated


def test_calls_are_parsed_with_or_without_spaces() -> None:
    env = ToolChain().make()
    expected = (ToolCall(name="add", arguments={"a": 37, "b": -5}),)
    for text in ("call add(a=37,b=-5)", " call add ( a = 3 7 , b = - 5 ) ", "call  add( a=3 7 ,b=-5)"):
        assert env.parse(text).calls == expected


def test_choices_hold_the_right_action_everywhere_and_their_place_tells_nothing() -> None:
    world = ToolChain(turns=3, choices=4)
    env, rng = world.make(), Random(0)
    places = []
    for index in range(150):
        seen = env.reset(world.task("train", index))
        while True:
            assert seen.admissible is not None
            right = env.oracle()
            assert right in seen.admissible
            assert len(seen.admissible) <= 4
            if len(seen.admissible) == 4:
                places.append(seen.admissible.index(right))
            result = env.step(Action(text=right if rng.random() < 0.7 else rng.choice(seen.admissible)))
            if result.terminated or result.truncated:
                break
            seen = result.observation
    assert max(places.count(place) for place in range(4)) < 0.5 * len(places)


def test_only_listed_actions_are_taken_in_choose_mode() -> None:
    world = ToolChain(items=2)
    env = world.make()
    seen = env.reset(world.task("train", 1))
    other = next(f"call lookup ( item = {n} )" for n in ITEMS if f"{n} )" not in str(seen.admissible))
    assert env.step(env.parse(other)).reason == "not among the choices"


def test_bad_options() -> None:
    with pytest.raises(ConfigError, match="'turns' is 0"):
        ToolChain(turns=0)
    with pytest.raises(ConfigError, match="mode is 'pick'"):
        ToolChain(mode="pick")


def test_difficulty_is_drawn_for_each_task_and_told_in_a_tag() -> None:
    world = ToolChain(turns=4, fewest=2)
    tasks = [world.task("train", index) for index in range(60)]
    for task in tasks:
        assert task.reference_calls is not None
        assert task.tags["turns"] == str(len(task.reference_calls))
    assert {task.tags["turns"] for task in tasks} == {"2", "3", "4"}


def test_answers_can_be_chosen_at_any_time_and_differ_in_one_digit() -> None:
    world = ToolChain(turns=3, digits=4, answers=4, shown=True)
    env = world.make()
    places = []
    for index in range(100):
        task = world.task("train", index)
        seen = env.reset(task)
        for name, value in env.snapshot().state.problem.table:
            assert f"{name} {spell(value)}" in task.instruction
        first = [text for text in seen.admissible or () if text.startswith("answer")]
        right = f"answer {spell(int(str(task.reference)))}"
        assert len(first) == 4
        assert right in first
        places.append(first.index(right))
        for text in first:
            digits = zip(text.split(), right.split(), strict=True)
            assert sum(one != two for one, two in digits) == (text != right)
        later = env.step(Action(text=env.oracle())).observation.admissible or ()
        assert set(first) <= set(later)
    assert max(places.count(place) for place in range(4)) < 50  # the order gives little away


def test_without_tools_there_are_only_answers() -> None:
    world = ToolChain(answers=3, shown=True, tools=False)
    env = world.make()
    seen = env.reset(world.task("train", 0))
    assert seen.admissible is not None
    assert all(text.startswith("answer ") for text in seen.admissible)
    assert env.step(Action(text=env.oracle())).success
    short = ToolChain(rules=False, shown=True).task("train", 0).instruction
    assert "tools" not in short
    assert ToolChain(shown=True).task("train", 0).instruction.startswith(f"{short} . ")


def test_notes_make_every_turn_whole_whatever_else_was_called() -> None:
    world, rng = ToolChain(turns=5, digits=3, choices=8, notes=True), Random(0)
    env = world.make()
    for index in range(40):
        task = world.task("train", index)
        seen = env.reset(task)
        question = task.instruction.split(" . ")[0]
        assert seen.text == f"no result yet . left {question}"
        while True:
            problem = env.snapshot().state.problem
            table = dict(problem.table)
            so_far, left = [*seen.text.split(" . ")[-2:]]
            so_far, left = so_far.partition("so far ")[2], left.removeprefix("left ")
            rest = so_far if left == "nothing" else " ".join(word for word in (so_far, left) if word)
            assert reckon(rest, table) == task.reference
            right = env.oracle()
            assert (left == "nothing") == right.startswith("answer")
            assert left.startswith("value of") == (so_far == "")
            calls = [text for text in seen.admissible or () if text.startswith("call")]
            action = rng.choice(calls) if calls and rng.random() < 0.3 else right
            result = env.step(Action(text=action))
            if result.terminated or result.truncated:
                break
            seen = result.observation


def test_notes_follow_the_chain() -> None:
    world = ToolChain(turns=3, notes=True, mode="free")
    env = world.make()
    task = next(
        task
        for index in range(100)
        if (task := world.task("train", index)).instruction.count("value of") == 2
    )
    question = task.instruction.split(" . ")[0]
    texts = [env.reset(task).text]
    values = []
    for call in task.reference_calls or ():
        texts.append(env.step(Action(text=write_call(call))).observation.text)
        values.append(texts[-1].removeprefix("result ").split(" . ")[0])
    one, two, three = values
    word = question.split()[3]
    assert texts == [
        f"no result yet . left {question}",
        f"result {one} . so far {one} . left {word} {' '.join(question.split()[4:])}",
        f"result {two} . so far {one} . left {word} {two}",
        f"result {three} . so far {three} . left nothing",
    ]
