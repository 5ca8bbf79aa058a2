"""The residual stream of a language model: reading it, and what replacing it costs in next-token loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amortgap.llm.model import LanguageModel


class _Reached(Exception):
    """Ends a forward pass as soon as the wanted layer is known."""


@torch.no_grad()
def residual(lm: LanguageModel, windows: Tensor, layer: int) -> Tensor:
    """Residual stream after ``layer`` blocks: (batch, context) token ids -> (batch, context, M).

    It is ``hidden_states[layer]`` of ``transformers``, except that the last layer is taken before the final
    norm. Blocks after ``layer`` are not computed. Raises ValueError for a layer that does not exist.
    """
    caught: list[Tensor] = []

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        caught.append(output if isinstance(output, Tensor) else output[0])
        raise _Reached

    lm.check_layer(layer)
    handle = lm.blocks[layer - 1].register_forward_hook(stop)
    try:
        lm.model(windows.to(lm.device, torch.long), use_cache=False)
    except _Reached:
        pass
    finally:
        handle.remove()
    return caught[0]


@torch.no_grad()
def cross_entropy(
    lm: LanguageModel, windows: Tensor, layer: int = 1, replace: Callable[[Tensor], Tensor] | None = None
) -> float:
    """Mean next-token loss in nats over ``windows`` (batch, context), with an optional change at ``layer``.

    ``replace`` maps residual-stream vectors (n, M), as the model has them, to (n, M). Position 0 of each
    window, which carries the massive activation and is in no training set, is left as it is.
    """

    def change(module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output if isinstance(output, Tensor) else output[0]
        rest = hidden[:, 1:]
        new = replace(rest.reshape(-1, rest.shape[-1])).to(rest).reshape(rest.shape)  # type: ignore[misc]
        spliced = torch.cat([hidden[:, :1], new], 1)
        return spliced if isinstance(output, Tensor) else (spliced, *output[1:])

    lm.check_layer(layer)
    handle = lm.blocks[layer - 1].register_forward_hook(change) if replace else None
    try:
        total = 0.0
        for batch in windows.to(lm.device, torch.long).split(16):
            logits = lm.model(batch, use_cache=False).logits[:, :-1].float()
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")
            total += loss.item()
    finally:
        if handle:
            handle.remove()
    return total / windows[:, 1:].numel()


@dataclass(frozen=True)
class SpliceLoss:
    """Next-token losses in nats; ``recovered`` is 1 for a perfect reconstruction, 0 for the mean."""

    clean: float
    spliced: float
    mean_ablation: float
    zero_ablation: float

    @property
    def recovered(self) -> float:
        """Share of the loss between mean ablation and the clean model that the reconstruction gives back."""
        return (self.mean_ablation - self.spliced) / (self.mean_ablation - self.clean)


def splice_loss(
    lm: LanguageModel, windows: Tensor, layer: int, reconstruct: Callable[[Tensor], Tensor], mean: Tensor
) -> SpliceLoss:
    """Loss with ``reconstruct`` (n, M) -> (n, M) spliced in after ``layer`` blocks, and its baselines.

    ``reconstruct`` and ``mean`` (M,) are in the model's own units; ``Activations.normalise`` and ``.restore``
    convert. Position 0 stays clean in every row but the baselines replace all other positions.
    """
    return SpliceLoss(
        clean=cross_entropy(lm, windows, layer),
        spliced=cross_entropy(lm, windows, layer, reconstruct),
        mean_ablation=cross_entropy(lm, windows, layer, lambda x: mean.to(x).expand_as(x)),
        zero_ablation=cross_entropy(lm, windows, layer, torch.zeros_like),
    )
