"""The learning rate of each step."""

from __future__ import annotations

import math
from typing import NamedTuple

WARM_UP = 0.05  # share of the steps over which Cosine raises the learning rate


class Cosine(NamedTuple):
    """From 0 to `top` along a line in the first 20th of the steps, then to 0 along half a cosine.

    Loshchilov & Hutter, ICLR 2017, eq. 5.
    """

    top: float


class AdamW(NamedTuple):
    """One learning rate for all steps, before each of which the weights decay: w <- (1 - lr decay) w.

    Loshchilov & Hutter, ICLR 2019, algorithm 2; `decay` is torch's default.
    """

    lr: float
    decay: float = 0.01


def learning_rate(lr: float | Cosine | AdamW, step: int, steps: int) -> float:
    """Of step number `step`, from 0: lr, or top times t/w while t < w, then (1 + cos(pi (t - w)/(1 - w)))/2.

    t = (step + 1/2) / steps is the share of the run at the middle of the step, w = WARM_UP.
    """
    if isinstance(lr, AdamW):
        return lr.lr
    if not isinstance(lr, Cosine):
        return lr
    t = (step + 0.5) / steps
    if t < WARM_UP:
        return lr.top * t / WARM_UP
    return lr.top * (1 + math.cos(math.pi * (t - WARM_UP) / (1 - WARM_UP))) / 2
