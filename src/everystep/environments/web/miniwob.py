"""MiniWoB++ (Liu et al. 2018, arXiv 1802.08802; the package ``miniwob`` of the Farama Foundation, MIT): small web tasks in a real Chromium.

The pages are those of the package, 125 tasks. What is seen is the task's sentence and the page's visible elements as numbered lines; what is done are clicks, keys and drags
at the browser's input, as a person's would be. The page decides: the reward is its raw one, without the decay by time, and an episode is solved when that is above 0. Two
things differ from the published pages: the limit of ten seconds is raised to a day, for a model that thinks longer, and jQuery's animations end at once. A browser that
crashes or hangs is ended and costs the one episode that it was in.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task, ToolCall
from everystep.environments.exact import check_place, check_range, make_task
from everystep.environments.web.miniwob_script import SOLVED, Seen, next_action
from everystep.tools import browsing
from everystep.tools.axprune import page_text, prune
from everystep.tools.axtree import AXNode, nodes_of, raw_text, reached_through, renumbered
from everystep.tools.chromium import Left, Page
from everystep.tools.idle import How, Idle

ALL = "all"
OBSERVATIONS = ("lines", "pruned", "pruned_roles", "raw")
KEYS: Mapping[str, tuple[str, int]] = {
    "Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27), "Backspace": ("", 8), "Delete": ("", 46), "Space": (" ", 32),
    "ArrowUp": ("", 38), "ArrowDown": ("", 40), "ArrowLeft": ("", 37), "ArrowRight": ("", 39), "Home": ("", 36), "End": ("", 35),
    "PageUp": ("", 33), "PageDown": ("", 34),
}  # fmt: skip
CHORDS: Mapping[str, str] = {"Ctrl+A": "selectAll", "Ctrl+C": "copy", "Ctrl+V": "paste", "Ctrl+X": "cut"}
_ACTS = re.compile(
    r"(?P<verb>click|hover) (?P<a>[1-9]\d{0,3})"
    r"|(?P<typing>type) (?P<into>[1-9]\d{0,3})(?: (?P<text>[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]{0,500}))?"
    r"|(?P<choosing>select) (?P<list>[1-9]\d{0,3}) (?P<option>[^\x00-\x1f\ud800-\udfff]{1,100})"
    r"|(?P<pressing>press) (?P<key>[A-Za-z+]{1,12})(?: (?P<times>[1-9]\d{0,2}))?"
    r"|(?P<drag>drag) (?P<what>[1-9]\d{0,3}) (?:to (?P<to>[1-9]\d{0,3})|by (?P<dx>-?\d{1,3}) (?P<dy>-?\d{1,3}))"
    r"|(?P<scroll>scroll) (?P<area>[1-9]\d{0,3}) (?P<way>up|down)"
    r"|(?P<point>point) (?P<x>\d{1,3}) (?P<y>\d{1,3})"
    r"|(?P<wait>wait)",
    re.ASCII,
)
_BEFORE = """
{
  const Real = Date, off = 1480000000000 - Real.now();
  window.Date = class extends Real {
    constructor(...given) { if (given.length) super(...given); else super(Real.now() + off); }
    static now() { return Real.now() + off; }
  };
  let state = 1;
  Math.random = () => { state = (state * 48271) % 2147483647; return state / 2147483647; };
}
"""  # what a page reads of its surroundings while it loads is the same each time
_INSTRUCTION = (
    "Do in the page what the task says. Each line of the page is an element with its number. Answer with one action: click N; type N TEXT (replaces what the "
    "field holds); select N OPTION; press KEY [TIMES] ("
    + ", ".join((*KEYS, *CHORDS))
    + "); drag N to M; drag N by DX DY; scroll N up or down; hover N; "
    "point X Y (a click at a place); wait."
)


@cache
def names() -> tuple[str, ...]:
    """Return the tasks of the package, in alphabetical order. ``ConfigError`` where it is missing."""
    return tuple(sorted(path.stem for path in (_folder() / "miniwob").glob("*.html")))


def _folder() -> Path:
    spec = find_spec("miniwob")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "miniwob needs the package 'miniwob' (https://github.com/Farama-Foundation/miniwob-plusplus) and a Chromium. "
            "Install them with: pip install --no-deps miniwob; apt-get install chromium"
        )
    return Path(spec.submodule_search_locations[0]) / "html"


@cache
def look_script() -> str:
    """Return the program that lists a page's elements in a browser."""
    return Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


_FRAME = "[...document.querySelectorAll('#query, #reward-display, #sync-task-cover, #click-canvas')]"
"""The parts of a page that are not its task's."""
_IDLE = Idle(prepare=lambda page: _prepare(page))


