"""What is solved: six sizes of made data, a trained decoder with the activations it explains, and the penalty."""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from amortgap.problem import SparseProblem
from amortgap.solvers import alpha_for

from .real import decoder_and_activations

WORKLOADS: dict[str, dict[str, Any]] = {
    "W1": {"N": 16, "M": 8, "K": 3, "n": 1024},
    "W2": {"N": 256, "M": 64, "K": 8, "n": 10_000},
    "W3": {"N": 1000, "M": 200, "K": 20, "n": 20_000},
    "W4": {"N": 4608, "M": 576, "K": 40, "n": 4096, "noise": 0.01},
    "W5": {"N": 16_384, "M": 768, "K": 35, "n": 512, "noise": 0.01},
    "W5-4096": {"N": 16_384, "M": 768, "K": 35, "n": 4096, "noise": 0.01},
    "W6": {"N": 65_536, "M": 2304, "K": 60, "n": 256, "noise": 0.01},
    # R1: a TopK decoder trained on activations of a language model; K is the mean L0
    **{f"R1-{K}-{n}": {"N": 4608, "M": 576, "K": K, "n": n} for n in (256, 2048) for K in (32, 64, 128)},
}
SMALL = ("W1", "W2", "W3", "W4")


class Given(NamedTuple):
    """A dictionary D (M, N) and signals x (n, M)."""

    D: Tensor
    x: Tensor


def problem(workload: str, share: float, dtype: torch.dtype) -> Given:
    """The first `share` of a workload's samples."""
    sizes = WORKLOADS[workload]
    n = max(1, int(share * sizes["n"]))
    if workload.startswith("R1"):
        D, x = decoder_and_activations()
        return Given(D.to(dtype), x[:n].to(dtype))
    # the larger ones are drawn in the type they are used in: their codes alone are a gigabyte in float64
    p = SparseProblem(**sizes | {"n": n}, dtype=dtype)
    return Given(p.D, p.x)


def penalty(workload: str, p: Given) -> float:
    """A twentieth of the penalty at which half of the samples have an active latent; on R1 that of the mean L0."""
    if workload.startswith("R1"):
        return _natural_penalty(WORKLOADS[workload]["K"])
    return 0.05 * float((p.x @ p.D).abs().amax(1).median())


@cache
def _natural_penalty(L0: int) -> float:
    D, x = decoder_and_activations()
    return alpha_for(D, x[:256], l0=L0)
