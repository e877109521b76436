"""What the page of a task's run shows, as JSON values, read from its journal in one pass and bounded memory.

A long run is sampled: its first and last steps, some in between, and those that were contested, flagged, refused or asked about. The plan, the
approvals and the costs over the steps are about the whole run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from everystep.app.page_data import clipped, duration
from everystep.app.run_lines import amount, cost_text
from everystep.app.run_reading import Seen, place_of, seen_steps, totals
from everystep.core.codec import decode
from everystep.core.trace import Event, Kind
from everystep.run.journal import Journal
from everystep.run.nodes import Edit, Status
from everystep.run.plan import Plan

ENDS = 60
"""So many first and so many last steps are kept."""
NOTABLE = 200
"""So many contested, flagged, refused or asked steps are kept, with the same chance each."""
BETWEEN = 60
"""So many other steps are kept."""
NODES = 300
"""Nodes of a plan that are drawn."""
POINTS = 300
"""Points of the curves."""
APPROVALS = 200
"""Questions and answers that are listed, the last ones."""
TEXT = 6_000
"""Characters of one text."""
EVIDENCE = 40
"""Flags, attempts and votes of one step."""
EDITS = 500_000
"""Edits beyond which a plan is not put together."""


@dataclass(slots=True)
class _Pick:
    """A sample of a stream in which each has the same chance."""

    room: int
    random: Random
    seen: int = 0
    kept: list[Seen] = field(default_factory=list)

    def offer(self, one: Seen) -> None:
        self.seen += 1
        if len(self.kept) < self.room:
            self.kept.append(one)
        elif (place := self.random.randrange(self.seen)) < self.room:
            self.kept[place] = one


@dataclass(slots=True)
class _Curve:
    """Sums over equal stretches of steps; when there are too many, neighbours are joined."""

    width: int = 1
    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, at: int, values: Mapping[str, float]) -> None:
        while at // self.width >= POINTS:
            self.width *= 2
            pairs = [self.rows[i : i + 2] for i in range(0, len(self.rows), 2)]
            self.rows = [_sum(pair) for pair in pairs]
        while len(self.rows) <= at // self.width:
            self.rows.append({})
        row = self.rows[at // self.width]
        for name, value in values.items():
            row[name] = row.get(name, 0.0) + value


def _sum(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            total[name] = total.get(name, 0.0) + value
    return total


def run_page_data(journal: Journal, *, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the page of a task's run holds."""
    found = totals(journal)
    first: list[Seen] = []
    last: deque[Seen] = deque(maxlen=ENDS)
    notable, between = _Pick(NOTABLE, Random(0)), _Pick(BETWEEN, Random(1))
    curve, flags, causes = _Curve(), Counter[str](), Counter[str]()
    asked: deque[Event] = deque(maxlen=APPROVALS)
    for one in seen_steps(_watched(journal, flags, causes, asked)):
        if len(first) < ENDS:
            first.append(one)
        else:
            last.append(one)
            (notable if _is_notable(one) else between).offer(one)
        _count(curve, one)
    chosen = {one.seq: one for one in (*first, *between.kept, *notable.kept, *last)}
    kept = [chosen[seq] for seq in sorted(chosen)]
    notes = []
    if len(kept) < found.counts.get(Kind.STEP.value, 0):
        notes.append(
            f"This page holds {amount(len(kept))} of {amount(found.counts[Kind.STEP.value])} steps: the first and last {ENDS}, "
            f"{len(notable.kept)} of {amount(notable.seen)} contested, flagged, refused or asked ones between, and some others. "
            "All of them are in the journal."
        )
    plan, more = _plan(journal, found.counts)
    ended = found.end or {}
    outcome = found.outcome or {}
    options = {**found.run.get("options", {}), **config.get("options", {})}
    return {
        "kind": "run",
        "name": name,
        "summary": clipped(str(found.task.get("instruction", "The run has not begun."))),
        "state": _state(ended, outcome.get("success")),
        "tiles": _tiles(found.steps, found.reward, found.cost, found.counts, found.last_time - found.first_time),
        "notes": [*notes, *more],
        "config": [[key, clipped(str(value), 2000)] for key, value in _shown(options, config, found.task)],
        "curve": [{"at": at * curve.width, **_means(row, curve.width)} for at, row in enumerate(curve.rows)],
        "flags": [[flag, count] for flag, count in flags.most_common(50)],
        "causes": [[cause, count] for cause, count in causes.most_common(50)],
        "approvals": [_approval(event) for event in asked],
        "plan": plan,
        "steps": [_step(one) for one in kept],
    }  # fmt: skip


