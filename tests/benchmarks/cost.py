"""What a large run costs, by formulas whose constants `tests.benchmarks.scale` measures: no number stands here.

Of an SAE with N latents, k of them active, on activations of width M, in float32, on one thread:

    extraction   (2 P + 4 L c M) operations a token, P weights in L blocks, windows of c tokens, and e seconds for a
                 block and a unit of width; on disk 4 M bytes a token
    training     of n activations a step: 2 n N M operations; n N entries to select from; 4 n k rows of M numbers to
                 gather; 2 N M weights for Adam. Memory: 32 N M bytes (weights, gradients, two moments), 4 n N
                 (pre-activations) and 12 n k M (gathered rows). With a dictionary in T parts, which gathers
                 nothing: 12 n N M operations, 16 n N bytes, and of everything a T-th
    coding       to a certified gap of 1e-4: p products of 2 N M operations, and r seconds for an active latent and
                 a unit of width, a token. Memory: 6 N M (D' and its 16-bit copy), 12 b N for the b tokens of a
                 batch, and m bytes
    audit        another p and r, a token. Memory: 6 N M, and a bytes for a token of the batch and a latent

Sent by each of W processes in a step (all-reduce on a ring sends 2 (W - 1)/W bytes for a byte summed):

    whole dictionaries     the gradients, 4 (2 N M + N + M) bytes, summed
    split in T parts       three matrices of reconstructions and their gradients, 4 n M bytes each, summed, and the
                           k largest pre-activations of each part, 4 n k, to T - 1 others
"""

from __future__ import annotations

from typing import NamedTuple

#: of the windows that a language model reads, tokens
CONTEXT = 128

Constants = dict[str, float]


class Size(NamedTuple):
    """Of an SAE."""

    M: int
    N: int
    k: int


class Model(NamedTuple):
    """Of a language model: its weights and blocks."""

    P: float
    L: int


def operations(lm: Model, M: int) -> float:
    """Of one token of a language model."""
    return 2 * lm.P + 4 * lm.L * CONTEXT * M


def extraction(c: Constants, lm: Model, M: int) -> float:
    """Seconds a token."""
    return operations(lm, M) / c["products"] + c["extraction rest"] * lm.L * M


def batch(c: Constants, size: Size, n: int) -> float:
    """Seconds a step of training, but for Adam's."""
    M, N, k = size
    return 2 * n * N * M / c["products"] + n * N / c["selection"] + 4 * n * k * M / c["gathering"]


def batch_in_parts(c: Constants, size: Size, n: int) -> float:
    """The same with a dictionary in parts, of all processes together."""
    M, N, _ = size
    return 12 * n * N * M / c["products"] + n * N / c["selection"]


def adam(c: Constants, size: Size) -> float:
    """Seconds a step of training."""
    return 2 * size.N * size.M / c["adam"]


def per_token(c: Constants, size: Size, stage: str) -> float:
    """Seconds a token of coding or audit."""
    M, N, k = size
    return c[f"{stage} products"] * 2 * N * M / c["products"] + c[f"{stage} rest"] * k * M


def training_memory(size: Size, n: int) -> float:
    """Bytes in a process that has n activations of a batch."""
    M, N, k = size
    return 32 * N * M + 4 * n * N + 12 * n * k * M


def training_memory_in_parts(size: Size, n: int, T: int) -> float:
    """Bytes in each of T processes that share a dictionary."""
    return (32 * size.N * size.M + 16 * n * size.N) / T


def coding_memory(c: Constants, size: Size, b: int) -> float:
    """Bytes beside D, for b tokens at once."""
    return 6 * size.N * size.M + 12 * b * size.N + c["coding bytes"]


def audit_memory(c: Constants, size: Size, b: int) -> float:
    """Bytes beside D, for b tokens."""
    return 6 * size.N * size.M + c["audit bytes"] * b * size.N


def sent_whole(size: Size, W: int) -> float:
    """Bytes that each of W processes sends in a step, with the whole dictionary in each."""
    M, N, _ = size
    return 2 * (W - 1) / W * 4 * (2 * N * M + N + M)


def sent_split(size: Size, n: int, T: int) -> float:
    """Bytes that each of T processes sends in a step of n activations, with a T-th of the dictionary in each."""
    M, _, k = size
    return 2 * (T - 1) / T * 12 * n * M + (T - 1) * 4 * n * k
