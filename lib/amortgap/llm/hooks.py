"""Places in a transformer where activations are read and replaced, by name.

    blocks.B.hook_resid_pre     the residual stream before block B (blocks count from 0)
    blocks.B.hook_resid_post    the residual stream after it
    blocks.B.hook_attn_out      what its attention adds to the residual stream
    blocks.B.hook_mlp_out       what its MLP adds

The names are TransformerLens's, which SAELens files carry too. A whole number L is short for the residual stream
after L blocks, blocks.(L-1).hook_resid_post.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from amortgap.llm.model import LanguageModel

NAME = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_post|attn_out|mlp_out)")
#: What implementations call the two halves of a block. Where a norm follows a half before it is added (Gemma 2),
#: the norm's output is what counts.
CHILDREN = {
    "attn_out": ("attn", "self_attn", "attention", "self_attention"),
    "mlp_out": ("post_feedforward_layernorm", "mlp", "feed_forward", "ffn"),
}


class _Reached(Exception):
    """Ends a forward pass as soon as the wanted activations are known."""


def parse(layer: int | str, depth: int, model: str = "the model") -> tuple[int, str]:
    """Block, from 0, and site of a hook name, or of a whole number of blocks.

    Raises ValueError for a name of another form and for a block that a model of `depth` blocks does not have.
    """
    if not isinstance(layer, int | str) or isinstance(layer, bool):
        raise ValueError(f"layer must be a hook name or a whole number, not {layer!r}.")
    if isinstance(layer, int) or layer.isdigit():
        if not 1 <= int(layer) <= depth:
            raise ValueError(f"layer={layer} is out of range: {model} has layers 1 to {depth}.")
        return int(layer) - 1, "resid_post"
    found = NAME.fullmatch(layer)
    if found is None:
        raise ValueError(
            f"{layer!r} is no hook name: write blocks.B.hook_resid_pre, _resid_post, _attn_out or _mlp_out, "
            f"or the number of blocks before the residual stream is read."
        )
    if int(found[1]) >= depth:
        raise ValueError(f"{layer} is out of range: {model} has blocks 0 to {depth - 1}.")
    return int(found[1]), found[2]


def _module(lm: LanguageModel, block: nn.Module, site: str) -> nn.Module:
    if site.startswith("resid"):
        return block
    names: tuple[str, ...] = CHILDREN[site]
    if site == "attn_out" and hasattr(block, "post_feedforward_layernorm"):
        names = ("post_attention_layernorm",)
    for name in names:
        if isinstance(child := getattr(block, name, None), nn.Module):
            return child
    raise ValueError(f"{lm.name}: its blocks have no part named {', '.join(names)}.")


def check_tokens(lm: LanguageModel, windows: Any) -> None:
    """Raises ValueError unless windows (batch, context) holds token ids that the model knows."""
    if not isinstance(windows, Tensor) or windows.ndim != 2 or not windows.numel():
        raise ValueError("windows must be a tensor of token ids (batch, context).")
    known = lm.model.get_input_embeddings().num_embeddings
    if windows.is_floating_point() or windows.is_complex() or windows.min() < 0 or windows.max() >= known:
        raise ValueError(f"windows must hold whole token ids from 0 to {known - 1}.")


@contextmanager
def at(lm: LanguageModel, layer: int | str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, forward passes send the activations (batch, context, M) at `layer` through `change`."""
    block, site = parse(layer, len(lm.blocks), lm.name)
    module = _module(lm, lm.blocks[block], site)

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        return change(output) if isinstance(output, Tensor) else (change(output[0]), *output[1:])

    if site == "resid_pre":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def read(lm: LanguageModel, windows: Tensor, layer: int | str) -> Tensor:
    """Activations at `layer`: (batch, context) token ids -> (batch, context, M).

    For a whole number it is ``hidden_states[layer]`` of ``transformers``, except that the last layer is taken
    before the final norm. What comes after is not computed. Raises ValueError as `parse`.
    """
    check_tokens(lm, windows)
    caught: list[Tensor] = []

    def stop(hidden: Tensor) -> Tensor:
        caught.append(hidden)
        raise _Reached

    with at(lm, layer, stop), suppress(_Reached):
        lm.model(windows.to(lm.device, torch.long), use_cache=False)
    return caught[0]
