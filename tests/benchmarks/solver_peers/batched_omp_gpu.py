"""orthogonal-matching-pursuit-gpu: OMP in torch, codes of either sign; here on the CPU, its algorithm v0."""

from orthogonal_matching_pursuit_gpu import run_omp
from torch import Tensor

from amortgap.solvers import pursue

from . import Peer, Run


def prepare(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    return lambda: run_omp(D, x, int(K), normalize=False, fit_intercept=False, alg="v0")


def ours(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    return lambda: pursue(D, x, int(K), nonnegative=False)


SAMPLES = {"W1": "too small to tell", "W2": 2000, "W3": 500, "W4": 100, "R1-32-256": 100}
PEERS = [Peer("orthogonal-matching-pursuit-gpu", prepare, SAMPLES, task="OMP", ours=ours, single=True)]
