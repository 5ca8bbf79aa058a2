"""Two measurements: the plane of signals, cut into cells in which the same latents are active."""

from __future__ import annotations

from typing import Any

import torch

from amortgap.explore.signal import prepared
from amortgap.solvers import solve

#: Half the side of the square of signals, and points along it.
REACH, POINTS = 1.5, 61
#: Smallest value that counts as active.
ACTIVE = 1e-3


def plane(N: int, alpha: float, seed: int, encoder: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows (code, x, y, cell, active) over a grid of signals, and the columns of D, rows (latent, x, y).

    cell: the active latents, as "0+3"; active: how many they are. The solver's codes are those of the nonnegative
    LASSO. The encoder, one of `ENCODERS`, is made for signals of two active latents with D (2, N).
    """
    problem, readers, _ = prepared(N, 2, min(2, N), 0.0, seed, "half-normal")
    line = torch.linspace(-REACH, REACH, POINTS)
    points = torch.cartesian_prod(line, line)
    codes = {"read off": readers[encoder](points), "solved": solve(problem.D, points, alpha, tol=1e-4).codes}
    places = points.tolist()
    rows = []
    for name, s in codes.items():
        for (x, y), on in zip(places, (s > ACTIVE).tolist(), strict=True):
            latents = [str(i) for i, one in enumerate(on) if one]
            rows.append({"code": name, "x": x, "y": y, "cell": "+".join(latents), "active": len(latents)})
    columns = [{"latent": i, "x": x, "y": y} for i, (x, y) in enumerate(problem.D.T.tolist())]
    return rows, columns
