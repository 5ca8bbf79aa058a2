"""The letters of all figures of a page, once: Matplotlib writes them into every figure."""

from __future__ import annotations

import re

#: A font's name with a letter's code, as Matplotlib ends the id of a glyph: `DejaVuSans-Oblique-3bb`. The font of
#: nearly all text is shortened to `g`, a quarter of a figure's bytes.
LETTER = r"(?P<letter>(?:g|[A-Z][A-Za-z0-9]*(?:-[A-Z][A-Za-z]*)*-)[0-9a-f]+)"
OFTEN, SHORT = "DejaVuSans-", "g"
DRAWN = re.compile(
    rf'<path id="(?:[a-z][\w-]*-)?{LETTER}" d="(?P<d>[^"]*)" transform="scale\(0\.015625\)"/>\n?'
)
#: In text a letter is only moved along; in formulas it is raised, and made smaller, too.
USED = re.compile(
    rf'<use href="#(?:[a-z][\w-]*-)?{LETTER}"(?: transform="(?:translate\((?P<x>[-\d.]+) 0\)|(?P<how>[^"]*))")?/>'
)


def share(body: str) -> str:
    """`body` with each letter drawn once, in a picture without size at its beginning."""
    letters: dict[str, str] = {}

    def taken(found: re.Match[str]) -> str:
        letters[_short(found["letter"])] = found["d"].replace("\n", " ")
        return ""

    def used(found: re.Match[str]) -> str:
        at = f' x="{float(found["x"]):.4g}"' if found["x"] else ""
        at += f' transform="{found["how"]}"' if found["how"] else ""
        return f'<use href="#{_short(found["letter"])}"{at}/>'

    body = re.sub(
        r"<svg[^>]*class=\"letters\".*?</svg>\n?", lambda one: DRAWN.sub(taken, one[0]) and "", body
    )
    body = re.sub(r"<defs>\s*</defs>\n?", "", USED.sub(used, DRAWN.sub(taken, body)))
    if not letters:
        return body
    paths = "".join(
        f'<path id="{letter}" d="{d}" transform="scale(0.015625)"/>' for letter, d in sorted(letters.items())
    )
    style = 'width="0" height="0" style="position:absolute" aria-hidden="true"'
    return f'<svg class="letters" {style}><defs>{paths}</defs></svg>\n{body}'


def _short(letter: str) -> str:
    code = letter.removeprefix(OFTEN)
    return SHORT + code if letter != code and "-" not in code else letter
