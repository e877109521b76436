"""AgentOccam (S38): show pages and history in a form that fits what a model was trained on, and let it grow and cut a plan.

Paper: AgentOccam, A Simple Yet Strong Baseline for LLM-Based Web Agents (Yang et al. 2024, arXiv 2410.13825). Claim: on WebArena +9.8 points over the best before and +26.6 over the plain agent, by aligning observation and actions alone.

Certain (paper and repository): the actions that are left, branch and prune, the thirteen passes over the accessibility tree, numbers for interactive roles alone, 1000 lines, the history of the active goal with the last three steps in full.
Ours: how each pass is done (``tools.axprune``); numbers also for what listens to clicks (``pruned``; as published: ``pruned by role``); pages: MiniWoB++ and local sites made here (``environments.web.sites``); the contestant, a model of 0.06 M
parameters that imitates the script. Not done: WebArena itself, a large model, the judge with a model (its rule is ``run.vote.Judged``).

    everystep reproduce agent_occam --seeds 3

Measured (docs/recipes/agent_occam.md): 17 % of the tokens on local sites, 33 % on MiniWoB++, no target dropped (by role alone 59 of 266 on MiniWoB++); history of the active goal 18 % shorter than of all steps; neither more success nor better ranks show. It needs a Chromium, the pages of MiniWoB++ and, for ``pages``, ``history`` and ``rank``, SmolLM2-135M (its tokenizer counts). ``pages``: tokens of every form, and what became of each element that the known way acts on. ``history``: tokens of prompts on
ways with a detour. ``contest``: equal models, updates and batches, each shown the pages in one form. ``rank``: where SmolLM2-135M puts the right element among all that can be acted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from random import Random

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger, Sampling, World
from everystep.core.records import Trajectory
from everystep.environments.web.miniwob import MiniWoB, names
from everystep.environments.web.sites import WebSites, goal_names
from everystep.evaluate.intervals import bootstrap_mean, paired_difference
from everystep.evaluate.shown_history import prompt_tokens
from everystep.evaluate.shown_pages import FORMS, page_report
from everystep.evaluate.study import Trial, study
from everystep.learn.element_rank import rank_of
from everystep.learn.samples import supervised_sample
from everystep.learn.student import Student
from everystep.learn.warm import turns_of
from everystep.models.local import LocalModel, load
from everystep.models.smollm import NAME
from everystep.run.afresh import Afresh, without_instruction
from everystep.run.aims import picked, ways
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder, write_json
from everystep.run.hosts import LocalHosts
from everystep.run.measure import summary
from everystep.run.rollout import Limits, jobs_of, rollout, seed_of

PARTS = ("pages", "history", "contest", "rank")
SHOWN: Mapping[str, tuple[str, bool]] = {
    "raw tree": ("raw", False), "pruned tree": ("pruned", False), "numbered lines": ("lines", False), "pruned tree, as many tokens": ("pruned", True),
}  # fmt: skip
"""The arms of the contest: the observation, and whether updates are added until as many tokens are read as of the raw tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Pages as they are and pruned: tokens, what is kept, history, success, ranks."""

    parts: str = ",".join(PARTS)
    """What is measured, with commas."""
    pages: str = "click-button,click-link,click-test-2,click-tab,click-option,click-widget,click-dialog-2,click-checkboxes"
    """Tasks of MiniWoB++ in the contest."""
    size: str = "0.05M"
    """Size of the contest's model."""
    demonstrations: int = 240
    """Episodes of the script that are imitated."""
    updates: int = 400
    """Updates of imitation."""
    learning_rate: float = 6e-3
    """Peak rate of the imitation."""
    test_tasks: int = 64
    """Held-out episodes of a seed."""
    page_seeds: int = 1
    """Seeds of every page and goal whose tokens are counted."""
    clicks: int = 4
    """Wrong clicks of a detour."""
    rank_steps: int = 60
    """Steps whose right element is ranked, half of MiniWoB++ and half of the local sites."""
    rank_tokens: int = 2048
    """The longest prompt of the ranking; longer ones lose their middle."""
    seeds: int = 5
    """Paired seeds of the contest."""
    seed: int = 0
    """The first seed."""


@cache
def smollm() -> LocalModel:
    """Return SmolLM2-135M."""
    return load(NAME)


def count(text: str) -> int:
    """Return the tokens that SmolLM2 makes of a text."""
    return len(smollm().template.encode(text))


def world_of(source: str) -> tuple[World, int]:
    """Return the local sites or MiniWoB++ with raw trees, and the number of their tasks."""
    return (WebSites(observation="raw"), len(goal_names())) if source == "sites" else (MiniWoB(observation="raw"), len(names()))  # fmt: skip


# --- the parts ------------------------------------------------------------------------------------


def pages(config: Config, folder: RunFolder) -> dict[str, float]:
    """Count the tokens of pages in each form, and what became of the elements that are acted on."""
    lines: list[str] = []
    told: dict[str, float] = {}
    for source in ("sites", "miniwob"):
        world, number = world_of(source)
        more, numbers = page_report(
            source,
            [aim for way in ways(world, range(config.page_seeds * number)) for aim in way],
            count,
        )
        lines, told = lines + more, told | numbers
    return _kept(folder, "pages", lines, told)


