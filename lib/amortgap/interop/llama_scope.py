"""Llama Scope: a folder with ``hyperparams.json`` and ``checkpoints/final.safetensors``, or, from its makers'
package (llamascopium), with ``config.json`` and ``sae_weights.safetensors``.

encoder.weight (N, M), encoder.bias, decoder.weight (M, N), decoder.bias; the package: W_E (M, N), b_E, W_D (N, M),
b_D and activation_function.log_jumprelu_threshold (N,). With ``norm_activation`` dataset-wise the SAE takes
z = x sqrt(M) / norm, norm being the data's mean; hyperparams.json's jump_relu_threshold is in the units of x. With
``sparsity_include_decoder_norm`` the norms of the decoder take part in the selection. b_dec is never subtracted.
He et al., Llama Scope (2024); llamascopium 2.0.0b34.
"""

from __future__ import annotations

from typing import Any

import torch

from amortgap.interop.sae import SAE
from amortgap.interop.settle import OTHERS, Parts, agree, flag, number

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
PACKAGE_CONFIG, PACKAGE_WEIGHTS = "config.json", "sae_weights.safetensors"
NORM = "dataset_average_activation_norm"
NORMALISATIONS = {
    "dataset-wise": "expected_average_only_in",
    "token-wise": "constant_norm_rescale",
    "inference": "none",
}
ACTIVATIONS = {"jumprelu": "jumprelu", "topk": "topk", "batchtopk": "batchtopk", "relu": "standard"}


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    architecture = ACTIVATIONS.get(config.get("act_fn", ""))
    if architecture is None:
        raise ValueError(f"its act_fn {config.get('act_fn')!r} is not one of {', '.join(ACTIVATIONS)}")
    if flag(config.get("use_glu_encoder") or False, "use_glu_encoder"):
        raise ValueError("its encoder is gated by a second map (use_glu_encoder), which is not read")
    hooks = config.get("hook_point_in"), config.get("hook_point_out")
    if hooks[0] != hooks[1] or config.get("sae_type", "sae") != "sae":
        raise ValueError(f"it is no SAE but a transcoder or crosscoder ({OTHERS['transcoder']})")
    if config.get("norm_activation") not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"its norm_activation {config.get('norm_activation')!r} is not one of {known}")
    given: dict[str, Any] = _matrices(parts, flag(config.get("use_decoder_bias", True), "use_decoder_bias"))
    (N, M), widths = given["W_dec"].shape, dict(config)
    if config.get("d_sae") is None and config.get("expansion_factor"):
        widths["d_sae"] = config["expansion_factor"] * M
    agree(widths, {"M": ("d_model",), "N": ("d_sae",)}, M, N)
    normalise = NORMALISATIONS[config["norm_activation"]]
    scale = _scale(config, parts, hooks[0], M) if normalise == "expected_average_only_in" else None
    for name in [name for name in parts.tensors if name.startswith(NORM)]:
        parts.take(name)
    if architecture == "jumprelu":
        given["threshold"] = _threshold(config, parts, N, scale)
    subtract = flag(
        config.get("apply_decoder_bias_to_pre_encoder") or False, "apply_decoder_bias_to_pre_encoder"
    )
    said = {"architecture": architecture, "subtract_b_dec": subtract, "normalise": normalise}
    if architecture in ("topk", "batchtopk"):  # the others keep the top_k of an earlier stage
        said["k"] = config.get("top_k")
    norms = config.get("sparsity_include_decoder_norm", True)
    return parts.build(
        said,
        {},
        rescaled=flag(norms, "sparsity_include_decoder_norm"),
        input_scale=scale,
        metadata={"hook_name": hooks[0]} if hooks[0] else {},
        **given,
    )


def _matrices(parts: Parts, decoder_bias: bool) -> dict[str, Any]:
    if "W_E" in parts.tensors:
        found = {"W_enc": parts.matrix("W_E"), "b_enc": parts.take("b_E"), "W_dec": parts.matrix("W_D")}
        if decoder_bias:
            found["b_dec"] = parts.take("b_D")
    else:
        found = {"W_enc": parts.matrix("encoder.weight").T, "b_enc": parts.take("encoder.bias")}
        found["W_dec"] = parts.matrix("decoder.weight").T
        if decoder_bias:
            found["b_dec"] = parts.take("decoder.bias")
    if not decoder_bias:
        found["b_dec"] = found["W_enc"].new_zeros(len(found["W_enc"]))
    return found


def _scale(config: dict[str, Any], parts: Parts, hook: Any, M: int) -> float:
    norm = (config.get(NORM) or {}).get("in")
    if norm is None:
        stored = parts.get(f"{NORM}.{hook}")
        if stored is None:
            raise ValueError(f"it is normalised dataset-wise, but {NORM} is nowhere")
        norm = stored
    if (size := number(norm, NORM)) <= 0:
        raise ValueError(f"{NORM} must be positive, not {size:g}")
    return M**0.5 / size


def _threshold(config: dict[str, Any], parts: Parts, N: int, scale: float | None) -> torch.Tensor:
    for name in ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold"):
        if (log := parts.get(name)) is not None:
            return log.exp()
    if config.get("jump_relu_threshold") is None:
        raise ValueError(
            "it is a JumpReLU SAE, but it has neither jump_relu_threshold nor log_jumprelu_threshold"
        )
    threshold = number(config["jump_relu_threshold"], "jump_relu_threshold") * (scale or 1.0)
    return torch.full((N,), threshold)
