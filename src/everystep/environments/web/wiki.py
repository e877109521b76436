"""A local encyclopaedia of made-up countries, towns and rivers, whose articles refer to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote_plus

from everystep.environments.web.html import facts, frame, heading, link, listing, picture, text
from everystep.environments.web.site import Goal, Want, tidy

NAME = "Atlas Wiki"
_FIRST = ("Bar", "Cal", "Dor", "Fen", "Gor", "Hal", "Kel", "Lor", "Mar", "Nor", "Pel", "Ras", "Sol", "Tar", "Vel", "Zan")  # fmt: skip
_COUNTRY, _TOWN, _RIVER = ("ovia", "aria", "onia", "estan"), ("burg", "ford", "port", "minster"), ("ava", "ess", "une", "itz")  # fmt: skip
_NAV = (("/countries", "Countries"), ("/towns", "Towns"), ("/rivers", "Rivers"), ("/about", "About"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """A country with its capital and its river."""

    name: str
    capital: str
    river: str
    founded: int
    people: int
    mayor: str
    length: int
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The state of a site that nobody changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiki:
    """The encyclopaedia of one seed."""

    countries: tuple[Country, ...]
    name: str = NAME

    def begin(self) -> Nothing:
        """Return the only state."""
        return Nothing()

    def title(self, path: str) -> str:
        """Return the title of an article."""
        return path.rsplit("/", 1)[1].capitalize()

    def post(self, state: Nothing, path: str, form: Mapping[str, str]) -> None:
        """Return ``None``: there are no forms."""

    def page(self, state: Nothing, path: str, query: Mapping[str, str]) -> str | None:  # noqa: ARG002
        """Return a page."""
        parts = path.strip("/").split("/")
        if path == "/":
            return self._frame("Main page", [text("An atlas", "of places", "that are not."), heading("Begin here", 2), listing(link(at, name) for at, name in _NAV)])  # fmt: skip
        if path == "/search":
            said = query.get("q", "").strip().casefold()
            found = [one for one in self._names() if said and said in one.casefold()][:10]
            return self._frame(f"Results for {query.get('q', '')!r}", [listing(link(f"/w/{one.lower()}", one) for one in found) if found else text("No article has that title.")])  # fmt: skip
        if path == "/about":
            return self._frame("About", [text("Everything here", "is made up.")])
        lists = {"/countries": [one.name for one in self.countries if one.listed], "/towns": [one.capital for one in self.countries if one.listed], "/rivers": [one.river for one in self.countries if one.listed]}  # fmt: skip
        if path in lists:
            return self._frame(path[1:].capitalize(), [text("Some of the articles;", "the others can be searched for."), listing(link(f"/w/{one.lower()}", one) for one in sorted(lists[path]))])  # fmt: skip
        return self._article(parts[1]) if parts[0] == "w" and len(parts) == 2 else None

    def _names(self) -> list[str]:
        return sorted(name for one in self.countries for name in (one.name, one.capital, one.river))

    def _article(self, name: str) -> str | None:
        for at, one in enumerate(self.countries):
            near = self.countries[(at + 1) % len(self.countries)].name
            to = {word: link(f"/w/{word.lower()}", word) for word in (one.name, one.capital, one.river, near)}
            if name == one.name.lower():
                told = {"Capital": to[one.capital], "River": to[one.river], "Founded": str(one.founded)}
                return self._frame(one.name, [*self._top(one.name, told), f"<p>The capital of <b>{one.name}</b> is {to[one.capital]}; it lies on the {to[one.river]}.</p>", heading("See also", 2), listing([to[near]])])  # fmt: skip
            if name == one.capital.lower():
                told = {"Country": to[one.name], "People": f"{one.people:,}", "Mayor": one.mayor, "River": to[one.river]}  # fmt: skip
                return self._frame(one.capital, [*self._top(one.capital, told), f"<p><b>{one.capital}</b> is a town in {to[one.name]}.</p>"])  # fmt: skip
            if name == one.river.lower():
                told = {"Country": to[one.name], "Length": f"{one.length} km", "Passes": to[one.capital]}
                return self._frame(one.river, [*self._top(one.river, told), f"<p>The <b>{one.river}</b> passes {to[one.capital]} in {to[one.name]}.</p>"])  # fmt: skip
        return None

    def _top(self, name: str, told: Mapping[str, str]) -> Sequence[str]:
        return (picture(f"Map of {name}"), heading("Facts", 2), facts(told), heading(name, 2))

    def _frame(self, title: str, body: Sequence[str]) -> str:
        return frame(NAME, title, _NAV, body, search="Search the atlas", aside=(heading("Tools", 2), listing([link("/about", "About"), "Print"])))  # fmt: skip


def wiki(random: Random) -> Wiki:
    """Return an encyclopaedia of ten countries, seven of them listed."""
    first = random.sample(_FIRST, 10)
    towns, rivers = random.sample(_FIRST, 10), random.sample(_FIRST, 10)
    mayors = random.sample(("Adair", "Brandt", "Costa", "Dahl", "Egan", "Frost", "Gray", "Hale", "Ito", "Jensen", "Kaur", "Lund"), 10)  # fmt: skip
    return Wiki(
        countries=tuple([
            Country(
                name=first[k] + random.choice(_COUNTRY), capital=towns[k] + random.choice(_TOWN), river=rivers[k] + random.choice(_RIVER), founded=random.randint(900, 1950),
                people=random.randint(20, 900) * 1000 + random.randint(0, 999), mayor=mayors[k], length=random.randint(40, 900), listed=k < 7,
            ) for k in range(10)
        ])
    )  # fmt: skip


def goals(site: Wiki, random: Random) -> tuple[Goal, ...]:
    """Return one goal of each kind."""
    listed = random.choice([one for one in site.countries if one.listed])
    other = random.choice([one for one in site.countries if not one.listed])
    third = random.choice([one for one in site.countries if one.listed])
    article = {name: f"/w/{name.lower()}" for one in site.countries for name in (one.name, one.capital, one.river)}  # fmt: skip
    find = (Want(kind="search", text=other.name, path=f"/search?q={quote_plus(other.name)}"),)
    return (
        _fact("wiki founded", f"In which year was {listed.name} founded?", str(listed.founded), visits=(article[listed.name],)),
        _fact("wiki mayor", f"Who is the mayor of the capital of {listed.name}?", listed.mayor, visits=(article[listed.name], article[listed.capital])),
        _fact("wiki people", f"How many people live in the capital of {other.name}? The article can be searched for.", f"{other.people:,}", before=find, visits=(article[other.name], article[other.capital])),
        _fact("wiki river", f"How long is the river of the country whose capital is {third.capital}?", f"{third.length} km", visits=(article[third.capital], article[third.river])),
    )  # fmt: skip


def _fact(kind: str, told: str, answer: str, *, visits: Sequence[str], before: Sequence[Want] = ()) -> Goal:
    wants = (*before, *[Want(kind="visit", path=one) for one in visits], Want(kind="stop", text=answer))
    return Goal(kind=kind, text=told, reached=lambda _, said: tidy(said) == tidy(answer), wants=lambda _: wants)  # fmt: skip
