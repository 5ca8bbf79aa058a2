"""scikit-learn's dictionary learning, as a control: other code, the same objective."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from amortgap._check import as_tensor, check_alpha
from amortgap.problem import unit_columns


def scikit_learn_dictionary(
    x: Tensor,
    N: int,
    alpha: float,
    *,
    nonnegative: bool,
    rounds: int = 100,
    seed: int = 0,
) -> Tensor:
    """D (M, N) of DictionaryLearning, from x (n, M).

    Same P and alpha as `learn`; nonnegative sets positive_code. Coordinate descent, at most `rounds` passes, all
    other settings scikit-learn's own; whether it converged is for the caller to judge by the objective. Columns
    that scikit-learn left at zero become Gaussian. Raises ValueError for NaN or inf and alpha <= 0.
    """
    from sklearn.decomposition import DictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    x, alpha = as_tensor(x, "x"), check_alpha(alpha)
    how = {"max_iter": rounds, "fit_algorithm": "cd", "random_state": seed}
    learner = DictionaryLearning(N, alpha=alpha, positive_code=nonnegative, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = learner.fit(x.double().cpu().numpy()).components_.T
    D = torch.from_numpy(found.copy())
    spare = torch.randn(D.shape, generator=torch.Generator().manual_seed(seed), dtype=D.dtype)
    return unit_columns(torch.where(torch.linalg.vector_norm(D, dim=0) > 1e-12, D, spare)).to(x)
