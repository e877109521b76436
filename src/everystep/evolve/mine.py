"""Mining: action sequences that come back across successful trajectories become parameterised skills, to be tried before they are used.

Sequences are counted as paths in a trie of action shapes with the pattern of repeated arguments, so the work grows with the number of steps
times the longest sequence. The occurrences of a frequent one are generalised to the most special template that covers all (anti-unification, Plotkin
1970): tokens that are the same everywhere stay, others become parameters, equal ones the same parameter. A step that only some occurrences have
becomes an optional one. The precondition is what held at the start of all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from everystep.core.errors import ConfigError
from everystep.core.records import Observation, Task, Trajectory
from everystep.evolve.shapes import Ends, Shape, fixed_columns, joined, shape_of, text_tokens, tokens_of
from everystep.evolve.skills import Skill, SkillStep, Template, spoken_of, told, words_of

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LISTED = 2_000
_PRECISE = 0.9
_NAME = 64

_Step: TypeAlias = tuple[Shape, tuple[int, ...]]
"""A step of a sequence: the shape of its action and the numbers of its arguments, counted in the order of their first use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Act:
    """One action: its tokens, what was seen before and after, and the task."""

    tokens: tuple[str, ...]
    before: Observation
    after: Observation
    task: Task


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sequence occurs: the number of the successful trajectory, and the first step and the one after the last."""

    run: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate and where its steps occur among the successful trajectories."""

    skill: Skill
    places: tuple[Place, ...]


