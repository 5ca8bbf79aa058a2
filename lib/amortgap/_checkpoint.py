"""Files from which an interrupted training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from amortgap._files import whole


def write_checkpoint(file: Path, value: dict[str, Any]) -> None:
    """Write `value` to `file`, whole; training resumes from it."""
    with whole(file) as temporary:
        torch.save(value, temporary)


def read_checkpoint(file: Path, run: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What `write_checkpoint` wrote. Raises ValueError for a damaged file, and unless its "run" equals `run`."""
    try:
        saved = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # of many kinds, for damage of many kinds
        raise ValueError(f"{file} is damaged or no checkpoint; remove it or name another file") from error
    if not isinstance(saved, dict) or saved.get("run") != run:
        raise ValueError(f"{file} belongs to another run; remove it or name another file")
    return saved
