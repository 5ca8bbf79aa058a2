"""The learning rate of each step."""

from __future__ import annotations

import math

WARM_UP = 0.05  # share of the steps over which the cosine schedule raises the learning rate
SCHEDULES = ("constant", "cosine")


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
