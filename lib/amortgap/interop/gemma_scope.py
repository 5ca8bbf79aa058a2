"""Gemma Scope: ``params.npz`` with W_enc (M, N), b_enc, W_dec (N, M), b_dec, threshold (N,), without configuration;
Gemma Scope 2: ``params.safetensors`` with w_enc, b_enc, w_dec, b_dec, threshold, and ``config.json``.

JumpReLU; b_dec is not subtracted and the input not normalised. An affine_skip_connection makes a transcoder.
Lieberum et al., Gemma Scope (2024), section 3; the key names as SAELens's loaders have them.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from amortgap.interop.sae import SAE
from amortgap.interop.settle import OTHERS, Parts

CONFIG, WEIGHTS = None, ("params.npz", "params.safetensors")


def recognises(tensors: dict[str, Tensor], content: dict[str, Any], name: str) -> bool:
    """By the file's name, and by the tensor that only a JumpReLU SAE has."""
    return name in WEIGHTS and "threshold" in tensors


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    if config.get("architecture", "jump_relu") != "jump_relu":
        raise ValueError(f"its config.json says architecture {config['architecture']!r}, not jump_relu")
    hooks = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    if "affine_skip_connection" in parts.tensors or (None not in hooks and hooks[0] != hooks[1]):
        raise ValueError(f"it is a transcoder ({OTHERS['transcoder']}), which is not read")
    given = {}
    for name in ("W_enc", "W_dec"):
        lower = name.lower()
        given[name] = parts.matrix(lower if lower in parts.tensors else name)
    given |= {name: parts.take(name) for name in ("b_enc", "b_dec", "threshold")}
    said = {"architecture": "jumprelu", "subtract_b_dec": False, "normalise": "none"}
    about = {"model_name": config.get("model_name")}
    return parts.build(said, {}, metadata={k: v for k, v in about.items() if v}, **given)
