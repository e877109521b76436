"""What level of autonomy a finished run had: derived from its journal, never claimed.

The levels are those of the survey of data agents (S16): L0 a person does everything, L1 the agent answers, L2 it senses and acts
inside a pipeline that a person made, L3 it makes the pipeline and a person supervises, L4 nobody supervises and it sets
itself goals, L5 it invents methods. Which counts make a level is ours, and stands in ``derived_level``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from everystep.core.acts import Answer, Permit
from everystep.core.records import End
from everystep.core.trace import Kind, Trace

SELF_STARTED = "agent"
"""Value of a task's tag ``origin`` where the agent set itself the goal."""

INVENTED = frozenset({"mined", "evolved", "invented"})
"""Values of ``origin`` in the note of a skill or tool that the agent made."""

_MOST_ASKED = 0.5
_LEAST_OWN = 0.5


class AutonomyLevel(IntEnum):
    """Levels of autonomy, comparable: ``AutonomyLevel.L2 < AutonomyLevel.L3``."""

    L0 = 0  # manual: a person does everything
    L1 = 1  # assistance: the agent answers, a person acts
    L2 = 2  # partial: it senses and acts inside a person's plan
    L3 = 3  # conditional: it plans and acts, a person supervises
    L4 = 4  # high: nobody supervises, it sets itself goals and recovers alone
    L5 = 5  # full: it invents methods


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What an agent is declared to do, so that a run can be checked against it."""

    observes: bool = False
    acts: bool = False
    plans: bool = False
    starts_goals: bool = False
    recovers: bool = False
    invents: bool = False
    unsupervised: bool = False

    @property
    def level(self) -> AutonomyLevel:
        """The level that the declaration amounts to.

        >>> str(Capability(observes=True, acts=True, plans=True).level.name)
        'L3'
        """
        if not self.acts or not self.observes:
            return AutonomyLevel.L1
        if not self.plans:
            return AutonomyLevel.L2
        if not (self.unsupervised and self.starts_goals and self.recovers):
            return AutonomyLevel.L3
        return AutonomyLevel.L5 if self.invents else AutonomyLevel.L4


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a journal says about who did what. ``steps`` are the accepted ones, ``acted`` those of them that were valid actions.

    ``changed`` are those of them that could change something, ``None`` where the journal does not tell. ``reacted`` counts the steps that saw the result of an earlier act. ``outside_plan`` are steps that serve no node of a plan that was given
    before the first step. ``asked`` are steps that waited for a grant, ``vetoed`` acts that somebody stopped in time, ``edited`` acts
    that a person wrote. ``refused`` attempts were not let through. ``stumbled`` steps had failing attempts, ``recovered`` are those of them that then succeeded, or whose run was done by another way, without a
    person's action. ``own_goals`` and ``inventions`` are tasks and skills of the agent's own.
    """

    steps: int = 0
    acted: int = 0
    changed: int | None = None
    reacted: int = 0
    outside_plan: int = 0
    asked: int = 0
    vetoed: int = 0
    edited: int = 0
    refused: int = 0
    stumbled: int = 0
    recovered: int = 0
    own_goals: int = 0
    inventions: int = 0


def evidence_of(trace: Trace, *, plan_given: bool = True) -> Evidence:
    """Return the counts of a run. ``plan_given`` says whether the plan at its start came from a person."""
    given = _given(trace) if plan_given else frozenset()
    steps = [one for one in trace.steps.values() if not one.undone]
    answers: dict[str, set[Answer]] = {}
    permits: dict[str, Permit] = {}
    attempts: dict[str, int] = {}
    edited: set[str] = set()
    read_only: set[str] = set()
    refused = 0
    for step, events in trace.decisions.items():
        kinds = {event.kind for event in events}
        if Kind.FINISHED in kinds and Kind.STARTED not in kinds:
            read_only.add(step)  # an act that only reads is not announced
        for event in events:
            body = event.body
            if event.kind is Kind.ANSWERED:
                answers.setdefault(step, set()).add(Answer(body["answer"]))
            elif event.kind is Kind.ASKED:
                permits[step] = Permit(body.get("permit", Permit.ASK))
            elif event.kind is Kind.ATTEMPT:
                place = _place(step)
                attempts[place] = attempts.get(place, 0) + 1
                refused += body.get("cause") == "refused"
                if "instead" in body:
                    edited.add(place)
    acted = {one.id for one in steps if one.action.valid}
    waited = {step for step in {*answers, *permits} if permits.get(step, Permit.ASK) is Permit.ASK}
    done = trace.end is not None and trace.end.get("end") == End.DONE
    valid_places = {_place(step) for step in acted}
    vetoed = sum(permits.get(step) is Permit.VETO and Answer.DENIED in some for step, some in answers.items())
    return Evidence(
        steps=len(steps),
        acted=len(acted),
        changed=len(acted - read_only),
        reacted=sum(one.parent is not None for one in steps),
        outside_plan=sum(one.node.partition("~")[0] not in given for one in steps),
        asked=len(waited),
        vetoed=vetoed,
        edited=sum(Answer.EDITED in some for some in answers.values()),
        refused=refused,
        stumbled=len(attempts),
        recovered=sum((done or place in valid_places) and place not in edited for place in attempts),
        own_goals=sum(task.tags.get("origin") == SELF_STARTED for task in trace.tasks.values()),
        inventions=sum(str(note.get("origin", "")) in INVENTED for note in trace.notes),
    )


