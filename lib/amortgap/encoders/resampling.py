"""Resampling of dead latents: give those that nothing activates a new direction, where the error is large."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_tensor

SCALE = 0.2  # of the mean length of the other encoder rows


@torch.no_grad()
def resample_dead(model: Any, x: Tensor, *, seed: int = 0) -> Tensor:
    """Restart the latents that no row of x (n, M) activates. Changes the model; returns bool (N,), which ones.

    A dead latent gets a row of x drawn with probability proportional to its squared error: the row less b_pre,
    scaled to unit length, is its dictionary column, and .2 times the mean length of the living encoder rows is
    its encoder row's; its bias is set to zero. For a single (not stacked) relu, topk or batch_topk encoder whose
    dictionary is learned. Adam's moments of what is replaced mean nothing any more: train in stages, one `fit`
    (with a fresh Adam) after each resampling.
    Bricken et al., Towards Monosemanticity (2023), appendix "Neuron resampling".

    Raises ValueError for an encoder of another kind, a given dictionary, NaN or inf in x, or x of another width.
    """
    D = model.decoder.D
    if type(model).__name__ not in ("ReLUEncoder", "TopKEncoder", "BatchTopKEncoder") or D.ndim != 2:
        raise ValueError(
            f"resampling knows single relu, topk and batch_topk encoders, not {type(model).__name__}"
        )
    if not model.decoder.learned:
        raise ValueError("a given dictionary cannot be resampled")
    x = as_tensor(x, "x")
    if x.ndim != 2 or x.shape[1] != D.shape[0] or len(x) == 0:
        raise ValueError(f"x must have shape (n, {D.shape[0]}), not {tuple(x.shape)}")
    codes = model.encode(x)
    dead = (codes == 0).all(0)
    centred = model.decoder.centre(x)
    # a row that equals b_pre has no direction
    error = (x - model.decode(codes)).square().sum(1) * (centred.square().sum(1) > 0)
    if not dead.any() or not error.any():
        return torch.zeros_like(dead)
    g = torch.Generator().manual_seed(seed)
    rows = torch.multinomial(error.double().cpu(), int(dead.sum()), replacement=True, generator=g).to(
        x.device
    )
    unit = centred[rows] / torch.linalg.vector_norm(centred[rows], dim=1, keepdim=True)
    lengths = torch.linalg.vector_norm(model.W, dim=1)
    D[:, dead] = unit.T
    model.W[dead] = SCALE * (lengths[~dead] if (~dead).any() else lengths).mean() * unit
    if model.b is not None:
        model.b[dead] = 0
    return dead
