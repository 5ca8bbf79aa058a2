"""One executed notebook -> one page that needs no other file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap.kit.setting import duration
from amortgap.kit.text import interval, number, typeset
from amortgap.pages.about import cite_box, mark_terms, references
from amortgap.pages.claims import quoted, verdict
from amortgap.pages.downloads import box
from amortgap.pages.findings import answers, filled, paper_said
from amortgap.pages.frame import frame
from amortgap.pages.links import relink
from amortgap.pages.report import Report
from amortgap.pages.withdrawn import VERDICT, mark_page, notice
from amortgap.runs.notebook import Notebook
from amortgap.runs.sources import read_cell

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Page:
    """What the index shows of a page, as HTML: title, first paragraph, the finding that answers it, state."""

    name: str
    title: str
    summary: str
    answer: str
    state: str


def render_page(report: Report, run: dict[str, Any]) -> tuple[str, Page]:
    """The page of the notebook of `run` as an HTML document, and what the index needs of it.

    What is withdrawn of this page is marked. Text comes from the notebook as it is now, where its code is still
    what was run.
    """
    import nbformat

    from amortgap.pages.cells import Cells

    name, project = run["notebook"], report.project
    notebook, folder = Notebook(project.notebook(name)), report.folder / "data" / name
    withdrawn = report.withdrawn_on(name)
    kept = run["error"]["kept"] if run["status"] == "failed" else "run.ipynb"
    # Nothing is kept of a notebook whose kernel did not start.
    executed = nbformat.read(folder / kept, as_version=4) if kept else nbformat.v4.new_notebook()
    current = nbformat.read(notebook.path, as_version=4)
    said = answers(report.words, name, report.claims)
    cells = Cells(with_text_of(current, executed), parameters_table(notebook, run["parameters"]), said)
    try:
        body, contents = cells.formulas.fill(cells.html + SEPARATOR + cells.contents()).rsplit(SEPARATOR, 1)
    except Refused as error:
        raise Refused(f"{name}: {error}") from error
    # the notebook as it was run links its own tables
    own = Path(os.path.relpath(folder, project.notebooks)).as_posix()
    body = re.sub(r'<a class="data" href="(?=\w+\.json")', rf"\g<0>{own}/", body)
    body = relink(mark_page(body, withdrawn), project.notebooks, report.folder, report.titles)
    body = re.sub(FOUND, lambda at: at[0] + prose(said), said_once(body))
    for claim in report.claims_on(name):
        # as it is worded now, whatever it was when the notebook was run
        line = rf"(<b>{re.escape(claim['id'])}</b> )(?:(?!</p>).)*?(?= Paper: )"
        now = quoted(claim).replace("\\", r"\\")
        body = re.sub(line, rf"\g<1>{now}", body, flags=re.DOTALL)
    heading = re.search(r"<h1[^>]*>(.*?)</h1>\n?", body, flags=re.DOTALL)
    place = heading.end() if heading else 0
    first = re.match(r"\s*<p>(.*?)</p>", body[place:], flags=re.DOTALL)
    summary = re.sub(r"</?a\b[^>]*>", "", first[1]) if first else ""
    wanted, mine = report.words.pages.get(name, {}), {claim["id"]: claim for claim in report.claims_on(name)}
    answer = next((text for one in wanted.get("answers", ()) if (text := filled(one, mine))), "")
    page = Page(
        name,
        heading[1] if heading else escape(name),
        summary,
        answer or finding(body, wanted.get("figure", "")),
        VERDICT if withdrawn else "current",
    )
    opening = failure(run) + notice(withdrawn) + verdict_box(report.claims_on(name), wanted.get("claims"))
    ending = cite_box() + box(folder, notebook, run) + references(body, report.about)
    rest = mark_terms(folded(body[place:]), report.about.terms)
    body = body[:place] + opening + contents + rest + ending
    nav = report.navigation.bar(name)
    return frame(report.titles[name], nav, body, footer(run["provenance"])), page


#: The heading of the section in which a page says, with its claims linked, what its headings say.
FOUND = r'<h2 id="what-we-found">.*?</h2>'


#: An answer that says little without its question: "No: at equal sparsity ...", "It does: ...".
SHORT = re.compile(r"(?:[\w’]+ ?){1,3}: |It ")


def prose(said: dict[str, str]) -> str:
    """The answers to a page's questions, a paragraph; empty where its run bears none out."""
    whole = [
        f"{typeset(asked)} {answer}" if SHORT.match(answer) else answer for asked, answer in said.items()
    ]
    return f"\n<p>{'. '.join(whole)}.</p>" if said else ""