@dataclass(slots=True)
class _Node:
    """A sequence in the trie: the runs it occurs in and, once it is known to be frequent, where."""

    steps: tuple[_Step, ...] = ()
    runs: int = 0
    last: int = -1
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A frequent sequence. ``optional`` is the step that the occurrences in ``without`` do not have."""

    steps: tuple[_Step, ...]
    places: tuple[Place, ...]
    without: tuple[Place, ...] = ()
    optional: int | None = None

    @property
    def everywhere(self) -> tuple[Place, ...]:
        """All places, with and without the optional step."""
        return self.places + self.without

    @property
    def support(self) -> int:
        """The number of trajectories that it occurs in."""
        return len({place.run for place in self.everywhere})


def mine(
    trajectories: Iterable[Trajectory], *, least_support: int = 5, shortest: int = 2, longest: int = 10
) -> list[Skill]:
    """Return candidate skills from the trajectories that succeeded, the longest first, then the most supported.

    ``least_support`` counts trajectories, ``shortest`` and ``longest`` steps. Refused and undone steps are left out.
    """
    found = occurrences(list(trajectories), least_support=least_support, shortest=shortest, longest=longest)
    return [one.skill for one in found]


def occurrences(
    trajectories: Sequence[Trajectory], *, least_support: int, shortest: int, longest: int
) -> list[Found]:
    """Return what ``mine`` does, each candidate with the places where it occurs."""
    if not 1 <= shortest <= longest or least_support < 1:
        raise ConfigError(
            f"sequences of {shortest!r} to {longest!r} steps in {least_support!r} trajectories: expected 1 <= shortest <= longest "
            "and a support of 1 or more."
        )
    runs = [_acts(one) for one in trajectories if one.success]
    fixed = fixed_columns(act.tokens for run in runs for act in run)
    nodes = [node for node in _count(runs, fixed, longest, least_support) if len(node.steps) >= shortest]
    frequent = [_Sequence(node.steps, tuple(node.places)) for node in nodes]
    frequent = [*_with_optional(frequent), *frequent]
    frequent.sort(key=lambda one: (-len(one.steps), -one.support))
    speech = _Speech(runs)
    names: Counter[str] = Counter()
    found = []
    for one in frequent:
        skill = _generalised(runs, fixed, one, speech)
        names[skill.name] += 1
        if names[skill.name] > 1:
            skill = replace(skill, name=f"{skill.name}_{names[skill.name]}")
        found.append(Found(skill, one.everywhere))
    return found


def _acts(trajectory: Trajectory) -> list[_Act]:
    steps = [step for step in trajectory.steps if step.action.valid and not step.undone]
    seen = [step.observation for step in steps[1:]]
    last = trajectory.final
    whole = [*seen, last] if last is not None else seen
    return [
        _Act(tokens=tokens_of(step.action.text), before=step.observation, after=after, task=trajectory.task)
        for step, after in zip(steps, whole, strict=False)
    ]


# --- counting ------------------------------------------------------------------------------------------------


def _count(
    runs: Sequence[Sequence[_Act]], fixed: Mapping[Shape, Sequence[bool]], longest: int, least: int
) -> list[_Node]:
    """Return the sequences that occur in at least ``least`` runs, with their occurrences."""
    children: dict[tuple[int, _Step], int] = {}
    nodes = [_Node()]
    for number, run in enumerate(runs):
        for start in range(len(run)):
            for node in _path(run[start : start + longest], fixed, children, nodes):
                if node.last != number:
                    node.last, node.runs = number, node.runs + 1
    for number, run in enumerate(runs):
        for start in range(len(run)):
            for node in _path(run[start : start + longest], fixed, children, nodes):
                if node.runs < least:
                    break  # longer ones are no more frequent
                node.places.append(Place(number, start, start + len(node.steps)))
    return [node for node in nodes[1:] if node.runs >= least]


def _path(
    acts: Sequence[_Act],
    fixed: Mapping[Shape, Sequence[bool]],
    children: dict[tuple[int, _Step], int],
    nodes: list[_Node],
) -> Iterator[_Node]:
    """Yield the nodes of the sequences that begin with the first act, the shortest first; new ones are added to the trie."""
    values: dict[str, int] = {}
    here = 0
    for act in acts:
        step = (
            shape_of(act.tokens),
            tuple(values.setdefault(value, len(values)) for value in _arguments(act, fixed)),
        )
        child = children.get((here, step))
        if child is None:
            child = children[here, step] = len(nodes)
            nodes.append(_Node((*nodes[here].steps, step)))
        here = child
        yield nodes[here]


def _arguments(act: _Act, fixed: Mapping[Shape, Sequence[bool]]) -> list[str]:
    return [token for token, same in zip(act.tokens, fixed[shape_of(act.tokens)], strict=True) if not same]


def _with_optional(frequent: Sequence[_Sequence]) -> Iterator[_Sequence]:
    """Yield the sequences that are frequent with an inner step and without it. The step must speak of nothing new."""
    known = {one.steps: one for one in frequent}
    for one in frequent:
        for place in range(1, len(one.steps) - 1):
            rest = (*one.steps[:place], *one.steps[place + 1 :])
            if not set(one.steps[place][1]) <= {number for _, slots in rest for number in slots}:
                continue
            shorter = known.get(_renumbered(rest))
            if shorter is not None:
                yield _Sequence(one.steps, one.places, shorter.places, place)


def _renumbered(steps: Sequence[_Step]) -> tuple[_Step, ...]:
    numbers: dict[int, int] = {}
    return tuple(
        (shape, tuple(numbers.setdefault(one, len(numbers)) for one in slots)) for shape, slots in steps
    )


# --- generalising --------------------------------------------------------------------------------------------


class _Speech:
    """Which words the instructions of the trajectories have, without the names of things that were acted on."""

    def __init__(self, runs: Sequence[Sequence[_Act]]) -> None:
        heads = {token.partition(" ")[0].lower() for run in runs for act in run for token in act.tokens[1:]}
        self.words = [words_of(run[0].task.instruction) - heads if run else frozenset() for run in runs]
        self.counts = Counter(word for words in self.words for word in words)

    def about(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Return a few words that nearly only trajectories with these places have, such that nearly each of those has one.

        None where there are no such words, or where they would exclude no trajectory.
        """
        runs = {place.run for place in places}
        inside = Counter(word for run in runs for word in self.words[run])
        telling = sorted(
            word for word, count in inside.items() if count > 1 and count >= _PRECISE * self.counts[word]
        )
        chosen: list[str] = []
        missing = set(runs)
        while telling and len(missing) > (1 - _PRECISE) * len(runs):
            best = max(telling, key=lambda word: sum(word in self.words[run] for run in missing))
            spoken = {run for run in missing if best in self.words[run]}
            if not spoken:
                return ()
            chosen.append(best)
            missing -= spoken
        excludes = any(words.isdisjoint(chosen) for words in self.words)
        return tuple(sorted(chosen)) if excludes and telling else ()


