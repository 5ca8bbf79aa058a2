"""A sparse autoencoder as others save it, and what this project needs of it: unit columns and codes to fit.

With z the activation after the SAE's own normalisation, c = z - b_dec or z, and h = c W_enc + b_enc:

    standard          s = relu(h)
    topk              s = the k largest of relu(h), per sample
    batchtopk         s = the n k largest of relu(h) of a batch of n; with a threshold, h where h > threshold
    jumprelu          s = relu(h) where h > threshold
    gated             s = relu(exp(r_mag) c W_enc + b_mag) where h > 0
    matching_pursuit  s = k greedy steps on W_dec itself (see the module of that name)

and z_hat = s W_dec + b_dec. A latent's scale is arbitrary: s_i ||w_i|| with w_i / ||w_i|| decodes to the same.
`D` and `encode` use that scale, in which the columns have norm one and codes of different latents compare. A latent
whose decoder row is zero decodes to nothing: its column of `D` and its codes are zero, and `live` leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from amortgap._check import as_tensor
from amortgap.encoders import ENCODERS, Encoder
from amortgap.interop.matching_pursuit import pursue

NORMALISATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")


def architectures() -> dict[str, type[Encoder]]:
    """Name in files -> the encoder that says how such an SAE selects its latents."""
    return {kind.exchange: kind for kind in ENCODERS.values() if kind.exchange is not None}


@dataclass(frozen=True, eq=False, repr=False)
class SAE:
    """The parameters under SAELens's names; see the module for the equations.

    Raises ValueError for an unknown architecture or normalisation, a parameter that is missing, not finite or of
    the wrong shape, a decoder that is all zero, and k outside 1..N.
    """

    architecture: str
    W_enc: Tensor  # (M, N); matching_pursuit: W_dec'
    b_enc: Tensor  # (N,); gated: b_gate
    W_dec: Tensor  # (N, M)
    b_dec: Tensor  # (M,)
    #: of topk and batchtopk, and the steps of matching_pursuit
    k: float | None = None
    #: vectors (N,), of jumprelu and batchtopk, and of gated
    threshold: Tensor | None = None
    r_mag: Tensor | None = None
    b_mag: Tensor | None = None
    #: c = z - b_dec
    subtract_b_dec: bool = True
    #: h is multiplied by the decoder's norms before the selection, and s divided by them after it
    rescaled: bool = False
    normalise: str = "none"
    #: of expected_average_only_in; None: to be set by `calibrated`
    input_scale: float | None = None
    #: matching_pursuit stops when the residual is shorter, or when a step changed no support
    residual_threshold: float = 0.0
    stop_on_repeat: bool = False
    #: model, hook ...
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            json.dumps(self.metadata, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"metadata must be what JSON can hold, without NaN and infinity: {error}"
            ) from error
        if not isinstance(self.architecture, str) or self.architecture not in architectures():
            known = ", ".join(architectures())
            raise ValueError(f"architecture {self.architecture!r} is not one of {known}")
        if not isinstance(self.normalise, str) or self.normalise not in NORMALISATIONS:
            raise ValueError(f"normalisation {self.normalise!r} is not one of {', '.join(NORMALISATIONS)}")
        for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "r_mag", "b_mag"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_tensor(getattr(self, name), name))
        shape = tuple(self.W_dec.shape)
        if len(shape) != 2 or not self.W_dec.any():
            raise ValueError(f"W_dec must be a matrix (N, M) that is not all zero, but its shape is {shape}")
        N, M = shape
        needed = {"W_enc": (M, N), "b_enc": (N,), "b_dec": (M,)} | dict.fromkeys(vectors(self.kind), (N,))
        if self.threshold is not None:
            needed["threshold"] = (N,)
        for name, expected in needed.items():
            value = getattr(self, name)
            if value is None:
                raise ValueError(f"a {self.architecture} SAE needs {name}, which is missing")
            if tuple(value.shape) != expected:
                raise ValueError(
                    f"{name} must have shape {expected} to fit W_dec {(N, M)}, not {tuple(value.shape)}"
                )
        # a pursuit may take a latent twice
        most = float("inf") if self.architecture == "matching_pursuit" else N
        if self.kind.sparsity == "k" and self.threshold is None and not (self.k and 0 < self.k <= most):
            raise ValueError(f"a {self.architecture} SAE needs k between 1 and N = {N}, not {self.k}")
        if self.architecture in ("topk", "matching_pursuit") and self.k != int(self.k or 0):
            raise ValueError(f"a {self.architecture} SAE keeps a whole number of latents, not k = {self.k}")

    def __repr__(self) -> str:
        k = "" if self.k is None else f", k={self.k:g}"
        return f"SAE({self.architecture}, M={self.M}, N={self.N}{k}, normalise={self.normalise})"

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
    def live(self) -> Tensor:
        """Which decoder rows are not zero, (N,) bool: the columns of `D` that a solver can be given."""
        return self.norms > 0

    @property
    def D(self) -> Tensor:
        """The dictionary (M, N): unit columns, and a zero column where the decoder's row is zero."""
        return (self.W_dec / torch.where(self.live, self.norms, 1)[:, None]).T

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
        if self.architecture == "matching_pursuit":
            raise ValueError("matching pursuit reads with its decoder alone, which cannot take up a scale")
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
        """For expected_average_only_in without scale: scaled so that x (n, M) has mean norm sqrt(M)."""
        if self.normalise != "expected_average_only_in" or self.input_scale is not None:
            return self
        mean = float(torch.linalg.vector_norm(x.float(), dim=1).mean())
        return replace(self, input_scale=self.M**0.5 / mean)

    def prepare(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Activations x (n, M) as the SAE takes them, z (n, M), and the way back for z_hat.

        Raises ValueError where the scale of expected_average_only_in is not known: use `calibrated` first.
        """
        if self.normalise == "none":
            return x, lambda z: z
        if self.normalise == "layer_norm":
            mean, eps = x.mean(1, keepdim=True), 1e-5
            std = (x - mean).std(1, keepdim=True)
            return (x - mean) / (std + eps), lambda z: z * std + mean
        scale: Any = self.input_scale
        if self.normalise == "constant_norm_rescale":
            norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
            # zero stays zero
            scale = self.M**0.5 / torch.where(norms > 0, norms, 1)
        if scale is None:
            raise ValueError("the scale of this SAE's input is not known; calibrate it on activations")
        return x * scale, lambda z: z / scale

    @torch.no_grad()
    def encode(self, z: Any) -> Tensor:
        """Codes (n, N) >= 0 for unit columns: z_hat = encode(z) @ D.T + b_dec. ValueError for NaN, other shapes."""
        z = as_tensor(z, "the activations")
        if z.ndim != 2 or z.shape[1] != self.M:
            raise ValueError(f"activations must have shape (n, {self.M}) for this SAE, not {tuple(z.shape)}")
        dtype, z = z.dtype, z.to(self.W_enc.dtype)
        return self._encode(z).to(dtype)

    def _encode(self, z: Tensor) -> Tensor:
        if self.architecture == "matching_pursuit":
            assert self.k is not None  # __post_init__ refuses it
            c = z - self.b_dec if self.subtract_b_dec else z
            return (
                pursue(self.W_dec, c, int(self.k), self.residual_threshold, self.stop_on_repeat) * self.norms
            )
        codes = self.kind.select(*self.preactivations(z), self.k, self.threshold)
        return codes if self.rescaled else codes * self.norms

    def preactivations(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """h and the amplitudes, (n, N) each, from which the rule selects: times `norms` where `rescaled`."""
        u = (z - self.b_dec if self.subtract_b_dec else z) @ self.W_enc
        h = amplitude = u + self.b_enc
        if self.r_mag is not None and self.b_mag is not None:
            amplitude = self.r_mag.exp() * u + self.b_mag
        return (h * self.norms, amplitude * self.norms) if self.rescaled else (h, amplitude)


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
    W = model.get_parameter("W").detach() if model.own_weights else D.T
    return SAE(model.exchange, W.T, W_dec=D.T, b_dec=b_dec, metadata=metadata, **model.exchanged())
