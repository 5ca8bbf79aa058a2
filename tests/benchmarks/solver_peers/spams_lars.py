"""spams: LARS in C++, which follows the path to alpha and has no tolerance."""

import numpy as np
import spams
from torch import Tensor

from .. import THREADS
from ..workloads import WORKLOADS
from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    def run():
        signals, matrix = np.asfortranarray(x.numpy().T), np.asfortranarray(D.numpy())
        return spams.lasso(signals, matrix, lambda1=alpha, mode=2, pos=True, numThreads=THREADS)

    return run


# above 25 000 columns it forms a row of the Gram matrix whenever an atom enters: seconds a signal
SAMPLES = {name: 2 if name == "W6" else None for name in WORKLOADS}
PEERS = [Peer("spams", prepare, SAMPLES, tolerance=False, single=True)]
