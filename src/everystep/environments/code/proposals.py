"""Proposals of repairs without a model: mutations of the units that localisation names (generate and validate; Weimer et al. 2009, Debroy and Wong 2010)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from random import Random

from everystep.tools.code_answer import Change
from everystep.tools.code_edit import unit_text
from everystep.tools.mutations import LOST, OPERATORS, Mutation, mutations
from everystep.tools.suite import Project

_KINDS = tuple(one for one in OPERATORS if one not in LOST)
_ON_LINE = 0.5


def proposals(
    project: Project, units: Sequence[str], *, seed: str, lines: Collection[tuple[str, int]] = ()
) -> Iterator[Change]:
    """Yield changes, each once: a unit is drawn by one over its rank, an operator evenly, then a place, in half of the draws in one of the ``lines`` (path and line) if there is any."""
    rng = Random(seed)
    pools: dict[str, dict[str, list[Mutation]]] = {}
    for unit in units:
        path, _, name = unit.partition("::")
        for one in mutations(project.files[path].decode(), operators=_KINDS, units=(name,)):
            pools.setdefault(unit, {}).setdefault(one.operator, []).append(one)
    while pools:
        unit = rng.choices(list(pools), weights=[1 / (1 + units.index(one)) for one in pools])[0]
        operator = rng.choice(list(pools[unit]))
        path, _, name = unit.partition("::")
        some = pools[unit][operator]
        there = [n for n, one in enumerate(some) if (path, one.line) in lines]
        at = rng.choice(there) if there and rng.random() < _ON_LINE else rng.randrange(len(some))
        one = some.pop(at)
        if not some:
            del pools[unit][operator]
        if not pools[unit]:
            del pools[unit]
        text = project.files[path].decode()
        if one.sound(text):
            yield Change(path=path, unit=name, text=unit_text(one.of(text).encode(), name))
