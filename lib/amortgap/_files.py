"""Files that are either whole or absent, and folders that one process uses at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amortgap._errors import Refused

LOCK = ".lock"
#: Seconds to wait for a lock whose holder was just killed; the system needs a moment to free it.
GRACE = 2.0


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which becomes `path` when the block ends.

    A reader sees the old file or the new one, never a part of it. When the block fails, the old file stays and
    the new one is removed. Raises IsADirectoryError where `path` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, where a file is to be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole, as UTF-8 with the same line ends on every system."""
    with whole(path) as temporary:
        temporary.write_bytes(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole. Raises ValueError for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value stored in `path`. Raises ValueError when it is not JSON in UTF-8."""
    return json.loads(path.read_text(encoding="utf-8"))


def digest(path: Path) -> str:
    """The first 16 digits of the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def json_digest(value: Any) -> str:
    """The first 16 digits of the SHA-256 of a value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def check_folder(folder: Path) -> Path:
    """`folder` as an absolute path, which need not exist. Raises `Refused` where it could not be written to."""
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise Refused(f"{there} is a file, not a folder to write to")
    if not os.access(there, os.W_OK):
        raise Refused(f"the folder {there} may not be written to")
    return folder


@contextlib.contextmanager
def lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder` against other processes while the block runs. The system frees it when this process dies.

    Raises `Refused` when another process holds it, or waits for that process with `wait`.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder / LOCK)
    try:
        held.acquire(timeout=-1 if wait else GRACE)
    except Timeout:
        raise Refused(f"the folder {folder.name} is in use by another process") from None
    try:
        yield
    finally:
        held.release()
