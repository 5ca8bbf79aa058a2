"""TeX formulas -> MathML, all formulas of a page in one call of pandoc."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from amortgap._errors import Refused

MARKER = re.compile(r"⟦math:(\d+)⟧")
#: An operator that is a name, as pandoc writes it: what ends before it, and what operand begins after it.
NAMED = re.compile(
    r"(?<!<msub>)(</m(?!o>)\w+>)?<mrow>(<mi[^>]*>\w+</mi><mo>&#8289;</mo>)</mrow>(?!</)(?=(<m(?!o)|<mo[^>]*postfix)?)"
)
THIN = '<mspace width="0.17em"></mspace>'
#: Version of pandoc's JSON document format that is written below; pandoc checks it.
PANDOC_API = [1, 23]


@dataclass
class Formulas:
    """Formulas met while a page is rendered; each leaves a marker that `fill` replaces."""

    found: list[tuple[str, bool]] = field(default_factory=list)

    def add(self, tex: str, display: bool) -> str:
        """Remember a formula and return its marker."""
        self.found.append((tex.strip(), display))
        return f"⟦math:{len(self.found) - 1}⟧"

    def fill(self, html: str) -> str:
        """`html` with every marker replaced by its MathML. Raises `Refused` for a formula pandoc cannot read."""
        if not self.found:
            return html
        maths = to_mathml(self.found)
        lost = set(range(len(maths))) - {int(number) for number in MARKER.findall(html)}
        if lost:
            raise Refused(f"formula {self.found[min(lost)][0]!r} was lost while the page was rendered")

        def joined(found: re.Match[str]) -> str:
            before, number, after = found.groups()
            # a text of the corpus may look like a marker
            if int(number) >= len(maths):
                return found[0]
            formula = before + maths[int(number)] + after
            return f'<span class="joined">{formula}</span>' if before or after else formula

        # No line may end between a formula and the bracket or comma that touches it.
        return re.sub(r"([(\[“]*)" + MARKER.pattern + r"([)\].,;:?!”’]*)", joined, html)


def to_mathml(formulas: list[tuple[str, bool]]) -> list[str]:
    """One `<math>` element for each pair (tex, display)."""
    import pypandoc

    # The document is handed over as pandoc's own tree, so no text is parsed as Markdown on the way.
    paragraphs = [
        {"t": "Para", "c": [{"t": "Math", "c": [{"t": "DisplayMath" if display else "InlineMath"}, tex]}]}
        for tex, display in formulas
    ]
    document = {"pandoc-api-version": PANDOC_API, "meta": {}, "blocks": paragraphs}
    html = pypandoc.convert_text(
        json.dumps(document), "html", "json", extra_args=["--mathml", "--wrap=none", "--quiet"]
    )
    parts = re.findall(r"<p>(.*?)</p>", html, flags=re.DOTALL)
    for (tex, _), part in zip(formulas, parts, strict=True):
        if part.count("<math") != 1:
            raise Refused(f"formula {tex!r} cannot be read as TeX mathematics")
    return [_mend(part.strip()) for part in parts]


def _mend(mathml: str) -> str:
    """pandoc's output, mended for browsers; the TeX annotation stays, because it is what "copy" gives."""
    # HTML implies the namespace.
    mathml = mathml.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    # Chromium aligns the cells of a formula only by its own value; others ignore it and keep the first.
    mathml = mathml.replace("text-align: right;", "text-align: right; text-align: -webkit-right;")
    # TeX has a thin space between an operator that is a name and an operand beside it.
    mathml = NAMED.sub(
        lambda it: f"{it[1] or ''}<mrow>{THIN * bool(it[1])}{it[2]}{THIN * bool(it[3])}</mrow>", mathml
    )
    # pandoc writes a norm with "parallel to", which has spaces around it; "double line" has none.
    return re.sub(r'(form="(?:prefix|postfix)">)∥', r"\1‖", mathml)
