"""python -m amortgap.bench_paper.tried: the protocols we tried, on dictionaries that the benchmark does not use.

Every encoder with four learning rates on mini-batches of 128, and with one on the full batch for as many looks
at each sample; sparse coding from two penalties. The criterion and the MCC are means over validation
dictionaries, on samples that were not trained on. The protocol with the lowest criterion is the one in
protocols.py. Arms that the output holds already are not run again.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from tqdm import tqdm

from amortgap.bench import save
from amortgap.bench_paper.protocols import ENCODERS, sparse_coding, train
from amortgap.bench_paper.setting import ALPHA, Data, accuracy, arm_name
from amortgap.solvers import solve

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
BATCH = 128
COLUMNS = (
    "experiment",
    "arm",
    "protocol",
    "dictionaries",
    "criterion",
    "mcc",
    "dictionary_mcc",
    "cpu_seconds",
)


def validation(h: int) -> Data:
    """Ten dictionaries, five for the wide encoders, which cost more."""
    return Data(range(100, 110 if h <= 32 else 105))


def row(
    data: Data, experiment: str, arm: str, protocol: dict[str, Any], found: tuple[Any, Any], cpu: float
) -> dict[str, Any]:
    means = {k: fmean(v) for k, v in accuracy(data, experiment, *found).items()}
    about = {"experiment": experiment, "arm": arm, "protocol": protocol, "dictionaries": len(data.seeds)}
    return about | means | {"cpu_seconds": cpu}


def encoders(experiment: str, h: int) -> list[dict[str, Any]]:
    data, steps, rows = validation(h), ENCODERS[experiment, h]["steps"], []
    tries = [{"steps": steps, "lr": lr, "batch_size": BATCH} for lr in RATES]
    tries.append({"steps": steps * BATCH // data.x.shape[-2], "lr": 1e-2, "batch_size": None})
    for protocol in tries:
        start = time.process_time()
        model, _ = train(data, experiment, h, **protocol)
        cpu = time.process_time() - start
        with torch.no_grad():
            found = model.encode(data.x_test), model.decoder.D
            rows.append(row(data, experiment, arm_name(h), protocol, found, cpu))
    return rows


def codes() -> list[dict[str, Any]]:
    data, rows = validation(0), []
    for alpha, falling in ((0.1, 0.5), (0.1, 0.8), (0.3, 0.5), (0.3, 0.8)):
        protocol: dict[str, Any] = {"alpha": alpha, "falling": falling, "rounds": 2}
        start = time.process_time()
        D = torch.stack([sparse_coding(x, i, **protocol) for i, x in enumerate(data.x)])
        cpu = time.process_time() - start
        s = torch.stack([solve(d, x, ALPHA, tol=1e-4).codes for d, x in zip(D, data.x_test, strict=True)])
        rows.append(row(data, "E3", "sparse coding", protocol, (s, D), cpu))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("reports/bench/paper_tried.json"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    rows = json.loads(out.read_text()) if out.exists() else []
    for key in tqdm([*ENCODERS, None], desc="arms", file=sys.stderr, delay=2):
        experiment, arm = (key[0], arm_name(key[1])) if key else ("E3", "sparse coding")
        if not any((r["experiment"], r["arm"]) == (experiment, arm) for r in rows):
            rows += encoders(*key) if key else codes()
            save(out, json.dumps(rows, indent=1) + "\n")
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for r in rows:
        told = dict(r, protocol=", ".join(f"{k} {v}" for k, v in r["protocol"].items()))
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in (told.get(k, "") for k in COLUMNS)]
        lines.append(f"| {' | '.join(cells)} |")
    save(out.with_suffix(".md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