def _prepare(page: Page) -> None:
    page.send("Page.addScriptToEvaluateOnNewDocument", {"source": _BEFORE})


def _give_back(how: How, held: list[Page]) -> None:
    while held:
        _IDLE.give(how, held.pop())


def line_of(number: int, one: Mapping[str, Any]) -> str:
    """Return an element as a line.

    >>> line_of(3, {"tag": "input_checkbox", "id": "ch0", "checked": True, "x": 1, "y": 2, "w": 3, "h": 4})
    '3 input_checkbox #ch0 [checked]'
    """
    parts = [str(number), one["tag"]]
    if one.get("id"):
        parts.append(f"#{one['id']}")
    if one.get("cls"):
        parts.append("." + ".".join(one["cls"].split()))
    parts += [json.dumps(one[key], ensure_ascii=False) for key in ("text",) if one.get(key)]
    if "value" in one:
        parts.append(f"value={json.dumps(one['value'], ensure_ascii=False)}")
    for key in ("hint", "title", "fill", "corners"):
        if one.get(key) and not (
            (key == "fill" and one["tag"] in ("button", "select"))
            or (key == "fill" and one["tag"].startswith("input"))
        ):
            parts.append(f"{key}={one[key]!s}")
    if "options" in one:
        parts.append("options: " + " | ".join(one["options"]))
    if (
        not one.get("text")
        and one["tag"] != "tr"
        and not one["tag"].startswith(("input", "select", "option"))
    ):
        parts.append(f"at {one['x']},{one['y']} size {one['w']}x{one['h']}")
    parts += [f"[{key}]" for key in ("checked", "disabled", "focused") if one.get(key)]
    return " ".join(parts)


