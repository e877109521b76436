"""A local forum: boards, threads, posts that can be answered and voted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from everystep.environments.web.html import (  # fmt: skip
    field,
    form,
    frame,
    heading,
    hidden,
    link,
    listing,
    picture,
    table,
    text,
)
from everystep.environments.web.site import Goal, Want, tidy, whole

NAME = "Lantern Forum"
BOARDS: Mapping[str, Sequence[str]] = {
    "Cycling": ("chain noise", "winter tyres", "saddle height", "night lights", "bottle cages"), "Baking": ("sourdough starter", "crumb structure", "oven stones", "rye flour", "cold proof"),
    "Hiking": ("ridge trail", "tent repair", "water filters", "boot sizes", "map apps"), "Chess": ("rook endings", "opening books", "time trouble", "blindfold play", "old clocks"),
}  # fmt: skip
USERS = (
    "anika",
    "boris",
    "chloe",
    "dmitri",
    "elena",
    "farid",
    "greta",
    "hugo",
    "imani",
    "jonas",
    "keiko",
    "lars",
)
WAYS = ("Question about {}", "My notes on {}", "Help with {}")
SAID = ("Thanks, that helped.", "I would try again.", "It worked for me.", "Not sure about this.", "Here is what I found.", "Same here.")  # fmt: skip
_NAV = (*[(f"/b/{name.lower()}", name) for name in BOARDS], ("/members", "Members"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A thread: who began it, and who answered what; the first post is the author's."""

    number: int
    board: str
    title: str
    posts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was answered, as thread and text, and which posts were voted for, as thread and number."""

    answers: tuple[tuple[int, str], ...] = ()
    votes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forum:
    """The forum of one seed."""

    threads: tuple[Thread, ...]
    towns: Mapping[str, str]
    name: str = NAME

    def begin(self) -> Said:
        """Return the state in which nothing was said."""
        return Said()

    def title(self, path: str) -> str:
        """Return the title of a thread's page."""
        return self.threads[int(path.rsplit("/", 1)[1])].title

    def page(self, state: Said, path: str, query: Mapping[str, str]) -> str | None:  # noqa: ARG002
        """Return a page."""
        parts = path.strip("/").split("/")
        if path == "/":
            return self._frame("Boards", [text("Be kind.", "Search before you ask."), table(("Board", "Threads"), [(link(f"/b/{one.lower()}", one), str(len(self.of(one)))) for one in BOARDS])])  # fmt: skip
        if parts[0] == "b" and len(parts) == 2 and self.of(parts[1]):
            rows = [(link(f"/t/{one.number}", one.title), one.posts[0][0], str(len(one.posts) - 1)) for one in self.of(parts[1])]  # fmt: skip
            return self._frame(self.of(parts[1])[0].board, [heading(self.of(parts[1])[0].board, 2), table(("Thread", "Author", "Replies"), rows)])  # fmt: skip
        if parts[0] == "t" and len(parts) == 2 and 0 <= whole(parts[1]) < len(self.threads):
            return self._thread(state, self.threads[whole(parts[1])])
        if path == "/members":
            return self._frame("Members", [listing(picture(one) + link(f"/u/{one}", one) for one in USERS)])
        if parts[0] == "u" and len(parts) == 2 and parts[1] in USERS:
            own = [one for one in self.threads if one.posts[0][0] == parts[1]]
            return self._frame(parts[1], [picture(parts[1]), text("Lives in", self.towns[parts[1]]), heading("Threads", 2), listing(link(f"/t/{one.number}", one.title) for one in own)])  # fmt: skip
        return None

    def of(self, board: str) -> list[Thread]:
        """Return the threads of a board."""
        return [one for one in self.threads if one.board.lower() == board.lower()]

    def post(self, state: Said, path: str, given: Mapping[str, str]) -> tuple[Said, str] | None:
        """Return what a form changes."""
        number = whole(given.get("thread"))
        if not 0 <= number < len(self.threads):
            return None
        if path == "/answer" and given.get("answer", "").strip():
            return replace(state, answers=(*state.answers, (number, given["answer"].strip()[:500]))), f"/t/{number}"  # fmt: skip
        if path == "/vote" and 0 <= whole(given.get("post")) < len(self.threads[number].posts):  # fmt: skip
            vote = (number, whole(given.get("post")))
            return replace(state, votes=tuple(dict.fromkeys((*state.votes, vote)))), f"/t/{number}"
        return None

    def _thread(self, state: Said, one: Thread) -> str:
        posts = []
        for k, (who, said) in enumerate(one.posts):
            voted = (one.number, k) in state.votes
            button = form("/vote", hidden("thread", str(one.number)), hidden("post", str(k)), button="Voted" if voted else "Vote")  # fmt: skip
            posts.append(f"<article>{picture(who)}{link(f'/u/{who}', who)}{text(said, f'#{k + 1}')}{button}</article>")  # fmt: skip
        posts += [f"<article>{text('you', said)}</article>" for number, said in state.answers if number == one.number]  # fmt: skip
        answer = form("/answer", hidden("thread", str(one.number)), field("answer", "Your answer", hint="Write here"), button="Send answer")  # fmt: skip
        return self._frame(one.title, [heading(one.title, 2), *posts, heading("Answer", 2), answer])

    def _frame(self, title: str, body: Sequence[str]) -> str:
        aside = (heading("Rules", 2), listing(["Stay on topic", "No adverts"]))
        return frame(NAME, title, _NAV, body, aside=aside)


