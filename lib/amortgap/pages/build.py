"""All pages of one report, its merged claims, and its index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amortgap._files import digest, write_json
from amortgap.kit.claims import merge
from amortgap.pages.rendered import Rendered
from amortgap.pages.withdrawn import Withdrawal, mark_claims, withdrawals
from amortgap.runs.jobs import read_state
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project


def build(project: Project, report: Path, names: Sequence[str]) -> Path:
    """Render what has run of the notebooks `names` into the folder `report`; returns `index.html`.

    Writes `<name>.html` for each notebook that has ended, `data/claims.json` and `index.html`, the
    index last, and leaves pages alone whose sources are as they were. Raises `Refused` when two pages use
    one claim id or a formula cannot be read.
    """
    states = {name: read_state(report / "data" / name) for name in names}
    runs = {name: run for name, (run, _) in states.items() if run}
    absent = {name: trouble for name, (run, trouble) in states.items() if not run}
    listed = withdrawals(project.notebooks / "withdrawn.csv")
    withdrawn = [one for one in listed if one.page in runs and one.holds_for(runs[one.page])]
    done = (report / "data" / name for name, run in runs.items() if run["status"] == "done")
    claims = mark_claims(merge(done), withdrawn)
    titles = {name: Notebook(project.notebook(name)).plain_title for name in runs}
    rendered = Rendered(report)
    for name in absent:
        rendered.forget(f"{name}.html")
    pages = {
        name: _page(rendered, project, report, run, titles, [one for one in withdrawn if one.page == name])
        for name, run in runs.items()
    }
    write_json(report / "data" / "claims.json", claims)

    def index() -> tuple[str, None]:
        from amortgap.pages.index import render_index
        from amortgap.pages.page import Page

        shown = {name: Page(**facts) for name, facts in pages.items()}
        return render_index(report.name, list(names), shown, runs, absent, claims), None

    rendered.page("index.html", [report.name, list(names), pages, runs, absent, claims], index)
    return report / "index.html"


def _page(
    rendered: Rendered,
    project: Project,
    report: Path,
    run: dict[str, Any],
    titles: dict[str, str],
    withdrawn: list[Withdrawal],
) -> dict[str, str]:
    """What the index shows of the page of `run`, which is rendered when it must be."""
    name = run["notebook"]
    kept = report / "data" / name / ("run.ipynb" if run["status"] == "done" else run["error"]["kept"])
    executed = digest(kept) if kept.is_file() else ""
    reasons = [asdict(one) for one in withdrawn]

    def make() -> tuple[str, dict[str, str]]:
        from amortgap.pages.page import render_page

        document, page = render_page(project, report, run, list(titles), titles, withdrawn)
        return document, asdict(page)

    source = [digest(project.notebook(name)), executed, run, titles, reasons]
    facts: dict[str, str] = rendered.page(f"{name}.html", source, make)
    return facts
