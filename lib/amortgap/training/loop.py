"""The loop of training: Adam on the loss of one batch after the other, logging, and files to go on from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from amortgap._check import check_count
from amortgap.encoders._sparse import FLOPS
from amortgap.training.batches import Batch, Rows, Stream, Streamed, check_samples
from amortgap.training.checkpoint import Checkpoint
from amortgap.training.history import History, Log
from amortgap.training.losses import reconstruction_loss, supervised_loss
from amortgap.training.packed import PackedEncoder, suits_kernel
from amortgap.training.schedule import AdamW, Cosine, learning_rate
from amortgap.training.steps import KernelSteps, TorchSteps, take


def fit(
    model: nn.Module,
    x: Tensor | Stream,
    *,
    steps: int,
    codes: Tensor | None = None,
    l1_weight: float | Tensor = 0.01,
    lr: float | Cosine | AdamW = 1e-3,
    batch_size: int | None = None,
    log_at: Iterable[int] = (),
    measure: Callable[[nn.Module], dict[str, Any]] | None = None,
    seed: int = 0,
    label: str = "training",
    checkpoint_file: str | Path | None = None,
) -> History:
    """Adam on the reconstruction loss, or on the supervised loss if codes are given. Changes the model in place.

    x: samples (n, M), or (B, n, M) with one data set a stacked model; codes likewise (.., n, N). Both are cast to
    the type of the model's parameters. Or a stream: a function from a number t to an endless iterator over the
    batches (n, M) of the steps t, t + 1, ...
    l1_weight: a number, or (B,) values.  lr: one learning rate for all steps, Cosine(top), or
    AdamW(lr, decay).
    batch_size: None for the full batch (the paper) and for a stream, otherwise random batches of samples,
    reshuffled every epoch with `seed`.
    After log_at steps the loss on the next batch and measure(model) are recorded; `snapshot` is a measure.
    Runs wherever model and x are; on the CPU, models in parallel on torch.get_num_threads() threads.

    checkpoint_file: where parameters, moments and history are saved once a minute and at the end. If the file
    exists, the run goes on from it, and ends bit for bit where it would have ended uninterrupted (on one machine);
    measures must then be numbers, tensors or dicts of these, and the other arguments the same.

    Raises ValueError for NaN or inf in the data, shapes or devices that do not fit, steps < 0, negative weights, a
    learning rate of zero or less, a batch size outside 1..n, a checkpoint file of another run; FloatingPointError
    when a logged loss, or a parameter at the end or before it is written, is not finite.
    """
    D = model.get_parameter("decoder.D")
    batches = _batches(D, x, codes, batch_size, seed)
    weight = torch.as_tensor(l1_weight, dtype=D.dtype, device=D.device)
    _check_settings(D, weight, steps, lr)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{type(model).__name__} has nothing to learn once its dictionary is given")

    def loss_on(batch: Batch) -> Tensor:
        rows, target = batch
        if target is None:
            return reconstruction_loss(model, rows, weight)
        return supervised_loss(model, rows, target)

    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        loss_on(batches.first()).sum().backward()
    cost = counter.get_total_flops() // math.prod(D.shape[:-2])
    log = Log(model, lambda step: loss_on(batches(step)), cost, set(log_at), measure)
    taker, state = _taker(model, batches, weight, log.loss_at, lr.decay if isinstance(lr, AdamW) else 0.0)
    run = {
        "model": f"{type(model).__name__} {[tuple(p.shape) for p in model.parameters()]}",
        "data": batches.data,
        # a run with a constant rate may go on for longer
        "pace": _pace(lr, steps),
        "settings": [weight.tolist(), batch_size, seed, sorted(log.log)],
    }
    file = Checkpoint(checkpoint_file, run, model, state)
    first = 0
    if (saved := file.read(steps)) is not None:
        first, log.history = saved
    else:
        log.record(first)
    rate = partial(learning_rate, lr, steps=steps)
    for step, seconds in take(taker, first, steps, rate, label, log.log):
        log.history.seconds += seconds
        log.record(step)
        if step == steps or file.due():
            file.write(step, log.history)
    return log.history


def _pace(lr: float | Cosine | AdamW, steps: int) -> Any:
    if isinstance(lr, Cosine):
        return [lr.top, "cosine", steps]
    return [*lr, "adamw"] if isinstance(lr, AdamW) else lr


def _taker(
    model: nn.Module,
    batches: Rows | Streamed,
    l1_weight: Tensor,
    loss_at: Callable[[int], Tensor],
    decay: float,
) -> tuple[KernelSteps | TorchSteps, PackedEncoder | TorchSteps]:
    """What takes the steps, and what holds Adam's moments."""
    # the kernel does not decay weights
    if not decay and isinstance(batches, Rows) and suits_kernel(model, batches.x):
        from amortgap.training.kernel import train_encoder

        packed = PackedEncoder(model, batches, l1_weight)
        return KernelSteps(train_encoder, packed), packed
    # supervised training never touches the decoder
    supervised = isinstance(batches, Rows) and batches.codes is not None
    decoder: Any = model.decoder
    steps = TorchSteps(
        [p for p in model.parameters() if p.requires_grad],
        lambda step: loss_at(step).sum().backward(),
        (lambda: None) if supervised else decoder.normalise_,
        decay,
    )
    return steps, steps


def _batches(D: Tensor, x: Any, codes: Tensor | None, batch_size: int | None, seed: int) -> Rows | Streamed:
    """The data, checked against the shape (.., M, N) of the model's dictionary."""
    if callable(x) and not isinstance(x, Tensor):
        if codes is not None or batch_size is not None:
            raise ValueError("a stream brings its own batches, and no codes")
        return Streamed(x, D)
    x = check_samples(x, "x", D, D.shape[-2])
    n = x.shape[-2]
    if codes is not None:
        codes = check_samples(codes, "codes", D, D.shape[-1])
        if codes.shape[-2] != n:
            raise ValueError(f"codes have {codes.shape[-2]} samples but x has {n}")
    if batch_size is not None and (batch_size := check_count(batch_size, "batch_size")) > n:
        raise ValueError(f"batch_size must be between 1 and n = {n}, not {batch_size}")
    return Rows(x, codes, batch_size, seed)


def _check_settings(D: Tensor, l1_weight: Tensor, steps: int, lr: float | Cosine | AdamW) -> None:
    lead = list(D.shape[:-2])
    if list(l1_weight.shape) not in ([], lead):
        raise ValueError(f"l1_weight must be a number or {tuple(lead)} values, not {tuple(l1_weight.shape)}")
    top = lr.top if isinstance(lr, Cosine) else lr.lr if isinstance(lr, AdamW) else lr
    if steps < 0 or not top > 0 or not (l1_weight >= 0).all():
        raise ValueError("steps and l1_weight must be >= 0 and lr > 0")
    if isinstance(lr, AdamW) and not 0 <= lr.decay * lr.lr < 1:
        raise ValueError(f"AdamW needs 0 <= lr decay < 1, not {lr.lr} x {lr.decay}")
