"""What training lowers, one value for each stacked model."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import cosine_similarity


def reconstruction_loss(model: Any, x: Tensor, l1_weight: float | Tensor) -> Tensor:
    """mean (x - x_hat)^2 + lambda mean |s|, one value for each stacked model: the paper's loss.

    An encoder that trains otherwise than it encodes has a method training_pass(x) -> (x_hat, penalty, extra): the
    reconstruction, what lambda multiplies in place of mean |s|, and a further loss or 0.0; both means over the
    batch.
    """
    if hasattr(model, "training_pass"):
        x_hat, penalty, extra = model.training_pass(x)
    else:
        s = model.encode(x)
        x_hat, penalty, extra = model.decode(s), s.abs().mean((-2, -1)), 0.0
    loss: Tensor = (x - x_hat).square().mean((-2, -1)) + l1_weight * penalty
    return loss + extra if isinstance(extra, Tensor) else loss


def supervised_loss(model: Any, x: Tensor, codes: Tensor) -> Tensor:
    """Minus the mean over latents of the cosine between s_i and s_hat_i over the batch (experiment E1)."""
    return -cosine_similarity(model.encode(x), codes, dim=-2).mean(-1)
