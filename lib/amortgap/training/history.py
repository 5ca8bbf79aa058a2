"""What was logged while training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class History:
    """What was logged while training: entry j was measured after steps[j] optimiser steps.

    flops: operations of the matrix products until then, one model's share, counted by torch itself.
    loss: training loss, one tensor of the model's leading shape an entry.
    measures: name -> list of values, from the function given to `fit`.
    seconds: wall-clock time of the training steps, measuring left out.
    """

    steps: list[int] = field(default_factory=list)
    flops: list[int] = field(default_factory=list)
    loss: list[Tensor] = field(default_factory=list)
    measures: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0

    def append(self, part: History, start: int) -> None:
        """Add the history of a run that began after `start` steps."""
        before = self.flops[-1] if self.flops else 0
        self.steps += [start + s for s in part.steps]
        self.flops += [before + f for f in part.flops]
        self.loss += part.loss
        for name, values in part.measures.items():
            self.measures.setdefault(name, []).extend(values)
        self.seconds += part.seconds


@dataclass
class Log:
    """Writes the history of one run: loss_at(step) and measure(model) after the steps `log`.

    cost: operations of one step.
    """

    model: nn.Module
    loss_at: Callable[[int], Tensor]
    cost: int
    log: set[int]
    measure: Callable[[nn.Module], dict[str, Any]] | None
    history: History = field(default_factory=History)

    @torch.no_grad()
    def record(self, step: int) -> None:
        """Note what was asked for after `step` steps. Raises FloatingPointError for a loss of NaN or infinity."""
        if step not in self.log:
            return
        loss = self.loss_at(step)
        if not torch.isfinite(loss).all():
            raise FloatingPointError(f"the loss is not finite after {step} steps; lower lr")
        self.history.steps.append(step)
        self.history.flops.append(step * self.cost)
        self.history.loss.append(loss.cpu())
        for name, value in (self.measure(self.model) if self.measure else {}).items():
            self.history.measures.setdefault(name, []).append(value)


def snapshot(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """A measure that keeps the model as it stands: {"state": a copy of its state dict}."""
    return {"state": {name: value.detach().clone() for name, value in model.state_dict().items()}}