def said_once(body: str) -> str:
    """`body` without remarks on the run that stand on the page already."""
    seen: set[str] = set()

    def first(found: re.Match[str]) -> str:
        again = found[0] in seen
        seen.add(found[0])
        return "" if again else found[0]

    body = re.sub(r'<p class="note">Claims that need [^<]*</p>', first, body)
    return re.sub(r'<div class="output">\s*</div>\s*', "", body)


def finding(body: str, figure: str) -> str:
    """The caption, without its links, of the figure of that name, or of the first; empty where there is none."""
    name = f'{re.escape(figure)}"' if figure else ""
    wanted = rf'<figure\b[^>]*\bid="fig-{name}.*?<figcaption[^>]*>(.*?)</figcaption>'
    found = re.search(wanted, body, flags=re.DOTALL)
    return re.sub(r"<a\b.*?</a>", "", found[1], flags=re.DOTALL).strip() if found else ""


def verdict_box(claims: list[dict[str, Any]], wanted: list[str] | None) -> str:
    """What the paper says, what we find, and why they differ, for the claims `wanted` (default: the first three).

    Empty where the page makes none of them.
    """
    chosen = [claim for claim in claims if wanted is None or claim["id"] in wanted]
    chosen = sorted(chosen, key=lambda claim: wanted.index(claim["id"])) if wanted else chosen
    items = []
    for claim in chosen[:3]:
        where = f" ({typeset(claim['where'])})" if claim.get("where") else ""
        says = "no number" if claim["paper"] is None else f"{paper_said(claim)}{where}"
        differ = claim["verdict"] in ("corrected", "not reproduced", "not comparable")
        note = (
            f"<dt>{'why' if differ else 'note'}</dt><dd>{typeset(claim['note'])}</dd>"
            if claim["note"]
            else ""
        )
        ours = f"{number(claim['ours'])} {interval(claim['low'], claim['high'])}"
        items.append(
            f'<div><p><a href="claims.html#claim-{claim["id"]}">{claim["id"]}</a> '
            f"{quoted(claim)}</p>\n"
            f"<dl><dt>the paper</dt><dd>{says}</dd>"
            f"<dt>we find</dt><dd>{ours} {verdict(claim)}</dd>{note}</dl></div>"
        )
    if not items:
        return ""
    return f'<section class="box" aria-label="The paper and we">\n{chr(10).join(items)}\n</section>\n'


#: More claims than this in a row are folded.
ROW = 6


def folded(body: str) -> str:
    """`body` with long rows of claims folded."""

    def fold(found: re.Match[str]) -> str:
        count = found[0].count('<p class="claim"')
        if count <= ROW:
            return found[0]
        return (
            f'<details class="print"><summary>{count} claims, with their numbers and verdicts</summary>\n{found[0]}'
            f'</details>\n<p class="soft">The same in <a href="claims.html">the table of all claims</a>.</p>\n'
        )

    return re.sub(r'(?:<p class="claim"(?:(?!</p>).)*</p>\s*)+', fold, body, flags=re.DOTALL)


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
    hidden = {"seconds", "earlier parts", "earlier seconds", "earlier commits"}
    facts = {name: value for name, value in provenance.items() if name not in hidden}
    if "seconds" in provenance:
        facts["duration"] = duration(provenance["seconds"])
    if "earlier seconds" in provenance:
        facts["duration"] += (
            f", of these {duration(provenance['earlier seconds'])} in runs that were stopped "
            f"({provenance['earlier parts']} parts, commit {provenance['earlier commits']})"
        )
    if "memory" in facts:
        facts["memory"] = memory(provenance)
    terms = "\n".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{_fact(value)}</dd>" for name, value in facts.items()
    )
    return f"<p>How this page was made</p>\n<dl>\n{terms}\n</dl>"


def _fact(value: Any) -> str:
    return number(value) if isinstance(value, float) else escape(str(value))


def memory(provenance: dict[str, Any]) -> str:
    """The most memory that the run had, where it is known."""
    return f"{provenance['memory']:.1f} GB" if "memory" in provenance else ""
