"""Generation: many live conversations over several turns, with keys and values kept, against reading everything again."""

from __future__ import annotations

import time

import numpy as np
from layouts import wait
from subject import Subject

from everystep.core.protocols import Generation, Request, Sampling, Turn
from everystep.core.records import Message, Sample, SpanKind
from everystep.learn.learner import LocalLearner, LocalOptions
from everystep.models.local import LocalModel, LocalSampler, load

COLOURS = ("red", "green", "blue", "grey", "yellow", "purple")
THINGS = ("ball", "box", "key", "door")
FP32_GAP = 1e-3


def measure(subject: Subject, device: str, *, tiny: bool) -> list[dict[str, object]]:
    """A row a way: sessions, turns, written and read tokens, seconds, written tokens a second."""
    sessions, turns, most = (8, 3, 8) if tiny else (128, 6, 64)
    out: list[dict[str, object]] = []
    for dtype in ("float32", "bfloat16"):
        model = load(subject.name, device=device, dtype=dtype)
        if dtype == "bfloat16":
            talk(model, device, sessions=sessions, turns=1, most=8)  # warm up
        answers, seconds = talk(model, device, sessions=sessions, turns=turns, most=most)
        gap = gap_of(model, answers)
        if dtype == "float32":
            assert gap["max_gap"] <= FP32_GAP, gap
        written = sum(answer.usage.completion for turn in answers for answer in turn)
        new = sum(len(answer.tokens.ids) for turn in answers for answer in turn if answer.tokens)
        row: dict[str, object] = {
            "precision": dtype,
            "sessions": sessions,
            "turns": turns,
            "way": "keys and values kept",
            "written_tokens": written,
            "read_tokens": new,
            "seconds": round(seconds, 3),
            "written_tokens_per_s": round(written / seconds),
        }
        out.append(row | gap)
        seconds, read = again(model, device, answers, sessions=sessions, most=most)
        out.append(
            row
            | {
                "way": "read again each turn",
                "read_tokens": read,
                "seconds": round(seconds, 3),
                "written_tokens_per_s": round(written / seconds),
            }
        )
    return out


def talk(
    model: LocalModel, device: str, *, sessions: int, turns: int, most: int
) -> tuple[list[list[Generation]], float]:
    sampler = LocalSampler(model)
    wait(device)
    began = time.perf_counter()
    answers = [
        sampler.sample([request(session, turn) for session in range(sessions)], Sampling(max_tokens=most))
        for turn in range(turns)
    ]
    wait(device)
    return answers, time.perf_counter() - began


def again(
    model: LocalModel, device: str, answers: list[list[Generation]], *, sessions: int, most: int
) -> tuple[float, int]:
    """Answer the same turns in fresh conversations behind the recorded ones; the same seeds write as much."""
    read = 0
    wait(device)
    began = time.perf_counter()
    for number in range(len(answers)):
        sampler = LocalSampler(model)
        for session in range(sessions):
            past = [
                Turn(
                    messages=request(session, turn).messages,
                    text=answers[turn][session].text,
                    tokens=answers[turn][session].tokens,
                )
                for turn in range(number)
            ]
            sampler.prime(str(session), past)
        found = sampler.sample(
            [request(session, number) for session in range(sessions)], Sampling(max_tokens=most)
        )
        read += sum(len(answer.tokens.ids) for answer in found if answer.tokens)
        read += sum(len(answer.tokens.ids) for turn in answers[:number] for answer in turn if answer.tokens)
    wait(device)
    return time.perf_counter() - began, read


def gap_of(model: LocalModel, answers: list[list[Generation]], sessions: int = 8) -> dict[str, object]:
    """How far the learner's log-probabilities of the written tokens are from those that the sampler recorded."""
    learner = LocalLearner(model.network, options=LocalOptions())
    gaps: list[float] = []
    for session in range(min(sessions, len(answers[0]))):
        ids: list[int] = []
        places: list[int] = []
        sampled: list[float] = []
        for turn in answers:
            tokens = turn[session].tokens
            assert tokens is not None, turn[session].error
            for span in tokens.spans:
                if span.kind is SpanKind.SAMPLED:
                    places += range(len(ids) + span.start, len(ids) + span.end)
            sampled += tokens.logprobs
            ids += tokens.ids
        scored = learner.score([Sample(ids=tuple(ids))])[0].logprobs
        gaps += [abs(scored[place] - one) for place, one in zip(places, sampled, strict=True)]
    return {"max_gap": round(max(gaps), 6), "mean_gap": round(float(np.mean(gaps)), 6)}


def observation(session: int, turn: int) -> str:
    seen = [
        f"a {COLOURS[(session + turn + k) % 6]} {THINGS[(session * 3 + k) % 4]}, {(session + 2 * turn + k) % 9} steps ahead and {k % 5} to the left"
        for k in range(10)
    ]
    return f"You see {'; '.join(seen)}. What do you do next?"


def request(session: int, turn: int) -> Request:
    message = Message(role="user", content=observation(session, turn))
    return Request(session=str(session), messages=(message,), seed=session * 1000 + turn)
