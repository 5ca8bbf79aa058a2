"""Many small maximisations at once: batched BFGS for scores that do not depend on the length of their argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEPS, TOL = 150, 1e-6


@dataclass(frozen=True)
class Score:
    """f(c, row): (B, r), (B,) -> (B,), each value depending on its own c only; evaluated `chunk` at a time."""

    f: Callable[[Tensor, Tensor], Tensor]
    chunk: int

    def value(self, c: Tensor, row: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.f(*part) for part in self._parts(c, row)])

    def value_and_gradient(self, c: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = [], []
        for part, i in self._parts(c.detach(), row):
            part = part.clone().requires_grad_()
            value = self.f(part, i)
            values.append(value.detach())
            gradients.append(torch.autograd.grad(value.sum(), part)[0])
        return torch.cat(values), torch.cat(gradients)

    def _parts(self, c: Tensor, row: Tensor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(c.split(self.chunk), row.split(self.chunk), strict=True))


def ascend(score: Score, start: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Batched BFGS: local maxima (B, r) and values (B,) of score(c, row) for scale-free scores, from start.

    One evaluation a step for the whole batch; a problem whose step fails Armijo's test halves it, one whose
    gradient is below TOL leaves the batch.
    """
    c = _unit(start)
    value, gradient = score.value_and_gradient(c, row)
    B, r = c.shape
    inverse = 0.3 * torch.eye(r).to(c).repeat(B, 1, 1)  # of minus the Hessian
    length = torch.ones(B).to(c)
    live = torch.arange(B, device=c.device)
    for _ in range(STEPS):
        live = live[(torch.linalg.vector_norm(gradient[live], dim=1) > TOL) & (length[live] > 1e-6)]
        if len(live) == 0:
            break
        direction = torch.einsum("bij,bj->bi", inverse[live], gradient[live])
        climb = (direction * gradient[live]).sum(1)
        trial = c[live] + length[live, None] * direction
        new_value, new_gradient = score.value_and_gradient(trial, row[live])
        accepted = new_value >= value[live] + 1e-4 * length[live] * climb
        length[live] = torch.where(accepted, 1.0, 0.4 * length[live])
        moved = live[accepted]
        step = (trial - c[live])[accepted]
        inverse[moved] = _bfgs(inverse[moved], step, gradient[moved] - new_gradient[accepted])
        c[moved], value[moved], gradient[moved] = trial[accepted], new_value[accepted], new_gradient[accepted]
    return _unit(c), value


def _unit(c: Tensor) -> Tensor:
    return c / torch.linalg.vector_norm(c, dim=1, keepdim=True)


def _bfgs(H: Tensor, s: Tensor, y: Tensor) -> Tensor:
    """Nocedal & Wright, eq. 6.17, batched; kept where the curvature s.y is not positive."""
    sy = (s * y).sum(1)
    good = sy > 1e-12
    rho = torch.where(good, 1 / sy.clamp_min(1e-12), 0)[:, None, None]
    A = torch.eye(s.shape[1]).to(s) - rho * s[:, :, None] * y[:, None, :]
    return torch.where(good[:, None, None], A @ H @ A.mT + rho * s[:, :, None] * s[:, None, :], H)
