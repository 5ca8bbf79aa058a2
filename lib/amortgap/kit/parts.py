"""Parts of a long run, kept until it has succeeded, so that a run that was killed goes on from them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from amortgap._files import digest, write_text
from amortgap.kit.tables import read_rows, write_table
from amortgap.runs.jobs import parts_folder

Rows = list[dict[str, Any]]


class Parts(dict[str, Rows]):
    """Rows by the name of the part; assigning writes them down.

    A run started again with the same key opens with the parts that the killed run had assigned. Outside a
    run (Jupyter, bare papermill) it is a plain dictionary.
    """

    def __init__(self, out: Path) -> None:
        key = os.environ.get("AMORTGAP_RUN")
        self._folder = parts_folder(out, key) if key else None
        found = sorted(self._folder.glob("*.json")) if self._folder else []
        super().__init__({file.stem: rows for file in found if (rows := _intact(file)) is not None})

    def __setitem__(self, name: str, rows: Rows) -> None:
        if self._folder:
            # one call of a step may find nothing for one of its tables
            write_table(self._folder / f"{name}.json", rows, may_be_empty=True)
            # to the digits that a run going on would read
            rows = read_rows(self._folder / f"{name}.json")
            write_text(_seal(self._folder / f"{name}.json"), digest(self._folder / f"{name}.json"))
        super().__setitem__(name, rows)


def _seal(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _intact(file: Path) -> Rows | None:
    """The rows of a part; None, and a sentence on stderr, where it is not as it was written."""
    try:
        if _seal(file).read_text(encoding="utf-8") == digest(file):
            return read_rows(file)
    except OSError:
        pass
    print(f"part {file.stem} is damaged, so it is computed again", file=sys.stderr)
    return None
