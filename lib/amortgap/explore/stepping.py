"""A solver step by step: its iterates on one signal, with objective and duality gap at each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_choice, check_count
from amortgap.objectives import duality_gap, objective
from amortgap.solvers import PURSUITS, pursue, solve

#: Methods whose number of steps can be limited, and the option that does so; a pursuit takes one latent a step.
STEPPED = {
    "ista": "max_steps",
    "fista": "max_steps",
    "lca": "max_steps",
    "omp": "K",
    "matching_pursuit": "K",
}


def stepped(
    D: Tensor, x: Tensor, alpha: float, method: str, steps: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows (step, objective, excess, gap, active) and rows (step, latent, value), for steps 0, 1, ... `steps`.

    D (M, N) unit columns, x (M,) one signal, method in STEPPED. Every iterate is made anew from zero by the method
    itself, stopped after so many steps, so that what is shown is what `solve` and `pursue` do. excess = P(s) - P*;
    gap: relative duality gap (P - Q) / P of the code with its own dual point. Pursuits, which do not look at
    alpha, are judged by the same objective. They end after min(M, N) steps.
    Raises ValueError as `solve`, for another method, and for steps < 1.
    """
    option = STEPPED[check_choice(method, "method", STEPPED)]
    given = torch.atleast_2d(x).double()
    matrix = D.double()
    least = float(solve(matrix, given, alpha, tol=1e-10).objective)
    most = check_count(steps, "steps")
    most = min(most, *D.shape) if method in PURSUITS else most
    told, values = [], []
    for step in range(most + 1):
        codes = _after(matrix, given, alpha, method, option, step)
        primal = float(objective(matrix, given, codes, alpha))
        told.append(
            {
                "step": step,
                "objective": primal,
                "excess": max(primal - least, 0.0),
                "gap": float(duality_gap(matrix, given, codes, alpha)),
                "active": int((codes > 1e-3).sum()),
            }
        )
        values += [{"step": step, "latent": i, "value": v} for i, v in enumerate(codes[0].tolist())]
    return told, values


def _after(D: Tensor, x: Tensor, alpha: float, method: str, option: str, step: int) -> Tensor:
    if method in PURSUITS:
        if step == 0:
            return torch.zeros(1, D.shape[1], dtype=D.dtype)
        return pursue(D, x, step, method=method).codes
    limit: dict[str, Any] = {option: step}
    return solve(D, x, alpha, method=method, tol=1e-12, **limit).codes
