"""Run one notebook in a kernel of its own and record how it ended; what is written: see `jobs`."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amortgap._files import LOCK, lock, read_json, write_json, write_text
from amortgap.runs.jobs import Job
from amortgap.runs.parts import parts_folder
from amortgap.runs.provenance import commit, provenance


def execute(job: Job) -> dict[str, Any]:
    """Run the notebook and return what was written to `run.json`; an error in it is recorded, not raised.

    Raises `Refused` when another process is running into the same folder.
    """
    key = job.key()
    with lock(job.folder), _environment(job.threads, key):
        return _execute(job, key)


def _execute(job: Job, key: str) -> dict[str, Any]:
    source_state, started = commit(job.project.root), datetime.now(UTC)
    parts = parts_folder(job.folder, key)
    (job.folder / "run.json").unlink(missing_ok=True)  # first: without it the folder counts as not run
    for old in job.folder.iterdir():
        # A run that was killed left parts, which a run with the same key uses.
        if old != parts and old.name != LOCK:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    partial, error = job.folder / "partial.ipynb", None
    try:
        _papermill(job, partial)
    except Exception as problem:
        error = describe(problem, partial)
        error["kept"] = _keep(partial, "failed.ipynb")
    else:
        _keep(partial, "run.ipynb")
        shutil.rmtree(parts, ignore_errors=True)
    facts = job.folder / "facts.json"
    known = read_json(facts) if facts.exists() else {}
    result = {
        "status": "failed" if error else "done",
        "key": key,
        "notebook": job.name,
        "parameters": job.parameters,
        "provenance": provenance(source_state, job.parameters, known, started, datetime.now(UTC)),
    } | ({"error": error} if error else {})
    write_json(job.folder / "run.json", result)
    return result


def _keep(partial: Path, name: str) -> str:
    """Put the executed notebook in its place, without what names this machine: papermill's notes and stderr.

    Progress bars and warnings go to stderr; a failed notebook keeps its own, which may say why it failed.
    """
    import nbformat

    if not partial.exists():  # the kernel did not start
        return ""
    notebook = nbformat.read(partial, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        if name == "run.ipynb" and "outputs" in part:
            part.outputs = [output for output in part.outputs if output.get("name") != "stderr"]
    write_text(partial.with_name(name), nbformat.writes(notebook) + "\n")
    partial.unlink()
    return name


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
def _environment(threads: int, key: str) -> Iterator[None]:
    """Tell the kernel which run it is, and to use `threads` threads: parallel kernels must not fight for cores."""
    wanted = {
        "AMORTGAP_RUN": key,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # glibc gives large arrays back to the system after each use; keeping them saves a third of the time
        "MALLOC_TRIM_THRESHOLD_": "1000000000",
        "MALLOC_MMAP_THRESHOLD_": "1000000000",
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
