"""One self-contained HTML page of a run. A training: learning curves, episodes, and why each step got its credit. The run of a task: its
plan as a graph, votes, discarded answers, approvals, costs.

The page works from disk without a network. Its data is gzip in base64, so nothing that a model wrote
can end up as markup; scripts put it on the page as text only, and a content security policy allows the page's own
script and style by their hash and nothing else.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from everystep.app.page_data import page_data
from everystep.app.page_reasons import explainer
from everystep.app.page_run import run_page_data
from everystep.app.pages import asset, source_hash, write_html
from everystep.app.reading import journal_of
from everystep.app.run_reading import is_run
from everystep.core.trace import Trace
from everystep.run.folder import JOURNAL, MODEL, open_run
from everystep.run.journal import Journal

SIZE_LIMIT = 8_000_000
"""Bytes that a page should stay below; it holds fewer episodes if it would not."""

_SCRIPTS = (
    "uplot/uPlot.iife.min.js",
    "base.js",
    "overview.js",
    "episodes.js",
    "episode.js",
    "plan.js",
    "run.js",
    "main.js",
)
_STYLES = ("uplot/uPlot.min.css", "page.css", "run.css")


def write_page(
    source: Path | Trace,
    out: Path,
    *,
    estimator: str | None = None,
    episodes: int = 200,
    variant: str | None = None,
) -> Path:
    """Write the page of a run to the file ``out`` and return its path.

    ``source`` is a run's folder, a journal, or a trace in memory. ``estimator`` names the credit method that
    explains each step, in its ``variant``; ``None`` takes the one that the run was trained with, or the credit that is stored in the
    journal. The page holds the steps of at most ``episodes`` episodes, in whole groups, and says so. All episodes are in its table. For the run
    of a task these options do not apply.

    Raises ``StoreError`` if the source cannot be read or the page cannot be written, ``ConfigError`` for an
    unknown estimator.
    """
    if isinstance(source, Path) and is_run(source):
        return write_html(html_page(_run_data(source)), out)
    name, trace, config, word = _read(source)
    explain = explainer(estimator, variant, config={**trace.run, **config})
    while True:
        data = page_data(trace, name=name, config=config, explain=explain, word=word, episodes=episodes)
        page = html_page(data)
        if len(page) <= SIZE_LIMIT or episodes <= 1:
            break
        episodes = max(1, int(0.9 * data["stored"] * SIZE_LIMIT / len(page)))
    return write_html(page, out)


def _run_data(source: Path) -> dict[str, Any]:
    """Return the data of the page of a task's run."""
    config = open_run(source).config() if source.is_dir() else {}
    file = journal_of(source)
    name = file.resolve().parent.name if file.name == JOURNAL else file.stem
    with Journal.read(file) as journal:
        return run_page_data(journal, name=name, config=config)


def html_page(data: Mapping[str, Any]) -> bytes:
    """Return the HTML of a page that shows ``data``, see ``page_data``."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    packed = b64encode(gzip.compress(text.encode("ascii"), 9, mtime=0)).decode("ascii")
    script, style = _joined(_SCRIPTS), _joined(_STYLES)
    policy = (
        f"default-src 'none'; script-src '{source_hash(script)}'; style-src '{source_hash(style)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    page = asset("page.html")
    for key, value in (("policy", policy), ("style", style), ("script", script), ("data", packed)):
        page = page.replace(f"{{{{{key}}}}}", value)
    return page.encode()


def _read(source: Path | Trace) -> tuple[str, Trace, dict[str, Any], Callable[[int], str] | None]:
    """Return a run's name, trace, config and token texts."""
    if isinstance(source, Trace):
        return "run", source, {}, None
    if source.is_dir():
        folder = open_run(source)
        with Journal.read(folder.journal) as journal:
            trace = journal.trace()
        return source.resolve().name, trace, folder.config(), _words(source)
    with Journal.read(source) as journal:
        trace = journal.trace()
    name = source.resolve().parent.name if source.name == JOURNAL else source.stem
    return name, trace, {}, _words(source.parent)


def _words(folder: Path) -> Callable[[int], str] | None:
    """Return the text of token ids, by the run's tokenizer; ``None`` without one, or without its library."""
    found = next((path for path in (folder / MODEL / "tokenizer.json",) if path.is_file()), None)
    if found is None:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    tokenizer = Tokenizer.from_file(str(found))

    def word(token: int) -> str:
        text: str = tokenizer.decode([token], skip_special_tokens=False)
        if text and "\ufffd" not in text:
            return text
        return tokenizer.id_to_token(token) or text or f"#{token}"

    return word


@cache
def _joined(names: tuple[str, ...]) -> str:
    """Join assets; a vendored one keeps its licence as a comment, without the address in its banner."""
    parts = []
    for name in names:
        text = asset(name)
        if name.startswith("uplot/"):
            licence = asset("uplot/LICENSE")
            body = text.split("*/", 1)[1] if text.startswith("/*!") else text
            text = f"/* uPlot\n{licence}\n*/\n{body.strip()}\n"
        parts.append(text)
    return "\n" + "\n".join(parts)
