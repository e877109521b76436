"""The table of methods: the only file that knows their names.

Each row builds an ``Estimator`` from its options. ``paper`` is the published formula, ``released`` what the authors'
code does where it differs. ``docs``: ``everystep.credit.terms`` for the rule that they all share.

>>> estimator("gigpo", weight=0.5).options["weight"]
0.5
>>> [term.key.name for term in estimator("matchtir_hard").terms]
['task', 'task+turn']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.registry import Registry
from everystep.credit import forms
from everystep.credit.terms import Estimator

Build = Callable[..., forms.Form]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A row of the table: what the method is, where it is from, and the options of each variant.

    ``differs`` says how the released code departs from the paper.
    """

    summary: str
    source: str
    build: Build
    variants: Mapping[str, Mapping[str, Any]]
    differs: str = ""


UNDIVIDED = ("centre", "leave_one_out", "none")
"""Comparisons without a deviation: choosing one clears a variant's ``ddof`` and ``eps``."""

METHODS: Registry[Method] = Registry("estimator")
"""All methods by name."""


def estimator(name: str, variant: str = "paper", **overrides: object) -> Estimator:
    """Build a method by name. ``overrides`` replace options of the variant.

    Raises ``ConfigError`` for an unknown name, variant or option, and for an option that would have no effect.
    """
    method = METHODS[name]
    if variant not in method.variants:
        raise ConfigError(
            f"estimator {name!r} has no variant {variant!r}. {did_you_mean(variant, method.variants)}"
        )
    options = dict(method.variants[variant])
    for option in overrides:
        if option not in options:
            raise ConfigError(f"estimator {name!r} has no option {option!r}. {did_you_mean(option, options)}")
    if overrides.get("normaliser") in UNDIVIDED:
        options.update(ddof=None, eps=None)
    options.update(overrides)
    terms, combine = method.build(**options)
    return Estimator(
        name=name,
        variant=variant,
        terms=terms,
        combine=combine,
        source=method.source,
        options=options,
    )


def _method(
    name: str,
    build: Build,
    *,
    summary: str,
    source: str,
    paper: Mapping[str, Any],
    released: Mapping[str, Any] | None = None,
    differs: str = "",
) -> None:
    variants = {"paper": paper} if released is None else {"paper": paper, "released": {**paper, **released}}
    METHODS.add(name, Method(summary=summary, source=source, build=build, variants=variants, differs=differs))


SCALE: dict[str, Any] = {"normaliser": "norm", "ddof": None, "eps": None}
"""Options of a comparison; ``None`` takes its default, or means that it has none."""


PLAIN: dict[str, Any] = {**SCALE, "unit": "trajectory", "singleton": "zero", "penalty": 0.0}

_method(
    "grpo",
    forms.outcome_only,
    summary="The outcome, normalised over the trajectories of the task.",
    source="Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, section 4.1.2",
    paper=PLAIN,
    released={"singleton": "raw"},
    differs="a group of one keeps its raw outcome",
)
_method(
    "dr_grpo",
    forms.outcome_only,
    summary="GRPO without the division by the deviation, which favours tasks with little spread.",
    source="Liu et al. 2025, Understanding R1-Zero-Like Training, arXiv:2503.20783",
    paper={**PLAIN, "normaliser": "centre"},
)
_method(
    "rloo",
    forms.outcome_only,
    summary="The outcome minus the mean outcome of the other trajectories of the task.",
    source="Ahmadian et al. 2024, Back to Basics, arXiv:2402.14740",
    paper={**PLAIN, "normaliser": "leave_one_out"},
    released={"singleton": "raw"},
    differs="a group of one keeps its raw outcome",
)


_method(
    "reinforce++",
    forms.batch_return,
    summary="The return from each step, normalised over the whole batch.",
    source="Hu 2025, REINFORCE++, arXiv:2501.03262",
    paper={"discount": 1.0, **SCALE},
    released={"normaliser": "whiten"},
    differs="divides by sqrt(variance + 1e-8); released code whitens over tokens, here over steps",
)


_method(
    "gigpo",
    forms.two_levels,
    summary="GRPO plus the return compared among steps taken in the same state of the same task.",
    source="Feng et al. 2025, Group-in-Group Policy Optimization, arXiv:2505.10978, eqs. 3-8",
    paper={
        "weight": 1.0,
        "discount": 0.95,
        **PLAIN,
        "similarity": None,
    },
    released={"unit": "step", "singleton": "raw", "penalty": 0.1},
    differs="outcome statistics over step rows, raw lone outcomes, 0.1 off for an invalid action",
)


