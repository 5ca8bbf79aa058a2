"""The device, the sizes, what is drawn for them, and the clock."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from ..output import REPORTS

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
WORKLOADS: dict[str, dict[str, Any]] = {
    "W1": {"N": 16, "M": 8, "K": 3, "n": 100_000},
    "W2": {"N": 256, "M": 64, "K": 8, "n": 50_000},
    "W3": {"N": 1000, "M": 200, "K": 20, "n": 20_000},
    "W4": {"N": 4608, "M": 576, "K": 40, "n": 4096, "noise": 0.01},
    "W5": {"N": 16384, "M": 768, "K": 35, "n": 4096, "noise": 0.01},
    "W6": {"N": 65536, "M": 2304, "K": 60, "n": 256, "noise": 0.01},
}

# batches large enough that the card, not the launching of its programs, sets the time
WORKLOADS |= {f"{name} x 8": {**WORKLOADS[name], "n": 8 * WORKLOADS[name]["n"]} for name in ("W4", "W5")}
# decoder (576, 4608) of a TopK SAE and 2048 activations of SmolLM2, saved by tests.benchmarks.solvers
NATURAL = REPORTS / "r1.pt"


def sized(name: str) -> dict[str, Any]:
    """A workload's sizes; tiny ones without a CUDA device, where everything is only tried out."""
    sizes = WORKLOADS[name]
    if CUDA:
        return sizes
    return {**sizes, "n": 8, "N": min(sizes["N"], 512), "M": min(sizes["M"], 64), "K": min(sizes["K"], 8)}


def draw(N: int, M: int, K: int, n: int, noise: float = 0.0, dtype: Any = torch.float32) -> Any:
    """D (M, N) Gaussian with unit columns, x (n, M) of half-normal, exactly K-sparse codes, and noise; and alpha.

    alpha is a twentieth of the penalty at which half of the samples have an active latent.
    """
    g = torch.Generator(DEVICE).manual_seed(0)
    D = torch.randn(M, N, generator=g, device=DEVICE, dtype=torch.float64)
    D /= torch.linalg.vector_norm(D, dim=0)
    support = torch.rand(n, N, generator=g, device=DEVICE).topk(K).indices
    values = torch.randn(n, K, generator=g, device=DEVICE, dtype=torch.float64).abs()
    x = torch.empty(n, M, device=DEVICE, dtype=torch.float64)
    rows = D.T.contiguous()
    for part in torch.arange(n, device=DEVICE).split(2048):
        x[part] = torch.bmm(values[part, None], rows[support[part]])[:, 0]
    x += noise * torch.randn(n, M, generator=g, device=DEVICE, dtype=torch.float64)
    D, x = D.to(dtype), x.to(dtype)
    return D, x, 0.05 * float((x @ D).amax(1).median())


def natural(dtype: Any = torch.float32) -> Any:
    """R1's D (M, N) and x (n, M); fewer of both without a CUDA device."""
    saved = torch.load(NATURAL, weights_only=True)
    D, x = (saved[name].to(DEVICE, dtype) for name in ("D", "x"))
    return (D, x) if CUDA else (D[:, :512].contiguous(), x[:8])


def wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def timed(call: Callable[[], Any], repeats: int = 5, most: float = 4.0) -> float:
    """Median seconds of `repeats` calls, or of as many as fit in `most` seconds, after one that is not counted."""
    call()
    wait()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < repeats and time.perf_counter() - begin < most:
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return median(times)


def answer(*command: str) -> str:
    """What a command prints, or "unknown"."""
    try:
        return (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
        )
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def about() -> dict[str, Any]:
    """The card, the versions, the day and the commit."""
    made = {
        "device": torch.cuda.get_device_name() if CUDA else "CPU",
        "driver": answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
    }
    return made | {"commit": answer("git", "rev-parse", "--short", "HEAD")}


class Late(Exception):
    """The time of a section, or of all of them, is up."""
