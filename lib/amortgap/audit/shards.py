"""Every row of a folder of shards, audited shard by shard by several workers: sums, which are merged exactly.

Two passes: the mean of all rows, then each way's errors about it. A shard gives sums over groups of rows (float64),
and sums are added in the order of the shards, so the numbers are the same bits whoever worked on them, and those
of one audit of all rows. Memory: one shard of activations, and some numbers for each way and group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.audit.arrays import Rows, open_rows
from amortgap.audit.groups import BLOCK, FEWEST
from amortgap.audit.inputs import fitting, from_path
from amortgap.audit.left_out import LeftOut, special
from amortgap.audit.measure import CALIBRATION, FROM_THE_CODE, MEMORY
from amortgap.audit.measure import _ways as ways_for
from amortgap.audit.result import Row
from amortgap.audit.rows import Decoder, bootstrap, ends, measure
from amortgap.audit.ways import Ways
from amortgap.interop import SAE
from amortgap.solvers import prepare

#: ways that are scored
WAYS = ("encoder", "own support", "L1", "L1 support", "OMP", "pursuit among 4k")
#: groups that the bootstrap draws, at most
GROUPS = 10_000

#: (function, items) -> (number of the item, result), in any order; `amortgap.runs.sweep.sweep` is one
Share = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[tuple[int, Any]]]


@dataclass(frozen=True)
class ShardsResult:
    """The numbers of all rows; intervals are over `groups` of what is `resampled`."""

    rows: list[Row]
    tokens: int
    shards: int
    resampled: str
    groups: int
    #: share of the tokens on which each latent is active
    density: list[float]
    #: None where no LASSO was solved
    alpha: float | None
    worst_gap: float | None
    missing: dict[str, str]
    left_out: LeftOut


@dataclass(frozen=True)
class _Job:
    """What a worker needs. mean is None in the first pass."""

    sae: SAE
    path: Path
    #: rows of each shard
    sizes: list[int]
    #: neighbouring rows, or documents, that make a group
    block: int
    documents: bool
    keep_all: bool
    alpha: float | None
    k: int | None
    tol: float
    mean: Tensor | None = None


def alone(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """One after the other, here."""
    return ((i, function(item)) for i, item in enumerate(items))


def audit_shards(
    sae: SAE,
    path: str | Path,
    *,
    share: Share = alone,
    tol: float = 1e-4,
    seed: int = 0,
    keep_all: bool = False,
) -> ShardsResult:
    """Score `WAYS` on every row of the shards in a folder (see `amortgap.audit.from_path` for the files).

    alpha and OMP's number of latents are set on 256 rows, drawn from a sample of at most 256 MB. Rows that say
    nothing about an SAE are looked for in each shard by itself. Intervals: bootstrap over documents (one in two
    shards counts twice), or where shards do not name twelve over blocks of rows; neighbours are taken together so
    that there are at most 10 000.

    Raises ValueError for activations that do not fit the SAE or are fewer than 64, for an encoder that uses no
    latent, for a shard that is there twice, and where a worker sees other shards.
    """
    path, missing = Path(path), dict[str, str]()
    shards = open_rows(path)
    given = from_path(path, keep_all=keep_all, seed=seed)
    if given.x.shape[1] != sae.M:
        raise ValueError(f"the activations have width {given.x.shape[1]}, but this SAE takes (n, {sae.M})")
    fitting(sae, given, 64, "an audit")
    sae = sae.calibrated(given.x)
    some = torch.randperm(len(given.x), generator=torch.Generator().manual_seed(seed))[:CALIBRATION]
    z = sae.prepare(given.x[some])[0]
    sparsity = float((sae.encode(z) > 0).sum(1).double().mean())
    if not sparsity > 0:
        raise ValueError(
            "the encoder uses 0 latents on average; are these the activations the SAE was trained on?"
        )
    D = prepare(sae.D.T[sae.live].T, MEMORY)
    ways = ways_for(sae, D, z - sae.b_dec, sparsity, max(1, round(sparsity)), tol, missing)
    documents, block = _groups(shards)
    job = _Job(sae, path, [shard.n for shard in shards], block, documents, keep_all, ways.alpha, ways.k, tol)
    numbers = range(len(shards))
    first = _in_order(share(partial(_moments, job), numbers))
    _check_different(first, path)
    n = sum(one["n"] for one in first)
    mean = sum(one["sum"] for one in first) / n
    found = _in_order(share(partial(_score, replace(job, mean=mean)), numbers))
    reasons = sum((Counter(one["left_out"]) for one in first), Counter())
    total = sum(shard.n for shard in shards)
    return ShardsResult(
        rows=_rows([one for one in found if one["ways"]], n, seed),
        tokens=n,
        shards=len(shards),
        resampled="documents" if documents else "blocks",
        groups=sum(len(one["power"]) for one in found),
        density=(sum(one["used"] for one in found) / n).tolist(),
        alpha=ways.alpha,
        worst_gap=None if ways.alpha is None else max(one["gap"] for one in found),
        missing=missing,
        left_out=LeftOut(total, total, dict(reasons), keep_all),
    )


def _in_order(results: Iterable[tuple[int, Any]]) -> list[Any]:
    return [result for _, result in sorted(results, key=lambda one: one[0])]


def _check_different(first: list[dict[str, Any]], path: Path) -> None:
    """Raises ValueError where two shards are the same rows, by their numbers and sums."""
    seen: dict[Any, int] = {}
    for number, one in enumerate(first, 1):
        if one["n"] and (same := seen.setdefault((one["n"], *one["sum"].tolist()), number)) != number:
            raise ValueError(
                f"the shards number {same} and {number} in {path} hold the same rows, which would count twice; "
                "take one of them out"
            )


def _groups(shards: list[Rows]) -> tuple[bool, int]:
    """Whether groups are documents, and how many of them, or of rows, are taken together."""
    counts = [len(shard.extras["document"].unique()) for shard in shards if "document" in shard.extras]
    if len(counts) == len(shards) and sum(counts) >= FEWEST:
        return True, -(-sum(counts) // GROUPS)
    return False, max(BLOCK, -(-sum(shard.n for shard in shards) // GROUPS))


def _read(job: _Job, number: int) -> tuple[Tensor, Tensor, dict[str, int]]:
    """Of a shard: its activations as the SAE takes them, (n, M); the group of each, (n,); what was left out."""
    shards = open_rows(job.path)
    if [shard.n for shard in shards] != job.sizes:
        raise ValueError(
            f"the shards in {job.path} are no longer, or not on every machine, those that were there"
        )
    shard = shards[number]
    x = shard.take(np.arange(shard.n))
    found = special(x, shard.extras)
    keep = torch.ones(len(x), dtype=torch.bool)
    if not job.keep_all:
        for holds in found.values():
            keep &= ~holds
    unit = shard.extras["document"].unique(return_inverse=True)[1] if job.documents else torch.arange(len(x))
    counts = {reason: int(holds.sum()) for reason, holds in found.items()}
    return job.sae.prepare(x[keep])[0], (unit // job.block)[keep], counts


def _moments(job: _Job, number: int) -> dict[str, Any]:
    z, _, left_out = _read(job, number)
    return {"n": len(z), "sum": z.double().sum(0), "left_out": left_out}


def _score(job: _Job, number: int) -> dict[str, Any]:
    """Of a shard: sums over its groups for each way."""
    z, group, _ = _read(job, number)
    assert job.mean is not None
    D = prepare(job.sae.D.T[job.sae.live].T, MEMORY)
    ways = Ways(job.sae, D, job.alpha, job.k, job.tol)
    decoder = Decoder("SAE", D.D, job.sae.b_dec)
    found = measure(decoder, ways.encode, partial(ways, wanted=WAYS), z) if len(z) else {}
    power = (z.double() - job.mean).square().sum(1)
    names, place = group.unique(return_inverse=True)

    def sums(values: Tensor) -> Tensor:
        return torch.zeros(len(names), dtype=torch.float64).index_add_(0, place, values)

    scored = {
        name: {
            "error": sums(one.error),
            # sums over all its rows
            "l0": one.l0.sum(),
            "l0_square": one.l0.square().sum(),
            "cosine": one.cosine.sum(),
            "length": one.length.nansum(),
            "lengths": one.length.isfinite().sum(),
            "share": (one.error / power.clamp_min(torch.finfo(power.dtype).tiny)).sum(),
            "work": one.work,
            "seconds": one.seconds + (found["encoder"].seconds if name in FROM_THE_CODE else 0.0),
        }
        for name, one in found.items()
    }
    used = torch.zeros(job.sae.N, dtype=torch.float64)
    if found:
        used[job.sae.live] = found["encoder"].used.double()
    return {"ways": scored, "power": sums(power), "used": used, "gap": ways.worst_gap}


def _rows(found: list[dict[str, Any]], n: int, seed: int) -> list[Row]:
    """One for each way, from the sums of the shards that have rows."""
    shards = [one["ways"] for one in found]
    power = torch.cat([one["power"] for one in found])
    weights = bootstrap(torch.arange(len(power)), seed)
    total = weights @ power
    errors = {name: torch.cat([shard[name]["error"] for shard in shards]) for name in shards[0]}
    of_encoder = (weights @ errors["encoder"]) / total
    rows = []
    for name, error in errors.items():
        drawn, fvu = (weights @ error) / total, float(error.sum() / power.sum())
        low, high = ends(drawn)
        gain_low, gain_high = ends(of_encoder - drawn)
        mean = {
            what: float(sum(shard[name][what] for shard in shards)) / n
            for what in ("l0", "l0_square", "cosine", "length", "lengths", "share", "work", "seconds")
        }
        rows.append(
            Row(
                decoder="SAE",
                method=name,
                fvu=fvu,
                low=low,
                high=high,
                gain=float(errors["encoder"].sum() / power.sum()) - fvu,
                gain_low=gain_low,
                gain_high=gain_high,
                l0=mean["l0"],
                l0_spread=max(0.0, (mean["l0_square"] - mean["l0"] ** 2) * n / max(n - 1, 1)) ** 0.5,
                cosine=mean["cosine"],
                norm_ratio=mean["length"] / mean["lengths"],
                explained=1 - mean["share"],
                flops=mean["work"],
                seconds=mean["seconds"],
            )
        )
    return rows
