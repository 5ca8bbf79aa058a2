"""Where a long run keeps its parts until it has succeeded, so that a killed run can continue from them."""

from __future__ import annotations

from pathlib import Path


def parts_folder(out: Path, key: str) -> Path:
    """The folder of the parts of the run with this key (`amortgap.runs.key`)."""
    return out / f"parts_{key}"
