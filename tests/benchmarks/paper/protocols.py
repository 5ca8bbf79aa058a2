"""How we train the paper's arms ourselves, and how long. Chosen on other dictionaries: see tried.py."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amortgap.dictionaries import LEARNERS, STARTS
from amortgap.training import Cosine, History, fit, stack

from .setting import ALPHA, L1, LOGGED, Data, N, starts, supervision

# Adam with the cosine schedule; steps are mini-batches (1024 / 128 of them look at each sample once)
ENCODERS: dict[tuple[str, int], dict[str, Any]] = {
    ("E1", 0): {"steps": 1600, "lr": 3e-2, "batch_size": 128},
    ("E1", 32): {"steps": 3200, "lr": 1e-2, "batch_size": 128},
    ("E1", 256): {"steps": 1600, "lr": 3e-2, "batch_size": 128},
    ("E1", 1024): {"steps": 3200, "lr": 3e-2, "batch_size": 128},
    ("E2", 0): {"steps": 9600, "lr": 3e-2, "batch_size": 128},
    ("E2", 32): {"steps": 19200, "lr": 1e-2, "batch_size": 128},
    ("E2", 256): {"steps": 9600, "lr": 1e-3, "batch_size": 128},
    ("E3", 0): {"steps": 19200, "lr": 3e-2, "batch_size": 128},
    ("E3", 32): {"steps": 19200, "lr": 3e-2, "batch_size": 128},
    ("E3", 256): {"steps": 9600, "lr": 3e-2, "batch_size": 128},
}
SPARSE_CODING: dict[str, Any] = {"alpha": 0.3, "falling": 0.8, "rounds": 2}


def train(data: Data, experiment: str, h: int, lr: float, **options: Any) -> tuple[Any, History]:
    """The encoders of all runs as one stack, by our protocol; further `options` are those of `fit`."""
    model = stack(starts(data, experiment, h))
    label = f"{experiment}, h = {h}"
    given: dict[str, Any] = {"codes": supervision(data, experiment), "l1_weight": L1, "label": label}
    return model, fit(model, data.x, lr=Cosine(lr), **given, **options)


@torch.no_grad()
def sparse_coding(
    x: Tensor,
    seed: int,
    *,
    alpha: float,
    falling: float,
    rounds: int,
    measure: Callable[[Tensor], Any] | None = None,
) -> Tensor:
    """Block descent with exact codes from a Gaussian start: x (n, M) -> D (M, N).

    The penalty falls geometrically from alpha to the paper's over the first share `falling` of the logged points,
    `rounds` rounds at each; measure(D) after each.
    """
    D = STARTS["gaussian"](x, N, torch.Generator().manual_seed(seed))
    for point in range(LOGGED["E3"]):
        now = alpha * (ALPHA / alpha) ** min(1.0, point / (falling * LOGGED["E3"]))
        D = LEARNERS["block_descent"](x, D, now, rounds=rounds, tol=0.0, nonnegative=True).D
        if measure is not None:
            measure(D)
    return D
