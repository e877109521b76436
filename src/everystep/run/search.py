"""Monte-Carlo tree search: a tree of steps that grows where it pays, with a value and a number of visits beside each.

It works in any world with snapshots and with any sampler that can be put behind stored steps. Each iteration goes down the tree by UCT,
expands the leaf by ``width`` candidates that are executed from one snapshot, rolls one of them out to the end, and adds the outcome to all steps of its way.
Several trees grow together, one batched model call for all. The steps are ordinary steps with parents; nothing of the search is written into them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from everystep.core.errors import ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Primes, Sampler, Sampling, Turn
from everystep.core.records import End, Observation, Step, Task, Trajectory
from everystep.run.branch import execute_from
from everystep.run.hosts import Hosts
from everystep.run.rollout import Episode, Job, Limits, count_usage, messages_of, seed_of, take_turn

Value = Callable[[Trajectory], float | None]
"""What a finished simulation is worth, best 0 to 1; ``None`` where it was not decided, which counts nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTree:
    """The tree that one job has grown. ``steps`` are all candidates, parents first.

    ``visits`` counts the simulations that went through a step, ``values`` is the mean of what they were worth: a step that was never visited has
    no value. ``simulations`` are these simulations from start to end, in order; they share the steps of the tree, and what came behind the tree is their own.
    The values know the future: they are for annotation, never for choosing a step of a live run.
    """

    id: str
    task: Task
    steps: tuple[Step, ...]
    visits: Mapping[str, int]
    values: Mapping[str, float]
    simulations: tuple[Trajectory, ...]


def uct(total: float, visits: int, parent_visits: int, weight: float) -> float:
    """Return ``total / visits + weight * sqrt(log(parent_visits) / visits)`` (Kocsis and Szepesvari 2006); infinite before the first visit.

    >>> round(uct(3.0, 4, 16, 0.5), 6)
    1.166277
    """
    if visits == 0:
        return math.inf
    return total / visits + weight * math.sqrt(math.log(max(1, parent_visits)) / visits)


def best_child(children: Sequence[tuple[float, int]], parent_visits: int, weight: float) -> int:
    """Return the number of the child with the largest ``uct``, the first of equals; each child is its total and its visits.

    >>> best_child([(3.0, 4), (0.0, 1), (2.0, 2)], 7, 0.5), best_child([(3.0, 4), (0.0, 1), (2.0, 2)], 7, 3.0)
    (2, 1)
    """
    scores = [uct(total, visits, parent_visits, weight) for total, visits in children]
    return scores.index(max(scores))


def solved(trajectory: Trajectory) -> float | None:
    """Return 1 for a success and 0 for a failure; not done within the step limit is a failure, a broken episode says nothing."""
    if trajectory.success is not None:
        return float(trajectory.success)
    return 0.0 if trajectory.end in (End.FAILED, End.TRUNCATED) else None


def search(
    hosts: Hosts,
    sampler: Sampler,
    jobs: Sequence[Job],
    *,
    iterations: int,
    width: int = 6,
    weight: float = math.sqrt(2.0),
    value: Value = solved,
    sampling: Sampling,
    limits: Limits,
    constrain: bool = True,
    ledger: Ledger | None = None,
) -> list[SearchTree]:
    """Grow a tree for each job by ``iterations`` simulations; the same seeds give the same trees, whatever else grows beside them.

    The root is expanded at once, another leaf when it is reached a second time. Of candidates that say the same, one is executed. A simulation that
    reaches an end again costs nothing and counts again. ``width`` 6 and 500 iterations are those of arXiv 2412.15904; ``weight`` is ours.
    Executed candidates and steps of roll-outs are charged to ``ledger``. A candidate that breaks is dropped; a tree in which nothing
    can be tried any more stops. Raises ``WorldError`` for a world without snapshots.
    """
    if iterations < 1 or width < 1 or weight < 0:
        raise ConfigError(
            f"iterations={iterations!r}, width={width!r}, weight={weight!r}; expected 1 or more, 1 or more, and 0 or more."
        )
    if not isinstance(sampler, Primes):
        raise ConfigError(
            f"{type(sampler).__name__} cannot continue from stored steps, so it cannot search. Use a local model."
        )
    run = _Search(hosts, sampler, sampling, width, weight, value, ledger or Ledger())
    try:
        trees = run.plant(jobs, limits, constrain)
        for number in range(iterations):
            run.iterate([tree for tree in trees if not tree.root.closed], number)
    finally:
        hosts.stop([job.id for job in jobs])
    return [tree.result() for tree in trees]


