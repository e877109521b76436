"""Generation over many turns: keys and values kept between turns, against reading everything again each turn.

Four ways to answer the same turns of the same conversations, each turn a choice between three actions:

- reuse: ``LocalSampler``, which reads the new tokens only
- again: the same sampler with fresh conversations each turn, which reads everything again
- generate: transformers' ``generate`` for one token over the left-padded whole conversations (no restriction to actions), and
  its rendering by the chat template each turn
- render: how long turning messages into tokens takes, of the new messages and of the whole conversation

Before anything is timed, the log-probabilities of reuse and again must agree to 1e-4. Times are CPU seconds of one thread,
so that a busy machine measures the same.

    OMP_NUM_THREADS=1 python benchmarks/generation.py            # about three minutes of CPU
    OMP_NUM_THREADS=1 python benchmarks/generation.py --quick
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from everystep.core.protocols import Generation, Request, Sampling, Turn
from everystep.core.records import Message
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.tiny import tiny_model

ACTIONS = ("go left", "go right", "go forward")
COLOURS = ("red", "green", "blue", "grey")
SESSIONS = 32
TURNS = {"0.1M": (4, 16, 48), "2M": (16,)}


def measure(*, quick: bool = False) -> list[dict[str, object]]:
    """All rows: what, turns, tokens read, CPU seconds of each way, times (again / reuse)."""
    out: list[dict[str, object]] = []
    for size, lengths in {"0.1M": TURNS["0.1M"][:2]}.items() if quick else TURNS.items():
        model = tiny_model([observation(i, 0) for i in range(64)] + list(ACTIONS), size=size, context=4096)
        out += [measure_turns(model, turns, size) for turns in lengths]
    model = tiny_model([observation(i, 0) for i in range(64)] + list(ACTIONS), size="0.1M")
    out += [measure_decode(model, sessions) for sessions in (1, 96)]
    return out


def measure_turns(model: LocalModel, turns: int, size: str) -> dict[str, object]:
    requests = [[request(session, turn) for session in range(SESSIONS)] for turn in range(turns)]
    answers = reuse(model, requests)
    check(answers, again(model, requests, answers))
    once = timed(lambda: reuse(model, requests))
    reread = timed(lambda: again(model, requests, answers))
    generate = timed(lambda: generated(model, requests, answers))
    new_tokens = sum(len(answer.tokens.ids) for turn in answers for answer in turn if answer.tokens)
    lengths = np.array([[len(a.tokens.ids) if a.tokens else 0 for a in turn] for turn in answers])
    render_new, render_all = rendered(model, requests, answers)
    return {
        "what": f"{SESSIONS} conversations, {size} parameters",
        "turns": turns,
        "tokens_reuse": new_tokens,
        "tokens_again": int(lengths.cumsum(axis=0).sum()),
        "reuse_s": round(once, 3),
        "again_s": round(reread, 3),
        "generate_s": round(generate, 3),
        "times": round(reread / once, 2),
        "times_generate": round(generate / once, 2),
        "render_new_us_per_turn": round(render_new, 1),
        "render_all_us_per_turn": round(render_all, 1),
    }


def measure_decode(model: LocalModel, sessions: int) -> dict[str, object]:
    """Milliseconds of one forward pass of a live batch that decodes freely."""
    tokens = 32
    best = float("inf")
    for repeat in range(3):
        sampler = LocalSampler(model)
        calls: list[int] = []
        handle = model.decoder.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        requests = [request(session, repeat, allowed=None) for session in range(sessions)]
        start = time.process_time()
        answers = sampler.sample(requests, Sampling(max_tokens=tokens))
        elapsed = time.process_time() - start
        handle.remove()
        written = sum(answer.usage.completion for answer in answers)
        best = min(best, elapsed / len(calls))
    return {
        "what": f"free decoding, 0.1M parameters, {sessions} conversations",
        "turns": 1,
        "ms_per_forward": round(best * 1e3, 2),
        "tokens_per_s": round(written / elapsed),
    }


# --- the ways -----------------------------------------------------------------------------------


def reuse(model: LocalModel, requests: list[list[Request]]) -> list[list[Generation]]:
    sampler = LocalSampler(model)
    return [sampler.sample(turn, Sampling()) for turn in requests]


def again(
    model: LocalModel, requests: list[list[Request]], answers: list[list[Generation]]
) -> list[list[Generation]]:
    """Answer every turn in fresh conversations that are put behind the recorded turns."""
    out = []
    for number, turn in enumerate(requests):
        sampler = LocalSampler(model)
        for session in range(SESSIONS):
            past = [
                Turn(
                    messages=requests[t][session].messages,
                    text=answers[t][session].text,
                    tokens=answers[t][session].tokens,
                )
                for t in range(number)
            ]
            sampler.prime(turn[session].session, past)
        out.append(sampler.sample(turn, Sampling()))
    return out


def generated(model: LocalModel, requests: list[list[Request]], answers: list[list[Generation]]) -> None:
    tokenizer = model.tokenizer
    tokenizer.padding_side = "left"
    chats: list[list[dict[str, str]]] = [[] for _ in range(SESSIONS)]
    for number, turn in enumerate(requests):
        for session in range(SESSIONS):
            chats[session] += [{"role": m.role, "content": m.content} for m in turn[session].messages]
        batch = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        with torch.inference_mode():
            model.network.generate(
                **inputs, max_new_tokens=1, do_sample=True, pad_token_id=tokenizer.pad_token_id
            )
        for session in range(SESSIONS):
            chats[session].append({"role": "assistant", "content": answers[number][session].text})


def rendered(
    model: LocalModel, requests: list[list[Request]], answers: list[list[Generation]]
) -> tuple[float, float]:
    """Microseconds a turn to make the tokens of the last turn: of its new messages, and of everything."""
    last = len(requests) - 1
    chats = []
    for session in range(SESSIONS):
        chat = []
        for number in range(last + 1):
            chat += [{"role": m.role, "content": m.content} for m in requests[number][session].messages]
            if number < last:
                chat.append({"role": "assistant", "content": answers[number][session].text})
        chats.append(chat)

    def new() -> None:
        model.template.encode.cache_clear()
        for session in range(SESSIONS):
            model.template.delta(requests[last][session].messages, first=False)

    def whole() -> None:
        for chat in chats:
            model.tokenizer.apply_chat_template(chat, add_generation_prompt=True)

    return timed(new, 3) / SESSIONS * 1e6, timed(whole, 3) / SESSIONS * 1e6


# --- the workload -------------------------------------------------------------------------------


def observation(session: int, turn: int) -> str:
    seen = [
        f"a {COLOURS[(session + turn + k) % 4]} ball {(session * 3 + turn) % 8} ahead {k} aside"
        for k in range(5)
    ]
    return f"you see {', '.join(seen)}"


def request(session: int, turn: int, allowed: tuple[str, ...] | None = ACTIONS) -> Request:
    message = Message(role="user", content=observation(session, turn))
    return Request(session=str(session), messages=(message,), allowed=allowed, seed=session * 1000 + turn)


def check(left: list[list[Generation]], right: list[list[Generation]]) -> None:
    for one, two in zip(left, right, strict=True):
        for a, b in zip(one, two, strict=True):
            if a.tokens is None or b.tokens is None or a.tokens.ids != b.tokens.ids:
                raise AssertionError(f"other tokens: {a} and {b}")
            np.testing.assert_allclose(a.tokens.logprobs, b.tokens.logprobs, atol=1e-4)


def timed(run: Callable[[], object], repeats: int = 1) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    for row in measure(quick=parser.parse_args().quick):
        print(row)
