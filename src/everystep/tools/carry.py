"""Carry a folder into a sandbox and back, as a tar file, trusting nothing that comes back."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from uuid import uuid4

from everystep.core.errors import ToolError

_BLOCK = 1 << 16


def pack(folder: Path, target: IO[bytes], *, most_bytes: int, most_entries: int) -> None:
    """Write ``folder`` (made if missing) to ``target`` as a tar file. Raises ``ToolError`` where it is too large."""
    folder.mkdir(parents=True, exist_ok=True)
    total = count = 0
    with tarfile.open(fileobj=target, mode="w:") as packed:
        for path, name in _below(folder):
            info = packed.gettarinfo(path, arcname=name)
            if not (info.isdir() or info.isfile() or info.islnk() or info.issym()):
                continue
            if info.issym() and not _stays(name, info.linkname):
                continue
            count += 1
            if info.isfile() or info.islnk():
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", os.stat(path).st_size
                total += info.size
            if total > most_bytes or count >= most_entries:
                raise ToolError(
                    f"the scratch folder {str(folder)!r} holds more than {most_bytes} bytes or {most_entries} entries. "
                    "Remove some, or raise scratch_bytes and entries of the limits."
                )
            if info.isreg():
                with open(path, "rb") as file:
                    packed.addfile(info, file)
            else:
                packed.addfile(info)


def unpack(source: IO[bytes], folder: Path) -> tuple[str, ...]:
    """Make ``folder`` equal to the tar file ``source`` and return the names of the entries that were left out.

    Only folders, files and links that stay inside are made. Entries that are equal already are not touched;
    each file is replaced atomically.
    """
    kept: set[str] = set()
    left_out: list[str] = []
    with tarfile.open(fileobj=source, mode="r:") as packed:
        for info in packed:
            name = _plain(info.name)
            if name is None or not _place(packed, info, name, folder):
                left_out.append(info.name)
            else:
                kept.add(name)
    for path, name in reversed(list(_below(folder))):
        if name not in kept:
            _remove(path)
    return tuple(left_out)


def _place(packed: tarfile.TarFile, info: tarfile.TarInfo, name: str, folder: Path) -> bool:
    """Make one entry; ``False`` where it is of a kind that is not made, or its parent is no folder of ours."""
    path = folder / name
    if not path.parent.is_dir() or path.parent.resolve() != folder.resolve() / PurePosixPath(name).parent:
        return False
    if info.isdir():
        if path.is_symlink() or not path.is_dir():
            _remove(path)
            path.mkdir()
        return True
    if info.issym():
        if not _stays(name, info.linkname):
            return False
        if not path.is_symlink() or os.readlink(path) != info.linkname:
            _remove(path)
            path.symlink_to(info.linkname)
        return True
    data = packed.extractfile(info) if info.isreg() else None
    if data is None:
        return False
    if not _same(path, data, info):
        data.seek(0)
        if path.is_dir() and not path.is_symlink():
            _remove(path)
        new = path.with_name(f".{uuid4().hex}.new")
        with open(new, "xb") as file:
            shutil.copyfileobj(data, file, _BLOCK)
        new.chmod(_mode(info))
        os.utime(new, (info.mtime, info.mtime))
        new.replace(path)
    return True


def _mode(info: tarfile.TarInfo) -> int:
    return 0o755 if info.mode & 0o100 else 0o644


def _same(path: Path, data: IO[bytes], info: tarfile.TarInfo) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != info.size:
        return False
    if bool(path.stat().st_mode & 0o100) != bool(info.mode & 0o100):
        return False
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            if data.read(_BLOCK) != block:
                return False
    return True


def _below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield what is below ``folder`` with its name relative to it, a folder before its contents; links are not followed."""
    for top, folders, files in os.walk(folder):
        for one in sorted((*folders, *files)):
            path = Path(top, one)
            yield path, path.relative_to(folder).as_posix()


def _plain(name: str) -> str | None:
    """Return ``name`` if it is a plain relative path."""
    path = PurePosixPath(name)
    return None if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name else str(path)


def _stays(name: str, target: str) -> bool:
    """Whether a link called ``name`` with ``target`` leads to a place inside, whatever other links of this kind there are.

    ``..`` may only stand first, and not more often than the link lies deep: ``a/..`` would go up from where ``a``
    leads, not from where it is.

    >>> _stays("a/b", "../c"), _stays("b", "a/.."), _stays("b", "../c"), _stays("b", "/etc")
    (True, False, False, False)
    """
    parts = PurePosixPath(target).parts
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    absolute = not target or target.startswith("/") or "\0" in target
    return not absolute and ".." not in parts[up:] and up < len(PurePosixPath(name).parts)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
