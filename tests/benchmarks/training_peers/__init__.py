"""One package a file: the step that its own trainer takes with a TopK autoencoder on activations x (n, M).

Each file has NAME, DISTRIBUTION (its name on PyPI) and `seconds(x, steps, batch)`, the processor time of the steps.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

FILES = ("amortgap_topk", "saelens_topk", "sparsify_topk", "dictionary_learning_topk")
M, N, K, LR = 576, 1152, 32, 1e-3


def loop(step: Callable[[int, Tensor], object], x: Tensor, steps: int, batch: int) -> float:
    """Processor seconds of `steps` calls step(i, rows) on random rows of x."""
    g = torch.Generator().manual_seed(0)
    begin = time.process_time()
    for i in range(steps):
        step(i, x[torch.randperm(len(x), generator=g)[:batch]])
    return time.process_time() - begin
