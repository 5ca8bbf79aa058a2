"""One notebook for a worker of a cluster: in a process of its own, since papermill changes the working folder.

Workers of Dask may not start processes of `multiprocessing`, so this one is started as a command. The job comes
on its standard input, which closes when the worker ends, however it ends; then it ends with its kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap.runs.execute import execute
from amortgap.runs.jobs import Job
from amortgap.runs.project import Project
from amortgap.runs.worker import end, refused


def run_apart(job: Job) -> dict[str, Any]:
    """How the run ended, as `Worker.result` has it."""
    given = {**vars(job), "project": str(job.project.root), "report": str(job.report)}
    command = [sys.executable, "-m", "amortgap.runs.apart"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(json.dumps(given) + "\n")
            child.stdin.flush()
            answer = child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            child.terminate()
    result: dict[str, Any] = json.loads(answer) if answer else refused(job, "its process was killed")
    return result


def main() -> None:
    """Read a job, run it, print how it ended."""
    # what else is printed goes to stderr
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    job = Job(Project(Path(given.pop("project"))), report=Path(given.pop("report")), **given)
    try:
        result = execute(job)
    except (Refused, OSError) as error:
        result = refused(job, str(error))
    answer.write(json.dumps(result) + "\n")
    answer.close()
    # it is waited for, with its stdin open
    os._exit(0)


def _end_with_stdin() -> None:
    sys.stdin.read()
    end()


if __name__ == "__main__":
    main()
