"""The loop that trains: roll out, credit, update, measure; the same for every recipe.

Everything random derives from the seed and the iteration, and each finished iteration leaves a
checkpoint and its events in one transaction. So a killed run goes on where it stopped, and on one
thread of one machine it ends with the same weights to the bit.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from everystep.core.errors import ConfigError, StoreError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Logger, Sampling
from everystep.core.records import End, Sample, Task, Trajectory
from everystep.core.trace import Kind, ending_of
from everystep.learn.config import Training
from everystep.learn.credited import Critic, credited
from everystep.learn.critic import VALUE
from everystep.learn.heldout import held_out
from everystep.learn.learner import LocalLearner
from everystep.learn.losses import check_loss
from everystep.learn.method import Method
from everystep.learn.policy import update
from everystep.learn.samples import supervised_sample
from everystep.learn.schedules import scale
from everystep.learn.setup import TINY, Setup, learner_of, load_start, model_of, setup_of
from everystep.learn.warm import FIRST_DEMONSTRATION, demonstrate, imitate, turns_of
from everystep.models.local import LocalModel
from everystep.run.demonstrate import with_tokens
from everystep.run.folder import START, STATE, RunFolder, read_json, write_json
from everystep.run.journal import Journal
from everystep.run.measure import reasons, summary
from everystep.run.rollout import jobs_of, rollout, seed_of

KEPT_CHECKPOINTS = 2
WARM_PARTS = 5
"""Parts that each stage of the imitation is cut into; a checkpoint follows each."""
WARM_PHASES = ("turns", "warm")
LEARNER = "learner"
REFERENCE = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One resumable part of a run: the first test, a part of the imitation, or an iteration."""

    phase: str
    number: int


def units_of(config: Training) -> list[Unit]:
    """Return the parts of a run in order: ``start``, imitation of ``turns`` and of episodes (``warm``), ``train``.

    >>> [unit.phase for unit in units_of(Training(turn_updates=1, warm_updates=2, iterations=2))]
    ['start', 'turns', 'warm', 'warm', 'train', 'train']
    """
    turns, warm = (
        min(WARM_PARTS, updates) if config.demonstrations else 0
        for updates in (config.turn_updates, config.warm_updates)
    )
    return [
        Unit(phase="start", number=0),
        *(Unit(phase="turns", number=part) for part in range(turns)),
        *(Unit(phase="warm", number=part) for part in range(warm)),
        *(Unit(phase="train", number=iteration) for iteration in range(config.iterations)),
    ]


def train(
    config: Training, method: Method, folder: RunFolder, *, loggers: Sequence[Logger] = ()
) -> dict[str, float]:
    """Train from the start, or from the last checkpoint of ``folder``; return the last held-out numbers.

    Writes the journal and checkpoints into ``folder``, and the final model into its ``model``.
    """
    check_loss(method.loss)
    _check_critic(config, method)
    setup = setup_of(config)
    try:
        with _journal(folder, method) as journal:
            return _Run(config, method, folder, setup, journal, loggers).go()
    finally:
        setup.hosts.close()
        for logger in loggers:
            logger.close()


def _check_critic(config: Training, method: Method) -> None:
    reads, name = VALUE in method.estimator.scores, method.estimator.name
    if reads != (config.critic > 0) or reads != (method.loss.value > 0):
        raise ConfigError(
            f"critic is {config.critic!r} and the loss weighs values by {method.loss.value!r}, but the credit {name!r} "
            f"{'reads' if reads else 'does not read'} a critic's values. Set a weight above 0 where it does, and 0 where it does not."
        )


def _journal(folder: RunFolder, method: Method) -> Journal:
    if folder.journal.exists():
        return Journal.open(folder.journal)
    credit = method.estimator
    made = {"name": credit.name, "variant": credit.variant, "options": dict(credit.options)}
    return Journal.create(folder.journal, {**folder.config(), "estimator": made})


