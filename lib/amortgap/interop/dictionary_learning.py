"""dictionary_learning: a folder ``trainer_*`` with ``config.json`` and ``ae.pt``, or ``ae.pt`` alone.

    class                                     tensors                                                     subtracted
    AutoEncoder                               encoder.weight, encoder.bias, decoder.weight, bias                bias
    AutoEncoderNew                            encoder.weight, encoder.bias, decoder.weight, decoder.bias     nothing
    GatedAutoEncoder                          encoder.weight, decoder.weight, r_mag, gate_bias, mag_bias,
                                              decoder_bias                                              decoder_bias
    AutoEncoderTopK, BatchTopKSAE             encoder.weight, encoder.bias, decoder.weight, b_dec, k,
                                              threshold                                                        b_dec
    MatryoshkaBatchTopKSAE                    W_enc, b_enc, W_dec, b_dec, k, threshold, group_sizes            b_dec
    JumpReluAutoEncoder                       W_enc, b_enc, W_dec, b_dec, threshold                          nothing

threshold is -1 until training sets it. AutoEncoderTopK takes the k largest whatever it is; the others use it.
Training folds its normalisation into the biases. Names, shapes and equations: dictionary_learning 0.1.0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap.interop.sae import SAE
from amortgap.interop.settle import Parts, agree, number

CONFIG, WEIGHTS = "config.json", "ae.pt"
CLASSES = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "batchtopk",
    "JumpReluAutoEncoder": "jumprelu",
}


def recognises(tensors: dict[str, Tensor], content: dict[str, Any], name: str) -> bool:
    """Whether the tensors of a lone file are those of one class, with its b_dec convention."""
    linear = {"encoder.weight", "decoder.weight"} <= set(tensors)
    biases = {"bias"}, {"gate_bias", "mag_bias", "decoder_bias"}, {"k", "threshold", "b_dec"}
    return (linear and any(some <= set(tensors) for some in biases)) or "group_sizes" in tensors


def assemble(config: dict[str, Any], parts: Parts) -> SAE:
    """The SAE of ``trainer.dict_class``; a lone file (config {}) is told by its tensors."""
    trainer = config.get("trainer") or {}
    kind = trainer.get("dict_class")
    if kind not in (None, *CLASSES):
        raise ValueError(f"its class {kind!r} is not one of {', '.join(CLASSES)}")
    said: dict[str, Any] = {"architecture": CLASSES[kind] if kind else None, "k": trainer.get("k")}
    if config and kind is None:
        raise ValueError("its config.json names no trainer.dict_class")
    buffer, threshold, one = parts.get("k"), None, -1.0
    if buffer is not None:
        k = number(buffer, "k")
        if said["k"] is not None and said["k"] != k:
            raise ValueError(f"its config.json says k = {said['k']}, but ae.pt says {k:g}")
        said["k"] = k
    if kind == "JumpReluAutoEncoder":
        threshold = parts.take("threshold")
    elif buffer is not None or said["architecture"] in ("topk", "batchtopk"):
        # the first versions of the top-k class had none
        if kind != "AutoEncoderTopK" or "threshold" in parts.tensors:
            one = number(parts.take("threshold"), "threshold")
        kinds = said["architecture"] or parts.answers.architecture or _kind(parts, one)
        said["architecture"] = said["architecture"] or kinds
    if "group_sizes" in parts.tensors:  # of the nested losses; all groups encode
        parts.take("group_sizes")
    matrices = _matrices(parts, gated="gate_bias" in parts.tensors)
    N, M = matrices["W_dec"].shape
    agree(trainer, {"M": ("activation_dim",), "N": ("dict_size",)}, M, N)
    if said["architecture"] == "batchtopk" and one > 0:
        threshold = torch.full((N,), one)
    if "r_mag" in matrices:
        said["architecture"] = said["architecture"] or "gated"
    subtract = kind not in ("AutoEncoderNew", "JumpReluAutoEncoder")
    said |= {"subtract_b_dec": subtract, "normalise": "none"}
    about = {"model_name": trainer.get("lm_name"), "layer": trainer.get("layer")}
    metadata = {name: value for name, value in about.items() if value is not None}
    rule = {} if config or buffer is not None else {"architecture": "standard"}
    return parts.build(said, rule, threshold=threshold, metadata=metadata, **matrices)


def _kind(parts: Parts, threshold: float) -> str | None:
    """The two classes have the same names; a threshold that training never set is no BatchTopK threshold."""
    if "group_sizes" in parts.tensors:
        return "batchtopk"
    return "topk" if threshold < 0 else None


def _matrices(parts: Parts, gated: bool) -> dict[str, Tensor]:
    if "W_enc" in parts.tensors:
        vectors = {name: parts.take(name) for name in ("b_enc", "b_dec")}
        return {name: parts.matrix(name) for name in ("W_enc", "W_dec")} | vectors
    found = {"W_enc": parts.matrix("encoder.weight").T, "W_dec": parts.matrix("decoder.weight").T}
    if gated:
        names = {"b_enc": "gate_bias", "r_mag": "r_mag", "b_mag": "mag_bias", "b_dec": "decoder_bias"}
    else:
        own = next((name for name in ("bias", "decoder.bias") if name in parts.tensors), "b_dec")
        names = {"b_enc": "encoder.bias", "b_dec": own}
    return found | {ours: parts.take(theirs) for ours, theirs in names.items()}
