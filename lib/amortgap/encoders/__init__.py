"""Encoders that read a code off x in one pass. Each is an nn.Module with encode (n, M) -> (n, N) and decode.

To add one, write its file and one line here; the contract tests loop over ENCODERS.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from amortgap.encoders.batch_topk import BatchTopKEncoder
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
    "GatedEncoder",
    "JumpReLUEncoder",
    "LISTAEncoder",
    "MLPEncoder",
    "MatchingPursuitEncoder",
    "PointwiseEncoder",
    "ReLUEncoder",
    "TopKEncoder",
]

ENCODERS: dict[str, Callable[..., nn.Module]] = {
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
