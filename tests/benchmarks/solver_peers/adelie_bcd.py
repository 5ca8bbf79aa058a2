"""adelie: coordinate descent in C++, one sample after another.

It asks for numpy < 2 and runs on numpy 2 all the same: pip install --no-deps adelie.
"""

import os

import numpy as np
from torch import Tensor

from . import Peer, Run

# adelie would set it to TRUE, and every OpenMP library loaded from then on would pin this process to one core
os.environ.setdefault("OMP_PROC_BIND", "FALSE")
import adelie


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    def run():
        M, N = D.shape
        matrix = adelie.matrix.dense(np.asfortranarray(D.numpy()))
        # its tolerance bounds squared steps: gaps fall with the root of it
        options = {"intercept": False, "early_exit": False, "progress_bar": False, "tol": tol**2}
        codes = []
        for row in x.numpy():
            # they keep the dual variables of the last problem
            positive = [adelie.constraint.lower(np.zeros(1)) for _ in range(N)]
            loss = adelie.glm.gaussian(row)
            state = adelie.grpnet(matrix, loss, constraints=positive, lmda_path=[alpha / M], **options)
            codes.append(state.betas.toarray()[0])
        return np.stack(codes)

    return run


PEERS = [Peer("adelie", prepare, {"W1": 100, "W2": 30, "W3": 10, "W4": 2})]
