"""TopK training at the cost of the kept entries: products with codes of which most entries are zero.

The kept entries of all samples are one flat list, sample by sample: entry e reads row latent_e (m,) of the tables
W (N, M) and D' (N, M), and sample r owns the entries from start_r (n,) on. Models stacked in front are numbered
through: with B of them the tables have B N rows and x has B n. Every product is then an embedding bag,
sum over a sample's entries of values_e table[latent_e].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

LATENTS_PER_ENTRY = 8  # with fewer, dense products are as fast (measured on a CPU, M from 8 to 576)


def bag(table: Tensor, latent: Tensor, start: Tensor, values: Tensor) -> Tensor:
    """Row r: the sum over the entries e of sample r of values_e table[latent_e]; (n, M) for a table (N, M)."""
    return embedding_bag(latent, table, start, mode="sum", per_sample_weights=values)


class _Read(torch.autograd.Function):
    """The identity on values (m,), with the gradients of what they are: single entries of relu(x W' + b)."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, latent: Tensor, start: Tensor, x: Tensor, W: Tensor, b: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(values, latent, start, x, W)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, latent, start, x, W = ctx.saved_tensors
        _, _, _, x_asked, W_asked, b_asked = ctx.needs_input_grad
        g = gradient[0] * (values > 0)
        by_x = bag(W, latent, start, g) if x_asked else None
        by_W = None
        if W_asked:
            # row i sums over the samples that keep latent i
            order = latent.argsort(stable=True)
            sample = torch.searchsorted(start, order, right=True) - 1
            first = torch.searchsorted(latent[order], torch.arange(len(W), device=W.device))
            by_W = bag(x, sample, first, g[order])
        by_b = torch.zeros(len(W)).to(g).index_add(0, latent, g) if b_asked else None
        return None, None, None, by_x, by_W, by_b


def reconstruct(
    pre: Tensor, kept: Tensor, x: Tensor, W: Tensor, b: Tensor | None, D: Tensor
) -> tuple[Tensor, Tensor]:
    """D s, (.., n, M), for the codes s that are relu(x W' + b) where `kept` and zero elsewhere; and their values.

    pre (.., n, N): relu(x W' + b), computed without gradient; kept (m,): places in the flattened pre, sample by
    sample. x (.., n, M) or (n, M), W (.., N, M), b (.., N), D (.., M, N) get their gradients.
    """
    n, N, M = *pre.shape[-2:], x.shape[-1]
    sample = kept.div(N, rounding_mode="floor")
    latent = kept - (sample - sample.div(n, rounding_mode="floor")) * N
    start = torch.searchsorted(sample, torch.arange(pre[..., 0].numel(), device=pre.device))
    rows = x.expand(*pre.shape[:-1], M).reshape(-1, M)
    values = _Read.apply(
        pre.flatten()[kept], latent, start, rows, W.reshape(-1, M), None if b is None else b.flatten()
    )
    return bag(D.mT.contiguous().view(-1, M), latent, start, values).view(*pre.shape[:-1], M), values


def _flops(by_values: bool) -> Any:
    """Two operations for each kept entry and each number in its row, forwards and in both gradients."""

    def count(first: Any, *rest: Any, **options: Any) -> int:
        return 2 * rest[by_values][0] * first[-1]

    return count


#: What FlopCounterMode has to be told: it knows dense products only.
FLOPS: dict[Any, Any] = {
    torch.ops.aten._embedding_bag: _flops(False),
    torch.ops.aten._embedding_bag_forward_only: _flops(False),
    torch.ops.aten._embedding_bag_backward: _flops(False),
    torch.ops.aten._embedding_bag_per_sample_weights_backward: _flops(True),
}
