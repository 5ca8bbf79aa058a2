"""What reconstructions cost the model itself, in next-token loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amortgap.audit.inputs import Inputs
from amortgap.audit.result import Loss
from amortgap.llm import cross_entropy, read

LOSS_WINDOWS = 8
#: Activations with a norm above this many times the median stay as they are.
OUTLIER = 3.0


def model_loss(given: Inputs, reconstruct: Callable[[Tensor], dict[str, Tensor]]) -> Loss:
    """Next-token loss in nats with each reconstruction spliced in, and the share of the loss it gives back.

    reconstruct: activations (n, M) -> way -> their reconstruction (n, M). 0 is the loss with every activation
    replaced by the mean, 1 that of the untouched model. Position 0 and massive activations stay as they are.
    """
    assert given.model is not None
    assert given.windows is not None
    lm, layer = given.model, given.layer
    windows = given.windows[:LOSS_WINDOWS]
    raw = read(lm, windows, layer)[:, 1:].float()
    x = raw.reshape(-1, raw.shape[2])
    norms = torch.linalg.vector_norm(x, dim=1)
    usual = norms <= OUTLIER * norms.median()
    found = {"mean": x[usual].mean(0).expand_as(x[usual]), **reconstruct(x[usual])}
    losses = {"untouched": cross_entropy(lm, windows, layer)}
    for method, value in found.items():
        x_hat = x.index_put((usual.nonzero()[:, 0],), value)
        # cross_entropy takes 16 windows at a time
        pieces = iter(x_hat.reshape(raw.shape).split(16))
        losses[method] = cross_entropy(lm, windows, layer, lambda _: next(pieces).reshape(-1, x.shape[1]))  # noqa: B023
    span = losses["mean"] - losses["untouched"]
    recovered = {m: (losses["mean"] - v) / span for m, v in losses.items() if m not in ("mean", "untouched")}
    return Loss(losses, recovered, windows[:, 1:].numel())
