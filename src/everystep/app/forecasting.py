"""``everystep forecast``: what a task will take and how likely it is to succeed, before it is run."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import tyro

from everystep.app.flags import parse
from everystep.app.progress import clock_text
from everystep.app.reading import journal_of
from everystep.app.run_lines import amount, line
from everystep.app.run_make import Made, make
from everystep.app.run_options import RunOptions, price_of, task_of, view_of
from everystep.app.run_reading import run_of, totals
from everystep.core.codec import encode
from everystep.core.errors import ConfigError
from everystep.core.protocols import Candidate, Environment, Generation, Oracle, Request, Situation, Snapshots
from everystep.core.records import Action, Json, Step, Stop, Task
from everystep.core.trace import Kind
from everystep.environments.catalog import world
from everystep.run.context import Window
from everystep.run.decide import Decider, Price
from everystep.run.folder import RUN
from everystep.run.journal import Journal
from everystep.run.rollout import seed_of
from everystep.run.vote import Single
from everystep.verify.calibrate import By, Calibration, Tally, calibrate
from everystep.verify.forecast import Forecast, forecast
from everystep.verify.probe import probe, tallies_of

_MOST_TASKS = 1000
_LISTED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Sample a model at some states of a task, and say what the whole task will take: margin, samples, tokens, money, chance of finishing.

    The states lie on the way that the environment's oracle takes; its word, or progress that the environment measures, is the truth. Steps that
    no margin can save, because the model errs there in the same way each time, are named. With RUN, the votes of that run are read instead.

    Example: everystep forecast --environment hanoi --options disks=10 start_from=full --model noisy:0.1
    """

    run: tyro.conf.Positional[Path | None] = None
    """A run that voted: its folder or journal. Nothing is sampled then."""
    environment: str = "hanoi"
    """The world to act in."""
    options: dict[str, Json] = field(default_factory=dict)
    """Options of the environment."""
    task: str = "train:0"
    """The task, SPLIT:INDEX; where it has fewer steps than --states, those that follow are looked at too."""
    model: str = "noisy:0.1"
    """Who decides, as in `everystep run`."""
    key: str | None = None
    """Name of the environment variable with the endpoint's key."""
    temperature: float | None = None
    """Sampling temperature of a local or chat model (default 1)."""
    max_tokens: int | None = None
    """Tokens that a local or chat model may write in one answer (default 256)."""
    flags: tuple[str, ...] = ("empty", "format")
    """Which answers do not count, as in `everystep run`."""
    view: str = "window:8"
    """What the model is shown: window:STEPS."""
    constrain: bool = True
    """Let the model write nothing but admissible actions, where the environment lists them."""
    seed: int = 0
    """Seed of the sampling."""
    states: int = 30
    """States that are sampled at."""
    answers: int = 20
    """Answers that are drawn at each."""
    walk: int = 20_000
    """Steps of the way among which the states are chosen."""
    steps: int | None = None
    """Steps of the whole task; by default as many as the oracle takes, or the run took."""
    target: float = 0.95
    """Chance of finishing without an error that the margin should reach."""
    margin: int | None = None
    """Use this margin, instead of the smallest that reaches the target."""
    cap: int = 100
    """The most samples of one step."""
    price: str | None = None
    """Dollars per million tokens: PROMPT,COMPLETION or PROMPT,COMPLETION,CACHED."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """A state on the way: what a model would be shown there, what is right, and how to come back to it."""

    situation: Situation
    right: str
    state: Any


def foretell(words: Sequence[str]) -> int:
    """Forecast from samples, or from a run."""
    asked = parse(Ask, words, command="forecast")
    if asked.run is not None:
        return _of_run(asked, asked.run)
    if asked.states < 1 or asked.answers < 1 or asked.walk < 1:
        raise ConfigError("--states, --answers and --walk must be 1 or more.")
    length, sights = _sights(asked)
    table = {one.situation.step: one.right for one in sights}
    made = make(_options(asked), Path(), answer=lambda request: table[_step_of(request)])
    try:
        begun = time.monotonic()
        tallies = asyncio.run(_probed(asked, made, sights))
        took = time.monotonic() - begun
    finally:
        made.close()
    steps = asked.steps or length
    if steps is None:
        raise ConfigError(
            f"the task did not end within --walk {asked.walk} steps; give its length with --steps."
        )
    found = calibrate(tallies, by=By.TRUTH)
    latency = None if made.model.scripted else took / max(1, len(sights) * asked.answers)
    made_of = _forecast(asked, found, steps, price_of(asked.price) if asked.price else None, latency)
    if asked.json:
        _print_json(found, made_of)
        return 0
    _print(
        found,
        made_of,
        f"{asked.answers} answers at {len(sights)} states, {made.task.id}, model {asked.model}",
    )
    _name(found, {one.situation.step: one.situation.observation.text for one in sights})
    if made_of.margin is None:
        _say(
            "\nno margin reaches the target: the model is wrong too often at some steps. Take another model, prompt or temperature."
        )
        return 0
    if made_of.doomed:
        return 0
    vote = f"ahead:{made_of.used}" + (f",cap={asked.cap}" if asked.cap != Ask().cap else "")
    _say(
        f"\nnext: everystep run --environment {asked.environment}{_words(asked.options)} --model {asked.model} --vote {vote}"
    )
    return 0


def _options(asked: Ask) -> RunOptions:
    names = ("environment", "options", "task", "model", "key", "temperature", "max_tokens", "flags", "view", "constrain", "seed", "price")  # fmt: skip
    return RunOptions(**{name: getattr(asked, name) for name in names})


def _words(options: Mapping[str, Json]) -> str:
    return f" --options {' '.join(f'{name}={value}' for name, value in options.items())}" if options else ""


def _step_of(request: Request) -> str:
    """Return the state that a request is about; draws at one state differ after the bar."""
    return request.session.partition("|")[0]


# --- the way --------------------------------------------------------------------------------------


def _sights(asked: Ask) -> tuple[int | None, list[_Sight]]:
    """Walk the oracle's way and keep some of its states, all with the same chance; return the first task's length too."""
    chosen = world(asked.environment, **asked.options)
    split, index = task_of(asked.task)
    window = view_of(asked.view)
    if not isinstance(window, Window):
        raise ConfigError(
            f"--view {asked.view}: a forecast needs a window, since each state stands for itself."
        )
    random = Random(seed_of("forecast", asked.seed))
    kept: list[tuple[int, _Sight]] = []
    seen, length = 0, None
    for number in range(_MOST_TASKS):
        size = chosen.size(split)
        if size is not None and index + number >= size:
            break
        for sight in _way(chosen, chosen.task(split, index + number), number, window.steps):
            if len(kept) < asked.states:
                kept.append((seen, sight))
            elif (place := random.randrange(seen + 1)) < asked.states:
                kept[place] = (seen, sight)
            seen += 1
            if seen >= asked.walk:
                break
        if number == 0 and seen < asked.walk:
            length = seen
        if seen >= min(asked.states, asked.walk):
            break
    return length, [sight for _, sight in sorted(kept, key=lambda one: one[0])]


def _way(chosen: Any, task: Task, number: int, steps: int) -> Iterator[_Sight]:
    """Yield the states of one task on the oracle's way."""
    environment: Environment = chosen.make()
    oracle = environment if isinstance(environment, Oracle) else None
    if oracle is None:
        raise ConfigError(
            f"environment {chosen.name!r} does not know the way, so nobody can say what is right. Run the task with votes, "
            "then: everystep forecast RUN."
        )
    saves = environment if isinstance(environment, Snapshots) else None
    node = "main" if number == 0 else f"task{number}"
    recent: deque[Step] = deque(maxlen=steps)
    observation = environment.reset(task)
    index = 0
    while True:
        right = oracle.oracle()
        situation = Situation(
            run="forecast",
            task=task,
            node=node,
            goal=task.instruction,
            step=f"{node}/{index}",
            index=index,
            observation=observation,
            recent=tuple(recent),
        )
        yield _Sight(situation=situation, right=right, state=None if saves is None else saves.snapshot())
        action = environment.parse(right)
        transition = environment.step(action)
        recent.append(
            Step(id=situation.step, parent=None, index=index, observation=observation, action=action)
        )
        observation, index = transition.observation, index + 1
        if transition.terminated or transition.truncated:
            environment.close()
            return


