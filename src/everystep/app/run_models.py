"""The models that ``--model`` can name. What is heavy is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from runpy import run_path
from typing import Any
from urllib.parse import urlsplit

from everystep.app.run_options import number, only, split_spec
from everystep.core.errors import ConfigError, did_you_mean
from everystep.core.protocols import AsyncSampler, Request, Sampler
from everystep.core.records import Json
from everystep.models.scripted import Noisy, Scripted
from everystep.run.folder import CONFIG, TRAIN, open_run

KNOWN = ("oracle", "noisy", "random", "script", "local", "smollm", "chat")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model. ``scripted`` ones cost nothing and take no sampling options; ``trained`` is one that a training made; ``close`` ends its connections."""

    sampler: Sampler | AsyncSampler
    scripted: bool = False
    trained: bool = False
    close: Callable[[], Awaitable[object]] | None = None


def model_of(
    spec: str,
    *,
    answer: Callable[[Request], str] | None,
    seed: int = 0,
    key: str | None = None,
    tools: tuple[Mapping[str, Json], ...] = (),
) -> Chosen:
    """Return the model that ``spec`` names; ``answer`` is what the environment's oracle says, ``None`` without one."""
    name, sign, rest = spec.partition(":")
    if name in ("oracle", "noisy", "random", "smollm") or not sign:
        name, argument, more = split_spec(spec, "model")
    else:
        argument, more = rest, {}
    if name not in KNOWN:
        raise ConfigError(f"--model {spec!r}: unknown model {name!r}. {did_you_mean(name, KNOWN)}")
    if key is not None and name != "chat":
        raise ConfigError(f"--key is the key of an endpoint; --model {spec!r} has none.")
    if name == "chat":
        return _chat(spec, rest, key, tools)
    if name == "local":
        return _local(argument)
    if name == "script":
        return Chosen(sampler=Scripted(_script(argument), policy="script"), scripted=True)
    only(more, ("correlated",) if name == "noisy" else (), spec, "model")
    if name == "smollm":
        from everystep.models.smollm import NAME

        return Chosen(sampler=_loaded(NAME))
    if name == "random":
        return Chosen(sampler=Scripted(_any_admissible, policy="random"), scripted=True)
    if answer is None:
        raise ConfigError(
            f"--model {spec!r} needs an environment that knows the way, and this one does not. Name another model: "
            "local:FOLDER, smollm or chat:MODEL@URL."
        )
    oracle = Scripted(answer, policy="oracle")
    if name == "oracle":
        return Chosen(sampler=oracle, scripted=True)
    rate = number(argument or "0.1", float, "model")
    correlated = number(more.get("correlated", "0"), float, "model")
    noisy = Noisy(oracle, error_rate=rate, correlated=correlated, corrupt=corrupted, seed=seed)
    return Chosen(sampler=noisy, scripted=True)


def corrupted(request: Request, right: str, random: Random) -> str:
    """Return a wrong answer: another admissible action, or ``right`` with a word left out where none are listed."""
    others = [text for text in request.allowed or () if text != right]
    if request.allowed is not None:
        return random.choice(others) if others else right
    words = right.split()
    gone = random.randrange(len(words)) if words else 0
    return " ".join(words[:gone] + words[gone + 1 :]) or "?"


def _script(path: str) -> Callable[[Request], str]:
    """Return the function ``answer(text, seed)`` of a Python file, asked with the last message."""
    if not path:
        raise ConfigError("--model script: which? script:FILE.py, which defines answer(text, seed) -> str.")
    answer = python_file(Path(path)).get("answer")
    if not callable(answer):
        raise ConfigError(f"{path!r} defines no function answer(text, seed).")
    return lambda request: str(answer(request.messages[-1].content, request.seed))


def python_file(path: Path) -> dict[str, Any]:
    """Run a Python file that the user names, and return what it defines."""
    try:
        return run_path(str(path))
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}.") from None
    except Exception as error:  # somebody's file
        raise ConfigError(f"{str(path)!r} raised {type(error).__name__}: {error}") from error


def _any_admissible(request: Request) -> str:
    if not request.allowed:
        raise ConfigError(
            "--model random chooses among admissible actions, and this environment lists none (or --no-constrain is set)."
        )
    return Random(request.seed).choice(request.allowed)


def _loaded(name: str | Path) -> Sampler:
    from everystep.models.local import LocalSampler, load  # torch

    return LocalSampler(load(name), policy=str(name))


def _local(argument: str) -> Chosen:
    if not argument:
        raise ConfigError(
            "--model local: which? local:FOLDER, a checkpoint or the folder that `everystep train` printed."
        )
    path = Path(argument)
    if (path / CONFIG).is_file() and (path / "journal.sqlite").exists():
        folder = open_run(path)
        folder.config_of(TRAIN)
        if not folder.model.exists():
            raise ConfigError(f"training {argument!r} has no model yet: `everystep resume {argument}` first.")
        return Chosen(sampler=_loaded(folder.model), trained=True)
    return Chosen(sampler=_loaded(path if path.exists() else argument))


def _chat(spec: str, rest: str, key: str | None, tools: tuple[Mapping[str, Json], ...]) -> Chosen:
    from everystep.models.chat import ChatSampler, Endpoint  # httpx

    model, _, url = rest.rpartition("@")
    if not model or not url:
        raise ConfigError(
            f"--model {spec!r}: expected chat:MODEL@URL, such as chat:qwen3@http://127.0.0.1:8000/v1."
        )
    here = urlsplit(url).hostname in _LOCAL_HOSTS
    variable = key or (None if here else "OPENAI_API_KEY")
    endpoint = Endpoint(base_url=url, model=model, key_variable=variable, tools=tools)
    sampler = ChatSampler(endpoint)
    return Chosen(sampler=sampler, close=sampler.close)