def forum(random: Random) -> Forum:
    """Return a forum of five threads a board."""
    made: list[Thread] = []
    for board, topics in BOARDS.items():
        counts = random.sample(range(1, 8), len(topics))
        for topic, replies in zip(topics, counts, strict=True):
            who = random.sample(USERS, replies + 1)
            made.append(Thread(number=len(made), board=board, title=random.choice(WAYS).format(topic), posts=tuple([(one, random.choice(SAID)) for one in who])))  # fmt: skip
    towns = ("Oslo", "Porto", "Gdansk", "Lyon", "Cork", "Turin", "Ghent", "Malmo", "Graz", "Brno")
    return Forum(threads=tuple(made), towns={one: random.choice(towns) for one in USERS})


def goals(site: Forum, random: Random) -> tuple[Goal, ...]:
    """Return one goal of each kind."""
    board = random.choice(list(BOARDS))
    busiest = max(site.of(board), key=lambda one: len(one.posts))
    thread = random.choice(site.threads)
    at = random.randrange(len(thread.posts))
    said = f"{random.choice(('Try', 'Read', 'Check'))} the {random.choice(('guide', 'manual', 'wiki'))} {random.randint(10, 99)}"  # fmt: skip
    author = busiest.posts[0][0]
    place, answer_page = f"/t/{thread.number}", f"/u/{author}"
    voted = thread.posts[at][0]
    return (
        _fact("forum author", f"Who began the thread with the most replies on the board {board}?", author, f"/b/{board.lower()}"),
        _fact("forum town", f"Where does the author of the thread with the most replies on the board {board} live?", site.towns[author], f"/b/{board.lower()}", answer_page),
        Goal(
            kind="forum answer", text=f"Answer '{said}' in the thread '{thread.title}' of the board {thread.board}.",
            reached=lambda state, _: state.answers == ((thread.number, said),),
            wants=lambda state: (Want(kind="stop", text="done"),) if state.answers else (
                Want(kind="fill", path=place, name="Your answer", text=said), Want(kind="press", path=place, name="Send answer")),
        ),
        Goal(
            kind="forum vote", text=f"Vote for the post of {voted} in the thread '{thread.title}' of the board {thread.board}.",
            reached=lambda state, _: state.votes == ((thread.number, at),),
            wants=lambda state: (Want(kind="stop", text="done"),) if state.votes else (Want(kind="press", path=place, name="Vote", nth=at),),
        ),
    )  # fmt: skip


def _fact(kind: str, told: str, answer: str, *pages: str) -> Goal:
    wants = (*[Want(kind="visit", path=one) for one in pages], Want(kind="stop", text=answer))
    return Goal(kind=kind, text=told, reached=lambda _, said: tidy(said) == tidy(answer), wants=lambda _: wants)  # fmt: skip
