"""One executed notebook -> one page that needs no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap.pages.font import font_css
from amortgap.pages.links import relink
from amortgap.pages.withdrawn import Withdrawal, mark_page, notice
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project
from amortgap.runs.sources import read_cell

if TYPE_CHECKING:
    from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Page:
    """What the index shows of a page: its name, title and first paragraph, both as HTML."""

    name: str
    title: str
    summary: str


@lru_cache(maxsize=1)
def _frame() -> tuple[Any, str]:
    from jinja2 import Template

    frame = Template((TEMPLATES / "frame.html.j2").read_text(encoding="utf-8"))
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return frame, re.sub(r"\s*\n\s*", "\n", style)


def frame(title: str, links: list[dict[str, str]], body: str, footer: str) -> str:
    """A whole HTML document around `body`, with style and mathematical font inside it."""
    template, style = _frame()
    return str(
        template.render(
            title=escape(title), style=style, font=font_css(body), links=links, body=body, footer=footer
        )
    )


def render_page(
    project: Project,
    report: Path,
    run: dict[str, Any],
    names: list[str],
    titles: dict[str, str],
    withdrawn: Sequence[Withdrawal],
) -> tuple[str, Page]:
    """The page of the notebook of `run` as an HTML document, and what the index needs of it.

    `names` are the pages of this report in order, `titles` their plain titles for the links. What is `withdrawn`
    of this page is marked. Text comes from the notebook as it is now, where its code is still what was run.
    """
    import nbformat

    from amortgap.pages.cells import Cells

    name = run["notebook"]
    notebook = Notebook(project.notebook(name))
    kept = run["error"]["kept"] if run["status"] == "failed" else "run.ipynb"
    # Nothing is kept of a notebook whose kernel did not start.
    executed = (
        nbformat.read(report / "data" / name / kept, as_version=4) if kept else nbformat.v4.new_notebook()
    )
    current = nbformat.read(notebook.path, as_version=4)
    cells = Cells(with_text_of(current, executed), parameters_table(notebook, run["parameters"]))
    try:
        body, contents = cells.formulas.fill(cells.html + SEPARATOR + cells.contents()).split(SEPARATOR)
    except Refused as error:
        raise Refused(f"{name}: {error}") from error
    body = relink(mark_page(body, withdrawn), project.notebooks, report, names)
    heading = re.search(r"<h1[^>]*>(.*?)</h1>\n?", body, flags=re.DOTALL)
    opening = body[heading.end() :] if heading else body
    first = re.match(r"\s*<p>(.*?)</p>", opening, flags=re.DOTALL)
    summary = re.sub(r"</?a\b[^>]*>", "", first[1]) if first else ""
    place = heading.end() if heading else 0
    body = body[:place] + failure(run) + notice(withdrawn) + contents + body[place:]
    document = frame(titles[name], _links(name, names, titles), body, footer(run["provenance"]))
    return document, Page(name, heading[1] if heading else escape(name), summary)


def with_text_of(current: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The notebook as it is now with the outputs of `executed`; `executed` itself where other code was run."""
    now, ran = _code(current), _code(executed)
    if [read_cell(cell.source).whole.digest for cell in now] != [
        read_cell(cell.source).whole.digest for cell in ran
    ]:
        return executed
    for cell, made in zip(now, ran, strict=True):
        cell.outputs = made.outputs
    # The language, by which code is coloured.
    current.metadata = executed.metadata
    return current


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    hidden = {"parameters", "injected-parameters"}
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell for cell in cells if not hidden.intersection(cell.metadata.get("tags", []))]


#: Stands between the body and its table of contents while formulas are filled in.
SEPARATOR = "⟦contents⟧"


def _links(name: str, names: list[str], titles: dict[str, str]) -> list[dict[str, str]]:
    here = names.index(name)
    short = {other: escape(titles[other].partition(":")[0]) for other in names}
    links = [{"href": "index.html", "text": "All pages"}]
    if here > 0:
        links.append({"href": f"{names[here - 1]}.html", "text": f"← {short[names[here - 1]]}"})
    if here + 1 < len(names):
        links.append({"href": f"{names[here + 1]}.html", "text": f"{short[names[here + 1]]} →"})
    return links


def parameters_table(notebook: Notebook, values: dict[str, Any]) -> str:
    """The parameters of this run with their meaning, folded."""
    rows = "\n".join(
        f'<tr><th class="name" scope="row">{name}</th><td>{escape(str(values.get(name, parameter.default)))}</td>'
        f"<td>{escape(parameter.meaning)}</td></tr>"
        for name, parameter in notebook.parameters.items()
    )
    return (
        '<details class="parameters"><summary>parameters of this run</summary>\n<div class="scroll"><table>\n'
        "<thead><tr><th>name</th><th>value</th><th>meaning</th></tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>\n</details>\n"
    )


def failure(run: dict[str, Any]) -> str:
    """A box that tells where and why the run failed; empty when it did not."""
    if run["status"] == "done":
        return ""
    error = run["error"]
    where = f"in cell [{error['cell']}], <code>{escape(error['line'])}</code>" if error["cell"] else ""
    return (
        f'<p class="failed"><b class="no">✗ This run failed</b> {where}: '
        f"{escape(error['kind'])}: {escape(error['message'])}. What it wrote before is below.</p>\n"
    )


def footer(provenance: dict[str, Any]) -> str:
    """The provenance as a list of terms."""
    facts = {name: value for name, value in provenance.items() if name != "seconds"}
    facts["duration"] = duration(provenance["seconds"])
    terms = "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items()
    )
    return f"<p>How this page was made</p>\n<dl>\n{terms}\n</dl>"


def duration(seconds: float) -> str:
    """Seconds below two minutes, else minutes, else hours and minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