async def _probed(asked: Ask, made: Made, sights: Sequence[_Sight]) -> list[Tally]:
    decider = Decider(seed=seed_of("forecast", asked.seed))
    role = replace(made.role, vote=Single(cap=1))
    by_step = {one.situation.step: one for one in sights}
    checked: dict[tuple[str, str], bool] = {}

    async def draw(situation: Situation, number: int) -> Candidate:
        one = replace(situation, step=f"{situation.step}|{number}")
        decision = await decider.decide(role, one, parse=made.environment.parse)
        if decision.chosen is not None:
            return replace(decision.chosen, sample=number)
        flags = [body for kind, body in decision.events if kind is Kind.FLAG]
        if not flags:
            return _nothing(number, decision.why)
        text, flag = str(flags[-1]["text"]), f"{flags[-1]['flag']}: {flags[-1]['reason']}"
        action = Action(text=text, valid=False)
        return Candidate(
            sample=number, action=action, generation=Generation(text=text, stop=Stop.STOP), flag=flag
        )

    def truth(situation: Situation, candidate: Candidate) -> bool:
        key = (situation.step, candidate.action.text)
        if key not in checked:
            checked[key] = _is_right(made, by_step[situation.step], candidate.action)
        return checked[key]

    situations = [one.situation for one in sights]
    try:
        return await probe(situations, draw, samples=asked.answers, truth=truth, name=lambda one: one.step)
    finally:
        if made.model.close is not None:
            await made.model.close()


