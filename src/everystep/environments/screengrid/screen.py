"""The screen of ScreenGrid: a state, what it shows, what a tap does, and what judges, pixels and studies ask of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import gt

from everystep.core.errors import WorldError
from everystep.core.protocols import Element, ScreenView
from everystep.environments.screengrid.boxes import Spot, hit, spots_of
from everystep.environments.screengrid.kinds import Scene
from everystep.environments.screengrid.parts import (
    ABSENT,
    BACK,
    DONE,
    KEY,
    SCROLL,
    App,
    Part,
    distance,
    label_of,
    wrong_of,
)

CLICK = re.compile(r"click (\d{1,3}) (\d{1,3})", re.ASCII)
"""A click at a point, in thousandths of the screen from the left and from the top."""


@dataclass(frozen=True, slots=True)
class State:
    """What is shown and stored: the page and the values. The scene, the goal and the arrangement stay as they are."""

    scene: Scene
    target: tuple[int, ...]
    arrangement: int
    page: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A page as it is shown: its text, and the action, the part (``None``: ``done``) and the place of each element."""

    text: str
    said: tuple[str, ...]
    parts: tuple[Part | None, ...]
    spots: tuple[Spot, ...]
    labels: tuple[str, ...]
    shown: tuple[str, ...]
    places: dict[str, int]


def look(state: State, points: bool = False) -> Look:
    """Return what the screen shows; with ``points`` the text gives the cell of each element."""
    scene = state.scene
    values = tuple(state.values[var] for var in _variables(scene.app, state.page))
    return _page(scene.app, scene.names, state.page, values, state.arrangement, points)


@lru_cache(maxsize=1 << 10)
def _variables(app: App, page: int) -> tuple[int, ...]:
    """Return the stored values that a page shows."""
    return tuple(sorted({part.var for part in app.pages[page].parts if part.var >= 0}))


@lru_cache(maxsize=1 << 14)
def _page(
    app: App, names: tuple[str, ...], page: int, values: tuple[int, ...], arrangement: int, points: bool
) -> Look:
    now = dict(zip(_variables(app, page), values, strict=True))
    here = app.pages[page]
    said, parts, spots, labels, shown = [], [], [], [], []
    for spot in spots_of(app, page, arrangement):
        part = here.parts[spot.part] if spot.part >= 0 else None
        if part is not None and part.moves and part.moves[now[part.var]] == ABSENT:
            continue
        label = DONE if part is None else label_of(part.label, names)
        said.append(_action(part, label))
        parts.append(part)
        spots.append(spot)
        labels.append(label)
        shown.append(part.shown[now[part.var]] if part is not None and part.shown else "")
    title = f"{app.name} {label_of(here.title, names)}"
    rows = zip(parts, labels, shown, spots, strict=True)
    text = _pointed(title, rows) if points else _told(title, rows)
    return Look(
        text=text,
        said=tuple(said),
        parts=tuple(parts),
        spots=tuple(spots),
        labels=tuple(labels),
        shown=tuple(shown),
        places={one: place for place, one in enumerate(said)},
    )


Rows = Iterable[tuple[Part | None, str, str, Spot]]


def _told(title: str, rows: Rows) -> str:
    told, keys = [], []
    for part, label, shown, _ in rows:
        if part is None or part.kind == BACK:
            continue
        if part.kind == KEY:
            keys.append(label)
        else:
            told.append(f"{label} {shown}" if shown else label)
    if keys:
        told.append(f"type {' '.join(keys)}")
    return f"{title} : {' , '.join(told) or 'empty'}"


def _pointed(title: str, rows: Rows) -> str:
    told = [
        " ".join(word for word in (label, shown, str(spot.cell[0]), str(spot.cell[1])) if word)
        for _, label, shown, spot in rows
    ]
    return f"{title} : {' , '.join(told)}"


def _action(part: Part | None, label: str) -> str:
    if part is None or part.kind == BACK:
        return label
    verb = {KEY: "type", SCROLL: "scroll"}.get(part.kind, "tap")
    return f"{verb} {label}"


def check_state(state: State) -> None:
    """Raise ``ValueError`` where a state, read from elsewhere, does not fit its app."""
    app = state.scene.app
    if not 0 <= state.page < len(app.pages):
        raise ValueError(f"page {state.page!r} is not one of the {len(app.pages)} pages of {app.name}.")
    most = _most(app)
    if len(most) != len(state.values) or min(state.values) < 0 or any(map(gt, state.values, most)):
        raise ValueError(f"{state.values!r} are no stored values of {app.name}.")


@lru_cache(maxsize=16)
def _most(app: App) -> tuple[int, ...]:
    return tuple(len(variable.values) - 1 for variable in app.variables)


def tapped(state: State, part: Part) -> State:
    """Return the state after a tap on an element that is there."""
    values = state.values
    if part.moves and part.moves[values[part.var]] != values[part.var]:
        values = (*values[: part.var], part.moves[values[part.var]], *values[part.var + 1 :])
    return State(state.scene, state.target, state.arrangement, part.to, values)


def right_part(state: State, seen: Look) -> Part | None:
    """Return the element that a shortest plan taps next, ``None`` for ``done``."""
    app, wrong = state.scene.app, wrong_of(state.values, state.target)
    if not wrong:
        return None
    left = distance(app, state.page, wrong) - 1
    for part in seen.parts:
        if part is None:
            continue
        after = tapped(state, part)
        if distance(app, after.page, wrong_of(after.values, after.target)) == left:
            return part
    raise WorldError(
        f"no plan leads from page {state.page} to the goal {state.target}. This is a fault of the app."
    )


# --- what judges, pixels and studies ask for -----------------------------------------------------------------


def steps_left(state: State) -> int:
    """Return the number of actions of a shortest plan, ``done`` included."""
    return distance(state.scene.app, state.page, wrong_of(state.values, state.target)) + 1


def view(state: State) -> ScreenView:
    """Return what the screen shows, with boxes in thousandths. An element's id is the action that taps it."""
    seen = look(state)
    rows = zip(seen.said, seen.parts, seen.labels, seen.shown, seen.spots, strict=True)
    elements = tuple(
        Element(
            id=said,
            kind=DONE if part is None else part.kind,
            text=f"{label} {shown}".strip(),
            box=spot.box,
        )
        for said, part, label, shown, spot in rows
    )
    title = label_of(state.scene.app.pages[state.page].title, state.scene.names)
    return ScreenView(app=state.scene.app.name, page=title, elements=elements)


def box_of(state: State, action: str) -> tuple[int, int, int, int] | None:
    """Return the box that an action is about: of the element that it names, or that its point hits; ``None`` for none."""
    seen = look(state)
    said = action.strip()
    point = CLICK.fullmatch(said)
    if point is not None:
        spot = hit(seen.spots, int(point[1]), int(point[2]))
        return None if spot is None else spot.box
    return seen.spots[seen.places[said]].box if said in seen.places else None


def right_spot(state: State) -> Spot:
    """Return the place of the element that a shortest plan taps next."""
    seen = look(state)
    return seen.spots[seen.parts.index(right_part(state, seen))]
