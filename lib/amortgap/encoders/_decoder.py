"""The linear decoder x_hat = D s + b that every encoder carries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amortgap._check import check_dictionary
from amortgap.problem import unit_columns


class Decoder(nn.Module):
    """x_hat = D s + b_pre,  D (..., M, N) with unit columns, s (..., n, N) -> x_hat (..., n, M).

    With D given, it is kept fixed (the known dictionary); without, it starts Gaussian and is learned, and
    `normalise_` puts its columns back on the unit sphere after each step. pre_bias: a learned b_pre, which
    encoders subtract from x first (Bricken et al. 2023); zero and absent otherwise.
    """

    def __init__(self, M: int, N: int, D: Tensor | None, pre_bias: bool, g: torch.Generator) -> None:
        super().__init__()
        self.learned = D is None
        if D is None:
            self.D = nn.Parameter(unit_columns(torch.randn(M, N, generator=g)))
        else:
            D = check_dictionary(D)
            if D.shape != (M, N):
                raise ValueError(f"the dictionary is {tuple(D.shape)}, not (M, N) = {(M, N)}")
            self.D = nn.Parameter(D.detach().clone().to(torch.get_default_dtype()), requires_grad=False)
        self.b_pre = nn.Parameter(torch.zeros(M)) if pre_bias else None

    def centre(self, x: Tensor) -> Tensor:
        """x - b_pre, in the type of D: every encoder reads x through here, so float64 and bfloat16 may go in."""
        x = x.to(self.D.dtype)
        return x if self.b_pre is None else x - self.b_pre.unsqueeze(-2)

    def forward(self, s: Tensor) -> Tensor:
        return self.uncentre(s @ self.D.mT)

    def uncentre(self, x: Tensor) -> Tensor:
        """x + b_pre."""
        return x if self.b_pre is None else x + self.b_pre.unsqueeze(-2)

    def transposed(self) -> Tensor:
        """A copy of D', (N, M): where tied encoders start."""
        return self.D.detach().mT.clone().contiguous()

    @torch.no_grad()
    def normalise_(self) -> None:
        """Divide the columns of a learned D by their norms."""
        if self.learned:
            self.D.div_(torch.linalg.vector_norm(self.D, dim=-2, keepdim=True).clamp_min(1e-12))


def linear_weight(inputs: int, outputs: int, g: torch.Generator) -> Tensor:
    """(outputs, inputs), uniform in +-1/sqrt(inputs): the default of torch.nn.Linear, which the paper used."""
    return (2 * torch.rand(outputs, inputs, generator=g) - 1) / inputs**0.5
