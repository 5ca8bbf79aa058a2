"""Train encoders: many small ones as one stacked model, or one large one by mini-batches.

A stacked model is an ordinary encoder whose parameters carry a leading dimension B (seeds x lambda x widths);
every product is then a batched product, and the B losses are added, which leaves their gradients apart. On the
CPU in float32 a compiled kernel takes the steps where it is faster, with the same equations.
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, pad
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from amortgap._check import as_tensor
from amortgap._checkpoint import read_checkpoint, write_checkpoint
from amortgap._trainers import Batches, KernelSteps, TorchSteps, suits_kernel
from amortgap.encoders import MLPEncoder
from amortgap.encoders._sparse import FLOPS

SAVE_EVERY = 60.0  # seconds between two writes of a checkpoint file
CHUNK = 200  # steps between two looks at the clock
WARM_UP = 0.05  # share of the steps over which the cosine schedule raises the learning rate
SCHEDULES = ("constant", "cosine")


@dataclass
class History:
    """What was logged while training: entry j was measured after steps[j] optimiser steps.

    flops: operations of the matrix products until then, one model's share, counted by torch itself.
    loss: training loss, one tensor of the model's leading shape an entry.
    measures: name -> list of values, from the function given to `fit`.
    checkpoints: step -> state dict, at the steps asked for.
    seconds: wall-clock time of the training steps, measuring left out.
    """

    steps: list[int] = field(default_factory=list)
    flops: list[int] = field(default_factory=list)
    loss: list[Tensor] = field(default_factory=list)
    measures: dict[str, list[Any]] = field(default_factory=dict)
    checkpoints: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    seconds: float = 0.0


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """One model with leading dimension B out of B models of one class.

    Narrower hidden layers of an MLPEncoder are padded with zeros. Padded hidden units stay exactly zero: their
    input weights, output weights and gradients all vanish. Raises ValueError for mixed classes, settings (k,
    output, bias, learned or given D) or sizes.
    """
    if len({type(m) for m in models}) != 1:
        raise ValueError("stack needs one or more models of one class")
    if any(_settings(m) != _settings(models[0]) for m in models):
        raise ValueError("stacked models may differ in their values and hidden widths only")
    stacked = copy.deepcopy(models[0])
    for name, parameter in models[0].named_parameters():
        parts = [m.get_parameter(name).detach() for m in models]
        shape = [max(p.shape[d] for p in parts) for d in range(parameter.ndim)]
        padding = [
            [n for d in reversed(range(parameter.ndim)) for n in (0, shape[d] - p.shape[d])] for p in parts
        ]
        value = torch.stack([pad(p, amount) for p, amount in zip(parts, padding, strict=True)])
        owner, _, leaf = name.rpartition(".")
        setattr(stacked.get_submodule(owner), leaf, nn.Parameter(value, parameter.requires_grad))
    return stacked


def _settings(model: nn.Module) -> list[Any]:
    """All that stacked models must share: what is not a parameter, and the parameters' names and shapes."""
    any_width = isinstance(model, MLPEncoder)  # of hidden layers; the decoder's shape fixes the other two
    return [
        (name, p.requires_grad, p.dtype, p.ndim if any_width and name != "decoder.D" else p.shape)
        for name, p in model.named_parameters()
    ] + [(k, v) for m in model.modules() for k, v in vars(m).items() if k[0] != "_" and k != "training"]


def unstack(model: nn.Module, index: int) -> nn.Module:
    """Model number `index` of a stacked model, on its own (padding included)."""
    single = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        setattr(
            single.get_submodule(owner),
            leaf,
            nn.Parameter(parameter.detach()[index].clone(), parameter.requires_grad),
        )
    return single


def learning_rate(schedule: str, lr: float, step: int, steps: int) -> float:
    """Of step number `step`, from 0: lr, or lr times t/w while t < w, then (1 + cos(pi (t - w)/(1 - w)))/2.

    t = (step + 1/2) / steps is the share of the run at the middle of the step, w = WARM_UP.
    """
    t = (step + 0.5) / steps
    if schedule == "constant":
        return lr
    if t < WARM_UP:
        return lr * t / WARM_UP
    return lr * (1 + math.cos(math.pi * (t - WARM_UP) / (1 - WARM_UP))) / 2


