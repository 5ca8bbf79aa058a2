"""overcomplete: OMP in torch, nonnegative codes."""

import sys
from unittest.mock import MagicMock

from torch import Tensor

from amortgap.solvers import pursue

from . import Peer, Run

# overcomplete imports these for vision models, and does not install what they need
for part in ("overcomplete.models", "overcomplete.visualization", "einops"):
    sys.modules.setdefault(part, MagicMock())
from overcomplete.sae.omp_sae import OMPSAE  # noqa: E402


def prepare(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    model, atoms = OMPSAE(*D.shape, k=int(K)), D.T.contiguous()
    model.get_dictionary = lambda: atoms
    return lambda: model.encode(x)


def ours(D: Tensor, x: Tensor, K: float, tol: float) -> Run:
    return lambda: pursue(D, x, int(K), nonnegative=True)


SAMPLES = {"W1": "too small to tell", "W2": 64, "W3": 64, "W4": 64}
PEERS = [Peer("overcomplete OMP", prepare, SAMPLES, task="OMP", ours=ours, single=True)]
