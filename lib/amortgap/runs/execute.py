"""Run one notebook: an own kernel, an own data folder, and a record of how it ended.

A data folder `<report>/data/<name>` holds the tables, `claims.json` and `facts.json` that the notebook
wrote, `run.ipynb` (or `failed.ipynb`), and `run.json`, which is written last: a folder without it
belongs to a run that was killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amortgap.runs.files import read_json, write_json, write_text
from amortgap.runs.key import run_key
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project
from amortgap.runs.provenance import provenance


@dataclass(frozen=True)
class Job:
    """One notebook to run with all its parameters, into `<report>/data/<name>`."""

    project: Project
    name: str
    report: Path
    parameters: dict[str, Any]
    minutes: float
    threads: int = 1

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.report / "data" / self.name

    def key(self) -> str:
        """The key of this run; see `amortgap.runs.key`."""
        return run_key(self.project, Notebook(self.project.notebook(self.name)), self.parameters)


def make_job(project: Project, name: str, report: Path, given: dict[str, Any], minutes: float) -> Job:
    """A job with its parameters checked and filled up. Raises `Refused`, before anything runs."""
    # Relative to the working directory of the run, so that no page holds a path of this machine.
    out = Path(os.path.relpath(report / "data" / name, project.notebooks)).as_posix()
    parameters = Notebook(project.notebook(name)).resolve(given | {"out": out})
    return Job(project, name, report, parameters, minutes)


def state(folder: Path) -> dict[str, Any] | None:
    """What `run.json` says of the last run in `folder`; None when none has ended there."""
    file = folder / "run.json"
    return read_json(file) if file.exists() else None


def is_done(job: Job) -> bool:
    """Whether a run with the same key has already succeeded."""
    last = state(job.folder)
    return last is not None and last["status"] == "done" and last["key"] == job.key()


def execute(job: Job) -> dict[str, Any]:
    """Run the notebook and return what was written to `run.json`; an error in it is recorded, not raised."""
    import nbformat

    key = job.key()
    shutil.rmtree(job.folder, ignore_errors=True)  # what lies there was made by other code
    job.folder.mkdir(parents=True)
    partial = job.folder / "partial.ipynb"
    started = datetime.now(UTC)
    error = None
    with _environment(job.threads):
        try:
            _papermill(job, partial)
        except Exception as problem:
            error = describe(problem, partial)
    ended = datetime.now(UTC)
    # The kept notebook carries no path of this machine and no times; those stand in run.json.
    kept = job.folder / ("failed.ipynb" if error else "run.ipynb")
    if partial.exists():
        notebook = nbformat.read(partial, as_version=4)
        for part in (notebook, *notebook.cells):
            part.metadata.pop("papermill", None)
        write_text(kept, nbformat.writes(notebook) + "\n")
        partial.unlink()
    facts = job.folder / "facts.json"
    result = {
        "status": "failed" if error else "done",
        "key": key,
        "notebook": job.name,
        "parameters": job.parameters,
        "provenance": provenance(
            job.project.root, job.parameters, read_json(facts) if facts.exists() else {}, started, ended
        ),
    }
    if error:
        result["error"] = error | {"kept": kept.name}
    write_json(job.folder / "run.json", result)
    return result


def _papermill(job: Job, partial: Path) -> None:
    import papermill

    deadline = time.monotonic() + 60 * job.minutes
    papermill.execute_notebook(
        job.project.notebook(job.name),
        partial,
        parameters=job.parameters,
        cwd=job.project.notebooks,
        progress_bar=False,
        start_timeout=120,
        # Keeps ipykernel's notes about its local TCP port off our stderr; errors still show.
        extra_arguments=["--IPKernelApp.log_level=40"],
        # nbclient limits a cell, we limit the notebook: a cell may take what is left of it.
        timeout_func=lambda cell: max(1, round(deadline - time.monotonic())),
    )


def describe(problem: Exception, partial: Path) -> dict[str, Any]:
    """The error as text: kind, message, number and first line of the cell that was running."""
    import nbformat

    kind, message = (
        getattr(problem, "ename", type(problem).__name__),
        getattr(problem, "evalue", str(problem)),
    )
    number, line = 0, ""
    if partial.exists():
        cells = nbformat.read(partial, as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        begun = [c for c in code if c.metadata.get("papermill", {}).get("status", "pending") != "pending"]
        number = len(begun)
        line = next((text for text in begun[-1].source.splitlines() if text.strip()), "") if begun else ""
    if kind == "CellTimeoutError":
        message = "the time limit of the profile was reached"
    return {"kind": kind, "message": message.strip(), "cell": number, "line": line.strip()}


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Let the kernel use `threads` threads, so that parallel notebooks do not fight for cores."""
    wanted = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
