"""Every way in which an audit codes on the SAE's own decoder.

The rows of `gap.on_same_decoder`; from the encoder's code on, k steps of ISTA,

    s <- relu(s - (D'(D s - x) + alpha) / L),

raw and refitted on each token's largest entries, as many as the encoder has there; the heads; and the pursuit among
all latents with the encoder's own count on each token.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from amortgap.audit.rows import decode
from amortgap.gap import HEAD_ROWS
from amortgap.heads import HEADS, proposal_of, propose
from amortgap.interop import SAE
from amortgap.solvers import Prepared, pursue, solve

STEPS = {1: "1 step", 2: "2 steps", 5: "5 steps", 10: "10 steps"}
OWN_COUNT = "OMP, own count"
#: latents up to which the pursuit head may look at all: it holds the N x N products of the candidates of a token
ALL = 16_384


class Ways:
    """D: the live columns of the SAE's decoder, prepared. alpha: None leaves L1 and the steps out; k: atoms of OMP,
    None leaves the pursuits among all latents out. worst_gap: the largest duality gap of a LASSO so far."""

    def __init__(self, sae: SAE, D: Prepared, alpha: float | None, k: int | None, tol: float) -> None:
        self.sae, self.D, self.alpha, self.k, self.tol = sae, D, alpha, k, tol
        self.live, self.worst_gap = sae.live, 0.0
        # of each latent its number among the live ones; a dead one is never looked at
        self.place = (self.live.long().cumsum(0) - 1).clamp_min(0)

    def encode(self, z: Tensor) -> Tensor:
        """The encoder's codes (n, live)."""
        return self.sae.encode(z)[:, self.live]

    def __call__(
        self, z: Tensor, codes: Tensor, wanted: Collection[str] | None = None
    ) -> Iterator[tuple[str, Tensor, int]]:
        """Name, codes (n, live) and operations, those of the encoder included where the way begins with it.

        z (n, M) as the SAE takes it, codes (n, live) of the encoder. wanted: names, or all ways.
        """
        sae, x = self.sae, z - self.sae.b_dec
        first = len(z) * sum(sae.kind.products(sae.M, sae.N, 0, int(sae.k or 0)))

        def asked(*names: str) -> bool:
            return wanted is None or not set(names).isdisjoint(wanted)

        if asked("encoder"):
            yield "encoder", codes, first
        if asked("own support"):
            own, work = self._refit(x, codes)
            yield "own support", own, work + first
        if self.alpha is not None and asked("L1", "L1 support"):
            l1 = solve(self.D, x, self.alpha, tol=self.tol)
            self.worst_gap = max(self.worst_gap, float(l1.duality_gap.max()))
            if asked("L1"):
                yield "L1", l1.codes, l1.flops
            if asked("L1 support"):
                yield "L1 support", *self._refit(x, l1.codes)
        if self.k is not None and asked("OMP"):
            greedy = pursue(self.D, x, self.k)
            yield "OMP", greedy.codes, greedy.flops
        if self.alpha is not None and asked(*STEPS.values()):
            for name, found, work in self._steps(x, codes, self.alpha):
                yield name, found, work + first
        for name in filter(asked, HEAD_ROWS):
            yield name, *self._head(z, *HEAD_ROWS[name], first)
        if self.k is not None and asked(OWN_COUNT):
            found, work = self._own_count(x, codes)
            yield OWN_COUNT, found, work + first

    def _own_count(self, x: Tensor, codes: Tensor) -> tuple[Tensor, int]:
        """The pursuit head among all latents. `pursue` is faster, and the same where no latent has left.

        Of more than `ALL` latents a token from which one has left keeps the fewer.
        """
        count = (codes > 0).sum(1)
        taken = pursue(self.D, x, count.clamp(1, min(self.D.shape)))
        found, work = taken.codes * (count > 0)[:, None], taken.flops
        short = ((found > 0).sum(1) < count).nonzero()[:, 0]
        if len(short) and codes.shape[1] <= ALL:
            everything = propose(codes[short], torch.ones_like(codes[short]), 1)._replace(k=count[short])
            more = HEADS["pursuit"](self.D, x[short], everything)
            found[short] = everything.codes(more.values, codes.shape[1])
            work += more.flops
        return found, work

    def _head(self, z: Tensor, head: str, ratio: float, first: int) -> tuple[Tensor, int]:
        proposal = proposal_of(self.sae, z, ratio)
        proposal = proposal._replace(candidates=self.place[proposal.candidates])
        found = HEADS[head](self.D, z - self.sae.b_dec, proposal)
        return proposal.codes(found.values, self.D.shape[1]), found.flops + first

    def _steps(self, x: Tensor, codes: Tensor, alpha: float) -> Iterator[tuple[str, Tensor, int]]:
        D, s, work = self.D.D, codes, 0
        rate, count = 1 / float(self.D.eigenvalue), (codes > 0).sum(1)
        for step in range(1, max(STEPS) + 1):
            work += 2 * D.shape[0] * (int(s.count_nonzero()) + D.shape[1] * len(x))
            s = torch.addmm(s, decode(s, D).sub_(x), D, alpha=-rate).sub_(rate * alpha).relu_()
            if step not in STEPS:
                continue
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
