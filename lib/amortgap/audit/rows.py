"""The rows on one decoder, with what they leave unexplained, its interval, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from amortgap._progress import progress
from amortgap.audit.result import Row

#: tokens at a time, so that memory does not grow with their number
BATCH = 256
#: latents for each active one, with fewer than which a dense product is as fast
SPARSE = 16
#: tokens on which ways are tried before the clock starts: the first use of a kernel compiles it
FIRST = 2
#: resamplings of the bootstrap
DRAWS = 1000

#: z (n, M), codes (n, N) of the encoder -> name, codes, operations of each way
Coding = Callable[[Tensor, Tensor], Iterator[tuple[str, Tensor, int]]]


class Decoder(NamedTuple):
    """z_hat = D s + b: the name, D (M, N), b (M,)."""

    name: str
    D: Tensor
    b: Tensor


def batches(n: int) -> list[slice]:
    return [slice(start, start + BATCH) for start in range(0, n, BATCH)]


def clock(z: Tensor) -> Callable[[], float]:
    """Seconds; on one CPU thread those of this process, which other work on the machine hardly changes."""
    return time.process_time if z.device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def decode(s: Tensor, D: Tensor) -> Tensor:
    """D s for codes s (n, N), at the cost of their non-zeros where these are few: (n, M)."""
    if s.is_cuda or SPARSE * s.count_nonzero() > s.numel():
        return s @ D.T
    row, latent = s.nonzero(as_tuple=True)
    start = torch.searchsorted(row, torch.arange(len(s)))
    # D' is D's own memory where an SAE's rows are
    return embedding_bag(latent, D.T.contiguous(), start, mode="sum", per_sample_weights=s[row, latent])


class Measured:
    """One way, token by token, filled batch by batch; codes of some tokens, and on how many each latent is used."""

    def __init__(self, z: Tensor, N: int) -> None:
        self.error, self.l0, self.sum, self.cosine, self.length = z.new_zeros(5, len(z), dtype=torch.float64)
        self.used = torch.zeros(N, dtype=torch.long, device=z.device)
        self.kept: list[Tensor] = []
        self.work, self.seconds = 0, 0.0

    def put(self, rows: slice, z: Tensor, z_hat: Tensor, s: Tensor) -> None:
        self.error[rows] = (z - z_hat).double().square().sum(1)
        active = s > 0
        self.l0[rows], self.sum[rows] = active.sum(1).double(), s.sum(1).double()
        self.used += active.sum(0)
        # in float64, which the squares of no float32 leave
        own, its = (torch.linalg.vector_norm(one, dim=1, dtype=torch.float64) for one in (z, z_hat))
        both, tiny = (z.double() * z_hat.double()).sum(1), torch.finfo(torch.float64).tiny
        self.cosine[rows] = both / (own * its).clamp_min(tiny)
        # a zero activation has no ratio
        self.length[rows] = torch.where(own > 0, its / own.clamp_min(tiny), torch.nan)

    @property
    def codes(self) -> Tensor:
        """Of the tokens in `sample`, (samples, N): kept sparse, as a few ways' take more memory than D."""
        return torch.cat(self.kept).to_dense()


def measure(
    decoder: Decoder,
    encode: Callable[[Tensor], Tensor],
    coding: Coding,
    z: Tensor,
    keep: tuple[str, ...] = (),
    sample: Tensor | None = None,
) -> dict[str, Measured]:
    """Each way of coding z (n, M), the SAE's input, given its encoder's codes, encode(z).

    keep: ways whose codes are kept, on the tokens `sample` (their numbers, sorted). The encoder's time is that of
    `encode`; what depends on the dictionary alone, and compiling, is done before the clock starts.
    """
    found: dict[str, Measured] = {}
    for _ in coding(z[:FIRST], encode(z[:FIRST])):
        pass
    now = clock(z)
    for rows in progress(batches(len(z)), desc=f"{decoder.name} decoder"):
        began = now()
        codes = encode(z[rows])
        for method, s, work in coding(z[rows], codes):
            if z.is_cuda:
                torch.cuda.synchronize()
            spent = now() - began
            one = found.setdefault(method, Measured(z, codes.shape[1]))
            one.put(rows, z[rows], decode(s, decoder.D) + decoder.b, s)
            if method in keep and sample is not None:
                kept = s[sample[(sample >= rows.start) & (sample < rows.stop)] - rows.start]
                one.kept.append(kept.to_sparse())
            one.work, one.seconds = one.work + work, one.seconds + spent
            began = now()
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
                norm_ratio=float(one.length.nanmean()),
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
