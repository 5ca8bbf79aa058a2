"""The rows on one decoder, with what they leave unexplained, its interval, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from amortgap.audit.result import Row

BATCH = 1024
#: float64 numbers that a batch of small least-squares systems may hold
MEMORY = 16_000_000
#: resamplings of the bootstrap
DRAWS = 1000

#: z (n, M), codes (n, N) of the encoder -> name, codes, operations of each way
Coding = Callable[[Tensor, Tensor], Iterator[tuple[str, Tensor, int]]]


class Decoder(NamedTuple):
    """z_hat = D s + b: the name, D (M, N), b (M,)."""

    name: str
    D: Tensor
    b: Tensor


def parts(codes: Tensor) -> list[slice]:
    """Batches in which n k^2 numbers fit in memory."""
    k = int((codes > 0).sum(1).max())
    size = max(1, min(BATCH, MEMORY // (k * k + 1)))
    return [slice(start, start + size) for start in range(0, len(codes), size)]


class Measured:
    """One way, token by token, filled batch by batch."""

    def __init__(self, z: Tensor, N: int, keep: bool) -> None:
        self.error, self.l0, self.cosine, self.length = z.new_zeros(4, len(z), dtype=torch.float64)
        self.codes = z.new_zeros(len(z), N) if keep else None
        self.work, self.seconds = 0, 0.0

    def put(self, rows: slice, z: Tensor, z_hat: Tensor, s: Tensor) -> None:
        self.error[rows] = (z - z_hat).double().square().sum(1)
        self.l0[rows] = (s > 0).sum(1).double()
        self.cosine[rows] = cosine_similarity(z, z_hat).double()
        norm = torch.linalg.vector_norm(z, dim=1).clamp_min(torch.finfo(z.dtype).tiny)
        self.length[rows] = (torch.linalg.vector_norm(z_hat, dim=1) / norm).double()
        if self.codes is not None:
            self.codes[rows] = s


def measure(
    decoder: Decoder, coding: Coding, z: Tensor, codes: Tensor, keep: tuple[str, ...] = ()
) -> dict[str, Measured]:
    """Each way of coding z (n, M), the SAE's input, given its encoder's codes (n, N); `keep` keeps those codes."""
    found: dict[str, Measured] = {}
    for rows in tqdm(parts(codes), desc=f"{decoder.name} decoder", delay=2):
        began = time.perf_counter()
        for method, s, work in coding(z[rows], codes[rows]):
            if z.is_cuda:
                torch.cuda.synchronize()
            spent = time.perf_counter() - began
            one = found.setdefault(method, Measured(z, codes.shape[1], method in keep))
            one.put(rows, z[rows], s @ decoder.D.T + decoder.b, s)
            one.work, one.seconds = one.work + work, one.seconds + spent
            began = time.perf_counter()
    if "L1" in found:  # without which its support is not known
        found["L1 support"].work += found["L1"].work
        found["L1 support"].seconds += found["L1"].seconds
    return found


def to_rows(decoder: Decoder, found: dict[str, Measured], z: Tensor, group: Tensor, seed: int) -> list[Row]:
    """With 95 % bootstrap intervals over `group` (n,)."""
    power = (z - z.mean(0)).double().square().sum(1)
    weights = bootstrap(group, seed)
    total, first = weights @ power, found["encoder"]
    of_encoder = (weights @ first.error) / total
    rows = []
    for method, one in found.items():
        drawn, mean = (weights @ one.error) / total, float(one.error.sum() / power.sum())
        low, high = ends(drawn)
        gain_low, gain_high = ends(of_encoder - drawn)
        explained = 1 - one.error / power.clamp_min(torch.finfo(power.dtype).tiny)
        rows.append(
            Row(
                decoder=decoder.name,
                method=method,
                fvu=mean,
                low=low,
                high=high,
                gain=float(first.error.sum() / power.sum()) - mean,
                gain_low=gain_low,
                gain_high=gain_high,
                l0=float(one.l0.mean()),
                l0_spread=float(one.l0.std()),
                cosine=float(one.cosine.mean()),
                norm_ratio=float(one.length.mean()),
                explained=float(explained.mean()),
                flops=one.work / len(z),
                seconds=one.seconds / len(z),
            )
        )
    return rows


def bootstrap(group: Tensor, seed: int) -> Tensor:
    """(DRAWS, n): how often each token is in each resampling of its groups."""
    places = group.unique(return_inverse=True)[1].cpu()
    count = int(places.max()) + 1
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(count, (DRAWS, count), generator=draw)
    times = torch.zeros(DRAWS, count, dtype=torch.float64)
    times.scatter_add_(1, chosen, torch.ones(DRAWS, count, dtype=torch.float64))
    return times[:, places].to(group.device)


def ends(values: Tensor) -> tuple[float, float]:
    """The 95 % interval of bootstrap values."""
    low, high = values.quantile(
        torch.tensor([0.025, 0.975], dtype=values.dtype, device=values.device)
    ).tolist()
    return low, high
