"""The judges that ``--judge`` can name. What is heavy is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from everystep.app.run_models import model_of, python_file
from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import AsyncSampler, Environment, Judge, Looks, Sampling
from everystep.core.records import Level, Task
from everystep.environments.catalog import world
from everystep.run.folder import JOURNAL
from everystep.verify.answers import Answers
from everystep.verify.ask import Asked
from everystep.verify.evidence import check_looks
from everystep.verify.execute import ByOracle, Executed, executable, raised
from everystep.verify.noise import Noise
from everystep.verify.regress import Trained, load_model
from everystep.verify.rule import RULES, Rule
from everystep.verify.templates import FIRST_WRONG, TEMPLATES

KINDS = ("rule", "oracle", "executed", "trained", "chat", "local", "smollm", "script")
ANSWERS = "answers.sqlite"


class Options(Protocol):
    """What is asked for, besides who judges."""

    @property
    def traces(self) -> Path: ...
    @property
    def judge(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def votes(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def key(self) -> str | None: ...
    @property
    def question(self) -> str: ...
    @property
    def actions(self) -> int | None: ...
    @property
    def observations(self) -> int | None: ...
    @property
    def result(self) -> bool: ...
    @property
    def after(self) -> int: ...
    @property
    def outcome(self) -> bool: ...
    @property
    def reference(self) -> bool: ...
    @property
    def chars(self) -> int: ...
    @property
    def false_positive(self) -> float: ...
    @property
    def false_negative(self) -> float: ...
    @property
    def answers(self) -> Path | None: ...
    @property
    def seed(self) -> int: ...


async def _nothing() -> None:
    """Close nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A judge; ``remote`` ones answer several questions at a time. ``finish`` ends connections."""

    judge: Judge
    remote: bool = False
    finish: Callable[[], Awaitable[object]] = _nothing


def build_judge(asked: Options, stack: ExitStack, beside: Path | None) -> Built:
    """Return the judge that the options describe; what has to be closed goes on ``stack``."""
    kind, _, rest = asked.judge.partition(":")
    if kind not in KINDS:
        raise ConfigError(f"--judge {asked.judge!r}: unknown kind {kind!r}. {did_you_mean(kind, KINDS)}")
    built = _asked(asked, stack, beside) if kind in ("chat", "local", "smollm", "script") else None
    if built is None:
        _refuse_evidence(asked, kind, rest)
        found: Judge = _plain(asked, kind, rest, stack)
        built = Built(judge=found)
    if asked.false_positive or asked.false_negative:
        noisy = Noise(
            of=built.judge,
            false_positive=asked.false_positive,
            false_negative=asked.false_negative,
            seed=asked.seed,
        )
        return replace(built, judge=noisy)
    return built


def _plain(asked: Options, kind: str, rest: str, stack: ExitStack) -> Judge:
    if kind == "rule":
        return rule_judge(rest, name=asked.name, looks=_looks(asked, observations=1))
    if kind == "trained":
        return trained_judge(rest, name=asked.name)
    if kind == "oracle":
        if rest not in ("", "distance"):
            raise ConfigError(f"--judge {asked.judge!r}: expected oracle or oracle:distance.")
        oracle = ByOracle(
            make=environment_of,
            distance=rest == "distance",
            name=asked.name or "oracle",
            version=rest or "same",
        )
        stack.callback(oracle.close)
        return oracle
    good = raised(rest) if rest else executable
    executed = Executed(
        make=environment_of, good=good, name=asked.name or "executed", version=rest or "valid"
    )
    stack.callback(executed.close)
    return executed


def environment_of(task: Task) -> Environment:
    """Return an environment for a stored task; ``ConfigError`` where none of that name is known here."""
    return world(task.environment).make()


def rule_judge(rule: str, *, name: str = "", looks: Looks | None = None) -> Judge:
    """Return the rule of that name, or the function ``judge(evidence)`` of a file ``FILE.py``, which is shown what ``looks`` says."""
    if not rule.endswith(".py"):
        found = RULES[rule]
        return replace(found, name=name) if name else found
    function = python_file(Path(rule)).get("judge")
    if not callable(function):
        raise ConfigError(
            f"{rule!r} defines no function judge(evidence) that returns a number from 0 to 1, true, false or None."
        )
    looks = looks or Looks(observations=1)
    version = _digest(Path(rule), repr(looks))
    return Rule(name=name or Path(rule).stem, function=function, looks=looks, version=version)


def trained_judge(file: str, *, name: str = "") -> Judge:
    """Return the judge that was trained and saved in a file."""
    if not file:
        raise ConfigError("--judge trained: which? trained:FILE, a model that was saved.")
    return Trained(model=load_model(Path(file)), name=name or "trained", version=_digest(Path(file)))


def _digest(path: Path, more: str = "") -> str:
    """Return a short hash of a file, so that verdicts of another one are not taken for its own."""
    return sha256(path.read_bytes() + more.encode()).hexdigest()[:12]


def _looks(asked: Options, *, observations: int) -> Looks:
    return check_looks(
        Looks(
            actions=asked.actions,
            observations=observations if asked.observations is None else asked.observations,
            result=asked.result,
            after=asked.after,
            outcome=asked.outcome,
            reference=asked.reference,
            chars=asked.chars,
        )
    )


def _refuse_evidence(asked: Options, kind: str, rest: str) -> None:
    """These judges look at what they need; an option that would have no effect is refused."""
    if kind == "rule" and rest.endswith(".py"):
        return
    given = [
        name
        for name, value in (
            ("actions", asked.actions is not None),
            ("observations", asked.observations is not None),
            ("result", asked.result),
            ("after", asked.after),
            ("outcome", asked.outcome),
            ("reference", asked.reference),
        )
        if value
    ]
    if given:
        raise ConfigError(
            f"--{given[0]} has no effect on --judge {asked.judge!r}, which looks at what it needs. Leave it out, or use rule:FILE.py."
        )


def _asked(asked: Options, stack: ExitStack, beside: Path | None) -> Built:
    chosen = model_of(asked.judge, answer=None, seed=asked.seed, key=asked.key)
    folder = beside or (asked.traces if (asked.traces / JOURNAL).exists() else asked.traces.parent)
    answers = Answers(asked.answers or folder / ANSWERS)
    stack.callback(answers.close)
    templates = dict(TEMPLATES)
    if asked.question == "first_wrong":
        templates[Level.TRAJECTORY] = FIRST_WRONG
    judge = Asked(
        sampler=chosen.sampler,
        templates=templates,
        sampling=Sampling(temperature=asked.temperature, max_tokens=asked.max_tokens),
        looks=_looks(asked, observations=3),
        votes=asked.votes,
        retries=asked.retries,
        seed=asked.seed,
        answers=answers,
        name=asked.name or asked.judge.partition(":")[0],
    )
    remote = isinstance(chosen.sampler, AsyncSampler)
    return Built(judge=judge, remote=remote, finish=chosen.close or _nothing)
