"""Goodfire's ``.pt``: encoder_linear.weight (N, M), encoder_linear.bias, decoder_linear.weight (M, N),
decoder_linear.bias. s = relu(W x + b); nothing is subtracted from x. The key names as SAELens's loader has them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from amortgap.interop.sae import SAE
from amortgap.interop.settle import Parts


def recognises(tensors: dict[str, Tensor], content: dict[str, Any], name: str) -> bool:
    return {"encoder_linear.weight", "decoder_linear.weight"} <= set(tensors)


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    given = {
        "W_enc": parts.matrix("encoder_linear.weight").T,
        "b_enc": parts.take("encoder_linear.bias"),
        "W_dec": parts.matrix("decoder_linear.weight").T,
        "b_dec": parts.take("decoder_linear.bias"),
    }
    return parts.build(
        {"architecture": "standard", "subtract_b_dec": False, "normalise": "none"}, {}, **given
    )
