"""A small model that learns in a world, and the verbs that experiments on learning are written in.

A recipe's loop (stages, phases, rounds, inner loops, replay) is plain Python over these verbs. Whatever random there is derives from the student's
seed and the number of the call, so the same calls give the same student. ``training`` is the one loop that survives a kill.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from everystep.core.errors import ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Loss, Sampler, Sampling, World
from everystep.core.records import End, Sample, Step, Task, Trajectory
from everystep.credit.terms import Estimator
from everystep.learn.credited import Credited, Critic, credited
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.learn.policy import update
from everystep.learn.warm import imitate
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.tiny import Shape, tiny_model
from everystep.run.demonstrate import demonstrator, with_tokens
from everystep.run.hosts import LocalHosts
from everystep.run.measure import reasons, summary
from everystep.run.rollout import Job, Limits, jobs_of, rollout, seed_of


class Student:
    """A model, its learner and a world. ``ledger`` counts what learning cost; tests are not counted.

    ``constrain`` chooses among admissible actions where the world lists them; otherwise an answer has at most ``max_tokens``.
    """

    def __init__(
        self,
        world: World,
        model: LocalModel,
        *,
        seed: int = 0,
        constrain: bool = True,
        max_tokens: int = 32,
        max_steps: int | None = None,
        critic: bool = False,
    ) -> None:
        self.world, self.model, self.seed = world, model, seed
        self.constrain, self.max_tokens = constrain, max_tokens
        self.limits = Limits(max_steps=max_steps or world.max_steps)
        self.hosts = LocalHosts(world)
        self.ledger = Ledger()
        self.learner = LocalLearner(
            model.adapter or model.network,
            options=LocalOptions(value_head=critic),
            make_sampler=lambda policy: LocalSampler(model, policy=policy),
        )
        self._critic = Critic(template=model.template) if critic else None
        self._calls = 0

    @classmethod
    def begin(
        cls,
        world: World,
        texts: Iterable[str],
        *,
        size: str | Shape = "0.1M",
        seed: int = 0,
        constrain: bool = True,
        max_tokens: int = 32,
        max_steps: int | None = None,
        critic: bool = False,
        context: int = 1024,
    ) -> Student:
        """Return an untrained tiny model that can read and write the words of ``texts`` (see ``setup.texts_of``)."""
        return cls(
            world,
            tiny_model(sorted(set(texts) - {""}), size=size, seed=seed, context=context),
            seed=seed,
            constrain=constrain,
            max_tokens=max_tokens,
            max_steps=max_steps,
            critic=critic,
        )

    def copy(self, *, world: World | None = None) -> Student:
        """Return an independent student with the same weights and optimiser, in the same world or another one; its ledger is empty."""
        if self.model.adapter is not None:
            raise ConfigError("a student with adapters cannot be copied. Save its adapter and load it twice.")
        made = Student(
            world or self.world,
            replace(self.model, network=copy.deepcopy(self.model.network)),
            seed=self.seed,
            constrain=self.constrain,
            max_tokens=self.max_tokens,
            max_steps=self.limits.max_steps if world is None else None,
            critic=self._critic is not None,
        )
        made.learner.restore(self.learner.snapshot())
        made._calls = self._calls
        return made

    def sampler(self) -> Sampler:
        """Return a sampler that reads the current weights."""
        return self.learner.sampler()

    # --- acting -------------------------------------------------------------------------------------

    def demonstrate(
        self, tasks: Sequence[Task], *, error_rate: float = 0.0, habit: str | None = None, name: str = "demo"
    ) -> list[Trajectory]:
        """Let the world's oracle do ``tasks``, or a clumsy one (see ``run.demonstrate``); return trajectories with this model's tokens."""
        shown = rollout(
            self.hosts,
            demonstrator(self.hosts, error_rate=error_rate, habit=habit),
            jobs_of(tasks, group_size=1, prefix=name, seed=seed_of(self.seed, name)),
            sampling=Sampling(),
            limits=self.limits,
        )
        self.ledger.add(demonstrations=len(shown))
        return self.written(_whole(shown))

    def written(self, trajectories: Iterable[Trajectory]) -> list[Trajectory]:
        """Return ``trajectories`` of whatever origin as if this model had written their answers: with its tokens."""
        return [with_tokens(one, self.model.template, constrain=self.constrain) for one in trajectories]

    def attempt(
        self, tasks: Sequence[Task], *, group_size: int = 1, temperature: float = 1.0, name: str = ""
    ) -> list[Trajectory]:
        """Try every task ``group_size`` times; return the episodes that did not break, groups together. Charged to the ledger."""
        call = self._call()
        jobs = jobs_of(
            tasks,
            group_size=group_size,
            prefix=name or f"attempt{call}",
            seed=seed_of(self.seed, "attempt", call),
        )
        return self.run(jobs, temperature=temperature)

    def attempt_from(
        self,
        starts: Sequence[tuple[Task, tuple[Step, ...]]],
        *,
        group_size: int = 1,
        steps: int | None = None,
        temperature: float = 1.0,
        name: str = "",
    ) -> list[Trajectory]:
        """Like ``attempt``, each group behind its own steps that were taken before (with this model's tokens), for up to ``steps`` more."""
        call = self._call()
        name, seed = name or f"attempt{call}", seed_of(self.seed, "attempt", call)
        jobs = [
            Job(
                id=f"{name}.{number}.{sample}",
                task=task,
                group=f"{name}.{number}",
                sample=sample,
                seed=seed_of(seed, number, sample),
                prefix=before,
                steps=steps,
            )
            for number, (task, before) in enumerate(starts)
            for sample in range(group_size)
        ]
        return self.run(jobs, temperature=temperature)

    def run(self, jobs: Sequence[Job], *, temperature: float = 1.0) -> list[Trajectory]:
        """Run jobs; return the episodes that did not break. Charged to the ledger."""
        return _whole(self._roll(jobs, temperature, self.ledger))

    def test(
        self, tasks: Sequence[Task], *, temperature: float = 0.0, name: str = "test"
    ) -> tuple[dict[str, float], list[Trajectory]]:
        """Try every task once, with the same seeds at every test; return success, reward, steps and the episodes. Not charged."""
        jobs = jobs_of(tasks, group_size=1, prefix=name, seed=seed_of(self.seed, "test"))
        tried = self._roll(jobs, temperature, Ledger())
        return summary(tried), _whole(tried)

    def _roll(self, jobs: Sequence[Job], temperature: float, ledger: Ledger) -> list[Trajectory]:
        return rollout(
            self.hosts,
            self.sampler(),
            jobs,
            sampling=Sampling(temperature=temperature, max_tokens=self.max_tokens),
            limits=self.limits,
            constrain=self.constrain,
            ledger=ledger,
        )

    # --- learning -----------------------------------------------------------------------------------

    def imitate(
        self, samples: Sequence[Sample], *, updates: int, batch: int = 16, learning_rate: float = 4e-3
    ) -> dict[str, float]:
        """Do ``updates`` of weighted cross-entropy on random batches, the rate warmed up and falling to zero."""
        if not samples:
            raise ConfigError("there is nothing to imitate: no samples were given.")
        before = self.learner.updates
        numbers = imitate(
            self.learner,
            samples,
            first=0,
            last=updates,
            updates=updates,
            batch=batch,
            learning_rate=learning_rate,
            seed=seed_of(self.seed, "imitate", self._call()),
        )
        self.ledger.add(updates=self.learner.updates - before)
        return numbers

    def credited(
        self,
        trajectories: Sequence[Trajectory],
        estimator: Estimator,
        *,
        scores: Mapping[str, npt.ArrayLike] | None = None,
        process: Mapping[str, float] | None = None,
        parts: Mapping[str, float] | None = None,
        match_rms: float | None = None,
        segment: Callable[[Step], str] | None = None,
    ) -> Credited:
        """Give every step its credit and make the samples of a policy loss; see ``learn.credited``."""
        return credited(
            trajectories,
            estimator,
            self.learner,
            rng=np.random.default_rng(seed_of(self.seed, "credit", self._call())),
            scores=scores,
            process=process,
            parts=parts,
            match_rms=match_rms,
            critic=self._critic,
            segment=segment,
        )

    def reinforce(
        self,
        trajectories: Sequence[Trajectory],
        estimator: Estimator,
        loss: Loss,
        *,
        learning_rate: float,
        scores: Mapping[str, npt.ArrayLike] | None = None,
        process: Mapping[str, float] | None = None,
        parts: Mapping[str, float] | None = None,
        match_rms: float | None = None,
        segment: Callable[[Step], str] | None = None,
        epochs: int = 1,
        minibatches: int = 1,
    ) -> dict[str, float]:
        """Credit ``trajectories`` and update on them; return the mean of the numbers."""
        made = self.credited(
            trajectories,
            estimator,
            scores=scores,
            process=process,
            parts=parts,
            match_rms=match_rms,
            segment=segment,
        )
        numbers = self.fit(
            made.samples, loss, learning_rate=learning_rate, epochs=epochs, minibatches=minibatches
        )
        return dict(made.numbers) | numbers

    def fit(
        self,
        samples: Sequence[Sample],
        loss: Loss,
        *,
        learning_rate: float,
        epochs: int = 1,
        minibatches: int = 1,
    ) -> dict[str, float]:
        """Pass ``epochs`` times over ``samples`` of any kind in ``minibatches`` shuffled parts; the samples of a pair stay together."""
        if not samples:
            return {}
        return update(
            self.learner,
            samples,
            loss,
            learning_rate=learning_rate,
            epochs=epochs,
            minibatches=minibatches,
            rng=np.random.default_rng(seed_of(self.seed, "fit", self._call())),
            ledger=self.ledger,
        )

    def _call(self) -> int:
        self._calls += 1
        return self._calls


def _whole(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Leave out episodes that broke; raise where all did."""
    whole = [one for one in trajectories if one.end not in (End.ERROR, End.CANCELLED) and one.steps]
    if trajectories and not whole:
        raise WorldError(f"every episode broke: {reasons(trajectories)}")
    return whole
