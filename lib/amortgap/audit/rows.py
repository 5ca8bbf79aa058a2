"""The five rows on one decoder, with what they leave unexplained, its interval, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from amortgap.audit.result import Row
from amortgap.gap import each_row
from amortgap.metrics import l0
from amortgap.solvers import Prepared

BATCH = 1024
#: float64 numbers that a batch of small least-squares systems may hold
MEMORY = 16_000_000
#: resamplings of the bootstrap
DRAWS = 1000


def _parts(codes: Tensor) -> list[slice]:
    """Batches in which n k^2 numbers fit in memory."""
    k = int((codes > 0).sum(1).max())
    size = max(1, min(BATCH, MEMORY // (k * k + 1)))
    return [slice(start, start + size) for start in range(0, len(codes), size)]


def coded(
    D: Prepared, x: Tensor, codes: Tensor, alpha: float, tol: float, k: int, label: str
) -> Iterator[Any]:
    """(method, rows of x, codes, operations, seconds), batch by batch."""
    for part in tqdm(_parts(codes), desc=label, delay=2):
        began = time.perf_counter()
        for method, found, work in each_row(D, x[part], codes[part], alpha, k, tol=tol):
            yield method, part, found, work, time.perf_counter() - began
            began = time.perf_counter()


def score(
    name: str,
    D: Prepared,
    z: Tensor,
    b: Tensor,
    codes: Tensor,
    alpha: float,
    group: Tensor,
    tol: float,
    seed: int,
) -> list[Row]:
    """The rows on one decoder: each way to code `z`, with bootstrap intervals over `group`.

    D (M, N), z (n, M) in the SAE's input space, b (M,) the decoder's bias, codes (n, N) of the encoder on `D`,
    group (n,) the documents of the tokens.
    """
    k = max(1, round(float(l0(codes))))
    error: dict[str, Tensor] = {}
    active: dict[str, Tensor] = {}
    spent: dict[str, list[float]] = {}
    for method, part, found, work, seconds in coded(D, z - b, codes, alpha, tol, k, f"{name} decoder"):
        new = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        error.setdefault(method, new.clone())[part] = (z[part] - b - found @ D.D.T).double().square().sum(1)
        active.setdefault(method, new)[part] = (found > 0).sum(1).double()
        total = spent.setdefault(method, [0.0, 0.0])
        total[0], total[1] = total[0] + work, total[1] + seconds
    spent["L1 support"] = [a + b for a, b in zip(spent["L1"], spent["L1 support"], strict=True)]
    power = (z - z.mean(0)).double().square().sum(1)
    weights = bootstrap(group, seed)
    ratio = {method: (weights @ e) / (weights @ power) for method, e in error.items()}
    rows = []
    for method, e in error.items():
        low, high = ends(ratio[method])
        gain_low, gain_high = ends(ratio["encoder"] - ratio[method])
        mean = float(e.sum() / power.sum())
        rows.append(
            Row(
                decoder=name,
                method=method,
                fvu=mean,
                low=low,
                high=high,
                gain=float(error["encoder"].sum() / power.sum()) - mean,
                gain_low=gain_low,
                gain_high=gain_high,
                l0=float(active[method].mean()),
                flops=spent[method][0] / len(z),
                seconds=spent[method][1] / len(z),
            )
        )
    return rows


def bootstrap(group: Tensor, seed: int) -> Tensor:
    """(DRAWS, n): how often each token is in each resampling of its groups."""
    places = group.unique(return_inverse=True)[1].cpu()
    count = int(places.max()) + 1
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(count, (DRAWS, count), generator=draw)
    times = torch.zeros(DRAWS, count, dtype=torch.float64)
    times.scatter_add_(1, chosen, torch.ones(DRAWS, count, dtype=torch.float64))
    return times[:, places].to(group.device)


def ends(values: Tensor) -> tuple[float, float]:
    """The 95 % interval of bootstrap values."""
    low, high = values.quantile(
        torch.tensor([0.025, 0.975], dtype=values.dtype, device=values.device)
    ).tolist()
    return low, high