_method(
    "hgpo",
    forms.history_levels,
    summary="The return compared in nested groups: same state, same state and one before, and so on.",
    source="He et al. 2026, Hierarchy-of-Groups Policy Optimization, arXiv:2602.22817, eqs. 3-7",
    paper={
        "history": 2,
        "alpha": 1.0,
        "discount": 0.95,
        "normaliser": "norm",
        "ddof": 0,
        "eps": None,
        "penalty": 0.0,
        "padded": True,
        "renormalise": False,
        "outcome_level": False,
    },
    released={"padded": False, "renormalise": True, "penalty": 0.1},
    differs=(
        "weights (k + 2)^alpha scaled to one over the levels that are not zero at the step; a step without enough "
        "history has no deeper level. ddof 0 in the paper form and grouping short histories are inferred"
    ),
)


_method(
    "srgpo",
    forms.process_block,
    summary="GRPO plus a state-independent process reward compared inside random blocks of steps.",
    source="SeeNav-Agent: Vision-Language Navigation with Visual Prompt and Step-Level Policy Optimization",
    paper={"score": "progress", "block": 16, "within": "batch", "weight": 0.5, **PLAIN},
    released={"unit": "step", "singleton": "raw", "penalty": 0.1},
    differs="outcome statistics over step rows, raw lone outcomes, 0.1 off for an invalid action",
)


for _solver, _about in (
    ("hard", "assigned one to one with the best total"),
    ("greedy", "assigned one to one, best score first (the released code)"),
    ("soft", "spread over the references by entropic transport"),
):
    _method(
        f"matchtir_{_solver}",
        forms.turn_levels,
        summary=f"Tool calls matched to a reference trace, {_about}; trajectory and turn level in equal parts.",
        source="MatchTIR: Fine-Grained Supervision for Tool-Integrated Reasoning via Bipartite Matching",
        paper={
            "score": f"match_{_solver}",
            "weight": 0.5,
            "discount": 0.9,
            **SCALE,
            "singleton": "zero",
        },
        released={"singleton": "raw"},
        differs="a lone turn index, and a group of one, keep their raw value",
    )


_method(
    "step_grpo",
    forms.same_prompt,
    summary="Each step's own reward, normalised over the samples of the same prompt.",
    source="R1-Router, Step-GRPO (teacher-forced prompts: each prompt is its own group)",
    paper={"score": None, **SCALE, "singleton": "zero"},
    released={"singleton": "raw"},
    differs="a lone sample keeps its raw reward",
)


_method(
    "step_srpo",
    forms.two_segments,
    summary="A mode decision and an answer, each with its own reward on its own segment of the text.",
    source="KAT-V1: Kwai-AutoThink Technical Report, Step-SRPO (the formula is our reading: the paper gives none)",
    paper={
        "judge": "judge",
        "answer": "answer",
        "judge_segment": "judge",
        "answer_segment": "answer",
        "carry": 1.0,
        **SCALE,
        "singleton": "zero",
    },
)


_method(
    "istar",
    forms.implicit_step,
    summary="GRPO plus an implicit step score compared with all steps of the task.",
    source="OPRL (iStar): Online Process Reward Learning for Agentic Reinforcement Learning",
    paper={
        "score": "implicit",
        "weight": 1.0,
        **SCALE,
        "step_unit": "step",
        "singleton": "zero",
        "penalty": 0.0,
    },
    released={"normaliser": "leave_one_out", "step_unit": "first", "singleton": "raw", "penalty": 0.1},
    differs="leave-one-out, step baseline from the first step of each trajectory only, raw lone values",
)


_method(
    "turn_return",
    forms.return_at_turn,
    summary="The return from each turn minus that of the other trajectories at the same turn.",
    source="REINFORCE with a leave-one-out baseline a turn; unbiased, since no trajectory is in its own baseline",
    paper={
        "discount": 1.0,
        **SCALE,
        "normaliser": "leave_one_out",
        "singleton": "raw",
    },
)


_method(
    "branch_monte_carlo",
    forms.branch_value,
    summary="The mean outcome below a step minus the mean outcome below its parent, from branched rollouts.",
    source="Kazemnejad et al. 2024, VinePPO, arXiv:2410.01679, eq. 6, on a shared tree",
    paper={**SCALE, "normaliser": "centre"},
)


_method(
    "gae",
    forms.critic,
    summary="Generalised advantage estimates from a critic's values, whitened over the batch.",
    source="Schulman et al. 2016, arXiv:1506.02438, eq. 16; SPA-RL uses it on its dense rewards",
    paper={
        "discount": 1.0,
        "trace": 0.95,
        "value": "value",
        "value_after": "value_after",
        **SCALE,
        "normaliser": "whiten",
    },
)
