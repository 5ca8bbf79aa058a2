"""Run many notebooks, several at a time, and tell on stderr how each ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from amortgap.runs.execute import execute
from amortgap.runs.jobs import Job, is_done
from amortgap.runs.provenance import cores


def run_all(jobs: Sequence[Job], parallel: int, force: bool = False) -> list[dict[str, Any]]:
    """Run the jobs that are not done yet, `parallel` at a time, and return how each of those ended.

    A notebook that fails does not stop the others. With `force`, notebooks that are done run again.
    """
    import joblib
    from tqdm import tqdm

    due = [job for job in jobs if force or not is_done(job)]
    for job in jobs:
        if job not in due:
            _say(f"{job.name}: already done")
    if not due:
        return []
    parallel = max(1, min(parallel, len(due)))
    threads = max(1, cores() // parallel)
    results = []
    with tqdm(total=len(due), unit="notebook", file=sys.stderr, disable=None) as bar:
        # Each notebook is a process of its own beside its kernel: papermill changes the working folder.
        runner = joblib.Parallel(n_jobs=parallel, return_as="generator_unordered", batch_size=1)
        for result in runner(joblib.delayed(execute)(replace(job, threads=threads)) for job in due):
            results.append(result)
            bar.update()
            _say(sentence(result))
    return results


def sentence(result: dict[str, Any]) -> str:
    """How a run ended, in one sentence."""
    name, seconds = result["notebook"], result["provenance"]["seconds"]
    if result["status"] == "done":
        return f"{name}: done in {seconds:.0f} s"
    error = result["error"]
    place = f"cell [{error['cell']}] ({error['line']})" if error["cell"] else "before its first cell"
    return (
        f"{name}: FAILED after {seconds:.0f} s in {place}: {error['kind']}: {error['message']}; "
        f"read data/{name}/{error['kept']}"
    )


def _say(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
