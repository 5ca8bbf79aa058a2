"""The protocol of ``train`` on activations that stay on disk: a few shards in memory, resumable at any moment."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from amortgap import training
from amortgap._checkpoint import read_checkpoint, write_checkpoint
from amortgap.encoders._sparse import FLOPS
from amortgap.llm.stream import Stream
from amortgap.llm.train import PROBE, resample, stage_ends
from amortgap.training import History, reconstruction_loss


def train_stream(
    model: Any,
    stream: Stream,
    *,
    steps: int,
    batch_size: int,
    stages: int = 3,
    l1_weight: float | Tensor = 0.0,
    lr: float = 1e-3,
    log_at: Iterable[int] = (),
    seed: int = 0,
    label: str = "training",
    checkpoint_file: str | Path | None = None,
) -> History:
    """Adam on the reconstruction loss over the training split, dead latents resampled between the stages.

    model: stacked or single, on any device; changed in place. Epoch e takes ``stream.batches`` in the order of
    seed + e, without the last, smaller batch. Dead: silent on the first 8192 vectors of the order of ``seed``.
    history.loss is measured on the batch of its step, before that step.

    checkpoint_file: parameters, moments and history, saved once a minute and at the end. If it exists, the run goes
    on from it and ends bit for bit where it would have ended uninterrupted (on one machine).

    Raises ValueError unless 1 <= stages <= steps, lr > 0 and l1_weight >= 0, for a batch larger than the split, and
    for another run's checkpoint; FloatingPointError as soon as a loss is not finite.
    """
    ends = stage_ends(steps, stages)
    count = stream.count("train")
    if not 1 <= batch_size <= count:
        raise ValueError(f"batch_size must be between 1 and n = {count}, not {batch_size}")
    D = model.get_parameter("decoder.D")
    if D.shape[-2] != len(stream.mean):
        raise ValueError(
            f"the activations have {len(stream.mean)} numbers but the encoder reads {D.shape[-2]}"
        )
    l1_weight = torch.as_tensor(l1_weight, dtype=D.dtype, device=D.device)
    if not lr > 0 or not (l1_weight >= 0).all():
        raise ValueError("l1_weight must be >= 0 and lr > 0")

    def fresh() -> torch.optim.Adam:
        return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)

    log, history, adam, step = set(log_at), History(), fresh(), 0
    probe = next(stream.batches(min(PROBE, count), seed=seed)).to(D)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        reconstruction_loss(model, probe[:batch_size], l1_weight).sum().backward()
    model.load_state_dict(start)  # encoders keep counts of what they were trained on
    cost = counter.get_total_flops() * batch_size // (len(probe[:batch_size]) * math.prod(D.shape[:-2]))
    run = {
        "model": f"{type(model).__name__} {[tuple(p.shape) for p in model.parameters()]}",
        "data": [count, float(stream.mean.double().sum()), float(probe.double().sum())],
        "settings": [steps, stages, batch_size, l1_weight.tolist(), lr, seed, sorted(log)],
    }
    file = None if checkpoint_file is None else Path(checkpoint_file)
    if file is not None and file.exists():
        saved = read_checkpoint(file, run, D.device)
        step, history = saved["step"], History(**saved["history"])
        model.load_state_dict(saved["parameters"])
        adam.load_state_dict(saved["moments"])
    batches = _batches_from(step, stream, batch_size, seed)
    saved_at = time.perf_counter()
    for done in tqdm(range(step + 1, steps + 1), label, steps, initial=step, file=sys.stderr, delay=2):
        x = next(batches).to(D)
        began = time.perf_counter()
        adam.zero_grad()
        loss = reconstruction_loss(model, x, l1_weight)
        loss.sum().backward()
        adam.step()
        model.decoder.normalise_()
        history.seconds += time.perf_counter() - began
        if done in log:
            if not torch.isfinite(loss).all():
                raise FloatingPointError(
                    f"the loss is not finite after {done - 1} steps; lower lr (now {lr})"
                )
            history.steps.append(done)
            history.flops.append(done * cost)
            history.loss.append(loss.detach().cpu())
        if done in ends[:-1]:
            resample(model, probe, seed + done)
            adam = fresh()
        if file is not None and (done == steps or time.perf_counter() - saved_at >= training.SAVE_EVERY):
            state = {"parameters": model.state_dict(), "moments": adam.state_dict(), "history": vars(history)}
            write_checkpoint(file, {"run": run, "step": done, **state})
            saved_at = time.perf_counter()
    return history


def _batches_from(step: int, stream: Stream, batch_size: int, seed: int) -> Iterator[Tensor]:
    """The batches of steps step, step + 1, ..., epoch after epoch."""
    whole = stream.count("train") // batch_size
    epoch, skipped = divmod(step, whole)
    while True:
        for i, x in enumerate(stream.batches(batch_size, seed=seed + epoch)):
            if skipped <= i < whole:
                yield x
        epoch, skipped = epoch + 1, 0
