"""The cells of an executed notebook -> the body of its page."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import from_dict

from amortgap.kit.pictures import unpacked
from amortgap.kit.text import APOSTROPHE
from amortgap.kit.tidy import tidy_html
from amortgap.pages.mathml import MARKER, Formulas

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "templates"

FIGURE = re.compile(r"⟦figure:(\d+)⟧")
#: Of the kinds of words that pygments tells apart, those that `style.css` gives a colour.
COLOURED = {"c1", "sd", "k", "kn", "kc", "kd", "ow", "s1", "s2", "sa", "si", "se", "mi", "mf", "mh"}
SPAN = re.compile(r'<span class="(?P<kind>\w*)">(?P<text>[^<]*)</span>')
ALIKE = re.compile(r'(<span class="(\w+)">[^<]*)</span><span class="\2">')
#: A figure higher than so much of its width has more room in print.
TALL = 0.75
#: Inches up to which a figure fits a phone as it is.
SLIM = 4.8
#: A figure that is made for so many inches gives way to its narrow drawing in windows under so many rem.
GIVES_WAY = ((8.0, "s"), (10.4, "m"), (99.0, "l"))


def take_figures(notebook: NotebookNode) -> list[str]:
    """The figures of `Record.figure` as HTML; each leaves a marker in `notebook`, and its caption there goes."""
    figures: list[str] = []
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", []):
            about = output.get("metadata", {}).get("amortgap", {})
            if "figure" in about:
                output = from_dict(output | {"data": {"text/html": f"⟦figure:{len(figures)}⟧"}})
                figures.append(_figure(about))
            if "caption_of" not in about:
                kept.append(output)
        if "outputs" in cell:
            cell.outputs = kept
    return figures


def _figure(about: dict[str, Any]) -> str:
    name = about["figure"]
    size = next(size for width, size in GIVES_WAY if about["width"] <= width)
    svg, narrow = unpacked(about)
    narrow = f"{narrow}\n" if narrow else ""
    kinds = [f"narrow-{size}"] if narrow else ["slim"] * (about["width"] <= SLIM)
    box = re.search(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)
    kinds += ["tall"] * bool(box and float(box[2]) > TALL * float(box[1]))
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    here = f'<a class="here" href="#fig-{name}" aria-label="link to this figure">#</a>'
    return (
        f'<figure id="fig-{name}"{kind} aria-labelledby="{name}-caption">\n{svg}\n{narrow}'
        f'<figcaption id="{name}-caption">{about["caption"]} {here}</figcaption>\n</figure>'
    )


class _Renderer(IPythonRenderer):
    """Markdown -> HTML; formulas leave markers, headings get unique ids and are noted.

    A heading that is a question of `answers` is shown as its answer, above the question.
    """

    def __init__(
        self, formulas: Formulas, headings: list[tuple[int, str, str]], answers: dict[str, str]
    ) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.formulas, self.headings, self.answers = formulas, headings, answers

    def text(self, text: str) -> str:
        # "10 000" stays on one line; captions have the same apostrophes.
        text = re.sub(APOSTROPHE, "’", text)
        return re.sub(r"(?<=\d) (?=\d{3}\b|%)", "\u202f", super().text(text))

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
        asked = ""
        if answer := self.answers.get(unescape(plain).replace("’", "'")):
            text, asked = re.sub(r"</?a\b[^>]*>", "", answer), f'<p class="asked">{text}</p>\n'
        self.headings.append((level, identifier, text))
        link = (
            f'\u00a0<a class="here" href="#{identifier}" aria-label="link to this section">#</a>'
            if level > 1
            else ""
        )
        return f'<h{level} id="{identifier}">{text}{link}</h{level}>\n{asked}'


def joined(html: str) -> str:
    """`html` with the code of cells that follow one another, and show nothing, behind one mark."""
    return re.sub(r'</details>\s*<details class="code"><summary>code</summary>\s*', "\n", html)


def lean(html: str) -> str:
    """`html` whose code has no spans but those that the style sheet colours, a third of its length."""

    def plain(code: re.Match[str]) -> str:
        kept = SPAN.sub(lambda span: span[0] if span["kind"] in COLOURED else span["text"], code[0])
        while kept != (kept := ALIKE.sub(r"\1", kept)):
            pass
        return kept

    return re.sub(r'<div class="highlight.*?</div>', plain, html, flags=re.DOTALL)


class Cells:
    """One rendering: the body as HTML with markers, and the formulas and headings met on the way."""

    def __init__(self, notebook: NotebookNode, parameters: str, answers: dict[str, str]) -> None:
        self.formulas, self.answers = Formulas(), answers
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
        figures = take_figures(notebook)
        html, _ = exporter.from_notebook_node(notebook, {"parameters": parameters})
        # a text of the corpus may look like a marker
        there = {str(number): figure for number, figure in enumerate(figures)}
        self.html = FIGURE.sub(lambda found: there.get(found[1], found[0]), joined(lean(html)))

    def markdown(self, text: str) -> str:
        """Markdown as HTML."""
        return str(
            MarkdownWithMath(renderer=_Renderer(self.formulas, self.headings, self.answers)).render(text)
        )

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
