"""The recipes that come with Everystep, by name. A recipe's module is imported when it is asked for.

A recipe is a module with a frozen ``Config`` and ``run(config, folder, loggers)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.core.registry import Registry
from everystep.run.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a recipe is: its system in the list of systems, one line about it, the command that runs it, and the pip extra that it needs."""

    module: str
    system: str | None
    summary: str
    verb: str = "train"
    extra: str = "train"


class Recipe(Protocol):
    """What a recipe's module offers."""

    @property
    def Config(self) -> type[Any]: ...  # noqa: N802 -- the name of a class

    def run(self, config: Any, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]: ...


ENTRIES: tuple[tuple[str, str | None, str, str, str], ...] = (
    # name, system, verb, extra, summary
    ("grpo", None, "train", "train", "The outcome, compared within the group: the baseline."),
    ("ppo", None, "train", "train", "Each step against what a critic foretold: the baseline with a value head."),
    ("gigpo", "S11", "train", "train", "GRPO plus steps compared with steps from the same state."),
    ("srgpo", "S37", "train", "train", "GRPO plus a process reward compared in random blocks of steps."),
    ("istar", "S10", "reproduce", "train,plot", "Step scores of a second model that learns online to prefer the trajectories that succeeded."),
    ("spa_rl", "S12", "reproduce", "train,plot", "A model splits the outcome over the steps; PPO learns from the parts and from what could be executed."),
    ("matchtir", "S44", "train", "train", "Tool calls matched to a reference trace: turn and trajectory level."),
    ("artist", "S01", "train", "train", "Outcome reward over reasoning with tool calls; tool output masked."),
    ("maker", "S40", "reproduce", "train", "A million steps without an error: votes, red flags, a margin from the forecast."),
    ("maker_recursive", "S40", "reproduce", "train", "MAKER's recursive variant: decompose, judge, solve, judge; votes at each."),
    ("agentic_robot", "S36", "reproduce", "train", "The standard action procedure: plan, act, verify every few steps, recover."),
    ("deep_agent", "S08", "reproduce", "train", "A task graph that grows and is mended level by level; tools from repeated work."),
    ("cognitive_kernel", "S30", "reproduce", "train", "A model whose code calls the web, files, memory and itself, in the sandbox."),
    ("prompting_framework", "S33", "reproduce", "train", "What there is on four levels, read from the code, and an import lint."),
    ("being_0", "S25", "reproduce", "train", "A slow planner, fast skills, and a connector that knows what a skill needs."),
    ("responsible_ta", "S18", "reproduce", "train", "Can it be done, was it done, and nothing private leaves: checks around an executor."),
    ("adaptive_autonomy", "S35", "reproduce", "vision,plot", "A person is asked where perception is not reliable: confidence, and how far the images have drifted."),
    ("mobile_agent_e", "S27", "reproduce", "plot", "Five roles on a phone's screens; tips and tried shortcuts that grow from task to task."),
    ("medsam_agent", "S34", "reproduce", "train,medical", "Boxes, clicks and a stop on medical images: imitation, then a score of the outcome and the way to it."),
    ("webstar", "S07", "reproduce", "train,plot", "Imitation of graded steps instead of whole trajectories, as the grader errs more and more."),
    ("steprm", "S07", "reproduce", "train", "A small step reward model takes the place of the judge that it learned from."),
    ("limi", "S23", "reproduce", "train,plot", "Few curated demonstrations against many: the whole curve of both."),
    ("pae", "S20", "reproduce", "train", "Tasks that are proposed, tried, judged; the shortest successes are imitated."),
    ("data_agent", "S16", "reproduce", "data,tools", "Questions to tables at each level of autonomy, L0 to L5, the level read from the journal."),
    ("justask_audit", "S52", "reproduce", "train,smollm", "An audit of one's own agents with planted canaries: what leaks, and which answers can be believed."),
    ("exit", "S39", "reproduce", "train,plot", "What was tried becomes a new task: single revisions learned where groups tell most, many made in a row."),
    ("soar", "S43", "reproduce", "train,plot", "A teacher proposes problems and is paid by what its student gains on hard ones, inner loops charged."),
    ("step_reward_views", "S17", "reproduce", "train,credit", "What step reward models read: views with and without words, trained on pairs of a tree search."),
    ("step", "S03", "reproduce", "train", "A mistake, a reflection and a correction in one trajectory; the loss leaves the mistake out."),
    ("r1_router", "S24", "reproduce", "train", "Which store to ask what, step by step: Step-GRPO against outcome, imitation and static retrieval."),
    ("s3c_math", "S28", "reproduce", "train", "Wrong steps of the model spliced into known solutions, with reflection and improved step; masked or not."),
    ("kat", "S09", "reproduce", "plot", "Think, or answer at once: decision and answer credited apart; distillation with extra heads."),
    ("sport", "S15", "reproduce", "train,credit", "Steps tried from one snapshot, a verifier that sees the results chooses, tuning on its choices."),
    ("mobile_r1", "S47", "reproduce", "train", "Imitation, rewards for single steps, rewards for whole tasks: the stages at equal environment steps."),
    ("seagent", "S22", "reproduce", "train", "Own tasks, good steps reinforced, bad ones pushed away, phase by phase; specialists become a generalist."),
    ("step_gui", "S14", "reproduce", "train,plot", "Seven kinds of items from rollouts; the outcome decides whose actions are imitated, in rounds."),
    ("taskbench", "S42", "reproduce", "credit", "Plans of tool calls: published graphs, gold and model plans; back-instruct with critics; plans checked and mended."),
    ("auto_evolve", "S49", "reproduce", "train", "A reasoning structure for each family of published questions, refined pass by pass; over-fitting checked."),
    ("auto_ui", "S26", "reproduce", "train", "The next action on a screen from the last ones, with a plan of kinds before the decision; then in a real browser."),
    ("supercoder", "S04", "reproduce", "train,smollm", "Code: where an issue is in three levels, whole units rewritten, a regression gate and one retry."),
    ("agent_occam", "S38", "reproduce", "train,smollm", "Pages pruned for a model, a plan that is grown and cut: tokens, what is kept, ranks, success, in a real browser."),
    ("graph_scripts", "S32", "reproduce", "train", "A graph of steps from many observed orders of a task, and the next steps that it foretells."),
)  # fmt: skip
"""The recipes, a line each: name, system, verb of the command line, pip extra, summary."""

RECIPES: Registry[Entry] = Registry("recipe")
for _name, _system, _verb, _extra, _summary in ENTRIES:
    _module = f"everystep.recipes.{_name}"
    RECIPES.add(_name, Entry(module=_module, system=_system, summary=_summary, verb=_verb, extra=_extra))


def recipe(name: str) -> Recipe:
    """Import and return a recipe; a missing package is named with its remedy."""
    entry = RECIPES[name]
    try:
        return cast("Recipe", import_module(entry.module))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("everystep"):
            raise
        raise ConfigError(
            f"recipe {name!r} needs the package {error.name!r}. Install it with: pip install 'everystep[{entry.extra}]'"
        ) from None
