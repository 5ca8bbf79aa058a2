"""Run many notebooks, several at a time, and print to stderr how each ended."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from amortgap._errors import Refused
from amortgap._files import lock
from amortgap._progress import progress, say
from amortgap.runs.apart import run_apart
from amortgap.runs.backup import copy_of, put_back
from amortgap.runs.jobs import Job, changes
from amortgap.runs.provenance import cores
from amortgap.runs.sweep import Backend, sweep
from amortgap.runs.worker import Worker


def run_all(
    jobs: Sequence[Job], parallel: int, force: bool = False, on: Backend | None = None
) -> list[dict[str, Any]]:
    """Run the jobs that are not done yet, `parallel` at a time or by a backend, and return how each of those ended.

    A notebook that fails or cannot begin does not stop the others. With `force`, notebooks that are done run
    again; jobs to redraw are drawn again, whether or not they are due.
    """
    for job in jobs:
        # An earlier redraw was killed. When another process is drawing it right now, the copy is not ours.
        if copy_of(job.folder).is_dir():
            with contextlib.suppress(Refused), lock(job.folder):
                put_back(job.folder)
    due = [job for job in jobs if force or job.redraw or _is_due(job)]
    # The order of sums in products of matrices may depend on the number of threads, so that does not depend on
    # `parallel`: half of the cores, for the two jobs that a report runs at a time unless told otherwise.
    threads = max(1, cores() // 2)
    due = [replace(job, threads=threads) for job in due]
    if not due:
        return []
    if on is not None:
        return _reported((result for _, result in sweep(run_apart, due, on)), len(due))
    with contextlib.closing(_run(due, max(1, min(parallel, len(due))))) as ended:
        return _reported(ended, len(due))


def _is_due(job: Job) -> bool:
    """Whether the job must run, which is said with the reason."""
    due, words = standing(job)
    say(f"{job.name}: {words}")
    return due


def standing(job: Job) -> tuple[bool, str]:
    """Whether the job must run, and how it stands, in one line."""
    due, drawn = changes(job)
    if due:
        return True, f"stale: {short(due)}"
    if drawn:
        return False, f"current, but drawn before a change (report --redraw): {short(drawn)}"
    return False, "current"


def _run(jobs: list[Job], parallel: int) -> Generator[dict[str, Any]]:
    """How each ended, as they end."""
    waiting, running = list(jobs), dict[Any, Worker]()
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                worker = Worker(waiting.pop(0))
                running[worker.receiver] = worker
            for receiver in wait(list(running)):
                yield running.pop(receiver).result()
    finally:
        for worker in running.values():
            worker.stop()


def _reported(ended: Iterable[dict[str, Any]], total: int) -> list[dict[str, Any]]:
    results = []
    with progress(total=total, unit="notebook", delay=0, disable=None) as bar:
        for result in ended:
            results.append(result)
            bar.update()
            say(sentence(result))
    return results


def short(reasons: list[str]) -> str:
    """The first reasons, in one line."""
    more = f", and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return "; ".join(reasons[:2]) + more


def sentence(result: dict[str, Any]) -> str:
    """How a run ended, in one sentence."""
    name = result["notebook"]
    if result["status"] == "refused":
        return f"{name}: not run: {result['why']}"
    seconds = result["provenance"]["seconds"]
    if result["status"] == "done":
        return f"{name}: done in {seconds:.0f} s"
    error = result["error"]
    place = f"cell [{error['cell']}] ({error['line']})" if error["cell"] else "before its first cell"
    return (
        f"{name}: FAILED after {seconds:.0f} s in {place}: {error['kind']}: {error['message']}; "
        f"read data/{name}/{error['kept']}"
    )