def history(config: Config, folder: RunFolder) -> dict[str, float]:
    """Count the tokens of prompts on known ways behind a detour that is given up."""
    worlds = {kind: WebSites(history=kind) for kind in ("none", "active", "all")}
    rows: dict[str, list[float]] = {}
    for index in range(len(goal_names())):
        for name, sizes in prompt_tokens(worlds, index, count, clicks=config.clicks).items():
            rows.setdefault(name, []).extend(map(float, sizes))
    lines = [f"{name}: {bootstrap_mean(sizes)} tokens a step, {len(sizes)} steps; less all {paired_difference(sizes, rows['all'])}" for name, sizes in rows.items()]  # fmt: skip
    return _kept(folder, "history", lines, {f"history {name}": bootstrap_mean(sizes).value for name, sizes in rows.items()})  # fmt: skip


def _kept(folder: RunFolder, name: str, lines: Sequence[str], told: dict[str, float]) -> dict[str, float]:
    (folder.path / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return told


@lru_cache(maxsize=4)
def shown_to(config: Config, observation: str) -> list[Trajectory]:
    """Return the script's episodes with the pages in one form."""
    world = MiniWoB(page=config.pages, observation=observation)
    hosts = LocalHosts(world)
    tasks = without_instruction([world.task("train", index) for index in range(config.demonstrations)])
    made = rollout(
        hosts, demonstrator(hosts), jobs_of(tasks, group_size=1, prefix="demo", seed=0), sampling=Sampling(), limits=Limits(max_steps=10), slots=1
    )  # fmt: skip
    hosts.close()
    return turns_of([one for one in made if one.success])


def contest(config: Config, observation: str, equal_tokens: bool, seed: int) -> dict[str, float]:
    """Imitate the script's steps in one form of page; return success on held-out episodes in the browser."""
    texts = [text for form in ("raw", "pruned", "lines") for one in shown_to(config, form) for step in one.steps for text in (step.observation.text, step.action.text)]  # fmt: skip
    world = MiniWoB(page=config.pages, observation=observation)
    student = Student.begin(world, texts, size=config.size, seed=seed, constrain=False, context=4096)
    samples = [supervised_sample(one) for one in student.written(shown_to(config, observation))]
    length = sum(len(one.ids) for one in samples) / len(samples)
    whole = [len(one.ids) for one in map(supervised_sample, student.written(shown_to(config, "raw")))]
    more = sum(whole) / len(whole) / length if equal_tokens else 1.0
    student.imitate(samples, updates=round(config.updates * more), learning_rate=config.learning_rate)
    tasks = without_instruction([world.task("test", seed * config.test_tasks + index) for index in range(config.test_tasks)])  # fmt: skip
    made = rollout(
        student.hosts, Afresh(student.sampler()), jobs_of(tasks, group_size=1, prefix="test", seed=seed_of(seed, "test")),
        sampling=Sampling(temperature=0.0, max_tokens=12), limits=Limits(max_steps=8, invalid=2), constrain=False, slots=2,
    )  # fmt: skip
    student.hosts.close()
    found = summary(made)
    return {"success": found["success"], "invalid": found["invalid"], "prompt tokens": length, "updates": round(config.updates * more)}  # fmt: skip


def rank(config: Config, folder: RunFolder) -> dict[str, float]:
    """Ask SmolLM2-135M which element comes next, in each form, among all that can be acted on by role."""
    lines, told = [], {}
    for source in ("miniwob", "sites"):
        some = picked(*world_of(source), config.rank_steps // 2, Random(config.seed))
        found = {form: [rank_of(smollm(), aim, FORMS[form], most=config.rank_tokens) for aim in some] for form in ("raw", "pruned")}  # fmt: skip
        for key in ("reciprocal rank", "log share", "first"):
            by = {form: [one[key] for one in rows] for form, rows in found.items()}
            gain = paired_difference(by["pruned"], by["raw"])
            lines.append(f"{source} {key}: raw {bootstrap_mean(by['raw'])}, pruned {bootstrap_mean(by['pruned'])}, difference {gain}, {len(some)} steps, raw cut in {sum(one['cut'] for one in found['raw']):.0f}")  # fmt: skip
            told[f"{source} {key} gain"] = gain.value
    return _kept(folder, "rank", lines, told)


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Measure the chosen parts."""
    chosen = config.parts.split(",")
    if unknown := [one for one in chosen if one not in PARTS]:
        raise ConfigError(f"agent_occam has no part {unknown[0]!r}; parts: {', '.join(PARTS)}.")
    told: dict[str, float] = {}
    for name, part in (("pages", pages), ("history", history), ("rank", rank)):
        if name in chosen:
            told |= part(config, folder)
    if "contest" in chosen:
        arms: dict[str, Trial] = {name: partial(contest, config, *shown) for name, shown in SHOWN.items()}
        seeds = range(config.seed, config.seed + config.seeds)
        made = study(arms, seeds=seeds, baseline="raw tree", folder=folder.path, loggers=loggers)
        told |= {f"success {one.name}": one.means["success"].value for one in made.arms}
    write_json(folder.path / "numbers.json", told)
    return told
