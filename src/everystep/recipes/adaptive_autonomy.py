"""Adaptive autonomy (S35): act alone while perception is reliable, ask a person while it is not.

Source: a vision paper of which only the abstract is known: reliability of a perception model comes from its uncertainty and from how far
the surroundings have shifted from training; when it drops, autonomy is lowered and a person is involved. Certain: that idea. Ours: all
formulas (R = (1 - u)(1 - s), ``guard.drift``), the gate (``guard.autonomy``), the stream (real scans, scikit-image's corruptions), the
person (always right, answers after a drawn time on a simulated clock), and thresholds that are set on other streams of other images.

Claim under test: at an equal number of questions the shift term lowers the error among autonomous acts under drift, and does no harm without.

    everystep reproduce adaptive_autonomy
    everystep reproduce adaptive_autonomy --seeds 6 --length 120

Measured: docs/recipes/adaptive_autonomy.md.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from random import Random
from types import MappingProxyType

import numpy as np

from everystep.core.acts import Answer, Approval, ApprovalRequest, Permit, Risk
from everystep.core.protocols import Logger, Oracle, Situation
from everystep.core.records import Action
from everystep.core.trace import Kind
from everystep.environments.images.image_stream import KINDS, ImageStream, State, pool, read_image
from everystep.evaluate.plot import plot_lines
from everystep.evaluate.study import REPORT, Study, Trial, study, table
from everystep.guard.approval import answered
from everystep.guard.autonomy import Autonomy, Policy, Reliability, need_for
from everystep.guard.drift import Distance, Scale, Shift, drifting, reliability, risk_coverage
from everystep.models.perceive import Perceiver, fitted
from everystep.run.context import Window
from everystep.run.decide import Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts

CURVE = "risk_coverage.svg"
_ANSWER_S = 20.0  # median of the person's time
_GRID = tuple(np.linspace(0.3, 1.0, 71).tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """An image stream whose quality drifts, and a person who can be asked."""

    length: int = 240
    """Images of a stream."""
    peak: float = 5.0
    """Greatest severity of the corruption, up to 5."""
    asked: float = 0.25
    """Share of images that a person may be asked about under drift."""
    asked_steady: float = 0.1
    """The same without drift; also the setting of the arms that do not know of the drift to come."""
    clean: int = 5
    """Decisions in a row that bring back trust, in the arms with hysteresis."""
    tuning: int = 6
    """Streams of other images on which the threshold of each arm is set."""
    seeds: int = 24
    """Paired seeds; the kind of corruption goes round with them."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How reliability is measured and how trust comes back. ``scale`` is ``None`` without a shift term."""

    scale: Scale | None = None
    confident: bool = True
    clean: int = 0


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "confidence": Method(),
        "confidence and shift (percentile)": Method(scale=Scale.PERCENTILE),
        "confidence and shift (ratio)": Method(scale=Scale.RATIO),
        "shift (ratio)": Method(scale=Scale.RATIO, confident=False),
    }
)


# --- the agent: also for a stream of one's own ---------------------------------------------------------


@cache
def perceiver() -> Perceiver:
    """Return the classifier of digits, fitted once."""
    seen, held = pool("fit"), pool("held")
    return fitted(seen.image_NHW, seen.label_N, held.image_NHW, held.label_N, read=read_image)


@cache
def _shift(scale: Scale) -> Shift:
    held = pool("held").image_NHW
    return Shift(held.reshape(len(held), -1), distance=Distance.NEAREST, scale=scale)


def measured(eye: Perceiver, shift: Shift | None, *, confident: bool = True) -> Reliability:
    """Return R = (1 - u)(1 - s) of what ``eye`` sees now, for ``guard.autonomy.Autonomy``."""

    def unsure(situation: Situation, action: Action) -> float:  # noqa: ARG001
        return 1.0 - eye.look(situation.observation.text).confidence

    def unusual(situation: Situation, action: Action) -> float:  # noqa: ARG001
        return 0.0 if shift is None else shift.score(eye.look(situation.observation.text).pixels)

    return drifting(uncertainty=unsure if confident else None, shift=unusual)