class Browser:
    """One episode at a time in a browser that is kept from episode to episode."""

    def __init__(self, world: MiniWoB) -> None:
        self._world = world
        self._how = (world.browser, world.headless, world.timeout_s)
        self._held: list[Page] = []
        self._finalizer = weakref.finalize(self, _give_back, self._how, self._held)
        self._name, self._query = "", ""
        self._list: list[dict[str, Any]] = []
        self._done: list[str] = []
        self._text = ""
        self.tree: AXNode | None = None
        self._over = True

    def reset(self, task: Task) -> Observation:
        """Load the page of ``task`` and begin its episode."""
        self._name, seed = self._world.place(task.seed)
        self._over = True
        if not self._held or not self._held[0].usable:
            self._held.clear()
            self._held.append(_IDLE.take(self._how))
        page = self._held[0]
        page.open((_folder() / "miniwob" / f"{self._name}.html").as_uri())
        try:
            page.evaluate(
                f"Math.seedrandom('{seed}'); {look_script()}; __everystep.begun = core.startEpisodeReal()"
            )
            for _ in range(50):
                if page.evaluate("WOB_TASK_READY"):
                    break
                page.evaluate("__everystep.settle(100)")
            state = page.evaluate("__everystep.state()")
        except Left as left:
            raise WorldError(f"the page of {self._name!r} could not be begun: {left}") from None
        self._query, self._list, self._done, self._over = state["query"], state["list"], [], False
        self._look(page)
        return self._seen()

    def _look(self, page: Page) -> None:
        """Make the text of the page: its listed elements, or its tree with their numbers."""
        kind = self._world.observation
        if kind == "lines":
            self._text = "\n".join(line_of(number, one) for number, one in enumerate(self._list, start=1))
            return
        whole = browsing.look(page, frozenset(browsing.elements(page, _FRAME)))
        listed = browsing.elements_and_texts(page, "__everystep.nodes")
        own = {dom: number for number, (dom, _) in enumerate(listed, start=1)}
        there = {one.dom for one in nodes_of(whole)}
        inner = {text: number for number, (dom, texts) in enumerate(listed, start=1) if dom not in there for text in texts}  # fmt: skip
        self.tree = reached_through(
            renumbered(whole, inner | own)
        )  # an element that the tree leaves out is known by its text
        short = self.tree if kind == "raw" else prune(self.tree, clickable=kind == "pruned")
        self._text = raw_text(short) if kind == "raw" else page_text(short)

    def _seen(self, note: str = "") -> Observation:
        head = [note] if note else []
        return Observation(
            text="\n".join([*head, f"task: {self._query}", *([self._text] if self._text else [])])
        )

    def parse(self, text: str) -> Action:
        """Read one action; surrounding white space does not matter."""
        told = (
            text.strip(" \n\t")
            if not text.lstrip(" \n\t").startswith("type ")
            else text.lstrip(" \n\t").rstrip("\n")
        )
        found = _ACTS.fullmatch(told) if len(text) <= 1000 else None
        if found is None:
            return Action(
                text=text,
                valid=False,
                reason="expected one of: click N, type N TEXT, select N OPTION, press KEY, drag N to M, drag N by DX DY, scroll N up, hover N, point X Y, wait",
            )
        given = {key: value for key, value in found.groupdict().items() if value is not None}
        if "key" in given and given["key"] not in (*KEYS, *CHORDS):
            return Action(
                text=text,
                valid=False,
                reason=f"unknown key {given['key']!r}. {did_you_mean(given['key'], (*KEYS, *CHORDS))}",
            )
        return Action(text=text, calls=(ToolCall(name=text.split(maxsplit=1)[0], arguments=given),))

    def step(self, action: Action) -> Transition:
        """Do one action at the browser's input and look at the page again."""
        if self._over or not self._held:
            raise WorldError("there is no episode: reset the environment with a task first.")
        if not action.valid:
            return self._refused(action.reason or "not an action of this world")
        if not action.calls:
            action = self.parse(action.text)
            if not action.valid:
                return self._refused(action.reason or "")
        given = {key: str(value) for key, value in action.calls[0].arguments.items()}
        page = self._held[0]
        try:
            refused = self._do(page, given)
            if refused:
                return self._refused(refused)
            state = page.evaluate(f"__everystep.state({1000 if 'wait' in given else 0})")
        except Left:
            self._over = True
            return Transition(
                observation=Observation(text="the page was left"),
                reward=-1.0,
                terminated=True,
                success=False,
                reason="the page was left",
            )
        self._done.append(action.text.strip())
        self._list = state["list"]
        if state["done"]:
            self._over = True
            raw = max(-1.0, min(1.0, float(state["raw"] or 0.0)))
            return Transition(
                observation=Observation(text="solved" if raw > 0 else "the episode is over, not solved"),
                reward=raw,
                terminated=True,
                success=raw > 0,
            )
        self._query = state["query"]
        self._look(page)
        return Transition(observation=self._seen(), reward=0.0)

    def _refused(self, reason: str) -> Transition:
        return Transition(
            observation=self._seen(f"refused: {reason}"), reward=0.0, valid=False, reason=reason
        )

    def _do(self, page: Page, given: Mapping[str, str]) -> str:
        """Do it; return why it was refused, or nothing."""
        if "wait" in given:
            return ""
        if "x" in given:
            self._press_at(page, float(given["x"]), float(given["y"]))
            return ""
        if "key" in given:
            for _ in range(int(given.get("times", "1"))):
                _key(page, given["key"])
            return ""
        number = int(given.get("a") or given.get("into") or given.get("list") or given.get("what") or given.get("area") or 0)  # fmt: skip
        if number > len(self._list):
            return f"there is no element {number}; the last one is {len(self._list)}"
        if "option" in given:
            if not page.evaluate(f"__everystep.option({number - 1}, {json.dumps(given['option'])})"):
                return f"element {number} has no option {given['option']!r}"
            return ""
        if "way" in given:
            page.evaluate(f"__everystep.scroll({number - 1}, {100 if given['way'] == 'down' else -100})")
            return ""
        if "into" in given:
            if not page.evaluate(f"__everystep.field({number - 1})"):
                return f"nothing can be typed into element {number}"
            return self._type(page, number - 1, given.get("text", ""))
        place = page.evaluate(f"__everystep.place({number - 1})")
        if place is None:
            return f"element {number} is not there any more"
        x, y = place
        if given.get("verb") == "hover":
            _mouse(page, "mouseMoved", x, y)
        elif "what" in given:
            if "to" in given:
                if int(given["to"]) > len(self._list):
                    return f"there is no element {given['to']}; the last one is {len(self._list)}"
                to = page.evaluate(f"__everystep.place({int(given['to']) - 1})")
                if to is None:
                    return f"element {given['to']} is not there any more"
            else:
                to = [x + int(given["dx"]), y + int(given["dy"])]
            _mouse(page, "mouseMoved", x, y)
            _mouse(page, "mousePressed", x, y)
            for part in range(1, 6):
                _mouse(page, "mouseMoved", x + (to[0] - x) * part / 5, y + (to[1] - y) * part / 5, held=True)
            _mouse(page, "mouseReleased", to[0], to[1])
        else:
            self._press_at(page, x, y)
        return ""

    @staticmethod
    def _press_at(page: Page, x: float, y: float) -> None:
        _mouse(page, "mouseMoved", x, y)
        _mouse(page, "mousePressed", x, y)
        _mouse(page, "mouseReleased", x, y)

    def _type(self, page: Page, number: int, text: str) -> str:
        place = page.evaluate(f"__everystep.place({number})")
        if place is None:
            return "the field is not there any more"
        self._press_at(page, *place)
        if page.evaluate(f"__everystep.write({number}, {json.dumps(text)})"):
            return ""
        page.evaluate(f"__everystep.clear({number})")
        if not text:
            _key(page, "Backspace")
        for letter in text:
            if letter == "\n":
                _key(page, "Enter")
                continue
            page.post("Input.dispatchKeyEvent", {"type": "keyDown", "text": letter, "key": letter})
            last = page.post("Input.dispatchKeyEvent", {"type": "keyUp", "key": letter})
        if text and text[-1] != "\n":
            page.reply(last, "Input.dispatchKeyEvent")
        return ""

    def oracle(self) -> str:
        """Return what the script does next. ``WorldError`` where it has no script for the task, or knows no way."""
        if self._over:
            raise WorldError("there is no episode: reset the environment with a task first.")
        if self._name not in SOLVED:
            raise WorldError(f"there is no script for the task {self._name!r}; scripts: {', '.join(SOLVED)}.")
        return next_action(
            self._name, self._query, [Seen(number=n, **one) for n, one in enumerate(self._list, start=1)], self._done
        )  # fmt: skip

    def close(self) -> None:
        """Give the browser back."""
        self._over = True
        _give_back(self._how, self._held)


