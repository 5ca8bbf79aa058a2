"""The commands about notebooks: report, run, status, list, clean."""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import check_folder
from amortgap.runs.project import Project, find_project

PROFILE_HELP = "a profile of notebooks/runs.toml: smoke, quick or paper (default: quick)"


def report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="quick", help=PROFILE_HELP)
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="NAME", help="only these notebooks of the profile"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--force", action="store_true", help="run even what is already done")
    again.add_argument(
        "--redraw",
        action="store_true",
        help="compute nothing: draw pages that are done again from their tables, after a change of figures or text",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="notebooks run at the same time; they share the cores (default: %(default)s)",
    )
    backend_options(parser, "notebooks")


def backend_options(parser: argparse.ArgumentParser, what: str) -> None:
    from amortgap.runs.sweep import BACKENDS

    parser.add_argument(
        "--backend",
        choices=list(BACKENDS),
        help=f"run the {what} by loky on this machine, or by ray or dask on a cluster that sees the same files",
    )
    parser.add_argument(
        "--address", default="", help="of the running Ray or Dask cluster (default: one made here)"
    )


def read_backend(options: argparse.Namespace) -> Any:
    """The backend that the options name, or None. `Refused` where it cannot be used."""
    from amortgap.runs.sweep import Backend

    if options.address and not options.backend:
        raise Refused("--address says where a cluster is; say --backend ray or dask, too")
    workers = getattr(options, "jobs", -1) if options.backend == "loky" else -1
    return Backend(options.backend, options.address, workers) if options.backend else None


def report(options: argparse.Namespace) -> int:
    """`amortgap report`: run what is due of a profile, render it, print where the index lies."""
    project, backend = find_project(), read_backend(options)
    jobs = profile_jobs(project, options.profile)
    if not jobs:
        raise Refused(f"profile {options.profile!r} has no notebook")
    for name in options.only or []:
        if name not in jobs:
            raise Refused(
                f"profile {options.profile!r} has no notebook {name!r}; it has {', '.join(jobs) or 'none'}"
            )
    chosen = [job for name, job in jobs.items() if name in (options.only or jobs)]
    if options.redraw:
        from amortgap.runs.jobs import read_state

        if all(read_state(job.folder)[0] is None for job in chosen):
            raise Refused(f"nothing of profile {options.profile!r} was run, so nothing can be drawn again")
        chosen = [replace(job, redraw=True) for job in chosen]
    return _run_and_build(project, chosen, sorted(jobs), options.jobs, options.force, backend)


def profile_jobs(project: Project, profile: str) -> dict[str, Any]:
    from amortgap.runs.jobs import make_job
    from amortgap.runs.profiles import load_profile

    loaded = load_profile(project, profile)
    folder = project.reports / loaded.name
    return {
        name: make_job(project, name, folder, given, loaded.timeout)
        for name, given in loaded.notebooks.items()
    }


def run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a notebook, without .ipynb")
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter; may be repeated; `amortgap list` names them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for the page and its data (default: reports/interactive)",
    )
    parser.add_argument("--force", action="store_true", help="run even when this very run is already done")
    backend_options(parser, "parts of the notebook's steps")


def run(options: argparse.Namespace) -> int:
    """`amortgap run NAME`: one notebook with parameters from the command line."""
    from amortgap.runs.jobs import make_job
    from amortgap.runs.notebook import Notebook

    project, backend = find_project(), read_backend(options)
    if backend:
        backend.announce()
    notebook = Notebook(project.notebook(options.name))
    given = dict(_assignment(text, notebook) for text in options.parameters)
    folder = check_folder(options.out.resolve() if options.out else project.reports / "interactive")
    # An explorer stops her run herself, so the limit only guards against a kernel that hangs for a day.
    job = make_job(project, options.name, folder, given, minutes=24 * 60)
    shown = [name for name in project.names if name == options.name or (folder / "data" / name).is_dir()]
    return _run_and_build(project, [job], shown, 1, options.force)


