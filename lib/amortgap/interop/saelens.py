"""SAELens: a folder with ``cfg.json`` and ``sae_weights.safetensors``, of versions 2 to 6.

W_enc (M, N), b_enc (N,), W_dec (N, M), b_dec (M,); jumprelu: threshold (N,); gated: b_gate, r_mag, b_mag (N,) and
no b_enc; matching_pursuit: W_dec and b_dec alone; batchtopk and matryoshka_batchtopk, as they are while they train:
topk_threshold (). b_dec is subtracted unless ``apply_b_dec_to_input`` is false. A lone safetensors file may carry
the same words in its metadata, as strings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from amortgap._errors import Refused
from amortgap._files import whole, write_json
from amortgap.interop.fold import folded
from amortgap.interop.sae import SAE, architectures, vectors
from amortgap.interop.settle import OTHERS, SIGNED, Parts, agree, flag, number

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: what older configurations keep outside "metadata"
ABOUT = ("model_name", "hook_name", "hook_point", "dataset_path", "context_size", "prepend_bos")
#: Ours: the input scale that `write` folded into the weights, so that `read` takes it out again.
FOLDED = "amortgap_input_scale"


def assemble(config: dict[str, Any], parts: Parts, **rule: Any) -> SAE:
    """The SAE of a configuration and its tensors; rule: what holds where neither configuration nor caller say."""
    name, k = _architecture(config)
    metadata = config.get("metadata") if isinstance(config.get("metadata"), dict) else {}
    given: dict[str, Any] = {
        "W_dec": parts.matrix("W_dec"),
        "b_dec": parts.take("b_dec"),
        "metadata": {**(metadata or {}), **{key: config[key] for key in ABOUT if config.get(key)}},
        "rescaled": flag(config.get("rescale_acts_by_decoder_norm") or False, "rescale_acts_by_decoder_norm"),
    }
    W_dec = given["W_dec"]
    asked = name or parts.answers.architecture
    if asked == "matching_pursuit":
        given |= _pursuit(config, W_dec, given["b_dec"])
        k = config.get("max_iterations") or W_dec.shape[-1]
        said: dict[str, Any] = {"subtract_b_dec": True}
    else:
        gated = asked == "gated" or (asked is None and "b_gate" in parts.tensors)
        given |= {"W_enc": parts.matrix("W_enc"), "b_enc": parts.take("b_gate" if gated else "b_enc")}
        if gated:
            given |= {"r_mag": parts.take("r_mag"), "b_mag": parts.take("b_mag")}
            rule.setdefault("architecture", "gated")
        said = {}
    if asked in ("jumprelu", "batchtopk", None):
        training = name == "batchtopk" and "threshold" not in parts.tensors
        given["threshold"] = _threshold(parts, W_dec, training)
    if (factor := parts.get("scaling_factor")) is not None and not (factor == 1).all():
        if not flag(config.get("finetuning_scaling_factor") or False, "finetuning_scaling_factor"):
            raise ValueError("it holds a scaling_factor, but its configuration says that none is to be used")
        given["W_dec"] = W_dec * factor[:, None]
    _fits(config, W_dec)
    if (subtract := config.get("apply_b_dec_to_input")) is not None:
        said.setdefault("subtract_b_dec", flag(subtract, "apply_b_dec_to_input"))
    normalise = config.get("normalize_activations")
    said |= {"architecture": name, "k": k}
    if normalise is not None:
        said["normalise"] = _normalisation(normalise)
    if asked is None and given.get("threshold") is not None:
        rule.setdefault("architecture", "jumprelu")
    sae = parts.build(said, rule, **given)
    if config.get(FOLDED) is not None:
        scale = number(config[FOLDED], FOLDED)
        if scale <= 0:
            raise ValueError(f"{FOLDED} must be above 0, not {scale:g}")
        return folded(sae, 1 / scale, normalise="expected_average_only_in", input_scale=scale)
    return sae


def _architecture(config: dict[str, Any]) -> tuple[str | None, Any]:
    """Its name and k, if the configuration says them. Versions 2 to 5 put both into the activation function."""
    name, options = config.get("architecture"), config.get("activation_fn_kwargs") or {}
    function = config.get("activation_fn_str") or config.get("activation_fn")
    if not isinstance(options, dict):
        raise ValueError(f"activation_fn_kwargs must be a JSON object, not {options!r}")
    k, other = config.get("k"), options.get("k")
    if k is not None and other is not None and number(k, "k") != number(other, "k"):
        raise ValueError(f"its configuration says k = {k}, and k = {other} in activation_fn_kwargs")
    k = other if k is None else k
    if function not in (None, "relu", "topk"):
        raise ValueError(f"activation function {function!r} is not known; relu and topk are")
    if function is not None and name in (None, "standard"):
        name = "topk" if function == "topk" else "standard"
        if name == "topk" and flag(options.get("signed") or False, "signed"):
            name = SIGNED
    if name is None and function is None and k is None and ("hook_point" in config or "hook_name" in config):
        # version 2 knew no other and did not say so; its words stand outside "metadata"
        name = "standard"
    if name == "matryoshka_batchtopk":  # nested losses, and the same inference
        name = "batchtopk"
    if name is not None and name not in (*architectures(), SIGNED, *OTHERS):
        known = ", ".join([*architectures(), SIGNED])
        raise ValueError(f"architecture {name!r} is not one of {known}")
    if name in OTHERS:
        raise ValueError(f"it is a {name} ({OTHERS[name]}), which is not read")
    return name, k


def _pursuit(config: dict[str, Any], W_dec: Tensor, b_dec: Tensor) -> dict[str, Any]:
    """The encoder is the decoder. Without the subtraction SAELens's decoder leaves b_dec out, too."""
    subtract = flag(config.get("apply_b_dec_to_input", True), "apply_b_dec_to_input")
    return {
        "W_enc": W_dec.T,
        "b_enc": W_dec.new_zeros(len(W_dec)),
        "b_dec": b_dec if subtract else torch.zeros_like(b_dec),
        "residual_threshold": number(config.get("residual_threshold", 1e-2), "residual_threshold"),
        "stop_on_repeat": flag(config.get("stop_on_duplicate_support", True), "stop_on_duplicate_support"),
    }