def _mouse(page: Page, kind: str, x: float, y: float, *, held: bool = False) -> None:
    down = kind != "mouseMoved"
    page.send(
        "Input.dispatchMouseEvent",
        {
            "type": kind, "x": x, "y": y, "button": "left" if down or held else "none",
            "buttons": int(held or kind == "mousePressed"), "clickCount": int(down),
        },
    )  # fmt: skip


def _key(page: Page, key: str) -> None:
    if key in CHORDS:
        name = key[-1].lower()
        told: dict[str, Any] = {"key": name, "code": f"Key{name.upper()}", "modifiers": 2, "windowsVirtualKeyCode": ord(name.upper())}  # fmt: skip
        page.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "commands": [CHORDS[key]], **told})
    else:
        text, code = KEYS[key]
        name = " " if key == "Space" else key
        told = {"key": name, "code": key, "windowsVirtualKeyCode": code}
        more = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        page.send("Input.dispatchKeyEvent", {**more, **told})
    page.send("Input.dispatchKeyEvent", {"type": "keyUp", **told})


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniWoB:
    """Options: ``page`` is a task's name, or several with commas, ``scripted`` (those that the script knows) or ``all`` 125, which follow each other; a window with ``headless`` false; ``horizon`` is the step limit.

    ``observation`` shows the page as numbered ``lines``, as its accessibility tree (``raw``) or that ``pruned`` (``pruned_roles`` numbers by role alone); the numbers, and so the actions, are the same.
    ``browser`` is the path of a Chromium, else the first on the search path. ``timeout_s`` is how long it may be silent.
    """

    page: str = ALL
    observation: str = "lines"
    headless: bool = True
    horizon: int = 30
    browser: str = ""
    timeout_s: float = 30.0

    name: ClassVar[str] = "miniwob"
    summary: ClassVar[str] = "small web tasks in a real Chromium (MiniWoB++): click, type, drag"

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, 1, 1000)
        check_range(self.name, "timeout_s", self.timeout_s, 1, 600)
        if self.observation not in OBSERVATIONS:
            raise ConfigError(f"miniwob: option 'observation' is {self.observation!r}. {did_you_mean(self.observation, OBSERVATIONS)}")  # fmt: skip

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def pages(self) -> tuple[str, ...]:
        """Return the names of the tasks that are played."""
        if self.page == ALL:
            return names()
        if self.page == "scripted":
            return tuple(sorted(SOLVED))
        some = tuple(self.page.split(","))
        for page in some:
            if page not in names():
                raise ConfigError(
                    f"miniwob has no task {page!r}. {did_you_mean(page, (ALL, 'scripted', *names()))}"
                )
        return some

    def place(self, seed: int) -> tuple[str, str]:
        """Return the task's name and its page's seed for the seed of a task."""
        pages = self.pages()
        number, test = divmod(seed, 2)
        return pages[number % len(pages)], f"{'test' if test else 'train'}-{number // len(pages)}"

    def make(self) -> Browser:
        """Return an environment for tasks of this world."""
        return Browser(self)

    def size(self, split: str) -> int | None:
        """Return ``None``: seeds have no end."""
        check_place(split, 0)
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of a split: the pages in turn, each time with a new seed."""
        check_place(split, index)
        seed = 2 * index + (split == "test")
        name, _ = self.place(seed)
        return make_task(
            self,
            split=split,
            index=index,
            seed=seed,
            instruction=_INSTRUCTION,
            tags={"task": name, "family": name.split("-", 1)[0]},
        )
