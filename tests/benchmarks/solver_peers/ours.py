"""Our own methods, beside the one that method="auto" takes."""

from torch import Tensor

from amortgap.solvers import solve

from . import Peer, Prepare, Run, Samples

EVERY: Samples = {"W1": None, "W2": None, "W3": None, "W4": None}
SMALL = "it tries supports one by one, which takes too long beyond W1"


def by(method: str) -> Prepare:
    def prepare(D: Tensor, x: Tensor, alpha: float, tol: float) -> Run:
        return lambda: solve(D, x, alpha, method, tol=tol).codes.numpy()

    return prepare


def peer(method: str, samples: Samples) -> Peer:
    return Peer(f"our {method}", by(method), samples, tolerance=False, single=True)


PEERS = [
    peer("pivoting", {"W1": None, "W2": SMALL, "W3": SMALL, "W4": SMALL}),
    peer("working_set", EVERY),
    peer("homotopy", EVERY),
    peer("fista", {"W1": None, "W2": 1000, "W3": 100, "W4": 10}),
]
