"""Lemma L5: a sum of n amplitudes cannot tell its parts.

    z_1..z_n iid with density p:   inf over T of E (T(alpha.z) - z_1)^2  >=  c_n (1 - alpha_1^2 / |alpha|^2)
    c_n = 1 / (I0 I1^(n-1) + (n-1) Ix^2 I1^(n-2)),   I0 = int h'^2/p,  I1 = int h^2/p,  Ix = int h h'/p

for every absolutely continuous probability density h that vanishes where p stops. With H(z) = prod h(z_k) and
v orthogonal to alpha, E (T - z_1) (d_v H / prod p) = v_1, because T is constant along v; Cauchy-Schwarz and
the largest eigenvalue of E (grad H)(grad H)' / (prod p)^2 give c_n. A van Trees inequality on the fibres of
alpha.z (Gill & Levit, Bernoulli 1 (1995)). c_n is the best over a family of h that has closed-form integrals:

    half-normal   p = sqrt(2/pi) e^(-z^2/2)    h ~ z^b e^(-c z^2/2)
    exponential   p = e^-z                     h ~ z^b e^(-c z)
    uniform       p = 1 on (0, 1)              h ~ z^b (1-z)^b
    signed-normal p = normal                   h = p, c_n = 1: there the bound is an equality
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, special

from amortgap._check import as_number, check_count
from amortgap.theory.laws import amplitude_law


def _half_normal(b: float, c: float) -> tuple[float, float, float]:
    def power(k: float, rate: float) -> float:  # int z^k e^(-rate z^2/2) over z > 0
        return 0.5 * (2 / rate) ** ((k + 1) / 2) * special.gamma((k + 1) / 2)

    mu = 2 * c - 1
    scale = math.sqrt(math.pi / 2) / power(b, c) ** 2
    I0 = b * b * power(2 * b - 2, mu) - 2 * b * c * power(2 * b, mu) + c * c * power(2 * b + 2, mu)
    Ix = b * power(2 * b - 1, mu) - c * power(2 * b + 1, mu)
    return scale * I0, scale * power(2 * b, mu), scale * Ix


def _exponential(b: float, c: float) -> tuple[float, float, float]:
    def power(k: float, rate: float) -> float:  # int z^k e^(-rate z) over z > 0
        return special.gamma(k + 1) / rate ** (k + 1)

    mu, scale = 2 * c - 1, 1 / power(b, c) ** 2
    I0 = b * b * power(2 * b - 2, mu) - 2 * b * c * power(2 * b - 1, mu) + c * c * power(2 * b, mu)
    Ix = b * power(2 * b - 1, mu) - c * power(2 * b, mu)
    return scale * I0, scale * power(2 * b, mu), scale * Ix


def _uniform(b: float, c: float) -> tuple[float, float, float]:
    scale = 1 / special.beta(b + 1, b + 1) ** 2
    # h' = b h (1-2z) / (z (1-z)), and (1-2z)^2 = 1 - 4 z (1-z)
    I0 = b * b * (special.beta(2 * b - 1, 2 * b - 1) - 4 * special.beta(2 * b, 2 * b))
    return scale * I0, scale * special.beta(2 * b + 1, 2 * b + 1), 0.0


FAMILIES: dict[str, Callable[[float, float], tuple[float, float, float]]] = {
    "half-normal": _half_normal,
    "exponential": _exponential,
    "uniform": _uniform,
}


def fibre_constant(n: int, amplitude: str = "half-normal", shape: tuple[float, float] | None = None) -> float:
    """c_n of lemma L5, 0 < c_n <= Var z.  shape: the family's (b, c); None takes the best.

    Half-normal: (1, 1), the Rayleigh density, gives (2/pi)^(n-1) / (pi + n - 1). Raises ValueError for n < 2,
    an amplitude without a family, and a shape outside b > 1/2, c > 1/2.
    """
    # a single amplitude has no fibre
    n = check_count(n, "n", least=2)
    if amplitude == "signed-normal":
        return 1.0
    if not isinstance(amplitude, str) or amplitude not in FAMILIES:
        raise ValueError(f"no fibre constant for {amplitude!r}; choose one of {[*FAMILIES, 'signed-normal']}")
    if shape is None:
        shape = _best_shape(int(n), amplitude)
    if not isinstance(shape, list | tuple) or len(shape) != 2:
        raise ValueError(f"shape must be two numbers (b, c), not {shape!r}")
    if not 0.5 < min(as_number(b, "shape") for b in shape) <= max(shape) < math.inf:
        raise ValueError(f"shape must have b > 1/2 and c > 1/2 for finite integrals, not {shape}")
    return _constant(int(n), amplitude, *shape)


def _constant(n: int, amplitude: str, b: float, c: float) -> float:
    I0, I1, Ix = FAMILIES[amplitude](b, c)
    return float(1 / (I0 * I1 ** (n - 1) + (n - 1) * Ix**2 * I1 ** (n - 2)))


@functools.cache
def _best_shape(n: int, amplitude: str) -> tuple[float, float]:
    # b = c = 1/2 is where integrals diverge; any shape gives a valid bound, so a local optimum is enough
    best = optimize.minimize(
        lambda u: -_constant(n, amplitude, *(0.5 + np.exp(u))),
        np.log([0.5, 0.5]),
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-12},
    )
    b, c = 0.5 + np.exp(best.x)
    return float(b), float(c)


def gated_fibre_constant(gate_values: int = 2, amplitude: str = "half-normal") -> float:
    """L5 for n = 2 when a gate with m values looks at everything: 1 / (16 pi^2 m^2 B^4 v), B = max p, v = Var z.

    On a fibre the output takes at most m values, and m points quantise a law of density <= b no better than
    1/(12 m^2 b^2). Given u = alpha.z with density f, b <= B^2 / (|alpha_2| f(u)); and int f^3 is at least
    3 / (4 pi^2 v |alpha|^2), the value of the semicircle law of the same variance.
    Half-normal: 1 / (64 (1 - 2/pi) m^2). Raises ValueError for m < 1 or an unbounded or unknown density.
    """
    gate_values = check_count(gate_values, "gate_values")
    law = amplitude_law(amplitude)
    return 1 / (16 * math.pi**2 * gate_values**2 * law.peak**4 * law.variance)
