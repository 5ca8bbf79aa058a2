"""Equal steps: each part of the paper's experiments measured by itself, theirs and ours interleaved."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from amortgap.dictionaries import log_adam_dictionary
from amortgap.metrics import mcc
from amortgap.problem import unit_columns
from amortgap.solvers import solve
from amortgap.training import fit, stack

from .authors import TheirModel, their_codes, their_mcc, their_training
from .setting import (
    ALPHA,
    L1,
    LOG_EVERY,
    RUNS,
    STEPS,
    Data,
    M,
    N,
    arm_name,
    our_scores,
    starts,
    supervision,
)

Clocks = tuple[float, float]  # seconds of processor time, of wall time
WHO, CLOCKS = ("theirs", "ours"), ("cpu", "wall")
KEYS = [f"{who}_{clock}" for who in WHO for clock in CLOCKS]


def timed(run: Callable[[], Any], count: float, threads: int) -> Clocks:
    torch.set_num_threads(threads)
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count


def race(
    theirs: Callable[[], Any],
    ours: Callable[[], Any],
    counts: tuple[float, float],
    repeats: int,
    threads: int = 1,
) -> dict[str, float]:
    """Seconds a unit of theirs (1 thread) and ours: medians of interleaved repeats, a first one left out."""
    pairs = [(timed(theirs, counts[0], 1), timed(ours, counts[1], threads)) for _ in range(repeats + 1)]
    return {
        f"{who}_{clock}": median(pair[k][i] for pair in pairs[1:])
        for k, who in enumerate(WHO)
        for i, clock in enumerate(CLOCKS)
    }


def their_score(data: Data, experiment: str, s: Tensor, D: Tensor) -> float:
    if experiment == "E3":
        their_mcc(data.D[0], D)
    return their_mcc(data.codes_test[0], s, match=experiment != "E1")


def encoder_parts(
    data: Data, experiment: str, h: int, steps: int, repeats: int, threads: int
) -> list[dict[str, Any]]:
    """A training step and an evaluation of one encoder: ours for all runs at once, theirs for the first."""
    models, codes = starts(data, experiment, h), supervision(data, experiment)
    # ours has a set-up of milliseconds that the paper's steps would hide
    many = steps * (10 if h <= 32 else 1)

    def theirs() -> TheirModel:
        model = TheirModel(models[0])
        their_training(model, data.x[0], None if codes is None else codes[0], steps)
        return model

    def ours(n: int) -> Any:
        model = stack(models)
        fit(model, data.x, codes=codes, steps=n, l1_weight=L1)
        return model

    @torch.no_grad()
    def our_evaluation(model: Any) -> dict[str, Tensor]:
        return our_scores(data, experiment, model.encode(data.x_test), model.decoder.D)

    @torch.no_grad()
    def their_evaluation(model: TheirModel) -> float:
        return their_score(data, experiment, model(data.x_test[0])[0], model.decoder.weight)

    a, b = theirs(), ours(steps)
    agree = {"their_mcc": their_evaluation(a), "our_mcc": float(our_evaluation(b)["mcc"][0])}
    row = {"experiment": experiment, "arm": arm_name(h)}
    count, points = RUNS * STEPS[experiment], RUNS * STEPS[experiment] // LOG_EVERY
    step = race(theirs, partial(ours, many), (steps, RUNS * many), repeats, threads)
    score = race(partial(their_evaluation, a), partial(our_evaluation, b), (1, RUNS), repeats)
    return [
        row | {"part": "step", "count": count, "scale": count / steps} | step | agree,
        row | {"part": "evaluation", "count": points, "scale": points} | score,
    ]


def code_parts(data: Data, steps: int, repeats: int, threads: int) -> list[dict[str, Any]]:
    """Sparse coding, and Adam on log-codes against an exact solve for the test samples of one run."""
    seeds = list(range(RUNS))
    start = unit_columns(torch.randn(M, N, generator=torch.Generator().manual_seed(0)))
    D0, x0, points = data.D[0], data.x_test[0], STEPS["E3"] // LOG_EVERY

    def learn() -> Tensor:
        D = start.clone()
        their_codes(D, data.x[0], steps, lr=1e-3, learned=True)
        return D

    def ours(n: int) -> Tensor:
        return log_adam_dictionary(data.x, N, seeds=seeds, steps=n, l1_weight=L1)[0]

    def exact(D: Tensor) -> Tensor:
        return solve(D, x0, ALPHA, tol=1e-4).codes

    scores = [float(mcc(data.codes_test[0], exact(D))) for D in (learn(), ours(steps)[0])]
    step = race(learn, partial(ours, 20 * steps), (steps, RUNS * 20 * steps), repeats, threads)
    rows = [
        {"experiment": "E3", "arm": "sparse coding", "part": "step", "count": RUNS * STEPS["E3"]}
        | {"scale": RUNS * STEPS["E3"] / steps, **step}
        | dict(zip(("their_mcc", "our_mcc"), scores, strict=True))
    ]
    infer = partial(their_codes, D0, x0, steps)
    # E2 runs Adam once to its end; E3 anew at each logged point, for SAE+ITO and for sparse coding
    for experiment, arm, n_steps, count, lr in (
        ("E2", "SAE+ITO", 20_000, RUNS, 1e-3),
        ("E3", "SAE+ITO", 10_000, RUNS * points, 3e-3),
        ("E3", "sparse coding", 10_000, RUNS * points, 3e-3),
    ):
        full = solve(D0, x0, ALPHA, "log_adam", n_steps=n_steps, lr=lr).codes  # their steps, all of them
        agree = {"their_mcc": mcc(data.codes_test[0], full), "our_mcc": mcc(data.codes_test[0], exact(D0))}
        row = {"experiment": experiment, "arm": arm, "part": "inference", "count": count}
        row |= {"scale": count * n_steps / steps, **{k: float(v) for k, v in agree.items()}}
        rows.append(row | race(infer, partial(exact, D0), (steps / n_steps, 1), repeats))
        score = race(
            partial(their_score, data, experiment, full, D0),
            partial(our_scores, data, experiment, data.codes_test, data.D),
            (1, RUNS),
            repeats,
        )
        at = RUNS * STEPS[experiment] // LOG_EVERY
        rows.append(
            {"experiment": experiment, "arm": arm, "part": "evaluation", "count": at, "scale": at} | score
        )
    return rows


def totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds of whole experiments, arm by arm: parts x counts, with the ratios theirs / ours."""
    found = []
    for experiment in [*dict.fromkeys(r["experiment"] for r in rows), "E1-E3"]:
        here = [r for r in rows if experiment in (r["experiment"], "E1-E3")]
        for arm in [*dict.fromkeys(r["arm"] for r in here if experiment != "E1-E3"), "all"]:
            part = [r for r in here if arm in ("all", r["arm"])]
            sums = {k: sum(r[k] * r["count"] for r in part) for k in KEYS}
            ratios = {f"ratio_{c}": sums[f"theirs_{c}"] / sums[f"ours_{c}"] for c in CLOCKS}
            found.append({"experiment": experiment, "arm": arm} | sums | ratios)
    return found
