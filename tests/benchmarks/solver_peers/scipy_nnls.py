"""scipy.optimize.nnls beside refit: nonnegative least squares on the 2 K latents that match a signal best."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from amortgap.solvers import Prepared, refit

from . import Peer, Run


def support(D: Tensor, x: Tensor, K: float) -> Tensor:
    """The 2 K (at most M) latents with the largest x'd_i, bool (n, N)."""
    best = (x @ D).topk(min(2 * int(K), *D.shape), dim=1).indices
    return torch.zeros(len(x), D.shape[1], dtype=torch.bool).scatter_(1, best, True)


def prepare(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    chosen, columns, signals = support(D, x, K).numpy(), D.numpy(), x.numpy()

    def run():
        codes = np.zeros((len(signals), columns.shape[1]), columns.dtype)
        for code, signal, on in zip(codes, signals, chosen, strict=True):
            code[on] = nnls(columns[:, on], signal)[0]
        return codes

    return run


def ours(D: Tensor | Prepared, x: Tensor, K: float, tol: float) -> Run:
    chosen = support(D.D if isinstance(D, Prepared) else D, x, K)
    return lambda: refit(D, x, chosen).numpy()


SAMPLES = {"W1": 1024, "W2": 1000, "W3": 500, "W4": 200, "W5": 50, "R1-32-256": None, "R1-128-256": None}
PEERS = [Peer("scipy nnls", prepare, SAMPLES, task="NNLS", ours=ours)]
