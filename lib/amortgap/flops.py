"""Counting rules for floating-point operations, all in one convention.

A product of (a, b) and (b, c) matrices costs 2 a b c operations. Only matrix products are counted: adding a
bias, relu, exp and optimiser updates are not, as in torch.utils.flop_counter, against which the tests check
every rule. A backward pass costs one product for each operand that needs a gradient.

A solver's `Solution.flops` is the count of what it did for all samples together: matrix products, among them
the Gram matrix D'D, screenings of all atoms, gradients, and the certificates or objectives of the codes it
returns (the relative gap takes 6MN a sample); multiply-adds of vectors, two operations an entry, among them
the rank-one updates of an inverse Gram matrix (2k^2 for an atom that enters or leaves) and of a tableau (2N(N
+ 1) an exchange); Cholesky factorisations, k^3/3, and triangular solves, k^2. Not counted: comparisons,
maxima, copies, index work, gathering and scaling; elementwise steps of first-order methods (shrinkage,
momentum, Adam); singular values (spectral norms, pseudo-inverses), whose operations are LAPACK's; and all
that cvxpy does. A batched product counts in full, whoever needs its rows; what the other lanes of a vector
unit do beside a sample does not. `n_steps` counts what the method's docstring names, sample by sample.

The paper counts differently; its formulas are in `paper`, so that its axes can be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

from amortgap._check import check_choice, check_count
from amortgap.encoders import ENCODERS, Encoder


def encode(name: str, M: int, N: int, *, hidden: int | Sequence[int] = 0, steps: int = 3) -> int:
    """Operations to encode one sample: the sum of the encoder's products.

    2MN for one linear map; one product a layer for an mlp (hidden: its width or widths); 2MN and `steps` products
    2N^2 for lista; `steps` products 2MN for matching_pursuit. Raises ValueError for an unknown encoder.
    """
    return sum(_products(name, M, N, hidden, steps)[2])


def _kind(name: str) -> type[Encoder]:
    return ENCODERS[check_choice(name, "encoder", ENCODERS)]


def _products(
    name: str, M: int, N: int, hidden: int | Sequence[int], steps: int
) -> tuple[type[Encoder], tuple[int, int], list[int]]:
    """The encoder, (M, N) and the operations of its products, all sizes checked."""
    kind, M, N = _kind(name), check_count(M, "M"), check_count(N, "N")
    widths = [check_count(width, "hidden", least=0) for width in _widths(hidden)]
    given = widths if isinstance(hidden, list | tuple) else widths[0]
    return kind, (M, N), list(kind.products(M, N, given, check_count(steps, "steps")))


def _widths(hidden: int | Sequence[int]) -> Sequence[int]:
    if isinstance(hidden, list | tuple) and not hidden:
        raise ValueError("hidden must be a width or a sequence of widths, not empty")
    return hidden if isinstance(hidden, list | tuple) else [hidden]  # type: ignore[list-item]


def training_step(
    name: str,
    M: int,
    N: int,
    *,
    hidden: int | Sequence[int] = 0,
    steps: int = 3,
    learned: bool = True,
    pre_bias: bool = False,
) -> int:
    """Operations of one training step for one sample, reconstruction loss.

    Forward: encode and decode (2MN). Backward: one product for each weight of the encoder and one for the input of
    each product but the first (with a pre-bias of the first, too), the codes (2MN) and, if learned, the
    dictionary (2MN). Gated decodes a second time through its frozen decoder (4MN). The weights of
    matching_pursuit are the dictionary, so they need no product where it is given.
    """
    kind, (M, N), (first, *others) = _products(name, M, N, hidden, steps)
    forward = first + sum(others)
    weights = forward if kind.own_weights or learned else 0
    backward = weights + sum(others) + (first if pre_bias else 0)
    decoding = 2 * M * N * (3 if learned else 2) + 4 * M * N * kind.frozen_decodings
    return forward + backward + decoding


def supervised_step(name: str, M: int, N: int, *, hidden: int | Sequence[int] = 0, steps: int = 3) -> int:
    """Operations of one training step for one sample when codes are the target: no decoder takes part."""
    _, _, (first, *others) = _products(name, M, N, hidden, steps)
    return 2 * (first + sum(others)) + sum(others)


def log_adam(M: int, N: int, n_steps: int) -> int:
    """Operations of the paper's inference-time optimisation for one sample: 4MN a step."""
    return 4 * check_count(M, "M") * check_count(N, "N") * check_count(n_steps, "n_steps")


def sparse_coding_step(M: int, N: int) -> int:
    """Operations of one joint Adam step on log-codes and dictionary for one sample: 6MN."""
    return 6 * check_count(M, "M") * check_count(N, "N")


class paper:
    """The published formulas (public code of arXiv 2411.13117), for one sample unless said otherwise.

    They include elementwise work and parameter updates, and multiply the updates by the batch size; the
    sparse-coding training count multiplies by the sample count twice. At N = 16, M = 8 and 1024 samples that makes
    it 67 times the matrix products, and 25 times the same formula with the sample count taken once. Kept only so
    that the published axes can be drawn.
    """

    @staticmethod
    def sae_training_step(M: int, N: int, learned: bool) -> int:
        """4MN + N forward, 4MN + 2N backward, 2(MN + N) updates; +3MN for a learned dictionary."""
        return 10 * M * N + 5 * N + (3 * M * N if learned else 0)

    @staticmethod
    def mlp_training_step(M: int, N: int, hidden: int, learned: bool) -> int:
        """Forward, backward and update of both layers; +3MN for a learned dictionary."""
        layers = hidden * (M + N)
        return 6 * layers + 5 * hidden + 5 * N + 4 * M * N + (3 * M * N if learned else 0)

    @staticmethod
    def sparse_coding_training(M: int, N: int, n: int, n_steps: int) -> int:
        """All n samples and steps, dictionary learned: n (3 (5MN + N) + 2nM + 2nN + MN) a step."""
        return n * n_steps * (3 * (5 * M * N + N) + 2 * n * M + 2 * n * N + M * N)
