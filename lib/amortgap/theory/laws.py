"""Amplitude laws with closed-form characteristic functions.

    cf(t) = E e^(itz),   weighted_cf(t) = E z e^(itz) = -i cf'(t)

half-normal: cf(t) = w(t / sqrt 2), w the Faddeeva function, w'(x) = -2 x w(x) + 2i / sqrt(pi).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy import special
from torch import Tensor

from amortgap.problem import AMPLITUDES


@dataclass(frozen=True)
class AmplitudeLaw:
    """The law of one active latent's value: moments, largest density, characteristic functions (t real)."""

    name: str
    mean: float
    second_moment: float
    peak: float  # largest value of the density
    reach: Callable[
        [int], float
    ]  # k amplitudes: sum |b_j| z_j with |b| = 1 passes it with probability < 1e-6
    cf: Callable[[Tensor], Tensor]
    weighted_cf: Callable[[Tensor], Tensor]
    sample: Callable[[int, int, torch.Generator], Tensor]  # (n, N) values

    @property
    def variance(self) -> float:
        return self.second_moment - self.mean**2


class _Faddeeva(torch.autograd.Function):
    """w(x) at real x, complex128; twice differentiable through its own derivative formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        real = x.detach().cpu().numpy()
        w = torch.complex(
            torch.exp(-x.detach().square()),
            torch.from_numpy(special.dawsn(real) * (2 / math.sqrt(math.pi))).to(x.device),
        )
        ctx.save_for_backward(x, w)
        return w

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, w = ctx.saved_tensors
        slope = -2 * x * w + 2j / math.sqrt(math.pi)
        return (grads[0] * slope.conj()).real


def faddeeva(x: Tensor) -> Tensor:
    """w(x) = e^(-x^2) (1 + i erfi(x)) for real float64 x; complex128, differentiable once."""
    return _Faddeeva.apply(x)


def _half_normal_weighted(t: Tensor) -> Tensor:
    # -i d/dt w(t/sqrt 2) = i t w(t/sqrt 2) + sqrt(2/pi)
    return 1j * t * faddeeva(t / math.sqrt(2)) + math.sqrt(2 / math.pi)


def _uniform_cf(t: Tensor) -> Tensor:
    return torch.exp(0.5j * t) * torch.sinc(t / (2 * math.pi))


def _uniform_weighted(t: Tensor) -> Tensor:
    # ((1 - it) e^(it) - 1) / t^2, by its series where the difference cancels
    small = t.abs() < 1e-2
    safe = torch.where(small, torch.ones_like(t), t)
    series = 1 / 2 + 1j * t / 3 - t**2 / 8 - 1j * t**3 / 30 + t**4 / 144
    return torch.where(small, series, ((1 - 1j * safe) * torch.exp(1j * safe) - 1) / safe**2)


def _gaussian_reach(k: int) -> float:
    return math.sqrt(k) + 6.0  # |z| of k standard normals


LAWS: dict[str, AmplitudeLaw] = {
    law.name: law
    for law in (
        AmplitudeLaw(
            "half-normal",
            math.sqrt(2 / math.pi),
            1.0,
            math.sqrt(2 / math.pi),
            _gaussian_reach,
            lambda t: faddeeva(t / math.sqrt(2)),
            _half_normal_weighted,
            AMPLITUDES["half-normal"],
        ),
        AmplitudeLaw(
            "signed-normal",
            0.0,
            1.0,
            1 / math.sqrt(2 * math.pi),
            _gaussian_reach,
            lambda t: torch.exp(-0.5 * t**2) + 0j,
            lambda t: 1j * t * torch.exp(-0.5 * t**2),
            AMPLITUDES["signed-normal"],
        ),
        AmplitudeLaw(
            "exponential",
            1.0,
            2.0,
            1.0,
            lambda k: k + 12.0 + 4 * math.sqrt(k),
            lambda t: 1 / (1 - 1j * t),
            lambda t: 1 / (1 - 1j * t) ** 2,
            lambda n, N, g: -torch.rand(n, N, generator=g, dtype=torch.float64).clamp_min(1e-300).log(),
        ),
        AmplitudeLaw(
            "uniform",
            0.5,
            1 / 3,
            1.0,
            lambda k: math.sqrt(k),
            _uniform_cf,
            _uniform_weighted,
            AMPLITUDES["uniform"],
        ),
    )
}


def amplitude_law(name: str) -> AmplitudeLaw:
    """The law called `name`, or ValueError (log-normal amplitudes have no closed characteristic function)."""
    if not isinstance(name, str) or name not in LAWS:
        raise ValueError(f"no closed form for {name!r} amplitudes; choose one of {sorted(LAWS)}")
    return LAWS[name]
