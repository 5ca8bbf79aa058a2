"""A sparse autoencoder as others save it, and what this project needs of it: unit columns and codes to fit.

With z the activation after the SAE's own normalisation, c = z - b_dec or z, and h = c W_enc + b_enc:

    standard    s = relu(h)
    topk        s = the k largest of relu(h), per sample
    batchtopk   s = the n k largest of relu(h) of a batch of n; with a threshold, h where h > threshold
    jumprelu    s = relu(h) where h > threshold
    gated       s = relu(exp(r_mag) c W_enc + b_mag) where h > 0

and z_hat = s W_dec + b_dec. A latent's scale is arbitrary: s_i ||w_i|| with w_i / ||w_i|| decodes to the same.
`D` and `encode` use that scale, in which the columns have norm one and codes of different latents compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from amortgap._check import as_tensor, check_dictionary
from amortgap.encoders import ENCODERS, Encoder
from amortgap.problem import unit_columns

NORMALISATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")


def architectures() -> dict[str, type[Encoder]]:
    """Name in files -> the encoder that says how such an SAE selects its latents."""
    return {kind.exchange: kind for kind in ENCODERS.values() if kind.exchange is not None}


@dataclass(frozen=True, eq=False)
class SAE:
    """The parameters under SAELens's names; see the module for the equations.

    Raises ValueError for an unknown architecture or normalisation, a parameter that is missing, not finite or of
    the wrong shape, a decoder with a zero row, and k outside 1..N.
    """

    architecture: str
    W_enc: Tensor  # (M, N)
    b_enc: Tensor  # (N,); gated: b_gate
    W_dec: Tensor  # (N, M)
    b_dec: Tensor  # (M,)
    #: of topk and batchtopk; the next three are vectors (N,), of jumprelu and batchtopk, and of gated
    k: float | None = None
    threshold: Tensor | None = None
    r_mag: Tensor | None = None
    b_mag: Tensor | None = None
    #: c = z - b_dec
    subtract_b_dec: bool = True
    #: h is multiplied by the decoder's norms before the selection, and s divided by them after it
    rescaled: bool = False
    normalise: str = "none"
    #: of expected_average_only_in
    input_scale: float = 1.0
    #: model, hook ...
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in architectures():
            known = ", ".join(architectures())
            raise ValueError(f"architecture {self.architecture!r} is not one of {known}")
        if self.normalise not in NORMALISATIONS:
            raise ValueError(f"normalisation {self.normalise!r} is not one of {', '.join(NORMALISATIONS)}")
        check_dictionary(self.W_dec.T)
        N, M = self.W_dec.shape
        needed = {"W_enc": (M, N), "b_enc": (N,), "b_dec": (M,)}
        needed |= dict.fromkeys(vectors(self.kind), (N,))
        for name, shape in needed.items():
            value = getattr(self, name)
            if value is None:
                raise ValueError(f"a {self.architecture} SAE needs {name}, which is missing")
            if tuple(as_tensor(value, name).shape) != shape:
                raise ValueError(
                    f"{name} must have shape {shape} to fit W_dec {(N, M)}, not {tuple(value.shape)}"
                )
        if self.kind.sparsity == "k" and self.threshold is None and not (self.k and 0 < self.k <= N):
            raise ValueError(f"a {self.architecture} SAE needs k between 1 and N = {N}, not {self.k}")
        if self.architecture == "topk" and self.k != int(self.k or 0):
            raise ValueError(f"a topk SAE keeps a whole number of latents, not k = {self.k}")

    @property
    def kind(self) -> type[Encoder]:
        """The encoder whose rule selects the latents."""
        return architectures()[self.architecture]

    @property
    def M(self) -> int:
        """Width of the activations."""
        return int(self.W_dec.shape[1])

    @property
    def N(self) -> int:
        """Number of latents."""
        return int(self.W_dec.shape[0])

    @property
    def norms(self) -> Tensor:
        """Norms of the decoder's rows (N,)."""
        return torch.linalg.vector_norm(self.W_dec, dim=1)

    @property
    def D(self) -> Tensor:
        """The dictionary (M, N), unit columns."""
        return unit_columns(self.W_dec.T)

    def to(self, device: str | torch.device) -> SAE:
        """The same SAE with its parameters on `device`, in float32."""
        moved: dict[str, Any] = {
            name: value.to(device).float() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def on_raw(self, mean: Tensor, scale: float) -> SAE:
        """An SAE of (x - mean) / scale as an SAE of x itself: the same codes, x_hat = scale z_hat + mean."""
        if self.normalise != "none":
            raise ValueError(f"this SAE already normalises its input ({self.normalise})")
        mean = mean.to(self.b_dec)
        W_enc, W_dec, b_dec = self.W_enc / scale, self.W_dec * scale, self.b_dec * scale + mean
        b_enc, b_mag = self.b_enc, self.b_mag
        if not self.subtract_b_dec:  # the subtraction of the mean goes into the biases
            b_enc = b_enc - mean @ W_enc
            b_mag = (
                b_mag - mean @ W_enc * self.r_mag.exp()
                if b_mag is not None and self.r_mag is not None
                else None
            )
        return replace(self, W_enc=W_enc, W_dec=W_dec, b_dec=b_dec, b_enc=b_enc, b_mag=b_mag)

    def calibrated(self, x: Tensor) -> SAE:
        """For expected_average_only_in: scaled so that activations x (n, M) have mean norm sqrt(M)."""
        if self.normalise != "expected_average_only_in":
            return self
        mean = float(torch.linalg.vector_norm(x.float(), dim=1).mean())
        return replace(self, input_scale=self.M**0.5 / mean)

    def prepare(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Activations x (n, M) as the SAE takes them, z (n, M), and the way back for z_hat."""
        if self.normalise == "layer_norm":
            mean, eps = x.mean(1, keepdim=True), 1e-5
            std = (x - mean).std(1, keepdim=True)
            return (x - mean) / (std + eps), lambda z: z * std + mean
        scale: Any = self.input_scale
        if self.normalise == "constant_norm_rescale":
            scale = self.M**0.5 / torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x * scale, lambda z: z / scale

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """Codes (n, N) >= 0 for unit columns: z_hat = encode(z) @ D.T + b_dec."""
        if z.ndim != 2 or z.shape[1] != self.M:
            raise ValueError(f"activations must have shape (n, {self.M}) for this SAE, not {tuple(z.shape)}")
        c = (z - self.b_dec if self.subtract_b_dec else z) @ self.W_enc
        h = c + self.b_enc
        amplitude = h
        if self.r_mag is not None and self.b_mag is not None:
            amplitude = self.r_mag.exp() * c + self.b_mag
        if not self.rescaled:
            return self.kind.select(h, amplitude, self.k, self.threshold) * self.norms
        return self.kind.select(h * self.norms, amplitude * self.norms, self.k, self.threshold)


def vectors(kind: type[Encoder]) -> tuple[str, ...]:
    """Names of the vectors (N,) that a file of this architecture holds besides its biases."""
    return (("threshold",) if kind.thresholded else ()) + (("r_mag", "b_mag") if kind.maps == 2 else ())


def from_encoder(model: nn.Module, **metadata: Any) -> SAE:
    """A trained encoder of this project as an SAE. Raises ValueError for one that other projects have no name for.

    The encoders subtract b_pre and have unit columns, so nothing has to be converted.
    """
    if not isinstance(model, Encoder) or model.exchange is None or model.decoder.D.ndim != 2:
        kinds = ", ".join(kind.__name__ for kind in architectures().values())
        raise ValueError(f"only a single (not stacked) {kinds} can be written, not a {type(model).__name__}")
    D, b_pre = model.decoder.D.detach(), model.decoder.b_pre
    b_dec = D.new_zeros(len(D)) if b_pre is None else b_pre.detach()
    W = model.get_parameter("W").detach()
    return SAE(model.exchange, W.T, W_dec=D.T, b_dec=b_dec, metadata=metadata, **model.exchanged())
