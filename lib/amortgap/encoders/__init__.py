"""Encoders that read a code off x in one pass. Each is an nn.Module with encode (n, M) -> (n, N) and decode,
and says of itself what the other parts need (`Encoder`).

To add one, write its file and one line here; the contract tests loop over ENCODERS.
"""

from __future__ import annotations

from amortgap.encoders._encoder import Encoder
from amortgap.encoders.batch_topk import BatchTopKEncoder
from amortgap.encoders.biases import uniform_biases
from amortgap.encoders.gated import GatedEncoder
from amortgap.encoders.jumprelu import JumpReLUEncoder
from amortgap.encoders.lista import LISTAEncoder
from amortgap.encoders.matching_pursuit import MatchingPursuitEncoder
from amortgap.encoders.mlp import MLPEncoder
from amortgap.encoders.pointwise import PointwiseEncoder
from amortgap.encoders.relu import ReLUEncoder
from amortgap.encoders.topk import TopKEncoder

__all__ = [
    "ENCODERS",
    "BatchTopKEncoder",
    "Encoder",
    "GatedEncoder",
    "JumpReLUEncoder",
    "LISTAEncoder",
    "MLPEncoder",
    "MatchingPursuitEncoder",
    "PointwiseEncoder",
    "ReLUEncoder",
    "TopKEncoder",
    "uniform_biases",
]

ENCODERS: dict[str, type[Encoder]] = {
    "relu": ReLUEncoder,
    "topk": TopKEncoder,
    "batch_topk": BatchTopKEncoder,
    "jumprelu": JumpReLUEncoder,
    "gated": GatedEncoder,
    "mlp": MLPEncoder,
    "pointwise": PointwiseEncoder,
    "lista": LISTAEncoder,
    "matching_pursuit": MatchingPursuitEncoder,
}
