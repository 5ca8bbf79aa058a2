"""Who is right, and how fast: neither is left to the method that is judged."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.objectives import duality_gap

from . import THREADS


def worst_gap(D: Tensor, x: Tensor, codes: Any, alpha: float) -> float:
    """The largest relative duality gap of codes (n, N), in float64, whoever computed them."""
    codes = codes.T.toarray() if hasattr(codes, "toarray") else codes
    s = torch.from_numpy(np.ascontiguousarray(codes)).double().clamp_min(0)
    pairs = zip(x.double().split(1024), s.split(1024), strict=True)
    return max(float(duality_gap(D.double(), a, b, alpha).max()) for a, b in pairs)


def race(
    ours: Callable[[], Any], theirs: Callable[[], Any], sizes: tuple[int, int], repeats: int
) -> dict[str, Any]:
    """Microseconds a sample of both, interleaved, and the median of the ratios theirs / ours.

    `sizes` are the numbers of samples of ours and of theirs. CPU time on one thread, wall time on more. More often
    than `repeats` where that takes less than half a second.
    """
    clock = time.process_time if THREADS == 1 else time.perf_counter
    times: list[tuple[float, float]] = []
    stop = clock() + 0.5
    while len(times) < repeats or clock() < stop:
        begin = clock()
        theirs()
        middle = clock()
        ours()
        times.append(((middle - begin) / sizes[1] * 1e6, (clock() - middle) / sizes[0] * 1e6))
    peer, mine = np.median(times, axis=0)
    ratio = float(np.median([a / b for a, b in times]))
    return {"peer_us": float(peer), "our_us": float(mine), "ratio": ratio, "samples": sizes[1]}
