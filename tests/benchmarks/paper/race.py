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
from .setting import ALPHA, L1, LOGGED, RUNS, STEPS, Data, M, N, arm_name, our_scores, starts, supervision

WHO, CLOCKS = ("theirs", "ours"), ("cpu", "wall")
KEYS = [f"{who}_{clock}" for who in WHO for clock in CLOCKS]
Row = dict[str, Any]


def timed(run: Callable[[], Any], count: float = 1) -> tuple[float, float]:
    """Seconds of processor time and of wall time, a unit of the `count` that run() makes."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return (time.process_time() - cpu) / count, (time.perf_counter() - wall) / count


def race(
    theirs: Callable[[], Any], ours: Callable[[], Any], counts: tuple[float, float], repeats: int
) -> dict[str, float]:
    """Seconds a unit of theirs and ours: medians of interleaved repeats, a first one left out."""
    pairs = [timed(theirs, counts[0]) + timed(ours, counts[1]) for _ in range(repeats + 1)]
    return dict(zip(KEYS, map(median, zip(*pairs[1:], strict=True)), strict=True))


def their_score(data: Data, experiment: str, s: Tensor, D: Tensor) -> float:
    if experiment == "E3":
        their_mcc(data.D[0], D)
    return their_mcc(data.codes_test[0], s, match=experiment != "E1")


def encoder_parts(data: Data, experiment: str, h: int, steps: int, repeats: int) -> list[Row]:
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
    count, logged = RUNS * STEPS[experiment], RUNS * LOGGED[experiment]
    step = race(theirs, partial(ours, many), (steps, RUNS * many), repeats)
    score = race(partial(their_evaluation, a), partial(our_evaluation, b), (1, RUNS), repeats)
    return [
        row | {"part": "step", "count": count, "scale": count / steps} | step | agree,
        row | {"part": "evaluation", "count": logged, "scale": logged} | score,
    ]


def code_parts(data: Data, steps: int, repeats: int) -> list[Row]:
    """Sparse coding, and Adam on log-codes against an exact solve for the test samples of one run."""
    rows = [sparse_coding_step(data, steps, repeats)]
    # E2 runs Adam once to its end; E3 anew at each logged point, for SAE+ITO and for sparse coding
    for experiment, arm, n_steps, count, lr in (
        ("E2", "SAE+ITO", 20_000, RUNS, 1e-3),
        ("E3", "SAE+ITO", 10_000, RUNS * LOGGED["E3"], 3e-3),
        ("E3", "sparse coding", 10_000, RUNS * LOGGED["E3"], 3e-3),
    ):
        row = {"experiment": experiment, "arm": arm}
        D, x, codes = data.D[0], data.x_test[0], data.codes_test[0]
        full = solve(D, x, ALPHA, "log_adam", n_steps=n_steps, lr=lr).codes  # their steps, all of them
        agree = {"their_mcc": float(mcc(codes, full)), "our_mcc": float(mcc(codes, exact(D, x)))}
        infer = race(partial(their_codes, D, x, steps), partial(exact, D, x), (steps / n_steps, 1), repeats)
        rows.append(
            row | {"part": "inference", "count": count, "scale": count * n_steps / steps} | agree | infer
        )
        their_evaluation = partial(their_score, data, experiment, full, D)
        our_evaluation = partial(our_scores, data, experiment, data.codes_test, data.D)
        score = race(their_evaluation, our_evaluation, (1, RUNS), repeats)
        logged = RUNS * LOGGED[experiment]
        rows.append(row | {"part": "evaluation", "count": logged, "scale": logged} | score)
    return rows


def sparse_coding_step(data: Data, steps: int, repeats: int) -> Row:
    """A joint step on log-codes and dictionary; both MCC are those of exact codes on what was learned."""
    start = unit_columns(torch.randn(M, N, generator=torch.Generator().manual_seed(0)))

    def theirs() -> Tensor:
        D = start.clone()
        their_codes(D, data.x[0], steps, lr=1e-3, learned=True)
        return D

    def ours(n: int) -> Tensor:
        return log_adam_dictionary(data.x, N, seeds=list(range(RUNS)), steps=n, l1_weight=L1)[0]

    scores = [float(mcc(data.codes_test[0], exact(D, data.x_test[0]))) for D in (theirs(), ours(steps)[0])]
    count, many = RUNS * STEPS["E3"], 20 * steps
    row = {"experiment": "E3", "arm": "sparse coding", "part": "step", "count": count, "scale": count / steps}
    row |= race(theirs, partial(ours, many), (steps, RUNS * many), repeats)
    return row | dict(zip(("their_mcc", "our_mcc"), scores, strict=True))


def exact(D: Tensor, x: Tensor) -> Tensor:
    """The codes (n, N) that solve the LASSO at the paper's penalty."""
    return solve(D, x, ALPHA, tol=1e-4).codes


def ratios(row: Row) -> Row:
    """Theirs / ours by both clocks."""
    return {f"ratio_{c}": row[f"theirs_{c}"] / row[f"ours_{c}"] for c in CLOCKS}


def totals(rows: list[Row]) -> list[Row]:
    """Seconds of whole experiments, arm by arm: parts x counts, with the ratios theirs / ours."""
    found = []
    for experiment in [*dict.fromkeys(r["experiment"] for r in rows), "E1-E3"]:
        here = [r for r in rows if experiment in (r["experiment"], "E1-E3")]
        for arm in [*dict.fromkeys(r["arm"] for r in here if experiment != "E1-E3"), "all"]:
            part = [r for r in here if arm in ("all", r["arm"])]
            sums = {k: sum(r[k] * r["count"] for r in part) for k in KEYS}
            found.append({"experiment": experiment, "arm": arm} | sums | ratios(sums))
    return found
