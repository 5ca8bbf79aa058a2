"""scikit-learn: LARS in Python, which follows the path to alpha and has no tolerance."""

from sklearn.linear_model import LassoLars
from torch import Tensor

from . import Peer, Run


def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
    def run():
        model = LassoLars(alpha / len(D), fit_intercept=False, positive=True)
        return model.fit(D.numpy(), x.numpy().T).coef_.reshape(len(x), -1)

    return run


SAMPLES = {"W1": 200, "W2": 100, "W3": 30, "W4": 3}
PEERS = [Peer("scikit-learn LARS", prepare, SAMPLES, tolerance=False)]
