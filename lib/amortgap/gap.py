"""What better inference buys on one decoder: an encoder's codes beside solved ones, at equal sparsity.

    encoder              the codes as read off
    own support          least squares (s >= 0) on the encoder's support: what its amplitudes cost
    L1                   the nonnegative LASSO solved to a certified gap, alpha set to the encoder's mean L0
    L1 support           least squares on the L1 support: what shrinkage cost L1
    OMP                  greedy pursuit with as many atoms as the encoder's mean L0

encoder -> own support is the amplitude part of the gap, own support -> L1 support or OMP the support part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap._check import check_problem
from amortgap.solvers import pursue, refit, solve


def on_same_decoder(
    D: Tensor, x: Tensor, codes: Tensor, alpha: float, *, tol: float = 1e-4
) -> dict[str, Tensor]:
    """The five rows of this module's table: name -> codes (n, N).

    D (M, N) unit columns, x (n, M) with the decoder's bias taken off, codes (n, N) >= 0 from the encoder,
    alpha from `solvers.alpha_for` on other samples than x. Raises ValueError as `solve`; for codes of the wrong
    shape or with negative entries.
    """
    D, x = check_problem(D, x)
    if codes.shape != (len(x), D.shape[1]) or (codes < 0).any():
        raise ValueError(f"codes must be nonnegative with shape {(len(x), D.shape[1])}")
    l1 = solve(D, x, alpha, tol=tol).codes
    k = max(1, round(float((codes > 0).sum(1).double().mean())))
    return {
        "encoder": codes,
        "own support": refit(D, x, codes > 0),
        "L1": l1,
        "L1 support": refit(D, x, l1 > 0),
        "OMP": pursue(D, x, k).codes,
    }


def excess_objective(D: Tensor, x: Tensor, codes: Tensor, alpha: float, *, tol: float = 1e-4) -> Tensor:
    """How far each sample's code is above the optimum of its own objective: P(codes) / P* - 1, (n,).

    The best rescaling of each code is taken first (s -> c s, c >= 0), so that an encoder trained for another
    alpha is not blamed for its scale.
    """
    best = solve(D, x, alpha, tol=tol).objective
    x_hat = (codes @ D.T).double()
    gain = (x_hat * x).sum(1) - alpha * codes.sum(1)
    power = x_hat.square().sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    value = 0.5 * x.double().square().sum(1) - 0.5 * gain.clamp_min(0).square() / power
    return value / best - 1