def _run_and_build(
    project: Project, jobs: Sequence[Any], names: list[str], parallel: int, force: bool, on: Any = None
) -> int:
    from amortgap.pages import build
    from amortgap.runs.schedule import run_all

    ended = run_all(jobs, parallel, force, on)
    if not ended:
        print("nothing to run: all notebooks are done (--force runs them again)")
    print(build(project, jobs[0].report, names))
    failed = [result["notebook"] for result in ended if result["status"] != "done"]
    if failed:
        print(f"amortgap: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def status_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="quick", help=PROFILE_HELP)


def status(options: argparse.Namespace) -> int:
    """`amortgap status`: each page of a profile, current or stale and why, in one line."""
    from amortgap.runs.schedule import standing

    for name, job in sorted(profile_jobs(find_project(), options.profile).items()):
        print(f"{name}: {standing(job)[1]}")
    return 0


def compare_options(parser: argparse.ArgumentParser) -> None:
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(), metavar=name, help="a profile, the folder of a report, or its data/claims.json"
        )


def compare(options: argparse.Namespace) -> int:
    """`amortgap compare A B`: each claim with the paper's number, ours in A and in B, and the difference."""
    from amortgap.pages import compare as side_by_side

    reports = find_project().reports
    one, two = (side_by_side.claims_of(where, reports) for where in (options.a, options.b))
    print(side_by_side.as_text(side_by_side.compare(one, two), (options.a, options.b)))
    return 0


def verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="REPORT",
        help="a profile or the folder of a report (default: every made report of the project)",
    )


def verify(options: argparse.Namespace) -> int:
    """`amortgap verify`: whether a stored report is as it was written, without running anything."""
    from amortgap.pages.manifest import MANIFEST, verify

    if options.folder:
        folders = [_report_folder(options.folder)]
    else:
        reports = find_project().reports
        folders = sorted(path.parent for path in reports.glob(f"*/{MANIFEST}"))
        if not folders:
            raise Refused(f"no report in {reports} has a {MANIFEST}; `amortgap report` writes one")
    damaged = False
    for folder in folders:
        wrong, looked_at = verify(folder)
        for sentence in wrong:
            print(f"{folder}: {sentence}")
        print(f"{looked_at}: {'as they were written' if not wrong else f'{len(wrong)} findings'}")
        damaged |= bool(wrong)
    return 1 if damaged else 0


def _report_folder(given: Path) -> Path:
    """The folder that is named, or the project's report of that name; `Refused` where there is neither."""
    if given.is_dir():
        return given
    try:
        named = find_project().reports / given
    except Refused:
        named = given
    if not named.is_dir():
        raise Refused(
            f"there is no report or folder {str(given)!r}; `make report PROFILE={given}` makes that of a profile"
        )
    return named


def list_notebooks(options: argparse.Namespace) -> int:
    """`amortgap list`: notebooks with title, parameters and profiles."""
    from amortgap.runs.notebook import Notebook
    from amortgap.runs.profiles import load_profiles

    project = find_project()
    profiles = load_profiles(project)
    for name in project.names:
        notebook = Notebook(project.notebook(name))
        used = [profile.name for profile in profiles.values() if name in profile.notebooks]
        print(f"{name}  {notebook.plain_title}")
        print(f"    profiles: {', '.join(used) or 'none'}")
        for one in notebook.parameters.values():
            print(f"    {one.name}: {one.type} = {one.default!r}  # {one.meaning}")
    return 0


def clean_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", help="remove only this report (without it, all but paper, which is committed)"
    )


def clean(options: argparse.Namespace) -> int:
    """`amortgap clean`: remove made reports, `reports/paper` only when it is named."""
    project = find_project()
    made = sorted(path for path in project.reports.glob("*") if path.is_dir())
    if options.profile:
        chosen = [path for path in made if path.name == options.profile]
        if not chosen:
            raise Refused(f"there is no report {options.profile!r}; there are {_names(made)}")
    else:
        chosen = [path for path in made if path.name != "paper"]
    for path in chosen:
        shutil.rmtree(path)
    print(f"removed: {_names(chosen)}")
    return 0


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths) or "none"


def _assignment(text: str, notebook: Any) -> tuple[str, Any]:
    """`seeds=3` -> ("seeds", 3). A text parameter takes the text as it is, without quotes."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Refused(f"-p {text!r} must be KEY=VALUE")
    parameter = notebook.parameters.get(name)
    if parameter is not None and parameter.type == "str":
        return name, value
    try:
        return name, ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    except (ValueError, SyntaxError):
        return name, value  # a type that does not fit is refused with the parameter's name


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
