"""Activations of a language model on real text, normalised, split by document and cached.

Recipe (checked at layer 15 of the packaged model): no BOS; position 0 of each window is dropped, because it
carries a massive activation (Sun et al. 2024, *Massive activations in large language models*); so are the few
vectors whose norm exceeds three times the median; the training mean is subtracted; one scale for all makes
the mean squared norm of the training vectors M, as in Templeton et al. 2024, *Scaling monosemanticity*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_count, check_device, generator
from amortgap._files import json_digest
from amortgap.llm import corpus as corpora
from amortgap.llm.cache import cache_folder
from amortgap.llm.extract import extract
from amortgap.llm.model import DTYPES, LanguageModel, check_untrained, load, locate

OUTLIER = 3.0  # times the median norm
RECIPE = 1  # raise it when windows or hooks change, so that older caches are left aside


@dataclass(frozen=True)
class Split:
    """Normalised activations of some documents, and where each one is from."""

    x: Tensor  # (n, M) float32
    window: Tensor  # (n,) int64, row of ``Activations.windows``
    position: Tensor  # (n,) int64, place in that window, 1 to context − 1
    token: Tensor  # (n,) int64, token id read at that place
    document: Tensor  # (n,) int64, index into ``Activations.documents``


@dataclass(frozen=True)
class Activations:
    """Training, validation and test activations; x = (raw − mean) / scale, E‖x‖² = M over ``train``."""

    train: Split
    val: Split
    test: Split
    mean: Tensor  # (M,) float32, of the raw training vectors
    scale: float
    windows: Tensor  # (W, context) int32 token ids
    documents: list[dict[str, str | None]]  # title, source, label
    strings: dict[int, str]  # text of each token id that occurs
    manifest: dict[str, Any]

    def normalise(self, raw: Tensor) -> Tensor:
        """From the model's units to those of ``x``: (n, M) -> (n, M)."""
        return (raw.float() - self.mean.to(raw.device)) / self.scale

    def restore(self, x: Tensor) -> Tensor:
        """The inverse of ``normalise``."""
        return x * self.scale + self.mean.to(x.device)

    def text(self, window: int, start: int = 0, stop: int | None = None) -> str:
        """The text of tokens ``start`` to ``stop`` of one window."""
        return "".join(self.strings[t] for t in self.windows[window, start:stop].tolist())


def activations(
    model: str | LanguageModel = "smollm2",
    layer: int | str = 15,
    corpus: str = "sotu",
    n_tokens: int = 200_000,
    context: int = 128,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    cache: Path | None = None,
    untrained: int | None = None,
) -> Activations:
    """Activations of ``model`` at ``layer`` on ``n_tokens`` tokens of ``corpus``, all in memory.

    ``model``: "smollm2", a hub name, a folder or a GGUF file (see ``model.load``), or a loaded model, which
    then brings its own device, dtype and weights. ``untrained``: the seed of random weights in place of the
    trained ones (see ``model.load``). ``layer``: blocks before the residual stream is read, or a hook name
    (see ``hooks``). ``corpus``: see ``corpus``. About 1/context of the tokens (position 0) and the outliers
    give no vector. Of the documents, in order of first appearance, number 1 of every ten is validation and
    number 2 is test. For more than fits in memory: ``stream``.

    The raw activations are kept in ``cache`` (default: ``cache_folder()``) under a key of everything that
    decides their value; an interrupted run continues where it stopped, and damaged files are recomputed with
    a warning. Raises FileNotFoundError, RuntimeError and ValueError in one sentence before any work, and
    ValueError when the model returns NaN or infinity.
    """
    folder, config, load_model = configure(
        model, layer, corpus, n_tokens, context, seed, device, dtype, cache, untrained
    )
    raw: list[Tensor] = []

    def put(count: int, rows: slice, hidden: Tensor) -> None:
        if not raw:
            raw.append(hidden.new_empty(count, *hidden.shape[1:]))
        raw[0][rows] = hidden

    cut, manifest = extract(folder, config, load_model, put)
    return _assemble(raw[0], cut, manifest)


