"""Auto-UI (S26): the next action on a screen from the last actions, with a plan of the kinds of the next ones in front of the decision.

Paper: You Only Look at Screens: Multimodal Chain-of-Action Agents (arXiv 2309.11436). Claims: 90 % of the action types and 74 % of the actions right on AITW's 30,000 instructions; without the chain of action less.

Certain (repository): the input is the last 8 full actions, the goal and the screen; the target a plan (kinds of the current and the next actions, 4 at most) and the decision; the whole string is learned, the decision alone scored; taps
are rounded and lift where they touch, drags become one of four scrolls (the released table has left and right equal to up and down: corrected in ``environments.strokes``); the rule of a match. Ours: the data (AITW's screens
are not to be had), the model (the paper's is a FLAN-Alpaca of 60 M and 200 M parameters with image features, sequence to sequence; here a decoder of 0.1 M parameters made on the spot, which sees no picture), a screen as the
lines of MiniWoB++. Not done: pictures, the layout as HTML, AITW's scores.

    EVERYSTEP_DATA=DATA everystep reproduce auto_ui

needs DATA/android_control and, for the second part, the pages of MiniWoB++ and a Chromium. ``history``: AndroidControl's gold episodes, goal and actions only. ``browser``: episodes of the script in eight tasks of
MiniWoB++; the model then clicks, types and scrolls by itself in the browser. All arms of a part have equal updates of equal batches; a plan and a history make their rows longer.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger, Sampling
from everystep.core.records import Task, Trajectory
from everystep.environments.android_acts import KINDS, TEXTED, act_of, command_of, matched
from everystep.environments.android_control import Walk, walks
from everystep.environments.miniwob import MiniWoB
from everystep.evaluate.study import Trial, study
from everystep.learn.writing import Pair, Writer
from everystep.run.action_chain import (
    NONE,
    Chain,
    ChainSampler,
    answer_of,
    decided,
    kind_of,
    pairs_of,
    prompt_of,
)
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

PAGES: Mapping[str, str] = {
    "click-test-2": "click", "click-button-sequence": "click", "click-option": "click", "click-checkboxes": "click",
    "choose-list": "fill in", "enter-text": "fill in", "form-sequence-2": "fill in", "scroll-text-2": "scroll",
}  # fmt: skip
"""Pages of MiniWoB++ that the script knows, by what they ask for."""
PARTS = ("history", "browser")
STEPS = 12
LINE = 120
"""A line of a screen is cut off here: a page's long texts are not what its tasks ask about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Imitation with and without history and plan."""

    parts: str = "history,browser"
    """What is studied: history, browser, or both."""
    data: str = "published"
    """AndroidControl's episodes: published, or the packaged sample."""
    size: str = "0.1M"
    """Size of the models."""
    updates: int = 120
    """Updates of imitation on AndroidControl, 32 rows each."""
    learning_rate: float = 1e-2
    """Peak rate of the imitation."""
    held_out: float = 0.2
    """Share of AndroidControl's episodes that only measure; another fifth for each seed."""
    demonstrations: int = 60
    """Episodes of the script in each task of the browser."""
    browser_updates: int = 450
    """Updates of imitation on the browser's episodes, 16 rows each."""
    tests: int = 4
    """Held-out pages of each task that the model operates."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


CHAINS: Mapping[str, Chain] = {
    f"history {history}, {'plan' if plan else 'no plan'}": Chain(history=history, plan=plan)
    for history in (0, 1, 8)
    for plan in (0, 4)
}
BASELINE = "history 0, no plan"
BROWSED = ("history 0, no plan", "history 0, plan", "history 8, no plan", "history 8, plan")


# --- AndroidControl: no screens -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Split:
    """Episodes to learn from and to measure, and the words that a model knows as such."""

    train: tuple[Walk, ...]
    test: tuple[Walk, ...]
    words: tuple[str, ...]


@lru_cache(maxsize=2)
def split(config: Config, seed: int) -> Split:
    """Divide the episodes; words are known where the training part has them three times."""
    every = list(walks(config.data))
    Random(f"auto_ui {seed}").shuffle(every)
    held = round(config.held_out * len(every))
    train, test = tuple(every[held:]), tuple(every[:held])
    counts = Counter(
        word for one in train for text in (goal_of(one), *commands(one)) for word in text.split()
    )
    frame = (prompt_of(Chain(), done=(), goal=NONE), answer_of(Chain(), "click 5"), " ; ", *KINDS)
    return Split(train, test, (*frame, *(word for word, times in counts.items() if times >= 3)))


def goal_of(walk: Walk) -> str:
    """Return the goal in small letters."""
    return " ".join(walk.goal.lower().split())


def commands(walk: Walk) -> list[str]:
    """Return what was done, as short commands in small letters."""
    return [command_of(step.gold.act).lower() for step in walk.steps]


def foretold(config: Config, chain: Chain, seed: int) -> dict[str, float]:
    """Learn one form of the chain; return how many held-out steps are right, the gold actions before each."""
    parts = split(config, seed)
    pairs = [pair for walk in parts.train for pair in pairs_of(chain, commands(walk), goal=goal_of(walk))]
    writer = Writer.begin(parts.words, size=config.size, seed=seed, max_tokens=48)
    writer.learn(pairs, updates=config.updates, batch=32, learning_rate=config.learning_rate)
    asked = [pair[0] for walk in parts.test for pair in pairs_of(chain, commands(walk), goal=goal_of(walk))]
    return scored(parts.test, [decided(text).decision or "" for text in writer.write(asked)], writer)


def habitual(config: Config, seed: int, *, last: bool) -> dict[str, float]:
    """Say what came most often, behind the kind of the ``last`` action or everywhere."""
    parts = split(config, seed)
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    usual: dict[str, Counter[str]] = defaultdict(Counter)
    for walk in parts.train:
        for before, now in zip(["", *commands(walk)], commands(walk), strict=False):
            seen[kind_of(before) if last else ""][kind_of(now)] += 1
            usual[kind_of(now)][now] += 1
    said = []
    for walk in parts.test:
        for before in ["", *commands(walk)][:-1]:
            kind = seen[kind_of(before) if last else ""].most_common(1)[0][0]
            said.append(usual[kind].most_common(1)[0][0])
    return scored(parts.test, said)


def scored(test: Sequence[Walk], said: Sequence[str], writer: Writer | None = None) -> dict[str, float]:
    """Return the shares of steps that are right by the published check; ``text`` is that of steps that type or open."""
    gold = [step.gold for walk in test for step in walk.steps]
    acts = [act_of(text) for text in said]
    found = [matched(act, one) for act, one in zip(acts, gold, strict=True)]
    texts = [one.action for one, wanted in zip(found, gold, strict=True) if wanted.act.kind in TEXTED]
    return {
        "type": _mean([one.kind for one in found]),
        "action": _mean([one.action for one in found]),
        "text": _mean(texts),
        "unreadable": _mean([act is None for act in acts]),
        "million tokens": 0.0 if writer is None else writer.tokens / 1e6,
    }


# --- a real browser -----------------------------------------------------------------------------------


def shown(text: str) -> str:
    """Return a screen as the model reads it: long lines cut off, and quotes that stand alone, so that a word is one token wherever it stands."""
    lines = (line[:LINE] for line in text.splitlines())
    return "\n".join(re.sub(r'(["#.,=()])', r" \1 ", line) for line in lines)


def pages(which: str, first: int, each: int) -> list[Task]:
    """Return ``each`` tasks of every page, without the instruction: all prompts would begin with it."""
    world = MiniWoB(page=",".join(PAGES), horizon=STEPS)
    start = first * len(PAGES)
    return [replace(world.task(which, start + number), instruction="") for number in range(each * len(PAGES))]


@lru_cache(maxsize=1)
def recorded(config: Config) -> tuple[Trajectory, ...]:
    """Let the script do the training pages; what it did not solve is left out."""
    hosts = LocalHosts(MiniWoB(page=",".join(PAGES), horizon=STEPS))
    jobs = jobs_of(pages("train", 0, config.demonstrations), group_size=1, prefix="script", seed=0)
    made = rollout(
        hosts, demonstrator(hosts), jobs, sampling=Sampling(), limits=Limits(max_steps=STEPS), slots=1
    )
    return tuple(one for one in made if one.success)


def browsed(config: Config, chain: Chain, seed: int) -> dict[str, float]:
    """Learn one form of the chain from the script's episodes; return what the model solves by itself, and its next-step accuracy on held-out episodes."""
    pairs = [pair for one in recorded(config) for pair in episode_pairs(chain, one)]
    texts = [
        text
        for one in recorded(config)
        for step in one.steps
        for text in (shown(step.observation.text), step.action.text)
    ]
    frame = (
        prompt_of(Chain(), done=("click 1", "wait")),
        answer_of(Chain(), "click 0", ["type", "scroll", "select"]),
    )
    writer = Writer.begin((*texts, *frame), size=config.size, seed=seed, max_tokens=48)
    writer.learn(pairs, updates=config.browser_updates, batch=16, learning_rate=config.learning_rate)
    hosts = LocalHosts(MiniWoB(page=",".join(PAGES), horizon=STEPS))
    jobs = jobs_of(pages("test", seed * config.tests, config.tests), group_size=1, prefix="test", seed=seed)
    sampler = ChainSampler(writer.sampler(), chain, show=shown)
    made = rollout(
        hosts, sampler, jobs, sampling=Sampling(temperature=0.0, max_tokens=48), limits=Limits(max_steps=STEPS), constrain=False, slots=1,
    )  # fmt: skip
    solved = {
        page: _mean([bool(one.success) for one in made if one.task.tags["task"] == page]) for page in PAGES
    }
    return {
        "success": _mean(list(solved.values())),
        **{
            kind: _mean([solved[page] for page in PAGES if PAGES[page] == kind])
            for kind in dict.fromkeys(PAGES.values())
        },
        "refused": _mean([not step.action.valid for one in made for step in one.steps]),
        "million tokens": writer.tokens / 1e6,
    }


