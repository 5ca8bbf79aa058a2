"""The authors' training, inference and metric as their code works, with the weights of one of our encoders."""

from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from amortgap.encoders import ReLUEncoder

from .setting import L1, M, N


class TheirModel(nn.Module):
    """Encoder of linear layers and ReLU, linear decoder; the weights are copied from one of ours."""

    def __init__(self, start: Any) -> None:
        super().__init__()
        names = ["W"] if isinstance(start, ReLUEncoder) else ["W1", "W2"]
        layers: list[nn.Module] = []
        for name in names:
            weight, bias = getattr(start, name), getattr(start, "b" + name[1:])
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
            layer.weight.data.copy_(weight.data)
            if bias is not None:
                layer.bias.data.copy_(bias.data)
            layers += [layer, nn.ReLU()]
        self.encoder, self.decoder = nn.Sequential(*layers), nn.Linear(N, M, bias=False)
        self.decoder.weight.data.copy_(start.decoder.D.data)
        self.decoder.weight.requires_grad_(start.decoder.learned)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.decoder.weight.requires_grad:
            self.decoder.weight.data = normalize(self.decoder.weight.data, dim=0)
        s = self.encoder(x)
        return s, self.decoder(s)


def their_training(model: TheirModel, x: Tensor, codes: Tensor | None, steps: int) -> None:
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        s, x_hat = model(x)
        if codes is None:
            loss = ((x_hat - x) ** 2).mean() + L1 * s.abs().mean()
        else:
            loss = -cosine_similarity(s, codes, dim=0).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()


def their_codes(D: Tensor, x: Tensor, steps: int, lr: float = 3e-3, learned: bool = False) -> Tensor:
    """Adam on log-codes, and on D in sparse coding (lr 1e-3), which changes in place."""
    logs = nn.Parameter(torch.full((len(x), N), -10.0))
    weight = nn.Parameter(D, requires_grad=learned)
    adam = torch.optim.Adam([logs, weight] if learned else [logs], lr=lr)
    for _ in range(steps):
        if learned:
            weight.data = normalize(weight.data, dim=0)
        s = torch.exp(logs)
        loss = ((s @ weight.T - x) ** 2).mean() + L1 * s.abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    D.copy_(normalize(weight.data, dim=0))
    return torch.exp(logs).detach()


def their_mcc(s: Tensor, s_hat: Tensor, match: bool = True) -> float:
    a, b = s.numpy().T, s_hat.detach().numpy().T
    scores = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)) if match else [i]:
            scores[i, j] = np.corrcoef(a[i], b[j])[0, 1] if b[j].std() > 1e-6 else 0.0
    if not match:
        return float(scores.diagonal().mean())
    return float(abs(scores)[linear_sum_assignment(abs(scores), maximize=True)].mean())
