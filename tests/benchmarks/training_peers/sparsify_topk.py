"""EleutherAI's sparsify, with torch's fused Adam and its unit decoder columns."""

import torch
from sparsify import SparseCoder, SparseCoderConfig
from torch import Tensor

from . import LR, K, M, N, loop

NAME, DISTRIBUTION = "sparsify", "eai-sparsify"


def seconds(x: Tensor, steps: int, batch: int) -> float:
    sae = SparseCoder(M, SparseCoderConfig(num_latents=N, k=K, activation="topk"))
    adam = torch.optim.Adam(sae.parameters(), lr=LR, fused=True)
    no_dead = torch.zeros(N, dtype=torch.bool)

    def step(i: int, rows: Tensor) -> None:
        sae.set_decoder_norm_to_unit_norm()
        sae(rows, dead_mask=no_dead).fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        adam.zero_grad()

    return loop(step, x, steps, batch)
