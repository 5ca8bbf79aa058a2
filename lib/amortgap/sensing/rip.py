"""Restricted isometry constants.

    delta_k = max over |S| = k of || D_S' D_S - I ||_2 :   (1 - delta_k) |s|^2 <= |D s|^2 <= (1 + delta_k) |s|^2

for every k-sparse s (Candes & Tao, IEEE Trans. Inf. Theory 51 (2005)). The exact value needs every support. Where
there are too many, a lower bound from some supports and a certified upper bound enclose it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_number, check_count, check_dictionary, generator
from amortgap._subsets import subsets
from amortgap.sensing.coherence import babel

MAX_SUPPORTS = 2_000_000
CHUNK = 2**22  # Gram entries held at once


def rip_constant(D: Any, order: int) -> float:
    """delta_order of D (M, N), unit columns, exact: every support's Gram matrix is diagonalised.

    Raises ValueError for a bad dictionary, order outside 1..N, and beyond 2 000 000 supports.
    """
    matrix, order = _checked(D, order)
    count = math.comb(matrix.shape[1], order)
    if count > MAX_SUPPORTS:
        raise ValueError(
            f"order {order} of N = {matrix.shape[1]} has {count} supports, more than {MAX_SUPPORTS}; "
            "call rip_lower_bound and rip_upper_bound instead"
        )
    gram, parts = matrix.T @ matrix, subsets(matrix.shape[1], order, max(1, CHUNK // order**2))
    return max(float(_isometry_error(gram, part).max()) for part in parts)


def rip_lower_bound(D: Any, order: int, draws: int = 1000, steps: int = 10, seed: int = 0) -> float:
    """A lower bound on delta_order: the worst of `draws` random supports, each then moved uphill.

    Uphill: v -> the support of the `order` largest entries of G v (for the largest eigenvalue) or of
    (c I - G) v, c = |D|^2 (for the smallest), the truncated power method (Yuan & Zhang, JMLR 14 (2013)).
    Errors as in rip_constant; and draws < 1.
    """
    matrix, order = _checked(D, order)
    draws, steps = check_count(draws, "draws"), check_count(steps, "steps", least=0)
    N = matrix.shape[1]
    gram = matrix.T @ matrix
    g = generator(seed)
    start = torch.rand(draws, N, generator=g, dtype=torch.float64).topk(order).indices.to(matrix.device)
    best = 0.0
    for target in (gram, torch.linalg.eigvalsh(gram)[-1] * torch.eye(N).to(gram) - gram):
        chosen = start
        for _ in range(steps + 1):
            blocks = target[chosen[:, :, None], chosen[:, None, :]]
            best = max(best, float(_isometry_error(gram, chosen).max()))
            top = torch.linalg.eigh(blocks).eigenvectors[:, :, -1]
            v = torch.zeros(draws, N).to(gram).scatter_(1, chosen, top)
            chosen = (v @ target).abs().topk(order).indices
    return best


def rip_upper_bound(D: Any, order: int, exact_order: int = 2) -> float:
    """A certified upper bound on delta_order, the least of

    mu_1(order - 1)                               Gershgorin on every Gram block
    (order - 1) / (m - 1) delta_m, m <= order     averaging over m-subsets of a support; m = exact_order
    max(1, |D|^2 - 1)                             no block has eigenvalues outside [0, |D|^2]

    exact_order = 2 costs nothing (delta_2 is the coherence); 3 or 4 enumerate supports. Errors as above.
    """
    matrix, order = _checked(D, order)
    if order == 1:
        return rip_constant(D, 1)
    m = min(_checked(D, exact_order)[1], order)
    if m < 2:
        raise ValueError(f"exact_order must be at least 2, not {exact_order}")
    slack = 1e-12  # columns have norm one to rounding only
    diagonal = float((matrix.square().sum(0) - 1).abs().max())
    averaged = (order - 1) / (m - 1) * (rip_constant(D, m) + diagonal) + diagonal
    spectral = max(1.0, float(torch.linalg.matrix_norm(matrix, 2)) ** 2 - 1)
    return min(float(babel(D)[order - 2]) + diagonal, averaged, spectral) + slack


def _isometry_error(gram: Tensor, part: Tensor) -> Tensor:
    """||G_S - I|| for each support (m, k) -> (m,)."""
    eigenvalues = torch.linalg.eigvalsh(gram[part[:, :, None], part[:, None, :]])
    return torch.maximum(eigenvalues[:, -1] - 1, 1 - eigenvalues[:, 0])


def _checked(D: Any, order: int) -> tuple[Tensor, int]:
    matrix = check_dictionary(D, unit=True).double()
    if not as_number(order, "order").is_integer() or not 1 <= order <= matrix.shape[1]:
        raise ValueError(f"order must be a whole number between 1 and N = {matrix.shape[1]}, not {order}")
    return matrix, int(order)
