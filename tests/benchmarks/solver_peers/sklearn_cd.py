"""scikit-learn: coordinate descent, one sample after another with the Gram matrix computed once."""

import numpy as np
from sklearn.linear_model import Lasso
from torch import Tensor

from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    def run():
        model = Lasso(
            alpha / len(D), fit_intercept=False, positive=True, tol=tol, max_iter=100_000, precompute=True
        )
        return model.fit(np.asfortranarray(D.numpy()), x.numpy().T).coef_.reshape(len(x), -1)

    return run


PEERS = [Peer("scikit-learn CD", prepare, {"W1": 200, "W2": 100, "W3": 30, "W4": 4})]
