"""Orthogonal matching pursuit, all samples together: what `omp` is on a GPU.

The same steps as omp's kernel for CPUs: the inverse H of the Gram matrix of a sample's active atoms is kept by
rank-one updates; in the nonnegative case a step ends where the first coefficient meets zero, whose atom leaves, and
an atom that left may come back (Lawson & Hanson, Solving Least Squares Problems (1974), chapter 23). Every product
is one call for all samples:  r D for the choice, an embedding bag for r = x - D s, batched products for H.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from amortgap.solvers._limits import NO_ATOM, Limits, limits, stop_words
from amortgap.solvers._pivot import suits_chip, times
from amortgap.solvers._solution import Solution, merge, uncertified
from amortgap.solvers.prepared import Prepared, plain

SMALL = 4096  # columns up to which inner products of atoms are looked up in D'D
ON_CHIP = (
    8192  # columns up to which, on CUDA in float32 and for K <= 64, one program a sample takes all steps
)
SHARP = 1e-3  # Schur complement (of unit columns) below which float32 loses too many digits of the fit
MEMORY = 4 * 2**30  # bytes of working memory


def batched_omp(
    D: Tensor | Prepared,
    x: Tensor,
    K: int | Tensor,
    *,
    residual: float | Tensor | None = None,
    nonnegative: bool = True,
    memory: int = MEMORY,
) -> Solution:
    """Codes (n, N) with at most K non-zeros.  Atoms are compared by d_i.r / ||d_i||.

    As `omp`: a sample stops early when no atom improves its fit, or at its residual; n_steps counts the atoms
    taken; float32 samples with nearly dependent atoms, or an `unsure` end, are done again in float64.
    Samples are done in blocks so that working memory stays below `memory` bytes, D'D (where it is made) and two
    copies of D beside.
    """
    D, end = plain(D), limits(x, K, residual)
    n, (M, N), K = len(x), D.shape, end.most
    work = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(D.to(work), dim=0)
    unit = D.to(work) / length
    same = residual is None and bool((end.K == K).all())
    on_chip = same and N <= ON_CHIP and K <= 64 and suits_chip(unit)
    gram = unit.T @ unit if on_chip or N <= SMALL else None
    rows = unit.T.contiguous()
    codes = torch.zeros(n, N, dtype=x.dtype, device=x.device)
    steps = torch.zeros(n, dtype=torch.long, device=x.device)
    schur = torch.ones(n, dtype=work, device=x.device)
    each = work.itemsize * (4 * N + 3 * K * K + 8 * K + 4 * M + (0 if gram is not None else K * M))
    for block in torch.arange(n, device=x.device).split(max(1, memory // each)):
        if on_chip and gram is not None:
            from amortgap.solvers._omp_on_chip import pursue_on_chip

            here_x = x[block].to(work)
            atom, s, steps[block], schur[block] = pursue_on_chip(unit, rows, gram, here_x, K, nonnegative)
            codes[block] = codes[block].scatter_add(1, atom, (s / length[atom]).to(x.dtype))
            continue
        here = Limits(end.K[block], end.residual[block].to(work))
        found = _Pursuit(unit, rows, gram, x[block].to(work), here, nonnegative)
        found.run()
        codes[block] = (found.dense() / length).to(x.dtype)
        steps[block], schur[block] = found.count, found.schur
    flops = n * (K * 2 * M * N + sum(2 * k * M + 8 * k * k for k in range(1, K + 1)))
    flops += 2 * M * N * N if gram is not None else n * K * K * M
    near = end.near(x - codes @ D.T) if residual is not None else torch.zeros_like(steps, dtype=torch.bool)
    stop = stop_words(steps, end, near)
    solution = uncertified(D, x, codes, n_steps=steps, stop=stop, flops=flops, method="batched_omp")
    if work == torch.float64:
        return solution
    return in_double(D, x, end, solution, schur, nonnegative=nonnegative, memory=memory)


def floor(x: Tensor) -> Tensor:
    """(n,): the d_i.r / ||d_i|| up to which a match is rounding of x (n, M)."""
    return 10 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, dim=1)


def in_double(
    D: Tensor,
    x: Tensor,
    end: Limits,
    found: Solution,
    schur: Tensor,
    *,
    nonnegative: bool,
    memory: int = MEMORY,
) -> Solution:
    """What was found in float32, and again in float64 the samples that met nearly dependent atoms, by the smallest
    Schur complement of each, or whose end is `unsure`."""
    again = ((schur < SHARP) | unsure(D, x, found, nonnegative)).nonzero().squeeze(1)
    if len(again) == 0:
        return found
    double = D.double(), x[again].double(), end.K[again]
    residual = end.residual[again].double()
    better = batched_omp(*double, residual=residual, nonnegative=nonnegative, memory=memory)
    found.n_steps[again] = 0
    return merge(found, again, better)


def unsure(D: Tensor, x: Tensor, found: Solution, nonnegative: bool) -> Tensor:
    """Which samples (n,) ended early in float32 though an atom improves their fit, as float64 can tell.

    Where columns are nearly alike, all are nearly orthogonal to the residual of the first: d_i.r / ||d_i|| may then
    be rounding of x while the residual is not. Those of a residual from float64 are not, and twins of active atoms
    have none.
    """
    least = floor(x.float())
    early = torch.from_numpy(found.stop == NO_ATOM).to(x.device)
    early &= 2 * found.objective > (10 * least.double()) ** 2
    rows = early.nonzero().squeeze(1)
    if len(rows) == 0:
        return early
    unit = D.double() / torch.linalg.vector_norm(D.double(), dim=0)
    match = (x[rows].float() - found.codes[rows].float() @ D.float().T) @ unit.float()
    match = match if nonnegative else match.abs()
    rows = rows[((match > -least[rows, None]) & (found.codes[rows] == 0)).any(1)]
    early[:] = False
    early[rows] = _improvable(unit, x[rows].double(), found.codes[rows], nonnegative)
    return early


def _improvable(unit: Tensor, x: Tensor, codes: Tensor, nonnegative: bool) -> Tensor:
    """Whether an atom outside the support of codes (n, N) matches the residual of its least squares, in float64."""
    k = min(len(unit), int((codes != 0).sum(1).max())) if len(codes) else 0
    active = codes.abs().topk(k, dim=1)
    # the active columns are the first, so that theirs alone are behind the first of Q
    Q = torch.linalg.qr(unit.T[active.indices].mT).Q * (active.values > 0)[:, None]
    match = (x - (Q @ (Q.mT @ x[:, :, None]))[:, :, 0]) @ unit
    match = match if nonnegative else match.abs()
    return ((match > floor(x)[:, None]) & (codes == 0)).any(1)


class _Pursuit:
    """n samples on their way.  Slots (n, K) hold the atoms taken; k of them are in use.

    atom, s, b = D'x: of the slots; active: those with a coefficient; barred: taken, but dependent on the active;
    G, H (n, K, K): inner products of the slots' atoms, and the inverse over the active ones, zero elsewhere.
    """

    def __init__(
        self, unit: Tensor, rows: Tensor, gram: Tensor | None, x: Tensor, end: Limits, nonnegative: bool
    ) -> None:
        self.unit, self.rows, self.gram, self.x, self.end = unit, rows, gram, x, end
        self.K = K = end.most
        self.nonnegative = nonnegative
        n, self.floor = len(x), floor(x)
        self.singular = 100 * torch.finfo(x.dtype).eps
        self.r, self.count = x, torch.zeros(n, dtype=torch.long, device=x.device)
        self.schur = x.new_ones(n)
        self.s, self.b = x.new_zeros(n, K), x.new_zeros(n, K)
        self.atom = torch.zeros(n, K, dtype=torch.long, device=x.device)
        self.active, self.barred = torch.zeros_like(self.s, dtype=torch.bool), torch.zeros_like(self.s).bool()
        self.G, self.H = x.new_zeros(n, K, K), x.new_zeros(n, K, K)
        self.columns = x.new_zeros(n, K, x.shape[1]) if gram is None else None
        self.every, self.slots = torch.arange(n, device=x.device), torch.arange(K, device=x.device)
        self.dropped = False  # whether any sample has an atom that left

    def run(self) -> None:
        for step in range(4 * self.K + 4 if self.nonnegative else self.K):
            k = min(step + 1, self.K)
            if step >= self.K and not self.dropped:
                break
            grows = self._enter(k)
            if step >= self.K and not bool(grows.any()):
                break
            self._fit(k)
            self.r = self.x - embedding_bag(
                self.atom[:, :k], self.rows, mode="sum", per_sample_weights=self.s[:, :k]
            )
        self._fit(self.K)  # refinement

    def dense(self) -> Tensor:
        """The codes (n, N), for unit columns."""
        return self.x.new_zeros(len(self.x), self.unit.shape[1]).scatter_add_(
            1, self.atom, self.s * self.active
        )

    def _error(self, k: int) -> Tensor:
        """Correlations of the slots' atoms with the residual, (n, k)."""
        return self.b[:, :k] - times(self.G[:, :k, :k], self.s[:, :k])

    def _enter(self, k: int) -> Tensor:
        """Every sample takes the atom that matches best, or one of its own that has left and is wanted again."""
        match = self.r @ self.unit
        if not self.nonnegative:
            match = match.abs_()
        if k > 1:  # an empty slot points at the first atom that was taken
            match.scatter_(1, self.atom[:, : k - 1], -torch.inf)
        best = match.max(1)
        slot, atom = self.count, best.indices
        going = ~self.end.near(self.r)
        enters = (best.values > self.floor) & (self.count < self.end.K) & going
        if self.dropped:
            left = (self.slots[:k] < self.count[:, None]) & ~self.active[:, :k] & ~self.barred[:, :k]
            wanted = torch.where(left, self._error(k), -torch.inf).max(1)
            back = (wanted.values > self.floor) & going
            slot = torch.where(back, wanted.indices, slot)
            atom = torch.where(back, self.atom.gather(1, wanted.indices[:, None])[:, 0], atom)
            new, enters = enters & ~back, enters | back
        else:
            new = enters
        self.count = self.count + new
        here = (self.slots[:k] == slot[:, None]) & enters[:, None]
        if k == 1:
            self.atom[:] = atom[:, None]
        self.atom[:, :k] = torch.where(here, atom[:, None], self.atom[:, :k])
        column = self.rows[atom]
        self.b[:, :k] = torch.where(here, (self.x * column).sum(1, keepdim=True), self.b[:, :k])
        if self.gram is not None:
            g = self.gram[atom[:, None], self.atom[:, :k]]
        else:
            assert self.columns is not None
            part = self.columns[:, :k]
            part.copy_(torch.where(here[:, :, None], column[:, None], part))
            g = times(part, column)
        G, H = self.G[:, :k, :k], self.H[:, :k, :k]
        G.copy_(torch.where(here[:, :, None], g[:, None], torch.where(here[:, None], g[:, :, None], G)))
        g = g * self.active[:, :k]
        u = times(H, g)
        schur = 1 - (g * u).sum(1)
        self.schur = torch.where(enters, torch.minimum(self.schur, schur), self.schur)
        good = enters & (schur > self.singular)
        u = u - here.to(u)
        H += (good / schur.clamp_min(self.singular))[:, None, None] * (u[:, :, None] * u[:, None, :])
        self.active[:, :k] |= here & good[:, None]
        self.barred[:, :k] |= here & ~good[:, None]
        return enters

    def _fit(self, k: int) -> None:
        """To the least squares on the active atoms; s >= 0: atoms leave where they meet zero on the way."""
        s, active, H = self.s[:, :k], self.active[:, :k], self.H[:, :k, :k]
        error = self._error(k) * active
        move = times(H, error)
        while self.nonnegative:
            reach = torch.where(active & (move < 0), -s / move, torch.inf).min(1)
            blocked = reach.values < 1
            if not bool(blocked.any()):
                break
            self.dropped = True
            part = reach.values.clamp_max(1)[:, None]
            leaves = (self.slots[:k] == reach.indices[:, None]) & blocked[:, None]
            s.copy_(torch.where(leaves, 0, s + part * move).clamp_min(0))
            error = torch.where(leaves, 0, (1 - part) * error)
            active &= ~leaves
            h = (H * leaves[:, None]).sum(2)
            pivot = torch.where(blocked, (h * leaves).sum(1), 1)
            H -= (blocked / pivot)[:, None, None] * (h[:, :, None] * h[:, None, :])
            H *= ~(leaves[:, :, None] | leaves[:, None])
            move = times(H, error)
        s += move
        if self.nonnegative:
            s.clamp_min_(0)
