"""Events of a run as lines of plain text: for a terminal that is not one, for ``show`` and for ``show --follow``.

What models and tools wrote is shortened, and control characters in it are spelled out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everystep.core.trace import Kind
from everystep.guard.approval import visible
from everystep.run.context import cut

COUNTED = ("samples", "discarded", "prompt_tokens", "cached_tokens", "completion_tokens", "usd")


def line(text: object, chars: int = 100) -> str:
    r"""Return a text as one short line.

    >>> line("a\nb\x1b[2J")
    'a ⏎ b\\x1b[2J'
    """
    return visible(cut(" ⏎ ".join(str(text).splitlines()), chars))


def amount(value: float) -> str:
    """Return a number with thousands apart.

    >>> amount(1048575), amount(0.25)
    ('1,048,575', '0.25')
    """
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def cost_text(cost: Mapping[str, float]) -> str:
    """Return what was paid, in words; empty where nothing was.

    >>> cost_text({"samples": 24, "discarded": 2, "prompt_tokens": 1000, "completion_tokens": 50, "usd": 0.01})
    '24 samples (2 discarded), 1,050 tokens, $0.0100'
    """
    words = []
    if cost.get("samples"):
        gone = f" ({amount(cost['discarded'])} discarded)" if cost.get("discarded") else ""
        words.append(f"{amount(cost['samples'])} samples{gone}")
    tokens = sum(cost.get(f"{name}_tokens", 0.0) for name in ("prompt", "cached", "completion"))
    if tokens:
        words.append(f"{amount(tokens)} tokens")
    if cost.get("usd"):
        words.append(f"${cost['usd']:.4f}")
    return ", ".join(words)


def votes_text(cost: Mapping[str, float], tally: Mapping[str, float] | None) -> str:
    """Return how the samples of one step voted.

    >>> votes_text({"samples": 6, "discarded": 1}, {"left": 4, "right": 1})
    'votes 4:1, 1 discarded'
    >>> votes_text({"samples": 3}, None)
    'votes 3'
    """
    drawn, gone = int(cost.get("samples", 0)), int(cost.get("discarded", 0))
    counts = list(tally.values()) if tally else [drawn - gone]
    words = [f"votes {':'.join(f'{count:g}' for count in counts)}"] if drawn else []
    return ", ".join([*words, f"{gone} discarded"] if gone else words)


@dataclass(slots=True)
class Teller:
    """Turns events into lines; it remembers the votes of a step until the step comes."""

    _tallies: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def tell(self, kind: Kind, body: Mapping[str, Any]) -> str | None:
        """Return the line of one event, ``None`` for one that needs none."""
        match kind:
            case Kind.STEP:
                return self._step(body)
            case Kind.VOTE:
                self._tallies[str(body.get("step"))] = body.get("tally", {})
                why = body.get("why")
                return f"  vote {body.get('step')}: {line(why)}" if why else None
            case Kind.FLAG:
                told = f"{body.get('flag')}: {line(body.get('reason', ''), 80)}"
                return f"  discarded at {body.get('step')} ({told}): {line(body.get('text', ''), 60)}"
            case Kind.ATTEMPT:
                return f"  again {body.get('step')}: {body.get('cause')}, {line(body.get('reason', ''))}"
            case Kind.PLAN:
                return _plan_line(body)
            case Kind.ASKED:
                shown = line(body.get("action", {}).get("text", ""))
                return f"  waits for approval at {body.get('step')}: {shown} ({line(body.get('reason', ''))})"
            case Kind.ANSWERED:
                by = f" by {line(body['by'], 40)}" if body.get("by") else ""
                reason = f": {line(body['reason'])}" if body.get("reason") else ""
                return f"  {body.get('answer')}{by} at {body.get('step')}{reason}"
            case Kind.STARTED:
                return f"  acts at {body.get('step')}"
            case Kind.END:
                why = f", {line(body['why'], 300)}" if body.get("why") else ""
                steps = f" after {amount(body['steps'])} steps" if "steps" in body else ""
                return f"ended: {body.get('end')}{steps}{why}"
            case Kind.RESUMED:
                return "resumed"
            case Kind.METRICS:
                return _metrics_line(body)
        return None

    def _step(self, body: Mapping[str, Any]) -> str:
        action, cost = body.get("action", {}), body.get("cost", {})
        votes = votes_text(cost, self._tallies.pop(str(body.get("id")), None))
        reward = body.get("reward")
        words = [f"step {body.get('id')}", line(action.get("text", ""), 70)]
        if votes:
            words.append(votes)
        if reward:
            words.append(f"reward {reward:g}")
        if not action.get("valid", True):
            words.append(f"not valid: {line(action.get('reason') or '', 60)}")
        if body.get("undone"):
            words.append("taken back")
        return "  ".join(words)


def _plan_line(body: Mapping[str, Any]) -> str:
    op, node = body.get("op"), body.get("node", "")
    nodes = body.get("nodes", ())
    if nodes:
        some = ", ".join(line(one.get("instruction", ""), 40) for one in nodes[:3])
        more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
        why = f" ({line(body['reason'], 80)})" if body.get("reason") else ""
        return f"plan: {op} {f'{node}: ' if node else ''}{some}{more}{why}"
    told = body.get("reason") or body.get("result")
    return f"plan: {op} {node}{f' ({line(told, 80)})' if told else ''}"


def _metrics_line(body: Mapping[str, Any]) -> str:
    words = [f"{body.get('phase', '')} {body.get('iteration', '')}".strip()]
    for key, form in (("success", ".1%"), ("heldout_success", ".1%"), ("reward", ".3f"), ("loss", ".3f")):
        if isinstance(body.get(key), float | int):
            words.append(f"{key.replace('heldout_success', 'held-out')} {body[key]:{form}}")
    return "  ".join(words)
