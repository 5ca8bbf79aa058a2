"""A process that runs one notebook and dies with the process that started it, its kernel with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any

from amortgap._errors import Refused
from amortgap.runs.execute import execute
from amortgap.runs.idle import end_kernels
from amortgap.runs.jobs import Job


class Worker:
    """A running job. `result` waits for its end; `receiver` can be waited for with others."""

    def __init__(self, job: Job) -> None:
        # A fresh interpreter: papermill changes the working folder, and threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.job = job
        self.receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(job, sender), daemon=True)
        self._process.start()
        sender.close()

    def result(self) -> dict[str, Any]:
        """How the run ended; "refused" with a reason where it could not begin or its process was killed."""
        try:
            result: dict[str, Any] = self.receiver.recv()
        except EOFError:
            result = refused(self.job, "its process was killed")
        self._process.join()
        return result

    def stop(self) -> None:
        """End the process and its kernel."""
        self._process.terminate()
        self._process.join()


def refused(job: Job, why: str) -> dict[str, Any]:
    """The result of a job that could not begin, or whose process was killed."""
    return {"notebook": job.name, "status": "refused", "why": why}


def _work(job: Job, sender: Connection) -> None:
    # The keyboard stops the parent, which stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: end())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send(execute(job))
    except (Refused, OSError) as error:
        sender.send(refused(job, str(error)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        end()


def end() -> None:
    """End this process and its kernels at once."""
    end_kernels()
    os._exit(1)