def episode_pairs(chain: Chain, one: Trajectory) -> list[Pair]:
    """Return the prompts and answers of one episode."""
    screens = [shown(step.observation.text) for step in one.steps]
    return list(pairs_of(chain, [step.action.text for step in one.steps], screens=screens))


# --- the studies --------------------------------------------------------------------------------------


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the parts that are asked for; return the type and action accuracies, and the success in the browser, by arm."""
    parts = config.parts.split(",")
    if not parts or set(parts) - set(PARTS):
        raise ConfigError(f"parts is {config.parts!r}; expected some of {', '.join(PARTS)}.")
    seeds = range(config.seed, config.seed + config.seeds)
    told: dict[str, float] = {}
    if "history" in parts:
        arms: dict[str, Trial] = {
            "most frequent": lambda seed: habitual(config, seed, last=False),
            "transitions": lambda seed: habitual(config, seed, last=True),
            **{name: _trial(foretold, config, chain) for name, chain in CHAINS.items()},
        }
        found = study(arms, seeds=seeds, baseline=BASELINE, folder=folder.path / "history", loggers=loggers)
        told |= {
            f"{key} {one.name}": one.means[key].value for one in found.arms for key in ("type", "action")
        }
    if "browser" in parts:
        arms = {name: _trial(browsed, config, CHAINS[name]) for name in BROWSED}
        found = study(arms, seeds=seeds, baseline=BASELINE, folder=folder.path / "browser", loggers=loggers)
        told |= {f"success {one.name}": one.means["success"].value for one in found.arms}
    return told


def _trial(make: Callable[[Config, Chain, int], dict[str, float]], config: Config, chain: Chain) -> Trial:
    return lambda seed: make(config, chain, seed)


def _mean(values: Sequence[bool | float]) -> float:
    return sum(values) / max(1, len(values))