def _watched(
    journal: Journal, flags: Counter[str], causes: Counter[str], asked: deque[Event]
) -> Iterator[Event]:
    """Pass the events on, and count what is wanted of the whole run."""
    for event in journal.events():
        if event.kind is Kind.FLAG:
            flags[clipped(str(event.body.get("flag", "")), 60)] += 1
        elif event.kind is Kind.ATTEMPT:
            causes[clipped(str(event.body.get("cause", "")), 60)] += 1
        elif event.kind in (Kind.ASKED, Kind.ANSWERED):
            asked.append(event)
        yield event


def _is_notable(one: Seen) -> bool:
    return bool(one.before or one.after or one.step.get("undone")) or not one.step.get("action", {}).get(
        "valid", True
    )


def _count(curve: _Curve, one: Seen) -> None:
    cost = one.step.get("cost", {})
    tokens = sum(cost.get(f"{kind}_tokens", 0.0) for kind in ("prompt", "cached", "completion"))
    contested = any(event.kind is Kind.VOTE for event in one.before)
    values = {"samples": cost.get("samples", 0.0), "discarded": cost.get("discarded", 0.0), "tokens": tokens}
    values |= {"usd": cost.get("usd", 0.0), "contested": float(contested), "steps": 1.0}
    curve.add(int(one.step.get("index", 0)), values)


def _means(row: Mapping[str, float], width: int) -> dict[str, float]:
    """Return samples a step and the like; sums of what is counted in dollars and tokens."""
    steps = row.get("steps", 0.0) or float(width)
    means = {name: round(row.get(name, 0.0) / steps, 6) for name in ("samples", "discarded", "contested")}
    sums = {name: round(row[name], 6) for name in ("tokens", "usd") if row.get(name)}
    return means | sums


def _state(ended: Mapping[str, Any], success: bool | None) -> dict[str, Any]:
    why = ended.get("why") or ""
    return {"end": ended.get("end"), "success": success, "why": clipped(str(why), 1000)}


def _tiles(
    steps: int, reward: float, cost: Mapping[str, float], counts: Mapping[str, int], seconds: float
) -> list[list[str]]:
    tiles = [["Steps", amount(steps), f"reward {reward:g}"]]
    drawn = cost.get("samples", 0.0)
    if drawn:
        gone = cost.get("discarded", 0.0)
        tiles.append(
            ["Samples", amount(drawn), f"{drawn / max(1, steps):.2f} a step, {amount(gone)} discarded"]
        )
    paid = cost_text({key: value for key, value in cost.items() if key not in ("samples", "discarded")})
    if paid:
        tiles.append(["Cost", paid.split(", ")[-1], paid])
    for kind, title, hint in (
        (Kind.VOTE, "Contested steps", "samples did not agree"),
        (Kind.ATTEMPT, "Attempts that did not count", ""),
        (Kind.ASKED, "Questions", f"{counts.get(Kind.ANSWERED.value, 0)} answers"),
        (Kind.RESUMED, "Resumed", "times"),
    ):
        if counts.get(kind.value):
            tiles.append([title, amount(counts[kind.value]), hint])
    tiles.append(["Time", duration(max(0.0, seconds)), "from the first to the last event"])
    return tiles


