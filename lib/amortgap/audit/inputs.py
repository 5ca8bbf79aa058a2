"""Activations to audit on: from files, or read off a language model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amortgap._check import as_tensor
from amortgap.audit.arrays import Rows, open_rows
from amortgap.audit.left_out import FIRST, MASSIVE, LeftOut, special
from amortgap.interop import SAE
from amortgap.llm import Activations, LanguageModel, activations, from_file, load

#: float32 numbers that are read at most: 256 MB
MEMORY = 2**26
#: norms whose squares, times some thousand terms, float32 holds
SMALL, LARGE = 1e-15, 1e15
#: tokens shown before an activation's own
BEFORE = 12


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
    #: (n, 2): the window of each activation and its position there; the text of each token id
    place: Tensor | None = None
    strings: dict[int, str] = field(default_factory=dict)
    #: (n,) int64: the row of the files that each activation is; shards count on
    row: Tensor | None = None
    #: rows of the files that are not in x
    left_out: LeftOut | None = None

    def __post_init__(self) -> None:
        if self.document is None:
            return
        document = torch.as_tensor(self.document)
        if document.shape != (len(self.x),):
            raise ValueError(
                f"document must name one document for each of {len(self.x)} activations, but its shape is "
                f"{tuple(document.shape)}"
            )
        object.__setattr__(self, "document", document)

    def to(self, device: str) -> Inputs:
        """The same with the activations on `device`."""
        return replace(self, x=self.x.to(device))

    def text(self, i: int) -> str | None:
        """The tokens that led to activation i, the last one its own in brackets; None where they are not known."""
        if self.place is None or self.windows is None:
            return None
        window, position = self.place[i].tolist()
        *before, last = self.windows[window, max(0, position - BEFORE) : position + 1].tolist()
        return "".join(self.strings[token] for token in before) + f"[{self.strings[last]}]"


def fitting(sae: SAE, given: Inputs, fewest: int, what: str) -> Tensor:
    """The activations (n, M) as float32, when they can be coded with `sae`.

    Raises ValueError, naming `what` is to be done, for what is no `Inputs`, for another width, fewer than `fewest`,
    all the same, and where squares of float32 would overflow or vanish.
    """
    if not isinstance(given, Inputs):
        raise ValueError(
            f"{what} takes what amortgap.audit's Inputs, from_path or from_model gives, not {type(given).__name__}"
        )
    x = as_tensor(given.x, "the activations").detach().float()
    if x.ndim != 2 or x.shape[1] != sae.M:
        raise ValueError(f"the activations are {tuple(x.shape)}, but this SAE takes (n, {sae.M})")
    if len(x) < fewest:
        raise ValueError(f"{what} needs at least {fewest} activations, not {len(x)}")
    check_varied(x, "the activations")
    largest = float(torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).max())
    if not SMALL < largest < LARGE:
        raise ValueError(
            f"the largest activation has norm {largest:.1e}, but float32 computes with {SMALL:g} to {LARGE:g} here"
        )
    return x


def check_varied(x: Tensor, what: str) -> None:
    """Raises ValueError where all rows of x (n, M) are one."""
    if torch.equal(x, x[:1].expand_as(x)):
        raise ValueError(f"{what} are all the same, so there is no variance to explain")


def from_path(path: str | Path, *, keep_all: bool = False, seed: int = 0, limit: int = MEMORY) -> Inputs:
    """Activations from a file or a folder of shards: ``.npy``, ``.npz``, ``.safetensors``, ``.pt``, ``.parquet``.

    An array (n, M) or (sequences, positions, M) of any float type, under the name ``activations`` or ``x`` where
    the file has names, and, if they are known, ``document``, ``position``, ``token`` and ``mask`` of each row; or
    what ``amortgap.llm.save`` wrote. Of files with more than `limit` numbers, as many rows as fit are drawn at
    random, so that memory does not grow with the file. Padding, BOS, position 0 and massive activations (see
    `left_out`) are counted, and left out unless `keep_all`.

    Raises FileNotFoundError and ValueError in one sentence.
    """
    path = Path(path)
    about: dict[str, Any] = {"activations": str(path)}
    if (sample := _sample(path)) is not None:
        about |= {name: sample.manifest.get(name) for name in ("model", "layer", "corpus")}
        return _all_of(sample, about)
    shards = open_rows(path)
    n, M = sum(shard.n for shard in shards), shards[0].shape[-1]
    size = min(n, max(1, limit // M))
    row = np.arange(n)
    if size < n:
        row = np.sort(np.random.default_rng(seed).choice(n, size, replace=False, shuffle=False))
    x, extras = _take(shards, row)
    found = special(x, extras)
    left_out = LeftOut(n, size, {reason: int(holds.sum()) for reason, holds in found.items()}, keep_all)
    keep = torch.ones(size, dtype=torch.bool)
    if not keep_all:
        for holds in found.values():
            keep &= ~holds
        if not keep.any():
            told = "--keep-all-rows (keep_all=True) keeps them."
            raise ValueError(f"{path}: no row is left. {left_out.sentence()} {told}")
    document = extras.get("document")
    return Inputs(
        x if keep.all() else x[keep],
        None if document is None else document[keep],
        about,
        row=torch.from_numpy(row)[keep],
        left_out=left_out,
    )


def _take(shards: list[Rows], row: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
    """The rows with these numbers, counted through all shards, and what is known of them."""
    parts, extras, start, last = [], [], 0, -1
    for shard in shards:
        mine = row[np.searchsorted(row, start) : np.searchsorted(row, start + shard.n)] - start
        parts.append(shard.take(mine))
        known = {name: value[torch.from_numpy(mine)] for name, value in shard.extras.items()}
        if "document" in known:
            # a shard that counts its documents from the start again has others than the one before
            whole = shard.extras["document"]
            shift = last + 1 - int(whole.min()) if int(whole.min()) < last else 0
            known["document"] = known["document"] + shift
            last = max(last, int(whole.max()) + shift)
        extras.append(known)
        start += shard.n
    together = {name: torch.cat([one[name] for one in extras]) for name in extras[0]}
    return torch.cat(parts) if len(parts) > 1 else parts[0], together


def _sample(path: Path) -> Activations | None:
    """What `amortgap.llm.save` wrote, if this is such a file."""
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            ours = {"train.x", "mean"} <= set(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, or no safetensors file") from error
    return from_file(path) if ours else None


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
    given = _all_of(acts, {"model": model, "layer": layer, "corpus": corpus, "tokens": n_tokens})
    dropped = dict(zip((FIRST, MASSIVE), acts.manifest["dropped"].values(), strict=True))
    n = len(given.x) + sum(dropped.values())
    left_out = LeftOut(n, n, {reason: count for reason, count in dropped.items() if count})
    return replace(given, model=lm, layer=layer, left_out=left_out)


def _all_of(acts: Activations, about: dict[str, Any]) -> Inputs:
    """All activations in the model's own units, with their documents and texts."""
    parts = (acts.train, acts.val, acts.test)
    x, document, window, position = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("x", "document", "window", "position")
    )
    place = torch.stack([window, position], 1)
    return Inputs(acts.restore(x), document, about, windows=acts.windows, place=place, strings=acts.strings)
