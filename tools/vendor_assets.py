"""Refresh the vendored files of the viewer from the npm registry: pinned version, checked sha256.

``python tools/vendor_assets.py`` writes them, ``--check`` compares the files in the tree with the pins
and needs no network. To move to another version change ``VERSION`` and the sums below.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
import urllib.request
from hashlib import sha256
from pathlib import Path

VERSION = "1.6.32"
ADDRESS = f"https://registry.npmjs.org/uplot/-/uplot-{VERSION}.tgz"
ARCHIVE = "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d"
FILES = {
    "dist/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "dist/uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
FOLDER = Path(__file__).resolve().parents[1] / "src" / "everystep" / "app" / "assets" / "uplot"


def verified(name: str, data: bytes, expected: str) -> bytes:
    """Return ``data`` if its sha256 is the pinned one; exit with both sums if not."""
    found = sha256(data).hexdigest()
    if found != expected:
        sys.exit(f"{name}: sha256 is {found}, expected {expected}. Nothing was written.")
    return data


def main() -> None:
    """Fetch or check the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the tree with the pins, no network")
    if parser.parse_args().check:
        for name, expected in FILES.items():
            verified(name, (FOLDER / Path(name).name).read_bytes(), expected)
        sys.stdout.write(f"uPlot {VERSION}: {len(FILES)} files as pinned\n")
        return
    with urllib.request.urlopen(ADDRESS, timeout=60) as answer:
        archive = verified(ADDRESS, answer.read(), ARCHIVE)
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for name, expected in FILES.items():
            member = tar.extractfile(f"package/{name}")
            files[Path(name).name] = verified(name, member.read() if member else b"", expected)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for short, data in files.items():
        (FOLDER / short).write_bytes(data)
    sys.stdout.write(f"uPlot {VERSION} written to {FOLDER}\n")


if __name__ == "__main__":
    main()
