"""One signal read off and solved, and over many signals the gap taken apart, fast enough for sliders."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_choice
from amortgap.encoders.relu import ReLUEncoder
from amortgap.metrics import mcc
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, refit, solve
from amortgap.theory import eta_squared, mcc_upper_bound
from amortgap.theory.laws import LAWS
from amortgap.training import fit

Code = Callable[[Tensor], Tensor]

#: Signals scored; an encoder's training samples, steps and batch.
SCORED, SAMPLES, STEPS, BATCH = 256, 1024, 300, 64
#: Steps after which the solvers that iterate are stopped.
STOPPED = 50
#: Noise of the quadrature behind the lower end of the ceiling; it can only lower that end.
SMOOTHING = 0.1

#: What reads the signal off; the first two are nothing but a matrix and relu.
ENCODERS = (
    "transpose",
    "pseudo-inverse",
    "supervised encoder",
    "encoder, known dictionary",
    "encoder, learned dictionary",
)
SOLVERS: dict[str, dict[str, Any]] = {
    "converged L1": {},
    f"FISTA, {STOPPED} steps": {"method": "fista", "max_steps": STOPPED},
    f"ISTA, {STOPPED} steps": {"method": "ista", "max_steps": STOPPED},
    f"Adam on log-codes, {STOPPED} steps": {"method": "log_adam", "n_steps": STOPPED},
    "OMP": {},
}


def one_signal(
    N: int, M: int, K: int, alpha: float, noise: float, seed: int, amplitude: str, encoder: str, solver: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the first signal's codes (code, latent, value), and the rungs of the ladder (rung, mcc, low).

    encoder in ENCODERS, solver in SOLVERS; K is cut at N. The rungs are those of `amortgap.gap`, over 256 signals;
    encoders are trained for 300 steps on others. "L-NL ceiling" holds two numbers: `low`, reached by the best
    nonlinearity on the pseudo-inverse (None with noise), and `mcc`, which no linear-nonlinear encoder passes (T6,
    T9); both None where nothing is known of the amplitudes' law.
    Raises ValueError as `SparseProblem` and `solve`, and for another encoder or solver.
    """
    check_choice(encoder, "encoder", ENCODERS)
    check_choice(solver, "solver", SOLVERS)
    K = min(K, N)
    p, readers, ceiling = prepared(N, M, K, noise, seed, amplitude)
    signed = bool((p.codes < 0).any())
    best = solve(p.D, p.x, alpha, tol=1e-4, nonnegative=not signed).codes
    solved = best if solver == "converged L1" else _solved(p, alpha, solver, signed)
    read = readers[encoder](p.x)
    shown = {"true": p.codes, "read off": read, "solved": solved}
    codes = [
        {"code": name, "latent": i, "value": value}
        for name, s in shown.items()
        for i, value in enumerate(s[0].tolist())
    ]
    rungs = {"oracle": refit(p.D, p.x, p.codes != 0, nonnegative=not signed), "converged L1": best}
    rungs |= {} if solver == "converged L1" else {solver: solved}
    rungs |= {name: readers[name](p.x) for name in ENCODERS[2:]}
    rungs |= {} if encoder in rungs else {encoder: read}
    ladder = [
        {"rung": name, "mcc": float(mcc(p.codes, s)), "low": None, "chosen": name in (encoder, solver)}
        for name, s in rungs.items()
    ]
    bounds = {"rung": "L-NL ceiling", "mcc": ceiling[1], "low": ceiling[0], "chosen": False}
    ladder.insert(len(ladder) - len([name for name in rungs if name in ENCODERS]), bounds)
    return codes, ladder


@lru_cache(maxsize=8)
def prepared(
    N: int, M: int, K: int, noise: float, seed: int, amplitude: str
) -> tuple[SparseProblem, dict[str, Code], tuple[float | None, float | None]]:
    """What alpha and both choices leave as it is: problem, encoders, both ends of the ceiling."""
    p = SparseProblem(N, M, K, n=SCORED, noise=noise, seed=seed, amplitude=amplitude)
    train = p.sample(SAMPLES, seed + 10_000)
    keep = torch.relu if bool((p.codes >= 0).all()) else torch.clone
    inverse = torch.linalg.pinv(p.D)
    readers: dict[str, Code] = {
        "transpose": lambda x: keep(x @ p.D),
        "pseudo-inverse": lambda x: keep(x @ inverse.T),
        "supervised encoder": _trained(train, codes=train.codes),
        "encoder, known dictionary": _trained(train, D=p.D),
        "encoder, learned dictionary": _trained(train),
    }
    if amplitude not in LAWS:
        return p, readers, (None, None)
    D = p.D.double()
    rows = eta_squared(torch.linalg.pinv(D) @ D, torch.arange(N), K, amplitude, smoothing=SMOOTHING)
    low = float(rows.clamp(0, 1).sqrt().mean()) if noise == 0 else None
    return p, readers, (low, mcc_upper_bound(D, K, amplitude))


def _trained(train: SparseProblem, codes: Tensor | None = None, D: Tensor | None = None) -> Code:
    model = ReLUEncoder(train.M, train.N, D=D, bias=True, tied=D is not None)
    fit(model, train.x, steps=STEPS, batch_size=BATCH, codes=codes, lr=0.02)
    return lambda x: model.encode(x).detach()


def _solved(p: SparseProblem, alpha: float, solver: str, signed: bool) -> Tensor:
    if solver == "OMP":
        return pursue(p.D, p.x, min(p.K, p.M), nonnegative=not signed).codes
    return solve(p.D, p.x, alpha, tol=1e-4, nonnegative=not signed, **SOLVERS[solver]).codes