def _nothing(number: int, why: str) -> Candidate:
    return Candidate(sample=number, action=Action(text="", valid=False), generation=Generation(text="", stop=Stop.ERROR, error=why))  # fmt: skip


def _is_right(made: Made, sight: _Sight, action: Action) -> bool:
    """An action is right if it is the oracle's, or if the environment says that it came closer."""
    if " ".join(action.text.split()) == " ".join(sight.right.split()):
        return True
    environment = made.environment
    if sight.state is None or not isinstance(environment, Snapshots):
        return False
    environment.restore(sight.state)
    transition = environment.step(made.environment.parse(action.text))
    return transition.valid and transition.scores.get("progress", 0.0) > 0


# --- a run's own votes ----------------------------------------------------------------------------

_VOTED = frozenset({Kind.FLAG, Kind.VOTE, Kind.STEP})


def _of_run(asked: Ask, path: Path) -> int:
    usual = Ask()
    for name in ("environment", "options", "task", "model", "key", "temperature", "max_tokens", "flags", "view", "states", "answers", "walk"):  # fmt: skip
        if getattr(asked, name) != getattr(usual, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} has no effect with a run, whose own votes are read."
            )
    with Journal.read(journal_of(path)) as journal:
        stored = run_of(journal)
        options = stored.get("options", {})
        if stored.get("command") != RUN:
            raise ConfigError(f"{str(path)!r} is a training; expected the run of a task.")
        if str(options.get("vote") or "").partition(":")[0] == "single":
            raise ConfigError(f"{str(path)!r} did not vote: one sample a step says nothing about errors.")
        steps = asked.steps or totals(journal).steps
        if steps < 1:
            raise ConfigError(f"{str(path)!r} has no step yet.")
        found = calibrate(tallies_of(journal.events(kinds=_VOTED), role="agent"), by=By.VOTES)
    price = asked.price or options.get("price")
    made_of = _forecast(asked, found, steps, price_of(price) if price else None, None)
    if asked.json:
        _print_json(found, made_of)
        return 0
    _print(found, made_of, f"the votes of {path}, where the winner counts as right")
    _name(found, {})
    return 0


def _forecast(
    asked: Ask, found: Calibration, steps: int, price: Price | None, latency: float | None
) -> Forecast:
    return forecast(
        found,
        steps=steps,
        target=asked.target,
        k=asked.margin,
        cap=asked.cap,
        price=price,
        seconds_per_sample=latency,
    )


# --- words ----------------------------------------------------------------------------------------


def _print_json(found: Calibration, made_of: Forecast) -> None:
    body = {"calibration": encode(found), "forecast": encode(made_of)}
    sys.stdout.write(json.dumps(body) + "\n")


def _print(found: Calibration, one: Forecast, source: str) -> None:
    _say(f"from {amount(found.samples)} samples: {source}\n")
    unknown = "not known"
    reached = unknown if one.margin is None else str(one.margin)
    cautious = "none" if one.cautious is None else str(one.cautious)
    tokens = sum(part for part in (one.prompt_tokens, one.completion_tokens) if part)
    rows = [
        ("a valid sample is right", str(found.success)),
        ("valid share", str(found.valid)),
        ("correlated share", unknown if found.correlated is None else str(found.correlated)),
        (f"margin k for {one.target:.0%}", f"{reached if one.margin is not None else 'no margin reaches it'} (at the worst end of the interval: {cautious})"),
        ("samples a step", f"{one.samples_per_step:.2f} with ahead:{one.used}"),
        ("samples in all", f"{amount(round(one.calls))} for {amount(one.steps)} steps"),
        ("tokens", amount(round(tokens)) if tokens else unknown),
        ("dollars", unknown if one.usd is None else f"{one.usd:.4f}"),
        ("time", unknown if one.seconds is None else clock_text(one.seconds)),
        ("chance of finishing", f"{one.chance} with ahead:{one.used}"),
    ]  # fmt: skip
    if one.at_cap >= 0.005:
        rows.append(("undecided at the cap", f"{one.at_cap:.2f} steps"))
    if one.doomed:
        rows.append(("chance if those are mended", str(one.chance_if_mended)))
    width = max(len(name) for name, _ in rows)
    _say("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    if not one.doomed:
        _say(
            f"the sample cannot rule out that up to {one.lost_share.high:.1%} of the steps err in the same way each time"
        )


def _name(found: Calibration, texts: Mapping[str, str]) -> None:
    """Name the steps that no margin can save."""
    if not found.doomed:
        return
    counts = {one.state: f"{one.wrong} wrong, {one.right} right" for one in found.weak}
    _say(f"\n{len(found.doomed)} steps that no margin can save (another prompt, temperature or model may):")
    for state in found.doomed[:_LISTED]:
        shown = f"  {line(texts[state], 90)}" if state in texts else ""
        _say(f"  {state}: {counts.get(state, 'every answer was discarded')}{shown}")
    if len(found.doomed) > _LISTED:
        _say(f"  and {len(found.doomed) - _LISTED} more")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
