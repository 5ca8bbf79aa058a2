"""Is a support the best of its size, are others as good, and is a LASSO solution the only one?

Two codes of one activation may differ because two problems have different optima, because one problem has many, or
because an algorithm stopped short of its own. For  E(S) = min ||x - D_S s||^2, s >= 0:

    another support of no more latents with a smaller E     S is proved not to be the best of its size
    no exchange of one latent lowers E                      S is a local optimum, as far as `exchange` looks
    every support tried (`every_support`)                   the best, and how many are nearly as good
    the duality gap of the LASSO (`settled`)                its solution is the only one; latents in each optimum
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_signals, check_sparsities, check_sparsity
from amortgap.objectives import dual_point, objective
from amortgap.solvers import Prepared, alpha_max, prepare, refit, screened, solve
from amortgap.solvers.exhaustive import MAX_SUPPORTS

#: Less than this of a unit column is new to the others: it depends on them.
DEPENDENT = 1e-9
#: A squared length that is zero but for rounding.
ROUNDED = 1e-12
#: Halvings of an interval of log alpha.
HALVINGS = 40


class Exchanges(NamedTuple):
    """Supports that differ from a sample's own in one latent, of least squares with positive amplitudes only.

    error (n,): E of the sample's own support.  near (n,): how many others have E <= error + slack ||x||^2.
    best (n,): the smallest E of these, inf where there is none.
    """

    error: Tensor
    best: Tensor
    near: Tensor


def exchange(D: Any, x: Tensor, support: Tensor, slack: float) -> Exchanges:
    """Every exchange of one active latent for one other, for each of x (n, M), support bool (n, N); float64 inside.

    With H the inverse Gram of the k active columns, s the amplitudes, c = D'r, U = H D_S'D:  without latent j the
    amplitudes are  s - H_j s_j / H_jj, and latent i then takes  a = c'_i / v_i,

        c'_i = c_i + U_ji s_j / H_jj,   v_i = 1 - g_i'H g_i + U_ji^2 / H_jj,   E' = E + s_j^2 / H_jj - c'_i^2 / v_i,

    for unit columns. Latents to which least squares with s >= 0 gives no amplitude are not in the support.
    Nor are, of columns that depend on each other, those that the same fit does without (`_basic`).
    Raises ValueError as `refit`, and unless 0 <= slack.
    """
    given = prepare(D)
    signals, slack = check_signals(given.D, x).double(), _check_slack(slack)
    columns = given.D.double()
    columns = columns / torch.linalg.vector_norm(columns, dim=0)
    codes = refit(columns, signals, as_tensor(support, "support"))
    rows = [_exchange(columns, y, s, slack) for y, s in zip(signals, codes, strict=True)]
    return Exchanges(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 3).T)


def _check_slack(slack: Any) -> float:
    """A share of ||x||^2 as a float, or ValueError."""
    slack = as_number(slack, "slack")
    if not 0 <= slack < math.inf:
        raise ValueError(f"slack is a share of ||x||^2, finite and >= 0, not {slack}")
    return slack


def _exchange(D: Tensor, x: Tensor, code: Tensor, slack: float) -> tuple[float, float, float]:
    active, s = _basic(D, code)
    if len(active) == 0:
        return float(x @ x), math.inf, 0.0
    S = D[:, active]
    r = x - S @ s
    error, G = float(r @ r), S.T @ D
    H = torch.linalg.inv(G[:, active])
    U, h = H @ G, H.diagonal()[:, None]
    c = (r @ D)[None] + U * (s[:, None] / h)
    v = (1 - (G * U).sum(0))[None] + U.square() / h
    v[:, active] = 0
    able = (c > 0) & (v > DEPENDENT)
    after = torch.where(able, error + s.square()[:, None] / h - c.square() / v.clamp_min(DEPENDENT), math.inf)
    # only those that matter are looked at for negative amplitudes
    j, i = (after <= error + slack * float(x @ x)).nonzero(as_tuple=True)
    shrink, a = H[j] / h[j], (c / v.clamp_min(DEPENDENT))[j, i][:, None]
    amplitude = s - shrink * s[j][:, None] - a * (U[:, i].T - shrink * U[j, i][:, None])
    amplitude[torch.arange(len(j)), j] = 1
    found = after[j, i][(amplitude > 0).all(1)]
    return error, float(found.min()) if len(found) else math.inf, float(len(found))


def _basic(D: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
    """Active latents with independent columns, and positive amplitudes that make the same D s (Caratheodory).

    Where D_S z = 0, moving along z until an amplitude is zero changes no fit.
    """
    active = (code > 0).nonzero()[:, 0]
    s = code[active]
    while len(active):
        values, vectors = torch.linalg.eigh(D[:, active].T @ D[:, active])
        if float(values[0]) > ROUNDED:
            break
        z = vectors[:, 0] if (vectors[:, 0] > 0).any() else -vectors[:, 0]
        step = torch.where(z > 0, s / z, math.inf)
        first = int(step.argmin())
        s = (s - step[first] * z).clamp_min(0)
        s[first] = 0
        active, s = active[s > 0], s[s > 0]
    return active, s


class Every(NamedTuple):
    """error (n,): the smallest E of K latents.  near (n,): supports with E <= error + slack ||x||^2."""

    error: Tensor
    near: Tensor


def every_support(D: Any, x: Tensor, K: int, slack: float) -> Every:
    """All supports of K of N latents, with positive amplitudes, tried on x (n, M): error inf where none has them.

    Raises ValueError beyond 200 000 of them, and as `exchange`.
    """
    columns, slack = prepare(D).D.double(), _check_slack(slack)
    N, signals = columns.shape[1], check_signals(columns, x).double()
    K = check_sparsity(K, N)
    if math.comb(N, K) > MAX_SUPPORTS:
        raise ValueError(
            f"K = {K} of N = {N} are {math.comb(N, K)} supports; 1 to {MAX_SUPPORTS} can be tried"
        )
    some = columns.T[torch.tensor(list(itertools.combinations(range(N), K)))]
    inverse = torch.linalg.pinv(some.mT)
    rows = []
    for y in signals:
        fits = inverse @ y
        errors = (y - (fits[:, None] @ some)[:, 0]).square().sum(1)
        errors = torch.where((fits > 0).all(1), errors, math.inf)
        within = (errors <= errors.min() + slack * (y @ y)) & errors.isfinite()
        rows.append((float(errors.min()), int(within.sum())))
    return Every(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 2).T)


class Settled(NamedTuple):
    """What the certificate of a nearly optimal LASSO code proves of every optimum.

    only (n,): there is one optimum.  present, absent (n, N): latents that it uses, and that no optimum uses.
    """

    only: Tensor
    present: Tensor
    absent: Tensor


def settled(D: Any, x: Tensor, codes: Tensor, alpha: Tensor) -> Settled:
    """Proofs from codes (n, N), 1/2 ||x - D s||^2 + alpha |s|_1, s >= 0, alpha (n,); float64 inside.

    Every optimum lives on the latents F that `screened` leaves. With sigma the smallest singular value of D_F > 0
    the optimum is unique, and as P grows by  sigma^2/2 ||s - s*||^2  along F, s_i > sqrt(2 (P - Q)) / sigma proves
    s*_i > 0.  P - Q has room for the rounding of its sums. Raises ValueError as `screened`.
    """
    plain = prepare(D)
    given = plain.to(torch.float64)
    matrix, signals, s = given.D, check_signals(plain.D, x).double(), as_tensor(codes, "codes").double()
    alpha = as_tensor(alpha, "alpha")
    if s.shape != (len(x), matrix.shape[1]) or alpha.shape != (len(x),):
        raise ValueError(f"codes {tuple(s.shape)} and alpha {tuple(alpha.shape)} must be (n, N) and (n,)")
    if (s < 0).any():
        raise ValueError("codes must be >= 0, as P of others bounds nothing")
    room = 4 * sum(matrix.shape) * torch.finfo(torch.float64).eps
    only, present, absent = (
        torch.zeros(len(x), dtype=torch.bool),
        torch.zeros_like(s) > 0,
        torch.zeros_like(s) > 0,
    )
    for i, level in enumerate(alpha.tolist()):
        row = slice(i, i + 1)
        absent[i] = screened(given, signals[row], s[row], level)[0]
        F = ~absent[i] | (s[i] > 0)
        if int(F.sum()) > matrix.shape[0]:
            continue
        y, own = dual_point(matrix, signals[row], s[row], level), signals[row]
        gap = objective(matrix, own, s[row], level) - (y * own).sum() + 0.5 * (y * y).sum()
        gap += room * own.square().sum()
        sigma = float(torch.linalg.svdvals(matrix[:, F])[-1]) if F.any() else 1.0
        only[i] = sigma > DEPENDENT
        if only[i]:
            present[i] = s[i] > math.sqrt(2 * max(float(gap), 0.0)) / sigma
    return Settled(only, present, absent)


class AtCount(NamedTuple):
    """codes (n, N) of the LASSO or the elastic net with `alpha` (n,) each, and their relative duality gaps (n,)."""

    codes: Tensor
    alpha: Tensor
    gap: Tensor


def at_count(D: Any, x: Tensor, K: Tensor, *, l2: float = 0.0, tol: float = 1e-4) -> AtCount:
    """For each of x (n, M) the alpha at which its solution has K (n,) active latents, by bisection of log alpha.

    The number of active latents is a step function of alpha and may jump over K: the code is then the one found
    with most latents below K; none, where no column fits the sample. Raises ValueError as `solve`, and for K
    outside 1..min(M, N).
    """
    given: Prepared = prepare(D)
    x = check_signals(given.D, x)
    K = torch.as_tensor(check_sparsities(K, x, given.shape[1], given.shape[0])).expand(len(x))
    largest = alpha_max(given, x).double()
    top = largest.clamp_min(torch.finfo(torch.float64).tiny)
    low, high, alpha, chosen = 1e-6 * top, top, 0.3 * top, top.clone()
    codes, gap = torch.zeros(len(x), given.shape[1], dtype=x.dtype), torch.zeros(len(x)).double()
    most, dense, todo = torch.full_like(K, -1), torch.zeros(len(x), dtype=torch.bool), largest.nonzero()[:, 0]
    for _ in range(HALVINGS if len(todo) else 0):
        found = solve(given, x[todo], alpha[todo], tol=tol, l2=l2)
        count = (found.codes > 0).sum(1)
        better = (count <= K[todo]) & (count > most[todo])
        rows = todo[better]
        codes[rows], gap[rows] = found.codes[better], found.duality_gap[better]
        chosen[rows], most[rows] = alpha[rows], count[better]
        many = count > K[todo]
        dense[todo[many]] = True
        low, high = (
            low.index_copy(0, todo[many], alpha[todo[many]]),
            high.index_copy(0, todo[~many], alpha[todo[~many]]),
        )
        # downwards until there are too many, because dense solutions are slow
        alpha = torch.where(dense, (low * high).sqrt(), alpha / 2)
        todo = todo[(count != K[todo]) & (high / low > 1 + 1e-9)[todo] & (alpha > 1e-6 * top)[todo]]
        if len(todo) == 0:
            break
    return AtCount(codes, chosen, gap)
