"""Parts of a long run, kept until it has succeeded, so that a run that was killed goes on from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from amortgap.kit.tables import read_rows, write_table
from amortgap.runs.parts import parts_folder

Rows = list[dict[str, Any]]


class Parts(dict[str, Rows]):
    """Rows by the name of the part; assigning writes them down.

    A run started again with the same key opens with the parts that the killed run had assigned. Outside a
    run (Jupyter, bare papermill) it is a plain dictionary.
    """

    def __init__(self, out: Path) -> None:
        key = os.environ.get("AMORTGAP_RUN")
        self._folder = parts_folder(out, key) if key else None
        super().__init__(
            {file.stem: read_rows(file) for file in self._folder.glob("*.json")} if self._folder else {}
        )

    def __setitem__(self, name: str, rows: Rows) -> None:
        if self._folder:
            # one call of a step may find nothing for one of its tables
            write_table(self._folder / f"{name}.json", rows, may_be_empty=True)
            # to the digits that a run going on would read
            rows = read_rows(self._folder / f"{name}.json")
        super().__setitem__(name, rows)
