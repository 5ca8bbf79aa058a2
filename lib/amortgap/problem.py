"""Synthetic sparse problems  x = D s + noise  with known dictionary and codes.

Letters: N latents, M measurements, K active latents, n samples; D (M, N) with unit columns, codes s (n, N),
measurements x (n, M). Randomness comes from CPU generators, so one seed gives the same data on every device.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from amortgap._check import (
    FLOATS,
    as_number,
    check_choice,
    check_count,
    check_device,
    check_dictionary,
    check_sparsity,
    generator,
)


def _stream(seed: int, purpose: str) -> torch.Generator:
    """The generator of one purpose of a seed, independent of all others.

    torch's CPU generator reads only the low 32 bits of a seed, so the purpose is hashed into these.
    """
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def unit_columns(D: Tensor) -> Tensor:
    """D (..., M, N) divided by its column norms. Raises ValueError for a zero column."""
    norms = torch.linalg.vector_norm(D, dim=-2, keepdim=True)
    if (norms == 0).any():
        raise ValueError("a dictionary column is zero and cannot be normalised")
    return D / norms


# --- dictionaries: (M, N, generator) -> D (M, N), float64, unit columns -------------------------------------


def gaussian(M: int, N: int, g: torch.Generator) -> Tensor:
    """iid standard normal entries, columns normalised: columns are uniform on the sphere."""
    return unit_columns(torch.randn(M, N, generator=g, dtype=torch.float64))


def simplex(M: int, N: int, g: torch.Generator) -> Tensor:
    """Equiangular simplex frame, d_i . d_j = -1/M for i != j. Needs N = M + 1 (ValueError otherwise)."""
    if N != M + 1:
        raise ValueError(f"the simplex frame needs N = M + 1 columns, not N = {N} with M = {M}")
    centred = torch.eye(N, dtype=torch.float64) - 1 / N
    basis = torch.linalg.svd(centred).U[:, :M]  # the M directions orthogonal to (1, ..., 1)
    return unit_columns(basis.T @ centred)


def partial_dct(M: int, N: int, g: torch.Generator) -> Tensor:
    """M random rows of the orthonormal N-point DCT-II, columns normalised. Needs M <= N (else ValueError)."""
    if M > N:
        raise ValueError(f"a partial DCT has at most N rows, but M = {M} > N = {N}")
    rows = torch.randperm(N, generator=g)[:M].sort().values.to(torch.float64)[:, None]
    columns = torch.arange(N, dtype=torch.float64)
    waves = torch.cos(torch.pi * rows * (columns + 0.5) / N)
    waves[rows[:, 0] == 0] /= 2**0.5  # the constant row of an orthonormal DCT
    return unit_columns(waves)


DICTIONARIES: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "gaussian": gaussian,
    "simplex": simplex,
    "partial-dct": partial_dct,
}

# --- supports: (n, N, K, generator) -> bool (n, N) ----------------------------------------------------------


def exactly_k(n: int, N: int, K: int, g: torch.Generator) -> Tensor:
    """Uniformly random supports of exactly K latents."""
    return _top_k_of(torch.rand(n, N, generator=g, dtype=torch.float64), K)


def bernoulli(n: int, N: int, K: int, g: torch.Generator) -> Tensor:
    """Every latent active independently with probability K/N: K active on average, sometimes none."""
    return torch.rand(n, N, generator=g, dtype=torch.float64) < K / N


def zipf(n: int, N: int, K: int, g: torch.Generator) -> Tensor:
    """Exactly K latents drawn one after another without replacement with weights 1/rank (Gumbel top-K)."""
    weights = 1 / torch.arange(1, N + 1, dtype=torch.float64)
    uniform = torch.rand(n, N, generator=g, dtype=torch.float64).clamp_min(1e-300)
    return _top_k_of(weights.log() - torch.log(-uniform.log()), K)


def _top_k_of(keys: Tensor, K: int) -> Tensor:
    return torch.zeros_like(keys, dtype=torch.bool).scatter_(1, keys.topk(K, dim=1).indices, True)


SUPPORTS = {"exactly-k": exactly_k, "bernoulli": bernoulli, "zipf": zipf}

# --- amplitudes of active latents: (shape, generator) -> values ---------------------------------------------


def half_normal(n: int, N: int, g: torch.Generator) -> Tensor:
    """|z|, z standard normal: the paper's amplitudes. Mean sqrt(2/pi), E z^2 = 1."""
    return signed_normal(n, N, g).abs()


def signed_normal(n: int, N: int, g: torch.Generator) -> Tensor:
    """Standard normal amplitudes of either sign."""
    return torch.randn(n, N, generator=g, dtype=torch.float64)


def uniform(n: int, N: int, g: torch.Generator) -> Tensor:
    """Uniform on (0, 1)."""
    return torch.rand(n, N, generator=g, dtype=torch.float64)


