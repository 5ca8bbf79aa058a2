"""A lone file of tensors that belongs to no project: what it does not say, the caller must.

W_enc (M, N), b_enc (N,), W_dec (N, M), b_dec (M,), or a torch module's encoder.weight (N, M), encoder.bias,
decoder.weight (M, N) and decoder.bias (or bias, or b_dec); threshold (N,) makes it jumprelu, and r_mag, b_mag and
b_gate gated. Qwen Scope stores W_enc (N, M) and W_dec (M, N), which the biases' lengths show. The metadata of a
safetensors file may say the rest in SAELens's words: architecture, k, apply_b_dec_to_input, normalize_activations
(with architecture and without this one: none), rescale_acts_by_decoder_norm.
"""

from __future__ import annotations

from typing import Any

from amortgap.interop.sae import SAE
from amortgap.interop.saelens import assemble as as_saelens
from amortgap.interop.settle import Parts

LINEAR = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
    "bias": "b_dec",
}


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    renamed: dict[str, Any] = {}
    for name, value in parts.tensors.items():
        new = LINEAR.get(name, name)
        if new in renamed or (new != name and new in parts.tensors):
            raise ValueError(f"it holds {new} twice: {name} is another name of it")
        renamed[new] = value.T if name.endswith(".weight") and new != name and value.ndim == 2 else value
    parts.tensors = _turned(renamed)
    known = {name: value for name, value in config.items() if isinstance(value, str | int | float | bool)}
    return as_saelens(known, parts, **({"normalise": "none"} if "architecture" in known else {}))


def _turned(tensors: dict[str, Any]) -> dict[str, Any]:
    """W_enc as (M, N) and W_dec as (N, M), where the biases say that the file has them the other way round."""
    bias = tensors.get("b_enc", tensors.get("b_gate"))
    if bias is None or "b_dec" not in tensors:
        return tensors
    shape = (len(tensors["b_dec"]), len(bias)) if bias.ndim == tensors["b_dec"].ndim == 1 else None
    for name, right in (("W_enc", shape), ("W_dec", shape and shape[::-1])):
        value = tensors.get(name)
        if right and value is not None and value.ndim == 2 and right[0] != right[1]:
            tensors[name] = value.T if tuple(value.shape) == right[::-1] else value
    return tensors
