"""WebShop on 1,000 products: search, look, choose options, buy what the instruction asks for.

Products, instructions and the reward are WebShop's (see ``webshop_catalog``); the pages are written as in the published ReAct runs: ``search[words]`` and
``click[what stands in brackets]``. The goals that people wrote are not published for each product, so the instructions are the synthetic ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

from everystep.core.errors import ConfigError
from everystep.core.records import Action, Observation, Task
from everystep.environments.exact import (
    ExactEnvironment,
    Outcome,
    check_place,
    check_range,
    make_task,
    refused,
    split_of,
)
from everystep.environments.web.webshop_catalog import Catalog, Goal, Product, bought, goal_of, load_catalog

FOUND, SHOWN = 50, 10
"""Products that a search finds at most, and how many a page shows."""
BACK, PREVIOUS, NEXT, BUY = "back to search", "< prev", "next >", "buy now"
TEXTS = ("description", "features", "reviews")
LONGEST_QUERY = 300

_ACTION = re.compile(r"\s*(search|click|think)\s*\[(.*)\]\s*", re.IGNORECASE | re.DOTALL)
_NOTHING = {"type": 0.0, "attributes": 0.0, "options": 0.0, "price": 0.0}


@dataclass(frozen=True, slots=True)
class State:
    """Where the visitor is: before a search, on page ``page`` of the results of ``query``, at ``item``, or reading one of its texts."""

    data: str
    place: int
    seed: int
    query: str = ""
    page: int = 0
    item: str = ""
    text: str = ""
    chosen: tuple[tuple[str, str], ...] = ()

    @property
    def catalog(self) -> Catalog:
        """The shop's products."""
        return load_catalog(self.data)

    @property
    def goal(self) -> Goal:
        """What is to be bought."""
        return _goal(self.data, self.place, self.seed)

    @property
    def product(self) -> Product | None:
        """The product that is looked at."""
        return self.catalog.products.get(self.item)


@lru_cache(maxsize=4096)
def _goal(data: str, place: int, seed: int) -> Goal:
    return goal_of(load_catalog(data), place, seed)


