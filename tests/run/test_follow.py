"""Runs that follow a plan: expanded, repaired, in parallel, and killed at any event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from everystep.core.acts import Effect, Reversal
from everystep.core.protocols import Request, Settled, Transition
from everystep.core.records import Action, End, Level, Observation, Task, Verdict
from everystep.core.trace import Kind
from everystep.models.scripted import Scripted
from everystep.run.decide import Role, Way
from everystep.run.journal import Journal
from everystep.run.journal_file import write_fresh
from everystep.run.nodes import Alternative, Edit, Node, NodeKind, Status
from everystep.run.parts import Bounds, Parts, Patience
from everystep.run.plan import Plan
from stepping import go, moves, runner

TASK = Task(id="shop", instruction="fetch what is asked for", environment="shop")


class Shop:
    """Sells what is asked for, to several at a time; what is sold is sold."""

    def __init__(self, sold: dict[str, str]) -> None:
        self.sold, self.now, self.most = sold, 0, 0

    def reset(self, task: Task) -> Observation:
        return Observation(text="open")

    def rejoin(self, task: Task, observation: Observation) -> Observation:
        return observation

    def parse(self, text: str) -> Action:
        return Action(text=text)

    def effect(self, action: Action) -> Effect:
        return Effect(name="buy", reversal=Reversal.IRREVERSIBLE)

    async def act(self, action: Action, *, key: str) -> Transition:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001 * (len(action.text) % 3))
        self.now -= 1
        self.sold[key] = action.text
        return self._sold(action)

    async def settled(self, action: Action, *, key: str) -> Settled:
        return Settled(known=True, transition=self._sold(action) if key in self.sold else None)

    def _sold(self, action: Action) -> Transition:
        return Transition(observation=Observation(text=f"here is {action.text}"), reward=1.0)

    def step(self, action: Action) -> Transition:
        raise NotImplementedError

    def close(self) -> None:
        pass


def buyer() -> Role:
    """Buys what its node says, then says that it is done."""

    def answer(request: Request) -> str:
        text = request.messages[-1].content
        if "here is" in text:
            return "done " + text.rsplit("here is ", 1)[1]
        goal = next((line for line in text.splitlines() if line.startswith("Now: ")), "Now: nothing")
        notes = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith("Note: ")]
        return " ".join([goal[5:].replace("buy ", ""), *notes])

    return Role(name="buyer", ways=(Way(sampler=Scripted(answer)),))


def finish(action: Action) -> str | None:
    return action.text.removeprefix("done ") if action.text.startswith("done ") else None


def shopping() -> Plan:
    return Plan(
        [
            Node(id="a", instruction="buy apples"),
            Node(id="b", instruction="buy bread"),
            Node(id="c", instruction="buy cake", needs=("a", "b")),
            Node(id="d", instruction="buy dates"),
        ]
    )


def test_nodes_see_the_results_that_they_need_and_the_run_is_done_when_the_plan_is(tmp_path: Path) -> None:
    sold: dict[str, str] = {}
    with Journal.create(tmp_path / "j", {}) as journal:
        one = runner(journal, Parts(operator=buyer(), finish=finish), TASK, Shop(sold), plan=shopping())
        outcome = asyncio.run(one.run())
        steps = [event.body for event in journal.events(kinds={Kind.STEP})]
    assert outcome.end is End.DONE
    assert list(sold.values()) == ["apples", "bread", "cake apples bread", "dates"]
    assert [step["node"] for step in steps] == ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert one.plan is not None
    assert one.plan.result("c") == "cake apples bread"


def test_independent_nodes_run_side_by_side_with_the_same_results(tmp_path: Path) -> None:
    sold: dict[str, str] = {}
    shop = Shop(sold)
    with Journal.create(tmp_path / "j", {}) as journal:
        parts = Parts(operator=buyer(), finish=finish)
        bounds = Bounds(parallel=3)
        outcome = asyncio.run(runner(journal, parts, TASK, shop, plan=shopping(), bounds=bounds).run())
    assert outcome.end is End.DONE
    assert shop.most == 3
    assert sorted(sold.values()) == ["apples", "bread", "cake apples bread", "dates"]


class Adds:
    """A planner that knows two errands for the composite, and another shop when one fails."""

    def __init__(self) -> None:
        self.expanded, self.repaired = 0, 0

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]:
        self.expanded += 1
        if node is None:
            return [plan.added([Node(id="x", instruction="errands", kind=NodeKind.COMPOSITE)])]
        return [
            plan.expanded(
                node.id,
                [
                    Node(id="x1", instruction="buy eggs"),
                    Node(
                        id="x2",
                        instruction="buy nothing",
                        alternatives=(Alternative(instruction="buy figs"),),
                    ),
                    Node(id="x3", instruction="buy nothing", needs=("x1",)),
                ],
            )
        ]

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]:
        self.repaired += 1
        return [plan.replaced("x", [Node(id=f"x{9 + self.repaired}", instruction="buy grapes")], why)]


class Nothing:
    """A flag against buying nothing."""

    name = "nothing"

    def __call__(self, candidate, situation):  # type: ignore[no-untyped-def]
        return "there is nothing to buy" if candidate.action.text.startswith("nothing") else None


def lazily(planner: Adds) -> Parts:
    role = buyer()
    role = Role(name=role.name, ways=role.ways, flags=(Nothing(),))
    return Parts(operator=role, finish=finish, planner=planner, patience=Patience(flagged=0))


def test_a_plan_grows_when_it_is_reached_and_a_failed_node_is_replaced(tmp_path: Path) -> None:
    sold: dict[str, str] = {}
    planner = Adds()
    with Journal.create(tmp_path / "j", {}) as journal:
        one = runner(journal, lazily(planner), TASK, Shop(sold), plan=Plan())
        outcome = asyncio.run(one.run())
        edits = [event.body["op"] for event in journal.events(kinds={Kind.PLAN})]
    assert (outcome.end, planner.expanded, planner.repaired) == (End.DONE, 2, 1)
    assert list(sold.values()) == ["eggs", "figs", "grapes"]
    assert one.plan is not None
    assert one.plan.status("x2") is Status.FAILED
    assert one.plan.status("x") is Status.DONE
    assert edits[:3] == ["add", "start", "expand"]


class Picky:
    """Finds every purchase of bread wrong."""

    name = "picky"
    threshold = 0.5

    async def check(self, situation, action, transition):  # type: ignore[no-untyped-def]
        wrong = transition is not None and "bread" in action.text
        return Verdict(level=Level.STEP, targets=(situation.step,), judge=self.name, score=float(not wrong))


def test_a_step_that_is_found_wrong_and_cannot_be_taken_back_does_not_finish_its_node(tmp_path: Path) -> None:
    sold: dict[str, str] = {}
    plan = Plan(
        [
            Node(
                id="b",
                instruction="buy bread",
                max_steps=1,
                alternatives=(Alternative(instruction="buy buns"),),
            )
        ]
    )
    with Journal.create(tmp_path / "j", {}) as journal:
        one = runner(journal, Parts(operator=buyer(), verifiers=(Picky(),)), TASK, Shop(sold), plan=plan)
        outcome = asyncio.run(one.run())
    assert outcome.end is End.DONE
    assert list(sold.values()) == ["bread", "buns"]
    assert plan.status("b") is Status.FAILED


def test_a_planned_run_killed_after_any_event_goes_on_with_the_same_acts(tmp_path: Path) -> None:
    ticks = count()
    for parts, plan in (
        (lambda: Parts(operator=buyer(), finish=finish), shopping),
        (lambda: lazily(Adds()), Plan),
    ):
        whole: dict[str, str] = {}
        path = tmp_path / f"whole{next(ticks)}"
        with Journal.create(path, {}, clock=lambda: float(next(ticks))) as journal:
            asyncio.run(runner(journal, parts(), TASK, Shop(whole), plan=plan()).run())
            events, expected = list(journal.events()), moves(journal)
        for cut in range(1, len(events)):
            if events[cut].time == events[cut - 1].time:
                continue
            write_fresh(tmp_path / "cut", events[:cut]).replace(tmp_path / "cut")
            done = {one.body["step"] for one in events[:cut] if one.kind is Kind.STARTED}
            started = [one.body for one in events[:cut] if one.kind is Kind.STARTED]
            sold = {one["key"]: one["action"]["text"] for one in started}
            with Journal.open(tmp_path / "cut") as journal:
                outcome = asyncio.run(go(runner(journal, parts(), TASK, Shop(sold), plan=plan())))
                assert moves(journal) == expected, (cut, done)
            assert outcome.end is End.DONE
            assert sold == whole, cut
