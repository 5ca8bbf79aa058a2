"""Tables as pandas writes them -> tables that read well: numbers to the right, names in words."""

from __future__ import annotations

import re
from typing import Any

from amortgap.kit.text import GROUPED, THIN, spelled

NUMBER = re.compile(r"[-−+]?(\d[\d,]*\.?\d*|\.\d+)([eE][-+]?\d+)?\s*%?|–|-?inf")
#: A cell in Jupyter, which puts every cell to the right where nothing else is said.
TO_THE_LEFT = '<td style="text-align: left">'
MISSING, ABSENT = "–", {"NaN", "nan", "None", "<NA>"}
#: Columns from which on the heads of several words break.
MANY = 7
#: Parts of column names -> how they are written elsewhere on the page.
WORDS = {
    **{"mcc": "MCC", "mse": "MSE", "fvu": "FVU", "flops": "FLOPs", "omp": "OMP", "sae": "SAE", "mlp": "MLP"},
    **{"l0": "L0", "l1": "L1", "f1": "F1", "r2": "R²", "dict": "dictionary", "gpu": "GPU"},
    **{"ista": "ISTA", "fista": "FISTA", "lca": "LCA", "holm": "Holm", "jaccard": "Jaccard"},
}
#: Digits after the point that pandas prints where nobody says how many, and more than anybody reads.
LONG = re.compile(r"-?\d*\.\d{5,}")


def tidy_html(html: str) -> str:
    """`html` with every pandas table aligned by column and free to scroll sideways; the rest as it was."""
    html = html.replace(TO_THE_LEFT, "<td>")
    html = re.sub(r"<style scoped>.*?</style>\s*", "", html, flags=re.DOTALL)
    return re.sub(r"<table[^>]*dataframe.*?</table>", lambda table: align(table[0]), html, flags=re.DOTALL)


def use_tables() -> None:
    """From here on Jupyter shows tables and columns of pandas as the page will, beside their plain text."""
    from IPython import get_ipython
    from pandas import DataFrame, Series

    if (shell := get_ipython()) is not None:
        html = shell.display_formatter.formatters["text/html"]
        html.for_type(DataFrame, _in_jupyter)
        html.for_type(Series, lambda column: _in_jupyter(column.to_frame()))


def _in_jupyter(table: Any) -> str | None:
    from pandas import option_context

    # a sentence in a cell is shown to its end
    with option_context("display.max_colwidth", None):
        shown = table._repr_html_()
    return shown and tidy_html(shown).replace("<td>", TO_THE_LEFT)


def align(table: str) -> str:
    """One `<table>` whose columns of numbers carry the class `n`, in a scrolling box."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(table, "html.parser")
    root = soup.table
    assert root is not None
    root.attrs = {}
    for line in root.find_all("tr"):
        line.attrs = {}
    for cell in root.find_all("th"):
        cell.attrs.pop("valign", None)
        cell.attrs.pop("halign", None)
    _join_header(root)
    _drop_row_numbers(root)
    for cell in root.select("thead th"):
        if label := cell.get_text(strip=True):
            cell.string = heading(label)
    rows = _rows(root)
    if max((len(row) for row in rows), default=0) > MANY:
        _break_heads(root, soup)
    for cell in root.select("tbody th"):
        if "_" in (name := cell.get_text(strip=True)) or name.split(" ")[0] in WORDS:
            cell.string = heading(name)
    body = [row for row in rows if any(cell.name == "td" for cell in row)]
    for back in range(1, 1 + max((len(row) for row in rows), default=0)):
        # Counted from the right, because a row index with merged cells shortens rows on the left.
        column = [row[-back] for row in body if len(row) >= back]
        texts = [cell.get_text(strip=True) for cell in column]
        if column and all(NUMBER.fullmatch(text) or text in ABSENT for text in texts):
            _shorten(column, texts)
            for row in rows:
                if len(row) >= back and not row[-back].has_attr("colspan"):
                    row[-back]["class"] = "n"
    for cell in root.select("tbody :is(td, th)"):
        if cell.string and GROUPED.search(cell.string):
            cell.string = GROUPED.sub(lambda found: found[0].replace(",", THIN), cell.string)
    for cell in root.find_all("td"):
        text = cell.get_text(strip=True)
        if text in ABSENT:
            cell.string = MISSING
        elif text in ("True", "False"):
            cell.string = "yes" if text == "True" else "no"
        elif ("_" in text or text in WORDS) and (words := heading(text)) != text:
            cell.string = words
        elif NUMBER.fullmatch(text):
            digits, power = shown(text)
            cell.string = digits
            if power:
                cell.append(soup.new_tag("sup", string=power))
    return f'<div class="scroll wide">{root}</div>'


def heading(label: str) -> str:
    """A column's name in words: `dict_mcc` -> `dictionary MCC`, `0.0001` -> `10⁻⁴`, `0.010000` -> `0.01`."""
    if re.fullmatch(r"\d+\.\d+|\d(\.\d+)?e[-+]\d+", label):
        small = 0 < float(label) < 1e-3
        return spelled(re.sub(r"\.?0*e", "e", f"{float(label):.2e}") if small else f"{float(label):g}")
    words = [
        part.split("_") if re.fullmatch(r"[a-z][a-z0-9_]*", part) else [part] for part in label.split(" ")
    ]
    return " ".join(WORDS.get(part, part) for parts in words for part in parts)


