"""Where a language model puts the right element of a page among all that can be acted on."""

from __future__ import annotations

import math
from collections.abc import Callable

from everystep.core.errors import DataError
from everystep.core.records import Message, Sample
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.models.local import LocalModel, LocalSampler
from everystep.run.aims import Aim
from everystep.tools.axprune import candidates
from everystep.tools.axtree import AXNode

ASK = "Which element should be used next? Answer with its number."


def scorer(model: LocalModel) -> LocalLearner:
    """Return what scores a page's candidates in one pass: they share their prompt."""
    return LocalLearner(
        model.network, options=LocalOptions(packing="tree", tokens_per_batch=8192), make_sampler=lambda policy: LocalSampler(model, policy=policy)
    )  # fmt: skip


def rank_of(
    scored_by: LocalLearner, model: LocalModel, aim: Aim, form: Callable[[AXNode], str], *, most: int = 2048
) -> dict[str, float]:
    """Return the rank of the element that the known way acts on, by the log-probability of its number (with the bracket behind it) after the page in a form.

    ``rank`` counts from 1, ties for the worse; ``reciprocal rank``; ``log share``: the natural logarithm of its share of the probability of all candidates; ``first`` is 1 where it is the best;
    ``cut`` 1 where the prompt lost its middle. ``DataError`` where the step acts on no candidate.
    """
    some = candidates(aim.tree)
    if aim.target not in some:
        raise DataError(f"the step {aim.action!r} acts on none of the {len(some)} candidates.")
    head = aim.seen.split("\n", 1)[0]
    page = model.template.encode(form(aim.tree))
    room = most - 100
    cut = len(page) > room
    text = model.template.decode(page[: room // 2]) + "\n...\n" + model.template.decode(page[-room // 2 :]) if cut else form(aim.tree)  # fmt: skip
    asked = Message(role="user", content=f"{head}\n{text}\n{head}\n{ASK}")
    prompt = tuple(model.template.context((asked,), first=True).ids) + model.template.encode("[")
    rows, lengths = [], []
    for number in some:
        answer = model.template.encode(f"{number}]")
        rows.append(Sample(ids=(*prompt, *answer)))
        lengths.append(len(answer))
    scored = scored_by.score(rows)
    sums = {number: sum(one.logprobs[-length:]) for number, one, length in zip(some, scored, lengths, strict=True)}  # fmt: skip
    right = sums[aim.target]
    rank = sum(value >= right for value in sums.values())
    top = max(sums.values())
    total = top + math.log(sum(math.exp(value - top) for value in sums.values()))
    return {
        "rank": float(rank), "reciprocal rank": 1 / rank, "log share": right - total, "first": float(rank == 1), "candidates": float(len(some)), "cut": float(cut),
    }  # fmt: skip
