"""Where the pursuit of each sample ends: its number of atoms, or the length of its residual."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import each

NO_ATOM = "no atom improves the fit"


class Limits(NamedTuple):
    """K (n,): at most so many atoms.  residual (n,): done where ||x - D s|| is no more, in x's dtype."""

    K: Tensor
    residual: Tensor

    @property
    def most(self) -> int:
        """The largest K, 1 where there are no samples."""
        return int(self.K.max()) if len(self.K) else 1

    def near(self, residual: Tensor) -> Tensor:
        """Which of the residuals (n, M) are short enough; none where no length was given."""
        return (torch.linalg.vector_norm(residual, dim=1) <= self.residual) & (self.residual > 0)


def limits(x: Tensor, K: int | Tensor, residual: float | Tensor | None) -> Limits:
    """K and residual for each of the samples x (n, M), given one number for all or one for each."""
    atoms = torch.as_tensor(K, dtype=torch.long, device=x.device).expand(len(x))
    length = torch.as_tensor(0.0 if residual is None else residual, dtype=x.dtype, device=x.device)
    return Limits(atoms, length.expand(len(x)))


def stop_words(steps: Tensor, end: Limits, near: Tensor) -> np.ndarray:
    """Why each pursuit ended after so many steps, (n,).  near: whose residual is short enough."""
    words = each("K atoms", len(steps))
    words[(steps < end.K).numpy(force=True)] = NO_ATOM
    words[near.numpy(force=True)] = "residual reached"
    return words
