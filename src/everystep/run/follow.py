"""Following a plan: which node is worked on now, and what happens to the plan when one is done or fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from everystep.core.records import End
from everystep.core.trace import Kind
from everystep.run.course import Course, Place
from everystep.run.journal import Journal
from everystep.run.nodes import Edit, Node, Status
from everystep.run.parts import Over, Planner
from everystep.run.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Works through ``plan`` with ``work`` (one node; returns whether it is done), up to ``parallel`` nodes at a time."""

    plan: Plan
    course: Course
    journal: Journal
    planner: Planner | None
    parallel: int
    work: Callable[[Place], Awaitable[bool]]
    tell: Callable[..., None]

    async def all(self) -> None:
        """Work on the ready nodes, up to ``parallel`` at a time, until none is left."""
        if not self.plan:
            await self._grow(None)
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                while len(running) < self.parallel and (node := self.plan.next()) is not None:
                    self.edit(self.plan.started(node.id))
                    if self.parallel == 1:
                        await self._one_node(node)
                    else:
                        running.add(asyncio.create_task(self._one_node(node)))
                if not running:
                    if not await self._unstuck():
                        return
                    continue
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one_node(self, node: Node) -> None:
        self.tell("node", node.id, started=True, goal=node.instruction)
        try:
            if node.composite:
                await self._grow(node)
                return
            place = place_of(self.course, node)
            if await self.work(place):
                self.edit(self.plan.finished(node.id, place.result))
            else:
                self.edit(self.plan.failed(node.id, place.why))
                await self._mend(node, place.why)
            self.course.places.pop(node.id, None)
        finally:
            self.tell("node", node.id, started=False)

    async def _grow(self, node: Node | None) -> None:
        edits: Sequence[Edit] = ()
        if self.planner is not None:
            edits = await self.planner.expand(self.course.task, self.plan, node, self.course.observation)
        if not edits:
            what = "the plan is empty" if node is None else f"node {node.id!r} has no steps"
            raise Over(End.FAILED, f"{what} and no planner could fill it.")
        for edit in edits:
            self.edit(edit)

    async def _mend(self, node: Node, why: str) -> None:
        """Repair the plan after a node failed, unless an alternative took its place or it was optional."""
        if self.plan.covered(node.id):
            return
        edits: Sequence[Edit] = ()
        if self.planner is not None:
            course = self.course
            edits = await self.planner.repair(course.task, self.plan, node, why, course.observation)
        if not edits:
            raise Over(End.FAILED, f"node {node.id!r} failed: {why}")
        for edit in edits:
            self.edit(edit)

    async def _unstuck(self) -> bool:
        """Repair a plan that cannot go on (the process died between a failure and its repair); return whether it could."""
        if self.plan.complete:
            return False
        failed = [
            n for n in self.plan if self.plan.status(n.id) is Status.FAILED and not self.plan.covered(n.id)
        ]
        if not failed:
            return False
        await self._mend(failed[-1], self.plan.reason(failed[-1].id))
        return not self.plan.stuck

    def edit(self, edit: Edit) -> None:
        """Change the plan: first in the journal, then here."""
        self.plan.check_edit(edit)
        self.journal.append(Kind.PLAN, edit)
        self.plan.apply(edit)


def place_of(course: Course, node: Node) -> Place:
    """Return where the work on a node stands, from its first step on."""
    return course.place(node.id, node.instruction, max_steps=node.max_steps, atomic=node.max_steps == 1)
