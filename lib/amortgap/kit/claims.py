"""Claims: a sentence of the paper, its number, ours with an interval, and a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import read_json
from amortgap.kit.verdict import VERDICTS

ID = re.compile(r"[A-Z]\d*\.\d+")


@dataclass(frozen=True)
class Claim:
    """One row of the claims table. Notebooks make it with `Record.claim`; `amortgap.kit.verdict` judges."""

    id: str
    #: the claim in words, a sentence that a reader could quote
    says: str
    #: where the paper says it: table, figure, section, or "authors' result file"
    where: str
    #: the paper's number, or "above" or "below" (the alternative), or None
    paper: float | str | None
    #: our estimate, and the interval that decides
    ours: float
    low: float
    high: float
    #: number of independent values behind it
    n: int
    #: what would make the claim pointless, by name ("chance") and as a number
    alternative: str
    against: float | None
    verdict: str
    #: "higher" or "lower" than the paper says, where the two differ
    direction: str
    #: the figure and the table that carry the claim
    figure: str
    data: str
    note: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not ID.fullmatch(self.id):
            raise Refused(f"claim id {self.id!r} must look like 'E2.1' or 'T.3'")
        name = f"claim {self.id}"
        if not isinstance(self.says, str) or not self.says.strip():
            raise Refused(f"{name}: `says` must state the claim in words")
        if self.verdict not in VERDICTS:
            raise Refused(f"{name}: verdict {self.verdict!r} is none of {', '.join(map(repr, VERDICTS))}")
        for field in ("ours", "low", "high", "against", "paper"):
            value = getattr(self, field)
            if (field == "paper" and isinstance(value, str)) or (
                field in ("against", "paper") and value is None
            ):
                continue
            # Notebooks hand over numpy and torch scalars; the file holds plain floats.
            object.__setattr__(self, field, _number(value, f"{name}: `{field}`"))
        if not self.low <= self.ours <= self.high:
            raise Refused(f"{name}: ours = {self.ours} lies outside its interval [{self.low}, {self.high}]")
        if not isinstance(self.note, str):
            raise Refused(f"{name}: `note` must be text")


def _number(value: Any, what: str) -> float:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused(f"{what} must be a finite number, not {value!r}")
    return float(value)


def order(identifier: str) -> tuple[bool, str, int, int]:
    """Sort key that puts E2.1 before E10.1, and the paper's claims (E experiments, T theorem) before our own."""
    head, _, tail = identifier.partition(".")
    return head[0] not in "ET", head[0], int(head[1:] or 0), int(tail)


def merge(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The claims of all pages in order of their ids, each with the name of its page.

    A folder without `claims.json` made none. Raises `Refused` when two pages use one id.
    """
    merged: dict[str, dict[str, Any]] = {}
    for folder in folders:
        file = folder / "claims.json"
        for claim in read_json(file) if file.exists() else []:
            first = merged.setdefault(claim["id"], {"id": claim["id"], "page": folder.name, **claim})
            if first["page"] != folder.name:
                raise Refused(f"claim {claim['id']} is made twice: by {first['page']} and by {folder.name}")
    return [merged[identifier] for identifier in sorted(merged, key=order)]
