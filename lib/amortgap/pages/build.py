"""All pages of one report, its merged claims, and its index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amortgap._files import digest, write_json
from amortgap.kit.claims import merge
from amortgap.kit.tables import write_table
from amortgap.pages.about import about_body, read_about
from amortgap.pages.compare import claims_beside
from amortgap.pages.downloads import write_archive
from amortgap.pages.findings import answers, read_words
from amortgap.pages.manifest import write_manifest
from amortgap.pages.power import power
from amortgap.pages.rendered import Rendered
from amortgap.pages.report import Report
from amortgap.pages.robustness import found, robustness
from amortgap.pages.withdrawn import mark_claims, withdrawals
from amortgap.runs.jobs import Job, changes_since, read_state
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project


def build(project: Project, folder: Path, names: Sequence[str]) -> Path:
    """Render what has run of the notebooks `names` into the folder of a report; returns `index.html`.

    Writes `<name>.html` for each notebook that has ended and `data/<name>.zip` with its tables,
    `data/claims.json`, `data/power.json`, `claims.html`, `about.html`, `index.html` and last `manifest.json`, and
    leaves pages alone whose sources are as they were.

    Raises `Refused` when two pages use one claim id or a formula cannot be read.
    """
    states = {name: read_state(folder / "data" / name) for name in names}
    runs = {name: run for name, (run, _) in states.items() if run}
    absent = {name: trouble for name, (run, trouble) in states.items() if not run}
    listed = withdrawals(project.notebooks / "withdrawn.csv")
    withdrawn = tuple(one for one in listed if one.page in runs and one.holds_for(runs[one.page]))
    done = (folder / "data" / name for name, run in runs.items() if run["status"] == "done")
    report = Report(
        project,
        folder,
        {name: Notebook(project.notebook(name)).plain_title for name in runs},
        read_words(project.notebooks / "findings.toml"),
        read_about(project.notebooks / "about.toml"),
        withdrawn,
        tuple(mark_claims(merge(done), withdrawn)),
    )
    rendered = Rendered(folder)
    for name in absent:
        rendered.forget(f"{name}.html")
    pages = {name: _page(rendered, report, run) for name, run in runs.items()}
    write_json(folder / "data" / "claims.json", list(report.claims))
    write_table(folder / "data" / "power.json", power(report.claims))
    stale = [name for name, run in runs.items() if made_otherwise(project, folder, run)]
    _shared(rendered, report, list(names), pages, runs, absent, stale)
    write_manifest(folder)
    return folder / "index.html"


def made_otherwise(project: Project, folder: Path, run: dict[str, Any]) -> bool:
    """Whether the same parameters would run again, because what the run was made from has changed."""
    job = Job(project, run["notebook"], folder, run["parameters"], minutes=0)
    return run["status"] == "done" and bool(changes_since(run, job)[0])


def _page(rendered: Rendered, report: Report, run: dict[str, Any]) -> dict[str, str]:
    """What the index shows of the page of `run`, which is rendered when it must be."""
    name = run["notebook"]
    folder = report.folder / "data" / name
    kept = folder / ("run.ipynb" if run["status"] == "done" else run["error"]["kept"])
    executed = digest(kept) if kept.is_file() else ""

    def make() -> tuple[str, dict[str, str]]:
        from amortgap.pages.page import render_page

        document, page = render_page(report, run)
        return document, asdict(page)

    reasons = [asdict(one) for one in report.withdrawn_on(name)]
    words = [
        report.words.pages.get(name),
        answers(report.words, name, report.claims),
        asdict(report.about),
        report.claims_on(name),
        report.navigation.bar(name),
    ]
    source = [digest(report.project.notebook(name)), executed, run, reasons, words]
    # made from the tables in a moment, so that nobody needs to know whether it is damaged
    write_archive(folder)
    facts: dict[str, str] = rendered.page(f"{name}.html", source, make)
    return facts


def _shared(
    rendered: Rendered,
    report: Report,
    names: list[str],
    pages: dict[str, dict[str, str]],
    runs: dict[str, dict[str, Any]],
    absent: dict[str, str],
    stale: list[str],
) -> None:
    """The pages that belong to no notebook."""
    from amortgap.pages.claims import claims_body
    from amortgap.pages.frame import frame
    from amortgap.pages.index import common, index_body, main_figure
    from amortgap.pages.page import Page, footer

    claims, ended = list(report.claims), [run["provenance"] for run in runs.values()]
    ending = footer(common(report.folder.name, ended)) if ended else ""
    bar = report.navigation.bar

    def index() -> str:
        shown = {name: Page(**facts) for name, facts in pages.items()}
        figure, (page, name) = "", report.words.figure or ("", "")
        if page in shown:
            figure = main_figure(page, name, (report.folder / f"{page}.html").read_text(encoding="utf-8"))
        titles = {name: Notebook(report.project.notebook(name)).plain_title for name in names}
        body = index_body(report.words, titles, shown, runs, absent, claims, figure, stale)
        return frame(report.words.question, bar("index"), body, ending)

    def table() -> str:
        body = claims_body(claims, report.titles, report.folder.name, others)
        return frame("Do the paper’s numbers hold?", bar("claims"), body, ending, ("page", "claims"))

    others = claims_beside(report.folder)
    tested = found(report.project.reports / "bench")

    def about() -> str:
        again = [(one.page, report.titles[one.page], one.why) for one in report.withdrawn]
        body = about_body(report.about, again) + robustness(tested)
        return frame("About this report", bar("about"), body, ending)

    source = [asdict(report.words), asdict(report.about), names, pages, runs, absent, claims, bar("")]
    rendered.page("claims.html", [source, others], lambda: (table(), None))
    rendered.page("about.html", [source, tested], lambda: (about(), None))
    rendered.page("index.html", [source, stale], lambda: (index(), None))
