"""Every way in which an audit codes on the SAE's own decoder.

The rows of `gap.on_same_decoder`; from the encoder's code on, k steps of ISTA,

    s <- relu(s - (D'(D s - x) + alpha) / L),

raw and refitted on each token's largest entries, as many as the encoder has there; the heads; and the pursuit among
all latents with the encoder's own count on each token.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from amortgap.heads import HEADS, Improved, propose
from amortgap.interop import SAE
from amortgap.solvers import Prepared, pursue, solve

STEPS = {1: "1 step", 2: "2 steps", 5: "5 steps", 10: "10 steps"}
HEAD_ROWS = {
    "leave-one-out among 1.5k": ("leave_one_out", 1.5),
    "pursuit among 1.5k": ("pursuit", 1.5),
    "pursuit among 2k": ("pursuit", 2.0),
    "pursuit among 4k": ("pursuit", 4.0),
}
OWN_COUNT = "OMP, own count"


class Ways:
    """D: the live columns of the SAE's decoder, prepared. alpha: None leaves L1 and the steps out; k: atoms of OMP,
    None leaves the pursuits among all latents out."""

    def __init__(self, sae: SAE, D: Prepared, alpha: float | None, k: int | None, tol: float) -> None:
        self.sae, self.D, self.alpha, self.k, self.tol = sae, D, alpha, k, tol
        self.heads: dict[str, Improved] = {}
        for name, (head, ratio) in HEAD_ROWS.items():
            made = Improved(sae, head, ratio)
            self.heads[name] = made.share(next(iter(self.heads.values()), made))

    def __call__(self, z: Tensor, codes: Tensor) -> Iterator[tuple[str, Tensor, int]]:
        """Name, codes (n, live) and operations, those of the encoder included where the way begins with it.

        z (n, M) as the SAE takes it, codes (n, live) of the encoder.
        """
        sae, x = self.sae, z - self.sae.b_dec
        first = len(z) * sum(sae.kind.products(sae.M, sae.N, 0, int(sae.k or 0)))
        yield "encoder", codes, first
        own, work = self._refit(x, codes)
        yield "own support", own, work + first
        if self.alpha is not None:
            l1 = solve(self.D, x, self.alpha, tol=self.tol)
            yield "L1", l1.codes, l1.flops
            yield "L1 support", *self._refit(x, l1.codes)
        if self.k is not None:
            greedy = pursue(self.D, x, self.k)
            yield "OMP", greedy.codes, greedy.flops
        if self.alpha is not None:
            for name, found, work in self._steps(x, codes, self.alpha):
                yield name, found, work + first
        for name, module in self.heads.items():
            proposal, head = module.values(z)
            yield name, proposal.codes(head.values, sae.N)[:, sae.live], head.flops + first
        if self.k is not None:
            count = (codes > 0).sum(1)
            everything = propose(codes, torch.ones_like(codes), 1)._replace(k=count)
            pursuit = HEADS["pursuit"](self.D, x, everything)
            yield OWN_COUNT, everything.codes(pursuit.values, codes.shape[1]), pursuit.flops + first

    def _steps(self, x: Tensor, codes: Tensor, alpha: float) -> Iterator[tuple[str, Tensor, int]]:
        D, s = self.D.D, codes
        rate, count = 1 / float(self.D.eigenvalue), (codes > 0).sum(1)
        for step in range(1, max(STEPS) + 1):
            s = torch.relu(s - rate * ((s @ D.T - x) @ D + alpha))
            if step not in STEPS:
                continue
            work = step * 4 * D.numel() * len(x)
            yield STEPS[step], s, work
            refitted, more = self._refit(x, top(s, count))
            yield f"{STEPS[step]}, refitted", refitted, work + more

    def _refit(self, x: Tensor, codes: Tensor) -> tuple[Tensor, int]:
        """Least squares with s >= 0 on the support of codes (n, live), and operations."""
        proposal = propose(codes, codes, 1)
        found = HEADS["refit"](self.D, x, proposal)
        return proposal.codes(found.values, codes.shape[1]), found.flops


def top(s: Tensor, count: Tensor) -> Tensor:
    """s (n, N) with all but the `count` (n,) largest entries of each row zero."""
    order = s.topk(max(1, int(count.max())), dim=1)
    kept = order.values * (torch.arange(order.values.shape[1], device=s.device) < count[:, None])
    return torch.zeros_like(s).scatter(1, order.indices, kept)
