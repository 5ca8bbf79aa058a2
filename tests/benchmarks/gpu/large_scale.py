"""One dictionary of page 15 at the paper's size and epochs, one process an arm, on one CUDA device.

    python -m tests.benchmarks.gpu.large_scale OUT.json [--minutes 12]

The functions are the page's own: its code cells run up to the one that defines how an arm is scored. The arms train
side by side, since each alone waits for the launch of small products. After --minutes an arm stops and is scored:
its last step says how far it came.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from amortgap._files import read_json, write_json

TASKS = ("known codes", "known dictionary", "unknown")
ENCODERS = ("SAE", "MLP 167 (the SAE's compute)", "MLP 32", "MLP 256")
NOTEBOOK = Path(__file__).parents[3] / "notebooks/15_large_scale.ipynb"
POINTS = 100  # looks at an arm, evenly spread


def page(folder: str) -> dict[str, Any]:
    """The names that the page's cells define: its parameters (device: cuda), imports and functions."""
    cells = [c for c in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells[:4]):
        exec("".join(cell["source"]), names)
        if number == 0:
            names |= {"device": "cuda", "out": folder}
    return names


class OutOfTime(Exception):
    """The arm's minutes are over."""


def arm(task: str, name: str, out: Path, minutes: float) -> None:
    """Train and score one encoder, and write its curve and scores."""
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        names = page(folder)
    p = names["SparseProblem"](names["N"], names["M"], names["K"], n=1, seed=0, device="cuda")
    t = p.sample(names["test_samples"], seed=10_000)
    x, codes = names["training_set"](p, 0)
    model = names["encoder"](names["hidden_units"][name], task, p, 0).to("cuda")
    steps = names["steps"]
    log_at = sorted({*names["log_at"], *range(0, steps + 1, steps // POINTS)})
    left = iter(log_at)

    def measure(model: torch.nn.Module) -> dict[str, float]:
        score = names["mcc"](t.codes[:1000], model.encode(t.x[:1000])).item()
        rows.append({"step": next(left), "seconds": time.monotonic() - began, "mcc": score})
        if time.monotonic() - began > 60 * minutes:
            raise OutOfTime
        return {"mcc": score}

    how = {name: names[name] for name in ("l1_weight", "lr", "batch_size", "steps")}
    with contextlib.suppress(OutOfTime):
        codes = codes if task == TASKS[0] else None
        names["fit"](model, x, codes=codes, seed=0, log_at=log_at, measure=measure, **how)
    result = {
        "task": task,
        "method": name,
        "steps": steps,
        "device": torch.cuda.get_device_name(),
        "curve": rows,
    }
    write_json(out, result | {"scored": names["scored"](0, task, name, p, t, model)})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--arm", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this needs a CUDA device, and torch sees none")
    if given.arm:
        arm(*given.arm, given.out, given.minutes)
        return
    with tempfile.TemporaryDirectory() as folder:
        files, running = [], []
        for number, pair in enumerate((task, name) for task in TASKS for name in ENCODERS):
            files.append(Path(folder) / f"{number}.json")
            command = [sys.executable, "-m", "tests.benchmarks.gpu.large_scale", str(files[-1])]
            running.append(subprocess.Popen([*command, "--minutes", str(given.minutes), "--arm", *pair]))
        ended = [process.wait() for process in running]
        if any(ended):
            sys.exit("an arm failed: see above")
        write_json(given.out, [read_json(file) for file in files])


if __name__ == "__main__":
    main()
