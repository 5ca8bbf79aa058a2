"""What an encoder says of itself. Operation counts, resampling, files of other projects, language-model pages and
audits read it from here, so that a new encoder is one file and one line in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder


class LastLayer(NamedTuple):
    """What of an encoder belongs to single latents, so that a dead one can be given a new direction."""

    input: Tensor  # (n, inputs): what the layer reads
    weight: Tensor  # (N, inputs)
    biases: Sequence[Tensor]  # (N,) each: zero for a new latent
    thresholds: Sequence[Tensor]  # (N,) each: the mean of the others for a new latent
    between: Tensor | None = None  # (N, N), latent to latent: zero for a new latent


class Encoder(nn.Module):
    """A code read off x in one pass: encode (n, M) -> (n, N), decode (n, N) -> (n, M), both in the type of D.

    A subclass has a docstring with its equation, a constructor (M, N, *, D, seed, ...) that sets `decoder`, encode,
    and whatever below differs from a linear map W (N, M), b (N,) followed by relu.
    """

    decoder: Decoder

    #: What sets its sparsity: "L1" or "L0", a penalty, or "k", a number of latents.
    sparsity: ClassVar[str] = "L1"
    #: Names on the language-model pages -> options there; a function in place of a value is called with M and N.
    variants: ClassVar[dict[str, dict[str, Any]]] = {}

    #: Name in other projects' files, if it has one ...
    exchange: ClassVar[str | None] = None
    #: ... how many affine maps of x decide over a latent: with two, a gate and an amplitude with the same W ...
    maps: ClassVar[int] = 1
    #: ... and whether its files need a threshold (N,).
    thresholded: ClassVar[bool] = False

    #: Whether it has weights besides its decoder's.
    own_weights: ClassVar[bool] = True
    #: How many more times a training step decodes, through a decoder that gets no gradient.
    frozen_decodings: ClassVar[int] = 0

    def encode(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, s: Tensor) -> Tensor:
        return self.decoder(s)

    @staticmethod
    def select(h: Tensor, amplitude: Tensor, k: float | None, threshold: Tensor | None) -> Tensor:
        """Codes (.., n, N) from the pre-activations: h, and `amplitude` where there are two maps (otherwise h)."""
        return torch.relu(h)

    def exchanged(self) -> dict[str, Any]:
        """What its file holds besides W, D and b_pre: b_enc, and of k, threshold, r_mag, b_mag what it has."""
        b = getattr(self, "b", None)
        return {"b_enc": self.decoder.D.new_zeros(self.decoder.D.shape[-1]) if b is None else b.detach()}

    @classmethod
    def products(cls, M: int, N: int, hidden: Any, steps: int) -> list[int]:
        """Operations of the matrix products of one encoding in their order, the first of which meets x.

        hidden: width or widths of hidden layers, steps: of encoders that iterate.
        """
        return [2 * M * N]

    def last_layer(self, centred: Tensor) -> LastLayer | None:
        """Given x - b_pre, (n, M); None where a dead latent cannot be given a new direction."""
        b = getattr(self, "b", None)
        return LastLayer(centred, self.get_parameter("W"), [] if b is None else [b], [])
