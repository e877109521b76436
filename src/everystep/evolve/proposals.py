"""Tasks that are written as one goes: a proposer gets a document and the last results, and returns new tasks and a new document.

SEAgent's curriculum, PAE's proposer (one call, no results) and teachers of all kinds have this form. What a model writes is read strictly: one JSON object
of two keys; what is no task is refused with a reason, and nothing that was proposed before counts again.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from everystep.core.codec import decode, encode
from everystep.core.errors import ConfigError, DataError, EverystepError, ModelError
from everystep.core.protocols import Attempts, Request, Sampler, Sampling, Start
from everystep.core.records import Json, Message, Stop, Task
from everystep.evolve.tasks import body_of
from everystep.run.rollout import seed_of

LONGEST = 200_000
"""Characters of an answer that are read."""
LONGEST_DOCUMENT = 20_000
"""Characters of a document; a longer one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """New tasks and the new document. ``refused`` says, one reason each, what was not taken."""

    tasks: tuple[Task, ...] = ()
    document: str = ""
    refused: tuple[str, ...] = ()


Propose: TypeAlias = Callable[[str, Sequence[Attempts], int], Proposal]
"""Given the document, the results since the last call and how many tasks are wanted, the next proposal."""

Make: TypeAlias = Callable[[Mapping[str, Json]], Task]
"""Makes a task of what a proposer wrote; raises an error of Everystep, ``ValueError``, ``TypeError`` or ``LookupError`` for what is none."""


class Generated:
    """Gives tasks that ``propose`` writes, ``batch`` at a time; each call gets the last ``remember`` results since the call before.

    A task that was given before (the same instruction, configuration and seed) does not count again. A call that brings no new task is repeated up to
    ``attempts`` times, then ``next`` has no more: ``refused`` has the last reasons. ``calls`` counts the calls.
    """

    def __init__(
        self, propose: Propose, *, document: str = "", batch: int = 30, attempts: int = 3, remember: int = 512
    ) -> None:
        if min(batch, attempts, remember) < 1:
            raise ConfigError(
                f"batch {batch!r}, attempts {attempts!r}, remember {remember!r}: expected 1 or more of each."
            )
        self.propose, self.batch, self.attempts = propose, batch, attempts
        self.document = document
        self.refused: tuple[str, ...] = ()
        self.calls = 0
        self._queue: deque[Task] = deque()
        self._known: set[str] = set()
        self._results: deque[Attempts] = deque(maxlen=remember)

    def next(self, count: int) -> list[Start]:
        """Return the next ``count`` tasks, fewer where no new one is proposed."""
        starts: list[Start] = []
        while len(starts) < count and (self._queue or self._fill()):
            starts.append(Start(task=self._queue.popleft()))
        return starts

    def report(self, results: Sequence[Attempts]) -> None:
        """Keep the results for the next call."""
        self._results += results

    def _fill(self) -> bool:
        """Ask for tasks; return whether there are new ones."""
        for _ in range(self.attempts):
            made = self.propose(self.document, tuple(self._results), self.batch)
            self.calls += 1
            self.refused = made.refused
            for task in made.tasks:
                key = _content(task)
                if key in self._known:
                    self.refused += (f"task {task.id!r} was proposed before",)
                else:
                    self._known.add(key)
                    self._queue.append(task)
            if self._queue:
                self.document = made.document
                self._results.clear()
                return True
        return False

    def dump(self) -> Json:
        return {
            "document": self.document,
            "calls": self.calls,
            "queue": [encode(task) for task in self._queue],
            "known": [*sorted(self._known)],
            "results": [encode(one) for one in self._results],
        }

    def load(self, state: Json) -> None:
        body = body_of(state, "document", "calls", "queue", "known", "results")
        results: list[Attempts] = [decode(Attempts, one) for one in body["results"]]
        self._queue = deque(decode(Task, one) for one in body["queue"])
        self.document, self.calls = str(body["document"]), int(body["calls"])
        self._known = set(body["known"])
        self._results.clear()
        self._results.extend(results)


def asked(
    sampler: Sampler,
    make: Make,
    *,
    role: str,
    sampling: Sampling | None = None,
    told: Callable[[Attempts], Json] | None = None,
    seed: int = 0,
) -> Propose:
    """Return a proposer that is a model. ``role`` tells it what tasks are like; the prompt is one JSON object with the document, the results
    (``told`` of each) and how many tasks are wanted. Its answer must be ``{"document": TEXT, "tasks": [OBJECT, ...]}`` and nothing else.

    Raises ``ModelError`` where the model gives no answer. An answer that cannot be read gives no tasks and leaves the document as it was.
    """
    calls = 0

    def propose(document: str, results: Sequence[Attempts], count: int) -> Proposal:
        nonlocal calls
        calls += 1
        prompt = {
            "document": document,
            "results": [(told or summed)(one) for one in results],
            "wanted": count,
        }
        request = Request(
            session=f"proposer{calls}",
            messages=(
                Message(role="system", content=f"{role}\n{FORM}"),
                Message(role="user", content=json.dumps(prompt, ensure_ascii=True)),
            ),
            seed=seed_of(seed, "propose", calls),
        )
        answer = sampler.sample([request], sampling or Sampling(max_tokens=4096))[0]
        sampler.release([request.session])
        if answer.stop is Stop.ERROR:
            raise ModelError(
                f"the proposer gave no answer: {answer.error}. Try again, or name another model."
            )
        return read_proposal(answer.text, make, document=document, most=count)

    return propose


FORM = (
    'Answer with one JSON object and nothing else: {"document": what you know now, as one text, "tasks": [one object a task, easier ones first]}. '
    "Ask for what comes next after what succeeded; leave out what cannot be checked."
)
"""What a proposer is told about the form of its answer."""


def summed(one: Attempts) -> Json:
    """Return what a proposer is told of a group: the task, how many attempts there were, and how well they went."""
    known = [outcome for outcome in one.outcomes if outcome is not None]
    mean = sum(known) / len(known) if known else None
    return {"task": one.start.task.instruction, "attempts": len(known), "mean_outcome": mean}


def read_proposal(text: str, make: Make, *, document: str, most: int) -> Proposal:
    """Read a proposer's answer strictly: one JSON object with ``document`` (a text) and ``tasks`` (a list of objects), nothing else.

    At most ``most`` tasks are taken. An answer of another form gives no task, the old ``document``, and the reason.
    """
    try:
        body: Any = json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.keys() != {"document", "tasks"}:
        return Proposal(document=document, refused=("the answer is not one object with document and tasks",))
    new, listed = body["document"], body["tasks"]
    if not isinstance(new, str) or not isinstance(listed, list) or len(new) > LONGEST_DOCUMENT:
        return Proposal(
            document=document, refused=("document must be a text that is not too long, tasks a list",)
        )
    tasks: list[Task] = []
    refused: list[str] = []
    for number, one in enumerate(listed):
        if len(tasks) == most:
            refused.append(f"{len(listed) - number} more than the {most} that were asked for")
            break
        try:
            tasks.append(_made(one, make))
        except (EverystepError, ValueError, TypeError, LookupError) as error:
            refused.append(f"task {number}: {str(error)[:200]}")
    return Proposal(tasks=tuple(tasks), document=new, refused=tuple(refused))


def _made(one: Json, make: Make) -> Task:
    if not isinstance(one, dict):
        raise DataError(f"{str(one)[:80]!r} is no object")
    return make(one)


def _content(task: Task) -> str:
    return json.dumps([task.environment, task.instruction, encode(task.config), task.seed], sort_keys=True)
