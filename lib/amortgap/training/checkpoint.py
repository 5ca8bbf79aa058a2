"""Files from which an interrupted training goes on."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amortgap._files import whole
from amortgap.training.history import History

SAVE_EVERY = 60.0  # seconds between two writes


class Checkpoint:
    """The file of one run; None for a run that keeps none.

    run: what must be equal for a run to go on from the file.  state: has Adam's moments() and restore().
    """

    def __init__(self, file: str | Path | None, run: dict[str, Any], model: nn.Module, state: Any) -> None:
        self.file, self.run, self.model, self.state = None if file is None else Path(file), run, model, state
        self.saved_at = time.perf_counter()

    def due(self) -> bool:
        """Whether the last write was long ago."""
        return self.file is not None and time.perf_counter() - self.saved_at >= SAVE_EVERY

    def write(self, step: int, history: History) -> None:
        """Save what the run needs to go on after `step` steps. Raises FloatingPointError for NaN and infinity."""
        for name, p in self.model.named_parameters():
            if not torch.isfinite(p).all():
                raise FloatingPointError(f"{name} is not finite after {step} steps; lower lr")
        if self.file is not None:
            parts = {"parameters": self.model.state_dict(), "moments": self.state.moments()}
            buffer = io.BytesIO()
            torch.save({"run": self.run, "step": step, "history": vars(history), **parts}, buffer)
            # as bytes, so that a full disk is an OSError
            with whole(self.file) as temporary:
                temporary.write_bytes(buffer.getvalue())
        self.saved_at = time.perf_counter()

    def read(self, steps: int) -> tuple[int, History] | None:
        """How many steps are made and their history, with model and state as they were; None without a file.

        Raises ValueError for a file that is damaged, of another run, or holds more than `steps` steps.
        """
        if self.file is None or not self.file.exists():
            return None
        device = next(self.model.parameters()).device
        try:
            saved = torch.load(self.file, map_location=device, weights_only=True)
        except Exception as error:  # of many kinds, for damage of many kinds
            raise ValueError(
                f"{self.file} is damaged or no checkpoint; remove it or name another file"
            ) from error
        if not isinstance(saved, dict) or saved.get("run") != self.run:
            raise ValueError(f"{self.file} belongs to another run; remove it or name another file")
        if saved["step"] > steps:
            raise ValueError(f"{self.file} holds {saved['step']} steps, more than {steps}")
        history = History(**saved["history"])
        history.loss = [loss.cpu() for loss in history.loss]
        self.model.load_state_dict(saved["parameters"])
        self.state.restore(saved["moments"], saved["step"])
        return saved["step"], history
