"""What a page shows, as JSON values: from a trace, a config and a credit estimator.

Everything here is data; how it looks is the business of ``assets``. Numbers that are not finite become
``None`` and a note, since JSON has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from everystep.app.page_choice import choose
from everystep.core.ledger import Ledger
from everystep.core.records import Action, SpanKind, Step, Task, TokenRecord, Verdict
from everystep.core.trace import Ending, Trace

TEXT_LIMIT = 20_000
"""Characters of one text that a page keeps."""
TOKEN_LIMIT = 8_000
"""Tokens of one step that a page keeps."""
CHOICE_LIMIT = 100
"""Admissible actions of one step that a page keeps."""
INDEX_LIMIT = 50_000
"""Episodes that the table lists."""
METRICS_LIMIT = 5_000
"""Rows of metrics that the curves keep."""

COUNTERS = tuple(f.name for f in fields(Ledger))
_ALIASES = {"heldout_greedy_success": "heldout_greedy", "tokens_per_s": "tokens_per_second"}
INDEX = (
    "id",
    "phase",
    "iteration",
    "task",
    "group",
    "outcome",
    "success",
    "steps",
    "end",
    "seed",
    "error",
    "stored",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReason:
    """The credit of one step with the terms that it adds up from."""

    value: float
    terms: tuple[Mapping[str, Any], ...] = ()
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Credit for a page: by trajectory and step, with the estimator's name and its formula in words.

    Without an estimator ``missing`` says why there is no credit.
    """

    estimator: str = ""
    formula: str = ""
    missing: str = "No credit: this page was written without an estimator."
    note: str | None = None
    steps: Mapping[tuple[str, str], StepReason] = field(default_factory=dict)


Explain = Callable[[Trace, frozenset[tuple[str, int]]], Reasons]
"""Computes the credit of all episodes of the given (phase, iteration) pairs."""


def page_data(
    trace: Trace,
    *,
    name: str,
    config: Mapping[str, Any],
    explain: Explain,
    word: Callable[[int], str] | None,
    episodes: int,
) -> dict[str, Any]:
    """Return everything that the page of a run holds. ``word`` gives the text of a token id."""
    listed = choose(trace.endings.values(), INDEX_LIMIT)
    endings = [ending for ending in trace.endings.values() if ending.id in listed]
    stored = choose(endings, episodes)
    picked = [ending for ending in endings if ending.id in stored]
    reasons = explain(trace, frozenset((ending.phase, ending.iteration) for ending in picked))
    tasks = {task: number for number, task in enumerate(dict.fromkeys(ending.task for ending in endings))}
    shown_tasks = {ending.task for ending in picked}
    metrics, notes = _metrics(trace.metrics)
    if len(listed) < len(trace.endings):
        notes.append(f"The table lists {len(listed)} of {len(trace.endings)} episodes, in whole groups.")
    if len(stored) < len(endings):
        notes.append(
            f"This page holds the steps of {len(stored)} of {len(trace.endings)} episodes: whole groups of the first, "
            "the last and some iterations between. All of them are in the journal."
        )
    if reasons.note is not None:
        notes.append(reasons.note)
    details = [_episode(trace, ending, reasons) for ending in picked]
    return {
        "name": name,
        "summary": _summary(trace, config),
        "tiles": _tiles(trace, metrics),
        "config": [[key, value] for key, value in _flat({**trace.run, **config})],
        "ledger": [[key.replace("_", " "), count] for key, count in _ledger(trace, metrics)],
        "counters": list(COUNTERS),
        "notes": notes,
        "metrics": metrics,
        "total": len(trace.endings),
        "stored": len(stored),
        "estimator": reasons.estimator,
        "formula": reasons.formula,
        "nocredit": reasons.missing,
        "tasks": [_task(trace.tasks[task], full=task in shown_tasks) for task in tasks],
        "index": {"fields": list(INDEX), "rows": [_row(trace, one, tasks, stored) for one in endings]},
        "episodes": details,
        "words": _words(details, word),
    }


def _row(trace: Trace, ending: Ending, tasks: Mapping[str, int], stored: set[str]) -> list[Any]:
    steps = 0 if ending.leaf is None else trace.steps[ending.leaf].index + 1
    return [
        ending.id, ending.phase, ending.iteration, tasks[ending.task], ending.group, _finite(ending.outcome),
        ending.success, steps, ending.end.value, str(ending.seed), ending.error, ending.id in stored,
    ]  # fmt: skip


