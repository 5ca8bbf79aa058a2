"""The multilayer encoder: one or more hidden layers before the codes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from amortgap._check import check_sparsity
from amortgap._largest import largest
from amortgap.encoders._decoder import Decoder, linear_weight
from amortgap.encoders._encoder import Encoder, LastLayer
from amortgap.problem import unit_columns


class MLPEncoder(Encoder):
    """h_0 = x - b_pre,   h_l = relu(W_l h_{l-1} + b_l),   s = f(W_L h_{L-1} + b_L),   x_hat = D s + b_pre.

    hidden: the width h of the one hidden layer, W1 (h, M), W2 (N, h), or the widths of several. f is relu or the
    identity: output="relu" is the paper's; "linear" (supervised training) keeps latents alive whose output relu
    would die. k: only the k largest of each sample stay (output relu). x (n, M) -> s (n, N).
    tied: D starts as the transpose of the encoder without its ReLUs, W_1'W_2' .., columns scaled to length one.
    arXiv 2411.13117, section 3.
    Raises ValueError for no hidden layer, a width < 1, another output, k outside 1..N or with a linear output.
    """

    variants: ClassVar = {
        "MLP": {"bias": True, "tied": True, "hidden": lambda M, N: N // 2},
        # as costly as one linear map: h (M + N) = M N
        "MLP, equal compute": {"bias": True, "tied": True, "hidden": lambda M, N: round(M * N / (M + N))},
    }

    def __init__(
        self,
        M: int,
        N: int,
        *,
        hidden: int | Sequence[int] = 32,
        output: str = "relu",
        k: int | None = None,
        D: Tensor | None = None,
        bias: bool = False,
        pre_bias: bool = False,
        tied: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        widths = [hidden] if isinstance(hidden, int) else list(hidden)
        if not widths or min(widths) < 1 or output not in ("relu", "linear"):
            raise ValueError(f"hidden must be >= 1 and output relu or linear, not {hidden} and {output!r}")
        if k is not None and output != "relu":
            raise ValueError("k needs the output relu")
        g = torch.Generator().manual_seed(seed)
        self.output, self.layers, self.k = output, len(widths) + 1, k if k is None else check_sparsity(k, N)
        for i, (a, b) in enumerate(pairwise([M, *widths, N]), 1):
            setattr(self, f"W{i}", nn.Parameter(linear_weight(a, b, g)))
            setattr(self, f"b{i}", nn.Parameter(torch.zeros(b)) if bias else None)
        self.decoder = Decoder(M, N, D, pre_bias, g)
        if tied and D is None:
            linear = self.get_parameter("W1").detach()
            for i in range(2, self.layers + 1):
                linear = self.get_parameter(f"W{i}").detach() @ linear
            self.decoder.D.data.copy_(unit_columns(linear.mT))

    def encode(self, x: Tensor) -> Tensor:
        s = self.decoder.centre(x)
        for i in range(1, self.layers + 1):
            s, b = s @ getattr(self, f"W{i}").mT, getattr(self, f"b{i}")
            s = s if b is None else s + b.unsqueeze(-2)
            s = torch.relu(s) if i < self.layers or self.output == "relu" else s
        return s if self.k is None else largest(s, self.k)

    @classmethod
    def products(cls, M: int, N: int, hidden: Any, steps: int) -> list[int]:
        return [2 * a * b for a, b in pairwise([M, *([hidden] if isinstance(hidden, int) else hidden), N])]

    def last_layer(self, centred: Tensor) -> LastLayer:
        h = centred
        for i in range(1, self.layers):
            h, b = h @ getattr(self, f"W{i}").mT, getattr(self, f"b{i}")
            h = torch.relu(h if b is None else h + b)
        last = getattr(self, f"b{self.layers}")
        return LastLayer(h, self.get_parameter(f"W{self.layers}"), [] if last is None else [last], [])
