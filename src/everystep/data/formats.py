"""The trace formats that can be imported, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from everystep.core.errors import ConfigError
from everystep.core.registry import Registry
from everystep.data.chats import read_chats
from everystep.data.fields import checked, read_fields
from everystep.data.fireact import read_fireact
from everystep.data.inspect_logs import read_inspect
from everystep.data.intercode import read_intercode
from everystep.data.knowagent import read_knowagent
from everystep.data.react import read_webshop_log
from everystep.data.reading import Item
from everystep.data.swe_agent import read_swe_agent
from everystep.data.tau_bench import read_tau_bench
from everystep.data.trl import read_trl
from everystep.data.verifiers import read_verifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: its line in the help, and how a file is read. ``jsonl`` alone has no reader of its own: it needs a field map."""

    summary: str
    read: Callable[[Path], Iterator[Item]] | None = None


FORMATS: Registry[Format] = Registry("trace format")
for _name, _read, _summary in (
    ("chat", read_chats, "OpenAI-style or ShareGPT conversations with tool calls, JSON lines or an array"),
    ("tau-bench", read_tau_bench, "saved runs of tau-bench"),
    ("intercode", read_intercode, "published runs of InterCode: SQL, Bash, CTF, multi-turn or ReAct"),
    ("swe-agent", read_swe_agent, "SWE-agent .traj files, or a bundle of them as JSON lines"),
    ("react-webshop", read_webshop_log, "ReAct's text log of WebShop episodes"),
    ("fireact", read_fireact, "FireAct's question answering runs"),
    ("knowagent", read_knowagent, "KnowAgent's runs on ALFWorld and HotpotQA"),
    ("inspect", read_inspect, "Inspect logs, .json or .eval"),
    ("verifiers", read_verifiers, "saved results of verifiers"),
    ("trl", read_trl, "TRL: messages, prompt and completion, preference, label, stepwise labels"),
):
    FORMATS.add(_name, Format(summary=_summary, read=_read))
FORMATS.add("jsonl", Format(summary="any JSON lines through a field map: --fields action=.. observation=.."))


def reader(name: str, fields: Mapping[str, str] | None = None) -> Callable[[Path], Iterator[Item]]:
    """Return the function that reads a file of a format.

    ``fields`` is for ``jsonl``, which needs it. Raises ``ConfigError`` for an unknown format or a wrong field map.
    """
    read = FORMATS[name].read
    if read is None:
        mapped = checked(fields or {})
        return lambda path: read_fields(path, mapped)
    if fields:
        raise ConfigError(f"the format {name!r} has its own fields; --fields is for 'jsonl'.")
    return read
