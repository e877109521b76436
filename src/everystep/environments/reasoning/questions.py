"""Questions with one right answer: GSM8K, MATH-500, AIME 2024, AMC 2023, BIG-Bench Hard. One answer ends an episode.

A model writes what it likes and ends with its answer. What counts as the answer, and as right, is what each set publishes: the last number (GSM8K, AIME, AMC), the boxed or
last answer after LaTeX is brought to one form (MATH; Hendrycks et al. 2021, arXiv 2103.03874, appendix), the words after "the answer is" (BBH). Answers are compared as text and
never evaluated. The data is not packaged: ``EVERYSTEP_DATA``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, DataError, did_you_mean
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    free_text,
    make_task,
)
from everystep.environments.published import find_file, read_text, source_folder
from everystep.environments.reasoning import bbh

_LIMIT = 20_000
_NUMBER = re.compile(r"-?\$?\d[\d,]{0,30}(?:\.\d{1,20})?|-?\.\d{1,20}")
_MARK = re.compile(r"(?:####|\bthe answer is\b:?|\banswer:|\bA:)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question. ``part`` is its family, subject or level: what tables are broken down by; ``choices`` are the answers that it offers."""

    text: str
    answer: str
    part: str = ""
    level: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A published set: its files, where they come from, how a record is read and how answers are compared."""

    folder: str
    file: str
    source: str
    licence: str
    read: Callable[[Mapping[str, Any]], Question]
    same: Callable[[str, str], bool]
    ask: str


@dataclass(frozen=True, slots=True)
class State:
    """A question, and whether it was answered."""

    question: Question
    answered: bool = False


# --- answers --------------------------------------------------------------------------------------------


def said(text: str) -> str:
    """Return what an answer ends with: the last box, else what stands behind the last mark (``####``, ``the answer is``, ``answer:``), else its last line.

    >>> said("2 + 2 = 4, so the answer is 4."), said("hence \\\\boxed{\\\\frac{1}{2}}."), said("thinking\\n(B)")
    ('4.', '\\\\frac{1}{2}', '(B)')
    """
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    marks = list(_MARK.finditer(text))
    rest = text[marks[-1].end() :] if marks else text
    lines = [line.strip() for line in rest.strip().splitlines() if line.strip()]
    return (lines[0] if marks else lines[-1]) if lines else ""


def same_number(truth: str, text: str) -> bool:
    """Say whether the last number of an answer is the true one, as GSM8K counts: commas and currency signs are left out.

    >>> same_number("1,200", "so he pays $1200.00"), same_number("18", "#### 18 eggs, not 19"), same_number("3", "three")
    (True, False, False)
    """
    found = _NUMBER.findall(said(text)) or _NUMBER.findall(text)
    return bool(found) and _value(found[-1]) == _value(truth)


def same_latex(truth: str, text: str) -> bool:
    """Say whether an answer is the true one after both are brought to one form: spaces, sizes, degrees, units, fractions, brackets.

    >>> same_latex("\\\\frac{3}{4}", "it is \\\\boxed{\\\\dfrac34}"), same_latex("90", "\\\\boxed{90^\\\\circ}"), same_latex("x+1", "the answer is 1+x")
    (True, True, False)
    """
    one, other = _plain(truth), _plain(said(text))
    if one == other:
        return True
    first, second = _fraction(one), _fraction(other)
    return first is not None and first == second


def same_text(truth: str, text: str) -> bool:
    """Say whether an answer is the true one, as BBH counts: equal but for case, an end point and quotes.

    >>> same_text("(B)", "So the answer is (B)."), same_text("True", "true"), same_text("(B)", "(A) or (B)")
    (True, True, False)
    """

    def bare(one: str) -> str:
        return re.sub(r"\s+", " ", one.strip().strip("\"'").rstrip(".").strip()).lower()

    return bare(truth) == bare(said(text))


def _boxed(text: str) -> str | None:
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    begin = text.index("{", start) + 1
    depth = 1
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin:place]
    return None


def _value(number: str) -> Fraction:
    return Fraction(number.replace(",", "").replace("$", "") or "0")


def _fraction(text: str) -> Fraction | None:
    match = re.fullmatch(r"(-?)\\frac\{(\d{1,20})\}\{(\d{1,20})\}", text)
    if match and int(match[3]):
        return Fraction(int(match[2]), int(match[3])) * (-1 if match[1] else 1)
    if re.fullmatch(r"-?\d{1,20}(?:\.\d{1,20})?|-?\.\d{1,20}", text):
        return Fraction(text)
    match = re.fullmatch(r"(-?\d{1,20})/(\d{1,20})", text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[2]) else None


_DROPPED = (
    *("\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\ ", "\\quad", "^{\\circ}", "^\\circ", "\\$", "$", "\\%", "%"),
    *("\\mathrm{cm}", "\\displaystyle"),
)  # fmt: skip


def _plain(text: str) -> str:
    """Bring LaTeX to one form."""
    told = text[:2000].strip().rstrip(".")
    for one in _DROPPED:
        told = told.replace(one, "")
    told = told.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cdot", "*")
    told = re.sub(r"\\(?:text|mathrm|mbox|textbf)\{([^{}]{0,200})\}", lambda match: match[1], told)
    told = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", told)
    told = re.sub(r"\\frac(\d)\{", r"\\frac{\1}{", told)
    told = re.sub(r"\\frac\{([^{}]{0,200})\}(\d)", r"\\frac{\1}{\2}", told)
    told = re.sub(r"\\sqrt(\d)", r"\\sqrt{\1}", told)
    told = re.sub(r"^[a-zA-Z]=", "", re.sub(r"\s+", "", told))
    told = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", told)
    return told.removeprefix("+")


# --- the sets -------------------------------------------------------------------------------------------


def _gsm8k(record: Mapping[str, Any]) -> Question:
    steps, _, answer = record["answer"].rpartition("####")
    return Question(text=record["question"], answer=answer.strip(), level=str(steps.strip().count("\n") + 1))


def _math(record: Mapping[str, Any]) -> Question:
    return Question(
        text=record["problem"], answer=record["answer"], part=record["subject"], level=str(record["level"])
    )


def _contest(record: Mapping[str, Any]) -> Question:
    answer = record["answer"]
    return Question(
        text=record["problem"], answer=f"{answer:g}" if isinstance(answer, float) else str(answer)
    )


_END = "End with a line that begins with 'answer:' and then the answer and nothing else."
_BOX = "End with the answer in \\boxed{}."
SETS: Mapping[str, Set] = {
    "gsm8k": Set(folder="gsm8k", file="test.jsonl", source="https://github.com/openai/grade-school-math", licence="MIT", read=_gsm8k, same=same_number, ask=_END),
    "math500": Set(folder="math", file="math500.jsonl", source="https://huggingface.co/datasets/HuggingFaceH4/MATH-500", licence="MIT (MATH)", read=_math, same=same_latex, ask=_BOX),
    "aime24": Set(folder="math", file="aime24.jsonl", source="https://huggingface.co/datasets/HuggingFaceH4/aime_2024", licence="not stated", read=_contest, same=same_number, ask=_BOX),
    "amc23": Set(folder="math", file="amc23.jsonl", source="https://huggingface.co/datasets/math-ai/amc23", licence="not stated", read=_contest, same=same_number, ask=_BOX),
}  # fmt: skip
BBH = "bbh"


def questions(name: str) -> tuple[Question, ...]:
    """Return the questions of a set, in order. ``ConfigError`` where the files are not there, ``DataError`` for a record of another form."""
    return _questions(name, source_folder(SETS[name].folder if name in SETS else BBH))


@lru_cache(maxsize=8)
def _questions(name: str, where: Path | None) -> tuple[Question, ...]:  # noqa: ARG001 -- other data is read anew
    return tuple(_bbh() if name == BBH else _records(name))


def _records(name: str) -> Iterator[Question]:
    one = SETS[name]
    path = find_file(one.folder, one.file, one.source)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                yield one.read(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"line {number} of {str(path)!r} is no question of {name}: {error!r}."
                ) from None


def _bbh() -> Iterator[Question]:
    for family in bbh.FAMILIES:
        for text, answer in bbh.questions_of(family):
            yield Question(text=text, answer=answer, part=family, choices=bbh.choices_of(family, text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Options: the ``source`` (gsm8k, math500, aime24, amc23, bbh); ``part`` takes one subject or family of it, ``any`` all. All questions are in the split ``test``.

    With ``choices`` there are only questions that offer answers, and these are the admissible actions.
    """

    source: str = "gsm8k"
    part: str = "any"
    choices: bool = False

    name: ClassVar[str] = "questions"
    summary: ClassVar[str] = "one question, one answer: GSM8K, MATH-500, AIME, AMC, BIG-Bench Hard"

    def __post_init__(self) -> None:
        known = (*SETS, BBH)
        if self.source not in known:
            raise ConfigError(f"questions: source is {self.source!r}. {did_you_mean(self.source, known)}")

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return 1

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for questions of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of questions: all are for testing."""
        check_place(split, 0)
        return len(self._chosen()) if split == "test" else 0

    def task(self, split: str, index: int) -> Task:
        """Return question ``index``."""
        check_place(split, index, self.size(split))
        number, one = self._chosen()[index]
        tags = {"part": one.part, "level": one.level}
        return make_task(
            self,
            split=split,
            index=index,
            seed=number,
            instruction="Answer the question. " + (SETS[self.source].ask if self.source in SETS else _END),
            reference=one.answer,
            tags={key: value for key, value in tags.items() if value},
        )

    def start(self, task: Task) -> State:
        """Return the question of ``task``."""
        check_range(self.name, "seed", task.seed, 0, len(questions(self.source)) - 1)
        return State(questions(self.source)[task.seed])

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the question."""
        return Observation(
            text=f"{note}\n{state.question.text}" if note else state.question.text,
            anchor=f"{state.question.text}\n{state.answered}",
            admissible=tuple(f"answer: {one}" for one in state.question.choices) if self.choices else None,
        )

    def parse(self, text: str) -> Action:
        """Accept any text up to 20,000 characters that is not blank."""
        return free_text(text, _LIMIT, "an answer")

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """End the episode: reward 1 for the right answer."""
        same = same_text if self.source == BBH else SETS[self.source].same
        right = action.valid and same(state.question.answer, action.text)
        return Outcome(
            state=State(state.question, answered=True),
            reward=float(right),
            over=True,
            success=right,
            reason=None if action.valid else action.reason,
        )

    def oracle(self, state: State) -> str:
        """Return the right answer."""
        answer = state.question.answer
        return (
            f"\\boxed{{{answer}}}" if self.source in ("math500", "aime24", "amc23") else f"answer: {answer}"
        )

    def _chosen(self) -> list[tuple[int, Question]]:
        found = [
            (number, one)
            for number, one in enumerate(questions(self.source))
            if self.part in ("any", one.part) and (one.choices or not self.choices)
        ]
        if not found and self.choices:
            raise ConfigError(
                f"questions: nothing in {self.source} (part {self.part!r}) offers choices. Leave choices out."
            )
        if not found:
            parts = sorted({one.part for one in questions(self.source)} - {""})
            raise ConfigError(f"questions: part is {self.part!r}. {did_you_mean(self.part, ('any', *parts))}")
        return found
