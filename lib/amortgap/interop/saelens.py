"""Read and write SAEs: a folder as SAELens saves it, or one safetensors file.

A folder holds ``cfg.json`` and ``sae_weights.safetensors``; configurations of SAELens 2 to 6 are understood. A lone
file holds W_enc (M, N), b_enc (N,), W_dec (N, M), b_dec (M,), and threshold (N,) for jumprelu, or b_gate, r_mag and
b_mag (N,) for gated. The names of a torch module, encoder.weight (N, M), encoder.bias, decoder.weight (M, N) and
decoder.bias (or bias, b_dec), do as well. ``architecture`` and ``k`` may stand in the file's metadata.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from amortgap._files import read_json, whole, write_json
from amortgap.interop.sae import SAE, architectures, vectors

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: names of a torch module -> ours; the matrices are transposed
LINEAR = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
    "bias": "b_dec",
}


def read(path: str | Path, architecture: str | None = None, k: float | None = None) -> SAE:
    """The SAE in a folder or file (see the module), in float32.

    architecture and k take the place of what the files say. Raises FileNotFoundError for a path or file that is not
    there, ValueError for content that is no SAE this project knows; both name what is wrong in one sentence.
    """
    path = Path(path)
    if path.is_dir():
        for name in (CONFIG, WEIGHTS):
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path} is no SAELens folder: it has no {name}")
        config, (tensors, _) = _config(path / CONFIG), _tensors(path / WEIGHTS)
    elif path.is_file():
        tensors, config = _tensors(path)
    else:
        raise FileNotFoundError(f"there is no file or folder {path}")
    try:
        return _assemble(config, tensors, architecture, k)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write(sae: SAE, folder: str | Path) -> None:
    """`sae` as a SAELens 6 folder, which SAELens's ``SAE.load_from_disk`` reads.

    A batchtopk SAE with a threshold is written as jumprelu, as SAELens does itself.
    """
    folder = Path(folder)
    kind = "jumprelu" if sae.architecture == "batchtopk" and sae.threshold is not None else sae.architecture
    tensors = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    rule = architectures()[kind]
    tensors["b_gate" if rule.maps == 2 else "b_enc"] = sae.b_enc
    for name in vectors(rule):
        tensors[name] = getattr(sae, name)
    config: dict[str, Any] = {
        "architecture": kind,
        "d_in": sae.M,
        "d_sae": sae.N,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_b_dec,
        "normalize_activations": sae.normalise,
        "reshape_activations": "none",
        "metadata": sae.metadata,
    }
    if rule.sparsity == "k":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": sae.rescaled}
    with whole(folder / WEIGHTS) as temporary:
        save_file(
            {name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}, temporary
        )
    write_json(folder / CONFIG, config)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold one JSON object")
    return config


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file; a torch pickle can be converted with "
            "safetensors.torch.save_file(torch.load(file, weights_only=True), new_file)"
        ) from error


def _assemble(
    config: dict[str, Any], tensors: dict[str, Tensor], architecture: str | None, k: float | None
) -> SAE:
    tensors = {
        LINEAR.get(name, name): value.T.contiguous() if name.endswith(".weight") else value
        for name, value in tensors.items()
    }
    known = {**(config.get("metadata") or {}), **{name: config[name] for name in ABOUT if config.get(name)}}
    options = config.get("activation_fn_kwargs") or {}
    kind = architecture or config.get("architecture") or _recognise(tensors, k or config.get("k"))
    function = config.get("activation_fn_str") or config.get("activation_fn") or "relu"
    if kind == "standard" and function == "topk":  # SAELens up to 5
        kind = "topk"
    elif function not in ("relu", "topk"):
        raise ValueError(f"activation function {function!r} is not known; relu and topk are")
    rule = architectures().get(kind)
    if rule is None:
        raise ValueError(f"architecture {kind!r} is not one of {', '.join(architectures())}")
    bias = "b_gate" if rule.maps == 2 else "b_enc"
    missing = [name for name in ("W_enc", "W_dec", bias) if name not in tensors]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}; it has {', '.join(sorted(tensors)) or 'nothing'}")
    W_enc, W_dec = tensors["W_enc"], tensors["W_dec"]
    if W_dec.ndim != 2 or W_enc.ndim != 2:
        raise ValueError(f"W_enc {tuple(W_enc.shape)} and W_dec {tuple(W_dec.shape)} must be matrices")
    if config.get("d_out", W_dec.shape[1]) != W_enc.shape[0]:
        raise ValueError(
            "it is a transcoder: its output is not its input, so no code can be fitted to the input"
        )
    if (factor := tensors.get("scaling_factor")) is not None and config.get("finetuning_scaling_factor"):
        W_dec = W_dec * factor[:, None]
    threshold = tensors.get("threshold", tensors.get("topk_threshold"))
    if threshold is not None and threshold.numel() == 1:
        threshold = threshold.reshape(1).expand(len(W_dec)).clone()
    number = k or config.get("k") or options.get("k")
    return SAE(
        kind,
        W_enc,
        tensors[bias],
        W_dec,
        tensors.get("b_dec", torch.zeros(W_dec.shape[1])),
        k=float(number) if number is not None else None,
        threshold=threshold if rule.thresholded or kind == "batchtopk" else None,
        r_mag=tensors.get("r_mag") if rule.maps == 2 else None,
        b_mag=tensors.get("b_mag") if rule.maps == 2 else None,
        subtract_b_dec=bool(config.get("apply_b_dec_to_input", True)),
        rescaled=bool(config.get("rescale_acts_by_decoder_norm", False)),
        normalise=_normalisation(config.get("normalize_activations", "none")),
        metadata=known,
    )


#: what older configurations keep outside "metadata"
ABOUT = ("model_name", "hook_name", "hook_point", "dataset_path", "context_size", "prepend_bos")


def _normalisation(value: str | bool | None) -> str:
    """SAELens 2 wrote true and false."""
    if isinstance(value, bool) or value is None:
        return "expected_average_only_in" if value else "none"
    return value


def _recognise(tensors: dict[str, Tensor], k: Any) -> str:
    if "r_mag" in tensors:
        return "gated"
    if "topk_threshold" in tensors:
        return "batchtopk"
    if "threshold" in tensors:
        return "jumprelu"
    return "topk" if k else "standard"
