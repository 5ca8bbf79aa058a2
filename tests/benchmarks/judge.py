"""Who is right, and how fast: neither is left to the method that is judged."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.objectives import duality_gap

from . import THREADS


def as_codes(result: Any) -> Tensor:
    """Codes (n, N) from what any of the packages returns."""
    if hasattr(result, "toarray"):  # sparse, one signal a column
        result = result.T.toarray()
    if isinstance(result, tuple):  # the residual, and the codes
        result = result[1]
    result = getattr(result, "codes", result)
    return result if torch.is_tensor(result) else torch.from_numpy(np.ascontiguousarray(result))


def worst_gap(D: Tensor, x: Tensor, result: Any, alpha: float) -> float:
    """The largest relative duality gap of codes (n, N), in float64, whoever computed them."""
    D, s = D.double(), as_codes(result).clamp_min(0)
    pairs = zip(x.split(512), s.split(512), strict=True)
    return max(float(duality_gap(D, a.double(), b.double(), alpha).max()) for a, b in pairs)


def squared_residual(D: Tensor, x: Tensor, result: Any) -> Tensor:
    """||x - D s||^2 of each signal, in float64, from the latents in use."""
    s = as_codes(result)
    used = s.any(0)
    D = D[:, used].double()
    parts = zip(x.split(512), s.split(512), strict=True)
    return torch.cat([(a.double() - b[:, used].double() @ D.T).square().sum(1) for a, b in parts])


def race(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    sizes: tuple[int, int],
    repeats: int,
    prepared: Callable[[], Any] | None = None,
) -> dict[str, Any]:
    """Microseconds a sample of both, interleaved, and the median of the ratios theirs / ours.

    prepared: ours with a dictionary prepared before, timed as well.  `sizes` are the numbers of samples of ours and
    of theirs. CPU time on one thread, wall time on more. More often than `repeats` where that takes less than half
    a second.
    """
    clock = time.process_time if THREADS == 1 else time.perf_counter
    times: list[tuple[float, ...]] = []
    stop = clock() + 0.5
    while len(times) < repeats or clock() < stop:
        begin = clock()
        theirs()
        middle = clock()
        ours()
        end = clock()
        (prepared or float)()
        after = clock()
        parts = (middle - begin) / sizes[1], (end - middle) / sizes[0], (after - end) / sizes[0]
        times.append(tuple(1e6 * part for part in parts))
    peer, mine, given = np.median(times, axis=0)
    ratio = float(np.median([a / b for a, b, _ in times]))
    row = {"peer_us": float(peer), "our_us": float(mine), "ratio": ratio, "samples": sizes[1]}
    return row | ({"prepared_us": float(given)} if prepared else {})
