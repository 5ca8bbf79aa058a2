"""Resampling of dead latents: give those that nothing activates a new direction, where the error is large."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_tensor, generator
from amortgap.problem import unit_columns

SCALE = 0.2  # of the mean length of the other encoder rows


@torch.no_grad()
def resample_dead(model: Any, x: Tensor, *, seed: int = 0) -> Tensor:
    """Restart the latents that no row of x (n, M) activates. Changes the model; returns bool (N,), which ones.

    A dead latent gets a row of x drawn with probability proportional to its squared error: the row less b_pre,
    scaled to unit length, is its dictionary column. Its encoder row is the direction in which the encoder's last
    layer sees that row of x (the same for most, the last hidden activations for mlp), with .2 times the mean
    length of the living encoder rows. Biases become zero, thresholds the living latents' mean, and lista's S
    forgets it. For a single (not stacked) encoder that has a `last_layer`, and whose dictionary is learned.
    Adam's moments of what is replaced mean nothing any more: `fit_in_stages` begins with a fresh Adam after it.
    Bricken et al., Towards Monosemanticity (2023), appendix "Neuron resampling".

    Raises ValueError for an encoder of another kind, a given dictionary, NaN or inf in x, or x of another width.
    """
    D = model.decoder.D
    if D.ndim != 2:
        raise ValueError("dead latents are resampled in single models, not in stacked ones")
    if not model.decoder.learned:
        raise ValueError("a given dictionary cannot be resampled")
    x = as_tensor(x, "x")
    if x.ndim != 2 or x.shape[1] != D.shape[0] or len(x) == 0:
        raise ValueError(f"x must have shape (n, {D.shape[0]}), not {tuple(x.shape)}")
    codes = model.encode(x)
    dead = (codes == 0).all(0)
    centred = model.decoder.centre(x)
    last = model.last_layer(centred)
    if last is None:
        raise ValueError(f"dead latents of a {type(model).__name__} cannot be resampled")
    seen = last.input
    # a row that equals b_pre, or that the last layer does not see, has no direction
    some = (centred.square().sum(1) > 0) & (seen.square().sum(1) > 0)
    error = (x - model.decode(codes)).square().sum(1) * some
    if not dead.any() or not error.any():
        return torch.zeros_like(dead)
    g = generator(seed)
    rows = torch.multinomial(error.double().cpu(), int(dead.sum()), replacement=True, generator=g).to(
        x.device
    )
    living = ~dead if (~dead).any() else dead
    D[:, dead] = unit_columns(centred[rows].T)
    length = SCALE * torch.linalg.vector_norm(last.weight[living], dim=1).mean()
    last.weight[dead] = length * unit_columns(seen[rows].T).T
    for bias in last.biases:
        bias[dead] = 0
    for threshold in last.thresholds:
        threshold[dead] = threshold[living].mean()
    if last.between is not None:
        last.between[dead], last.between[:, dead] = 0, 0
    return dead