def _generalised(
    runs: Sequence[Sequence[_Act]], fixed: Mapping[Shape, Sequence[bool]], one: _Sequence, speech: _Speech
) -> Skill:
    """Return the skill that all occurrences of a sequence are instances of."""
    effects = [Ends() for _ in one.steps]
    seen: dict[int, set[str]] = {}
    named: dict[int, bool] = {}
    needs: set[Template] | None = None
    for place in one.everywhere:
        acts = _aligned(runs[place.run][place.start : place.stop], one)
        values = _values(acts, fixed, one)
        for value, number in values.items():
            seen.setdefault(number, set()).add(value)
            named[number] = named.get(number, True) and spoken_of(value, acts[0][1].task)
        for step, act in acts:
            effects[step].add([values.get(token, token) for token in text_tokens(act.after.text)])
        wanted = _bound(acts[0][1].before, values)
        needs = wanted if needs is None else needs & wanted
    kept = [number for number in sorted(seen) if len(seen[number]) > 1]
    renamed: dict[int, str | int] = {number: next(iter(some)) for number, some in seen.items()}
    renamed.update({number: place for place, number in enumerate(kept)})
    parameters = tuple(
        _LETTERS[place] if place < len(_LETTERS) else f"p{place}" for place in range(len(kept))
    )

    def made(parts: Iterable[str | int]) -> Template:
        return joined(renamed[part] if isinstance(part, int) else part for part in parts)

    first = _aligned(runs[one.places[0].run][one.places[0].start : one.places[0].stop], one)
    values = _values(first, fixed, one)
    steps = tuple(
        SkillStep(
            action=made(
                token if same else values[token]
                for token, same in zip(act.tokens, fixed[shape_of(act.tokens)], strict=True)
            ),
            begins=made(effect.begins),
            ends=made(effect.ends),
            optional=number == one.optional,
        )
        for (number, act), effect in zip(first, effects, strict=True)
    )
    return Skill(
        name=_named(first),
        description="; ".join(
            f"[{told(step.action, parameters)}]" if step.optional else told(step.action, parameters)
            for step in steps
        ),
        parameters=parameters,
        steps=steps,
        needs=tuple(sorted({made(need) for need in needs or ()}, key=repr)),
        named=tuple(place for place, number in enumerate(kept) if named[number]),
        about=speech.about(one.everywhere),
        origin="mined",
        support=one.support,
    )


def _named(acts: Sequence[tuple[int, _Act]]) -> str:
    """Return a name of the first words of the actions, with letters and digits only."""
    verbs = (re.sub(r"\W+", "", shape_of(act.tokens)[0]).lower() for _, act in acts)
    return "_".join(verb or "do" for verb in verbs)[:_NAME]


def _aligned(acts: Sequence[_Act], one: _Sequence) -> list[tuple[int, _Act]]:
    """Return the acts of an occurrence with the numbers of the steps that they are."""
    numbers = list(range(len(one.steps)))
    if len(acts) < len(numbers) and one.optional is not None:
        numbers.remove(one.optional)
    return list(zip(numbers, acts, strict=True))


def _values(
    acts: Sequence[tuple[int, _Act]], fixed: Mapping[Shape, Sequence[bool]], one: _Sequence
) -> dict[str, int]:
    return {
        value: number
        for step, act in acts
        for value, number in zip(_arguments(act, fixed), one.steps[step][1], strict=True)
    }


def _bound(seen: Observation, values: Mapping[str, int]) -> set[Template]:
    """Return the admissible actions of a moment that speak of the values, with the values taken out."""
    found = set()
    for text in (seen.admissible or ())[:_LISTED]:
        parts = tuple(values.get(token, token) for token in tokens_of(text))
        if any(isinstance(part, int) for part in parts):
            found.add(parts)
    return found
