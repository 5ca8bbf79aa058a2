"""What the figures of a page have in common, once: Matplotlib writes letters and styles wherever it draws."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

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
    rf'<use href="#(?:[a-z][\w-]*-)?{LETTER}"'
    r'(?: transform="(?:translate\((?P<x>[-\d.]+) (?P<y>[-\d.]+)\)|(?P<how>[^"]*))")?/>'
)
MARKER = re.compile(r'<marker id="([^"]*)".*?</marker>\n?', flags=re.DOTALL)
COMMON = re.compile(r"<svg[^>]*class=\"letters\".*?</svg>\n?", flags=re.DOTALL)
#: Letters in a row; and the style of a part of a figure.
WORD = re.compile(r'(?:<use href="#(?![mw]\d+")[^>]*/>\s*){2,}')
STYLED = re.compile(r'(?P<tag><(?:path|use|g)\b(?![^>]*class=)[^>]*?)style="(?P<style>[^"]{10,})"')


def share(body: str) -> str:
    """`body` with what its figures have in common once, in a picture at its beginning.

    That is each letter, words and styles that come again; marks and frames are numbered. What was shared before,
    as in a figure taken out of a page, is shared anew.
    """
    letters: dict[str, str] = {}
    body = _apart(body)

    def taken(found: re.Match[str]) -> str:
        letters[_short(found["letter"])] = found["d"].replace("\n", " ")
        return ""

    def used(found: re.Match[str]) -> str:
        if found["letter"] in BLANK:
            return ""
        # a hundredth of the letters' size, which nobody sees
        at = "".join(f' {one}="{float(found[one]):.0f}"' for one in "xy" if float(found[one] or 0))
        at += f' transform="{found["how"]}"' if found["how"] else ""
        return f'<use href="#{_short(found["letter"])}"{at}/>'

    body = COMMON.sub(lambda one: DRAWN.sub(taken, one[0]) and "", body)
    body = re.sub(r"<defs>\s*</defs>\n?", "", USED.sub(used, DRAWN.sub(taken, body)))
    drawn: set[str] = set()

    def first(found: re.Match[str]) -> str:
        again = found[1] in drawn
        drawn.add(found[1])
        return "" if again else found[0]

    # two panels with the same points have one line of marks, of the same name
    body = MARKER.sub(first, body)
    names: dict[str, str] = {}
    body = NAMED.sub(lambda found: names.setdefault(found[0], f"{found['kind']}{len(names)}"), body)
    if not letters:
        return body
    body, words, styles = _again(body)
    paths = "".join(
        f'<path id="{letter}" d="{d}" transform="scale(0.015625)"/>' for letter, d in sorted(letters.items())
    )
    groups = "".join(f'<g id="{word}">{parts}</g>' for parts, word in words.items())
    rules = "".join(f".{name} {{{style}}}\n" for style, name in styles.items())
    head = 'width="0" height="0" style="position:absolute" aria-hidden="true"'
    return f'<svg class="letters" {head}><style>{rules}</style><defs>{paths}{groups}</defs></svg>\n{body}'


def _again(body: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """`body` with names for the words and styles that come again in its figures, and what they name."""
    words = _named("w", map(_joined, WORD.findall(body)))
    styles = _named("d", (found["style"] for found in STYLED.finditer(body)))

    def used(found: re.Match[str]) -> str:
        name = words.get(_joined(found[0]))
        return f'<use href="#{name}"/>\n' if name else found[0]

    def styled(found: re.Match[str]) -> str:
        name = styles.get(found["style"])
        return f'{found["tag"]}class="{name}"' if name else found[0]

    return STYLED.sub(styled, WORD.sub(used, body)), words, styles


def _named(kind: str, found: Iterable[str]) -> dict[str, str]:
    again = [one for one, times in Counter(found).items() if times > 1]
    return {one: f"{kind}{number}" for number, one in enumerate(again)}


def _joined(letters: str) -> str:
    return re.sub(r"\s+(?=<|$)", "", letters)


def _apart(body: str) -> str:
    """`body` with the words and styles that `share` has named where they are used."""
    common = "".join(COMMON.findall(body))
    words = dict(re.findall(r'<g id="(w\d+)">(.*?)</g>', common, flags=re.DOTALL))
    styles = dict(re.findall(r"\.(d\d+) \{([^}]*)\}", common))
    body = re.sub(r'<use href="#(w\d+)"/>', lambda found: words.get(found[1], found[0]), body)
    return re.sub(
        r'class="(d\d+)"',
        lambda found: f'style="{styles[found[1]]}"' if found[1] in styles else found[0],
        body,
    )


def _short(letter: str) -> str:
    code = letter.removeprefix(OFTEN)
    return SHORT + code if letter != code and "-" not in code else letter
