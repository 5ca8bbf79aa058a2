"""What an encoder proposes for each activation: a few latents, its own first."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from amortgap._check import as_number, check_sparsity


class Proposal(NamedTuple):
    """For n activations at most T candidates each; what stands beyond a row's width is not to be used.

    candidates (n, T): latents, in each row those of the encoder's own code first, then the next best.
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

    ratio: candidates for each latent of a code, rounded up. Raises ValueError for ratio < 1, and for h and codes
    that are no tensors (n, N) of one shape and type.
    """
    _check_ratio(ratio)
    _check_matrix(h, "h")
    _check_matrix(codes, "codes")
    if h.shape != codes.shape or h.dtype != codes.dtype:
        told = [f"{tuple(one.shape)}, {one.dtype}" for one in (h, codes)]
        raise ValueError(f"h and codes must be of one shape and type, not {' and '.join(told)}")
    own = codes > 0
    count = own.sum(1)
    width = (count * ratio).ceil().long().clamp_max(h.shape[1])
    T = max(1, int(width.max())) if len(h) else 1
    if len(h):
        most = h.amax()
        h = torch.where(own, most + 1 + most.abs() / 1024, h)
    candidates = _largest(h, T, width, count)
    return Proposal(candidates, codes.gather(1, candidates), count, width)


def propose_top(h: Tensor, k: int, ratio: float) -> Proposal:
    """As `propose` for codes that are the k largest of relu(h), which are not made."""
    _check_ratio(ratio)
    _check_matrix(h, "h")
    k = check_sparsity(k, h.shape[1])
    T = min(math.ceil(k * ratio), h.shape[1])
    full = torch.full((len(h),), T), torch.full((len(h),), k)
    candidates = _largest(h, T, *full)
    amplitude = h.gather(1, candidates).relu_()
    amplitude[:, k:] = 0
    count = (amplitude > 0).sum(1)
    # elsewhere topk sorts: those that are positive come first as it is, and nobody waits for the device to say so
    if h.device.type == "cpu" and (count < k).any():
        return propose(h, torch.zeros_like(h).scatter_(1, candidates, amplitude), ratio)
    return Proposal(candidates, amplitude, count, (count * ratio).ceil().long().clamp_max(T))


def _check_matrix(value: Any, name: str) -> None:
    # entries are not looked at, because a device would wait for them
    if (
        not isinstance(value, Tensor)
        or value.ndim != 2
        or not value.is_floating_point()
        or not value.shape[1]
    ):
        raise ValueError(f"{name} must be a tensor of numbers (n, N)")


def _check_ratio(ratio: Any) -> None:
    if not 1 <= as_number(ratio, "ratio") < math.inf:
        raise ValueError(f"an encoder proposes its own latents and more, ratio >= 1, not {ratio}")


def _largest(h: Tensor, T: int, width: Tensor, k: Tensor) -> Tensor:
    """(n, T): where the T largest of each row are, the `width` (n,) largest first, and of these the `k` (n,)."""
    if h.device.type != "cpu":
        return h.topk(T, dim=1).indices
    from amortgap.heads._select import select_rows

    h = h if h.dtype in (torch.float32, torch.float64) else h.float()
    found = torch.empty(len(h), T, dtype=torch.long)
    select_rows(h.contiguous().numpy(), T, width.numpy(), k.numpy(), found.numpy())
    return found
