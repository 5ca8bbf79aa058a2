"""What it costs a language model, in next-token loss, when activations are replaced by their reconstruction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from amortgap.llm.hooks import at, check_tokens
from amortgap.llm.model import LanguageModel


@torch.no_grad()
def cross_entropy(
    lm: LanguageModel,
    windows: Tensor,
    layer: int | str = 1,
    replace: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Mean next-token loss in nats over ``windows`` (batch, context), with an optional change at ``layer``.

    ``replace`` maps activations (n, M), as the model has them, to (n, M). Position 0 of each window, which
    carries the massive activation and is in no training set, is left as it is.
    """

    def change(hidden: Tensor) -> Tensor:
        if replace is None:
            return hidden
        rest = hidden[:, 1:]
        new = replace(rest.reshape(-1, rest.shape[-1])).to(rest).reshape(rest.shape)
        return torch.cat([hidden[:, :1], new], 1)

    check_tokens(lm, windows)
    if windows.shape[1] < 2:
        raise ValueError("windows of one token have no next one to predict.")
    total = 0.0
    with at(lm, layer, change):
        for batch in windows.to(lm.device, torch.long).split(16):
            # a window at a time: what is made of the logits is as large as they are, twice
            for logits, ids in zip(lm.model(batch, use_cache=False).logits, batch, strict=True):
                total += nn.functional.cross_entropy(logits[:-1].float(), ids[1:], reduction="sum").item()
    return total / windows[:, 1:].numel()
