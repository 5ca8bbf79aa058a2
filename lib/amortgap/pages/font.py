"""A mathematical font cut down to the characters of one page, as a CSS rule.

Without a font that has a MATH table, brackets and roots do not stretch. STIX Two Math (SIL Open Font
License) comes with the package `ziamath`.
"""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from functools import lru_cache
from html import unescape
from importlib.util import find_spec
from pathlib import Path

from amortgap._errors import Refused

#: Characters that the browser draws although the text does not hold them: radical, accents, primes.
ALWAYS = "√ˆ˜¯˙¨ˇ´`→^~_¯‾⏞⏟−′ "
ITALIC_A, ITALIC_ALPHA = 0x1D44E, 0x1D6FC


def font_css(html: str) -> str:
    """An `@font-face` rule with the glyphs that the formulas in `html` need; empty without formulas."""
    formulas = re.findall(r"<math.*?</math>", html, flags=re.DOTALL)
    if not formulas:
        return ""
    shown = re.sub(r"<annotation.*?</annotation>", "", " ".join(formulas), flags=re.DOTALL)
    characters = set(unescape(re.sub(r"<[^>]*>", "", shown))) | set(ALWAYS)
    characters |= {italic for character in characters for italic in _italics(character)}
    font = _subset("".join(sorted(characters)))
    return (
        '@font-face{font-family:"page maths";src:url(data:font/woff2;base64,'
        + base64.b64encode(font).decode()
        + ') format("woff2")}'
    )


def _italics(character: str) -> list[str]:
    """What a browser draws for a single letter in `<mi>`: its mathematical italic."""
    if character == "h":
        return ["ℎ"]
    if "a" <= character <= "z":
        return [chr(ITALIC_A + ord(character) - ord("a"))]
    if "A" <= character <= "Z":
        return [chr(ITALIC_A - 26 + ord(character) - ord("A"))]
    if unicodedata.name(character, "").startswith("GREEK"):
        return [
            chr(code)
            for code in range(0x1D6E2, 0x1D71C)
            if unicodedata.normalize("NFKC", chr(code)) == unicodedata.normalize("NFKC", character)
        ]
    return []


@lru_cache(maxsize=64)
def _subset(characters: str) -> bytes:
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    # Script forms, dotless letters under accents, flat accents: what MathML layout asks a font for.
    options = Options(layout_features=["ssty", "dtls", "flac"], notdef_outline=True)
    font = TTFont(_font_file(), recalcTimestamp=False)
    subsetter = Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(font)
    font.flavor = "woff2"
    buffer = io.BytesIO()
    font.save(buffer)
    return buffer.getvalue()


def _font_file() -> Path:
    """The file in the package, found without importing it: the import warns and loads what is not needed."""
    package = find_spec("ziamath")
    if package is None or not package.submodule_search_locations:
        raise Refused("the package ziamath, which brings the font for formulas, is not installed")
    return Path(package.submodule_search_locations[0]) / "fonts" / "STIXTwoMath-Regular.ttf"
