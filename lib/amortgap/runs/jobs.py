"""One notebook to run: into which folder, with which parameters, and whether that is done already.

A data folder `<report>/data/<name>` holds the tables, `claims.json` and `facts.json` that the notebook
wrote, `run.ipynb` (or `failed.ipynb`), and `run.json`, which is written last: a folder without it
belongs to a run that was killed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amortgap._files import read_json
from amortgap.runs.key import run_key
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project


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
