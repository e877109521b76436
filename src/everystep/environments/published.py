"""Published data: small samples that are packaged, and the full files where the user has them.

The environment variable ``EVERYSTEP_DATA`` names a folder with a subfolder for each source.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from everystep.core.errors import ConfigError

VARIABLE = "EVERYSTEP_DATA"
SAMPLES = Path(__file__).parent / "data"


def find_file(folder: Path | str | None, name: str, source: str) -> Path:
    """Return ``folder / name``, plain or with ``.gz``; ``ConfigError`` says where it comes from.

    A text is the name of a source below ``EVERYSTEP_DATA``. ``None``: there is no folder, since the variable is not set.
    """
    kind = folder if isinstance(folder, str) else folder.name if folder else "NAME"
    place = source_folder(folder) if isinstance(folder, str) else folder
    if place is not None:
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file():
                return path
    looked = f"it is not in {str(place)!r}" if place else f"the environment variable {VARIABLE} is not set"
    raise ConfigError(
        f"the file {name!r} is needed, but {looked}. Get it from {source}, put it into a folder such as "
        f"DATA/{kind}, and set {VARIABLE}=DATA."
    )


def source_folder(name: str) -> Path | None:
    """Return the folder of one source below ``EVERYSTEP_DATA``, ``None`` where the variable is not set."""
    root = os.environ.get(VARIABLE)
    return Path(root) / name if root else None


def read_text(path: Path) -> str:
    """Return the text of a file, unpacked if its name ends in ``.gz``."""
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return file.read()
    return path.read_text(encoding="utf-8")
