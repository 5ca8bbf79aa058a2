"""python -m tests.benchmarks.paper.full_protocol: how accurate the authors' arms are after all their steps.

Their full-batch steps at their constant learning rate are made by our `fit` and `log_adam`, which take the same
steps as their loops (tests/test_benchmark_of_the_paper.py); 10 minutes of one core. Arms that the output holds are
not run again, and a long one goes on from its checkpoint.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap._files import write_json
from amortgap.dictionaries import log_adam_dictionary
from amortgap.solvers import solve
from amortgap.training import fit, stack

from ..output import REPORTS
from .setting import (
    ALPHA,
    L1,
    STEPS,
    WIDTHS,
    Data,
    N,
    accuracy,
    arm_name,
    starts,
    supervision,
)

INFERENCE = {"E2": (20_000, 1e-3), "E3": (10_000, 3e-3)}  # steps and learning rate on log-codes
Accuracy = dict[str, list[float]]


def inferred(data: Data, experiment: str, D: Tensor) -> Accuracy:
    """Their codes of the test samples: Adam on log-codes, for dictionaries D (runs, M, N)."""
    n_steps, lr = INFERENCE[experiment]
    pairs = zip(D, data.x_test, strict=True)
    s = [solve(d, x, ALPHA, "log_adam", n_steps=n_steps, lr=lr).codes for d, x in pairs]
    return accuracy(data, experiment, torch.stack(s), D)


@torch.no_grad()
def encoder(data: Data, experiment: str, h: int, checkpoint: Path) -> dict[str, Accuracy]:
    """An encoder and, for an SAE without the true codes, inference on its dictionary."""
    model: Any = stack(starts(data, experiment, h))
    with torch.enable_grad():
        fit(
            model,
            data.x,
            codes=supervision(data, experiment),
            steps=STEPS[experiment],
            l1_weight=L1,
            checkpoint_file=checkpoint,
            label=f"{experiment} {arm_name(h)}",
        )
    D = model.decoder.D.detach()
    found = {f"{experiment} {arm_name(h)}": accuracy(data, experiment, model.encode(data.x_test), D)}
    if h == 0 and experiment in INFERENCE:
        found[f"{experiment} SAE+ITO"] = inferred(data, experiment, D)
    return found


def sparse_coding(data: Data) -> dict[str, Accuracy]:
    D, _ = log_adam_dictionary(data.x, N, seeds=list(data.seeds), steps=STEPS["E3"], l1_weight=L1)
    return {"E3 sparse coding": inferred(data, "E3", D)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPORTS / "paper_full_protocol.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    data, found = Data(), json.loads(out.read_text()) if out.exists() else {}
    for experiment, widths in WIDTHS.items():
        for h in widths:
            if f"{experiment} {arm_name(h)}" not in found:
                checkpoint = out.with_suffix(f".{experiment}.{h}.pt")
                found |= encoder(data, experiment, h, checkpoint)
                write_json(out, found)
                checkpoint.unlink()
    if "E3 sparse coding" not in found:
        write_json(out, found | sparse_coding(data))


if __name__ == "__main__":
    main()
