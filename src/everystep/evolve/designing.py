"""Who makes reasoning structures: generate one for a family of questions, write it as a plan, and refine it by what it got wrong.

The three stages are Auto-Evolve's (arXiv:2410.06328). A designer is a search over a library or a model behind a ``Sampler``; ``refined`` is the loop around
either: it executes what they propose on the development questions, and only what is no worse there is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from everystep.core.errors import ConfigError, ModelError
from everystep.core.protocols import Request, Sampler, Sampling
from everystep.core.records import Message, Stop
from everystep.evolve.structures import (
    LONGEST_WRITTEN,
    Library,
    Structure,
    Weights,
    answered,
    drawn,
    edited,
    plain,
    read_structure,
    weights_for,
    written,
)
from everystep.run.rollout import seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """A question with its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A question that a structure did not answer rightly; ``said`` is ``None`` where it gave no answer."""

    question: str
    answer: str
    said: str | None


class Designer(Protocol):
    """Proposes structures."""

    @property
    def library(self) -> Library: ...

    def generate(self, examples: Sequence[str]) -> Structure | None:
        """Return a structure for questions like these, whose answers are not told; ``None`` where none was found."""
        ...

    def refine(self, structure: Structure, failures: Sequence[Failure]) -> Sequence[Structure]:
        """Return structures to try in the place of one that fails on these."""
        ...


def failures_of(structure: Structure, questions: Sequence[Solved], library: Library) -> list[Failure]:
    """Return the questions that a structure gets wrong."""
    said = ((one, answered(structure, one.question, library)) for one in questions)
    return [
        Failure(question=one.question, answer=one.answer, said=told)
        for one, told in said
        if told != plain(one.answer)
    ]


def accuracy(structure: Structure, questions: Sequence[Solved], library: Library) -> float:
    """Return the share of questions that a structure answers rightly."""
    return 1.0 - len(failures_of(structure, questions, library)) / len(questions) if questions else 0.0


def refined(
    designer: Designer, start: Structure, questions: Sequence[Solved], *, passes: int
) -> list[Structure]:
    """Return the structure before refinement and after each pass: ``passes + 1`` of them.

    The best of what the designer proposes is kept if it is better on ``questions`` by, in this order: right answers, how alike the answers are (``alike``), and fewer modules. Without
    failures nothing is asked.
    """
    if not questions:
        raise ConfigError("there are no development questions to refine on. Give some with their answers.")
    kept, best = [start], _worth(start, questions, designer.library)
    for _ in range(passes):
        failures = failures_of(kept[-1], questions, designer.library)
        chosen = kept[-1]
        for one in designer.refine(chosen, failures) if failures else ():
            worth = _worth(one, questions, designer.library)
            if worth > best:
                chosen, best = one, worth
        kept.append(chosen)
    return kept


def alike(said: str | None, answer: str) -> float:
    """Return how many characters two answers share, wherever they stand: twice the common ones over all (Dice), 0 to 1; 0 without an answer.

    >>> alike("abc", "cab"), alike("ab", "bc"), alike(None, "a")
    (1.0, 0.5, 0.0)
    """
    if said is None or not said + answer:
        return 0.0
    return 2 * (Counter(said) & Counter(answer)).total() / (len(said) + len(answer))


def _worth(structure: Structure, questions: Sequence[Solved], library: Library) -> tuple[int, float, int]:
    failures = failures_of(structure, questions, library)
    near = sum(alike(one.said, one.answer) for one in failures)
    return -len(failures), len(questions) - len(failures) + near, -len(structure)


class Search:
    """Draws structures from the library. ``draws`` structures are drawn to generate one, ``edits`` a pass to refine it.

    Operations whose descriptions share words with the questions that were generated for are drawn more often.
    """

    def __init__(self, library: Library, *, draws: int = 300, edits: int = 40, seed: int = 0) -> None:
        if min(draws, edits) < 1:
            raise ConfigError(f"draws {draws!r}, edits {edits!r}: expected 1 or more of each.")
        self.library, self.draws, self.edits = library, draws, edits
        self._random = Random(seed_of(seed, "structures"))
        self._weights: Weights = {}

    def generate(self, examples: Sequence[str]) -> Structure | None:
        """Return the drawn structure whose answers look best without knowing the right ones (see ``suits``)."""
        self._weights = weights_for(examples, self.library)
        made = [drawn(self.library, self._random, weights=self._weights) for _ in range(self.draws)]
        return max(made, key=lambda one: suits(one, examples, self.library, self._weights))

    def refine(self, structure: Structure, failures: Sequence[Failure]) -> Sequence[Structure]:  # noqa: ARG002 -- a blind search
        """Return edits of ``structure``: modules added, removed, replaced, or done in another way."""
        return [
            edited(structure, self.library, self._random, weights=self._weights) for _ in range(self.edits)
        ]


def suits(
    structure: Structure, examples: Sequence[str], library: Library, weights: Weights
) -> tuple[float, float, float, float, int]:
    """Return how well a structure suits questions whose answers are unknown, in this order: the share that it answers; the share of answers that are one of the options
    where there are some, and else do not stand in the question; the largest weight of its operations; how different the answers are; and fewer modules.
    """
    told = [answered(structure, one, library) for one in examples]
    given = [(one, said) for one, said in zip(examples, told, strict=True) if said]
    formed = sum(
        said[:1] + said[-1:] == "()" and said in one if "Options:" in one else said not in one
        for one, said in given
    )
    count = max(1, len(examples))
    likely = max(weights.get(one.op, 1.0) for one in structure)
    different = len({said for _, said in given})
    return len(given) / count, formed / count, likely, different / count, -len(structure)


class Asked:
    """A model that designs. Each answer must be one JSON object and nothing else; one that cannot be read or executed is no structure, and ``refused`` has the reasons.

    Raises ``ModelError`` where the model gives no answer. ``shown`` failures are told a pass, each question cut to ``chars`` characters.
    """

    def __init__(
        self,
        sampler: Sampler,
        library: Library,
        *,
        sampling: Sampling | None = None,
        shown: int = 3,
        chars: int = 2000,
        seed: int = 0,
    ) -> None:
        self.library = library
        self.calls = 0
        self.refused: list[str] = []
        self._sampler, self._sampling = sampler, sampling or Sampling(max_tokens=2048)
        self._shown, self._chars, self._seed = shown, chars, seed

    def generate(self, examples: Sequence[str]) -> Structure | None:
        """Ask which operations such questions need (GENERATE), then for the plan made of them (IMPLEMENT)."""
        questions = [one[: self._chars] for one in examples]
        chosen = self._read_names(
            self._ask(GENERATE, {"questions": questions, "operations": self._told(self.library)})
        )
        known = {name: self.library[name] for name in chosen} or self.library
        return self._read(self._ask(IMPLEMENT, {"questions": questions, "operations": self._told(known)}))

    def refine(self, structure: Structure, failures: Sequence[Failure]) -> Sequence[Structure]:
        """Show some failures and ask for a better plan (REFINE)."""
        wrong = [
            {"question": one.question[: self._chars], "expected": one.answer, "said": one.said}
            for one in failures[: self._shown]
        ]
        told = {"modules": json.loads(written(structure))["modules"], "failures": wrong}
        made = self._read(self._ask(REFINE, told | {"operations": self._told(self.library)}))
        return () if made is None else (made,)

    def _ask(self, role: str, told: dict[str, Any]) -> str:
        self.calls += 1
        request = Request(
            session=f"designer{self.calls}",
            messages=(
                Message(role="system", content=role),
                Message(role="user", content=json.dumps(told, ensure_ascii=True)),
            ),
            seed=seed_of(self._seed, "design", self.calls),
        )
        answer = self._sampler.sample([request], self._sampling)[0]
        self._sampler.release([request.session])
        if answer.stop is Stop.ERROR:
            raise ModelError(
                f"the designer gave no answer: {answer.error}. Try again, or name another model."
            )
        return answer.text

    def _read(self, text: str) -> Structure | None:
        made = read_structure(text, self.library)
        if isinstance(made, str):
            self.refused.append(made)
            return None
        return made

    def _read_names(self, text: str) -> list[str]:
        try:
            body: Any = json.loads(text) if len(text) <= LONGEST_WRITTEN else None
        except (ValueError, RecursionError):
            body = None
        listed = body.get("operations") if isinstance(body, dict) and body.keys() == {"operations"} else None
        if not isinstance(listed, list):
            self.refused.append("the answer is not one JSON object with operations")
            return []
        unknown = [one for one in listed if not isinstance(one, str) or one not in self.library]
        self.refused += [f"no operation {str(one)[:40]!r}" for one in unknown[:10]]
        return list(dict.fromkeys(one for one in listed if isinstance(one, str) and one in self.library))

    def _told(self, library: Library) -> list[dict[str, Any]]:
        return [
            {
                "op": one.name,
                "takes": one.takes,
                "gives": one.gives,
                "options": list(one.options),
                "about": one.about,
            }
            for one in library.values()
        ]


_PLAN = (
    'Answer with one JSON object and nothing else: {"modules": [{"op": NAME, "option": NAME}, ...]}. The first module takes the question as a text, each '
    "takes what the one before gives, the last gives the answer as a text."
)
GENERATE = (
    "You get questions of one family without their answers, and operations. Say which operations such questions need. "
    'Answer with one JSON object and nothing else: {"operations": [NAME, ...]}.'
)
IMPLEMENT = f"You get questions of one family without their answers, and operations. Write the plan that answers any such question. {_PLAN}"
REFINE = f"You get a plan, questions that it answers wrongly, and operations. Write a better plan: add, remove or change modules. {_PLAN}"
"""What a model is told at each stage. Questions and answers are data beside it."""
