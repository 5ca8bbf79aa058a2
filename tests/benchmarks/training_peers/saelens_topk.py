"""SAELens, with torch's fused Adam, which it leaves the choice of, and its clipped gradients."""

from typing import Any

import torch
from sae_lens.saes.sae import TrainStepInput
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from torch import Tensor

from . import LR, K, M, N, loop

NAME, DISTRIBUTION = "SAELens", "sae-lens"


def seconds(x: Tensor, steps: int, batch: int) -> float:
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=M, d_sae=N, k=K))
    adam = torch.optim.Adam(sae.parameters(), lr=LR, fused=True)
    no_dead = torch.zeros(N, dtype=torch.bool)

    def step(i: int, rows: Tensor) -> None:
        given: dict[str, Any] = {"sae_in": rows, "coefficients": {}, "dead_neuron_mask": no_dead}
        sae.training_forward_pass(
            TrainStepInput(**given, n_training_steps=i, is_logging_step=False)
        ).loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return loop(step, x, steps, batch)