def _shorten(column: list[Any], texts: list[str]) -> None:
    """Counts and thousands without a point, four digits behind it where there are more."""
    numbers = [text for text in texts if text not in ABSENT]
    whole = all(re.fullmatch(r"-?\d+(\.0+)?", text) for text in numbers)
    # a score of 1.0 is not a count
    whole = whole and any(abs(float(text)) >= 2 for text in numbers)
    for cell, text in zip(column, texts, strict=True):
        if whole and text not in ABSENT:
            cell.string = text.partition(".")[0]
        elif re.fullmatch(r"-?\d{4,}\.\d+", text):
            cell.string = f"{float(text):.0f}"
        elif LONG.fullmatch(text):
            small = 0 < abs(float(text)) < 5e-4
            cell.string = f"{float(text):.2e}" if small else f"{float(text):.4f}"


def shown(text: str) -> tuple[str, str]:
    """A number as a reader writes it and, where it is large or small, its power of ten.

    `-0.000` -> `0.000`; `-0.5` -> `−0.5`; `5%` -> `5 %`; `40000` -> `40 000`; `2.56e+02` -> `256`;
    `3.106485e+10`, `31064850000` -> `3.11·10` and `10`.
    """
    if re.fullmatch(r"-?\d{7,}(\.0*)?", text) or "e" in text.lower():
        value = float(text)
        if value == 0 or 1 <= abs(value) < 1e5:
            # three digits, as those with a power of ten
            return f"{float(f'{value:.3g}'):,.12g}".replace(",", THIN).replace("-", "−"), ""
        digits, _, power = f"{value:.2e}".partition("e")
        digits = digits.rstrip("0").rstrip(".")
        return f"{digits}·10".replace("-", "−"), str(int(power)).replace("-", "−")
    text = f"{int(text):,}".replace(",", THIN) if re.fullmatch(r"-?\d{5,}", text) else text
    text = re.sub(r"(?<=\d)%", f"{THIN}%", text)
    return (text[1:] if re.fullmatch(r"-0\.?0*", text) else text.replace("-", "−")), ""


def _rows(root: Any) -> list[list[Any]]:
    return [list(line.find_all(["th", "td"])) for line in root.find_all("tr")]


def _break_heads(root: Any, soup: Any) -> None:
    """Heads of several words on two lines, so that they do not take the room of the cells."""
    for cell in root.select("thead th"):
        words = cell.get_text(strip=True).split(" ")
        if len(words) > 1:
            ahead = [sum(map(len, words[:i])) for i in range(len(words) + 1)]
            at = min(range(1, len(words)), key=lambda i: abs(2 * ahead[i] - ahead[-1]))
            cell.string = " ".join(words[:at])
            cell.append(soup.new_tag("br"))
            cell.append(" ".join(words[at:]))


def _join_header(root: Any) -> None:
    """Names of the row index, which pandas puts on a line of their own, move up beside the columns' names.

    What the columns are by stands beside the last of them: `method, by tol →`.
    """
    lines = root.select("thead tr")
    if len(lines) < 2:
        return
    above, below = (line.find_all("th") for line in lines[-2:])
    names = [cell for cell in below if cell.get_text(strip=True)]
    free = above[: len(names)]
    spanning = any(cell.has_attr("colspan") for cell in above)
    if len(above) != len(below) or spanning or below[: len(names)] != names:
        return
    if not free or any(cell.get_text(strip=True) for cell in free[:-1]):
        return
    by = heading(free[-1].get_text(strip=True))
    for cell, name in zip(free, names, strict=True):
        cell.string = name.get_text(strip=True)
    if by:
        free[-1].string = f"{heading(free[-1].get_text(strip=True))}, by {by} →"
    lines[-1].decompose()


def _drop_row_numbers(root: Any) -> None:
    """The unnamed index of whole numbers that a table gets when nobody gave it one says nothing."""
    lines = _rows(root)
    body = [row for row in lines if any(cell.name == "td" for cell in row)]
    head = [row for row in lines if row not in body]
    numbered = all(
        row[0].name == "th" and row[1].name == "td" and row[0].get_text(strip=True).isdigit()
        for row in body
        if len(row) > 1
    )
    if body and len(head) == 1 and numbered and not head[0][0].get_text(strip=True):
        for row in lines:
            row[0].decompose()
