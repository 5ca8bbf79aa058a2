"""Activations to audit on: from a file, or read off a language model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amortgap._check import as_tensor
from amortgap.llm import Activations, LanguageModel, activations, from_file, load

NAMES = ("activations", "x")


@dataclass(frozen=True)
class Inputs:
    """Activations in the model's own units, and where they come from."""

    #: (n, M) float32
    x: Tensor
    #: (n,) int64: which document each activation comes from
    document: Tensor | None = None
    about: dict[str, Any] = field(default_factory=dict)
    model: LanguageModel | None = None
    layer: int | str = 1
    #: (W, context) token ids, to measure the model's loss on
    windows: Tensor | None = None

    def to(self, device: str) -> Inputs:
        """The same with the activations on `device`."""
        return replace(self, x=self.x.to(device))


def from_path(path: str | Path) -> Inputs:
    """Activations from a file: ``.npy`` (n, M), or safetensors with a tensor ``activations`` (or ``x``) of that
    shape and, if it is known, ``document`` (n,) whole numbers; or what ``amortgap.llm.save`` wrote.

    Raises FileNotFoundError and ValueError in one sentence.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    about: dict[str, Any] = {"activations": str(path)}
    try:
        tensors = {NAMES[0]: np.load(path, allow_pickle=False)} if path.suffix == ".npy" else load_file(path)
    except (ValueError, EOFError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged, or neither a .npy nor a safetensors file") from error
    if {"train.x", "mean"} <= set(tensors):
        sample = from_file(path)
        about |= {name: sample.manifest.get(name) for name in ("model", "layer", "corpus")}
        return Inputs(*_all_of(sample), about)
    name = next((name for name in NAMES if name in tensors), None)
    if name is None:
        raise ValueError(
            f"{path} has no tensor named {' or '.join(NAMES)}; it has {', '.join(sorted(tensors))}"
        )
    x = as_tensor(tensors[name], name).float()
    document = tensors.get("document")
    if x.ndim != 2 or (document is not None and tuple(document.shape) != (len(x),)):
        raise ValueError(f"{path}: {name} must have shape (n, M), not {tuple(x.shape)}, and document (n,)")
    return Inputs(x, None if document is None else torch.as_tensor(document).long(), about)


def from_model(
    model: str,
    layer: int | str,
    corpus: str,
    n_tokens: int,
    context: int = 128,
    seed: int = 0,
    device: str = "cpu",
) -> Inputs:
    """Activations of a language model on some text, position 0 and massive activations left out.

    Arguments and errors as ``amortgap.llm.activations``.
    """
    lm = load(model, device)
    acts = activations(lm, layer, corpus, n_tokens, context, seed)
    about = {
        "model": model,
        "layer": layer,
        "corpus": corpus,
        "tokens": n_tokens,
        "left out": acts.manifest["dropped"],
    }
    return Inputs(*_all_of(acts), about, lm, layer, acts.windows)


def _all_of(acts: Activations) -> tuple[Tensor, Tensor]:
    """All activations in the model's own units, and the document of each."""
    parts = (acts.train, acts.val, acts.test)
    return acts.restore(torch.cat([part.x for part in parts])), torch.cat([part.document for part in parts])