def log_normal(n: int, N: int, g: torch.Generator) -> Tensor:
    """exp(z), z standard normal: heavy-tailed and bounded away from zero."""
    return signed_normal(n, N, g).exp()


def zipf_half_normal(n: int, N: int, g: torch.Generator) -> Tensor:
    """|z| / rank: latent i is i times weaker than the first. With zipf supports, rare latents are also weak."""
    return half_normal(n, N, g) / torch.arange(1, N + 1, dtype=torch.float64)


def floored_zipf_half_normal(n: int, N: int, g: torch.Generator) -> Tensor:
    """|z| (p_i + .1), p_i = (1/i) / sum_j (1/j): the public code of arXiv 2411.13117 for power-law data.

    At N = 16 the factors fall from .396 to .118, so all codes are weaker than half-normal ones.
    """
    ranks = torch.arange(1, N + 1, dtype=torch.float64)
    return half_normal(n, N, g) * ((1 / ranks) / (1 / ranks).sum() + 0.1)


AMPLITUDES = {
    "half-normal": half_normal,
    "signed-normal": signed_normal,
    "uniform": uniform,
    "log-normal": log_normal,
    "zipf-half-normal": zipf_half_normal,
    "floored-zipf-half-normal": floored_zipf_half_normal,
}


@dataclass(frozen=True, eq=False)
class SparseProblem:
    """n samples  x = D s + sigma e,  s sparse, e standard normal.

    The defaults are the paper's setting (arXiv 2411.13117, section 4): N=16, M=8, K=3, uniform supports of
    exactly K, half-normal amplitudes, Gaussian dictionary with unit columns, no noise.

    dictionary: a name in DICTIONARIES, or a matrix (M, N) which is normalised to unit columns.
    support, amplitude: names in SUPPORTS and AMPLITUDES.  noise: sigma >= 0, in units of x.
    seed: makes the dictionary and the samples; `sample` draws more samples of the same dictionary.

    Raises ValueError for an unknown name, K > N, sizes < 1, negative noise, and for a given matrix that is
    not (M, N), has a zero column, NaN or inf; RuntimeError where CUDA is asked for and there is none.
    """

    N: int = 16
    M: int = 8
    K: int = 3
    n: int = 1024
    dictionary: str | Tensor = "gaussian"
    support: str = "exactly-k"
    amplitude: str = "half-normal"
    noise: float = 0.0
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str | torch.device = "cpu"
    D: Tensor = dataclasses.field(init=False, repr=False)  # (M, N), unit columns
    codes: Tensor = dataclasses.field(init=False, repr=False)  # (n, N)
    x: Tensor = dataclasses.field(init=False, repr=False)  # (n, M)

    def __post_init__(self) -> None:
        for name in ("N", "M", "n"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        object.__setattr__(self, "K", check_sparsity(self.K, self.N))
        generator(self.seed)
        if self.dtype not in FLOATS:
            raise ValueError(f"dtype must be a floating type of torch, not {self.dtype}")
        if not 0 <= as_number(self.noise, "noise") < float("inf"):
            raise ValueError(f"noise must be a finite standard deviation >= 0, not {self.noise}")
        for name, known in ((self.support, SUPPORTS), (self.amplitude, AMPLITUDES)):
            check_choice(name, "law", known)
        device = check_device(self.device)
        # one stream for the dictionary and one for the samples: the dictionary does not depend on n
        D = self._make_dictionary(_stream(self.seed, "dictionary"))
        g = _stream(self.seed, "samples")
        active = SUPPORTS[self.support](self.n, self.N, self.K, g)
        codes = AMPLITUDES[self.amplitude](self.n, self.N, g) * active
        x = codes @ D.T + self.noise * torch.randn(self.n, self.M, generator=g, dtype=torch.float64)
        for name, value in (("D", D), ("codes", codes), ("x", x)):
            object.__setattr__(self, name, value.to(device, self.dtype))

    def _make_dictionary(self, g: torch.Generator) -> Tensor:
        if not isinstance(self.dictionary, str):
            D = check_dictionary(self.dictionary)
            if D.shape != (self.M, self.N):
                raise ValueError(f"the dictionary is {tuple(D.shape)}, not (M, N) = {(self.M, self.N)}")
            return unit_columns(D.detach().to("cpu", torch.float64))
        if self.dictionary not in DICTIONARIES:
            raise ValueError(f"unknown dictionary {self.dictionary!r}; choose one of {sorted(DICTIONARIES)}")
        return DICTIONARIES[self.dictionary](self.M, self.N, g)

    def sample(self, n: int, seed: int) -> SparseProblem:
        """n fresh samples of the same dictionary and laws. Raises ValueError for this problem's own seed."""
        generator(seed)
        if seed == self.seed:
            raise ValueError(f"seed {seed} made this problem's own samples; choose another for fresh ones")
        fresh = dataclasses.replace(self, n=n, seed=seed, dictionary=self.D)
        object.__setattr__(fresh, "D", self.D)  # normalising a rounded D again would move its last bits
        return fresh
