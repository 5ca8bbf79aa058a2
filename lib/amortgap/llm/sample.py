"""One small file with everything a notebook needs of some activations, to work without model and text.

The committed ``tests/data/sotu_layer15.safetensors`` was made from public-domain text by
``save(activations("smollm2", layer=15, corpus="sotu", n_tokens=60_000), path)``.
"""

from pathlib import Path

import torch
from torch import Tensor

from amortgap._check import check_count, generator
from amortgap.llm import store
from amortgap.llm.activations import Activations, Split

NAMES = ("train", "val", "test")
FIELDS = ("window", "position", "token", "document")


def save(acts: Activations, path: str | Path, n: int = 1000, n_windows: int = 64, seed: int = 0) -> None:
    """Write about ``n`` random vectors from ``n_windows`` random windows as float16, split as in ``acts``.

    Raises ValueError for n or n_windows below one.
    """
    draw = generator(seed)
    n, n_windows = check_count(n, "n"), check_count(n_windows, "n_windows")
    splits = {name: getattr(acts, name) for name in NAMES}
    total = sum(len(split.x) for split in splits.values())
    rows = {}
    for name, split in splits.items():
        share = len(split.x) / total
        windows = _some(split.window.unique(), max(1, round(n_windows * share)), draw)
        there = torch.isin(split.window, windows).nonzero()[:, 0]
        rows[name] = _some(there, round(n * share), draw).sort()[0]
    used = torch.cat([splits[name].window[rows[name]] for name in NAMES]).unique()
    tensors = {"mean": acts.mean, "windows": acts.windows[used]}
    for name, split in splits.items():
        tensors[f"{name}.x"] = split.x[rows[name]].half()
        for field in FIELDS:
            tensors[f"{name}.{field}"] = getattr(split, field)[rows[name]].int()
        tensors[f"{name}.window"] = torch.searchsorted(used, split.window[rows[name]]).int()
    strings = {i: acts.strings[i] for i in tensors["windows"].unique().tolist()}
    vectors = {name: len(rows[name]) for name in NAMES}
    sample = {"of": acts.manifest["vectors"], "windows": len(used), "seed": seed, "stored as": "float16"}
    about = {
        "scale": acts.scale,
        "documents": acts.documents,
        "strings": strings,
        "manifest": acts.manifest | {"vectors": vectors, "sample": sample},
    }
    store.write(Path(path), tensors, about)


def from_file(path: str | Path) -> Activations:
    """What ``save`` wrote, as float32. Raises FileNotFoundError; ValueError for a damaged file."""
    tensors, about = store.read(Path(path))
    if not {"scale", "documents", "strings", "manifest"} <= set(about):
        raise ValueError(f"{path} was not written by amortgap.llm.save.")
    splits = {
        name: Split(tensors[f"{name}.x"].float(), *(tensors[f"{name}.{field}"].long() for field in FIELDS))
        for name in NAMES
    }
    return Activations(
        **splits,
        mean=tensors["mean"],
        scale=about["scale"],
        windows=tensors["windows"],
        documents=about["documents"],
        strings={int(i): text for i, text in about["strings"].items()},
        manifest=about["manifest"],
    )


def _some(values: Tensor, count: int, draw: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=draw)[:count]]
