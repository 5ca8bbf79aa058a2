"""Withdrawn claims: what was found to be wrong is marked wherever it is shown, until its experiment is made again.

`notebooks/withdrawn.csv` lists them, one reason a line. A run's own files stay as the run wrote them: the mark is
set when a page is rendered. Whoever mends a notebook writes the time in `mended`, and deletes the line once the
committed page has been made again.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from amortgap._errors import Refused

VERDICT, SYMBOL = "being made again", "↻"


@dataclass(frozen=True)
class Withdrawal:
    """`claims` (ids; none where only the page's text is concerned) of `page` are withdrawn because of `why`.

    mended: when the notebook was mended (ISO 8601, UTC), which lets later runs stand; empty until then.
    """

    page: str
    claims: tuple[str, ...]
    why: str
    mended: str

    def holds_for(self, run: dict[str, Any]) -> bool:
        """Whether this run of the page (its `run.json`) was started before the notebook was mended."""
        return not self.mended or run["provenance"]["started"] < self.mended


def withdrawals(file: Path) -> list[Withdrawal]:
    """The lines of `file` (page, claims, why, mended; ids separated by spaces); none where there is no file."""
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [
                Withdrawal(one["page"], tuple(one["claims"].split()), one["why"], one["mended"])
                for one in csv.DictReader(lines)
            ]
    except (UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise Refused(f"{file.name} must have the columns page, claims, why and mended: {error}") from None


def mark_claims(claims: list[dict[str, Any]], withdrawn: Sequence[Withdrawal]) -> list[dict[str, Any]]:
    """`claims` with the verdict and the note of those withdrawn replaced; numbers stay."""
    reasons = {identifier: one.why for one in withdrawn for identifier in one.claims}
    return [
        claim | {"verdict": VERDICT, "note": reasons[claim["id"]]} if claim["id"] in reasons else claim
        for claim in claims
    ]


def mark_page(body: str, withdrawn: Sequence[Withdrawal]) -> str:
    """The HTML `body` of a page: in each withdrawn claim's line, verdict and note give way to the mark."""
    for identifier in (identifier for one in withdrawn for identifier in one.claims):
        body = re.sub(
            rf'(<p class="claim" id="claim-{re.escape(identifier)}">(?:(?!</p>).)*?)'
            r"<b>(?!" + re.escape(identifier) + r")[^<]*</b>\.(?:(?!</p>|<a class=.data).)*",
            rf"\1<b>{SYMBOL} {VERDICT}</b>. ",
            body,
            flags=re.DOTALL,
        )
    return body


def notice(withdrawn: Sequence[Withdrawal]) -> str:
    """A box for the top of a page: what is withdrawn on it and why; empty where nothing is."""
    if not withdrawn:
        return ""
    items = "\n".join(
        f"<li>{'<b>' + ', '.join(one.claims) + '</b>: ' if one.claims else ''}{escape(one.why)}</li>"
        for one in withdrawn
    )
    return (
        f'<div class="failed"><b class="no">{SYMBOL} Withdrawn, {VERDICT}.</b> Text and figures below that '
        f"rest on it were written before.\n<ul>\n{items}\n</ul></div>\n"
    )
