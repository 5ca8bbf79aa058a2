"""The kernel of D: spark, circuits, and the null-space constant.

A circuit is a kernel vector whose support contains no other kernel vector's. Every kernel vector is a sum of
circuits that agree with it in sign (Rockafellar, Network Flows and Monotropic Optimization, ch. 10), so a
condition on all of the kernel that is linear on each orthant is a condition on the circuits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from amortgap._check import as_number, check_dictionary, check_sparsity
from amortgap._subsets import subsets

MAX_SUBSETS = 500_000
TOL = 1e-8


def spark(D: Any, tol: float = TOL) -> int:
    """The least number of linearly dependent columns of D (M, N); N + 1 where all are independent.

    Unit columns count as dependent where their smallest singular value is at most tol. K-sparse codes are
    determined by x = D s iff K < spark / 2 (Donoho & Elad, PNAS 100 (2003)). Raises ValueError for a bad
    dictionary, and beyond 500 000 sets of columns.
    """
    matrix, rank = _reduced(D, tol)
    N = matrix.shape[1]
    if rank == N:
        return N + 1
    if not _some_dependent(matrix, rank, tol):  # a smaller dependent set would lie in a dependent one
        return rank + 1
    return next(k for k in range(2, rank + 1) if _some_dependent(matrix, k, tol))


def circuits(D: Any) -> Tensor:
    """All circuits of D (M, N), one of each pair v, -v: (number, N), float64, ||v||_1 = 1.

    An entry below 1e-8 is zero. A generic D of rank M has C(N, M + 1). Errors as in spark.
    """
    matrix, rank = _reduced(D, TOL)
    N = matrix.shape[1]
    found = [torch.zeros(0, N, dtype=torch.float64)]
    for k in range(min(spark(D), N + 1), min(rank + 1, N) + 1):
        _check_count(N, k)
        for part in subsets(N, k):
            columns = matrix[:, part].permute(1, 0, 2)
            _, sigma, V = torch.linalg.svd(columns, full_matrices=True)
            sigma = torch.nn.functional.pad(sigma, (0, k - sigma.shape[1]))
            vectors = V[:, -1]
            # exactly one kernel vector, and it needs every column
            single = (sigma[:, -1] <= TOL) & (sigma[:, -2] > TOL) & (vectors.abs().amin(1) > TOL)
            full = torch.zeros(int(single.sum()), N, dtype=torch.float64)
            found.append(full.scatter_(1, part[single], vectors[single]))
    vectors = torch.cat(found)
    return vectors / vectors.abs().sum(1, keepdim=True)


def nullspace_constant(D: Any, K: int) -> float:
    """gamma_K = max over v in ker D, |S| = K, of ||v_S||_1 / ||v||_1, exact: a circuit attains it.

    Signed L1 recovers every K-sparse code iff gamma_K < 1/2 (Donoho & Huo 2001; Foucart & Rauhut 2013, thm
    4.4). 0 for a trivial kernel. Errors as in spark; and K > N.
    """
    vectors = circuits(D)
    K = check_sparsity(K, vectors.shape[1])
    return float(vectors.abs().topk(K, 1).values.sum(1).max()) if len(vectors) else 0.0


def nullspace_upper_bound(D: Any, K: int) -> float:
    """gamma_K <= K gamma_1, for sizes whose circuits are too many: gamma_1 takes N linear programmes.

    gamma_1 = max_i max v_i with D v = 0, ||v||_1 <= 1 (Juditsky & Nemirovski, Math. Program. 127 (2011)).
    """
    matrix = check_dictionary(D, unit=True).detach().cpu().double().numpy()
    M, N = matrix.shape
    check_sparsity(K, N)
    largest = 0.0
    for i in range(N):
        cost = np.zeros(2 * N)
        cost[i], cost[N + i] = -1, 1
        answer = optimize.linprog(  # v = p - q
            cost,
            A_ub=np.ones((1, 2 * N)),
            b_ub=[1.0],
            A_eq=np.hstack([matrix, -matrix]),
            b_eq=np.zeros(M),
            method="highs",
        )
        largest = max(largest, -answer.fun)
    return min(1.0, K * largest)


def _reduced(D: Any, tol: float) -> tuple[Tensor, int]:
    """D in coordinates of its column space, (rank, N), and the rank."""
    matrix = check_dictionary(D, unit=True).detach().cpu().double()
    if not 0 < as_number(tol, "tol") < 1:
        raise ValueError(f"tol is a singular value between 0 and 1, not {tol}")
    U, sigma, _ = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((sigma > tol).sum())
    return U[:, :rank].T @ matrix, rank


def _some_dependent(matrix: Tensor, k: int, tol: float) -> bool:
    _check_count(matrix.shape[1], k)
    return any(
        bool((torch.linalg.svdvals(matrix[:, part].permute(1, 0, 2))[:, -1] <= tol).any())
        for part in subsets(matrix.shape[1], k)
    )


def _check_count(N: int, k: int) -> None:
    if math.comb(N, k) > MAX_SUBSETS:
        raise ValueError(
            f"N = {N} columns have {math.comb(N, k)} sets of {k}, more than {MAX_SUBSETS}; "
            "call coherence_guarantee, nullspace_upper_bound or l1_success_rate with draws instead"
        )
