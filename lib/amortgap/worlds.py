"""Worlds in the style of SynthSAEBench:  x = D s + b + noise  with many latents in few dimensions.

    world = synthetic_world(N=16_384, M=768, seed=0)
    codes, x = world.sample(1024, seed=1)          # codes (n, N), x (n, M)

Chanin & Garriga-Alonso, SynthSAEBench (arXiv 2602.14687). The numbers below are those of their SynthSAEBench-16k
(docs/synth_sae_bench.md of SAELens); at other sizes the number of trees keeps its ratio to N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_choice, check_count, check_dictionary, generator
from amortgap.problem import _stream, unit_columns

TREE = 128  # latents for each tree; 85 of them are in it, the others fire by themselves
BRANCHES, DEPTH = 4, 3
EXPONENT, MOST, LEAST = 0.5, 0.4, 5e-4  # of the law of frequencies
RANK, CORRELATION = 25, 0.1
STEPS, RATE = 100, 3e-4  # of the orthogonalisation
BIAS = 0.5  # length of b

#: Values of active latents from their mean, spread and standard normal z; all laws have about the same mean.
AMPLITUDES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "normal": lambda mean, std, z: (mean + std * z).relu(),
    "constant": lambda mean, std, z: mean.expand_as(z),
    "half-normal": lambda mean, std, z: mean * math.sqrt(math.pi / 2) * z.abs(),
    "log-normal": lambda mean, std, z: mean * torch.exp(z - 0.5),
}


@dataclass(frozen=True, eq=False)
class World:
    """A dictionary and a law of codes.

    D (M, N): unit columns.  bias (M,).  rates (N,): the law of frequencies, from which a tree takes some away.
    draw(n, seed): codes (n, N) >= 0.
    """

    D: Tensor
    bias: Tensor
    rates: Tensor
    draw: Callable[[int, int], Tensor]

    def sample(self, n: int, seed: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """codes (n, N) and x = D s + b + noise e, (n, M), e standard normal. ValueError unless noise >= 0."""
        noise = as_number(noise, "noise")
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise is a standard deviation, finite and >= 0, not {noise}")
        generator(seed)
        codes = self.draw(check_count(n, "n"), seed)
        x = torch.sparse.mm(codes.to_sparse(), self.D.T) + self.bias
        if noise:
            x += noise * torch.randn(x.shape, generator=_stream(seed, "noise"))
        return codes, x


def zipf_rates(N: int) -> Tensor:
    """p_r = p_min + (p_max - p_min) (r^-1/2 - N^-1/2) / (1 - N^-1/2), r = 1..N, (N,) float64, N >= 2."""
    N = check_count(N, "N", least=2)
    law = torch.arange(1, N + 1, dtype=torch.float64) ** -EXPONENT
    return LEAST + (MOST - LEAST) * (law - law[-1]) / (law[0] - law[-1])


def levels(N: int) -> list[tuple[int, int]]:
    """First and last latent (excluded) of each level of the trees, N // 128 roots first, then their children."""
    N, ends = check_count(N, "N"), [0]
    for depth in range(DEPTH + 1):
        ends.append(ends[-1] + (N // TREE) * BRANCHES**depth)
    return list(pairwise(ends))


def compensated(rates: Tensor) -> Tensor:
    """Frequencies to draw with, so that a child's is about rates where parents gate and siblings exclude it, (N,).

    p_i / p_parent (1 + sum of the siblings' p / p_parent), at most 1. It falls short where several siblings would
    be active at once, as in theirs. Raises ValueError unless rates (N,) lie above 0 and at most at 1.
    """
    rates = as_tensor(rates, "rates")
    if rates.ndim != 1 or not ((rates > 0) & (rates <= 1)).all():
        raise ValueError("rates must be (N,), each above 0 and at most 1")
    found, tree = rates.clone(), levels(len(rates))
    for (above, _), (first, last) in pairwise(tree):
        child = rates[first:last].view(-1, BRANCHES)
        parent = rates[above : above + len(child), None]
        others = child.sum(1, keepdim=True) - child
        found[first:last] = (child / parent * (1 + others / parent)).flatten()
    return found.clamp_max(1)


def orthogonalised(D: Tensor, steps: int = STEPS, lr: float = RATE) -> Tensor:
    """Columns of D (M, N) moved apart by Adam, then scaled to unit length.

        L = sum_{i != j} (d_i.d_j)^2 + N sum_i (|d_i|^2 - 1)^2 = |D D'|^2 - sum_i |d_i|^4 + N sum_i (|d_i|^2 - 1)^2

    Its gradient, 4 (D D') D - 4 |d_i|^2 d_i + 4 N (|d_i|^2 - 1) d_i, needs no N x N matrix. Raises ValueError for
    steps < 0, and unless lr > 0.
    """
    steps, lr = check_count(steps, "steps", least=0), as_number(lr, "lr")
    if not 0 < lr < math.inf:
        raise ValueError(f"lr is a step, finite and > 0, not {lr}")
    rows = unit_columns(check_dictionary(D)).T.contiguous()
    adam = torch.optim.Adam([rows], lr=lr)
    for _ in range(steps):
        square = rows.square().sum(1, keepdim=True)
        rows.grad = 4 * (rows @ (rows.T @ rows) - square * rows + len(rows) * (square - 1) * rows)
        adam.step()
    return unit_columns(rows.T)


def coherence(D: Tensor, block: int = 1024) -> Tensor:
    """max_{j != i} |d_i.d_j| of each of the unit columns of D (M, N), (N,). Raises ValueError for others."""
    D, block, found = check_dictionary(D, unit=True), check_count(block, "block"), []
    for first in range(0, D.shape[1], block):
        match = (D[:, first : first + block].T @ D).abs()
        own = torch.arange(len(match))
        match[own, first + own] = 0
        found.append(match.amax(1))
    return torch.cat(found)


@torch.no_grad()
def synthetic_world(
    N: int = 16_384, M: int = 768, seed: int = 0, *, amplitude: str = "normal", steps: int = STEPS
) -> World:
    """A world of the published kind: float32, on the CPU, the same bits for the same seed.

    A latent wants to fire where a normal variable, correlated with the others' through 25 common factors, passes
    its threshold. Then from the roots on: a child of a silent parent is silent, that of an active one is scaled by
    the parent's value over its mean, and of several active siblings one, drawn at random, stays. Active values are
    relu(normal) with means from 5 (frequent) to 4 (rare) and standard deviations |normal(.5, .5)|, or another law
    in AMPLITUDES.  steps: of the orthogonalisation, 0 for random columns.

    Raises ValueError for N < 128, M < 1, an unknown amplitude law, and steps < 0.
    """
    N, M, steps = check_count(N, "N", least=TREE), check_count(M, "M"), check_count(steps, "steps", least=0)
    check_choice(amplitude, "amplitude law", AMPLITUDES)
    generator(seed)
    g = _stream(seed, "world")
    D = unit_columns(torch.randn(M, N, generator=g))
    D = orthogonalised(D, steps) if steps else D
    bias = torch.randn(M, generator=g)
    factor = CORRELATION * torch.randn(N, RANK, generator=g)
    length = factor.square().sum(1, keepdim=True)
    factor *= (0.99 / length).sqrt().clamp_max(1)
    std = (0.5 + 0.5 * torch.randn(N, generator=g)).abs()
    mean, rates = torch.linspace(5, 4, N), zipf_rates(N)
    threshold = (math.sqrt(2) * torch.erfinv(1 - 2 * compensated(rates))).float()
    own = (1 - factor.square().sum(1)).sqrt()

    def draw(n: int, seed: int) -> Tensor:
        g = _stream(seed, "codes")
        wish = torch.randn(n, RANK, generator=g) @ factor.T + own * torch.randn(n, N, generator=g)
        active = wish > threshold
        values = AMPLITUDES[amplitude](mean, std, torch.randn(n, N, generator=g)) * active
        return through_trees(values, mean, g)

    return World(D, BIAS * bias / bias.norm(), rates.float(), draw)


def through_trees(values: Tensor, mean: Tensor, g: torch.Generator) -> Tensor:
    """values (n, N), changed in place: children gated and scaled by their parents, one of the siblings kept."""
    tree = levels(values.shape[1])
    for (above, below), (first, last) in pairwise(tree):
        parent = values[:, above:below] / mean[above:below]
        child = values[:, first:last].view(len(values), -1, BRANCHES) * parent[:, :, None]
        lot = torch.rand(child.shape, generator=g).masked_fill_(child <= 0, -1)
        kept = torch.zeros_like(child).scatter_(2, lot.argmax(2, keepdim=True), 1)
        values[:, first:last] = (child * kept).flatten(1)
    return values
