"""Many small models of one class as one, and back.

A stacked model is an ordinary encoder whose parameters carry a leading dimension B (seeds x lambda x widths);
every product is then a batched product, and the B losses are added, which leaves their gradients apart.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from amortgap.encoders import MLPEncoder


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """One model with leading dimension B out of B models of one class.

    Narrower hidden layers of an MLPEncoder are padded with zeros. Padded hidden units stay exactly zero: their
    input weights, output weights and gradients all vanish. Raises ValueError for mixed classes, settings (k,
    output, bias, learned or given D) or sizes.
    """
    if len({type(m) for m in models}) != 1:
        raise ValueError("stack needs one or more models of one class")
    if any(_settings(m) != _settings(models[0]) for m in models):
        raise ValueError("stacked models may differ in their values and hidden widths only")
    stacked = copy.deepcopy(models[0])
    for name, parameter in models[0].named_parameters():
        parts = [m.get_parameter(name).detach() for m in models]
        shape = [max(p.shape[d] for p in parts) for d in range(parameter.ndim)]
        padding = [
            [n for d in reversed(range(parameter.ndim)) for n in (0, shape[d] - p.shape[d])] for p in parts
        ]
        value = torch.stack([pad(p, amount) for p, amount in zip(parts, padding, strict=True)])
        _put(stacked, name, value, parameter.requires_grad)
    return stacked


def _settings(model: nn.Module) -> list[Any]:
    """All that stacked models must share: what is not a parameter, and the parameters' names and shapes."""
    # hidden layers may have any width; the decoder's shape fixes the other two
    any_width = isinstance(model, MLPEncoder)
    return [
        (name, p.requires_grad, p.dtype, p.ndim if any_width and name != "decoder.D" else p.shape)
        for name, p in model.named_parameters()
    ] + [(k, v) for m in model.modules() for k, v in vars(m).items() if k[0] != "_" and k != "training"]


def unstack(model: nn.Module, index: int) -> nn.Module:
    """Model number `index` of a stacked model, on its own (padding included). ValueError where there is none."""
    count = len(model.get_parameter("decoder.D"))
    if isinstance(index, bool) or not isinstance(index, int) or not -count <= index < count:
        raise ValueError(f"index must be a whole number below {count}, the number of models, not {index!r}")
    single = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        _put(single, name, parameter.detach()[index].clone(), parameter.requires_grad)
    return single


def _put(model: nn.Module, name: str, value: Tensor, learned: bool) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(value, learned))
