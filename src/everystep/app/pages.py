"""What every page that is written has: assets, the hash that a content security policy allows, a file that is whole or not there."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from everystep.core.errors import StoreError


@cache
def asset(name: str) -> str:
    """Return the text of a packaged asset."""
    return files("everystep.app").joinpath("assets", name).read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """Return the hash by which a content security policy allows a script or style, unquoted.

    >>> source_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}"


def write_html(page: bytes, out: Path) -> Path:
    """Write a page in one step and return its path; ``StoreError`` where that is not possible."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = out.with_name(f"{out.name}.new")
        fresh.write_bytes(page)
        fresh.replace(out)
    except OSError as error:
        raise StoreError(f"cannot write the page {str(out)!r}: {error}. Choose another file.") from None
    return out
