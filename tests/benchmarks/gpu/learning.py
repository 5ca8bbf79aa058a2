"""Training on the card."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from amortgap.encoders import ReLUEncoder, TopKEncoder
from amortgap.training import fit, stack

from .codes import PRECISIONS, Add, Row
from .common import CUDA, DEVICE, wait


def training(add: Add, _: dict[str, list[Row]]) -> None:
    """Samples a second of `fit`, and of the plainest torch loop of the same model: random batches, fused Adam."""
    batch, steps = (4096, 60) if CUDA else (16, 3)
    for M, N in ((576, 1152), (768, 16384)):
        if not CUDA:
            M, N = 16, 32
        x = torch.randn(32 * batch, M, device=DEVICE)
        kinds: dict[str, Callable[[], nn.Module]] = {
            "topk": partial(TopKEncoder, M, N, k=min(32, N)),
            "relu": partial(ReLUEncoder, M, N),
        }
        for kind, build in kinds.items():
            for product, precision in PRECISIONS.items():
                torch.set_float32_matmul_precision(precision)
                try:
                    ours = spent(
                        lambda s, b=build, x=x: fit(b().to(DEVICE), x, steps=s, batch_size=batch), steps
                    )
                    plain = spent(lambda s, b=build, x=x: plain_loop(b().to(DEVICE), x, s, batch), steps)
                finally:
                    torch.set_float32_matmul_precision("highest")
                row = {"M, N": f"{M}, {N}", "encoder": kind, "product": product, "batch": batch}
                rates = {"samples/s": steps * batch / ours, "plain loop, samples/s": steps * batch / plain}
                add(row | rates | {"times the plain loop's": plain / ours})
    x, steps = torch.randn(1024, 8, device=DEVICE), 1000 if CUDA else 5
    seconds = spent(
        lambda s: fit(stack([ReLUEncoder(8, 16, seed=i) for i in range(20)]).to(DEVICE), x, steps=s), steps
    )
    add(
        {
            "M, N": "8, 16, 20 models",
            "encoder": "relu",
            "batch": 1024,
            "µs a model-step": 5e4 * seconds / steps,
        }
    )


def spent(run: Callable[[int], Any], steps: int) -> float:
    """Seconds of the steps alone: the faster of two runs, less the faster of two without any step."""
    run(2)
    times: dict[int, list[float]] = {0: [], steps: []}
    for count in (0, steps, 0, steps):
        wait()
        start = time.perf_counter()
        run(count)
        wait()
        times[count].append(time.perf_counter() - start)
    return min(times[steps]) - min(times[0])


def plain_loop(model: Any, x: Tensor, steps: int, batch: int) -> None:
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    for _ in range(steps):
        rows = x[torch.randint(len(x), (batch,), device=x.device)]
        s = model.encode(rows)
        loss = (rows - s @ model.decoder.D.mT).square().mean() + 0.01 * s.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        model.decoder.normalise_()
