"""What is solved: four sizes, each with its data, and the penalty."""

from typing import Any

import torch

from amortgap.problem import SparseProblem

WORKLOADS: dict[str, dict[str, Any]] = {
    "W1": {"N": 16, "M": 8, "K": 3, "n": 1024},
    "W2": {"N": 256, "M": 64, "K": 8, "n": 10_000},
    "W3": {"N": 1000, "M": 200, "K": 20, "n": 20_000},
    "W4": {"N": 4608, "M": 576, "K": 40, "n": 4096, "noise": 0.01},
}


def problem(workload: str, share: float, dtype: torch.dtype) -> SparseProblem:
    """The first `share` of a workload's samples."""
    sizes = WORKLOADS[workload]
    return SparseProblem(**sizes | {"n": max(1, int(share * sizes["n"]))}, dtype=dtype)


def penalty(p: SparseProblem) -> float:
    """A twentieth of the penalty at which half of the samples have an active latent."""
    return 0.05 * float((p.x @ p.D).abs().amax(1).median())
