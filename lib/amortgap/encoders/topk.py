"""The TopK encoder: keep the k largest positive pre-activations of each sample."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from amortgap._check import check_sparsity
from amortgap._largest import largest
from amortgap.encoders._decoder import Decoder
from amortgap.encoders._encoder import Encoder
from amortgap.encoders._sparse import LATENTS_PER_ENTRY, reconstruct

AUX_WEIGHT = 1 / 32  # Gao et al., appendix A.2


class TopKEncoder(Encoder):
    """s = TopK_k(relu(W (x - b_pre) + b)),   x_hat = D s + b_pre.

    W (N, M) starts as D', which keeps dead latents rare. x (n, M) -> s (n, N) with at most k non-zeros.
    aux_k > 0 adds the AuxK loss against dead latents: latents silent on the last `dead_after` training samples
    learn to reconstruct what is left, e = x - x_hat, from their aux_k largest pre-activations z,
        mean (e - D z)^2 / 32.
    Gao et al., Scaling and evaluating sparse autoencoders (2024), eq. 4 and appendix A.
    Raises ValueError unless 1 <= k <= N, 0 <= aux_k <= N and dead_after >= 1.
    """

    sparsity = "k"
    variants: ClassVar = {
        "TopK": {"bias": True},
        "TopK + AuxK": {"bias": True, "aux_k": 64, "dead_after": 50_000},
    }
    exchange = "topk"

    def __init__(
        self,
        M: int,
        N: int,
        *,
        k: int = 3,
        aux_k: int = 0,
        dead_after: int = 10_000_000,
        D: Tensor | None = None,
        bias: bool = False,
        pre_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= aux_k <= N or dead_after < 1:
            raise ValueError(f"aux_k must be in 0..{N} and dead_after >= 1, not {aux_k} and {dead_after}")
        self.k, self.aux_k, self.dead_after = check_sparsity(k, N), aux_k, dead_after
        self.decoder = Decoder(M, N, D, pre_bias, torch.Generator().manual_seed(seed))
        self.W = nn.Parameter(self.decoder.transposed())
        self.b = nn.Parameter(torch.zeros(N)) if bias else None
        # samples since each latent was last active; a parameter, so that it is stacked and saved like the others
        self.silent = nn.Parameter(torch.zeros(N), requires_grad=False) if aux_k else None

    def _positive(self, x: Tensor) -> Tensor:
        s = self.decoder.centre(x) @ self.W.mT
        return (s if self.b is None else s.add_(self.b.unsqueeze(-2))).relu_()

    def encode(self, x: Tensor) -> Tensor:
        return largest(self._positive(x), self.k)

    @staticmethod
    def select(h: Tensor, amplitude: Tensor, k: float | None, threshold: Tensor | None) -> Tensor:
        assert k is not None
        return largest(torch.relu(h), int(k))

    def exchanged(self) -> dict[str, Any]:
        return super().exchanged() | {"k": self.k}

    def training_pass(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """The reconstruction, mean |s| and the AuxK loss (see training.reconstruction_loss)."""
        sparse = x.device.type == "cpu" and self.W.shape[-2] >= LATENTS_PER_ENTRY * self.k
        with torch.set_grad_enabled(torch.is_grad_enabled() and not sparse):
            pre = self._positive(x)
        kept = self._keep(pre.detach())
        if sparse:
            found, values = reconstruct(pre, kept, self.decoder.centre(x), self.W, self.b, self.decoder.D)
            x_hat = self.decoder.uncentre(found)
        else:
            values = pre.flatten().gather(0, kept)
            x_hat = self.decode(torch.zeros_like(pre).flatten().scatter(0, kept, values).view_as(pre))
        penalty = values.view(*pre.shape[:-2], -1).sum(-1) / pre.shape[-2:].numel()
        return x_hat, penalty, self._aux(x, x_hat, kept, values, pre.shape)

    def _keep(self, pre: Tensor) -> Tensor:
        """Where the k largest entries of each row of pre (.., n, N) are, in the flattened pre, row by row."""
        latent = pre.topk(self.k, sorted=False).indices.view(-1, self.k)
        return (latent + torch.arange(0, pre.numel(), pre.shape[-1], device=pre.device)[:, None]).flatten()

    def _aux(
        self, x: Tensor, x_hat: Tensor, kept: Tensor, values: Tensor, shape: torch.Size
    ) -> Tensor | float:
        """The AuxK loss, one value a stacked model; kept: places of the values in codes of this shape."""
        if self.silent is None:
            return 0.0
        if torch.is_grad_enabled():  # a look at the loss is no training
            with torch.no_grad():
                active, (n, N) = kept[values > 0], shape[-2:]
                self.silent.add_(n)
                self.silent.view(-1)[active % N + active.div(n * N, rounding_mode="floor") * N] = 0
        dead = self.silent >= self.dead_after
        some = dead.view(-1, shape[-1]).any(0).nonzero()[:, 0]  # dead in one of the stacked models
        if not len(some):
            return 0.0
        z = self.decoder.centre(x) @ self.W[..., some, :].mT
        z = torch.relu(z if self.b is None else z + self.b[..., None, some]) * dead[..., None, some]
        z = largest(z, min(self.aux_k, len(some)))
        e = (x - x_hat).detach()
        return AUX_WEIGHT * (e - z @ self.decoder.D[..., some].mT).square().mean((-2, -1)) * dead.any(-1)
