"""What the same time buys in other ways: training the old encoder on, and fitting a linear encoder to better codes.

    longer     min over W_enc, b_enc of ||z - D s(z) - b_dec||^2, the SAE's own loss, its decoder kept
    re-fitted  min over W_enc, b_enc of ||relu(h(z)) - s*(z)||^2, with s* the pursuit's codes

Both start at the SAE's encoder, see the training documents in batches of 512 under Adam, and stop when their time
is over. The theory says of the second that no linear read-out can be as good as what it is fitted to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from amortgap.interop import SAE

BATCH = 512
RATE = 3e-4


def longer(sae: SAE, z: Tensor, seconds: float, seed: int) -> SAE:
    """A topk SAE whose encoder was trained on by its own loss on z (n, M)."""

    def loss(one: SAE, rows: Tensor) -> Tensor:
        codes = one.kind.select(*one.preactivations(z[rows]), one.k, one.threshold)
        return (z[rows] - codes @ one.W_dec - one.b_dec).square().sum(1).mean()

    return _train(sae, len(z), loss, seconds, seed)


def refitted(sae: SAE, z: Tensor, codes: Tensor, seconds: float, seed: int) -> SAE:
    """An SAE whose encoder was fitted to codes (n, N), which are for unit columns, on z (n, M)."""
    target = codes if sae.rescaled else codes / sae.norms.clamp_min(torch.finfo(codes.dtype).tiny)

    def loss(one: SAE, rows: Tensor) -> Tensor:
        return (torch.relu(one.preactivations(z[rows])[0]) - target[rows]).square().sum(1).mean()

    return _train(sae, len(z), loss, seconds, seed)


def _train(sae: SAE, n: int, loss: Callable[[SAE, Tensor], Tensor], seconds: float, seed: int) -> SAE:
    weights = [sae.W_enc.clone().requires_grad_(), sae.b_enc.clone().requires_grad_()]
    optimiser = torch.optim.Adam(weights, lr=RATE)
    draw, began = torch.Generator().manual_seed(seed), time.perf_counter()
    one = replace(sae, W_enc=weights[0], b_enc=weights[1])
    while time.perf_counter() - began < seconds:
        for rows in torch.randperm(n, generator=draw).split(min(BATCH, n)):
            optimiser.zero_grad()
            loss(one, rows.to(sae.W_enc.device)).backward()
            optimiser.step()
            if time.perf_counter() - began >= seconds:
                break
    return replace(sae, W_enc=weights[0].detach(), b_enc=weights[1].detach())
