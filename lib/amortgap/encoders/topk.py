"""The TopK encoder: keep the k largest positive pre-activations of each sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amortgap._check import check_sparsity
from amortgap.encoders._decoder import Decoder

AUX_WEIGHT = 1 / 32  # Gao et al., appendix A.2


class TopKEncoder(nn.Module):
    """s = TopK_k(relu(W (x - b_pre) + b)),   x_hat = D s + b_pre.

    W (N, M) starts as D', which keeps dead latents rare. x (n, M) -> s (n, N) with at most k non-zeros.
    aux_k > 0 adds the AuxK loss against dead latents: latents silent on the last `dead_after` training samples
    learn to reconstruct what is left, e = x - x_hat, from their aux_k largest pre-activations z,
        mean (e - D z)^2 / 32.
    Gao et al., Scaling and evaluating sparse autoencoders (2024), eq. 4 and appendix A.
    Raises ValueError unless 1 <= k <= N, 0 <= aux_k <= N and dead_after >= 1.
    """

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
        return torch.relu(s if self.b is None else s + self.b.unsqueeze(-2))

    def encode(self, x: Tensor) -> Tensor:
        return largest(self._positive(x), self.k)

    def training_pass(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Codes, mean |s| and the AuxK loss (see training.reconstruction_loss)."""
        pre = self._positive(x)
        s = self._select(pre)
        return s, s.abs().mean((-2, -1)), self._aux(x, pre, s)

    def _select(self, pre: Tensor) -> Tensor:
        return largest(pre, self.k)

    def _aux(self, x: Tensor, pre: Tensor, s: Tensor) -> Tensor | float:
        if self.silent is None:
            return 0.0
        with torch.no_grad():
            self.silent.copy_(torch.where((s > 0).any(-2), 0, self.silent + s.shape[-2]))
            dead = self.silent >= self.dead_after
            e = x - self.decode(s)
        z = largest(pre * dead.unsqueeze(-2), self.aux_k)
        return AUX_WEIGHT * (e - z @ self.decoder.D.mT).square().mean((-2, -1)) * dead.any(-1)

    def decode(self, s: Tensor) -> Tensor:
        return self.decoder(s)


def largest(s: Tensor, k: int) -> Tensor:
    """s (..., N) with all but the k largest entries of the last dimension set to zero."""
    values, indices = s.topk(k, dim=-1)
    return torch.zeros_like(s).scatter(-1, indices, values)
