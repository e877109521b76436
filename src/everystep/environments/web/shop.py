"""A local shop: categories over several pages, a search, products, a cart and an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from urllib.parse import quote_plus

from everystep.environments.web.html import (  # fmt: skip
    choice,
    facts,
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

NAME = "Harbour Shop"
CATEGORIES: Mapping[str, Sequence[str]] = {
    "Lamps": ("desk lamp", "floor lamp", "lantern", "night light"), "Bags": ("backpack", "tote", "satchel", "duffel"),
    "Kitchen": ("kettle", "teapot", "whisk", "pan"), "Garden": ("trowel", "hose", "rake", "planter"), "Desk": ("notebook", "stapler", "pen set", "ruler"),
}  # fmt: skip
MAKERS = ("Arden", "Bexley", "Corvo", "Delmar", "Esker", "Fenwick", "Galen", "Hollis", "Ivory", "Juno", "Kestrel", "Lumen")  # fmt: skip
COLOURS = ("red", "blue", "green", "black", "white", "amber")
PAGE = 5
_NAV = (*[(f"/c/{name.lower()}", name) for name in CATEGORIES], ("/cart", "Cart"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What is sold. Prices are in cents."""

    number: int
    name: str
    category: str
    cents: int
    weight: int
    colour: str
    stars: int

    @property
    def price(self) -> str:
        """Its price as it is shown."""
        return f"${self.cents // 100}.{self.cents % 100:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What is in the cart, as number and quantity, and what was ordered."""

    cart: tuple[tuple[int, int], ...] = ()
    ordered: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The shop of one seed."""

    products: tuple[Product, ...]
    name: str = NAME

    def begin(self) -> Bought:
        """Return the state in which nothing was bought."""
        return Bought()

    def title(self, path: str) -> str:
        """Return what to search for to find a product's page."""
        return self.products[int(path.rsplit("/", 1)[1])].name

    def of(self, category: str) -> list[Product]:
        """Return the products of a category."""
        return [one for one in self.products if one.category.lower() == category.lower()]

    def page(self, state: Bought, path: str, query: Mapping[str, str]) -> str | None:
        """Return a page."""
        parts = path.strip("/").split("/")
        if path == "/":
            some = self.products[:: len(self.products) // 4][:4]
            rooms = [heading("Departments", 2), listing(link(f"/c/{one.lower()}", one) for one in CATEGORIES)]
            return self._frame("Welcome", [text("Free delivery", "over $50", "this week"), *rooms, heading("Featured", 2), self._grid(some)])  # fmt: skip
        if parts[0] == "c" and len(parts) == 2 and self.of(parts[1]):
            return self._category(parts[1], query)
        if path == "/search":
            words = query.get("q", "").casefold().split()
            found = [one for one in self.products if words and all(word in one.name.casefold() for word in words)]  # fmt: skip
            body = self._table(found[:10]) if found else text("Nothing was found.")
            return self._frame(f"Results for {query.get('q', '')!r}", [body])
        if parts[0] == "p" and len(parts) == 2 and 0 <= whole(parts[1]) < len(self.products):
            return self._product(self.products[whole(parts[1])])
        if path == "/cart":
            return self._cart(state)
        if path == "/ordered":
            return self._frame("Thank you", [text("Your order of", str(len(state.ordered)), "items is on its way.")])  # fmt: skip
        return None

    def post(self, state: Bought, path: str, given: Mapping[str, str]) -> tuple[Bought, str] | None:
        """Return what a form changes."""
        number = whole(given.get("item"))
        if path == "/add" and 0 <= number < len(self.products) and given.get("quantity") in ("1", "2", "3", "4", "5"):  # fmt: skip
            held = dict(state.cart)
            held[number] = held.get(number, 0) + int(given["quantity"])
            return replace(state, cart=tuple(held.items())), "/cart"
        if path == "/remove":
            return replace(state, cart=tuple([one for one in state.cart if one[0] != number])), "/cart"
        if path == "/order" and state.cart:
            return Bought(ordered=(*state.ordered, *state.cart)), "/ordered"
        return None

    def _frame(self, title: str, body: Sequence[str]) -> str:
        aside = (heading("Help", 2), text("Questions?", "Call", "555 0100"), picture("Secure payment"))
        return frame(NAME, title, _NAV, body, search="Search the shop", aside=aside)

    def _grid(self, some: Sequence[Product]) -> str:
        return listing(
            f'<a href="/p/{one.number}">{picture(one.name)}</a>{link(f"/p/{one.number}", one.name)}<span>{one.price}</span>' for one in some
        )  # fmt: skip

    def _table(self, some: Sequence[Product]) -> str:
        rows = [(link(f"/p/{one.number}", one.name), one.price, f"{one.stars} stars") for one in some]
        return table(("Product", "Price", "Rating"), rows)

    def _category(self, name: str, query: Mapping[str, str]) -> str:
        found = self.of(name)
        last = (len(found) - 1) // PAGE + 1
        at = max(1, min(whole(query.get("page")), last))
        pages = "".join(f"<li>{link(f'/c/{name}?page={k}' if k > 1 else f'/c/{name}', f'Page {k}')}</li>" for k in range(1, last + 1) if k != at)  # fmt: skip
        title = found[0].category
        return self._frame(title, [heading(title, 2), self._table(found[(at - 1) * PAGE : at * PAGE]), f"<nav aria-label=Pages><ul>{pages}</ul></nav>"])  # fmt: skip

    def _product(self, one: Product) -> str:
        told = {"Price": one.price, "Colour": one.colour, "Weight": f"{one.weight} g", "Rating": f"{one.stars} stars", "Department": link(f"/c/{one.category.lower()}", one.category)}  # fmt: skip
        add = form("/add", hidden("item", str(one.number)), choice("quantity", "Quantity", "12345", "1"), button="Add to cart")  # fmt: skip
        return self._frame(one.name, [picture(one.name), heading(one.name, 2), facts(told), add, heading("Reviews", 2), text("Does what it should.", "By a customer")])  # fmt: skip

    def _cart(self, state: Bought) -> str:
        rows = [
            (link(f"/p/{k}", self.products[k].name), str(n), form("/remove", hidden("item", str(k)), button=f"Remove {self.products[k].name}"))
            for k, n in state.cart
        ]  # fmt: skip
        body = [table(("Product", "Quantity", ""), rows), form("/order", button="Place order")] if rows else [text("Your cart is empty.")]  # fmt: skip
        return self._frame("Cart", body)


def shop(random: Random) -> Shop:
    """Return a shop of twelve products in each department."""
    made: list[Product] = []
    for category, kinds in CATEGORIES.items():
        names = [f"{maker} {kind}" for maker in MAKERS for kind in kinds]
        prices = random.sample(range(405, 9900, 5), 12)
        weights = random.sample(range(60, 3000), 12)
        for name, cents, weight in zip(random.sample(names, 12), prices, weights, strict=True):
            made.append(Product(number=len(made), name=name, category=category, cents=cents, weight=weight, colour=random.choice(COLOURS), stars=random.randint(1, 5)))  # fmt: skip
    return Shop(products=tuple(made))


def goals(site: Shop, random: Random) -> tuple[Goal, ...]:
    """Return one goal of each kind."""
    some = random.choice(site.products)
    category = random.choice(list(CATEGORIES))
    cheapest = min(site.of(category), key=lambda one: one.cents)
    other = random.choice([one for one in site.products if one.category != category])
    quantity = random.randint(2, 5)
    dear = max(site.of(category), key=lambda one: one.cents)
    return (
        _fact("shop price", f"What is the price of the {some.name}? It can be searched for.", some, some.price, find=True),
        _fact("shop weight", f"What is the weight of the {other.name} in the department {other.category}?", other, f"{other.weight} g"),
        _fact("shop dearest", f"What colour is the most expensive product of the department {category}?", dear, dear.colour, pages=_pages(site, category)),
        _order(site, "shop cheapest", f"Order one of the cheapest product of the department {category}.", ((cheapest, 1),), pages=_pages(site, category)),
        _order(site, "shop order", f"Order {quantity} of the {other.name} and nothing else.", ((other, quantity),)),
        _order(site, "shop two", f"Put one {some.name} and one {cheapest.name} in one order." if some != cheapest else f"Order one {some.name}.",
               ((some, 1), (cheapest, 1)) if some != cheapest else ((some, 1),)),
    )  # fmt: skip


def _pages(site: Shop, category: str) -> tuple[str, ...]:
    last = (len(site.of(category)) - 1) // PAGE + 1
    base = f"/c/{category.lower()}"
    return (base, *[f"{base}?page={k}" for k in range(2, last + 1)])


def _fact(kind: str, told: str, one: Product, answer: str, *, find: bool = False, pages: Sequence[str] = ()) -> Goal:  # fmt: skip
    before = [Want(kind="visit", path=page) for page in pages]
    if find:
        before = [Want(kind="search", text=one.name, path=f"/search?q={quote_plus(one.name)}")]
    wants = (*before, Want(kind="visit", path=f"/p/{one.number}"), Want(kind="stop", text=answer))
    return Goal(kind=kind, text=told, reached=lambda _, said: tidy(said) == tidy(answer), wants=lambda _: wants)  # fmt: skip


def _order(
    site: Shop, kind: str, told: str, wanted: Sequence[tuple[Product, int]], pages: Sequence[str] = ()
) -> Goal:
    goal = {one.number: quantity for one, quantity in wanted}

    def reached(state: Bought, _: str) -> bool:
        return dict(state.ordered) == goal and len(state.ordered) == len(goal)

    def wants(state: Bought) -> Sequence[Want]:
        if state.ordered:
            return (Want(kind="stop", text="done"),)
        held = dict(state.cart)
        for number, quantity in held.items():
            if goal.get(number) != quantity:
                return (Want(kind="press", path="/cart", name=f"Remove {site.products[number].name}"),)
        for one, quantity in wanted:
            if one.number not in held:
                page = f"/p/{one.number}"
                before = [Want(kind="visit", path=path) for path in pages]
                set_it = [Want(kind="choose", path=page, name="Quantity", text=str(quantity))] if quantity > 1 else []  # fmt: skip
                return (*before, Want(kind="visit", path=page), *set_it, Want(kind="press", path=page, name="Add to cart"))  # fmt: skip
        return (Want(kind="press", path="/cart", name="Place order"),)

    return Goal(kind=kind, text=told, reached=reached, wants=wants)