def _task(task: Task, *, full: bool) -> dict[str, Any]:
    more = [*_flat({"config": task.config}), *_flat({"tags": task.tags})]
    if task.reference is not None:
        more.append(("reference", clipped(str(task.reference))))
    return {
        "id": task.id,
        "instruction": clipped(task.instruction, TEXT_LIMIT if full else 160),
        "environment": task.environment,
        "seed": task.seed,
        "split": task.split,
        "more": [list(pair) for pair in more] if full else [],
    }


def _episode(trace: Trace, ending: Ending, reasons: Reasons) -> dict[str, Any]:
    steps = trace.walk(ending.leaf)
    about_all = trace.verdicts.get(ending.id, [])
    rest = 0.0
    rests = []
    for step in reversed(steps):
        rest += step.reward or 0.0
        rests.append(rest)
    return _present(
        id=ending.id,
        final=clipped(ending.final.text) if ending.final is not None else None,
        verdicts=[_verdict(one) for one in about_all] or None,
    ) | {
        "steps": [
            _step(step, togo, trace.verdicts.get(step.id, []), reasons.steps.get((ending.id, step.id)))
            for step, togo in zip(steps, reversed(rests), strict=True)
        ]
    }


def _step(step: Step, rest: float, verdicts: Sequence[Verdict], why: StepReason | None) -> dict[str, Any]:
    seen = step.observation
    return _present(
        index=step.index,
        id=step.id,
        agent=step.agent if step.agent != "agent" else None,
        observation=clipped(seen.text),
        anchor=clipped(seen.anchor, 500) if seen.anchor is not None else None,
        admissible=None if seen.admissible is None else [clipped(one, 500) for one in seen.admissible[:CHOICE_LIMIT]],
        choices=None if seen.admissible is None else len(seen.admissible),
        action=clipped(step.action.text),
        valid=None if step.action.valid else False,
        reason=step.action.reason,
        calls=_calls(step.action),
        stop=step.stop.value,
        reward=_finite(step.reward),
        rest=_finite(rest),
        scores={key: _finite(value) for key, value in step.scores.items()} or None,
        verdicts=[_verdict(one) for one in verdicts] or None,
        tokens=None if step.tokens is None else _tokens(step.tokens),
        credit=None if why is None else _finite(why.value),
        terms=None if why is None else [_rounded(term) for term in why.terms],
        after=None if why is None else why.after,
    )  # fmt: skip


def _calls(action: Action) -> list[str] | None:
    return [
        clipped(
            f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})", 2_000
        )
        for call in action.calls
    ] or None


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return _present(
        judge=verdict.judge,
        score=_finite(verdict.score),
        low=verdict.low,
        high=verdict.high,
        label=verdict.label,
        reason=None if verdict.reason is None else clipped(verdict.reason),
        evidence=list(verdict.evidence) or None,
        sees_future=verdict.sees_future or None,
    )


def _tokens(record: TokenRecord) -> dict[str, Any]:
    """Token streams, cut at ``TOKEN_LIMIT``; log-probabilities to four places, allowed sets as their sizes."""
    sampled = sum(span.end - span.start for span in record.spans if span.kind is SpanKind.SAMPLED)
    allowed = None if record.allowed is None else [len(one) for one in record.allowed[:sampled]][:TOKEN_LIMIT]
    return _present(
        ids=list(record.ids[:TOKEN_LIMIT]),
        spans=[[span.start, span.end, span.kind.value, span.weight] for span in record.spans],
        logprobs=[_finite(value, 4) for value in record.logprobs[:TOKEN_LIMIT]],
        allowed=allowed,
        temperature=record.temperature,
        policy=record.policy or None,
        count=len(record.ids),
    )


def _words(episodes: Sequence[Mapping[str, Any]], word: Callable[[int], str] | None) -> list[list[Any]]:
    if word is None:
        return []
    used = {
        token for one in episodes for step in one["steps"] for token in step.get("tokens", {}).get("ids", ())
    }
    return [[token, word(token)] for token in sorted(used)]


