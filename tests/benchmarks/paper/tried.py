"""python -m tests.benchmarks.paper.tried: the protocols we tried, on dictionaries that the benchmark does not use.

Every encoder with four learning rates on mini-batches of 128, and with one on the full batch for as many looks
at each sample; sparse coding with two penalties and two speeds of their fall. The criterion and the MCC are
means over validation dictionaries, on samples that were not trained on. The steps are what two cores can spare;
among the rates tried at these steps, the one with the lowest criterion is in protocols.py. What the output holds
already is not run again, and rows with other protocols stay.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from amortgap._files import write_json

from ..output import REPORTS, markdown, write
from .protocols import ENCODERS, sparse_coding, train
from .race import exact
from .setting import Data, accuracy, arm_name

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
BATCH, SAMPLES = 128, 1024
COLUMNS = [
    "experiment",
    "arm",
    "protocol",
    "dictionaries",
    "criterion",
    "mcc",
    "dictionary_mcc",
    "cpu_seconds",
]


def validation(h: int) -> Data:
    """Ten dictionaries, five for the wide encoders, which cost more."""
    return Data(range(100, 110 if h <= 32 else 105))


def encoder(experiment: str, h: int, protocol: dict[str, Any]) -> dict[str, Any]:
    data = validation(h)
    start = time.process_time()
    model, _ = train(data, experiment, h, **protocol)
    cpu = time.process_time() - start
    with torch.no_grad():
        return row(data, experiment, model.encode(data.x_test), model.decoder.D, cpu)


def codes(protocol: dict[str, Any]) -> dict[str, Any]:
    data, start = validation(0), time.process_time()
    D = torch.stack([sparse_coding(x, i, **protocol) for i, x in enumerate(data.x)])
    cpu = time.process_time() - start
    s = torch.stack([exact(d, x) for d, x in zip(D, data.x_test, strict=True)])
    return row(data, "E3", s, D, cpu)


def row(data: Data, experiment: str, s: Tensor, D: Tensor, cpu: float) -> dict[str, Any]:
    means = {k: fmean(v) for k, v in accuracy(data, experiment, s, D).items()}
    return {"dictionaries": len(data.seeds), **means, "cpu_seconds": cpu}


def tries() -> Iterator[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]:
    """What to try: its experiment, arm and protocol, and the run."""
    for (experiment, h), chosen in ENCODERS.items():
        steps = chosen["steps"]
        protocols = [{"steps": steps, "lr": lr, "batch_size": BATCH} for lr in RATES]
        protocols.append({"steps": steps * BATCH // SAMPLES, "lr": 1e-2, "batch_size": None})
        for protocol in protocols:
            name = {"experiment": experiment, "arm": arm_name(h), "protocol": protocol}
            yield name, partial(encoder, experiment, h, protocol)
    for alpha, falling in ((0.1, 0.5), (0.1, 0.8), (0.3, 0.5), (0.3, 0.8)):
        protocol = {"alpha": alpha, "falling": falling, "rounds": 2}
        yield {"experiment": "E3", "arm": "sparse coding", "protocol": protocol}, partial(codes, protocol)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPORTS / "paper_tried.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    rows = json.loads(out.read_text()) if out.exists() else []
    done = [{k: r[k] for k in ("experiment", "arm", "protocol")} for r in rows]
    for name, run in tqdm(
        [t for t in tries() if t[0] not in done], desc="protocols", file=sys.stderr, delay=2
    ):
        rows.append(name | run())
        write_json(out, rows)
    rows.sort(key=lambda r: (r["experiment"], r["arm"]))
    cells = []
    for r in rows:
        told = dict(r, protocol=", ".join(f"{k} {v}" for k, v in r["protocol"].items()))
        values = (told.get(k, "") for k in COLUMNS)
        cells.append([f"{v:.4g}" if isinstance(v, float) else v for v in values])
    write(out, rows, markdown(COLUMNS, cells))


if __name__ == "__main__":
    main()
