"""What a dictionary learner starts from and returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amortgap.problem import unit_columns

BLOCK = 1024  # rows compared with each other at a time
TWINS = 1 - 1e-6  # the cosine from which on two columns are one: in float32 it is known to 1e-7


@dataclass(frozen=True, eq=False)
class Learned:
    """A dictionary and how it was found.

    D (M, N): unit columns, the best of all rounds.  objective: mean P over the training samples after each round,
    with codes solved to a duality gap.  converged: the objective had stopped falling (a local minimum, not the
    global one); from `learn`: for every learner.  flops: of the matrix products.  seed: of the start that was kept.
    """

    D: Tensor
    objective: list[float]
    converged: bool
    flops: int
    seed: int = 0


def from_data(x: Tensor, N: int, g: torch.Generator) -> Tensor:
    """N random rows of x (n, M), scaled to unit columns (M, N); zeros and repeated directions become Gaussian."""
    length = torch.linalg.vector_norm(x, dim=1)
    rows = length.nonzero().squeeze(1).cpu()
    rows = rows[torch.randperm(len(rows), generator=g)].to(x.device)
    found = x[:0]
    for some in rows.split(max(N, BLOCK)):
        found = torch.cat([found, x[some] / length[some, None]])
        found = found[~has_earlier_twin(found)][:N]
        if len(found) == N:
            break
    D = gaussian(x, N, g)
    D[:, : len(found)] = found.T
    return D


def has_earlier_twin(rows: Tensor, signed: bool = False) -> Tensor:
    """For each unit row (k, M) whether one before it points the same way (`signed`: or the opposite one), (k,)."""
    cosines = (rows @ rows.T).tril(-1)
    return ((cosines.abs() if signed else cosines) > TWINS).any(1)


def gaussian(x: Tensor, N: int, g: torch.Generator) -> Tensor:
    """N columns uniform on the sphere, (M, N), in x's dtype and on its device."""
    return unit_columns(torch.randn(x.shape[1], N, generator=g, dtype=torch.float64)).to(x)


def merge_twins(D: Tensor, codes: Tensor, signed: bool) -> Tensor:
    """codes with those of each column that repeats an earlier one added to the earlier one's: D s stays."""
    twins = has_earlier_twin(D.T, signed).nonzero().squeeze(1)
    if len(twins) == 0:
        return codes
    codes = codes.clone()
    for j in twins.tolist():
        cosines = D[:, :j].T @ D[:, j]
        first = (cosines.abs() if signed else cosines).argmax()
        codes[:, first] += cosines[first].sign() * codes[:, j]
        codes[:, j] = 0
    return codes


def replace_dead(D: Tensor, x: Tensor, codes: Tensor, cost: Tensor, signed: bool) -> Tensor:
    """D with each unused column replaced by a sample: the worst one first, cost (n,) says how bad.

    The objective of the codes does not change, for they do not use these columns. A sample that points where a
    column or a worse sample does is passed over; where too few are left, unused columns stay and twins
    become Gaussian.
    """
    used = (codes != 0).any(0)
    dead = (~used).nonzero().squeeze(1)
    if len(dead) == 0:
        return D
    worst = cost.argsort(descending=True)
    worst = worst[torch.linalg.vector_norm(x[worst], dim=1) > 0][: len(dead) + BLOCK]
    kept, rows = D[:, used].T, unit_columns(x[worst].T).T
    new = worst[~has_earlier_twin(torch.cat([kept, rows]), signed)[len(kept) :]][: len(dead)]
    D = D.clone()
    D[:, dead[: len(new)]] = unit_columns(x[new].T)
    twins = has_earlier_twin(D.T, signed)
    D[:, twins] = gaussian(x, D.shape[1], torch.Generator().manual_seed(0))[:, twins]
    return D