def _shown(
    options: Mapping[str, Any], config: Mapping[str, Any], task: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    rows = [(key, value) for key, value in options.items() if value not in (None, "", [], {})]
    rows.append(("task id", task.get("id", "")))
    if config.get("forked"):
        rows.append(("forked from", config["forked"]))
    return [*rows, *(("changed later", change) for change in config.get("changed", ()))]


# --- steps ----------------------------------------------------------------------------------------


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _step(one: Seen) -> dict[str, Any]:
    step = one.step
    seen, action = step.get("observation", {}), step.get("action", {})
    tally = [event.body for event in one.before if event.kind is Kind.VOTE]
    cost = step.get("cost", {})
    calls = [
        clipped(
            f"{call.get('name')}({', '.join(f'{k}={v!r}' for k, v in (call.get('arguments') or {}).items())})",
            2000,
        )
        for call in action.get("calls", ())
    ]
    body = {
        "id": str(step["id"]),
        "index": step.get("index", 0),
        "node": step.get("node", ""),
        "observation": clipped(str(seen.get("text", "")), TEXT),
        "action": clipped(str(action.get("text", "")), TEXT),
        "calls": calls,
        "valid": action.get("valid", True),
        "reason": action.get("reason"),
        "reward": step.get("reward"),
        "undone": step.get("undone", False),
        "cost": dict(cost),
        "tally": [[clipped(str(key), 300), count] for key, count in (tally[-1]["tally"].items() if tally else ())][:EVIDENCE],
        "contested": bool(tally),
        "why": clipped(str(tally[-1].get("why", "")), 500) if tally else "",
        "flags": [_flag(event.body) for event in one.before if event.kind is Kind.FLAG][:EVIDENCE],
        "attempts": [_attempt(event.body) for event in (*one.before, *one.after) if event.kind is Kind.ATTEMPT][:EVIDENCE],
        "verdicts": [_verdict(event.body) for event in one.after if event.kind is Kind.VERDICT][:EVIDENCE],
        "approvals": [_approval(event) for event in one.before if event.kind in (Kind.ASKED, Kind.ANSWERED)][:EVIDENCE],
    }  # fmt: skip
    return {
        key: value
        for key, value in body.items()
        if key == "valid" or (value is not False and value not in _EMPTY)
    }


def _flag(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "flag": clipped(str(body.get("flag", "")), 60),
        "sample": body.get("sample"),
        "reason": clipped(str(body.get("reason", "")), 500),
        "text": clipped(str(body.get("text", "")), 2_000),
    }


def _attempt(body: Mapping[str, Any]) -> dict[str, Any]:
    action = body.get("action") or {}
    return {
        "step": str(body.get("step", "")),
        "cause": clipped(str(body.get("cause", "")), 60),
        "reason": clipped(str(body.get("reason", "")), 500),
        "action": clipped(str(action.get("text", "")), 1000),
    }


def _verdict(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "judge": clipped(str(body.get("judge", "")), 100),
        "score": body.get("score"),
        "reason": clipped(str(body.get("reason") or ""), 500),
    }


def _approval(event: Event) -> dict[str, Any]:
    body = event.body
    action = body.get("action") or {}
    effect = body.get("effect") or {}
    return {
        "what": "asked" if event.kind is Kind.ASKED else str(body.get("answer", "")),
        "step": str(body.get("step", "")),
        "place": place_of(str(body.get("step", ""))),
        "action": clipped(str(action.get("text", "")), 1000),
        "effect": f"{effect.get('name', '')} {effect.get('risk', '')}".strip(),
        "by": clipped(str(body.get("by", "")), 100),
        "reason": clipped(str(body.get("reason", "")), 500),
        "time": event.time,
    }


# --- the plan -------------------------------------------------------------------------------------


def _plan(journal: Journal, counts: Mapping[str, int]) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the nodes to draw, and notes on what was left out."""
    edits = counts.get(Kind.PLAN.value, 0)
    if not edits:
        return None, []
    if edits > EDITS:
        return None, [f"The plan has {amount(edits)} edits, too many to draw; it is in the journal."]
    plan = Plan.rebuilt(decode(Edit, event.body) for event in journal.events(kinds={Kind.PLAN}))
    names = [node.id for node in plan]
    notes = []
    if len(names) > NODES:
        chosen = _some(plan, names)
        notes.append(
            f"The plan shows {len(chosen)} of {amount(len(names))} nodes: the first, the last, and those that failed or run."
        )
        names = [name for name in names if name in chosen]
    here = set(names)
    return {
        "counts": [[status.value, plan.count(status)] for status in Status if plan.count(status)],
        "nodes": [_node(plan, name, here) for name in names],
    }, notes  # fmt: skip


def _some(plan: Plan, names: Sequence[str]) -> set[str]:
    third = NODES // 3
    odd = [name for name in names if plan.status(name) in (Status.FAILED, Status.RUNNING)][:third]
    chosen = {*names[:third], *names[-third:], *odd}
    for name in tuple(chosen):
        while name := plan.parent(name):
            chosen.add(name)
    return chosen


def _node(plan: Plan, name: str, here: set[str]) -> dict[str, Any]:
    node = plan.node(name)
    return {
        "id": clipped(name, 100),
        "place": plan.index(name),
        "instruction": clipped(node.instruction, 1000),
        "status": plan.status(name).value,
        "needs": [clipped(need, 100) for need in node.needs if need in here],
        "parent": clipped(plan.parent(name), 100),
        "composite": node.composite,
        "optional": node.optional,
        "tool": node.tool,
        "done": clipped(node.done, 500),
        "reason": clipped(plan.reason(name), 1000),
        "result": clipped(plan.result(name), 1000),
    }
