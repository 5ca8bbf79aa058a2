"""Files that are either whole or absent: written to a temporary neighbour, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from amortgap.runs.errors import Refused


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`; a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        # mkstemp makes the file private; a report is meant to be read by others too.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_folder(folder: Path) -> Path:
    """`folder` as an absolute path, which need not exist. Raises `Refused` where it could not be written to."""
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise Refused(f"{there} is a file, not a folder to write to")
    if not os.access(there, os.W_OK):
        raise Refused(f"the folder {there} may not be written to")
    return folder


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused by `json`, which has neither."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value stored in `path`."""
    return json.loads(path.read_text(encoding="utf-8"))
