"""Activations that do not fit in memory: written to shards on disk once, read back in shuffled batches.

Recipe, files and resuming are those of ``activations``; only a few shards are in memory at a time. The first
pass writes the shards and measures norms, the second measures the mean and the scale of the training vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_count, generator
from amortgap.llm import store
from amortgap.llm.activations import configure, usable
from amortgap.llm.corpus import Tokens, split
from amortgap.llm.extract import extract, shards
from amortgap.llm.model import LanguageModel


@dataclass(frozen=True)
class Stream:
    """Normalised activations x = (raw − mean) / scale, E‖x‖² = M over the training split, as in ``Activations``."""

    folder: Path
    tokens: Tokens
    keep: Tensor  # (W, context) bool: not position 0, not an outlier
    mean: Tensor  # (M,)
    scale: float
    manifest: dict[str, Any]

    def count(self, part: str = "train") -> int:
        """How many vectors "train", "val" or "test" has."""
        return int(self.keep[split(self.tokens)[part]].sum())

    def batches(
        self, batch_size: int, part: str = "train", seed: int = 0, buffer: int = 4
    ) -> Iterator[Tensor]:
        """Every vector of one split once, (batch_size, M) float32 at a time, the last batch smaller.

        Shards are taken in an order fixed by ``seed``, ``buffer`` of them at a time, and their vectors shuffled
        together. Raises ValueError for a batch_size or buffer below one and when a shard is damaged,
        FileNotFoundError when it is gone.
        """
        batch_size, buffer = check_count(batch_size, "batch_size"), check_count(buffer, "buffer")
        draw = generator(seed)
        count = len(shards(self.folder, self.tokens)[0])
        order = torch.randperm(count, generator=draw).tolist()
        yield from self.shuffled(order, draw, batch_size, part, buffer)

    def shuffled(
        self, order: list[int], draw: torch.Generator, batch_size: int, part: str = "train", buffer: int = 4
    ) -> Iterator[Tensor]:
        """The vectors of one split in the shards `order`, as `batches` gives those of all; `draw` shuffles them."""
        chosen = self.keep & split(self.tokens)[part][:, None]
        paths, rows = shards(self.folder, self.tokens)
        rest = torch.empty(0, len(self.mean))
        for start in range(0, len(order), buffer):
            some = order[start : start + buffer]
            raw = [store.read(paths[i])[0]["hidden"][chosen[rows[i]]].float() for i in some]
            x = torch.cat([rest, (torch.cat(raw) - self.mean) / self.scale])
            x = x[torch.randperm(len(x), generator=draw)]
            full = len(x) - len(x) % batch_size
            yield from x[:full].split(batch_size) if full else ()
            rest = x[full:]
        if len(rest):
            yield rest

    def endless(self, batch_size: int, seed: int, first: int) -> Iterator[Tensor]:
        """Training batches number first, first + 1, ...: epoch e in the order of seed + e, full batches only."""
        whole = self.count("train") // batch_size
        epoch, skipped = divmod(first, whole)
        while True:
            for i, x in enumerate(self.batches(batch_size, seed=seed + epoch)):
                if skipped <= i < whole:
                    yield x
            epoch, skipped = epoch + 1, 0


def stream(
    model: str | LanguageModel = "smollm2",
    layer: int | str = 15,
    corpus: str = "sotu",
    n_tokens: int = 10_000_000,
    context: int = 128,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
    cache: Path | None = None,
) -> Stream:
    """What ``activations`` gives for the same arguments, left on disk. A killed call is continued by the next.

    Disk: M numbers of ``dtype`` a token. GPT-2 small on 410 M tokens of OpenWebText, as in the paper:
    ``stream("openai-community/gpt2", 8, "hf:Skylion007/openwebtext", 410_000_000, device="cuda",
    dtype="bfloat16")`` fills 630 GB. Raises what ``activations`` raises.
    """
    folder, config, load = configure(model, layer, corpus, n_tokens, context, seed, device, dtype, cache)
    norms: list[Tensor] = []
    tokens, manifest = extract(
        folder, config, load, lambda count, rows, hidden: norms.append(lengths(hidden))
    )
    keep, dropped = usable(torch.cat(norms))
    return from_moments(folder, tokens, keep, moments(folder, tokens, keep), manifest | dropped)


def lengths(hidden: Tensor) -> Tensor:
    """hidden (rows, context, M) -> the norms (rows, context)."""
    return torch.linalg.vector_norm(hidden, dim=2, dtype=torch.float32)


def moments(
    folder: Path, tokens: Tokens, keep: Tensor, worker: int = 0, workers: int = 1
) -> Iterator[tuple[Tensor, float, int]]:
    """Sum (M,), sum of squares and number of the training vectors, in float64, of each of a worker's shards."""
    chosen = keep & split(tokens)["train"][:, None]
    paths, rows = shards(folder, tokens)
    for path, part in zip(paths[worker::workers], rows[worker::workers], strict=True):
        x = store.read(path)[0]["hidden"][chosen[part]].double()
        yield x.sum(0), x.square().sum().item(), len(x)


def from_moments(
    folder: Path,
    tokens: Tokens,
    keep: Tensor,
    parts: Iterable[tuple[Tensor, float, int]],
    manifest: dict[str, Any],
) -> Stream:
    """The stream whose shards have these `moments`, which are added in the order of the shards."""
    sums, squares, counts = zip(*parts, strict=True)
    n = sum(counts)
    mean = sum(sums) / n
    M = len(mean)
    scale = ((sum(squares) / n - mean.square().sum().item()) / M) ** 0.5
    vectors = {part: int(keep[rows].sum()) for part, rows in split(tokens).items()}
    manifest = manifest | {"M": M, "scale": scale, "vectors": vectors}
    return Stream(folder, tokens, keep, mean.float(), scale, manifest)