def reconstruction_loss(model: Any, x: Tensor, l1_weight: float | Tensor) -> Tensor:
    """mean (x - x_hat)^2 + lambda mean |s|, one value for each stacked model: the paper's loss.

    An encoder that trains otherwise than it encodes has a method training_pass(x) -> (x_hat, penalty, extra): the
    reconstruction, what lambda multiplies in place of mean |s|, and a further loss; both means over the batch.
    """
    if hasattr(model, "training_pass"):
        x_hat, penalty, extra = model.training_pass(x)
    else:
        s = model.encode(x)
        x_hat, penalty, extra = model.decode(s), s.abs().mean((-2, -1)), 0.0
    return (x - x_hat).square().mean((-2, -1)) + l1_weight * penalty + extra


def supervised_loss(model: Any, x: Tensor, codes: Tensor) -> Tensor:
    """Minus the mean over latents of the cosine between s_i and s_hat_i over the batch (experiment E1)."""
    return -cosine_similarity(model.encode(x), codes, dim=-2).mean(-1)


def _size(x: Tensor) -> str:
    """||x|| to the digits that stay when other threads or another machine multiply in another order."""
    return f"{torch.linalg.vector_norm(x, dtype=torch.float64).item():.6g}"


def fit(
    model: nn.Module,
    x: Tensor,
    *,
    steps: int,
    codes: Tensor | None = None,
    l1_weight: float | Tensor = 0.01,
    lr: float = 1e-3,
    schedule: str = "constant",
    batch_size: int | None = None,
    log_at: Iterable[int] = (),
    measure: Callable[[nn.Module], dict[str, Any]] | None = None,
    keep: Iterable[int] = (),
    seed: int = 0,
    label: str = "training",
    checkpoint_file: str | Path | None = None,
) -> History:
    """Adam on the reconstruction loss, or on the supervised loss if codes are given. Changes the model in place.

    x (n, M), or (B, n, M) with one data set a stacked model; codes likewise (.., n, N). l1_weight: a number, or
    (B,) values. schedule: "constant" keeps the learning rate lr; "cosine" raises it linearly from 0 to lr over the
    first twentieth of the steps, then lowers it to 0 along half a cosine (Loshchilov & Hutter, ICLR 2017, eq. 5).
    batch_size: None for the full batch (the paper), otherwise random batches, reshuffled every epoch with `seed`.
    After log_at steps the loss and measure(model) are recorded, after keep steps a checkpoint. Runs wherever
    model and x are; on the CPU, models in parallel on torch.get_num_threads() threads.

    checkpoint_file: where parameters, moments and history are saved once a minute and at the end. If the file
    exists, the run goes on from it, and ends bit for bit where it would have ended uninterrupted (on one machine);
    measures must then be numbers or tensors, and the other arguments the same.

    Raises ValueError for NaN or inf in the data, shapes that do not fit, steps < 0, negative weights, an unknown
    schedule, a batch size outside 1..n, a checkpoint file of another run; FloatingPointError as soon as a logged
    loss is not finite.
    """
    *lead, M, N = tuple(model.get_parameter("decoder.D").shape)
    x = _check_data(x, "x", lead, M)
    n = x.shape[-2]
    if codes is not None:
        codes = _check_data(codes, "codes", lead, N)
        if codes.shape[-2] != n:
            raise ValueError(f"codes have {codes.shape[-2]} samples but x has {n}")
    l1_weight = torch.as_tensor(l1_weight, dtype=x.dtype, device=x.device)
    if list(l1_weight.shape) not in ([], lead):
        raise ValueError(f"l1_weight must be a number or {tuple(lead)} values, not {tuple(l1_weight.shape)}")
    if steps < 0 or not lr > 0 or not (l1_weight >= 0).all():
        raise ValueError("steps and l1_weight must be >= 0 and lr > 0")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {SCHEDULES}, not {schedule!r}")
    if batch_size is not None and not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be between 1 and n = {n}, not {batch_size}")
    learned = [p for p in model.parameters() if p.requires_grad]
    if not learned:
        raise ValueError(f"{type(model).__name__} has nothing to learn once its dictionary is given")
    log, keep_at, history = set(log_at), set(keep), History()
    batch_at = Batches(n, batch_size, seed)

    def loss_on(batch: Tensor | slice) -> Tensor:
        if codes is None:
            return reconstruction_loss(model, x[..., batch, :], l1_weight)
        return supervised_loss(model, x[..., batch, :], codes[..., batch, :])

    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        loss_on(slice(0, batch_size)).sum().backward()
    cost = counter.get_total_flops() // math.prod(lead)
    trainer: KernelSteps | TorchSteps
    if suits_kernel(model, x):
        trainer = KernelSteps(model, x, codes, l1_weight, batch_at)
    else:
        trainer = TorchSteps(model, learned, lambda step: loss_on(batch_at(step)), codes is None)
    pace = (
        lr if schedule == "constant" else [lr, schedule, steps]
    )  # only a constant rate may go on for longer
    run = {
        "model": f"{type(model).__name__} {[tuple(p.shape) for p in model.parameters()]}",
        "data": [list(x.shape), *(_size(part) for part in (x, codes) if part is not None)],
        "settings": [l1_weight.tolist(), pace, batch_size, seed, sorted(log), sorted(keep_at)],
    }

    @torch.no_grad()
    def record(step: int) -> None:
        if step in log:
            loss = loss_on(batch_at(step))
            if not torch.isfinite(loss).all():
                raise FloatingPointError(f"the loss is not finite after {step} steps; lower lr (now {lr})")
            history.steps.append(step)
            history.flops.append(step * cost)
            history.loss.append(loss.cpu())
            for name, value in (measure(model) if measure else {}).items():
                history.measures.setdefault(name, []).append(value)
        if step in keep_at:
            history.checkpoints[step] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    step, file = (
        -1,
        None if checkpoint_file is None else Path(checkpoint_file),
    )  # -1: not even step 0 is recorded
    if file is not None and file.exists():
        saved = read_checkpoint(file, run, x.device)
        if saved["step"] > steps:
            raise ValueError(f"{file} holds {saved['step']} steps, more than {steps}")
        step, history = saved["step"], History(**saved["history"])
        history.loss = [loss.cpu() for loss in history.loss]
        model.load_state_dict(saved["parameters"])
        trainer.restore(saved["moments"], step)

    def save(step: int) -> None:
        if file is not None:
            state = {"parameters": model.state_dict(), "moments": trainer.moments()}
            write_checkpoint(file, {"run": run, "step": step, "history": vars(history), **state})

    saved_at = time.perf_counter()
    with tqdm(total=steps, initial=max(step, 0), desc=label, file=sys.stderr, delay=2, mininterval=1) as bar:
        if step < 0:
            step = 0
            record(step)
        for stop in sorted({s for s in log | keep_at if step < s < steps} | {steps}):
            while step < stop:
                count = min(CHUNK, stop - step)
                start = time.perf_counter()
                trainer.advance(
                    step, [learning_rate(schedule, lr, t, steps) for t in range(step, step + count)]
                )
                history.seconds += time.perf_counter() - start
                step += count
                bar.update(count)
                if step == stop:
                    record(step)
                if file is not None and (step == steps or time.perf_counter() - saved_at >= SAVE_EVERY):
                    save(step)
                    saved_at = time.perf_counter()
    return history


def _check_data(value: Any, name: str, lead: list[int], width: int) -> Tensor:
    value = as_tensor(value, name)
    if (
        value.ndim < 2
        or 0 in value.shape
        or value.shape[-1] != width
        or list(value.shape[:-2]) not in ([], lead)
    ):
        raise ValueError(
            f"{name} must have shape {(*lead, 'n', width)} or (n, {width}), not {tuple(value.shape)}"
        )
    return value
