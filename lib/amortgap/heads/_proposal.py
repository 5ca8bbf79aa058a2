"""What an encoder proposes for each activation: a few latents, its own first."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from amortgap._check import check_sparsity


class Proposal(NamedTuple):
    """For n activations at most T candidates each; what stands beyond a row's width is not to be used.

    candidates (n, T): latents, in each row those of the encoder's own code first.
    amplitude (n, T): the encoder's code on them, zero beyond `k`.
    k (n,): latents of the encoder's code, which no head exceeds. width (n,): candidates, k <= width <= T.
    """

    candidates: Tensor
    amplitude: Tensor
    k: Tensor
    width: Tensor

    def codes(self, values: Tensor, N: int) -> Tensor:
        """values (n, T) on the candidates as codes (n, N)."""
        return values.new_zeros(len(values), N).scatter_add_(1, self.candidates, values)

    def rows(self, chosen: Tensor | slice) -> Proposal:
        """The same for some activations."""
        return Proposal(*(part[chosen] for part in self))


def propose(h: Tensor, codes: Tensor, ratio: float) -> Proposal:
    """The latents of codes (n, N) >= 0 and the next in the order of the pre-activations h (n, N).

    ratio: candidates for each latent of a code, rounded up. Raises ValueError for ratio < 1.
    """
    _check_ratio(ratio)
    own = codes > 0
    count = own.sum(1)
    width = (count * ratio).ceil().long().clamp_max(h.shape[1])
    T = max(1, int(width.max())) if len(h) else 1
    candidates = _largest(torch.where(own, h.amax() + 1, h) if len(h) else h, T, T)
    first = own.gather(1, candidates).to(torch.int8).argsort(dim=1, descending=True, stable=True)
    candidates = candidates.gather(1, first)
    return Proposal(candidates, codes.gather(1, candidates), count, width)


def propose_top(h: Tensor, k: int, ratio: float) -> Proposal:
    """As `propose` for codes that are the k largest of relu(h), which are not made."""
    _check_ratio(ratio)
    k = check_sparsity(k, h.shape[1])
    T = min(math.ceil(k * ratio), h.shape[1])
    candidates = _largest(h, T, k)
    amplitude = h.gather(1, candidates).relu_()
    amplitude[:, k:] = 0
    count = (amplitude > 0).sum(1)
    # elsewhere topk sorts: those that are positive come first as it is, and nobody waits for the device to say so
    if h.device.type == "cpu" and (count < k).any():
        first = (amplitude > 0).to(torch.int8).argsort(dim=1, descending=True, stable=True)
        candidates, amplitude = candidates.gather(1, first), amplitude.gather(1, first)
    return Proposal(candidates, amplitude, count, (count * ratio).ceil().long().clamp_max(T))


def _check_ratio(ratio: float) -> None:
    if not ratio >= 1:
        raise ValueError(f"an encoder proposes its own latents and more, ratio >= 1, not {ratio}")


def _largest(h: Tensor, T: int, k: int) -> Tensor:
    """(n, T): where the T largest of each row are, the k largest first."""
    if h.device.type != "cpu":
        return h.topk(T, dim=1).indices
    from amortgap.heads._select import select_rows

    found = torch.empty(len(h), T, dtype=torch.long)
    select_rows(h.contiguous().numpy(), T, k, found.numpy())
    return found