class _Run:
    """One call of ``train``: the parts that are built once, and what moves."""

    def __init__(
        self,
        config: Training,
        method: Method,
        folder: RunFolder,
        setup: Setup,
        journal: Journal,
        loggers: Sequence[Logger],
    ) -> None:
        self.config, self.method, self.folder = config, method, folder
        self.setup, self.journal, self.loggers = setup, journal, loggers
        self.units = units_of(config)
        self.ledger = Ledger()
        self.tested: dict[str, float] = {}
        self.seconds = 0.0
        self.model: LocalModel
        self.learner: LocalLearner
        self.reference: LocalLearner | None = None
        self.demonstrations: dict[str, list[Sample]] = {}

    def go(self) -> dict[str, float]:
        """Do what is left to do."""
        begun = time.perf_counter()
        if self._is_finished():
            raise ConfigError(f"run {str(self.folder.path)!r} is finished; there is nothing to resume.")
        done, checkpoint = self._resume_point()
        self._prepare(done)
        if checkpoint is not None:
            self._load(checkpoint, reference=self.units[done - 1].phase == "train")
        earlier = self.seconds
        for place in range(done, len(self.units)):
            unit = self.units[place]
            metrics, events = self._do(unit)
            self.seconds = earlier + time.perf_counter() - begun
            self._finish(place, unit, metrics, events)
        self._save_model()
        self.journal.append(Kind.END, {"end": End.DONE, "ledger": self.ledger.as_dict()})
        return self.tested

    # --- the parts --------------------------------------------------------------------------------

    def _do(self, unit: Unit) -> tuple[dict[str, float], list[Trajectory]]:
        """Run one part; return its numbers and the trajectories it made."""
        metrics: dict[str, float] = {}
        made: list[Trajectory] = []
        if unit.phase in WARM_PHASES:
            metrics = self._imitate(unit)
        elif unit.phase == "train":
            if unit.number == 0 and self.config.kl_coefficient:
                self.reference = self.learner.freeze()
            metrics, made = self._iterate(unit.number)
        if self._is_test(unit):
            self.tested, trajectories = held_out(self.setup, self.learner.sampler(), name=_name(unit))
            metrics |= self.tested
            made = made + trajectories
        return metrics, made

    def _is_test(self, unit: Unit) -> bool:
        """Test the untrained model, the imitation, every so many iterations, and the end."""
        if unit == self.units[-1] or unit.phase == "start":
            return True
        following = self.units[self.units.index(unit) + 1]
        if unit.phase in WARM_PHASES:
            return following.phase == "train"
        return (unit.number + 1) % self.config.test_every == 0

    def _imitate(self, unit: Unit) -> dict[str, float]:
        config = self.config
        if unit.phase == "turns":
            updates, batch, rate = config.turn_updates, config.turn_batch, config.turn_learning_rate
        else:
            updates, batch, rate = config.warm_updates, config.warm_batch, config.warm_learning_rate
        parts = min(WARM_PARTS, updates)
        return imitate(
            self.learner,
            self.demonstrations[unit.phase],
            first=updates * unit.number // parts,
            last=updates * (unit.number + 1) // parts,
            updates=updates,
            batch=batch,
            learning_rate=rate,
            seed=seed_of(config.seed, unit.phase),
        )

    def _iterate(self, number: int) -> tuple[dict[str, float], list[Trajectory]]:
        """Roll out, give credit, update."""
        config, seed = self.config, seed_of(self.config.seed, "iteration", number)
        begun = time.perf_counter()
        trajectories = rollout(
            self.setup.hosts,
            self.learner.sampler(),
            jobs_of(self._tasks(number), group_size=config.group_size, prefix=f"i{number}", seed=seed),
            sampling=Sampling(temperature=config.temperature, max_tokens=config.max_tokens),
            limits=self.setup.limits,
            constrain=config.constrain,
            ledger=self.ledger,
        )
        rolled = time.perf_counter()
        metrics = summary(trajectories)
        whole = [one for one in trajectories if one.end not in (End.ERROR, End.CANCELLED) and one.steps]
        if not whole:
            raise WorldError(f"every episode of iteration {number} broke: {reasons(trajectories)}")
        samples, numbers = self._samples(whole, seed)
        metrics |= numbers | update(
            self.learner,
            samples,
            self.method.loss,
            learning_rate=config.learning_rate * scale(config.schedule, number, config.iterations),
            epochs=config.epochs,
            minibatches=min(config.minibatches, len(samples)),
            rng=np.random.default_rng(seed),
            ledger=self.ledger,
        )
        tokens = sum(len(sample.ids) for sample in samples)
        metrics |= {
            "rollout_seconds": rolled - begun,
            "update_seconds": time.perf_counter() - rolled,
            "tokens_per_second": tokens / (time.perf_counter() - begun),
        }
        return metrics, trajectories

    def _tasks(self, number: int) -> list[Task]:
        """Return the tasks of an iteration: fresh ones, from the start again where the split is used up."""
        size = self.setup.world.size("train") or FIRST_DEMONSTRATION
        first = number * self.config.tasks
        return [
            self.setup.world.task("train", index % size) for index in range(first, first + self.config.tasks)
        ]

    def _samples(
        self, trajectories: Sequence[Trajectory], seed: int
    ) -> tuple[list[Sample], dict[str, float]]:
        """Make the learner's samples with their credit; say how good the critic was, where there is one."""
        config = self.config
        critic = Critic(
            template=self.model.template, discount=config.critic_discount, trace=config.critic_trace
        )
        made = credited(
            trajectories,
            self.method.estimator,
            self.learner,
            rng=np.random.default_rng(seed),
            process=config.process,
            parts=config.parts,
            match_rms=config.match_rms,
            critic=critic if config.critic else None,
            tool_output=self.method.tool_output,
        )
        samples = list(made.samples)
        if self.reference is not None:
            scored = self.reference.score(samples)
            samples = [
                replace(sample, reference_weight=sample.policy_weight, reference_logprobs=one.logprobs)
                for sample, one in zip(samples, scored, strict=True)
            ]
        return samples, dict(made.numbers)

    # --- keeping and coming back --------------------------------------------------------------------

    def _finish(
        self, place: int, unit: Unit, metrics: Mapping[str, float], trajectories: Sequence[Trajectory]
    ) -> None:
        """Make a part's checkpoint, then its events in one transaction, then tell the loggers."""
        done = place + 1
        tasks = {one.task.id: one.task for one in trajectories}
        events: list[tuple[Kind, Any]] = [(Kind.TASK, task) for task in tasks.values()]
        for one in trajectories:
            phase = "test" if one.task.split == "test" else unit.phase
            events += [(Kind.STEP, step) for step in one.steps]
            events.append((Kind.TRAJECTORY, ending_of(one, phase=phase, iteration=unit.number)))
        row = {
            "phase": unit.phase,
            "iteration": unit.number,
            **metrics,
            "seconds": self.seconds,
            **self.ledger.as_dict(),
        }
        events.append((Kind.METRICS, row))
        last_of_phase = done == len(self.units) or self.units[done].phase != unit.phase
        if (
            last_of_phase
            or unit.phase in WARM_PHASES
            or (unit.number + 1) % self.config.checkpoint_every == 0
        ):
            checkpoint = self.folder.checkpoint(done)
            self.learner.save(checkpoint / LEARNER)
            if self.reference is not None:
                self.reference.save(checkpoint / REFERENCE)
            state = {
                "done": done,
                "seconds": self.seconds,
                "ledger": self.ledger.as_dict(),
                "tested": self.tested,
            }
            write_json(checkpoint / STATE, state)
            events.append((Kind.CHECKPOINT, {"name": checkpoint.name, "done": done}))
        self.journal.append_many(events)
        self.folder.prune(KEPT_CHECKPOINTS)
        for logger in self.loggers:
            logger.log(place, {name: value for name, value in row.items() if isinstance(value, int | float)})

    def _save_model(self) -> None:
        """Write the final model; a folder of that name is always whole."""
        partial = self.folder.path / f".{self.folder.model.name}.partial"
        for old in (partial, self.folder.model):
            shutil.rmtree(old, ignore_errors=True)
        self.model.save(partial)
        partial.rename(self.folder.model)

    def _is_finished(self) -> bool:
        kinds = [event.kind for event in self.journal.events(kinds=(Kind.END, Kind.RESUMED))]
        return kinds[-1:] == [Kind.END] and self.folder.model.exists()

    def _resume_point(self) -> tuple[int, Path | None]:
        """Return how many parts are done, and the checkpoint to go on from: the newest that the journal names.

        What the journal says of later, unfinished parts is void from here on. A journal that was damaged may
        name none of the checkpoints that are there; then the newest of them is named now.
        """
        named = [(event.seq, event.body) for event in self.journal.events(kinds=(Kind.CHECKPOINT,))]
        complete = {path.name: path for path in self.folder.checkpoints()}
        for seq, body in reversed(named):
            if body["name"] in complete:
                if seq < self.journal.last:
                    self.journal.append(Kind.RESUMED, {"after": seq})
                return body["done"], complete[body["name"]]
        newest = max(complete, default="")
        if named and newest <= named[-1][1]["name"]:
            raise StoreError(
                f"the checkpoints of {str(self.folder.path)!r} are gone: the journal names {named[-1][1]['name']!r}. "
                "Restore that folder, or start a new run."
            )
        if not named and len(complete) < KEPT_CHECKPOINTS:
            # A kill before the first events leaves at most one checkpoint, and nothing is lost.
            return 0, None
        done = _state(complete[newest])["done"]
        self.journal.append(Kind.CHECKPOINT, {"name": newest, "done": done})
        return done, complete[newest]

    def _prepare(self, done: int) -> None:
        """Build model and learner; make the demonstrations (again) where parts of the imitation are left."""
        start, tiny = self.folder.path / START, self.config.model.startswith(TINY)
        known = done > 0 and (not tiny or (start / "config.json").exists())
        needed = not known or any(unit.phase in WARM_PHASES for unit in self.units[done:])
        demonstrations = demonstrate(self.setup, self.ledger) if needed else []
        if known:
            self.model = load_start(self.config, start)
        else:
            self.model = model_of(self.config, demonstrations)
            if tiny:
                shutil.rmtree(start, ignore_errors=True)
                self.model.save(start)
        self.learner = learner_of(self.config, self.model)
        self.demonstrations = {
            "turns": self._encoded(turns_of(demonstrations)) if self.config.turn_updates else [],
            "warm": self._encoded(demonstrations),
        }

    def _encoded(self, demonstrations: Sequence[Trajectory]) -> list[Sample]:
        """Return demonstrations as rows that look exactly like the model's own."""
        constrain, template = self.config.constrain, self.model.template
        return [
            supervised_sample(with_tokens(one, template, constrain=constrain), restrict=True)
            for one in demonstrations
        ]

    def _load(self, checkpoint: Path, *, reference: bool) -> None:
        """Put everything back to where a checkpoint was made."""
        try:
            self.learner.load(checkpoint / LEARNER)
            if reference and self.config.kl_coefficient:
                self.reference = self.learner.freeze()
                self.reference.load(checkpoint / REFERENCE)
            state = _state(checkpoint)
        except StoreError as error:
            raise StoreError(
                f"{error} Or move {str(checkpoint)!r} away: the run then goes on from the checkpoint before it."
            ) from None
        self.seconds, self.tested = state["seconds"], state["tested"]
        self.ledger = Ledger.from_dict(state["ledger"])


def _state(checkpoint: Path) -> dict[str, Any]:
    state = read_json(checkpoint / STATE)
    lacking = {"done", "seconds", "ledger", "tested"} - state.keys()
    if lacking:
        raise StoreError(f"{str(checkpoint / STATE)!r} lacks {min(lacking)!r}; it is damaged.")
    return state


def _name(unit: Unit) -> str:
    return f"{unit.phase}{unit.number}"