@dataclass(slots=True)
class _Node:
    """A state of the tree: the episode up to it, its snapshot (``None`` at an end), and what simulations through it were worth."""

    episode: Episode
    state: Any
    parent: _Node | None
    children: list[_Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    closed: bool = False
    """Nothing below it can be tried."""


@dataclass(slots=True)
class _Tree:
    job: Job
    root: _Node
    nodes: list[_Node] = field(default_factory=list)
    """All but the root, in the order in which they were made."""
    simulations: list[Trajectory] = field(default_factory=list)

    def leaf(self, weight: float) -> _Node | None:
        """Go down from the root by UCT; ``None`` where the whole tree is closed."""
        node = self.root
        while node.children:
            ways = [child for child in node.children if not child.closed]
            if not ways:
                node.closed = True
                if node.parent is None:
                    return None
                node = self.root
                continue
            node = ways[best_child([(one.total, one.visits) for one in ways], node.visits, weight)]
        return None if node.closed else node

    def count(self, node: _Node, simulated: Trajectory, worth: float) -> None:
        """Add what a simulation from ``node`` was worth to all nodes of its way."""
        self.simulations.append(simulated)
        at: _Node | None = node
        while at is not None:
            at.visits += 1
            at.total += worth
            at = at.parent

    def result(self) -> SearchTree:
        named = [(node.episode.steps[-1], node) for node in self.nodes]
        return SearchTree(
            id=self.job.id,
            task=self.job.task,
            steps=tuple(step for step, _ in named),
            visits={step.id: node.visits for step, node in named if node.visits},
            values={step.id: node.total / node.visits for step, node in named if node.visits},
            simulations=tuple(self.simulations),
        )


@dataclass(slots=True)
class _Search:
    hosts: Hosts
    sampler: Sampler
    sampling: Sampling
    width: int
    weight: float
    value: Value
    ledger: Ledger

    def plant(self, jobs: Sequence[Job], limits: Limits, constrain: bool) -> list[_Tree]:
        """Start every job. One whose world does not start is a tree that cannot grow."""
        trees = []
        for job, seen in zip(jobs, self.hosts.start([(job.id, job.task) for job in jobs]), strict=True):
            broken = isinstance(seen, WorldError)
            first = Observation(text="") if isinstance(seen, WorldError) else seen
            episode = Episode(job, limits, constrain, first)
            state = None if broken else self.hosts.snapshot(job.id)
            trees.append(_Tree(job, _Node(episode, state, None, closed=broken)))
        return trees

    def iterate(self, trees: Sequence[_Tree], number: int) -> None:
        """Let every tree do one simulation."""
        at = [(tree, leaf) for tree in trees if (leaf := tree.leaf(self.weight)) is not None]
        self._expand(
            [
                (tree, leaf)
                for tree, leaf in at
                if leaf.state is not None and (leaf.visits or leaf.parent is None)
            ]
        )
        tips = [(tree, leaf.children[0] if leaf.children else leaf) for tree, leaf in at if not leaf.closed]
        for tree, tip, simulated in self._simulate(tips, number):
            worth = self.value(simulated)
            if worth is None:
                tip.closed = True  # it would break again
            else:
                tree.count(tip, simulated, worth)

    def _expand(self, leaves: Sequence[tuple[_Tree, _Node]]) -> None:
        """Give every leaf its candidates; one without any is closed."""
        assert isinstance(self.sampler, Primes)  # noqa: S101 -- search refuses others
        requests = []
        for tree, leaf in leaves:
            turns = _turns(leaf.episode)
            for candidate in range(self.width):
                request = leaf.episode.request()
                name = f"{tree.job.id}~{candidate}"
                if turns:
                    self.sampler.prime(name, turns)
                seed = seed_of(tree.job.seed, "candidate", leaf.episode.job.id, candidate)
                requests.append(replace(request, session=name, seed=seed))
        try:
            answers = iter(self.sampler.sample(requests, self.sampling))
        finally:
            self.sampler.release([request.session for request in requests])
        for tree, leaf in leaves:
            said = set()
            for _ in range(self.width):
                generation = next(answers)
                count_usage(self.ledger, generation)
                if generation.text not in said:
                    said.add(generation.text)
                    self._add(tree, leaf, generation)
            leaf.closed = not leaf.children

    def _add(self, tree: _Tree, leaf: _Node, generation: Any) -> None:
        """Execute a candidate from the leaf's snapshot, in the slot of the tree; keep it as a node unless it broke."""
        slot, steps = tree.job.id, len(leaf.episode.steps)
        name = f"{slot}#{len(tree.nodes)}"
        try:
            copy, after = execute_from(self.hosts, leaf.episode, leaf.state, generation, slot=slot, name=name)
        except WorldError:  # the worker of this slot is gone; the next candidate begins from the snapshot
            return
        if len(copy.steps) == steps:
            return
        self.ledger.add(environment_steps=1, candidate_steps=1)
        node = _Node(copy, after, leaf)
        leaf.children.append(node)
        tree.nodes.append(node)

    def _simulate(
        self, tips: Sequence[tuple[_Tree, _Node]], number: int
    ) -> list[tuple[_Tree, _Node, Trajectory]]:
        """Go on from every tip to the end; one that is an end already is its own simulation."""
        assert isinstance(self.sampler, Primes)  # noqa: S101
        walks = []
        for tree, tip in tips:
            job = replace(
                tree.job,
                id=f"{tree.job.id}.{number}",
                sample=number,
                seed=seed_of(tree.job.seed, "simulation", number),
            )
            walks.append(replace(tip.episode, job=job, steps=list(tip.episode.steps)))
        rolled = [walk for walk in walks if walk.end is None]
        try:
            for walk, (_, tip) in zip(walks, tips, strict=True):
                if walk.end is None:
                    self._place(walk, tip)
            while live := [walk for walk in walks if walk.end is None]:
                take_turn(self.hosts, self.sampler, live, self.sampling, self.ledger)
        finally:
            self.hosts.stop([walk.job.id for walk in rolled])
            self.sampler.release([walk.job.id for walk in rolled])
        self.ledger.add(episodes=len(rolled))
        return [(tree, tip, walk.trajectory()) for (tree, tip), walk in zip(tips, walks, strict=True)]

    def _place(self, walk: Episode, tip: _Node) -> None:
        """Put a world and the model behind the tip."""
        assert isinstance(self.sampler, Primes)  # noqa: S101
        try:
            self.hosts.restore(walk.job.id, tip.state)
        except WorldError as error:
            walk.end, walk.error = End.ERROR, str(error)
            return
        if turns := _turns(walk):
            self.sampler.prime(walk.job.id, turns)


def _turns(episode: Episode) -> list[Turn]:
    """Return the turns of an episode's steps, with their exact tokens."""
    steps = episode.steps
    return [
        Turn(
            messages=messages_of(episode.job.task, step.observation, after=before),
            text=step.action.text,
            tokens=step.tokens,
        )
        for before, step in zip([None, *steps], steps, strict=False)
    ]
