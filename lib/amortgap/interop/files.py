"""What lies in a file of tensors: safetensors, a torch pickle without code, or npz."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

TORCH = (".pt", ".pth", ".bin")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors in a file by name, and what else it says: safetensors' metadata, a pickle's plain values.

    Pickles are loaded with weights_only=True, so no code in them runs. Floating tensors become float32. Raises
    ValueError for a file that is damaged, holds code, or is none of the three.
    """
    try:
        if path.suffix == ".npz":
            content = _arrays(path)
        elif path.suffix in TORCH:
            content = _state(path)
        else:
            with safe_open(path, framework="pt") as file:
                content = dict(file.metadata() or {})
                content |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError("it is damaged, or not the kind of file that its name says") from error
    except SafetensorError as error:
        raise ValueError(
            f"it is damaged, or no safetensors file; pickles are named {', '.join(TORCH)}"
        ) from error
    content = {str(name): value for name, value in content.items()}
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_meta:
            kind = "no numbers" if value.is_meta else f"the layout {value.layout}"
            raise ValueError(f"{name} must be dense, but it has {kind}")
        value = value.detach()  # of pickled parameters
        tensors[name] = value.float() if value.is_floating_point() else value
    return tensors, {name: value for name, value in content.items() if not isinstance(value, Tensor)}


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays of numbers as tensors, and single texts as such."""
    with zipfile.ZipFile(path):  # numpy takes what is no archive for a pickle, and advises to load it
        pass
    content: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            try:
                value = arrays[name]
            except ValueError as error:
                raise ValueError(f"{name} is damaged, or holds objects, which are not loaded") from error
            content[name] = (
                str(value) if value.dtype.kind == "U" and value.ndim == 0 else _numbers(value, name)
            )
    return content


def _numbers(value: np.ndarray, name: str) -> Tensor:
    if value.dtype.kind not in "fiubc" or value.dtype.itemsize > 16 or value.dtype.char == "g":
        raise ValueError(f"{name} must hold numbers of at most 64 bits, not {value.dtype}")
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("="), copy=False))


def _state(path: Path) -> dict[str, Any]:
    """A state dict, which some training scripts put beside other things."""
    damaged = None
    try:
        if zipfile.is_zipfile(path):  # torch's loader does not look at the checksums
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it meets: pickle's, zipfile's and its own errors
        raise ValueError(
            "it is damaged, or a pickle that holds more than tensors, which is not loaded because it could run "
            "code; save the state_dict() of the module alone"
        ) from error
    if damaged:
        raise ValueError(f"it is damaged, or saved without checksums: that of {damaged} is wrong")
    if not isinstance(content, dict):
        raise ValueError("it is not a dictionary of tensors")
    inner = content.get("state_dict")
    return inner if isinstance(inner, dict) else content


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object, NaN and infinity as texts. ValueError for anything else, and where a key stands twice."""
    try:
        config = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=str, object_pairs_hook=_each_once
        )
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} must hold one JSON object")
    return config


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} stands twice")
    return dict(pairs)
