"""Where biases start: at zero in all encoders here, uniform in the published code."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def uniform_biases(model: nn.Module, seed: int) -> None:
    """Biases of a ReLU or MLP encoder uniform in +-1/sqrt(inputs), as torch.nn.Linear starts them.

    Where x is small beside them, as in the paper's power-law data, many latents start silent on every sample, and a
    silent latent has no gradient. Raises ValueError for an encoder without biases.
    """
    g, parts = torch.Generator().manual_seed(seed), dict(model.named_parameters())
    pairs = [(name, "b" + name[1:]) for name in parts if name[0] == "W" and "b" + name[1:] in parts]
    if not pairs:
        raise ValueError(f"this {type(model).__name__} has no biases")
    for weight, bias in pairs:
        inputs = parts[weight].shape[-1]
        parts[bias].copy_((2 * torch.rand(parts[bias].shape, generator=g) - 1) / inputs**0.5)
