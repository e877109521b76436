"""Local web sites in a real Chromium: a shop, a forum, an encyclopaedia, an account, each of many pages that follow from a seed.

The browser asks for pages as it would on the web and this process answers over the browser's own pipe: no server, no port, no network. What is seen is the page as its accessibility tree
(``pruned``, ``raw``) or as numbered lines; what is done are the actions of AgentOccam (arXiv 2410.13825): clicks, texts, back, home, notes, an answer, and two that grow and cut
a plan. The state of the site and the answer decide. A browser that crashes or hangs costs the one episode that it was in.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any, ClassVar
from urllib.parse import urlsplit

from everystep.core.errors import ConfigError, WorldError, did_you_mean
from everystep.core.protocols import Transition
from everystep.core.records import Action, Observation, Task, ToolCall
from everystep.environments.exact import check_place, check_range, make_task
from everystep.environments.outline import (  # fmt: skip
    Outline,
    Past,
    begun,
    branched,
    noted,
    past_text,
    plan_text,
    pruned,
    refusal,
)
from everystep.environments.web import account as web_account
from everystep.environments.web import forum as web_forum
from everystep.environments.web import shop as web_shop
from everystep.environments.web import wiki as web_wiki
from everystep.environments.web.miniwob import line_of as listed_line
from everystep.environments.web.miniwob import look_script
from everystep.environments.web.site import BASE, Goal, Site, read_query
from everystep.environments.web.way import Here, next_action
from everystep.tools import browsing
from everystep.tools.axprune import line_of, page_text, prune
from everystep.tools.axtree import AXNode, nodes_of, raw_line, raw_text
from everystep.tools.chromium import Left, Page
from everystep.tools.idle import How, Idle

OBSERVATIONS = ("pruned", "pruned_roles", "raw", "lines")
HISTORIES = ("none", "all", "active")
SITES: Mapping[str, tuple[Callable[[Random], Any], Callable[[Any, Random], Sequence[Goal]]]] = {
    "shop": (web_shop.shop, web_shop.goals), "forum": (web_forum.forum, web_forum.goals),
    "wiki": (web_wiki.wiki, web_wiki.goals), "account": (web_account.account, web_account.goals),
}  # fmt: skip
"""Each site: how it is made, and its goals."""
GOALS: Mapping[str, tuple[str, ...]] = {
    "shop": ("shop price", "shop weight", "shop dearest", "shop cheapest", "shop order", "shop two"),
    "forum": ("forum author", "forum town", "forum answer", "forum vote"),
    "wiki": ("wiki founded", "wiki mayor", "wiki people", "wiki river"),
    "account": ("account email", "account language", "account notice", "account cancel", "account total"),
}
"""The kinds of goals of each site."""
ALL = "all"
_TEXT = r"[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\n]"
_ACTS = re.compile(
    r"(?P<click>click) \[(?P<id>[1-9]\d{0,5})\]"
    rf"|(?P<type>type) \[(?P<into>[1-9]\d{{0,5}})\] \[(?P<text>{_TEXT}{{0,500}})\]"
    r"|(?P<go>go_back|go_home)"
    rf"|(?P<note>note) \[(?P<noted>{_TEXT}{{1,500}})\]"
    rf"|(?P<stop>stop) \[(?P<answer>{_TEXT}{{0,500}})\]"
    rf"|(?P<branch>branch) \[(?P<parent>\d{{1,4}})\] \[(?P<intent>{_TEXT}{{1,300}})\]"
    rf"|(?P<prune>prune) \[(?P<resume>\d{{1,4}})\] \[(?P<reason>{_TEXT}{{1,300}})\]",
    re.ASCII,
)
_BEFORE = re.compile(rf"keep(?P<keep>(?: \[\d{{1,6}}\])+)|seen \[(?P<seen>{_TEXT}{{1,500}})\]", re.ASCII)
_EXPECTED = "expected one of: click [id], type [id] [text], go_back, go_home, note [text], stop [answer], branch [parent] [intent], prune [goal] [reason]"
_INSTRUCTION = (
    "Do on the web site what the task says. Answer with one action: click [id]; type [id] [text] (replaces what the field holds, or chooses that option of a list); go_back; "
    "go_home; note [text]; stop [answer] (ends the task; the answer to a question, else done); branch [parent] [intent] (a new goal under one of the plan); "
    "prune [goal] [reason] (back to that goal of the plan, to the page where it was begun). Lines before it may be: keep [id] [id] (what to remember of this page); seen [description]."
)
_IDLE = Idle()


class _Server:
    """The site of the episode that a browser is in; it answers what the browser asks for."""

    def __init__(self) -> None:
        self.site: Site
        self.state: Any = None

    def answer(self, method: str, url: str, body: str) -> tuple[int, Mapping[str, str], str]:
        asked = urlsplit(url)
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
        if method == "POST":
            made = self.site.post(self.state, asked.path, read_query(body))
            if made is not None:
                self.state = made[0]
                return 303, {**headers, "Location": made[1]}, ""
        html = None if method == "POST" else self.site.page(self.state, asked.path, read_query(asked.query))
        if html is not None:
            return 200, headers, html
        return 404, headers, "<title>Not found</title><h1>Not found</h1><a href='/'>Home</a>"


def _give_back(how: How, held: list[Page]) -> None:
    while held:
        page = held.pop()
        if page.usable:
            page.serve(None)
        _IDLE.give(how, page)


class Browser:
    """One episode at a time in a browser that is kept from episode to episode."""

    def __init__(self, world: WebSites) -> None:
        self._world = world
        self._how = (world.browser, world.headless, world.timeout_s)
        self._held: list[Page] = []
        self._server = _Server()
        self._finalizer = weakref.finalize(self, _give_back, self._how, self._held)
        self._goal: Goal
        self._over = True
        self.tree = AXNode(role="")
        self._shown: dict[int, AXNode] = {}
        self._line: dict[int, str] = {}
        self._text, self._address = "", "/"
        self._trail: list[str] = []
        self._visited: set[str] = set()
        self._past: list[Past] = []
        self._outline: Outline = begun("", "/")

    # --- the life of an episode ---------------------------------------------------------------

    def reset(self, task: Task) -> Observation:
        """Open the home page of the task's site."""
        self._over = True
        self._server.site, self._goal = self._world.place(task.seed)
        self._server.state = self._server.site.begin()
        if not self._held or not self._held[0].usable:
            self._held.clear()
            self._held.append(_IDLE.take(self._how))
        page = self._held[0]
        page.serve(self._server.answer)
        page.open(BASE + "/")
        self._trail, self._visited, self._past = [], set(), []
        self._outline = begun(self._goal.text, "/")
        self._look(page)
        self._over = False
        return self._seen()

    def close(self) -> None:
        """Give the browser back."""
        self._over = True
        _give_back(self._how, self._held)

    def parse(self, text: str) -> Action:
        """Read one action, behind lines that begin with keep or seen."""
        given: dict[str, str] = {}
        lines = text.strip(" \n\t").split("\n") if len(text) <= 2000 else []
        for line in lines[:-1]:
            before = _BEFORE.fullmatch(line.strip())
            if before is None:
                lines = []
                break
            given |= {key: value for key, value in before.groupdict().items() if value is not None}
        found = _ACTS.fullmatch(lines[-1].strip()) if lines else None
        if found is None:
            return Action(text=text, valid=False, reason=_EXPECTED)
        given |= {key: value for key, value in found.groupdict().items() if value is not None}
        return Action(text=text, calls=(ToolCall(name=lines[-1].split()[0], arguments={**given}),))

    def step(self, action: Action) -> Transition:
        """Do one action and look at the page again."""
        if self._over or not self._held:
            raise WorldError("there is no episode: reset the environment with a task first.")
        if action.valid and not action.calls:
            action = self.parse(action.text)
        if not action.valid:
            return self._refused(action.reason or _EXPECTED)
        given = {key: str(value) for key, value in action.calls[0].arguments.items()}
        if "stop" in given:
            return self._stopped(given.get("answer", ""))
        page = self._held[0]
        past = self._told(given)
        try:
            refused = self._do(page, given)
            if refused:
                return self._refused(refused)
            page.settle()
            self._look(page)
        except Left as left:
            raise WorldError(f"the page was left while it was looked at: {left}") from None
        self._past.append(past)
        return Transition(observation=self._seen(), reward=0.0)

    def _stopped(self, answer: str) -> Transition:
        self._over = True
        solved = self._goal.reached(self._server.state, answer)
        return Transition(
            observation=Observation(text="solved" if solved else "the episode is over, not solved"),
            reward=float(solved), terminated=True, success=solved,
        )  # fmt: skip

    def _refused(self, reason: str) -> Transition:
        return Transition(
            observation=self._seen(f"refused: {reason}"), reward=0.0, valid=False, reason=reason
        )

    @property
    def address(self) -> str:
        """Return the path of the open page."""
        return self._address

    # --- acting ---------------------------------------------------------------------------------

    def _do(self, page: Page, given: Mapping[str, str]) -> str:
        """Do it; return why it was refused, or nothing."""
        if "id" in given or "into" in given:
            number = int(given.get("id") or given["into"])
            node = self._shown.get(number)
            if node is None:
                return f"there is no element [{number}] on this page"
            if "id" in given:
                return browsing.click(page, node.dom)
            if node.role in ("combobox", "listbox") and any(one.role == "option" for one in nodes_of(node)):
                return browsing.choose(page, node.dom, given.get("text", ""))
            if node.role not in ("textbox", "searchbox", "combobox", "spinbutton"):
                return f"nothing can be typed into [{number}], a {node.role}"
            return browsing.fill(page, node.dom, given.get("text", ""))
        if given.get("go") == "go_back":
            if not self._trail:
                return "there is no page before this one"
            before = self._trail.pop()
            page.open(BASE + before)
            self._address = before
        elif "go" in given:
            page.open(BASE + "/")
        elif "note" in given:
            self._outline = noted(self._outline, given["noted"])
        elif "branch" in given:
            why = refusal(self._outline, int(given["parent"]))
            if why:
                return why
            self._outline = branched(self._outline, int(given["parent"]), given["intent"], self._address)
        else:
            number = int(given["resume"])
            why = refusal(self._outline, number)
            if why:
                return why
            self._outline = pruned(self._outline, number, given["reason"])
            page.open(BASE + self._outline.items[number].place)
        return ""

    def _told(self, given: Mapping[str, str]) -> Past:
        """Return what will be remembered of a step, before it is taken."""
        act = next(iter(key for key in ("click", "type", "go", "note", "branch", "prune") if key in given))
        number = int(given.get("id") or given.get("into") or 0)
        keep = [int(one) for one in re.findall(r"\d+", given.get("keep", ""))] or [number]
        what = f" {self._line[number]}" if number in self._line else ""
        with_text = next((f" [{given[key]}]" for key in ("text", "noted", "intent", "reason") if key in given), "")  # fmt: skip
        return Past(
            goal=self._outline.active, action=f"{given['go'] if act == 'go' else act}{what}{with_text}", page=repr(self.tree.name), looks=self._text,
            pivotal="\n".join(self._line[one] for one in keep if one in self._line), said=given.get("seen", ""),
        )  # fmt: skip

    # --- looking --------------------------------------------------------------------------------

    def _look(self, page: Page) -> None:
        self.tree = browsing.look(page)
        at = urlsplit(self.tree.prop("url"))
        address = at.path + (f"?{at.query}" if at.query else "")
        if address != self._address and self._visited:
            self._trail.append(self._address)
        self._address = address
        self._visited.add(address)
        kind = self._world.observation
        if kind == "raw":
            self._text = raw_text(self.tree)
            self._shown = {one.id: one for one in nodes_of(self.tree)}
            self._line = {number: raw_line(one) for number, one in self._shown.items()}
        elif kind == "lines":
            self._text, self._shown = self._lines(page)
            self._line = dict(enumerate(self._text.split("\n"), start=1))
        else:
            short = prune(self.tree, clickable=kind == "pruned")
            self._text = page_text(short)
            whole = {one.id: one for one in nodes_of(self.tree)}
            self._shown = {one.id: whole[one.id] for one in nodes_of(short) if one.id}
            self._line = {one.id: line_of(one) for one in nodes_of(short) if one.id}

    def _lines(self, page: Page) -> tuple[str, dict[int, AXNode]]:
        listed = page.evaluate(f"window.core = {{}}; {look_script()}; __everystep.look()")
        of = {one.dom: one for one in nodes_of(self.tree) if one.dom}
        doms = browsing.elements(page, "__everystep.nodes")
        text = "\n".join(listed_line(number, one) for number, one in enumerate(listed, start=1))
        blank = {number: AXNode(role="text", dom=dom, id=number) for number, dom in enumerate(doms, start=1)}
        return text, {number: of.get(one.dom, one) for number, one in blank.items()}

    def _seen(self, note: str = "") -> Observation:
        parts = [note] if note else []
        parts.append(f"task: {self._goal.text}")
        if not self._outline.plain:
            parts.append(f"plan:\n{plan_text(self._outline)}")
        if self._world.history != "none" and self._past:
            goal = self._outline.active if self._world.history == "active" else None
            before = past_text(self._past, self._text, goal=goal)
            parts += [f"before:\n{before}"] if before else []
        parts.append(self._text)
        key = "\x1f".join((repr(self._server.state), self._address, raw_text(self.tree), repr(self._outline), repr(self._trail), repr(self._goal.text)))  # fmt: skip
        return Observation(
            text="\n".join(parts), anchor=sha256(key.encode("utf-8", "replace")).hexdigest()[:24]
        )

    def oracle(self) -> str:
        """Return the next action of the known way, from wherever the episode stands."""
        if self._over:
            raise WorldError("there is no episode: reset the environment with a task first.")
        server = self._server
        return next_action(self._goal, Here(site=server.site, state=server.state, address=self._address, visited=self._visited, shown=self._shown))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSites:
    """Options: ``site`` is shop, forum, wiki, account or all; ``goal`` one kind of goal (such as ``shop price``) or all, which follow each other.

    ``observation`` is the pruned tree (``pruned``; ``pruned_roles`` numbers by role alone), the ``raw`` tree or numbered ``lines``. ``history`` shows earlier steps in the observation: none, all, or those
    for the active goal of the plan. A window with ``headless`` false; ``browser`` is the path of a Chromium, ``timeout_s`` how long it may be silent, ``horizon`` the step limit.
    """

    site: str = ALL
    goal: str = ALL
    observation: str = "pruned"
    history: str = "none"
    horizon: int = 20
    headless: bool = True
    browser: str = ""
    timeout_s: float = 30.0

    name: ClassVar[str] = "web_sites"
    summary: ClassVar[str] = (
        "local web sites of many pages in a real Chromium: shop, forum, encyclopaedia, account"
    )

    def __post_init__(self) -> None:
        check_range(self.name, "horizon", self.horizon, 1, 1000)
        check_range(self.name, "timeout_s", self.timeout_s, 1, 600)
        for option, value, known in (("site", self.site, (ALL, *SITES)), ("observation", self.observation, OBSERVATIONS), ("history", self.history, HISTORIES)):  # fmt: skip
            if value not in known:
                raise ConfigError(
                    f"{self.name}: option {option!r} is {value!r}. {did_you_mean(value, known)}"
                )
        if self.goal != ALL and self.goal not in goal_names(self.site):
            raise ConfigError(f"{self.name}: option 'goal' is {self.goal!r}. {did_you_mean(self.goal, (ALL, *goal_names(self.site)))}")  # fmt: skip

    @property
    def max_steps(self) -> int:
        """The step limit of an episode."""
        return self.horizon

    def place(self, seed: int) -> tuple[Site, Goal]:
        """Return the site and the goal for the seed of a task."""
        number, test = divmod(seed, 2)
        kinds = [self.goal] if self.goal != ALL else list(goal_names(self.site))
        kind = kinds[number % len(kinds)]
        return made(kind, f"{'test' if test else 'train'}-{number // len(kinds)}")

    def make(self) -> Browser:
        """Return an environment for tasks of this world."""
        return Browser(self)

    def size(self, split: str) -> int | None:
        """Return ``None``: seeds have no end."""
        check_place(split, 0)
        return None

    def task(self, split: str, index: int) -> Task:
        """Return task ``index`` of a split: the kinds of goals in turn, each time with a new site."""
        check_place(split, index)
        seed = 2 * index + (split == "test")
        _, goal = self.place(seed)
        return make_task(
            self, split=split, index=index, seed=seed, instruction=_INSTRUCTION,
            tags={"site": goal.kind.split()[0], "goal": goal.kind},
        )  # fmt: skip


def made(kind: str, seed: str) -> tuple[Site, Goal]:
    """Return the site of a seed and its goal of a kind."""
    site_of, goals_of = SITES[kind.split()[0]]
    random = Random(f"{kind}-{seed}")
    site = site_of(random)
    return site, next(one for one in goals_of(site, random) if one.kind == kind)


def goal_names(site: str = ALL) -> tuple[str, ...]:
    """Return the kinds of goals of a site, or of all."""
    return tuple([name for one, names in GOALS.items() for name in names if site in (ALL, one)])
