"""Intervals over independent values, one a dictionary or seed, and over documents of unequal length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from amortgap._errors import Refused

#: Scores nearer to 1 than this count as one score: Fisher's z would make much of the difference.
NEAREST = 1e-3

#: Scale -> (to it, back). On each the values are taken to be normal.
SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "plain": (lambda v: v, lambda v: v),
    # Fisher z, for correlations and other scores between -1 and 1
    "score": (lambda v: np.arctanh(np.clip(v, NEAREST - 1, 1 - NEAREST)), np.tanh),
    # for budgets, errors and ratios that span decades; the mean is geometric
    "log": (np.log, np.exp),
}


class Interval(NamedTuple):
    """A mean, the two ends of an interval, and the number of independent values behind it."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Any, scale: str = "plain") -> Interval:
    """The 95 % Student-t interval of the mean: m +- t_{n-1} s / sqrt(n) on the scale.

    Raises `Refused` for fewer than two values and for values that are not finite.
    """
    return _interval(values, scale, more=0)


def prediction(values: Any, scale: str = "plain") -> Interval:
    """The 95 % interval for one value more: m +- t_{n-1} s sqrt(1 + 1/n) on the scale.

    A published experiment has one dictionary; its number should fall in here if it measures what ours do.
    """
    return _interval(values, scale, more=1)


def scale_of(column: str) -> str:
    """The scale for a column of a table, by its name: correlations end at 1, and so must their intervals."""
    return "score" if column.endswith("mcc") else "plain"


def _interval(values: Any, scale: str, more: int) -> Interval:
    from scipy.stats import t as student

    v = np.asarray(values, dtype=float).ravel()
    if len(v) < 2:
        raise Refused("an interval needs at least two independent values")
    if not isinstance(scale, str) or scale not in SCALES:
        raise Refused(f"scale {scale!r} is none of {', '.join(SCALES)}")
    to, back = SCALES[scale]
    z = to(v)
    if not np.isfinite(z).all():
        raise Refused(f"an interval on the {scale} scale needs finite values, not {v.tolist()}")
    half = student.ppf(0.975, len(z) - 1) * z.std(ddof=1) * np.sqrt(more + 1 / len(z))
    mean = back(z.mean()) if scale == "log" else v.mean()
    low, high = back(z.mean() - half), back(z.mean() + half)
    # The mean of very skew scores can lie outside an interval that is symmetric in Fisher's z.
    return Interval(float(mean), float(min(low, mean)), float(max(high, mean)), len(v))


def over_documents(top: Any, bottom: Any, runs: Any = (), draws: int = 2000) -> Interval:
    """sum(top) / sum(bottom) with its 95 % interval: documents drawn anew, and the spread of `runs` added.

    top, bottom (documents,): such as the squared error and the power of each document's tokens; top may be a
    difference of two errors on the same documents. runs: the same ratio, run by run, where models were trained
    several times; the half-widths of their Student-t interval and of the bootstrap are added in squares.
    Raises `Refused` for fewer than two documents, and for values that are not finite.
    """
    top, bottom = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
    if top.shape != bottom.shape or top.ndim != 1 or len(top) < 2:
        raise Refused("an interval over documents needs two lists of equal length, of two documents or more")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise Refused("an interval over documents needs finite values")
    chosen = np.random.default_rng(0).integers(len(top), size=(draws, len(top)))
    ends = np.quantile(top[chosen].sum(1) / bottom[chosen].sum(1), [0.025, 0.975])
    mean = top.sum() / bottom.sum()
    spread = interval(runs) if len(runs) > 1 else Interval(0.0, 0.0, 0.0, 1)
    down, up = np.hypot([mean - ends[0], ends[1] - mean], (spread.high - spread.low) / 2)
    return Interval(float(mean), float(mean - down), float(mean + up), len(top))
