"""skglm: coordinate descent on working sets with Anderson acceleration, one sample after another."""

import numpy as np
from skglm import Lasso
from torch import Tensor

from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    def run():
        model = Lasso(alpha / len(D), fit_intercept=False, positive=True, tol=tol * alpha / len(D))
        return np.stack([model.fit(np.asfortranarray(D.numpy()), row).coef_ for row in x.numpy()])

    return run


PEERS = [Peer("skglm", prepare, {"W1": 100, "W2": 50, "W3": 30, "W4": 10})]
