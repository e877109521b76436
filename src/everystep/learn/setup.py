"""What a training run is made of, built from its options: world, hosts, model, learner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from everystep.core.errors import ConfigError
from everystep.core.protocols import World
from everystep.core.records import Trajectory
from everystep.environments.catalog import world
from everystep.learn.config import Training
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.models.local import LocalModel, LocalSampler, load
from everystep.models.lora import load_lora, with_lora
from everystep.models.tiny import tiny_model
from everystep.run.folder import read_json
from everystep.run.hosts import Hosts, LocalHosts, WorkerHosts
from everystep.run.rollout import Limits

TINY = "tiny:"


@dataclass(slots=True, kw_only=True)
class Setup:
    """The parts of a run that are built once."""

    config: Training
    world: World
    hosts: Hosts
    limits: Limits


def setup_of(config: Training) -> Setup:
    """Build the world and its hosts."""
    chosen = world(config.environment, **config.options)
    hosts = WorkerHosts(chosen, workers=config.workers) if config.workers else LocalHosts(chosen)
    limits = Limits(max_steps=config.max_steps or chosen.max_steps)
    return Setup(config=config, world=chosen, hosts=hosts, limits=limits)


def model_of(config: Training, demonstrations: Iterable[Trajectory]) -> LocalModel:
    """Build or load the model. A tiny one gets its words from the demonstrations."""
    if not config.model.startswith(TINY):
        return _adapted(config, loaded(config.model, device=config.device))
    texts = sorted(texts_of(demonstrations))
    if not texts:
        raise ConfigError(
            "a tiny model learns its words from demonstrations, and there are none. "
            "Set demonstrations above 0, or name a checkpoint."
        )
    size = config.model.removeprefix(TINY)
    return tiny_model(texts, size=size, seed=config.seed, device=config.device)


def texts_of(trajectories: Iterable[Trajectory]) -> set[str]:
    """Return every text that an agent reads or may write in these trajectories."""
    texts: set[str] = set()
    for trajectory in trajectories:
        texts.add(trajectory.task.instruction)
        for step in trajectory.steps:
            texts.add(step.observation.text)
            texts.add(step.action.text)
            texts.update(step.observation.admissible or ())
    return texts - {""}


def learner_of(config: Training, model: LocalModel) -> LocalLearner:
    """Build the learner over a model; every call of its ``sampler`` starts with an empty cache."""
    return LocalLearner(
        model.adapter or model.network,
        options=LocalOptions(
            packing=config.packing,
            tokens_per_batch=config.tokens_per_batch,
            bf16=config.bf16,
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            value_head=config.critic > 0,
        ),
        make_sampler=lambda policy: LocalSampler(model, policy=policy),
    )


def load_start(config: Training, folder: Path) -> LocalModel:
    """Load the model that a run started from."""
    if config.model.startswith(TINY):
        return load(str(folder), device=config.device)
    return _adapted(config, loaded(config.model, device=config.device))


def loaded(name: str | Path, *, device: str) -> LocalModel:
    """Load a model by its folder or name; a folder of adapters brings the model that they belong to."""
    adapter = Path(name) / "adapter_config.json"
    if not adapter.is_file():
        return load(name, device=device)
    base = read_json(adapter).get("base_model_name_or_path")
    return load_lora(load(str(base), device=device), Path(name))


def _adapted(config: Training, model: LocalModel) -> LocalModel:
    """Put fresh adapters into a model that has none, where they are asked for."""
    if not config.lora_rank or model.adapter is not None:
        return model
    return with_lora(model, rank=config.lora_rank, seed=config.seed)
