"""Scripted members of a team on the small phone: each answers from its prompt alone, with stated error rates (for ``evolve.team``).

They stand for a language model in each role. Two habits cost the operator steps until a tip names them; a shortcut is used where
it fits, sometimes without a look at its precondition; a part of the shortcuts that are written down is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import Stop
from everystep.environments.phone.errands import Goal, goals_of, instruction_of
from everystep.environments.phone.looks import Look, can, look, outcome
from everystep.environments.phone.phones import CARD, FIELDS, HOME, LIST, NEW, ROWS, SUBMIT, read_gesture

APP = {
    "alarm": "clock",
    "contact": "contacts",
    "lookup": "contacts",
    "note": "notes",
    "reply": "messages",
    "switch": "settings",
}
"""The app of each errand that the team runs."""
AGAIN = " ; start again"
_TIP_FIELD = "where the screen is new and the keyboard off, tap a field before you type in it"
_TIP_OPEN = "from any screen and list open an app by its name, with open APP , not by going home"
_NO_FIELD = "no field has the keyboard"
_NAMES = {"alarm": "set_alarm", "contact": "add_contact", "note": "write_note", "reply": "send_reply"}
_ABOUT = {"alarm": "alarm", "contact": "contacts", "note": "note", "reply": "reply"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How often each member errs. ``unseen``: an element that the perceptor leaves out; ``slip``: another possible gesture in place
    of the operator's; ``habit``: each of the operator's two bad habits where it applies and no tip names it; ``careless``: a shortcut that is used
    though its precondition does not hold; ``misjudge``: another label in place of the reflector's; ``flaw``: a shortcut that is written down
    wrongly; ``inner``: one that begins inside its app.
    """

    unseen: float = 0.005
    slip: float = 0.04
    habit: float = 0.5
    careless: float = 0.3
    misjudge: float = 0.03
    flaw: float = 0.4
    inner: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A sampler that plays one role of ``evolve.team.ROLES`` on the small phone."""

    role: str
    errors: Errors
    policy: str = "crew"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests from what they show."""
        return [Generation(text=self._answer(request), stop=Stop.STOP) for request in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _answer(self, request: Request) -> str:
        shown = json.loads(request.messages[-1].content)
        return _ANSWERS[self.role](shown, self.errors, Random(request.seed))


def crew(errors: Errors) -> dict[str, Member]:
    """Return a whole scripted team."""
    return {role: Member(role=role, errors=errors) for role in _ANSWERS}


# --- perceptor, manager ---------------------------------------------------------------------------


def _perceive(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:
    lines = str(shown["screen"]).splitlines()
    return "\n".join(line for line in lines if not line.startswith("[") or rng.random() >= errors.unseen)


def _manage(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:  # noqa: ARG001
    plan = [str(one).removesuffix(AGAIN) for one in shown["plan"]]
    if not shown["last"]:
        plan = [instruction_of((goal,)) for goal in goals_of(shown["task"]) or ()]
    elif plan and _ended(plan[0], shown["last"][-1], look(shown["screen"])):
        plan = plan[1:]
    if plan and shown["stuck"]:
        plan[0] += AGAIN
    return json.dumps({"plan": plan})


def _ended(subgoal: str, last: Mapping[str, Any], seen: Look) -> bool:
    """Say whether a subgoal was reached by the last action, as far as the manager can tell."""
    goal = _goal(subgoal)
    if goal.kind == "switch":
        return f"{goal.what} {goal.word}" in seen.rows.values()
    final = last["gestures"][-1] if last["gestures"] else ""
    return last["outcome"] == "A" and final == f"tap {SUBMIT[APP[goal.kind]]}"


def _goal(subgoal: str) -> Goal:
    goals = goals_of(subgoal.removesuffix(AGAIN)) or (Goal("note", subgoal),)
    return goals[0]


# --- operator -------------------------------------------------------------------------------------


def _operate(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:
    seen, goal = look(shown["screen"]), _goal(shown["subgoal"])
    if rng.random() < errors.slip:
        taps = [f"tap {name}" for name, (_, _, on) in seen.elements.items() if on]
        return rng.choice([*taps, "back", "home"])
    tips = " ".join(shown["remembered"])
    number = re.search(rf"number of {re.escape(goal.what)} is (\d+)", tips)
    if goal.kind == "lookup":
        if number is None:
            return _to_row(seen, "messages", f"{goal.what} - ", tips, errors, rng)
        goal = Goal("contact", goal.what, number[1])
    if str(shown["subgoal"]).endswith(AGAIN) and shown["last"] and not _opened(shown["last"][-1]):
        return f"open {APP[goal.kind]}"
    if goal.kind == "switch":
        row = next((name for name, text in seen.rows.items() if text == f"{goal.what} {goal.word}"), "")
        return "back" if row else _to_row(seen, "settings", f"{goal.what} ", tips, errors, rng)
    short = _shortcut(shown, goal, seen, errors, rng)
    if short:
        return short
    return _by_hand(shown, goal, seen, tips, errors, rng)


def _by_hand(shown: Mapping[str, Any], goal: Goal, seen: Look, tips: str, errors: Errors, rng: Random) -> str:
    app = APP[goal.kind]
    if goal.kind == "reply":
        if (seen.app, seen.page) != (app, CARD) or _wrong_card(shown):
            return _to_row(seen, app, f"{goal.what} - ", tips, errors, rng)
    elif (seen.app, seen.page) != (app, NEW):
        return "tap add" if (seen.app, seen.page) == (app, LIST) else _to_app(seen, app, tips, errors, rng)
    for name, value in _forms(goal).items():
        if seen.text(name) == value:
            continue
        told = _TIP_FIELD[:30] in tips or any(_NO_FIELD in one["error"] for one in shown["last"][-1:])
        if seen.focus == name or (not told and rng.random() < errors.habit):
            return f"type {value}"
        return f"tap {name}"
    return f"tap {SUBMIT[app]}"


def _forms(goal: Goal) -> dict[str, str]:
    if goal.kind == "contact":
        return {"name": goal.what, "number": goal.word}
    return {"alarm": {"time": goal.what}, "note": {"text": goal.what}, "reply": {"reply": goal.word}}[
        goal.kind
    ]


def _to_app(seen: Look, app: str, tips: str, errors: Errors, rng: Random) -> str:
    if _TIP_OPEN[:30] in tips or rng.random() >= errors.habit:
        return f"open {app}"
    return f"tap {app}" if seen.app == HOME else "home"


def _to_row(seen: Look, app: str, begins: str, tips: str, errors: Errors, rng: Random) -> str:
    """Go to the list of an app, then to the row whose text begins like this."""
    if seen.app != app:
        return _to_app(seen, app, tips, errors, rng)
    if seen.page != LIST:
        return "back"
    row = next((name for name, text in seen.rows.items() if text.startswith(begins)), "")
    if row:
        return f"tap {row}"
    return "swipe up" if len(seen.rows) == ROWS and rng.random() < 0.9 else "swipe down"


def _wrong_card(shown: Mapping[str, Any]) -> bool:
    """Say whether the card that was opened last is another one: nothing on it says whose it is, so the history has to."""
    own = str(shown["subgoal"]).removesuffix(AGAIN)
    for one in reversed(shown["last"]):
        if re.fullmatch(r"tap thread\d+", one["action"]):
            return bool(one["outcome"] != "A" or one["subgoal"].removesuffix(AGAIN) != own)
        if one["action"] in ("back", "home") or one["action"].startswith(("open", "use")):
            return False
    return False


def _opened(last: Mapping[str, Any]) -> bool:
    return str(last["action"]).startswith("open ")


def _shortcut(shown: Mapping[str, Any], goal: Goal, seen: Look, errors: Errors, rng: Random) -> str:
    """Return the use of a shortcut that fits the errand, empty where there is none or it has just failed."""
    name = _NAMES[goal.kind]
    found = [one for one in shown["shortcuts"] if one["name"] == name]
    values = _forms(goal)
    if not found or any(values.get(one) is None for one in found[0]["arguments"]):
        return ""
    if any(one["action"].startswith(f"use {name}") and one["outcome"] != "A" for one in shown["last"]):
        return ""
    if goal.kind == "reply" and _wrong_card(shown):
        return ""
    wanted = [read_gesture(one) for one in found[0]["precondition"]]
    met = all(one is not None and can(seen, one) for one in wanted)
    if not met and rng.random() >= errors.careless:
        return ""
    given = {one: values[one] for one in found[0]["arguments"]}
    return f"use {name} {json.dumps(given)}" if given else f"use {name}"


# --- reflector, notetaker -------------------------------------------------------------------------


def _reflect(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:
    before, after, action = look(shown["before"]), look(shown["after"]), str(shown["action"]).strip()
    gesture = read_gesture(action)
    if gesture is not None:
        label, why = outcome(before, gesture, after)
    else:  # a shortcut: it should have ended in a list, or with the message sent
        ended = (after.page == LIST and after.app != HOME) or any(
            text.startswith("me: ") for _, text, _ in after.elements.values()
        )
        label, why = ("A", "") if ended else ("B", "the shortcut did not come to its end")
    if rng.random() < errors.misjudge:
        label = rng.choice([one for one in "ABC" if one != label])
        why = "" if label == "A" else "it does not look right"
    return f"{label}: {why}" if why else label


def _take_notes(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:  # noqa: ARG001
    """Keep the number in messages of a person whose number is asked for."""
    notes, seen = str(shown["notes"]), look(shown["screen"])
    if (seen.app, seen.page) != ("messages", CARD):
        return notes
    lines = [text for name, (_, text, _) in seen.elements.items() if name.startswith("line")]
    found = [part for text in lines if not text.startswith("me: ") for part in re.findall(r"\d{6,}", text)]
    wanted = [one.what for one in goals_of(shown["task"]) or () if one.kind == "lookup"]
    open_ = [who for who in wanted if f"number of {who} is" not in notes]
    if not found or not open_:
        return notes
    return f"{notes} the number of {open_[0]} is {found[-1]} .".strip()


# --- experience -----------------------------------------------------------------------------------


def _write_tips(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:  # noqa: ARG001
    history = shown["history"]
    tips = []
    if any(_NO_FIELD in one["error"] for one in history):
        tips.append(_TIP_FIELD)
    if any(one["action"] == "home" for one in history):
        tips.append(_TIP_OPEN)
    return "\n".join(tips)


def _write_shortcut(shown: Mapping[str, Any], errors: Errors, rng: Random) -> str:
    """Write down how one of the task's errands was run, if no shortcut is known for it."""
    goals = [goal for goal in goals_of(shown["task"]) or () if goal.kind in _NAMES]
    goals = [goal for goal in goals if _NAMES[goal.kind] not in shown["known"]]
    if not goals:
        return "none"
    goal = goals[0]
    app, fields = APP[goal.kind], FIELDS[APP[goal.kind], CARD if goal.kind == "reply" else NEW]
    fill = [gesture for name in fields for gesture in (f"tap {name}", f"type <{name}>")]
    row = {"alarm": "hold alarm1", "contact": "hold contact1", "note": "hold note1"}.get(goal.kind, "")
    if goal.kind == "reply":
        sequence, needs = [*fill, "tap send"], [f"tap {fields[0]}"]
    elif rng.random() < errors.inner:
        sequence, needs = ["tap add", *fill, "tap save"], ["tap add", row]
    else:
        sequence, needs = [f"open {app}", "tap add", *fill, "tap save"], []
    page = "messages card" if goal.kind == "reply" else f"{app} list"
    if rng.random() < errors.flaw:
        sequence, needs = _flawed(sequence, needs, goal, rng)
    used = [name for name in fields if any(f"<{name}>" in one for one in sequence)]
    data = {
        "name": _NAMES[goal.kind],
        "description": f"{_ABOUT[goal.kind]} in {app}",
        "arguments": used,
        "sequence": sequence,
        "precondition": needs,
        "about": [_ABOUT[goal.kind]],
        "after": f"screen {page}",
    }
    return json.dumps(data)


def _flawed(sequence: list[str], needs: list[str], goal: Goal, rng: Random) -> tuple[list[str], list[str]]:
    """Leave out a gesture, the precondition, or an argument: the usual ways to write a sequence down wrongly."""
    kind = rng.choice(("gesture", "precondition" if needs else "gesture", "argument"))
    if kind == "precondition":
        return sequence, []
    if kind == "gesture":
        place = rng.randrange(len(sequence))
        return sequence[:place] + sequence[place + 1 :], needs
    name, value = next(iter(_forms(goal).items()))
    return [one.replace(f"<{name}>", value) for one in sequence], needs


_ANSWERS = {
    "perceptor": _perceive,
    "manager": _manage,
    "operator": _operate,
    "reflector": _reflect,
    "notetaker": _take_notes,
    "shortcuts": _write_shortcut,
    "tips": _write_tips,
}
