"""Tables as pandas writes them -> tables that read well: numbers to the right, text to the left."""

from __future__ import annotations

import re
from typing import Any

NUMBER = re.compile(r"[-−+]?(\d[\d,]*\.?\d*|\.\d+)([eE][-+]?\d+)?\s*%?|–|-?inf")
MISSING = "–"


def tidy_html(html: str) -> str:
    """`html` with every pandas table aligned by column and free to scroll sideways; the rest as it was."""
    html = re.sub(r"<style scoped>.*?</style>\s*", "", html, flags=re.DOTALL)
    return re.sub(r"<table[^>]*dataframe.*?</table>", lambda table: align(table[0]), html, flags=re.DOTALL)


def align(table: str) -> str:
    """One `<table>` whose columns of numbers carry the class `n`, in a scrolling box."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(table, "html.parser")
    root = soup.table
    assert root is not None
    root.attrs = {}
    rows: list[list[Any]] = [list(line.find_all(["th", "td"])) for line in root.find_all("tr")]
    body = [row for row in rows if any(cell.name == "td" for cell in row)]
    for line in root.find_all("tr"):
        line.attrs = {}
    for cell in root.find_all("th"):
        cell.attrs.pop("valign", None)
        cell.attrs.pop("halign", None)
    for cell in root.find_all("td"):
        if cell.get_text(strip=True) in ("NaN", "nan", "None", "<NA>"):
            cell.string = MISSING
    for back in range(1, 1 + max((len(row) for row in rows), default=0)):
        # Counted from the right, because a row index with merged cells shortens rows on the left.
        column = [row[-back] for row in body if len(row) >= back]
        if column and all(NUMBER.fullmatch(cell.get_text(strip=True)) for cell in column):
            for row in rows:
                if len(row) >= back and not row[-back].has_attr("colspan"):
                    row[-back]["class"] = "n"
    return f'<div class="scroll wide">{root}</div>'
