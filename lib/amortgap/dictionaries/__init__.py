"""Dictionary learning: find D and the codes together.

    min over D (unit columns), s (>= 0) of  mean over samples of  P(s) = 1/2 ||x - D s||^2 + alpha ||s||_1

LEARNERS go from one start to a local minimum, with a converged solver inside; `learn` starts them several times.
log_adam_dictionary is the paper's gradient descent, log_adam_top_k its variant with k codes. To add a learner,
write its file and one line here; the contract tests loop over LEARNERS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from amortgap._check import (
    as_number,
    as_tensor,
    check_alpha,
    check_choice,
    check_count,
    check_dictionary,
    generator,
)
from amortgap.dictionaries._learned import Learned, from_data, gaussian
from amortgap.dictionaries.block_descent import block_descent
from amortgap.dictionaries.ksvd import ksvd
from amortgap.dictionaries.log_adam import log_adam_dictionary
from amortgap.dictionaries.log_adam_top_k import log_adam_top_k
from amortgap.dictionaries.mod import mod
from amortgap.dictionaries.online import online
from amortgap.solvers import SOLVERS, solve

__all__ = ["LEARNERS", "STARTS", "Learned", "learn", "log_adam_dictionary", "log_adam_top_k"]

LEARNERS: dict[str, Callable[..., Learned]] = {
    "mod": mod,
    "ksvd": ksvd,
    "block_descent": block_descent,
    "online": online,
}
STARTS = {"data": from_data, "gaussian": gaussian}
ROUNDING = (
    2e-6  # share of the objective below which a fall cannot be seen, twice the gap to which codes are solved
)


@torch.no_grad()
def learn(
    x: Any,
    N: int,
    alpha: float | Sequence[float],
    method: str = "block_descent",
    *,
    restarts: int = 1,
    validation: Any = None,
    init: str | Any = "data",
    rounds: int = 500,
    tol: float = 1e-3,
    nonnegative: bool = True,
    solver: str = "auto",
    seed: int = 0,
) -> Learned:
    """The dictionary (M, N) of the start with the lowest mean objective on `validation`.

    x (n, M) training samples, whose kind (numpy or torch) D has; validation (m, M), or None for x itself; method in
    LEARNERS.  alpha: a number, or several to go through in their order, each from the dictionary of the one before
    (continuation, from large to small); the last one counts.
    init: where the columns begin, a name in STARTS (start number i uses seed + i), or a dictionary (M, N) of unit
    columns, which makes one start.  Each alpha ends after `rounds`, or when ten rounds lowered the objective by
    less than the share tol.
    solver: what solves for the codes inside, "auto" or a name in SOLVERS; with one that stops short of the gap (as
    log_adam may) the objective is that of its codes.
    converged: the objective had stopped falling, and one more round of any of LEARNERS gains less than the share
    tol.
    flops of the result: of all starts, without that last check.

    Raises ValueError for NaN or inf, shapes that do not fit, N < 1, alpha <= 0, rounds or restarts < 1, tol outside
    [0, 1), an unknown method, init or solver, several restarts from one dictionary, and for data without a non-zero
    sample.
    """
    arrays = isinstance(x, np.ndarray)
    x = as_tensor(x, "x").detach()
    validation = x if validation is None else as_tensor(validation, "validation").detach().to(x)
    if x.ndim != 2 or 0 in x.shape or not (x != 0).any():
        raise ValueError(f"x must have shape (n, M) and a non-zero sample; its shape is {tuple(x.shape)}")
    if validation.ndim != 2 or len(validation) == 0 or validation.shape[1] != x.shape[1]:
        raise ValueError(f"validation must have shape (m, {x.shape[1]}), not {tuple(validation.shape)}")
    N, rounds, restarts = (
        check_count(*one) for one in ((N, "N"), (rounds, "rounds"), (restarts, "restarts"))
    )
    generator(seed)
    if not 0 <= as_number(tol, "tol") < 1:
        raise ValueError(f"tol must be a number in [0, 1), not {tol}")
    check_choice(method, "method", LEARNERS)
    check_choice(solver, "solver", ("auto", *SOLVERS))
    if isinstance(init, str):
        check_choice(init, "init", STARTS)
    else:
        init = check_dictionary(init, unit=True).detach().to(x)
        if init.shape != (x.shape[1], N) or restarts > 1:
            raise ValueError(
                f"a dictionary to start from must be ({x.shape[1]}, {N}), and makes one start only"
            )
    several = (isinstance(alpha, Sequence) and not isinstance(alpha, str)) or getattr(alpha, "ndim", 0) == 1
    alphas = [check_alpha(a) for a in (alpha if several else [alpha])]  # type: ignore[union-attr]
    if not alphas:
        raise ValueError("alpha must be a number or a non-empty sequence of numbers")
    found, scores, flops = [], [], 0
    for number in range(seed, seed + restarts):
        g = torch.Generator().manual_seed(number)
        D = STARTS[init](x, N, g) if isinstance(init, str) else init
        more = {"seed": number} if method == "online" else {}
        for a in alphas:
            one = LEARNERS[method](
                x, D, a, rounds=rounds, tol=tol, nonnegative=nonnegative, solver=solver, **more
            )
            D, flops = one.D, flops + one.flops
        found.append(dataclasses.replace(one, seed=number))
        scores.append(float(solve(D, validation, alphas[-1], nonnegative=nonnegative).objective.mean()))
    best = found[scores.index(min(scores))]
    settled = best.converged and _is_settled(
        x, best.D, alphas[-1], tol, nonnegative=nonnegative, solver=solver
    )
    given: Any = best.D.numpy() if arrays else best.D
    return dataclasses.replace(best, D=given, converged=settled, flops=flops)


def _is_settled(x: torch.Tensor, D: torch.Tensor, alpha: float, tol: float, **options: Any) -> bool:
    """Whether one more round of each learner lowers the objective by at most the share tol."""
    for method in LEARNERS.values():
        before, after = method(x, D, alpha, rounds=2, tol=0, **options).objective
        if after < (1 - tol - ROUNDING) * before:
            return False
    return True
