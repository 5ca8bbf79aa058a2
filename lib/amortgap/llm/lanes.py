"""Activations on disk, dealt out to workers: who extracts which shards, and who reads which in training.

The shards of a stream are dealt to LANES lanes, shard i to lane i mod LANES. Every lane shuffles its own shards and
gives its part of each batch, so that a batch is the same however many readers share the lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap._files import lock
from amortgap._progress import progress
from amortgap.llm.activations import configure
from amortgap.llm.corpus import Tokens, split
from amortgap.llm.extract import _tokens, make_shard, read_shard, shards
from amortgap.llm.model import LanguageModel
from amortgap.llm.stream import Stream, lengths


def extract_share(worker: int, workers: int, **arguments: Any) -> tuple[Path, Tokens, list[Tensor]]:
    """Extract the shards number worker, worker + workers, ... of `stream(**arguments)`; returns the folder of all,
    the tokens, and the norms of the vectors of these shards.

    Each shard is the same bits as `stream` makes, which finds them. May be killed and called again, on another
    number of workers. Arguments and errors as `stream`.
    """
    given: dict[str, Any] = {
        "context": 128,
        "seed": 0,
        "device": "cpu",
        "dtype": "float32",
        "cache": None,
    } | arguments
    folder, config, load = configure(**given)
    loaded: list[LanguageModel] = []

    def model() -> LanguageModel:
        if not loaded:
            loaded.append(load())
        return loaded[0]

    # one draws the tokens, the others read them
    with lock(folder, wait=True):
        tokens = _tokens(folder / "tokens.safetensors", config, model)
    paths, rows = shards(folder, tokens)
    mine = list(zip(paths, rows, strict=True))[worker::workers]
    with progress(total=sum(tokens.windows[part].numel() for _, part in mine), unit="token") as bar:
        norms = []
        for path, part in mine:
            hidden = read_shard(path, config, tokens.windows[part])
            if hidden is None:
                hidden = make_shard(path, config, tokens.windows[part], model(), bar)
            norms.append(lengths(hidden))
    return folder, tokens, norms


def lane(stream: Stream, number: int, lanes: int, size: int, seed: int, buffer: int = 4) -> Iterator[Tensor]:
    """The training vectors of one lane, (size, M) at a time, in an order fixed by `seed`; a rest is left out.

    `buffer` shards are shuffled together, as in `Stream.batches`.
    """
    mine = range(number, len(shards(stream.folder, stream.tokens)[0]), lanes)
    draw = torch.Generator().manual_seed(seed * lanes + number)
    order = [mine[j] for j in torch.randperm(len(mine), generator=draw).tolist()]
    yield from (x for x in stream.shuffled(order, draw, size, buffer=buffer) if len(x) == size)


def steps_of_epoch(stream: Stream, lanes: int, size: int) -> int:
    """How many batches every lane can give. Raises ValueError where it is none."""
    chosen = stream.keep & split(stream.tokens)["train"][:, None]
    rows = shards(stream.folder, stream.tokens)[1]
    counts = [sum(int(chosen[part].sum()) for part in rows[number::lanes]) for number in range(lanes)]
    if min(counts) < size:
        raise ValueError(
            f"{len(rows)} shards in {lanes} lanes give one {min(counts)} training vectors, fewer than the {size} "
            "of its part of a batch; use fewer lanes, smaller batches or more tokens"
        )
    return min(counts) // size


def batches(
    stream: Stream, mine: list[int], lanes: int, size: int, seed: int, first: int
) -> Iterator[Tensor]:
    """Of the batches of lanes x size vectors, number first, first + 1, ...: the parts of the lanes `mine`.

    Epoch e is in the order of seed + e.
    """
    whole = steps_of_epoch(stream, lanes, size)
    epoch, skipped = divmod(first, whole)
    while True:
        parts = zip(*(lane(stream, number, lanes, size, seed + epoch) for number in mine), strict=False)
        for step, x in enumerate(parts):
            if skipped <= step < whole:
                yield torch.cat(x)
        epoch, skipped = epoch + 1, 0
