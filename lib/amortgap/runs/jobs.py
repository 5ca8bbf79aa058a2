"""One notebook to run: into which folder, with which parameters, and whether that is done already.

A data folder `<report>/data/<name>` holds the tables, `claims.json` and `facts.json` that the notebook
wrote, `run.ipynb` (or `failed.ipynb`), and `run.json`, which is written last: a folder without it
belongs to a run that was killed. `run.json` holds a digest of itself and of every other file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amortgap._files import digest, json_digest, read_json, write_json
from amortgap.runs.backup import copy_of
from amortgap.runs.key import Inputs, changed_values, differences, drawn_otherwise, find_inputs
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project


@dataclass(frozen=True)
class Job:
    """One notebook to run with all its parameters, into `<report>/data/<name>`.

    With `redraw` it is drawn again from the tables of its last run.
    """

    project: Project
    name: str
    report: Path
    parameters: dict[str, Any]
    minutes: float
    threads: int = 1
    redraw: bool = False

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.report / "data" / self.name

    def inputs(self) -> Inputs:
        """What a run is made from now; see `amortgap.runs.key`."""
        return find_inputs(self.project, Notebook(self.project.notebook(self.name)), self.parameters)


def make_job(project: Project, name: str, report: Path, given: dict[str, Any], minutes: float) -> Job:
    """A job with its parameters checked and filled up. Raises `Refused`, before anything runs."""
    # Relative to the working directory of the run, so that no page holds a path of this machine.
    out = Path(os.path.relpath(report / "data" / name, project.notebooks)).as_posix()
    parameters = Notebook(project.notebook(name)).resolve(given | {"out": out})
    return Job(project, name, report, parameters, minutes)


def parts_folder(folder: Path, key: str) -> Path:
    """Where the run with this key (`amortgap.runs.key`) keeps its parts until it has succeeded."""
    return folder / f"parts_{key}"


def write_state(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Write `run.json` with the digests of all files of `folder`, and return what was written."""
    files = {path.relative_to(folder).as_posix(): digest(path) for path in _made(folder)}
    run = run | {"files": files}
    write_json(folder / "run.json", run | {"sealed": json_digest(run)})
    return run


def read_state(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """What `run.json` says of the last run, and why it is not to be used, one of the two empty."""
    if copy_of(folder).is_dir():
        return None, "was stopped while it was drawn again"
    file = folder / "run.json"
    if not os.path.lexists(file):
        return None, "was stopped before its end" if any(folder.glob("[!.]*")) else "not run yet"
    try:
        run = read_json(file)
        if "sealed" in run and run.pop("sealed") != json_digest(run):
            raise ValueError("another digest")
        if not {"status", "notebook", "parameters", "provenance", "inputs", "files"} <= run.keys():
            raise ValueError("no run")
        files = run["files"]
    except (ValueError, AttributeError, TypeError, OSError, RecursionError):
        return None, "run.json is damaged"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return None, f"data file {name} is missing"
        try:
            damaged = digest(path) != expected
        except OSError:
            damaged = True
        if damaged:
            return None, f"data file {name} is damaged"
    return run, ""


def changes(job: Job) -> tuple[list[str], list[str]]:
    """Why the job must run (what has changed since its last run, is missing or damaged; empty when it is done), and
    what has changed since it was drawn of what shapes its figures and claims but not its results."""
    run, trouble = read_state(job.folder)
    return ([trouble], []) if run is None else changes_since(run, job)


def changes_since(run: dict[str, Any], job: Job) -> tuple[list[str], list[str]]:
    """`changes` since `run`, which has been read."""
    if run["status"] != "done":
        return [f"failed: {run['error']['kind']}: {run['error']['message']}"], []
    then, now = run["inputs"], job.inputs()
    return differences(then, now), drawn_otherwise(then["drawing"], now["drawing"])


def why_not_redrawn(job: Job) -> str:
    """Why the job cannot be drawn again from its tables; empty when it can."""
    run, trouble = read_state(job.folder)
    if run is None:
        return trouble
    if run["status"] != "done":
        return changes(job)[0][0]
    return "; ".join(changed_values(run["inputs"]["parameters"], job.inputs()["parameters"]))


def _made(folder: Path) -> list[Path]:
    """Files that a run leaves; hidden ones and its parts are not among them."""
    inside = (path for path in folder.rglob("*") if path.is_file() and path != folder / "run.json")
    relative = {path: path.relative_to(folder).parts for path in inside}
    return sorted(path for path, parts in relative.items() if not parts[0].startswith(("parts_", ".")))
