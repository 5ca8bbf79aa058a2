"""Numbers and sentences as a reader expects them, as HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from typing import Any

#: A number as Python writes it when it is large or small.
POWER = re.compile(r"(?<![\w.])(\d+\.?\d*)e([+-]?\d+)\b")
#: Whole numbers of five digits and more, and those with commas; not parts of names, addresses and decimals.
LONG = re.compile(r"(?<![\w.,·#/-])\d{5,}(?![\w/]|[.,-]\d)")
GROUPED = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?!\w|[.,]\d)")
#: In "the SAE's" and in "the authors' file".
APOSTROPHE = re.compile(r"(?<=\w)'(?=s\b)|(?<=s)'(?= )")
#: A token of a text with its strength, from 0 to 1, as a style.
STRENGTH = re.compile(r'(<mark style="--s:([\d.]+)"[^>]*>)([^<]*)</mark>')
#: Letters that a viewer without HTML shows of an output; the rest stands in its HTML alone.
MOST_WORDS = 4000
#: A narrow space at which no line breaks.
THIN = "\u202f"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None) -> str:
    """Three decimals, four digits for large values, a power of ten beyond and below .001; a dash for no number."""
    if value is None:
        return "–"
    text = f"{value:.3f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"
    if "e" in text or 0 < abs(value) < 0.001:
        text = re.sub(r"\.?0*e", "e", f"{value:.2e}")
    digits, _, power = text.partition("e")
    return (_times(digits, f"<sup>{int(power)}</sup>") if power else digits).replace("-", "−")


def interval(low: float, high: float) -> str:
    """The two ends in brackets; nothing where they are one number, for then nothing varied."""
    return "" if low == high else f"[{number(low)}, {number(high)}]"


def typeset(sentence: str) -> str:
    """A sentence with minus signs, powers of ten instead of `3.3e+04`, `20 000` for `20000` and for `20,000`."""
    text = escape(APOSTROPHE.sub("’", sentence)).replace("&gt;=", "≥").replace("&lt;=", "≤")
    text = re.sub(r"(?<![\w.)\]])-(?=\.?\d)", "−", text)
    text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", THIN, text)
    text = GROUPED.sub(lambda found: found[0].replace(",", THIN), text)
    text = LONG.sub(lambda found: f"{int(found[0]):,}".replace(",", THIN), text)
    text = re.sub(r"(?<=\d) ?%", f"{THIN}%", text)
    raised = "<sup>{}</sup>".format
    return re.sub(POWER, lambda found: _power(found, raised).replace("-", "−"), text)


#: Words by which a claim's sentence leaves room for its number -> what is said there, # the number, % as a share.
ROOM = (
    (r"only this (MCC)", r"an \1 of only #"),
    (r"(by|adds|gains|loses|stays|takes) this (MCC|F1|FVU)", r"\1 # in \2"),
    (r"this much (more )?(MCC|FVU)", r"# \1of \2"),
    (r"this much", r"#"),
    (r"this (?:many times|multiple of)", r"# times"),
    (r"this many", r"#"),
    (r"this share", r"%"),
    (r"this (MCC|F1|FVU|R²)", r"an \1 of #"),
    (r"this ((?:latent|dictionary) MCC|test correlation|training budget|Jaccard index)", r"a \1 of #"),
    (r"(by|than) this", r"\1 #"),
)


def quotable(says: str, value: float) -> str:
    """A claim's sentence as HTML with its number in it: `reaches an MCC of 0.602` for `reaches this MCC`."""
    text, share = typeset(says), f"{100 * value:.3g}{THIN}%".replace("-", "−")
    for words, said in ROOM:
        if found := re.search(rf"\b{words}(?![\w-])", text):
            there = found.expand(said).replace("%", share).replace("#", number(value))
            return text[: found.start()] + there + text[found.end() :]
    return text


def show_html(html: str, **about: Any) -> None:
    """Show `html` in a notebook, with the first of its words for viewers that show no HTML where they trust nobody.

    `about` becomes the output's metadata, which a page reads.
    """
    from IPython.display import display

    html = STRENGTH.sub(_weighed, html)
    lines = re.sub(r"</(?:p|li|dd|div|summary|tr|h[1-6])>\s*", "\n", html)
    words = unescape(re.sub(r"<[^>]*>", "", lines)).strip()
    if len(words) > MOST_WORDS:
        words = words[:MOST_WORDS].rpartition("\n")[0] + "\n…"
    display({"text/html": html, "text/plain": words}, metadata={"amortgap": about} if about else {}, raw=True)


def _weighed(mark: re.Match[str]) -> str:
    """A marked token with the strength of its colour once more as type: bold from two thirds on, small below one.

    Viewers that do not trust a notebook strip its styles.
    """
    strength = float(mark[2])
    kind = "b" if strength >= 2 / 3 else "small" if strength < 1 / 3 else ""
    return f"{mark[1]}<{kind}>{mark[3]}</{kind}></mark>" if kind else mark[0]


def spelled(sentence: str) -> str:
    """A sentence without markup: minus signs, and `3.3·10⁴` instead of `3.3e+04`."""
    text = re.sub(r"(?<![\w.)\]])-(?=\.?\d)", "−", sentence)
    return re.sub(POWER, lambda found: _power(found, lambda power: power.translate(RAISED)), text)


def _power(found: re.Match[str], raised: Callable[[str], str]) -> str:
    """`3.3e+04` with its power of ten `raised`; what is neither large nor small as it is, `2.6e+02` as 260."""
    value = float(found[0])
    return f"{value:g}" if 1 <= value < 10_000 else _times(found[1], raised(str(int(found[2]))))


def _times(digits: str, power: str) -> str:
    return digits.removesuffix("1") + f"10{power}" if digits in ("1", "-1") else f"{digits}·10{power}"