def _threshold(parts: Parts, W_dec: Tensor, training: bool) -> Tensor | None:
    """One for each latent. Of an SAE in training: one for all, which is zero as long as none is known."""
    one = parts.take("topk_threshold") if training else parts.get("topk_threshold")
    if one is None:
        return parts.get("threshold")
    value = number(one, "topk_threshold")
    return torch.full((len(W_dec),), value) if value > 0 else None


def _fits(config: dict[str, Any], W_dec: Tensor) -> None:
    N, M = W_dec.shape
    if config.get("d_out") is not None and number(config["d_out"], "d_out") != number(
        config.get("d_in", M), "d_in"
    ):
        raise ValueError(f"it is a transcoder: {OTHERS['transcoder']}")
    agree(config, {"M": ("d_in",), "N": ("d_sae",)}, M, N)


def _normalisation(value: Any) -> str:
    """SAELens 2 wrote true and false."""
    if isinstance(value, bool) or str(value).lower() in ("true", "false"):
        return "expected_average_only_in" if flag(value, "normalize_activations") else "none"
    return str(value)


def write(sae: SAE, folder: str | Path) -> None:
    """`sae` as a SAELens 6 folder, which SAELens's ``SAE.load_from_disk`` reads and encodes with in the same way.

    The decoder's norms (where they decide over the selection) and the input scale are folded into the weights, and
    a batchtopk SAE with a threshold is written as jumprelu, as SAELens does itself. Without a threshold it has the
    form that SAELens trains, which its ``TrainingSAE.load_from_disk`` reads. Raises `Refused` where the folder
    holds an SAE already.
    """
    folder = Path(folder)
    if there := [name for name in (CONFIG, WEIGHTS) if (folder / name).exists()]:
        raise Refused(f"{folder} already holds {' and '.join(there)}; choose another folder")
    scale = sae.input_scale if sae.normalise == "expected_average_only_in" else None
    plain = sae if scale is None else folded(sae, scale, normalise="none", input_scale=None)
    kind = "jumprelu" if sae.architecture == "batchtopk" and sae.threshold is not None else sae.architecture
    config: dict[str, Any] = {
        "architecture": kind,
        "d_in": sae.M,
        "d_sae": sae.N,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_b_dec,
        "normalize_activations": plain.normalise,
        "reshape_activations": "none",
        "metadata": sae.metadata,
    }
    if scale is not None:
        config[FOLDED] = scale
    rule = architectures()[kind]
    tensors: dict[str, Any] = {"W_dec": plain.W_dec, "b_dec": plain.b_dec}
    if kind == "matching_pursuit":
        config |= {
            "max_iterations": int(plain.k or 0),
            "residual_threshold": plain.residual_threshold,
            "stop_on_duplicate_support": plain.stop_on_repeat,
        }
    else:
        plain = folded(plain, norms=True) if plain.rescaled else plain
        tensors |= {"W_enc": plain.W_enc, "W_dec": plain.W_dec}
        tensors["b_gate" if rule.maps == 2 else "b_enc"] = plain.b_enc
        tensors |= {name: getattr(plain, name) for name in vectors(rule)}
        if rule.sparsity == "k":
            whole_k = plain.k is not None and plain.k == int(plain.k)
            config |= {"k": int(plain.k or 0) if whole_k else plain.k, "rescale_acts_by_decoder_norm": False}
        if kind == "batchtopk":
            tensors["topk_threshold"] = torch.tensor(0.0)
    tensors = {name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}
    # where one cannot be written, neither is
    with whole(folder / CONFIG) as said, whole(folder / WEIGHTS) as weights:
        write_json(said, config)
        save_file(tensors, weights)
