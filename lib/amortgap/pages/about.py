"""Words that all pages of a report share, from `notebooks/about.toml`: terms, references, changes; how to cite."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from amortgap.kit.text import typeset
from amortgap.pages.findings import read_toml

PAPER = """@inproceedings{oneill2025compute,
  title     = {Compute Optimal Inference and Provable Amortisation Gap in Sparse Autoencoders},
  author    = {O'Neill, Charles and Gumran, Alim and Klindt, David},
  booktitle = {Proceedings of the 42nd International Conference on Machine Learning},
  year      = {2025},
  url       = {https://arxiv.org/abs/2411.13117}
}"""
OURS = """@software{amortgap,
  title   = {amortgap: a laboratory for the amortisation gap of sparse autoencoders},
  author  = {{The amortgap authors}},
  version = {0.1.0},
  year    = {2026}
}"""
#: Where no term is marked: code, formulas, figures, links, headings, and what is marked already.
SKIPPED = "a|abbr|button|code|figcaption|h1|h2|h3|math|nav|pre|script|style|summary|svg|table"


@dataclass(frozen=True)
class About:
    """The content of `about.toml`; empty where a project has none."""

    terms: dict[str, str] = field(default_factory=dict)
    references: tuple[dict[str, str], ...] = ()
    changes: tuple[dict[str, str], ...] = ()


def read_about(file: Path) -> About:
    """`file` as `About`. Raises `Refused` as `read_toml`."""
    if not file.exists():
        return About()
    given = read_toml(file, {"terms": dict, "reference": list, "change": list})
    return About(given.get("terms", {}), tuple(given.get("reference", ())), tuple(given.get("change", ())))


def mark_terms(html: str, terms: dict[str, str]) -> str:
    """`html` with the first place of each term, outside of code, formulas and links, as a link to its meaning."""
    left = dict(terms)
    pieces = re.split(rf"(<(?P<tag>{SKIPPED})\b[^>]*>.*?</(?P=tag)>|<[^>]*>)", html, flags=re.DOTALL)
    # `re.split` also gives the name of the tag: two captures a piece
    for at in range(0, len(pieces), 3):
        # the longest first, so that "amortisation gap" is not taken for "gap"
        for term in sorted(left, key=len, reverse=True):
            marked, found = re.subn(
                rf"(?<![\w-]){re.escape(term)}(?![\w-])", f"\0{term}\0", pieces[at], count=1
            )
            if found and "\0" not in pieces[at]:
                pieces[at] = marked
                break
        if "\0" in pieces[at]:
            before, term, after = pieces[at].split("\0")
            meaning = escape(left.pop(term))
            pieces[at] = (
                f'{before}<a class="term" href="about.html#{_anchor(term)}" title="{meaning}">{term}</a>{after}'
            )
    return "".join(
        pieces[at] + (pieces[at + 1] or "" if at + 1 < len(pieces) else "") for at in range(0, len(pieces), 3)
    )


def _anchor(term: str) -> str:
    return "term-" + re.sub(r"\W+", "-", term.lower())


def references(html: str, about: About) -> str:
    """The works that the page `html` refers to, as a list; empty where it refers to none."""
    text = re.sub(r"<svg.*?</svg>|<pre.*?</pre>", "", html, flags=re.DOTALL)
    named = [one for one in about.references if re.search(one["find"], text)]
    return (
        f'<h2 id="references">References</h2>\n<ul class="references">{_works(named)}</ul>\n' if named else ""
    )


def _works(works: list[dict[str, str]] | tuple[dict[str, str], ...]) -> str:
    return "".join(
        f'<li>{escape(one["text"])} <a href="{escape(one["url"])}">{escape(one["url"])}</a></li>'
        for one in works
    )


def cite_box() -> str:
    """How to cite the paper and this, folded."""
    return (
        '<details class="cite"><summary>How to cite</summary>\n<p>The paper:</p>\n'
        f"<pre data-copy>{escape(PAPER)}</pre>\n<p>This report:</p>\n"
        f"<pre data-copy>{escape(OURS)}</pre>\n</details>\n"
    )


def about_body(about: About, withdrawn: list[tuple[str, str, str]]) -> str:
    """The page about the report. `withdrawn`: page, its title and the reason of all that is being made again."""
    terms = "".join(
        f'<dt id="{_anchor(term)}">{escape(term)}</dt><dd>{typeset(meaning)}</dd>'
        for term, meaning in about.terms.items()
    )
    changes = "".join(
        f"<li><b>{escape(one['when'])}</b> {typeset(one['what'])}</li>" for one in about.changes
    )
    again = "".join(
        f'<li><a href="{page}.html">{escape(title)}</a>: {escape(why)}</li>' for page, title, why in withdrawn
    )
    parts = [
        "<h1>About this report</h1>\n<p>Every number of a page is read from a data file beside it, which the "
        "page’s run wrote. Each page ends with its data, its notebook as it was run, and the command that makes it "
        "again.</p>\n" + cite_box().replace("<details", "<details open", 1)
    ]
    if terms:
        parts.append(f'<h2 id="terms">Terms</h2>\n<dl class="terms">{terms}</dl>')
    if about.references:
        parts.append(
            f'<h2 id="references">References</h2>\n<ul class="references">{_works(about.references)}</ul>'
        )
    if changes:
        parts.append(f'<h2 id="changes">Changes</h2>\n<ul>{changes}</ul>')
    if again:
        parts.append(f'<h2 id="again">Being made again</h2>\n<ul>{again}</ul>')
    return "\n".join(parts)
