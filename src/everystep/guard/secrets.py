"""Secrets that never leave: placeholders in everything that goes out, values only in the act itself.

A model reads and writes ``{{secret:NAME}}``. The value is put in when the act happens, and only for the tools that may
receive it. Whatever comes back (observations, errors) has the value replaced again, also where it appears
percent-encoded, with backslash or HTML escapes, in Base64 or hexadecimal, in another case or with other white space.

Limits: a value that is split over several texts, encrypted, compressed, translated or described in words is not found,
nor are encodings other than those above. The second line of defence is that tools get only the secrets they are given.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from everystep.core.errors import ConfigError, EverystepError, WorldError, did_you_mean
from everystep.core.records import Action, Json
from everystep.guard.scan import folded, found, needles_of

TEXT = "text"
"""The name under which actions without calls may receive a secret."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_PLACEHOLDER = re.compile(r"\{\{\s*secret:\s*([A-Za-z0-9_]{1,64})\s*\}\}")
_MARK = "{{secret:"
_ROUNDS = 16

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A named value and who may receive it.

    ``tools`` are names of tools (``login``), of one argument (``login.password``), or ``text`` for actions without calls.
    """

    name: str
    value: str
    tools: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


class Vault:
    """Secrets by name, that can be scrubbed from what goes out and filled into what is done.

    Values come from environment variables (``from_environment``) or a private file (``from_file``), never from a prompt.
    A vault cannot be pickled, and its ``repr`` shows names only. Raises ``ConfigError`` for a value of fewer than 6
    characters without white space, for it could not be told from ordinary text.

    >>> vault = Vault([Secret(name="KEY", value="hunter2-hunter2", tools=("login.password",))])
    >>> vault.scrub("the key is hunter2-hunter2, or HUNTER2%2Dhunter2")
    'the key is {{secret:KEY}}, or {{secret:KEY}}'
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._secrets: dict[str, Secret] = {}
        for one in secrets:
            if not _NAME.fullmatch(one.name) or one.name in self._secrets:
                raise ConfigError(
                    f"secret name {one.name!r}: expected capitals, digits and _, each name once."
                )
            self._secrets[one.name] = one
        self.needles_of = [
            needle for one in self._secrets.values() for needle in needles_of(one.name, one.value)
        ]
        own = folded(
            "".join(f"{placeholder(a)}{placeholder(b)}" for a in self._secrets for b in self._secrets)
        )
        for needle in self.needles_of:
            if folded(needle.text) in own or _MARK in folded(needle.text):
                raise ConfigError(
                    f"the value of secret {needle.name!r} reads like a placeholder. Change the value or the names."
                )

    @classmethod
    def from_environment(
        cls, tools: Mapping[str, Sequence[str]], *, prefix: str = "EVERYSTEP_SECRET_"
    ) -> Vault:
        """Read the secrets that ``tools`` names from ``prefix`` + name; the variables stay set, for the caller to unset."""
        missing = [name for name in tools if not os.environ.get(prefix + name)]
        if missing:
            raise ConfigError(
                f"environment variable {prefix + missing[0]!r} is not set; it must hold the secret."
            )
        return cls(
            Secret(name=name, value=os.environ[prefix + name], tools=tuple(some))
            for name, some in tools.items()
        )

    @classmethod
    def from_file(cls, path: Path, tools: Mapping[str, Sequence[str]]) -> Vault:
        """Read a JSON object of names and values from a file that only its owner may read (mode 0600)."""
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if os.name == "posix" and mode & 0o077:
                    raise ConfigError(
                        f"{str(path)!r} may be read by others (mode {mode:o}). Run chmod 600 on it."
                    )
                data = json.loads(file.read())
        except (OSError, ValueError, RecursionError):  # the reason could quote the content
            raise ConfigError(f"{str(path)!r} cannot be read as a JSON object of names and values.") from None
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise ConfigError(f"{str(path)!r} should be a JSON object whose values are texts.")
        unknown = sorted(set(tools) - set(data))
        if unknown:
            raise ConfigError(
                f"there is no secret {unknown[0]!r} in {str(path)!r}. {did_you_mean(unknown[0], data)}"
            )
        return cls(
            Secret(name=name, value=value, tools=tuple(tools.get(name, ()))) for name, value in data.items()
        )

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._secrets)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault is never stored or sent. Build it from its source in each process.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names, which a model may be told."""
        return tuple(self._secrets)

    # --- out: values become placeholders ----------------------------------------------------------

    def holds(self, text: str) -> bool:
        """Whether ``text`` contains a value in one of the forms that are looked for."""
        return bool(found(text, self.needles_of))

    def scrub(self, text: str) -> str:
        """Return ``text`` with every value that is found replaced by its placeholder."""
        for _ in range(_ROUNDS):
            hits = found(text, self.needles_of)
            if not hits:
                return text
            text = _replaced(text, hits)  # and look again: a value may appear at a seam
        return placeholder(hits[0][2])

    def scrub_json(self, value: Json) -> Json:
        """Return a JSON value with all of its texts and keys scrubbed."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, Mapping):
            return {self.scrub(str(key)): self.scrub_json(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.scrub_json(one) for one in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and self.holds(repr(value)):
            return self.scrub(repr(value))
        return value

    def scrub_record(self, record: R) -> R:
        """Return a record (a task, an observation, an action, ...) with all of its texts scrubbed; numbers stay."""
        clean: R = self._scrubbed(record)
        return clean

    def _scrubbed(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.scrub(value) if type(value) is str else value  # an enum's value is nobody's secret
        if is_dataclass(value) and not isinstance(value, type):
            changed = {
                f.name: new
                for f in fields(value)
                if (new := self._scrubbed(old := getattr(value, f.name))) is not old
            }
            return replace(value, **changed) if changed else value
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            new = self.scrub_json(dict(value))
            return value if new == value else new
        if isinstance(value, tuple | list):
            items = [self._scrubbed(one) for one in value]
            same = all(a is b for a, b in zip(items, value, strict=True))
            return value if same else type(value)(items)
        return value

    def scrub_error(self, error: BaseException) -> EverystepError:
        """Return an error to raise in place of ``error``, of the same boundary where it is ours. Its cause is dropped."""
        if isinstance(error, EverystepError):
            return type(error)(self.scrub(str(error)))
        return WorldError(self.scrub(f"{type(error).__name__}: {error}"))

    def log_filter(self) -> logging.Filter:
        """Return a filter for log handlers that scrubs messages and drops tracebacks that hold a value."""
        return _LogFilter(self)

    # --- in: placeholders become values, for the act only ------------------------------------------

    def fill(self, action: Action) -> tuple[Action, str | None]:
        """Return ``action`` with its values, and ``None``; or ``action`` as it is and why it may not have them.

        Calls get values in their arguments, actions without calls in their text. A name that is unknown or not given to that
        tool is a refusal: the model may have been told to send it elsewhere.
        """
        refused: list[str] = []
        if not action.calls:
            text = self._filled(action.text, (TEXT,), refused)
            done = action if text == action.text else replace(action, text=text)
        else:
            calls = tuple(
                replace(
                    call,
                    arguments={
                        name: self._filled_json(value, (call.name, f"{call.name}.{name}"), refused)
                        for name, value in call.arguments.items()
                    },
                )
                for call in action.calls
            )
            done = replace(action, calls=calls)
        return (action, refused[0]) if refused else (done, None)

    def fill_json(self, value: Json) -> Json:
        """Return a JSON value of our own (a stored state) with all placeholders filled, whoever may receive them."""
        return self._filled_json(value, None, [])

    def _filled_json(self, value: Json, to: tuple[str, ...] | None, refused: list[str]) -> Json:
        if isinstance(value, str):
            return self._filled(value, to, refused)
        if isinstance(value, list | tuple):
            return [self._filled_json(one, to, refused) for one in value]
        if isinstance(value, Mapping):
            return {key: self._filled_json(one, to, refused) for key, one in value.items()}
        return value

    def _filled(self, text: str, to: tuple[str, ...] | None, refused: list[str]) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1].upper()
            secret = self._secrets.get(name)
            if secret is None:
                refused.append(f"there is no secret {name!r}. {did_you_mean(name, self._secrets)}")
            elif to is not None and not set(to) & set(secret.tools):
                refused.append(f"secret {name!r} is not given to {to[-1]!r}")
            else:
                return secret.value
            return match[0]

        return _PLACEHOLDER.sub(value, text) if "{{" in text else text


def placeholder(name: str) -> str:
    """Return what stands for a secret.

    >>> placeholder("KEY")
    '{{secret:KEY}}'
    """
    return f"{{{{secret:{name}}}}}"


def _replaced(text: str, hits: list[tuple[int, int, str]]) -> str:
    """Put placeholders where the hits are; hits that overlap become one, named after the first and longest."""
    parts: list[str] = []
    last = 0
    for start, end, name in sorted(hits, key=lambda hit: (hit[0], -hit[1])):
        if start >= last:
            parts += (text[last:start], placeholder(name))
        last = max(last, end)
    return "".join((*parts, text[last:]))


class _LogFilter(logging.Filter):
    def __init__(self, vault: Vault) -> None:
        super().__init__()
        self._vault = vault

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._vault.scrub(record.getMessage()), None
        if record.exc_info is not None and record.exc_info[1] is not None:
            error = self._vault.scrub_error(record.exc_info[1])
            record.msg = f"{record.msg} ({type(error).__name__}: {error})"
            record.exc_info = record.exc_text = None
        record.stack_info = None
        return True
