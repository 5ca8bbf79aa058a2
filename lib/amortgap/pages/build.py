"""All pages of one report, its merged claims, and its index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amortgap._files import write_json, write_text
from amortgap.kit.claims import merge
from amortgap.pages.index import render_index
from amortgap.pages.page import Page, render_page
from amortgap.pages.withdrawn import mark_claims, withdrawals
from amortgap.runs.jobs import state
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project


def build(project: Project, report: Path, names: Sequence[str]) -> Path:
    """Render what has run of the notebooks `names` into the folder `report`; returns `index.html`.

    Writes `<name>.html` for each notebook that has ended, `data/claims.json` and `index.html`, the
    index last. Raises `Refused` when two pages use one claim id or a formula cannot be read.
    """
    runs: dict[str, dict[str, Any] | None] = {name: state(report / "data" / name) for name in names}
    ended = {name: run for name, run in runs.items() if run}
    withdrawn = withdrawals(project.notebooks / "withdrawn.csv")
    made = merge(report / "data" / name for name, run in ended.items() if run["status"] == "done")
    claims = mark_claims(made, withdrawn)
    titles = {name: Notebook(project.notebook(name)).plain_title for name in ended}
    for name in set(names) - set(ended):
        (report / f"{name}.html").unlink(missing_ok=True)  # of an earlier run whose data are gone
    pages: dict[str, Page] = {}
    for name, run in ended.items():
        document, pages[name] = render_page(project, report, run, list(ended), titles, withdrawn)
        write_text(report / f"{name}.html", document)
    write_json(report / "data" / "claims.json", claims)
    index = report / "index.html"
    write_text(index, render_index(report.name, pages, runs, claims))
    return index
