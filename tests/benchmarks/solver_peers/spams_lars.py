"""spams: LARS in C++, which follows the path to alpha and has no tolerance."""

import numpy as np
import spams
from torch import Tensor

from .. import THREADS
from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    def run():
        signals, matrix = np.asfortranarray(x.numpy().T), np.asfortranarray(D.numpy())
        return spams.lasso(signals, matrix, lambda1=alpha, mode=2, pos=True, numThreads=THREADS)

    return run


SAMPLES = {"W1": None, "W2": None, "W3": None, "W4": None}
PEERS = [Peer("spams", prepare, SAMPLES, tolerance=False, single=True)]
