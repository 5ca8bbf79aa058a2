"""What every page has around its content: style, script, mathematical font, navigation, footer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from amortgap.pages.font import font_css
from amortgap.pages.glyphs import share

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Navigation:
    """The bar of a report: its profile, and the plain titles of its pages by name, in order."""

    profile: str
    titles: dict[str, str]
    #: whether the reference lies beside the report
    reference: bool = False

    def bar(self, here: str) -> str:
        """The bar as HTML on the page `here` (`index`, `claims`, `about` or a notebook's name)."""
        items = "\n".join(
            f'<li><a href="{name}.html"{_current(name, here)}>{escape(title)}</a></li>'
            for name, title in self.titles.items()
        )
        links = [
            ("index", f"amortgap, {self.profile} report"),
            ("claims", "Claims"),
            ("about", "About, cite"),
        ]
        made = "\n".join(f'<a href="{to}.html"{_current(to, here)}>{escape(text)}</a>' for to, text in links)
        reference = (
            '\n<a href="reference/amortgap.html">Reference</a>\n<a href="reference/commands.html">Commands</a>'
            if self.reference
            else ""
        )
        return (
            f'<header><nav aria-label="Report">\n{made}{reference}\n'
            f'<details class="menu"><summary>Pages</summary>\n<ol>\n{items}\n</ol></details>\n'
            f"{self._around(here)}</nav></header>"
        )

    def _around(self, here: str) -> str:
        names = list(self.titles)
        if here not in names:
            return ""
        at, links = names.index(here), ""
        for to, words in ((at - 1, "← {}"), (at + 1, "{} →")):
            if 0 <= to < len(names):
                title = self.titles[names[to]]
                short = escape(re.split("[·:]", title)[0].strip())
                links += f'<a href="{names[to]}.html" title="{escape(title)}">{words.format(short)}</a>\n'
        return f'<span class="around">\n{links}</span>' if links else ""


def _current(name: str, here: str) -> str:
    return ' aria-current="page"' if name == here else ""


@lru_cache(maxsize=1)
def _parts() -> tuple[Any, str]:
    from jinja2 import Template

    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return Template((TEMPLATES / "frame.html.j2").read_text(encoding="utf-8")), _short(style)


def _short(text: str) -> str:
    return re.sub(r"\s*\n\s*", "\n", text)


def frame(title: str, nav: str, body: str, footer: str, scripts: tuple[str, ...] = ("page",)) -> str:
    """A whole HTML document around `body`, with style, scripts and mathematical font inside it."""
    template, style = _parts()
    body = share(body)
    script = "".join(_short((TEMPLATES / f"{name}.js").read_text(encoding="utf-8")) for name in scripts)
    return str(
        template.render(
            title=escape(title),
            style=style,
            font=font_css(body),
            nav=nav,
            body=body,
            footer=footer,
            script=script,
        )
    )
