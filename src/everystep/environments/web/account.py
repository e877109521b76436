"""A local account: a profile, notices that can be turned off, orders that can be looked at and cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from everystep.environments.web.html import (  # fmt: skip
    choice,
    facts,
    field,
    form,
    frame,
    heading,
    hidden,
    link,
    listing,
    table,
    text,
    tick,
)
from everystep.environments.web.site import Goal, Want, tidy, whole

NAME = "My Account"
LANGUAGES = ("English", "German", "French", "Spanish", "Dutch")
ZONES = ("UTC", "Lisbon", "Berlin", "Tokyo", "Lima")
NOTICES = ("Newsletter", "Price drops", "New messages", "Security alerts", "Weekly summary")
ITEMS = ("Globe", "Clock", "Blanket", "Radio", "Mirror", "Stool", "Kite", "Puzzle", "Thermos", "Candle")
PAGE = 5
_NAV = (("/profile", "Profile"), ("/notices", "Notices"), ("/orders", "Orders"), ("/help", "Help"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order. The total is in cents."""

    number: int
    item: str
    cents: int
    status: str
    month: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be changed."""

    email: str
    phone: str
    language: str
    zone: str
    notices: tuple[str, ...]
    cancelled: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account of one seed."""

    orders: tuple[Order, ...]
    start: Settings
    name: str = NAME

    def begin(self) -> Settings:
        """Return the settings as they are at first."""
        return self.start

    def title(self, path: str) -> str:
        """Return the title of a page."""
        return path.strip("/")

    def page(self, state: Settings, path: str, query: Mapping[str, str]) -> str | None:
        """Return a page."""
        parts = path.strip("/").split("/")
        if path == "/":
            return self._frame("Overview", [text("Welcome back.", "Nothing needs your attention."), facts({"Email": state.email, "Language": state.language, "Orders": str(len(self.orders))}), listing(link(at, name) for at, name in _NAV)])  # fmt: skip
        if path == "/profile":
            fields = (field("email", "Email", state.email), field("phone", "Phone", state.phone), choice("language", "Language", LANGUAGES, state.language), choice("zone", "Time zone", ZONES, state.zone))  # fmt: skip
            return self._frame("Profile", [heading("Profile", 2), form("/profile", *fields, button="Save profile")])  # fmt: skip
        if path == "/notices":
            boxes = [tick(f"n{k}", one, on=one in state.notices) for k, one in enumerate(NOTICES)]
            return self._frame("Notices", [text("What we may write to you about."), form("/notices", *boxes, button="Save notices")])  # fmt: skip
        if path == "/orders":
            last = (len(self.orders) - 1) // PAGE + 1
            at = max(1, min(whole(query.get("page")), last))
            rows = [(link(f"/orders/{one.number}", f"#{one.number}"), one.item, one.month, self._status(state, one)) for one in self.orders[(at - 1) * PAGE : at * PAGE]]  # fmt: skip
            pages = [link(f"/orders?page={k}" if k > 1 else "/orders", f"Page {k}") for k in range(1, last + 1) if k != at]  # fmt: skip
            return self._frame("Orders", [table(("Order", "Item", "Month", "Status"), rows, "Your orders"), listing(pages)])  # fmt: skip
        for one in self.orders:
            if path == f"/orders/{one.number}":
                told = {"Item": one.item, "Total": f"${one.cents // 100}.{one.cents % 100:02d}", "Status": self._status(state, one), "Month": one.month}  # fmt: skip
                cancel = [form("/cancel", hidden("order", str(one.number)), button="Cancel order")] if self._status(state, one) == "open" else []  # fmt: skip
                return self._frame(f"Order #{one.number}", [facts(told), *cancel, link("/orders", "Back to orders")])  # fmt: skip
        return self._frame("Help", [text("Write to", "help@example.org")]) if parts == ["help"] else None

    def post(self, state: Settings, path: str, given: Mapping[str, str]) -> tuple[Settings, str] | None:
        """Return what a form changes."""
        if path == "/profile" and given.get("language") in LANGUAGES and given.get("zone") in ZONES:
            return replace(state, email=given.get("email", "")[:80], phone=given.get("phone", "")[:40], language=given["language"], zone=given["zone"]), "/profile"  # fmt: skip
        if path == "/notices":
            return replace(state, notices=tuple([one for k, one in enumerate(NOTICES) if given.get(f"n{k}") == "on"])), "/notices"  # fmt: skip
        if path == "/cancel":
            found = [one for one in self.orders if str(one.number) == given.get("order") and self._status(state, one) == "open"]  # fmt: skip
            if found:
                return replace(
                    state, cancelled=(*state.cancelled, found[0].number)
                ), f"/orders/{found[0].number}"
        return None

    def _status(self, state: Settings, one: Order) -> str:
        return "cancelled" if one.number in state.cancelled else one.status

    def _frame(self, title: str, body: Sequence[str]) -> str:
        return frame(NAME, title, _NAV, body, aside=(heading("Need help?", 2), text("Our desk", "is open", "all day.")))  # fmt: skip


