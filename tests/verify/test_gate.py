"""The regression gate on a small project in the sandbox."""

import pytest

from everystep.tools.code_answer import Change
from everystep.tools.code_map import map_sources
from everystep.tools.suite import PASSED, Project, Variant, suite
from everystep.verify.gate import Feedback, check, chosen, frames_of, repair

FILES = {
    "small.py": b"def least(a, b):\n    return a if a > b else b\n\ndef slow():\n    return 1\n",
    "tests/test_small.py": b"from small import least, slow\n\ndef test_least():\n    assert least(1, 2) == 1\n\ndef test_equal():\n    assert least(2, 2) == 2\n\ndef test_slow():\n    assert slow() == 1\n",
}
PROJECT = Project(name="small", files=FILES, code=("small.py",))
BAD = Change(path="small.py", unit="least", text="def least(a, b):\n    return 1\n")
GOOD = Change(path="small.py", unit="least", text="def least(a, b):\n    return a if a < b else b\n")
WRONG = Change(path="small.py", unit="least", text="def most(a, b): ...")
HANGS = Change(path="small.py", unit="slow", text="def slow():\n    while True: pass\n")
WANTED = ("tests/test_small.py::test_least",)
BEFORE = frozenset({"tests/test_small.py::test_equal", "tests/test_small.py::test_slow"})


@pytest.fixture(scope="module")
def rows():
    return check(PROJECT, [(WRONG,), (BAD,), (HANGS, GOOD), (GOOD,)], wanted=WANTED, before=BEFORE, seconds=5)


def test_a_variant_changes_no_other_and_a_run_that_hangs_is_stopped() -> None:
    hang, plain = suite(PROJECT, [Variant(files={"small.py": b"while True: pass\n"}), Variant()], seconds=2)
    assert hang.stopped == "time"
    assert not hang.outcomes
    assert plain.having(PASSED) == BEFORE
    assert set(plain.told) == set(WANTED)


def test_the_gate_drops_what_breaks_a_passing_test_and_takes_the_next(rows) -> None:
    wrong, bad, hangs, good = rows
    assert not wrong.applied
    assert "must define 'least'" in wrong.why
    assert bad.passed
    assert bad.broke == {"tests/test_small.py::test_equal"}
    assert hangs.broke
    assert good.sound
    assert chosen(rows, gate=True) is good
    assert chosen(rows, gate=False) is bad


def test_one_retry_is_told_the_failing_test_and_where_it_went() -> None:
    asked: list[Feedback | None] = []

    def propose(feedback):
        asked.append(feedback)
        return [(BAD,)] if feedback is None else [(GOOD,)]

    told = "small.py:2: in least\n    return a\nE   AssertionError\n"
    feedback = Feedback(test=WANTED[0], told=told, frames=frames_of(told, map_sources(FILES.items())))
    assert feedback.frames == (("small.py", 2),)
    found, tried = repair(PROJECT, propose, wanted=WANTED, before=BEFORE, feedback=feedback, seconds=5)
    assert asked == [None, feedback]
    assert found is not None
    assert found.sound
    assert len(tried) == 2
    nothing, _ = repair(PROJECT, propose, wanted=WANTED, before=BEFORE, seconds=5)
    assert nothing is None
