"""The cells of an executed notebook -> the body of its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from amortgap.kit.svg import inline
from amortgap.pages.mathml import MARKER, Formulas
from amortgap.pages.tables import tidy_html

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "templates"


class _Renderer(IPythonRenderer):
    """Markdown -> HTML; formulas leave markers, headings get unique ids and are noted."""

    def __init__(self, formulas: Formulas, headings: list[tuple[int, str, str]]) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.formulas, self.headings = formulas, headings

    def text(self, text: str) -> str:
        # "10 000" stays on one line.
        return re.sub(r"(?<=\d) (?=\d{3}\b)", "\u202f", super().text(text))

    def block_math(self, body: str) -> str:
        return self.formulas.add(body, display=True)

    def inline_math(self, body: str) -> str:
        return self.formulas.add(body, display=False)

    def latex_environment(self, name: str, body: str) -> str:
        return self.formulas.add(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        plain = re.sub(r"<[^>]*>", "", MARKER.sub("", text))
        slug = re.sub(r"\W+", "-", plain.lower()).strip("-") or "section"
        taken = {identifier for _, identifier, _ in self.headings}
        identifier = next(s for n in range(1, 999) if (s := slug if n == 1 else f"{slug}-{n}") not in taken)
        self.headings.append((level, identifier, text))
        link = (
            f' <a class="here" href="#{identifier}" aria-label="link to this section">#</a>'
            if level > 1
            else ""
        )
        return f'<h{level} id="{identifier}">{text}{link}</h{level}>\n'


class Cells:
    """One rendering: the body as HTML with markers, and the formulas and headings met on the way."""

    def __init__(self, notebook: NotebookNode, parameters: str) -> None:
        self.formulas = Formulas()
        self.headings: list[tuple[int, str, str]] = []
        exporter = HTMLExporter(
            template_file=str(TEMPLATES / "cells.html.j2"),
            filters={
                "markdown2html": self.markdown,
                "latex2html": self._latex,
                "tidy_html": tidy_html,
            },
        )
        exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
        html, _ = exporter.from_notebook_node(notebook, {"parameters": parameters})
        self.html = inline(html)

    def markdown(self, text: str) -> str:
        """Markdown as HTML."""
        return str(MarkdownWithMath(renderer=_Renderer(self.formulas, self.headings)).render(text))

    def _latex(self, text: str) -> str:
        """What sympy and IPython hand over as LaTeX: `$...$`, `$$...$$` or an environment."""
        bare = text.strip()
        display = not (bare.startswith("$") and not bare.startswith("$$"))
        return self.formulas.add(
            bare.strip("$").removeprefix(r"\displaystyle"), display or r"\displaystyle" in bare
        )

    def contents(self) -> str:
        """The table of contents; empty when the page has fewer than three headings below its title."""
        below = [heading for heading in self.headings if heading[0] in (2, 3)]
        if len(below) < 3:
            return ""
        items = "\n".join(
            f'<li class="h{level}"><a href="#{to}">{text}</a></li>' for level, to, text in below
        )
        return f'<nav class="toc" aria-label="On this page"><ol>\n{items}\n</ol></nav>\n'
