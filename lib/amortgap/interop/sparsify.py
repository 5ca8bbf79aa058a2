"""EleutherAI's sparsify: a folder with ``cfg.json`` and ``sae.safetensors``.

encoder.weight (N, M), encoder.bias (N,), W_dec (N, M), b_dec (M,); s = the k largest of relu((x - b_dec) W' + b).
``num_latents`` 0 means ``expansion_factor`` times d_in. Older versions kept the k largest magnitudes with their
signs where ``signed`` is true. Transcoders, skip connections and groupmax are refused. sparsify 1.3.3.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from amortgap.interop.sae import SAE
from amortgap.interop.settle import OTHERS, SIGNED, Parts, agree, flag

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def recognises(tensors: dict[str, Tensor], content: dict[str, Any], name: str) -> bool:
    """Whether a lone file has this mixture of names; its k stands in the configuration alone."""
    return {"encoder.weight", "encoder.bias", "W_dec", "b_dec"} <= set(tensors)


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    activation = config.get("activation") or ("topk" if config else None)
    if activation not in (None, "topk"):
        raise ValueError(f"its activation is {activation}, which is not read{_because(activation)}")
    if flag(config.get("skip_connection") or False, "skip_connection") or "W_skip" in parts.tensors:
        raise ValueError(
            "it has a skip connection, so its codes alone do not give its output, which is not read"
        )
    if flag(config.get("transcode") or False, "transcode"):
        raise ValueError(f"it is a transcoder ({OTHERS['transcoder']}), which is not read")
    if flag(config.get("signed") or False, "signed"):
        activation = SIGNED
    given = {
        "W_enc": parts.matrix("encoder.weight").T,
        "b_enc": parts.take("encoder.bias"),
        "W_dec": parts.matrix("W_dec"),
        "b_dec": parts.take("b_dec"),
    }
    (N, M), widths = given["W_dec"].shape, dict(config)
    if not widths.get("num_latents") and config.get("expansion_factor"):
        widths["num_latents"] = config["expansion_factor"] * M
    agree(widths, {"M": ("d_in",), "N": ("num_latents",)}, M, N)
    said = {"architecture": activation, "k": config.get("k"), "normalise": "none"}
    # only transcoders take their input as it is
    said["subtract_b_dec"] = True if config else None
    return parts.build(said, {"subtract_b_dec": True}, **given)


def _because(activation: str) -> str:
    return f" ({OTHERS[activation]})" if activation in OTHERS else ""
