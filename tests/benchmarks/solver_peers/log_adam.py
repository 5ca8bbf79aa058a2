"""The paper's inference-time optimisation: 10 000 Adam steps on log-codes (from W2 on a fiftieth, scaled up)."""

from torch import Tensor

from amortgap.solvers import solve

from . import Peer, Run

STEPS = 10_000


def steps(N: int) -> int:
    return STEPS if N <= 16 else STEPS // 50


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    n_steps = steps(D.shape[1])
    return lambda: solve(D, x, alpha, "log_adam", tol=tol, n_steps=n_steps).codes.numpy()


SAMPLES = {"W1": 200, "W2": 50, "W3": 20, "W4": 4}
PEERS = [Peer("paper's Adam", prepare, SAMPLES, tolerance=False, scale=lambda N: STEPS / steps(N))]
