"""The shop's catalogue: products, a search engine over them, goals, and how well a purchase meets a goal.

The reward is WebShop's (Yao et al. 2022, "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents", eq. 1 and
appendix): ``type * (attributes met + options met + price met) / (attributes + options + 1)``. Two things differ from the released engine, which
needs packages of its own for them: nouns of titles are all words without the commonest ones (there, a parser's nouns), and options and attributes
are compared by their words (there, by a fuzzy ratio above 85).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from everystep.core.errors import ConfigError
from everystep.environments.bm25 import Index, best, index_of
from everystep.environments.published import SAMPLES, find_file, read_text

SOURCE = (
    "https://github.com/princeton-nlp/WebShop (the 1,000 products: products_1k.jsonl, items_ins_v2_1000.json)"
)
SAMPLE = "webshop_sample.json"

_WORD = re.compile(r"[a-z0-9]+(?:[.'][a-z0-9]+)*")
_COMMON = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "for",
        "from",
        "has",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "was",
        "with",
        "your",
        "you",
        "i",
        "me",
        "my",
        "find",
        "need",
        "want",
        "looking",
        "lower",
        "than",
        "dollars",
        "price",
    ]
)
PRICES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 130.0, 200.0, 300.0, 500.0, 1000.0)
"""Upper prices that a goal may ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One product. ``price`` is the lowest one asked; ``shown`` is how the price is written."""

    id: str
    title: str
    category: str
    shelf: tuple[str, ...]
    query: str
    description: str
    features: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    price: float
    shown: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is to be bought: a product (others may do as well), its attributes, the options to choose and the highest price."""

    product: Product
    attributes: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    price: float
    instruction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """How well a purchase meets a goal; each part in [0, 1], ``reward`` the published product of them."""

    type: float
    attributes: float
    options: float
    price: float
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    """Products by id, those that a goal can be made of, and the inverted index of their texts."""

    products: Mapping[str, Product]
    wanted: tuple[tuple[str, str, tuple[str, ...]], ...]
    index: Index
    ids: tuple[str, ...]

    def search(self, query: str, most: int = 50) -> tuple[str, ...]:
        """Return the ids of the best ``most`` products, ties in the order of the catalogue."""
        return tuple(self.ids[place] for place in best(self.index, " ".join(words_of(query)), most))


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without the commonest; a plural's s is cut."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def goal_of(catalog: Catalog, place: int, seed: int) -> Goal:
    """Return the goal of the ``place``-th wanted product; ``seed`` draws its options and its highest price.

    As in the released generator, the price is drawn among the round prices above the product's, and the instruction
    names what is asked for, the options and the price.
    """
    name, instruction, attributes = catalog.wanted[place]
    product, rng = catalog.products[name], Random(seed)
    options = tuple((option, rng.choice(values)) for option, values in product.options.items())
    above = [price for price in PRICES if price > product.price][:4]
    price = sorted(rng.sample(above, 2))[1] if len(above) > 1 else math.inf
    told = (
        f"{instruction} with {', and '.join(f'{key}: {value}' for key, value in options)}"
        if options
        else instruction
    )
    limit = f", and price lower than {price:.2f} dollars" if math.isfinite(price) else ""
    return Goal(
        product=product, attributes=attributes, options=options, price=price, instruction=told + limit
    )


def bought(product: Product, chosen: Mapping[str, str], goal: Goal) -> Bought:
    """Return how well buying ``product`` with the ``chosen`` options meets ``goal``."""
    kind = _type(product, goal.product)
    attributes = sum(_has(product, one) for one in goal.attributes)
    options = sum(any(_alike(value, one) for one in chosen.values()) for _, value in goal.options)
    price = float(product.price <= goal.price)
    wanted = len(goal.attributes) + len(goal.options) + 1
    return Bought(
        type=kind,
        attributes=attributes / max(1, len(goal.attributes)),
        options=options / len(goal.options) if goal.options else 1.0,
        price=price,
        reward=kind * (attributes + options + price) / wanted,
    )


def _type(product: Product, wanted: Product) -> float:
    """Return the type reward: 1, 0.5, 0.1 or 0 as in the released engine."""
    if product.query == wanted.query or len(set(product.shelf) & set(wanted.shelf)) >= 2:
        return 1.0
    mine, its = set(words_of(wanted.title)), set(words_of(product.title))
    share = len(mine & its) / max(1, len(mine))
    if share == 0:
        return 0.0
    return 0.1 if share < 0.1 else 0.5 if share <= 0.2 else 1.0


def _has(product: Product, attribute: str) -> bool:
    if any(_alike(attribute, one) for one in product.attributes):
        return True
    text = " ".join((product.title, *product.features, product.description)).lower()
    return attribute in text


def _alike(one: str, other: str) -> bool:
    """Whether two texts are the same, or the words of one are all in the other."""
    mine, its = frozenset(words_of(one)), frozenset(words_of(other))
    return one.lower() == other.lower() or bool(mine and its and (mine <= its or its <= mine))


# --- reading --------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def load_catalog(data: str) -> Catalog:
    """Load ``sample`` (packaged), ``published`` (from EVERYSTEP_DATA/webshop) or a folder with the two files; once a process."""
    if data == "sample":
        raw = json.loads((SAMPLES / SAMPLE).read_text(encoding="utf-8"))
        records, asked = raw["products"], raw["instructions"]
    else:
        folder = "webshop" if data == "published" else Path(data)
        lines = read_text(find_file(folder, "products_1k.jsonl", SOURCE)).splitlines()
        records = [json.loads(line) for line in lines]
        asked = json.loads(read_text(find_file(folder, "items_ins_v2_1000.json", SOURCE)))
    try:
        return _catalog([_product(one) for one in records], asked)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"webshop: the products in {data!r} are not as expected: {error!r}. See {SOURCE}."
        ) from None


def _catalog(products: Sequence[Product], asked: Mapping[str, Any]) -> Catalog:
    known = {one.id: one for one in products}
    wanted = tuple(
        (name, str(one["instruction"]), tuple(map(str, one["instruction_attributes"])))
        for name, one in asked.items()
        if name in known and one.get("instruction") and one.get("instruction_attributes")
    )
    if not wanted:
        raise ConfigError(f"webshop: no product has an instruction, so there is no task. See {SOURCE}.")
    return Catalog(
        products=known,
        wanted=wanted,
        index=index_of([" ".join(words_of(one.text)) for one in products]),
        ids=tuple(one.id for one in products),
    )


def _product(record: Mapping[str, Any]) -> Product:
    raw = record["product"]
    return Product(
        id=str(raw["asin"]),
        title=str(raw["Title"]),
        category=str(raw["category"]),
        shelf=tuple(part.strip() for part in str(raw["product_category"]).split("\u203a")),
        query=str(raw["query"]),
        description=str(raw["Description"]),
        features=tuple(map(str, raw["BulletPoints"])),
        options={str(key): tuple(map(str, values)) for key, values in raw["options"].items()},
        attributes=tuple(map(str, raw["Attributes"])),
        price=float(min(raw["pricing"])),
        shown=str(raw["Price"]),
        text=str(record["contents"]),
    )
