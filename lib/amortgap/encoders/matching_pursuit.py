"""The matching-pursuit encoder: k greedy steps on the decoder's own dictionary, trained through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_sparsity
from amortgap.encoders._decoder import Decoder
from amortgap.encoders._encoder import Encoder


class MatchingPursuitEncoder(Encoder):
    """r = x - b_pre; k times:  i = argmax d_i.r,  z = relu(d_i.r),  s_i <- s_i + z,  r <- r - z d_i.

    It has no weights but the decoder's D (M, N), so with D given there is nothing to learn. x (n, M) -> s (n, N)
    with at most k non-zeros; an atom may be taken twice. Gradients pass through the amounts z, not the choices.
    Costa et al., From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit (2025),
    algorithm 1; relu keeps codes nonnegative. Raises ValueError unless 1 <= k <= N.
    """

    sparsity = "k"
    exchange = "matching_pursuit"
    own_weights = False

    def __init__(
        self, M: int, N: int, *, k: int = 3, D: Tensor | None = None, pre_bias: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.k = check_sparsity(k, N)
        self.decoder = Decoder(M, N, D, pre_bias, torch.Generator().manual_seed(seed))

    def encode(self, x: Tensor) -> Tensor:
        atoms = self.decoder.D.mT
        r, s = self.decoder.centre(x), None
        for _ in range(self.k):
            match = torch.relu(r @ self.decoder.D)
            amount, best = match.max(-1, keepdim=True)
            taken = torch.zeros_like(match).scatter(-1, best, amount)
            s = taken if s is None else s + taken
            # rows of D' by index: a product with the one-hot `taken` would cost as much as the match
            r = r - amount * atoms.expand(*best.shape[:-2], -1, -1).gather(
                -2, best.expand(*best.shape[:-1], r.shape[-1])
            )
        assert s is not None  # k >= 1
        return s

    def exchanged(self) -> dict[str, Any]:
        return super().exchanged() | {"k": self.k}

    @classmethod
    def products(cls, M: int, N: int, hidden: Any, steps: int) -> list[int]:
        return steps * [2 * M * N]

    def last_layer(self, centred: Tensor) -> None:
        return None