def configure(
    model: str | LanguageModel,
    layer: int | str,
    corpus: str,
    n_tokens: int,
    context: int,
    seed: int,
    device: str,
    dtype: str,
    cache: Path | None,
    untrained: int | None = None,
) -> tuple[Path, dict[str, Any], Callable[[], LanguageModel]]:
    """The folder for these arguments of ``activations``, what decides its content, and how to get the model."""
    lm = model if isinstance(model, LanguageModel) else None
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}.")
    check_untrained(untrained)
    if lm and untrained is not None:
        raise ValueError("A loaded model brings its own weights; give untrained to load.")
    check_device(device)
    generator(seed)
    n_tokens, context = check_count(n_tokens, "n_tokens"), check_count(context, "context", 2)
    if not isinstance(layer, int | str):
        raise ValueError(f"layer must be a hook name or a whole number, not {layer!r}.")
    weights = lm.untrained if lm else untrained
    config = {
        "recipe": RECIPE,
        "model": lm.name if lm else model,
        "model_sha256": lm.sha256 if lm else locate(str(model))[1],
        "layer": int(layer) if str(layer).isdigit() else layer,
        "corpus": corpus,
        "corpus_sha256": corpora.fingerprint(corpus),
        "n_tokens": n_tokens,
        "context": context,
        "seed": int(seed),
        "device": (lm.device if lm else device).split(":")[0],
        "dtype": lm.dtype if lm else dtype,
    } | ({} if weights is None else {"untrained": weights})
    folder = (cache or cache_folder()) / "activations" / json_digest(config)
    return folder, config, lambda: lm or load(str(model), device, dtype, untrained)


def usable(norms: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Which vectors are kept, (W, context) bool, given their norms (W, context), and what was dropped."""
    median = norms[:, 1:].median().item()
    keep = norms <= OUTLIER * median
    outliers = int((~keep[:, 1:]).sum())
    keep[:, 0] = False
    return keep, {
        "dropped": {"position 0": len(norms), f"norm > {OUTLIER:g} × median": outliers},
        "median_norm": median,
        "median_norm_position_0": norms[:, 0].median().item(),
    }


def _assemble(raw: Tensor, cut: corpora.Tokens, manifest: dict[str, Any]) -> Activations:
    """raw (W, context, M) -> the record."""
    keep, dropped = usable(torch.linalg.vector_norm(raw, dim=2, dtype=torch.float32))
    rows = {name: (keep & chosen[:, None]).nonzero() for name, chosen in corpora.split(cut).items()}
    x = {name: raw[where[:, 0], where[:, 1]].float() for name, where in rows.items()}
    mean = x["train"].mean(0, dtype=torch.float64).float()
    # in parts, as a second copy of all activations may not fit
    power = [(part - mean).square().sum(1, dtype=torch.float64) for part in x["train"].split(2**16)]
    scale = (torch.cat(power).mean() / raw.shape[2]).sqrt().item()
    splits = {
        name: Split(
            x[name].sub_(mean).div_(scale),
            where[:, 0],
            where[:, 1],
            cut.windows[where[:, 0], where[:, 1]].long(),
            cut.document[where[:, 0]].long(),
        )
        for name, where in rows.items()
    }
    manifest |= {
        "M": raw.shape[2],
        "hook": "a whole number of blocks: the residual stream after them, before any final norm",
        "normalisation": "(raw - training mean) / scale, so that the training mean of the squared norm is M",
        "scale": scale,
        "split": "by document: of every ten, number 1 validation, number 2 test",
        "vectors": {name: len(split.x) for name, split in splits.items()},
        "documents": len(cut.documents),
        **dropped,
        "mean_share_of_power": (mean.square().sum() / (mean.square().sum() + scale**2 * raw.shape[2])).item(),
    }
    return Activations(
        **splits,
        mean=mean,
        scale=scale,
        windows=cut.windows,
        documents=cut.documents,
        strings=cut.strings,
        manifest=manifest,
    )