def policy(need: float, *, clean: int) -> Policy:
    """Return the table: act where reliability is ``need`` or more, else ask; ``need`` 0 always acts."""
    row = ((need, Permit.ACT), (0.0, Permit.ASK)) if need > 0 else ((0.0, Permit.ACT),)
    return Policy(table=dict.fromkeys(Risk, row), clean=clean)


@dataclass(slots=True)
class Person:
    """Somebody who knows the right answer, after a time: on a clock of its own, nothing waits."""

    world: Oracle
    random: Random
    now: float = 0.0
    asked: set[str] = field(default_factory=set)
    corrected: set[str] = field(default_factory=set)

    async def ask(self, request: ApprovalRequest) -> Approval:
        """Grant a right action and put the right one in place of a wrong one."""
        self.now += _ANSWER_S * math.exp(self.random.gauss(0.0, 0.5))
        place = request.step.partition(".")[0]
        self.asked.add(place)
        truth = self.world.oracle()
        if request.action.text == truth:
            return answered(request, Answer.GRANTED, by="person", time=self.now)
        self.corrected.add(place)
        edit = Action(text=truth)
        return answered(request, Answer.EDITED, by="person", action=edit, time=self.now)


# --- the study ---------------------------------------------------------------------------------------


def watch(world: ImageStream, seed: int, method: Method, need: float, journal: Journal) -> dict[str, float]:
    """Run one stream through the gate; return what came of it."""
    eye, environment, task = perceiver(), world.make(), world.task("test", seed)
    person = Person(environment, Random(seed))
    gate = Autonomy(
        reliability=measured(eye, _shift_of(method), confident=method.confident),
        approver=person,
        policy=policy(need, clean=method.clean),
        clock=lambda: person.now,
    )
    role = Role(name="eye", ways=(Way(sampler=eye, context=Window(steps=0)),))
    runner = Runner(
        run=task.id,
        task=task,
        environment=environment,
        parts=Parts(operator=role, gate=gate),
        journal=journal,
        bounds=Bounds(max_steps=world.length),
        seed=seed,
    )
    asyncio.run(runner.run())
    alone, scores, wrong = [], [], []
    for event in journal.events(kinds={Kind.STEP}):
        step, text = event.body["id"].partition(".")[0], event.body["observation"]["text"]
        alone.append(step not in person.asked)
        scores.append(_score(text, method))
        mistaken = event.body["scores"]["right"] < 1.0
        wrong.append(mistaken if alone[-1] else step in person.corrected)
    acted = [bad for bad, free in zip(wrong, alone, strict=True) if free]
    curve = risk_coverage(scores, wrong)
    return {
        "autonomous error": float(np.mean(acted)) if acted else 0.0,
        "asked": len(person.asked) / world.length,
        "wait_s": person.now / world.length,
        "switches": float(sum(before != after for before, after in pairwise(alone))),
        "area": curve.area,
        **{f"risk at {share:.2f}": curve.risk_at(share) for share in (0.6, 0.75, 0.9)},
    }


def _shift_of(method: Method) -> Shift | None:
    return None if method.scale is None else _shift(method.scale)


@lru_cache(maxsize=200_000)
def _score(text: str, method: Method) -> float:
    seen, shift = perceiver().look(text), _shift_of(method)
    u = 1.0 - seen.confidence if method.confident else 0.0
    return reliability(u, 0.0 if shift is None else shift.score(seen.pixels))


