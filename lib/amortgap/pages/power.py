"""How many claims a report decides, page by page: `data/power.json`, and a table on the page of claims."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from amortgap.kit.text import typeset

#: Verdicts that say something about the world, and not only about the run.
DECIDED = {"reproduced", "not reproduced", "corrected", "beyond"}
COLUMNS = ("claims", "decided", "inconclusive", "with a published number", "of these decided")


def power(claims: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a page, and one for all: claims, decided, inconclusive, with a published number, of these decided.

    A claim that cannot be compared with the paper, or is being made again, is neither decided nor inconclusive.
    """
    pages = sorted({claim["page"] for claim in claims})
    groups = [(page, [claim for claim in claims if claim["page"] == page]) for page in pages]
    return [{"page": page} | _counts(group) for page, group in [*groups, ("all", list(claims))]]


def _counts(claims: list[dict[str, Any]]) -> dict[str, int]:
    decided = [claim for claim in claims if claim["verdict"] in DECIDED]
    open_ones = [claim for claim in claims if claim["verdict"] == "inconclusive"]
    compared = [claim for claim in [*decided, *open_ones] if claim["verdict"] != "beyond"]
    numbers = [claim for claim in compared if isinstance(claim["paper"], int | float)]
    found = sum(claim["verdict"] in DECIDED for claim in numbers)
    return dict(zip(COLUMNS, (len(claims), len(decided), len(open_ones), len(numbers), found), strict=True))


def power_table(claims: Sequence[dict[str, Any]], titles: dict[str, str]) -> str:
    """The table as HTML, below a sentence on all pages; empty where nothing is claimed."""
    rows = power(claims)
    total = rows[-1]
    if not total["claims"]:
        return ""
    numbers, found = total[COLUMNS[3]], total[COLUMNS[4]]
    share = typeset(f", {found / numbers:.0%}") if numbers else ""
    head = "".join(f'<th scope="col" class="n">{column}</th>' for column in COLUMNS)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(titles.get(row["page"], row["page"]))}</th>'
        + "".join(f'<td class="n">{row[column]}</td>' for column in COLUMNS)
        + "</tr>"
        for row in rows
    )
    return (
        f'<h2 id="power">How much could this report tell?</h2>\n<p>{found} of {numbers} published numbers that can '
        f"be compared are decided{share}: the interval does not hold both the paper’s number and the alternative. "
        "A run smaller than the full-size one makes no claim that it cannot decide.</p>\n"
        '<details class="print"><summary>page by page</summary>\n<div class="scroll wide"><table>\n'
        f'<thead><tr><th scope="col">page</th>{head}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div></details>\n"
        '<p class="soft">As data: <a href="data/power.json">power.json</a>.</p>\n'
    )