def account(random: Random) -> Account:
    """Return an account with eight orders."""
    numbers = random.sample(range(1000, 9999), 8)
    items = random.sample(ITEMS, 8)
    months = ("January", "February", "March", "April", "May", "June", "July", "August")
    status = ["open", "open", "sent", "delivered", "delivered", "sent", "delivered", "delivered"]
    random.shuffle(status)
    orders = [Order(number=n, item=item, cents=random.randint(500, 20_000), status=one, month=month) for n, item, one, month in zip(numbers, items, status, months, strict=True)]  # fmt: skip
    start = Settings(
        email=f"{random.choice(('ada', 'ben', 'cleo', 'dan'))}{random.randint(10, 99)}@example.org", phone=f"555 01{random.randint(10, 99)}", language=random.choice(LANGUAGES), zone=random.choice(ZONES),
        notices=tuple([one for one in NOTICES if random.random() < 0.5]),
    )  # fmt: skip
    return Account(orders=tuple(orders), start=start)


def goals(site: Account, random: Random) -> tuple[Goal, ...]:
    """Return one goal of each kind."""
    start = site.start
    email = f"{random.choice(('eva', 'finn', 'gina', 'hans'))}{random.randint(100, 999)}@example.org"
    language = random.choice([one for one in LANGUAGES if one != start.language])
    zone = random.choice([one for one in ZONES if one != start.zone])
    notice = random.choice(NOTICES)
    turned = [one for one in NOTICES if (one in start.notices) != (one == notice)]
    order = random.choice(site.orders)
    still = random.choice([one for one in site.orders if one.status == "open"])
    cancel = f"/orders/{still.number}"
    total = f"${order.cents // 100}.{order.cents % 100:02d}"
    on = notice in turned
    return (
        _change("account email", f"Change the email address to {email}.", replace(start, email=email), "/profile", "Save profile", Want(kind="fill", path="/profile", name="Email", text=email)),
        _change("account language", f"Set the language to {language} and the time zone to {zone}.", replace(start, language=language, zone=zone), "/profile", "Save profile",
                Want(kind="choose", path="/profile", name="Language", text=language), Want(kind="choose", path="/profile", name="Time zone", text=zone)),
        _change("account notice", f"Turn {'on' if on else 'off'} the notice '{notice}'.", replace(start, notices=tuple(turned)), "/notices", "Save notices",
                Want(kind="tick", path="/notices", name=notice, text="on" if on else "off")),
        _change("account cancel", f"Cancel the order of the {still.item}.", replace(start, cancelled=(still.number,)), cancel, "Cancel order"),
        Goal(kind="account total", text=f"What was the total of the order of the {order.item}?", reached=lambda _, said: tidy(said) == tidy(total),
             wants=lambda _: (Want(kind="visit", path=f"/orders/{order.number}"), Want(kind="stop", text=total))),
    )  # fmt: skip


def _change(kind: str, told: str, wanted: Settings, page: str, button: str, *before: Want) -> Goal:
    def wants(state: Settings) -> Sequence[Want]:
        if state == wanted:
            return (Want(kind="stop", text="done"),)
        return (*before, Want(kind="press", path=page, name=button))

    return Goal(kind=kind, text=told, reached=lambda state, _: state == wanted, wants=wants)