def derived_level(evidence: Evidence) -> AutonomyLevel:
    """Return the level that the counts amount to.

    L0 without a step, or where a person wrote every act. L1 where nothing was acted upon, or no result of an act was ever seen. L2 where more than half of the acts that could change something
    waited for a grant, or less than half of the steps lie outside a given plan. L4 needs that nobody was asked, stopped or edited
    anything, a goal of the agent's own, and that every stumble was recovered; L5 also an invention.
    """
    e = evidence
    if not e.steps or (e.acted and e.edited >= e.acted):
        return AutonomyLevel.L0
    if not e.acted or not e.reacted:
        return AutonomyLevel.L1
    changed = e.acted if e.changed is None else e.changed
    if e.asked > _MOST_ASKED * changed or e.outside_plan < _LEAST_OWN * e.steps:
        return AutonomyLevel.L2
    alone = not (e.asked or e.vetoed or e.edited or e.refused)
    if not (alone and e.own_goals and e.recovered == e.stumbled):
        return AutonomyLevel.L3
    return AutonomyLevel.L5 if e.inventions else AutonomyLevel.L4


def warnings(declared: AutonomyLevel | Capability, evidence: Evidence) -> tuple[str, ...]:
    """Return what a declaration claims and the run did not show, in words; empty where it holds.

    >>> warnings(AutonomyLevel.L4, Evidence(steps=3, acted=3, reacted=2))
    ('declared L4, but the run shows L2',)
    """
    found = []
    level = declared.level if isinstance(declared, Capability) else declared
    derived = derived_level(evidence)
    if level > derived:
        found.append(f"declared {level.name}, but the run shows {derived.name}")
    if isinstance(declared, Capability):
        e = evidence
        shown = {
            "acts": e.acted > 0,
            "observes": e.reacted > 0,
            "plans": e.outside_plan >= _LEAST_OWN * max(1, e.steps),
            "starts_goals": e.own_goals > 0,
            "recovers": e.recovered == e.stumbled,
            "invents": e.inventions > 0,
            "unsupervised": not (e.asked or e.vetoed or e.edited or e.refused),
        }
        found += [
            f"declared {name}, but the run does not show it"
            for name, is_shown in shown.items()
            if getattr(declared, name) and not is_shown
        ]
        beyond = ("acts", "plans", "starts_goals", "invents")
        found += [
            f"the run {_WORDS[name]}, which is not declared"
            for name in beyond
            if shown[name] and not getattr(declared, name)
        ]
    return tuple(found)


_WORDS = {
    "acts": "acts on its environment",
    "plans": "makes its own plan",
    "starts_goals": "sets itself goals",
    "invents": "makes its own tools",
}


def _given(trace: Trace) -> frozenset[str]:
    """Return the nodes that were added before anything else happened to the plan."""
    names: set[str] = set()
    for body in trace.plan:
        if body.get("op") != "add":
            break
        names |= {str(node["id"]) for node in body.get("nodes", ())}
    return frozenset(names)


def _place(step: str) -> str:
    """Return the step without the number of its attempt: ``main/3.1`` is a try at ``main/3``."""
    node, _, number = step.rpartition("/")
    return f"{node}/{number.partition('.')[0]}"
