"""Training in stages, between which latents that have died are given new directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amortgap._check import check_count, generator
from amortgap.training.batches import Stream
from amortgap.training.history import History
from amortgap.training.loop import fit
from amortgap.training.resampling import resample_dead
from amortgap.training.stacking import unstack


def fit_in_stages(
    model: nn.Module,
    x: Tensor | Stream,
    *,
    steps: int,
    stages: int,
    probe: Callable[[int], Tensor],
    log_at: Iterable[int] = (),
    seed: int = 0,
    checkpoint_file: str | Path | None = None,
    **options: Any,
) -> History:
    """`fit` in `stages` of about equal length, with a fresh Adam each; dead latents are resampled between them.

    Dead: silent on probe(stage), (n, M).  Steps are counted through, a stream goes on where the last stage ended,
    and rows in memory are shuffled anew.  The end of each stage is logged, too; other options go to `fit`.
    Each stage has a checkpoint file of its own, the one given with .0, .1, .. behind it; a killed run called again
    ends where it would have ended.  Raises ValueError as `fit`, and unless 1 <= stages <= steps.
    """
    stages = check_count(stages, "stages")
    generator(seed)
    if not stages <= steps:
        raise ValueError(f"stages must be between 1 and steps = {steps}, not {stages}")
    ends = [steps * (i + 1) // stages for i in range(stages)]
    log, whole = set(log_at), History()
    for stage, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        inside = [s - start for s in log if start < s <= end or s == start == 0]
        part = fit(
            model,
            _from(x, start) if callable(x) else x,
            steps=end - start,
            log_at=sorted({*inside, end - start}),
            seed=int(seed) + 1000 * stage,
            checkpoint_file=None if checkpoint_file is None else f"{checkpoint_file}.{stage}",
            **options,
        )
        whole.append(part, start)
        if end < steps:
            resample(model, probe(stage), seed + stage)
    return whole


def _from(stream: Stream, start: int) -> Stream:
    return lambda step: stream(start + step)


@torch.no_grad()
def resample(model: Any, x: Tensor, seed: int) -> None:
    """`resample_dead` with the rows of x (n, M), for each stacked model."""
    if model.decoder.D.ndim == 2:
        resample_dead(model, x, seed=seed)
        return
    for i in range(len(model.decoder.D)):
        single = unstack(model, i)
        resample_dead(single, x, seed=seed)
        for name, parameter in model.named_parameters():
            parameter[i] = single.get_parameter(name)
