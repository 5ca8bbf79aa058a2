"""HiGHS, a simplex method, through cvxpy: basis pursuit as a linear program, one sample after another."""

from torch import Tensor

from amortgap.solvers import basis_pursuit, basis_pursuit_lp

from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    return lambda: basis_pursuit_lp(D, x)


def ours(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    """The certified limit of the path as alpha falls to zero."""
    return lambda: basis_pursuit(D, x)


SAMPLES = {"W1": 20, "W2": 20, "W3": 5, "W4": "one sample takes too long"}
PEERS = [Peer("HiGHS", prepare, SAMPLES, task="basis pursuit", ours=ours)]
