"""Encoders that read a code off x in one pass. Each is an nn.Module with encode (n, M) -> (n, N) and decode.

To add one, write its file and one line here; the contract tests loop over ENCODERS.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from amortgap.encoders.mlp import MLPEncoder
from amortgap.encoders.pointwise import PointwiseEncoder
from amortgap.encoders.relu import ReLUEncoder
from amortgap.encoders.topk import TopKEncoder

__all__ = ["ENCODERS", "MLPEncoder", "PointwiseEncoder", "ReLUEncoder", "TopKEncoder"]

ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "relu": ReLUEncoder,
    "topk": TopKEncoder,
    "mlp": MLPEncoder,
    "pointwise": PointwiseEncoder,
}