@cache
def threshold(world: ImageStream, method: Method, asked: float, streams: int) -> float:
    """Return what reliability must be so that about ``asked`` of the images of train streams are asked about."""
    seen = [_seen(world, "train", index, method) for index in range(streams)]
    return need_for(seen, asked=asked, clean=method.clean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Streams of one ``peak`` severity, and the streams (theirs or others) on which ``asked`` was set."""

    peak: float
    tuned_on: float
    asked: float
    methods: Mapping[str, Method]


def settings(config: Config) -> dict[str, Setting]:
    """Return what is compared: at equal questions under drift and without, and with thresholds that know of no drift."""
    slow = {
        f"{name}, hysteresis": Method(scale=METHODS[name].scale, clean=config.clean)
        for name in ("confidence", "confidence and shift (ratio)")
    }
    every = {**METHODS, **slow}
    peak, steady = config.peak, config.asked_steady
    return {
        "drift": Setting(peak=peak, tuned_on=peak, asked=config.asked, methods=every),
        "no drift": Setting(peak=0.0, tuned_on=0.0, asked=steady, methods=every),
        "drift that was not foreseen": Setting(peak=peak, tuned_on=0.0, asked=steady, methods=METHODS),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms in each setting; return the error among autonomous acts and the share asked, by setting and arm."""
    told: list[str] = []
    found: dict[str, float] = {}
    for name, setting in settings(config).items():
        result = _compare(config, folder, name, setting, loggers)
        told += [f"## {name}", "", table(result), ""]
        for arm in result.arms:
            found[f"{name}: error, {arm.name}"] = arm.means["autonomous error"].value
            found[f"{name}: asked, {arm.name}"] = arm.means["asked"].value
    told += ["## area under risk and coverage, by corruption", "", *_by_kind(config), ""]
    (folder.path / REPORT).write_text("\n".join(told), encoding="utf-8")
    lines = {name: (_GRID, _curve(config, method)) for name, method in METHODS.items()}
    title = "Errors among the images acted on alone, under drift"
    plot_lines(lines, folder.path / CURVE, title=title, across="share acted on alone", up="error rate")
    return found


def _compare(
    config: Config, folder: RunFolder, name: str, setting: Setting, loggers: Sequence[Logger]
) -> Study:
    place = folder.path / name.replace(" ", "_")

    def arm(name: str, method: Method) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            kind = KINDS[seed % len(KINDS)]
            world = ImageStream(kind=kind, peak=setting.peak, length=config.length)
            known = ImageStream(kind=kind, peak=setting.tuned_on, length=config.length)
            need = threshold(known, method, setting.asked, config.tuning)
            path = place / "journals" / f"{name}-{seed}.sqlite"
            path.unlink(missing_ok=True)
            with Journal.create(path, {"arm": name}) as journal:
                return watch(world, seed, method, need, journal)

        return trial

    arms = {one: arm(one, method) for one, method in setting.methods.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    return study(arms, seeds=seeds, baseline="confidence", folder=place, loggers=loggers)


def _curve(config: Config, method: Method) -> list[float]:
    """Return the mean risk over the streams of the study at the coverages of the grid."""
    risks = []
    for seed in range(config.seed, config.seed + config.seeds):
        world = ImageStream(kind=KINDS[seed % len(KINDS)], peak=config.peak, length=config.length)
        curve = risk_coverage(*_seen(world, "test", seed, method))
        risks.append([curve.risk_at(share) for share in _GRID])
    return [float(np.mean(column)) for column in zip(*risks, strict=True)]


def _seen(world: ImageStream, split: str, index: int, method: Method) -> tuple[list[float], list[bool]]:
    """Return the reliability of each image of a stream, and whether the classifier is wrong there."""
    state = world.start(world.task(split, index))
    scores, wrong = [], []
    for place in range(world.length):
        here = State(split, state.seed, place)
        text = world.observe(here).text
        scores.append(_score(text, method))
        wrong.append(perceiver().look(text).label != world.oracle(here))
    return scores, wrong


def _by_kind(config: Config) -> list[str]:
    lines = ["| corruption | " + " | ".join(METHODS) + " |", "|---|" + "---|" * len(METHODS)]
    for kind in KINDS[: config.seeds]:
        areas = []
        for method in METHODS.values():
            own = [
                seed
                for seed in range(config.seed, config.seed + config.seeds)
                if KINDS[seed % len(KINDS)] == kind
            ]
            world = ImageStream(kind=kind, peak=config.peak, length=config.length)
            areas.append(np.mean([risk_coverage(*_seen(world, "test", seed, method)).area for seed in own]))
        lines.append(f"| {kind} | " + " | ".join(f"{area:.3f}" for area in areas) + " |")
    return lines
