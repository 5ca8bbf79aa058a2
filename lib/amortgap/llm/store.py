"""Tensors with a JSON-able description in one safetensors file, written whole and checked when read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from amortgap._files import whole


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and a JSON-able description to ``path`` in one step, with a digest of both."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    with whole(path) as temporary:
        # as bytes, so that a full disk is an OSError
        temporary.write_bytes(save(tensors, {"about": text, "sha256": _digest(tensors, text)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``write`` wrote. Raises FileNotFoundError if absent, ValueError if damaged."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file.") from error
    if metadata.get("sha256") != _digest(tensors, metadata.get("about", "")):
        raise ValueError(f"{path} is damaged: its content does not match the digest it was written with.")
    return tensors, json.loads(metadata["about"])


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
