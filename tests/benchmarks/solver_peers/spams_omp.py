"""spams: OMP in C++, codes of either sign."""

import numpy as np
import spams
from torch import Tensor

from amortgap.solvers import pursue

from .. import THREADS
from ..workloads import WORKLOADS
from . import Peer, Run


def prepare(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    signals, matrix = np.asfortranarray(x.numpy().T), np.asfortranarray(D.numpy())
    return lambda: spams.omp(signals, matrix, L=K, eps=0.0, numThreads=THREADS)


def ours(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    return lambda: pursue(D, x, int(K), nonnegative=False)


# above 25 000 columns it forms a row of the Gram matrix whenever an atom is taken: seconds a signal
SAMPLES = dict.fromkeys(WORKLOADS) | {"W1": "too small to tell", "W6": 2}
PEERS = [Peer("spams OMP", prepare, SAMPLES, task="OMP", ours=ours, single=True)]
