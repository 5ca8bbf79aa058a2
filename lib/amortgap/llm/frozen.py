"""Baselines of which a part stays at random: what a score is worth that they reach as well.

Korznikov et al., Sanity checks for sparse autoencoders (arXiv 2602.14111), figure 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from amortgap.encoders import Encoder
from amortgap.encoders._decoder import Decoder

#: What of an encoder stays as it was drawn, or near it.
FROZEN = ("frozen decoder", "soft-frozen decoder", "frozen encoder")
#: Least cosine of a softly frozen column with its start.
NEAR = 0.8


class SoftFrozenDecoder(Decoder):
    """A decoder each column of which keeps a cosine of at least NEAR with where it started."""

    start: nn.Parameter  # (.., M, N); a parameter, so that it is stacked and saved like the others

    @torch.no_grad()
    def normalise_(self) -> None:
        """The nearest unit columns d with d . d_0 >= NEAR: where it is less, d moves on its arc to d_0."""
        super().normalise_()
        D, D0 = self.D, self.start
        along = (D * D0).sum(-2, keepdim=True)
        across = D - along * D0
        across /= torch.linalg.vector_norm(across, dim=-2, keepdim=True).clamp_min(1e-12)
        D.copy_(torch.where(along < NEAR, NEAR * D0 + (1 - NEAR**2) ** 0.5 * across, D))


def freeze(model: Encoder, part: str) -> Encoder:
    """`model` with one part of FROZEN kept at its start; changes it. Raises ValueError for another part.

    A frozen encoder keeps its weights, biases and b_pre, so that its code of x is that of its first step.
    """
    if part not in FROZEN:
        raise ValueError(f"a part that is frozen is one of {', '.join(FROZEN)}, not {part!r}")
    decoder: Any = model.decoder
    if part == "frozen encoder":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name == "decoder.D")
    elif part == "frozen decoder":
        decoder.learned = False
        decoder.D.requires_grad_(False)
    else:
        decoder.__class__ = SoftFrozenDecoder
        decoder.start = nn.Parameter(decoder.D.detach().clone(), requires_grad=False)
    model.frozen = part  # type: ignore[assignment]
    return model
