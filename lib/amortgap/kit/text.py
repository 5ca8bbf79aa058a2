"""Numbers and sentences as a reader expects them, as HTML."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Any

#: A number as Python writes it when it is large or small.
POWER = re.compile(r"(?<![\w.])(\d+\.?\d*)e([+-]?\d+)\b")
#: Whole numbers of five digits and more, and those with commas; not parts of names, addresses and decimals.
LONG = re.compile(r"(?<![\w.,·#/-])\d{5,}(?![\w/]|[.,-]\d)")
GROUPED = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,]|\.\d)")
#: A narrow space at which no line breaks.
THIN = "\u202f"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None) -> str:
    """Three decimals, four digits for large and small values, a power of ten beyond; a dash for no number."""
    if value is None:
        return "–"
    text = f"{value:.3f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"
    digits, _, power = (f"{value:.3g}" if "e" in text else text).partition("e")
    return (_times(digits, f"<sup>{int(power)}</sup>") if power else digits).replace("-", "−")


def interval(low: float, high: float) -> str:
    """The two ends in brackets; nothing where they are one number, for then nothing varied."""
    return "" if low == high else f"[{number(low)}, {number(high)}]"


def typeset(sentence: str) -> str:
    """A sentence with minus signs, powers of ten instead of `3.3e+04`, `20 000` for `20000` and for `20,000`."""
    text = re.sub(r"(?<![\w.)\]])-(?=\.?\d)", "−", escape(sentence.replace("'s ", "’s ")))
    text = GROUPED.sub(lambda found: found[0].replace(",", THIN), text)
    text = LONG.sub(lambda found: f"{int(found[0]):,}".replace(",", THIN), text)
    text = re.sub(r"(?<=\d) ?%", f"{THIN}%", text)
    return re.sub(
        POWER,
        lambda found: _times(found[1], f"<sup>{int(found[2])}</sup>").replace("-", "−"),
        text,
    )


def show_html(html: str, **about: Any) -> None:
    """Show `html` in a notebook, with its words for viewers that show no HTML where they trust nobody.

    `about` becomes the output's metadata, which a page reads.
    """
    from IPython.display import display

    lines = re.sub(r"</(?:p|li|dd|div|summary|tr|h[1-6])>\s*", "\n", html)
    words = unescape(re.sub(r"<[^>]*>", "", lines)).strip()
    display({"text/html": html, "text/plain": words}, metadata={"amortgap": about} if about else {}, raw=True)


def spelled(sentence: str) -> str:
    """A sentence without markup: minus signs, and `3.3·10⁴` instead of `3.3e+04`."""
    text = re.sub(r"(?<![\w.)\]])-(?=\.?\d)", "−", sentence)
    return re.sub(POWER, lambda found: _times(found[1], str(int(found[2])).translate(RAISED)), text)


def _times(digits: str, power: str) -> str:
    return digits.removesuffix("1") + f"10{power}" if digits in ("1", "-1") else f"{digits}·10{power}"
