"""OpenAI's top-k SAEs: one ``.pt`` with pre_bias (M,), latent_bias (N,), encoder.weight (N, M), decoder.weight
(M, N), ``activation`` ("TopK" or "ReLU") and ``activation_state_dict`` (k), or k as a tensor.

s = TopK(W (x - pre_bias) + latent_bias), after a layer norm of x where the activation is TopK.
Gao et al., Scaling and evaluating sparse autoencoders (2024); openai/sparse_autoencoder, model.py.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from amortgap.interop.sae import SAE
from amortgap.interop.settle import Parts

KINDS = {"TopK": "topk", "ReLU": "standard"}


def recognises(tensors: dict[str, Tensor], content: dict[str, Any], name: str) -> bool:
    return {"pre_bias", "latent_bias"} <= set(tensors)


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    """config: what the pickle holds besides tensors."""
    kind, state = config.get("activation"), config.get("activation_state_dict") or {}
    if kind not in (None, *KINDS):
        raise ValueError(f"its activation {kind!r} is not one of {', '.join(KINDS)}")
    if state.get("postact_fn", "ReLU") != "ReLU":
        raise ValueError(f"its codes can be negative (postact_fn {state['postact_fn']!r}), which is not read")
    k = config.get("k", state.get("k"))
    if (buffer := parts.get("k")) is not None:
        k = buffer.item()
    # how long each latent has been silent: training's bookkeeping
    parts.get("stats_last_nonzero")
    given = {
        "W_enc": parts.matrix("encoder.weight").T,
        "b_enc": parts.take("latent_bias"),
        "W_dec": parts.matrix("decoder.weight").T,
        "b_dec": parts.take("pre_bias"),
    }
    said = {"architecture": KINDS.get(kind or ""), "k": k, "subtract_b_dec": True}
    rule = {"architecture": "topk"} if k is not None else {}
    topk = "topk" in (said["architecture"], parts.answers.architecture, rule.get("architecture"))
    return parts.build(said, rule | {"normalise": "layer_norm" if topk else "none"}, **given)
