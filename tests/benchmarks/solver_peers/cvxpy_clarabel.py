"""cvxpy: a quadratic program solved by Clarabel, an interior-point method."""

from torch import Tensor

from amortgap.solvers import solve

from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    return lambda: solve(D, x, alpha, "lasso_cvxpy", tol=tol).codes.numpy()


PEERS = [Peer("cvxpy", prepare, {"W1": 50, "W2": 20, "W3": 2, "W4": "one sample takes too long"})]
