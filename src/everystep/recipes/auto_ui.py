"""Auto-UI (S26): the next action on a screen from the last actions, with a plan of the kinds of the next ones in front of the decision.

Paper: You Only Look at Screens: Multimodal Chain-of-Action Agents (arXiv 2309.11436). Claims: 90 % of the action types and 74 % of the actions right on AITW's 30,000 instructions; without the chain of action less.

Certain (repository): the input is the last 8 full actions, the goal and the screen; the target a plan (kinds of the current and the next actions, 4 at most) and the decision; the whole string is learned, the decision alone scored; taps
are rounded and lift where they touch, drags become one of four scrolls (the released table has left and right equal to up and down: corrected in ``environments.phone.strokes``); the rule of a match. Ours: the data (AITW's screens
are not to be had), the model (the paper's is a FLAN-Alpaca of 60 M and 200 M parameters with image features, sequence to sequence; here a decoder of 0.1 M parameters made on the spot, which sees no picture), a screen as the
lines of MiniWoB++. Not done: pictures, the layout as HTML, AITW's scores.

    EVERYSTEP_DATA=DATA everystep reproduce auto_ui

needs DATA/android_control and, for the second part, the pages of MiniWoB++ and a Chromium. ``history``: AndroidControl's gold episodes, goal and actions only. ``browser``: episodes of the script in eight tasks of
MiniWoB++; the model then clicks, types and scrolls by itself in the browser. All arms of a part have equal updates of equal batches; a plan and a history make their rows longer.

Measured (5 seeds, commits 5757987 and c9f4377; docs/recipes/auto_ui.md): kinds right 0.621 without history, 0.652 with one action, 0.639 with eight, 0.628 with eight and the plan, 0.661 by counting transitions; in the browser
0.30 of the tasks without and 0.32 with history and plan, the scrolling one 0.00 and 0.27. The plan does not show; the models are small and trained for less than one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from random import Random
from statistics import fmean

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger, Sampling
from everystep.core.records import Task, Trajectory
from everystep.environments.phone.android_acts import KINDS, act_of
from everystep.environments.phone.android_control import Walk, walks
from everystep.environments.web.miniwob import MiniWoB
from everystep.evaluate.act_metrics import act_shares
from everystep.evaluate.study import Trial, study
from everystep.evolve.habits import habit
from everystep.learn.writing import Pair, Writer, spaced
from everystep.run.action_chain import Chain, ChainSampler, answer_of, decided, kind_of, pairs_of, prompt_of
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout

PARTS = ("history", "browser")
PAGES: Mapping[str, str] = {
    "click-test-2": "click", "click-button-sequence": "click", "click-option": "click", "click-checkboxes": "click",
    "choose-list": "fill in", "enter-text": "fill in", "form-sequence-2": "fill in", "scroll-text-2": "scroll",
}  # fmt: skip
"""Pages of MiniWoB++ that the script knows, by what they ask for."""
MOST_STEPS = 12
CHAINS: Mapping[str, Chain] = {
    "history 0": Chain(history=0, plan=0),
    "history 1": Chain(history=1, plan=0),
    "history 8": Chain(history=8, plan=0),
    "history 8, plan": Chain(history=8, plan=4),
}
BASELINE = "history 0"
BROWSED = ("history 0", "history 8, plan")
FRAME = (prompt_of(Chain(), done=("wait", "wait"), goal="x"), prompt_of(Chain(), done=()), answer_of(Chain(), "click 0"))  # fmt: skip
"""What all prompts and answers share: the model knows these words."""
GREEDY = Sampling(temperature=0.0, max_tokens=48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Imitation with and without history and plan."""

    parts: str = "history,browser"
    """What is studied: history, browser, or both."""
    data: str = "published"
    """AndroidControl's episodes: published, or the packaged sample."""
    size: str = "0.1M"
    """Size of the models."""
    updates: int = 600
    """Updates of imitation on AndroidControl."""
    batch: int = 8
    """Rows of an update."""
    learning_rate: float = 5e-3
    """Peak rate of the imitation."""
    held_out: float = 0.2
    """Share of AndroidControl's episodes that only measure; another fifth for each seed."""
    demonstrations: int = 40
    """Episodes of the script in each task of the browser."""
    browser_updates: int = 800
    """Updates of imitation on the browser's episodes."""
    tests: int = 3
    """Held-out pages of each task that the model operates."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


@lru_cache(maxsize=2)
def split(config: Config, seed: int) -> tuple[list[Walk], list[Walk]]:
    """Return the episodes to learn from, and those that only measure."""
    every = list(walks(config.data))
    Random(f"auto_ui {seed}").shuffle(every)
    held = round(config.held_out * len(every))
    return every[held:], every[:held]


def asked(chain: Chain, some: Sequence[Walk]) -> list[Pair]:
    """Return a prompt and its answer for each step of some episodes, the gold actions before each."""
    return [pair for one in some for pair in pairs_of(chain, one.commands, goal=one.goal.lower())]


def foretold(config: Config, chain: Chain, seed: int) -> dict[str, float]:
    """Learn one form of the chain; return how many held-out steps are right. Words are known where the training part has them three times."""
    train, test = split(config, seed)
    counts = Counter(
        word for one in train for text in (one.goal.lower(), *one.commands) for word in text.split()
    )
    words = (*FRAME, *KINDS, *(word for word, times in counts.items() if times >= 3))
    writer = Writer.begin(words, size=config.size, seed=seed, max_tokens=GREEDY.max_tokens)
    writer.learn(
        asked(chain, train), updates=config.updates, batch=config.batch, learning_rate=config.learning_rate
    )
    said = writer.write([prompt for prompt, _ in asked(chain, test)])
    return scored(test, [decided(text).decision or "" for text in said], writer.tokens)


def habitual(config: Config, seed: int, *, last: bool) -> dict[str, float]:
    """Say what came most often, behind the kind of the ``last`` action or everywhere."""
    train, test = split(config, seed)
    say = habit([one.commands for one in train], kind_of, last=last)
    return scored(test, [say(one.commands[:at]) for one in test for at in range(len(one.steps))])


def scored(test: Sequence[Walk], said: Sequence[str], tokens: int = 0) -> dict[str, float]:
    """Return the shares of steps that are right, and the tokens of the training."""
    gold = [step.gold for one in test for step in one.steps]
    return {**act_shares([act_of(text) for text in said], gold), "million tokens": tokens / 1e6}


def pages(which: str, first: int, each: int) -> list[Task]:
    """Return ``each`` tasks of every page, without the instruction: all prompts would begin with it."""
    world = MiniWoB(page=",".join(PAGES), horizon=MOST_STEPS)
    numbers = range(first * len(PAGES), (first + each) * len(PAGES))
    return [replace(world.task(which, number), instruction="") for number in numbers]


@lru_cache(maxsize=1)
def recorded(config: Config) -> tuple[Trajectory, ...]:
    """Let the script do the training pages; what it did not solve is left out."""
    hosts = LocalHosts(MiniWoB(page=",".join(PAGES), horizon=MOST_STEPS))
    jobs = jobs_of(pages("train", 0, config.demonstrations), group_size=1, prefix="script", seed=0)
    limits = Limits(max_steps=MOST_STEPS)
    made = rollout(hosts, demonstrator(hosts), jobs, sampling=Sampling(), limits=limits, slots=1)
    return tuple(one for one in made if one.success)


def browsed(config: Config, chain: Chain, seed: int) -> dict[str, float]:
    """Learn one form of the chain from the script's episodes; return what the model solves by itself on pages that it has not seen."""
    pairs: list[Pair] = []
    texts = [*FRAME]
    for one in recorded(config):
        screens = [spaced(step.observation.text) for step in one.steps]
        actions = [step.action.text for step in one.steps]
        pairs += pairs_of(chain, actions, screens=screens)
        texts += [*screens, *actions]
    writer = Writer.begin(texts, size=config.size, seed=seed, max_tokens=GREEDY.max_tokens)
    writer.learn(
        pairs, updates=config.browser_updates, batch=config.batch, learning_rate=config.learning_rate
    )
    made = rollout(
        LocalHosts(MiniWoB(page=",".join(PAGES), horizon=MOST_STEPS)),
        ChainSampler(writer.sampler(), chain, show=spaced),
        jobs_of(pages("test", seed * config.tests, config.tests), group_size=1, prefix="test", seed=seed),
        sampling=GREEDY, limits=Limits(max_steps=MOST_STEPS), constrain=False, slots=1,
    )  # fmt: skip
    solved = {
        page: fmean([one.success is True for one in made if one.task.tags["task"] == page]) for page in PAGES
    }
    return {
        "success": fmean([*solved.values()]),
        **{kind: fmean([solved[page] for page in PAGES if PAGES[page] == kind]) for kind in dict.fromkeys(PAGES.values())},
        "refused": fmean([not step.action.valid for one in made for step in one.steps]),
        "million tokens": writer.tokens / 1e6,
    }  # fmt: skip


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the parts that are asked for; return the type and action accuracies, and the success in the browser, by arm."""
    parts = config.parts.split(",")
    if set(parts) - set(PARTS):
        raise ConfigError(f"parts is {config.parts!r}; expected some of {', '.join(PARTS)}.")
    seeds = range(config.seed, config.seed + config.seeds)
    told: dict[str, float] = {}
    if "history" in parts:
        arms: dict[str, Trial] = {
            "most frequent": partial(habitual, config, last=False),
            "transitions": partial(habitual, config, last=True),
            **{name: partial(foretold, config, chain) for name, chain in CHAINS.items()},
        }
        found = study(arms, seeds=seeds, baseline=BASELINE, folder=folder.path / "history", loggers=loggers)
        told |= {
            f"{key} {one.name}": one.means[key].value for one in found.arms for key in ("type", "action")
        }
    if "browser" in parts:
        arms = {name: partial(browsed, config, CHAINS[name]) for name in BROWSED}
        found = study(arms, seeds=seeds, baseline=BASELINE, folder=folder.path / "browser", loggers=loggers)
        told |= {f"success {one.name}": one.means["success"].value for one in found.arms}
    return told