@lru_cache(maxsize=1024)
def _found(data: str, query: str) -> tuple[str, ...]:
    return load_catalog(data).search(query, FOUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebShop:
    """Options: ``data`` is ``sample`` (packaged products), ``published`` (all 1,000, from EVERYSTEP_DATA/webshop) or a folder with those files; ``turns`` is the
    step limit; ``listed`` offers searches made of the instruction's words, so that an agent can choose every action from a list;
    ``words`` cuts a title or text after so many words, 0 nowhere.
    """

    data: str = "sample"
    turns: int = 15
    listed: bool = False
    words: int = 0

    name: ClassVar[str] = "webshop"
    summary: ClassVar[str] = "search a shop and buy what is asked for (WebShop, 1,000 products)"

    def __post_init__(self) -> None:
        check_range(self.name, "turns", self.turns, 2, 10_000)
        check_range(self.name, "words", self.words, 0, 10_000)

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.turns

    def make(self) -> ExactEnvironment[State]:
        """Return an environment for tasks of this world."""
        return ExactEnvironment(self)

    def size(self, split: str) -> int:
        """Return the number of products of ``split`` that have an instruction: a product belongs to one split."""
        check_place(split, 0)
        return len(_places(self.data, split))

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of ``split``."""
        check_place(split, index, self.size(split))
        place = _places(self.data, split)[index]
        goal = _goal(self.data, place, place)
        return make_task(
            self,
            split=split,
            index=index,
            seed=place,
            instruction=f"Instruction: {goal.instruction}",
            reference=goal.product.id,
            tags={"category": goal.product.category, "options": str(len(goal.options))},
        )

    def start(self, task: Task) -> State:
        """Return the first state of ``task``: the page with the search bar."""
        known = len(load_catalog(self.data).wanted)
        if not 0 <= task.seed < known:
            raise ConfigError(f"webshop: task {task.id!r} is of product {task.seed!r}, there are {known}.")
        return State(self.data, task.seed, task.seed)

    def observe(self, state: State, note: str = "") -> Observation:
        """Show the page. ``info["clickables"]`` lists what can be clicked."""
        clicks = clickables(state)
        shown = _PAGES[_kind(state)](state, self.words)
        return Observation(
            text=f"{note}\n{shown}" if note else shown,
            anchor=repr((state.query, state.page, state.item, state.text, state.chosen)),
            admissible=_actions(state, clicks) if self.listed or _kind(state) != "search" else None,
            info={"clickables": list(clicks)},
        )

    def parse(self, text: str) -> Action:
        """Read ``search[...]``, ``click[...]`` or ``think[...]``."""
        match = _ACTION.fullmatch(text) if len(text) <= 10 * LONGEST_QUERY else None
        if match is None:
            return Action(
                text=text, valid=False, reason="expected search[words], click[a button] or think[...]"
            )
        return Action(text=text)

    def advance(self, state: State, action: Action) -> Outcome[State]:
        """Search, click or think. ``buy now`` ends the episode; its reward is how well the purchase meets the goal."""
        match = _ACTION.fullmatch(action.text) if action.valid else None
        if match is None:
            return refused(state, action.reason or "not an action of this world", _NOTHING)
        verb, what = match[1].lower(), " ".join(match[2].split())
        if verb == "think":
            return Outcome(state=state, note="OK.", scores=_NOTHING)
        if verb == "search":
            return _searched(state, what)
        if what.lower() not in clickables(state):
            return refused(state, f"there is no button {what[:60]!r} here", _NOTHING)
        return _clicked(state, what.lower())

    def oracle(self, state: State) -> str:
        """Return the next action on the way to the goal's own product with its options."""
        goal = state.goal
        if state.item == goal.product.id:
            missing = [value for name, value in goal.options if dict(state.chosen).get(name) != value]
            if state.text:
                return f"click[{PREVIOUS}]"
            return f"click[{missing[0].lower()}]" if missing else f"click[{BUY}]"
        if not state.item and state.query:
            found = _found(state.data, state.query)
            if goal.product.id in found:
                page = found.index(goal.product.id) // SHOWN
                step = (
                    goal.product.id.lower() if page == state.page else NEXT if page > state.page else PREVIOUS
                )
                return f"click[{step}]"
        if _kind(state) != "search":
            return f"click[{BACK}]"
        return f"search[{queries(state)[0]}]"


@lru_cache(maxsize=8)
def _places(data: str, split: str) -> tuple[int, ...]:
    wanted = load_catalog(data).wanted
    return tuple(place for place, (name, _, _) in enumerate(wanted) if split_of(name) == split)


def _kind(state: State) -> str:
    return "text" if state.text else "item" if state.item else "results" if state.query else "search"


def clickables(state: State) -> tuple[str, ...]:
    """Return what can be clicked on the page, in lower case."""
    kind = _kind(state)
    if kind == "search":
        return ()
    if kind == "text":
        return (BACK, PREVIOUS)
    if kind == "results":
        found = _found(state.data, state.query)
        names = [name.lower() for name in found[SHOWN * state.page : SHOWN * (state.page + 1)]]
        more = (NEXT,) if SHOWN * (state.page + 1) < len(found) else ()
        return (BACK, *((PREVIOUS,) if state.page else ()), *more, *names)
    product = state.product
    assert product is not None  # noqa: S101 -- an item was clicked in the results
    values = [value.lower() for some in product.options.values() for value in some]
    return tuple(dict.fromkeys((BACK, PREVIOUS, *values, *TEXTS, BUY)))


def queries(state: State) -> tuple[str, ...]:
    """Return searches made of the instruction: one that finds the goal's product first, where there is one, then all of its parts.

    The order gives nothing away: those that an agent may choose from are sorted by ``observe``.
    """
    goal = state.goal
    asked = state.catalog.wanted[state.place][1]
    parts = dict.fromkeys(
        (asked, " ".join(goal.attributes), *goal.attributes, goal.product.query, goal.product.title)
    )
    finding = [one for one in parts if goal.product.id in _found(state.data, one)]
    return tuple(dict.fromkeys((*finding, *parts)))


def _actions(state: State, clicks: tuple[str, ...]) -> tuple[str, ...]:
    if _kind(state) == "search":
        goal = state.goal
        told = (state.catalog.wanted[state.place][1], " ".join(goal.attributes), *goal.attributes)
        right = queries(state)[0]
        return tuple(f"search[{one}]" for one in sorted({*told, right}))
    return tuple(f"click[{one}]" for one in clicks)


def _searched(state: State, query: str) -> Outcome[State]:
    if _kind(state) != "search":
        return refused(state, f"there is no search bar here: click[{BACK}] first", _NOTHING)
    if not query or len(query) > LONGEST_QUERY:
        return refused(state, f"a search has 1 to {LONGEST_QUERY} characters", _NOTHING)
    if not _found(state.data, query):
        return refused(state, "nothing was found: use other words", _NOTHING)
    return Outcome(state=replace(state, query=query), scores=_NOTHING)


def _clicked(state: State, what: str) -> Outcome[State]:
    kind = _kind(state)
    if what == BACK:
        after = State(state.data, state.place, state.seed)
    elif what == NEXT:
        after = replace(state, page=state.page + 1)
    elif what == PREVIOUS:
        steps = {
            "results": {"page": state.page - 1},
            "text": {"text": ""},
            "item": {"item": "", "chosen": ()},
        }
        after = replace(state, **steps[kind])  # type: ignore[arg-type]
    elif kind == "results":
        after = replace(state, item=what.upper())
    elif what == BUY:
        return _paid(state)
    elif what in TEXTS:
        after = replace(state, text=what)
    else:
        return _picked(state, what)
    return Outcome(state=after, scores=_NOTHING)


def _picked(state: State, value: str) -> Outcome[State]:
    product = state.product
    assert product is not None  # noqa: S101 -- only an item's page lists values
    name, exact = next(
        (name, one) for name, values in product.options.items() for one in values if one.lower() == value
    )
    chosen = dict(state.chosen) | {name: exact}
    return Outcome(
        state=replace(state, chosen=tuple(sorted(chosen.items()))),
        note=f"You have clicked {value}.",
        scores=_NOTHING,
    )


def _paid(state: State) -> Outcome[State]:
    product = state.product
    assert product is not None  # noqa: S101 -- only an item's page has the button
    result = bought(product, dict(state.chosen), state.goal)
    return Outcome(
        state=state,
        note=f"You have bought {product.id}.",
        reward=result.reward,
        over=True,
        success=result.reward > 1 - 1e-9,
        scores={
            "type": result.type,
            "attributes": result.attributes,
            "options": result.options,
            "price": result.price,
        },
    )


def _cut(text: str, words: int) -> str:
    parts = text.split()
    return " ".join(parts[:words]) if words and len(parts) > words else " ".join(parts)


def _search_page(state: State, words: int) -> str:  # noqa: ARG001
    return "Webshop\n[Search]"


def _results_page(state: State, words: int) -> str:
    found = _found(state.data, state.query)
    lines = ["[Back to Search]", f"Page {state.page + 1} (Total results: {len(found)})"]
    lines += ["[< Prev]"] if state.page else []
    lines += ["[Next >]"] if SHOWN * (state.page + 1) < len(found) else []
    for name in found[SHOWN * state.page : SHOWN * (state.page + 1)]:
        product = state.catalog.products[name]
        lines += [f"[{name}]", _cut(product.title, words), product.shown]
    return "\n".join(lines)


def _item_page(state: State, words: int) -> str:
    product = state.product
    assert product is not None  # noqa: S101
    options = [f"{name} {''.join(f'[{one}]' for one in values)}" for name, values in product.options.items()]
    return "\n".join(
        [
            *(
                "[Back to Search]",
                "[< Prev]",
                *options,
                _cut(product.title, words),
                f"Price: {product.shown}",
            ),
            *("Rating: N.A.", "[Description]", "[Features]", "[Reviews]", "[Buy Now]"),
        ]
    )


def _text_page(state: State, words: int) -> str:
    product = state.product
    assert product is not None  # noqa: S101
    text = {
        "description": product.description,
        "features": "\n".join(product.features),
        "reviews": "no reviews",
    }
    return f"[Back to Search]\n[< Prev]\n{_cut(text[state.text], words)}"


_PAGES: dict[str, Callable[[State, int], str]] = {
    "search": _search_page,
    "results": _results_page,
    "item": _item_page,
    "text": _text_page,
}
