"""What a dictionary learner starts from and returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amortgap.problem import unit_columns


@dataclass(frozen=True, eq=False)
class Learned:
    """A dictionary and how it was found.

    D (M, N): unit columns, the best of all rounds.  objective: mean P over the training samples after each round,
    with codes solved to a duality gap.  converged: the objective had stopped falling (a local minimum, not the
    global one).  flops: of the matrix products.  seed: of the start that was kept.
    """

    D: Tensor
    objective: list[float]
    converged: bool
    flops: int
    seed: int = 0


def from_data(x: Tensor, N: int, g: torch.Generator) -> Tensor:
    """N random rows of x (n, M), scaled to unit columns (M, N); repeated rows and zeros become Gaussian."""
    length = torch.linalg.vector_norm(x, dim=1)
    rows = length.nonzero().squeeze(1).cpu()
    rows = rows[torch.randperm(len(rows), generator=g)[:N]].to(x.device)
    D = gaussian(x, N, g)
    D[:, : len(rows)] = (x[rows] / length[rows, None]).T
    return D


def gaussian(x: Tensor, N: int, g: torch.Generator) -> Tensor:
    """N columns uniform on the sphere, (M, N), in x's dtype and on its device."""
    return unit_columns(torch.randn(x.shape[1], N, generator=g, dtype=torch.float64)).to(x)


def replace_dead(D: Tensor, x: Tensor, codes: Tensor, cost: Tensor) -> Tensor:
    """D with each unused column replaced by a sample: the worst one first, cost (n,) says how bad.

    The objective of the codes does not change, for they do not use these columns.
    """
    dead = (codes == 0).all(0).nonzero().squeeze(1)
    if len(dead) == 0:
        return D
    worst = cost.argsort(descending=True)
    worst = worst[torch.linalg.vector_norm(x[worst], dim=1) > 0][: len(dead)]
    D = D.clone()
    D[:, dead[: len(worst)]] = unit_columns(x[worst].T)
    return D
