"""python -m tests.benchmarks.gpu: all sections, in at most --minutes, to reports/bench/gpu.json and gpu.md.

What fails leaves its message in the report and the others go on; the report is written after each row. Without a
CUDA device it tries itself out at tiny sizes and writes no report unless --out says where.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Any

import torch

from ..output import REPORTS, markdown, write
from .codes import Add, Row, cpus, fista, heads, lasso, omp, rates
from .common import CUDA, WORKLOADS, Late, about
from .learning import training

MARKED = ("gpu", "problem", "metrics", "dictionaries", "training", "learners", "solvers", "heads")
LONGEST = 120  # seconds that a section may take


def checks(add: Add, _: dict[str, list[Row]]) -> None:
    """pytest -m gpu on every file that marks tests so."""
    tests = Path(__file__).parents[2]
    files = [f"{tests}/test_{name}.py" for name in MARKED]
    options = ["-v", "--tb=short", "--durations=8", "-W", "default", "-m", "gpu"]
    # the section's alarm ends it, and leaves what has been said so far
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tests.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # their problems are small
    )
    assert process.stdout is not None
    told: list[str] = []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            told.append(line.strip("= \n"))
    finally:
        process.kill()
        words = [word for line in told if "%]" in line for word in line.split()]
        counts = {word.lower(): words.count(word) for word in ("PASSED", "FAILED", "SKIPPED", "ERROR")}
        add(counts | {"last line": next((line for line in reversed(told) if line), "")})


SECTIONS: dict[str, Callable[[Add, dict[str, list[Row]]], None]] = {
    "rates": rates,
    "LASSO": lasso,
    "OMP": omp,
    "FISTA": fista,
    "heads": heads,
    "training": training,
    "tests": checks,
    "CPUs": cpus,
}


def table(data: dict[str, Any]) -> str:
    """The rows in Markdown."""
    made = data["about"]
    lines = [
        f"{made['device']}, driver {made['driver']}, CUDA {made['cuda']}, torch {made['torch']},",
        f"Python {made['python']}, {made['cores']} CPU cores; {made['date']}, commit {made['commit']}.",
        "`make gpu` measures it again.",
        "",
        "Times are medians of five synchronised calls (20 for products, 3 for FISTA, 2 on CPUs, fewer where they",
        "take more than 4 s together) after one that is not counted, in float32 unless another type is named.",
        "Everything done from the call on is in them. The peer is orthogonal-matching-pursuit-gpu, algorithm v0.",
        "",
    ]
    for name, sizes in WORKLOADS.items():
        noise = f", noise {sizes['noise']}" if "noise" in sizes else ""
        lines.append(
            f"- {name}: N = {sizes['N']} latents, M = {sizes['M']} measurements, {sizes['K']} active,"
            f" {sizes['n']} signals{noise}; Gaussian columns, half-normal codes"
        )
    lines.append(
        "- R1: N = 4608 latents, M = 576 measurements, 2048 signals; a TopK decoder and activations of SmolLM2-135M"
    )
    for section, rows in data["sections"].items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = ([_cell(row.get(column, "")) for column in columns] for row in rows)
        lines += [
            "",
            f"## {section}",
            "",
            cleandoc(SECTIONS[section].__doc__ or ""),
            "",
            markdown(columns, cells).rstrip(),
        ]
    if data["errors"]:
        lines += ["", "## Not measured", ""]
        lines += [f"- {name}: {text.strip().splitlines()[-1]}" for name, text in data["errors"].items()]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.3g}"


def measure(name: str, data: dict[str, Any], seconds: float, save: Callable[[], None]) -> None:
    """One section, for at most so many seconds; its rows and what went wrong go to data."""

    def add(row: Row) -> None:
        data["sections"].setdefault(name, []).append(row)
        print(name, row, flush=True)
        save()

    def late(*_: Any) -> None:
        raise Late(f"its {seconds:.0f} seconds were up")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begin = time.monotonic()
    try:
        SECTIONS[name](add, data["sections"])
    except Exception:
        data["errors"][name] = traceback.format_exc()[-4000:]
        print(data["errors"][name], flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        data["seconds"][name] = time.monotonic() - begin
        save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, help="folder; default reports/bench where there is a CUDA device")
    options = parser.parse_args()
    stop = time.monotonic() + 60 * options.minutes
    out = options.out or (REPORTS if CUDA else None)
    data: dict[str, Any] = {"about": about(), "sections": {}, "errors": {}, "seconds": {}}

    def save() -> None:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write(out / "gpu", data, table(data))

    for name in options.sections:
        left = stop - time.monotonic()
        if left < 5:
            data["errors"][name] = "no time was left"
            continue
        measure(name, data, min(left, LONGEST), save)
        if CUDA:
            torch.cuda.empty_cache()
    print(table(data))


if __name__ == "__main__":
    main()