def _metrics(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows of numbers, thinned if there are very many, and notes on what was left out."""
    notes: list[str] = []
    if len(rows) > METRICS_LIMIT:
        every = math.ceil(len(rows) / METRICS_LIMIT)
        rows = [
            row
            for at, row in enumerate(rows)
            if at % every == 0 or at == len(rows) - 1 or "heldout_success" in row
        ]
        notes.append(f"The curves show one row of numbers in {every}, and every evaluation.")
    clean = []
    broken: dict[str, list[str]] = {}
    for row in rows:
        kept: dict[str, Any] = {}
        for given, value in row.items():
            key = _ALIASES.get(given, given)
            if key == "phase":
                kept[key] = str(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                if math.isfinite(value):
                    kept[key] = value
                else:
                    broken.setdefault(key, []).append(str(row.get("iteration", "?")))
        clean.append(kept)
    for key, places in broken.items():
        listed = ", ".join(places[:8]) + (" …" if len(places) > 8 else "")
        notes.append(f"{key} was not a finite number at iteration {listed}.")
    return clean, notes


def _ledger(trace: Trace, metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """The counts at the end of the run, else the last ones that it has told."""
    counts = {key: row[key] for row in metrics for key in COUNTERS if key in row}
    final = (trace.end or {}).get("ledger")
    counts |= final if isinstance(final, Mapping) else {}
    return [(key, counts[key]) for key in COUNTERS if counts.get(key)]


def _tiles(trace: Trace, metrics: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The few numbers that say how the run went: name, value, hint."""
    tiles = []
    for key, title in (("heldout_success", "Held-out success"), ("heldout_greedy", "Held-out, greedy"), ("success", "Training success")):  # fmt: skip
        rows = [row for row in metrics if key in row]
        if not rows:
            continue
        first, end = rows[0], rows[-1]
        value = f"{_percent(first[key])} → {_percent(end[key])}" if len(rows) > 1 else _percent(end[key])
        hint = "at first and at the end" if len(rows) > 1 else ""
        if key == "heldout_success" and "heldout_low" in end and "heldout_high" in end:
            hint = f"interval {_percent(end['heldout_low'])} to {_percent(end['heldout_high'])}"
        tiles.append([title, value, hint])
    seconds = _seconds(metrics)
    if seconds:
        tiles.append(["Time", duration(seconds), "rolling out, training and evaluating"])
    counts = dict(_ledger(trace, metrics))
    for key, title in (("environment_steps", "Environment steps"), ("sampled_tokens", "Sampled tokens"), ("updates", "Updates")):  # fmt: skip
        if key in counts:
            tiles.append([title, f"{counts[key]:,}".replace(",", "\u202f"), ""])
    tiles.append(["Episodes", f"{len(trace.endings):,}".replace(",", "\u202f"), ""])
    return tiles


def _seconds(metrics: Sequence[Mapping[str, Any]]) -> float:
    """The time of the run: ``seconds`` is counted from its start, over resumes."""
    return float(max((row["seconds"] for row in metrics if "seconds" in row), default=0.0))


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(221)
    '3 min 41 s'
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _summary(trace: Trace, config: Mapping[str, Any]) -> str:
    """One sentence: recipe, environment, model, seed, reason of the end."""
    known = dict(_flat({**trace.run, **config}))
    short = {key.rsplit(".", 1)[-1]: value for key, value in reversed(known.items())}
    words = [short[key] for key in ("recipe", "estimator") if key in short]
    environments = dict.fromkeys(task.environment for task in trace.tasks.values())
    place = short.get("environment") or ", ".join(environments)
    text = " · ".join(dict.fromkeys(words)) or "A run"
    if place:
        text += f" on {place}"
    for key in ("model", "seed"):
        if key in short:
            text += f", {key} {short[key]}"
    if trace.end is None:
        return f"{text}. It has not ended: it is running, or it was stopped from outside."
    reason = trace.end.get("reason")
    return f"{text}. It ended: {trace.end.get('end', 'done')}{f', {reason}' if reason else ''}."


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            found += _flat(item, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", clipped(str(item), 2_000)))
    return found


def clipped(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return ``text``, cut with a note of how much is missing.

    >>> clipped("abcdef", 4)
    'abcd … (2 more characters)'
    """
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit} more characters)"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}\u202f%"


def _finite(value: float | None, places: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), places)


def _rounded(term: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _finite(value, 9) if isinstance(value, float) else value for key, value in term.items()}


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
