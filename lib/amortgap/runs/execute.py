"""Run one notebook in a kernel of its own and record how it ended; what is written: see `jobs`."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import LOCK, lock, read_json, write_text
from amortgap.runs.backup import back_up, forget, put_back, remove
from amortgap.runs.idle import stop_when_idle
from amortgap.runs.jobs import Job, parts_folder, read_state, why_not_redrawn, write_state
from amortgap.runs.key import Inputs, run_key
from amortgap.runs.provenance import commit, peak_memory, provenance


def execute(job: Job) -> dict[str, Any]:
    """Run the notebook and return what was written to `run.json`; an error in it is recorded, not raised.

    A job to redraw keeps its tables, and all of its old files when it fails. Raises `Refused` when another
    process is running into the same folder.
    """
    with lock(job.folder):
        put_back(job.folder)
        return _redraw(job) if job.redraw else _run(job)


def _run(job: Job) -> dict[str, Any]:
    inputs = job.inputs()
    parts = parts_folder(job.folder, run_key(inputs))
    # First of all: without it the folder counts as not run.
    remove(job.folder / "run.json")
    for old in job.folder.iterdir():
        # Parts of a killed run with the same key are used again.
        if old != parts and old.name != LOCK:
            remove(old)
    result = _execute(job, inputs)
    if result["status"] == "done":
        remove(parts)
    return write_state(job.folder, result)


def _redraw(job: Job) -> dict[str, Any]:
    """Draw a page that is done again. What made its tables stays on record, but for the notebook's cells."""
    (last, _), why = read_state(job.folder), why_not_redrawn(job)
    if last is None or why:
        raise Refused(f"it must be run, not drawn again: {why}")
    now = job.inputs()
    inputs = last["inputs"] | {"cells": now["cells"], "drawing": now["drawing"]}
    back_up(job.folder)
    result = _execute(job, inputs)
    if result["status"] == "failed":
        put_back(job.folder)
        return result
    result["provenance"] = last["provenance"] | {"drawn": result["provenance"]["commit"]}
    written = write_state(job.folder, result)
    forget(job.folder)
    return written


def _tighten(folder: Path) -> None:
    """Write the tables without the blanks between their cells, a tenth of their bytes.

    Here and not where tables are written, which is part of what a page's results are made from.
    """
    for file in folder.glob("*.json"):
        table = read_json(file)
        if isinstance(table, dict) and table.keys() == {"columns", "data"}:
            columns, *rows = (
                json.dumps(cells, ensure_ascii=False, separators=(",", ":"))
                for cells in (table["columns"], *table["data"])
            )
            write_text(file, f'{{"columns": {columns},\n"data": [\n' + ",\n".join(rows) + "\n]}\n")


def _execute(job: Job, inputs: Inputs) -> dict[str, Any]:
    source_state, started = commit(job.project.root), datetime.now(UTC)
    partial, error = job.folder / "partial.ipynb", None
    try:
        with _environment(job, run_key(inputs), source_state):
            _papermill(job, partial)
    except Exception as problem:
        error = describe(problem, partial)
        error["kept"] = _keep(partial, "failed.ipynb", job.parameters["out"])
    else:
        _keep(partial, "run.ipynb", job.parameters["out"])
        _tighten(job.folder)
    facts = job.folder / "facts.json"
    known = read_json(facts) if facts.exists() else {}
    return {
        "status": "failed" if error else "done",
        "notebook": job.name,
        "parameters": job.parameters,
        "provenance": provenance(source_state, inputs, known, started, datetime.now(UTC)) | peak_memory(),
        "inputs": inputs,
    } | ({"error": error} if error else {})


def _keep(partial: Path, name: str, out: str) -> str:
    """Move the executed notebook to `name`, without papermill's notes, which name this machine; returns `name`.

    Its links to tables, written for the notebooks' folder, from where its own is `out`, lead to its own.
    Standard error holds progress bars and warnings, and is dropped too. A failed notebook keeps it, because it may
    say why the notebook failed.
    """
    import nbformat

    # Without a file, the kernel did not start.
    if not partial.exists():
        return ""
    notebook = nbformat.read(partial, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        if name == "run.ipynb" and "outputs" in part:
            part.outputs = [output for output in part.outputs if output.get("name") != "stderr"]
    text = nbformat.writes(notebook).replace(rf"href=\"{out}/", r"href=\"")
    write_text(partial.with_name(name), text + "\n")
    partial.unlink()
    return name


def _papermill(job: Job, partial: Path) -> None:
    import papermill

    # `stop_when_idle` alone says when a page takes too long: on a busy machine a kernel may need minutes to start,
    # and what a cell showed may come long after its end (after four seconds it would be left out without a word)
    patience = math.ceil(60 * job.minutes) + 60
    for start in (1, 2, 3):
        try:
            with stop_when_idle(job.folder, 60 * job.minutes):
                papermill.execute_notebook(
                    job.project.notebook(job.name),
                    partial,
                    parameters=job.parameters,
                    cwd=job.project.notebooks,
                    progress_bar=False,
                    start_timeout=patience,
                    iopub_timeout=patience,
                    raise_on_iopub_timeout=True,
                    # ipykernel prints notes about its local TCP port to our stderr; this leaves only its errors.
                    extra_arguments=["--IPKernelApp.log_level=40"],
                )
            return
        except RuntimeError as error:
            # Another program may take a port between jupyter_client's finding it free and the kernel's binding it
            # (its issue 487). No cell has run, so that a second kernel, with other ports, may try.
            if start == 3 or "before replying to kernel_info" not in str(error):
                raise


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
    return {"kind": kind, "message": message.strip(), "cell": number, "line": line.strip()}


@contextlib.contextmanager
def _environment(job: Job, key: str, source_state: str) -> Iterator[None]:
    """Tell the kernel which run it is, and how many threads to use: parallel kernels must not fight for cores."""
    wanted = {
        "AMORTGAP_RUN": key,
        "AMORTGAP_COMMIT": source_state,
        "AMORTGAP_REDRAW": "1" if job.redraw else "",
        "OMP_NUM_THREADS": str(job.threads),
        "MKL_NUM_THREADS": str(job.threads),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # a run whose bars do not move is taken for one that stands still, also in a worker that draws none
        "TQDM_DISABLE": "",
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
