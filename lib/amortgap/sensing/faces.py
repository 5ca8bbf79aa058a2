"""Which supports L1 recovers: faces of a polytope that survive the projection by D.

Nonnegative L1 (min 1's, D s = x, s >= 0) finds every code with support S iff some y has

    d_j.y = 1 on S,   d_j.y < 1 off S,   and the columns on S are independent;

signed L1 finds every code with signs sigma on S iff d_j.y = sigma_j on S and |d_j.y| < 1 off S (Fuchs, IEEE
Trans. Inf. Theory 50 (2004); Donoho & Tanner, PNAS 102 (2005)). Success depends on the support (and signs) only,
not on the amplitudes. A linear programme for each face decides it, for small D also its
circuits (see nullspace).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from amortgap._check import check_choice, check_count, check_dictionary, check_sparsity, generator
from amortgap._subsets import subsets
from amortgap.sensing.nullspace import circuits

MAX_PROGRAMMES = 50_000
MAX_CIRCUITS = 50_000
MARGIN = 1e-7  # d_j.y below 1 - MARGIN counts as below 1: HiGHS's own tolerance


def l1_recovers(D: Any, support: Any, signs: Any = None) -> bool:
    """Does L1 find every code with this support?  signs None: nonnegative L1; otherwise +-1 for each of support.

    One linear programme, min t with d_j.y = 1 on S, d_j.y <= t off S. Raises ValueError for a bad dictionary,
    indices outside 0..N-1 or repeated, signs that do not fit.
    """
    matrix = check_dictionary(D, unit=True).detach().cpu().double().numpy()
    N = matrix.shape[1]
    try:
        S = np.asarray(support).ravel()
    except ValueError as error:
        raise ValueError(f"support must be a sequence of indices, not {support}") from error
    if S.dtype.kind not in "iu":
        raise ValueError(f"support must be a sequence of indices, not {support}")
    if len(S) == 0 or len(set(S.tolist())) < len(S) or S.min() < 0 or S.max() >= N:
        raise ValueError(f"support must hold different indices between 0 and N - 1 = {N - 1}, not {support}")
    if signs is None:
        return _face_survives(matrix, S, np.ones(len(S)), nonnegative=True)
    sigma = np.asarray(signs).ravel()
    if sigma.dtype.kind not in "iuf":
        raise ValueError(f"signs must be +1 or -1, not {signs}")
    sigma = sigma.astype(np.float64)
    if sigma.shape != S.shape or not (np.abs(sigma) == 1).all():
        raise ValueError(f"signs must be +1 or -1 for each of the {len(S)} indices, not {signs}")
    return _face_survives(matrix, S, sigma, nonnegative=False)


def l1_success_rate(
    D: Any, K: int, nonnegative: bool = True, draws: int | None = None, method: str = "auto", seed: int = 0
) -> tuple[float, float]:
    """Share of supports of size K (with signs, in the signed case) that L1 recovers, and its standard error.

    draws None: all faces, standard error 0, by "circuits" or by "lp" ("auto": circuits where D has at most
    50 000 subsets of rank + 1 columns). draws: that many random faces by linear programmes. Raises ValueError
    for a bad dictionary, K > N, draws < 1, an unknown method, and more than 50 000 linear programmes.
    """
    matrix = check_dictionary(D, unit=True).detach().cpu().double()
    M, N = matrix.shape
    K = check_sparsity(K, N)
    check_choice(method, "method", ("auto", "circuits", "lp"))
    if draws is not None:
        return _sampled_rate(matrix.numpy(), K, nonnegative, draws, seed)
    count = math.comb(N, K) * (1 if nonnegative else 2 ** (K - 1))  # s and -s succeed together
    if method == "auto":
        method = "circuits" if N <= 62 and math.comb(N, min(M + 1, N)) <= MAX_CIRCUITS else "lp"
    if method == "circuits":
        vectors = circuits(matrix)
        lost = _lost_supports(vectors, K) if nonnegative else _lost_signed(vectors, K)
        return (count - lost) / count, 0.0
    if count > MAX_PROGRAMMES:
        raise ValueError(
            f"{count} faces need {count} linear programmes, more than {MAX_PROGRAMMES}; give draws"
        )
    found = [
        _face_survives(matrix.numpy(), S, np.array([1, *sigma], dtype=np.float64), nonnegative)
        for block in subsets(N, K)
        for S in block.numpy()
        for sigma in ([(1,) * (K - 1)] if nonnegative else itertools.product((1, -1), repeat=K - 1))
    ]
    return float(np.mean(found)), 0.0


def neighbourliness(D: Any) -> int:
    """The largest K such that nonnegative L1 recovers every support of size K; N for a trivial kernel.

    By circuits: a support is lost iff it contains the negative entries of a circuit v (or -v) with 1'v <= 0.
    Errors as in `spark`.
    """
    lost = _lost_sets(circuits(D))
    return int(lost.sum(1).min()) - 1 if len(lost) else check_dictionary(D).shape[1]


def _face_survives(D: np.ndarray, S: np.ndarray, sigma: np.ndarray, nonnegative: bool) -> bool:
    M = len(D)
    if len(S) > M or np.linalg.matrix_rank(D[:, S]) < len(S):
        return False
    off = np.delete(D, S, axis=1).T
    rows = off if nonnegative else np.vstack([off, -off])
    if len(rows) == 0:
        return True
    answer = optimize.linprog(
        np.r_[np.zeros(M), 1.0],
        A_ub=np.hstack([rows, -np.ones((len(rows), 1))]),
        b_ub=np.zeros(len(rows)),
        A_eq=np.hstack([D[:, S].T, np.zeros((len(S), 1))]),
        b_eq=sigma,
        bounds=[(None, None)] * M + [(-1.0, None)],  # t far below 1 is as good as t = -1
        method="highs",
    )
    return answer.status == 0 and answer.fun < 1 - MARGIN


def _sampled_rate(D: np.ndarray, K: int, nonnegative: bool, draws: int, seed: int) -> tuple[float, float]:
    draws = check_count(draws, "draws")
    rng = np.random.default_rng(generator(seed).initial_seed())
    found = [
        _face_survives(
            D,
            rng.choice(D.shape[1], K, replace=False),
            np.ones(K) if nonnegative else rng.choice([-1.0, 1.0], K),
            nonnegative,
        )
        for _ in range(draws)
    ]
    rate = float(np.mean(found))
    return rate, math.sqrt(rate * (1 - rate) / draws)


def _lost_sets(vectors: Tensor) -> Tensor:
    """bool (sets, N): nonnegative L1 loses exactly the supports that contain one of these sets."""
    both = torch.cat([vectors, -vectors])
    bad = both[both.sum(1) <= 1e-10]
    return torch.unique(bad < 0, dim=0)


def _lost_supports(vectors: Tensor, K: int) -> int:
    """How many supports of size K nonnegative L1 loses."""
    N = vectors.shape[1]
    bits = 2 ** torch.arange(N)
    sets = _lost_sets(vectors)
    masks = (sets[sets.sum(1) <= K] * bits).sum(1)
    lost = 0
    for part in subsets(N, K, block=max(1, 2**24 // max(1, len(masks)))):
        off = ~bits[part].sum(1)
        lost += int(((masks & off[:, None]) == 0).any(1).sum())
    return lost


def _lost_signed(vectors: Tensor, K: int) -> int:
    """How many faces of size K signed L1 loses: |sigma.v_S| >= ||v||_1 - ||v_S||_1 for some circuit v."""
    N = vectors.shape[1]
    signs = torch.tensor(list(itertools.product((1.0, -1.0), repeat=K - 1)), dtype=torch.float64)
    signs = torch.cat([torch.ones(len(signs), 1, dtype=torch.float64), signs.reshape(len(signs), K - 1)], 1)
    lost = 0
    for part in subsets(N, K, block=max(1, 2**22 // max(1, len(vectors) * len(signs)))):
        on = vectors.T[part]  # (supports, K, circuits)
        outside = 1 - on.abs().sum(1)
        lost += int(((signs @ on).abs() >= outside[:, None] - 1e-10).any(2).sum())
    return lost
