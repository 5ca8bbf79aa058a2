"""Run a language model over token windows and keep its raw activations on disk, shard by shard.

A folder holds ``tokens.safetensors``, ``00000.safetensors`` … and, once all are there, ``manifest.json``.
A shard always covers the same windows in the same batches, so a run that was killed and resumed gives the
same bits as one that was not.
"""

import platform
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap._files import json_digest, lock, read_json, write_json
from amortgap._progress import progress
from amortgap.llm import store
from amortgap.llm.corpus import Tokens, split
from amortgap.llm.corpus import tokens as draw
from amortgap.llm.hooks import parse, read
from amortgap.llm.model import LanguageModel

SHARD = 32_768  # tokens: 75 MB at M = 576 in float32
BATCH = 4_096  # tokens


def extract(
    folder: Path,
    config: dict[str, Any],
    load: Callable[[], LanguageModel],
    take: Callable[[int, slice, Tensor], None],
) -> tuple[Tokens, dict[str, Any]]:
    """Fill ``folder`` with the activations that ``config`` names; returns the tokens and the manifest.

    Each shard, found or computed, is handed over in order: ``take(W, rows of the W windows, (rows,
    context, M))``.
    ``load`` is called only if something is missing in ``folder``. Another process that wants the same folder
    waits. Raises ValueError for a layer or context out of range, a corpus that is too small, NaN or infinity.
    """

    @cache
    def model() -> LanguageModel:
        lm = load()
        parse(config["layer"], len(lm.blocks), lm.name)
        longest = getattr(lm.model.config, "max_position_embeddings", config["context"])
        if config["context"] > longest:
            raise ValueError(
                f"context={config['context']} is more than the {longest} tokens {lm.name} can read."
            )
        return lm

    with lock(folder, wait=True):
        tokens = _tokens(folder / "tokens.safetensors", config, model)
        paths, rows = shards(folder, tokens)
        total = tokens.windows.numel()
        there = sum(
            tokens.windows[part].numel() for part, path in zip(rows, paths, strict=True) if path.is_file()
        )
        began, done = time.perf_counter(), 0
        with progress(
            total=total, initial=there, unit="token", unit_scale=True, disable=there == total
        ) as bar:
            for part, path in zip(rows, paths, strict=True):
                windows = tokens.windows[part]
                hidden = read_shard(path, config, windows)
                if hidden is None:
                    lm = model()
                    bar.set_description(f"{lm.name} layer {config['layer']}")
                    hidden = make_shard(path, config, windows, lm, bar)
                    done += windows.numel()
                take(len(tokens.windows), part, hidden)
        return tokens, _manifest(folder / "manifest.json", config, done, time.perf_counter() - began)


def shards(folder: Path, tokens: Tokens) -> tuple[list[Path], list[slice]]:
    """The files of a folder and the windows that each covers."""
    count, context = tokens.windows.shape
    size = max(1, SHARD // context)
    rows = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    return [folder / f"{i:05d}.safetensors" for i in range(len(rows))], rows


def read_shard(path: Path, config: dict[str, Any], windows: Tensor) -> Tensor | None:
    """The activations of `windows` that `make_shard` wrote; None, with a warning, for what cannot be used."""
    if (found := _intact(path, config)) is None:
        return None
    hidden = found[0].get("hidden")
    # shards of earlier versions do not say which they are
    ours = found[1].get("shard", int(path.stem)) == int(path.stem)
    if ours and hidden is not None and hidden.shape[:-1] == windows.shape:
        return hidden
    warnings.warn(f"{path} holds another shard. It is computed again.", stacklevel=2)
    return None


def make_shard(path: Path, config: dict[str, Any], windows: Tensor, lm: LanguageModel, bar: Any) -> Tensor:
    """Write the activations (rows, context, M) of `windows`, and the number of the shard."""
    hidden = _run(lm, windows, config, bar)
    store.write(path, {"hidden": hidden}, config | {"shard": int(path.stem)})
    return hidden


def _run(lm: LanguageModel, windows: Tensor, config: dict[str, Any], bar: Any) -> Tensor:
    hidden = []
    for batch in windows.split(max(1, BATCH // config["context"])):
        hidden.append(read(lm, batch, config["layer"]).cpu())
        if not hidden[-1].isfinite().all():
            raise ValueError(f"{lm.name} returned NaN or infinity at layer {config['layer']} in {lm.dtype}.")
        bar.update(batch.numel())
    return torch.cat(hidden)


def _intact(path: Path, config: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The content of a file, or None, with a warning if it is there but cannot be used."""
    try:
        tensors, about = store.read(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        warnings.warn(f"{error} It is computed again.", stacklevel=2)
        return None
    if {name: about.get(name) for name in config} != config:
        warnings.warn(f"{path} belongs to another configuration. It is computed again.", stacklevel=2)
        return None
    return tensors, about


def _tokens(path: Path, config: dict[str, Any], model: Callable[[], LanguageModel]) -> Tokens:
    if (found := _intact(path, config)) is None:
        names = ("corpus", "n_tokens", "context", "seed")
        corpus, n_tokens, context, seed = (config[name] for name in names)
        tokens = draw(corpus, model().tokenizer, n_tokens, context, seed)
        split(tokens)  # raises here, before the work, if there are too few documents
        texts = {"documents": tokens.documents, "strings": tokens.strings}
        store.write(path, {"windows": tokens.windows, "document": tokens.document}, config | texts)
        return tokens
    tensors, about = found
    strings = {int(i): text for i, text in about["strings"].items()}
    return Tokens(tensors["windows"], tensors["document"], about["documents"], strings)


def _manifest(path: Path, config: dict[str, Any], tokens: int, seconds: float) -> dict[str, Any]:
    """Write the manifest if this run computed anything, else read the one that is there, unless it is damaged."""
    if tokens == 0 and (found := _sealed(path)):
        return found
    import transformers

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    manifest = config | {"versions": versions, "processor": platform.machine()}
    if tokens:
        manifest |= {"tokens_per_second": round(tokens / seconds), "threads": torch.get_num_threads()}
    write_json(path, manifest | {"sealed": json_digest(manifest)})
    return manifest


def _sealed(path: Path) -> dict[str, Any] | None:
    """The manifest as it was written, or None, with a warning if it is there but damaged."""
    if not path.exists():
        return None
    try:
        manifest = dict(read_json(path))
        if manifest.pop("sealed", "") == json_digest(manifest):
            return manifest
    except (ValueError, TypeError, OSError):
        pass
    warnings.warn(f"{path} is damaged. It is written again.", stacklevel=2)
    return None
