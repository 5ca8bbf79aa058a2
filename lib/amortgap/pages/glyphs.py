"""The letters of all figures of a page, once, and short names: Matplotlib writes letters into every figure."""

from __future__ import annotations

import re

#: A font's name with a letter's code, as Matplotlib ends the id of a glyph: `DejaVuSans-Oblique-3bb`. The font of
#: nearly all text is shortened to `g`, a quarter of a figure's bytes.
LETTER = r"(?P<letter>(?:g|[A-Z][A-Za-z0-9]*(?:-[A-Z][A-Za-z]*)*-)[0-9a-f]+)"
OFTEN, SHORT = "DejaVuSans-", "g"
BLANK = {"DejaVuSans-3", "g3"}
#: Marks and clipping frames, which Matplotlib names by a digest.
NAMED = re.compile(r"[a-z]\w*(?:-narrow)?-(?P<kind>[mp])[0-9a-f]{10}(?=[\")])")
DRAWN = re.compile(
    rf'<path id="(?:[a-z][\w-]*-)?{LETTER}" d="(?P<d>[^"]*)" transform="scale\(0\.015625\)"/>\n?'
)
#: In text a letter is only moved along; in formulas it is raised, and made smaller, too.
USED = re.compile(
    rf'<use href="#(?:[a-z][\w-]*-)?{LETTER}"(?: transform="(?:translate\((?P<x>[-\d.]+) 0\)|(?P<how>[^"]*))")?/>'
)


def share(body: str) -> str:
    """`body` with each letter drawn once, in a picture at its beginning; marks and frames are numbered."""
    letters: dict[str, str] = {}

    def taken(found: re.Match[str]) -> str:
        letters[_short(found["letter"])] = found["d"].replace("\n", " ")
        return ""

    def used(found: re.Match[str]) -> str:
        if found["letter"] in BLANK:
            return ""
        # a hundredth of the letters' size, which nobody sees
        at = f' x="{float(found["x"]):.0f}"' if found["x"] else ""
        at += f' transform="{found["how"]}"' if found["how"] else ""
        return f'<use href="#{_short(found["letter"])}"{at}/>'

    body = re.sub(
        r"<svg[^>]*class=\"letters\".*?</svg>\n?", lambda one: DRAWN.sub(taken, one[0]) and "", body
    )
    body = re.sub(r"<defs>\s*</defs>\n?", "", USED.sub(used, DRAWN.sub(taken, body)))
    names: dict[str, str] = {}
    body = NAMED.sub(lambda found: names.setdefault(found[0], f"{found['kind']}{len(names)}"), body)
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
