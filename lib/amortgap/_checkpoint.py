"""Files from which an interrupted training goes on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch


def write_checkpoint(file: Path, value: dict[str, Any]) -> None:
    """torch.save to a temporary neighbour, then rename: a reader sees the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            torch.save(value, stream)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_checkpoint(file: Path, run: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What `write_checkpoint` wrote. Raises ValueError for a damaged file, and unless its "run" equals `run`."""
    try:
        saved = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # of many kinds, for damage of many kinds
        raise ValueError(f"{file} is damaged or no checkpoint; remove it or name another file") from error
    if not isinstance(saved, dict) or saved.get("run") != run:
        raise ValueError(f"{file} belongs to another run; remove it or name another file")
    return saved
