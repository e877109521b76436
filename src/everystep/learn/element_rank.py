"""Where a language model puts the right element of a page among all that can be acted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from everystep.core.errors import DataError
from everystep.core.records import Message
from everystep.models.local import LocalModel
from everystep.run.aims import Aim
from everystep.tools.axprune import candidates
from everystep.tools.axtree import AXNode

ASK = "Which element should be used next? Answer with its number."


def rank_of(
    model: LocalModel, aim: Aim, form: Callable[[AXNode], str], *, most: int = 2048
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
    sums = dict(zip(some, answers(model, prompt, [model.template.encode(f"{number}]") for number in some]), strict=True))  # fmt: skip
    right = sums[aim.target]
    rank = sum(value >= right for value in sums.values())
    top = max(sums.values())
    total = top + math.log(sum(math.exp(value - top) for value in sums.values()))
    return {
        "rank": float(rank), "reciprocal rank": 1 / rank, "log share": right - total, "first": float(rank == 1), "candidates": float(len(some)), "cut": float(cut),
    }  # fmt: skip


def answers(model: LocalModel, prompt: Sequence[int], some: Sequence[Sequence[int]]) -> list[float]:
    """Return the log-probability of each answer behind one prompt, which is read once."""
    found = []
    with torch.no_grad():
        read = model.network(input_ids=torch.tensor([list(prompt)], device=model.device), use_cache=True, logits_to_keep=1)  # fmt: skip
        first = read.logits[0, -1].float().log_softmax(-1)
        for answer in some:
            total = float(first[answer[0]])
            if len(answer) > 1:
                rest = model.network(
                    input_ids=torch.tensor([list(answer[:-1])], device=model.device), past_key_values=read.past_key_values, use_cache=True
                )  # fmt: skip
                told = rest.logits[0].float().log_softmax(-1)
                total += sum(float(told[at, token]) for at, token in enumerate(answer[1:]))
                read.past_key_values.crop(1 - len(answer))
            found.append(total)
    return found
