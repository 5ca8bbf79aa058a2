"""Parts of a long run, kept until it has succeeded, so that a run that was killed goes on from them.

Beside each part stand its digest, the seconds that it took and the commit that made it: the page's footer says what
earlier runs have spent.
"""

from __future__ import annotations

import json
import os
import sys
import time
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
        self._since = time.perf_counter()

    def earlier(self) -> dict[str, str | float | int]:
        """What earlier runs have left: the number of parts, their seconds, the commits that made them."""
        if not self or not self._folder:
            return {}
        seals = [
            json.loads(_seal(self._folder / f"{name}.json").read_text(encoding="utf-8")) for name in self
        ]
        seconds = round(sum(seal["seconds"] for seal in seals), 1)
        commits = "; ".join(sorted({seal["commit"] for seal in seals}))
        return {"earlier parts": len(seals), "earlier seconds": seconds, "earlier commits": commits}

    def __setitem__(self, name: str, rows: Rows) -> None:
        if self._folder:
            # one call of a step may find nothing for one of its tables
            write_table(self._folder / f"{name}.json", rows, may_be_empty=True)
            # to the digits that a run going on would read
            rows = read_rows(self._folder / f"{name}.json")
            # all that was done since the part before counts as this one's time
            now = time.perf_counter()
            seal = {"digest": digest(self._folder / f"{name}.json"), "seconds": round(now - self._since, 1)}
            seal["commit"], self._since = os.environ.get("AMORTGAP_COMMIT", "unknown"), now
            write_text(_seal(self._folder / f"{name}.json"), json.dumps(seal))
        super().__setitem__(name, rows)


def _seal(file: Path) -> Path:
    return file.with_suffix(".seal")


def _intact(file: Path) -> Rows | None:
    """The rows of a part; None, and a sentence on stderr, where it is not as it was written."""
    try:
        if json.loads(_seal(file).read_text(encoding="utf-8"))["digest"] == digest(file):
            return read_rows(file)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    print(f"part {file.stem} is damaged, so it is computed again", file=sys.stderr)
    return None
