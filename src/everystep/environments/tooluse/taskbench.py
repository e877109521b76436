"""TaskBench (Shen et al. 2023, arXiv 2311.18760): a request and a graph of tools; the answer is a plan of calls. One answer ends an episode.

Cases are published ones with their gold plans, or made by ``backinstruct`` from a graph: then the plan is right by construction. The published scores are functions of all
answers (``evaluate.plan_metrics``); here an episode succeeds where the plan is the gold one: the same calls and arguments, in any order, and the same edges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Action, Json, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    split_of,
    split_seed,
)
from everystep.environments.published import find_file, read_text
from everystep.environments.tooluse.backinstruct import KINDS, made
from everystep.environments.tooluse.toolgraph import (
    FOLDER,
    GNN4TASKPLAN,
    known_domain,
    records,
    text_of,
    tool_graph,
)
from everystep.environments.tooluse.toolplan import FORM, ToolPlan, plan_of, read_plan, same_plan

SIZES = (1, 2, 3, 4, 5)
"""Calls of the cases that are made, in turn."""
SOURCE = "https://github.com/microsoft/JARVIS and https://github.com/WxxShirley/GNN4TaskPlan"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A request with its gold plan."""

    id: str
    request: str
    plan: ToolPlan
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A published answer of a model: its plan, or a sentence that says why it could not be read."""

    id: str
    request: str
    plan: ToolPlan | str


@dataclass(frozen=True, slots=True)
class State:
    """A case, and whether it was answered."""

    case: Case
    answered: bool = False


@lru_cache(maxsize=8)
def gold(domain: str) -> tuple[Case, ...]:
    """Return the published cases of a domain, in their order. ``ConfigError`` where the file is not there, ``DataError`` for a record of another form.

    For the three domains of TaskBench the file was not at hand when this was written; where it is put beside the others it is read too.
    """
    known_domain(domain)
    found = []
    for record in records(text_of(domain, "data.json"), f"{domain}_data.json"):
        plan = plan_of(record)
        if isinstance(plan, str) or "id" not in record or "user_request" not in record:
            told = plan if isinstance(plan, str) else "it has no id or no user_request."
            raise DataError(f"record {record.get('id')!r} of {domain}_data.json is no case: {told}")
        kind = record.get("type") or plan.kind
        found.append(Case(id=str(record["id"]), request=record["user_request"].strip(), plan=plan, kind=kind))
    return tuple(found)


def published(domain: str, model: str) -> Iterator[Answered]:
    """Yield the published answers of a model to requests of a domain, such as ``codellama13b`` to those of ``huggingface``."""
    known_domain(domain)
    name = f"plans_{domain}_{model}.json"
    where = f"{GNN4TASKPLAN.partition(':')[0]}: prediction/{domain}/MODEL/direct.json as plans_{domain}_MODEL.json"
    where += ", with the model's name in small letters without signs"
    for record in records(read_text(find_file(FOLDER, name, where)), name):
        yield Answered(
            id=str(record.get("id")), request=str(record.get("user_request", "")), plan=plan_of(record)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBench:
    """Options: the ``domain`` (huggingface, multimedia, dailylifeapis, tmdb, ultratool); ``cases`` is ``generated`` or ``published``; ``kind`` (single, chain, dag) selects.

    ``number`` is how many cases of each split are made. A case belongs to a split by what it contains.
    """

    domain: str = "huggingface"
    cases: str = "generated"
    kind: str = "any"
    number: int = 300

    name: ClassVar[str] = "taskbench"
    summary: ClassVar[str] = "TaskBench: a request and a graph of tools; the answer is a plan of calls"

    def __post_init__(self) -> None:
        known_domain(self.domain)
        check_range(self.name, "number", self.number, 1, 1_000_000)
        for option, value, known in (
            ("cases", self.cases, ("generated", "published")),
            ("kind", self.kind, ("any", *KINDS)),
        ):
            if value not in known:
                raise ConfigError(f"taskbench: {option} is {value!r}. {did_you_mean(value, known)}")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of cases of ``split``."""
        check_place(split, 0)
        return self.number if self.cases == "generated" else len(_chosen(self.domain, self.kind, split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``."""
        check_place(split, index, self.size(split))
        if self.cases == "generated":
            seed = split_seed(split, index, lambda one: self._case(one).request)
        else:
            seed = _chosen(self.domain, self.kind, split)[index]
        case = self._case(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=_instruction(self.domain),
            reference=case.plan.as_json(),
            tags={"kind": case.kind, "calls": str(len(case.plan.calls)), "domain": self.domain},
        )

    def start(self, task: Task) -> State:
        """Return the case of ``task``."""
        if self.cases == "published":
            check_range(self.name, "seed", task.seed, 0, len(gold(self.domain)) - 1)
        return State(self._case(task.seed))

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the request."""
        text = f"Request: {state.case.request}"
        return Observation(
            text=f"{note}\n{text}" if note else text, anchor=f"{state.case.id}\n{state.answered}"
        )

    def parse(self, text: str) -> Action:
        """Accept a plan in the published form: one JSON object."""
        read = read_plan(text)
        if isinstance(read, str):
            return Action(text=text, valid=False, reason=read)
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """End the episode: reward 1 for the gold plan."""
        read = read_plan(action.text) if action.valid else action.reason or "not a plan"
        right = not isinstance(read, str) and same_plan(read, state.case.plan, tool_graph(self.domain))
        return Outcome(
            state=State(state.case, answered=True),
            reward=float(right),
            over=True,
            success=right,
            reason=read if isinstance(read, str) else None,
        )

    def oracle(self, state: State) -> str:
        """Return the gold plan."""
        return json.dumps(state.case.plan.as_json(), ensure_ascii=False)

    def _case(self, seed: int) -> Case:
        return (
            gold(self.domain)[seed] if self.cases == "published" else _generated(self.domain, self.kind, seed)
        )


@lru_cache(maxsize=4096)
def _generated(domain: str, kind: str, seed: int) -> Case:
    index = (
        seed % 4096 + seed // 4096
    )  # neighbours among the tries of one index, and neighbouring indices, differ
    sizes = {"single": SIZES[:1], "chain": SIZES[1:], "dag": SIZES[2:], "any": SIZES}[kind]
    size = sizes[index % len(sizes)]
    kinds = [kind] if kind != "any" else ["single"] if size == 1 else ["chain"] if size == 2 else KINDS[1:]
    which = kinds[(index // len(sizes)) % len(kinds)]
    one = made(tool_graph(domain), which, size, seed)
    return Case(id=f"{which} {size} {seed}", request=one.request, plan=one.plan, kind=which)


@lru_cache(maxsize=16)
def _chosen(domain: str, kind: str, split: str) -> tuple[int, ...]:
    every = gold(domain)
    found = [n for n, one in enumerate(every) if kind in ("any", one.kind) and split_of(one.request) == split]
    if not any(kind in ("any", one.kind) for one in every):
        kinds = sorted({one.kind for one in every})
        raise ConfigError(f"taskbench: {domain!r} has no published case of kind {kind!r}. It has: {', '.join(kinds)}.")  # fmt: skip
    return tuple(found)


@lru_cache(maxsize=8)
def _instruction(domain: str) -> str:
    graph = tool_graph(domain)
    lines = []
    for tool in graph.tools.values():
        types = f" (takes {', '.join(tool.takes)}; gives {', '.join(tool.gives) or 'nothing'})" if graph.resource else ""  # fmt: skip
        given = f" (parameters: {', '.join(tool.parameters)})" if tool.parameters else ""
        lines.append(f"- {tool.name}{types}{given}: {tool.text}")
    arguments = (
        "The arguments of a call are a list of values; '<node-i>' stands for the result of call i, counted from 0."
        if graph.resource
        else 'The arguments of a call are a list of {"name": ..., "value": ...}.'
        if any(tool.parameters for tool in graph.tools.values())
        else "Leave the arguments empty."
    )
    return (
        "Plan the calls of tools that the request needs, no more, in an order in which they can be made.\n"
        + "\n".join(lines)
        + f"\n{FORM} {arguments} A link says that its target uses, or must come after, its source."
    )


def reference(task: Task) -> ToolPlan:
    """Return the gold plan of a task; ``DataError`` where the task has none."""
    found: Any = task.reference
    plan = plan_of(found)
    if isinstance(plan, str):
        raise DataError(f"task {task.id!r} has no gold plan: {plan}")
    return plan


def domain_of(config: Mapping[str, Json]) -> str:
    """Return the domain of a task's options."""
    return str(config.get("domain", TaskBench().domain))
