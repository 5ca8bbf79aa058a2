"""A dictionary prepared once for many calls: what depends on D alone, worked out when first asked for and kept.

    given = prepare(D)
    alpha = alpha_for(given, x, l0=32)
    solve(given, x, alpha),  refit(given, x, support),  pursue(given, x, 32)

Every function of `solvers` takes a matrix or a `Prepared`, and answers the same; from a matrix each call makes its
own. Inside, every method begins with `prepare(D)`, which gives back what is prepared already, and asks it by name.
`Prepared.keep` is the whole mechanism: a table from names to values, a lock, and a bound on its bytes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from amortgap._check import as_number, check_dictionary, check_signals
from amortgap.solvers._threads import BLOCK, alone, share

MEMORY = 2 * 2**30  # bytes kept beside D
UNIT = 4e-6  # lengths this near one are one to rounding; three times as much is less than 16 bits lose
TILE = 256  # entries on a side
COMPRESSED = 2048  # columns from which on the Gram matrix is held in 16 bits, and D'x computed in them

Value = TypeVar("Value")


class Gram(NamedTuple):
    """|D'D - scale G| <= fuzz in every entry, D in units; operations it took, 0 where it was there already."""

    G: np.ndarray
    scale: float
    fuzz: float
    flops: int


class Prepared:
    """D (M, N), which must not be changed from now on, and what has been worked out about it.

    memory: bytes that it keeps beside D. What would not fit is worked out anew by every call that needs it.
    Units: D is divided by `length`, a power of two near its longest column, which keeps every digit and keeps
    float32 from overflow and underflow. Threads may share one.
    """

    def __init__(self, D: Any, memory: int = MEMORY) -> None:
        self.D = check_dictionary(D).detach()
        self.memory = as_number(memory, "memory")
        if not self.memory >= 0:
            raise ValueError(f"memory is a number of bytes, at least 0, not {self.memory:g}")
        self._in_units = False
        self._saved: dict[torch.dtype, float] = {}
        self._kept: dict[Any, Any] = {}
        self._lock = threading.RLock()

    @property
    def shape(self) -> torch.Size:
        """(M, N)."""
        return self.D.shape

    def keep(self, name: Any, make: Callable[[], Value]) -> Value:
        """What was kept under this name (with the dtype and units), or what `make` now returns, kept if it fits."""
        with self._lock:
            name = name, self.D.dtype, self._in_units
            if name in self._kept:
                found: Value = self._kept[name]
                return found
            value = make()
            if self.held() + _bytes(value) <= self.memory:
                self._kept[name] = value
            return value

    def held(self) -> int:
        """Bytes kept beside D."""
        return sum(_bytes(value) for value in self._kept.values())

    def to(self, dtype: torch.dtype) -> Prepared:
        """The same with D rounded to dtype; what is kept, and its bound, are shared."""
        if dtype == self.D.dtype:
            return self
        return self._other(self.keep(("D", dtype), lambda: self.D.to(dtype)), self._in_units)

    def in_units(self) -> Prepared:
        """The same with D / length for D; what is kept, and its bound, are shared."""
        if self.length == 1:
            return self
        return self._other(self.keep("D in units", lambda: self.D / self.length), True)

    def _other(self, D: Tensor, in_units: bool) -> Prepared:
        other = Prepared.__new__(Prepared)
        other.D, other._in_units = D, in_units
        other.memory, other._saved = self.memory, self._saved
        other._kept, other._lock = self._kept, self._lock
        return other

    @property
    def lengths(self) -> Tensor:
        """||d_i||, (N,) float64."""

        def make() -> Tensor:
            rows = self._rows()
            if rows.dtype == torch.float64:
                # a power of two, as squares over- and underflow
                size = 2.0 ** math.frexp(float(torch.maximum(rows.max(), -rows.min())))[1]
                return torch.linalg.vector_norm(rows / size, dim=1) * size
            return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)

        return self.keep("lengths", make)

    @property
    def length(self) -> float:
        """The unit: a power of two near the longest column's length."""
        return self.keep("length", lambda: 2.0 ** round(math.log2(float(self.lengths.max()))))

    @property
    def longest(self) -> float:
        """The longest column's length in units, about one."""
        return self.keep("longest", lambda: float(self.lengths.max()) / self.length)

    @property
    def eigenvalue(self) -> Tensor:
        """The largest eigenvalue of D'D in float64, a scalar: the Lipschitz constant of the gradient D'(D s - x).

        On CUDA, where decompositions take longer than the steps that use it, at most .7 per cent more for 1000
        measurements: (trace A^k)^(1/k) <= M^(1/k) lambda for A = D D' and k = 1024, ten squarings.
        """

        def make() -> Tensor:
            D = self.D.double()
            if D.is_cuda:
                return trace_bound(D @ D.T)
            return alone(lambda: torch.linalg.eigvalsh(D @ D.T if D.shape[0] <= D.shape[1] else D.T @ D)[-1])

        return self.keep("eigenvalue", make)

    def rows(self, dtype: torch.dtype) -> Tensor:
        """D' in units and in dtype, (N, M) contiguous; its transpose serves products as well as D does."""
        if self.length == 1 and self.D.dtype == dtype:
            return self._rows()

        def make() -> Tensor:
            return (self._rows() / self.length).to(dtype)

        return self.keep(("rows", dtype), make)

    def _rows(self) -> Tensor:
        """D' contiguous, which is D's own memory where it lies so: sums along rows are fast."""
        return self.D.T if self.D.T.is_contiguous() else self.keep("rows", lambda: self.D.T.contiguous())

    def coarse(self) -> tuple[Tensor, float]:
        """`rows` in bfloat16, and the largest error of a column."""

        def make() -> tuple[Tensor, float]:
            rows = self.rows(torch.float32)
            coarse = rows.bfloat16()
            parts = zip(rows.split(BLOCK), coarse.split(BLOCK), strict=True)
            blur = max(float(torch.linalg.vector_norm(a - b.float(), dim=1).max()) for a, b in parts)
            return coarse, blur

        return self.keep("coarse", make)

    def unit(self, dtype: torch.dtype) -> Tensor:
        """D' with rows of length one, (N, M) contiguous."""
        return self.keep(("unit", dtype), lambda: (self.D / self.lengths.to(self.D)).T.to(dtype).contiguous())

    def has_cosines(self, dtype: torch.dtype) -> bool:
        """Whether `cosines` is there already."""
        return (("cosines", dtype), self.D.dtype, self._in_units) in self._kept

    def cosines(self, dtype: torch.dtype) -> Gram:
        """The Gram matrix of the columns made unit, in full precision: what pursuits compare atoms by."""
        made = []

        def make() -> Gram:
            made.append(_gram(self.unit(dtype), 1.0, False))
            return made[0]

        gram = self.keep(("cosines", dtype), make)
        return gram if made else gram._replace(flops=0)

    def has_gram(self, dtype: torch.dtype) -> bool:
        """Whether `gram` is there already."""
        return self._serves(dtype) or (("gram", dtype), self.D.dtype, self._in_units) in self._kept

    def _serves(self, dtype: torch.dtype) -> bool:
        """Whether `cosines` is there and nearer to D'D than 16 bits are: columns have length one."""
        large = dtype == torch.float32 and self.shape[1] >= COMPRESSED and self.has_cosines(dtype)
        return large and bool((self.lengths - 1).abs().max() < UNIT)

    def fits_gram(self, dtype: torch.dtype) -> bool:
        """Whether it may be made: it would be kept, or if not in 16 bits, at least fit the bound."""
        N = self.shape[1]
        return N * N * dtype.itemsize <= self.memory

    def saved(self, more: float = 0.0) -> float:
        """What working_set would have saved so far, and with `more`, by having D'D; in the units of `_cost`."""
        with self._lock:
            self._saved[self.D.dtype] = self._saved.get(self.D.dtype, 0.0) + more
            return self._saved[self.D.dtype]

    def gram(self, dtype: torch.dtype) -> Gram:
        """D'D in units from `rows` of this dtype, all N^2 entries.

        Integers of 16 bits where float32 would not fit the caches: reading G is what limits large dictionaries,
        and half the bytes are read faster. Only for columns of about one length, as the error is absolute, and of
        mean cosine below a half: closer ones need more digits. Of unit columns `cosines` is taken if it is there.
        """
        if self._serves(dtype):
            return self.cosines(dtype)._replace(fuzz=3 * UNIT)
        made = []

        def make() -> Gram:
            rows = self.rows(dtype)
            mean = torch.linalg.vector_norm(rows.mean(0))
            even = float(self.lengths.min()) >= 0.5 * float(self.lengths.max())
            short = dtype == torch.float32 and len(rows) >= COMPRESSED and even
            made.append(_gram(rows, self.longest, short and bool(mean**2 <= 0.5 * self.longest**2)))
            return made[0]

        gram = self.keep(("gram", dtype), make)
        return gram if made else gram._replace(flops=0)


def plain(D: Tensor | Prepared) -> Tensor:
    """The matrix itself, for methods that need nothing else of it."""
    return D.D if isinstance(D, Prepared) else D


def prepare(D: Any, memory: int = MEMORY) -> Prepared:
    """`D` (M, N), a tensor or an array, prepared for many calls; at most `memory` bytes are kept beside it.

    What is prepared already is given back as it is. Raises ValueError for a wrong shape, NaN, inf, a zero column,
    and unless memory is a number of at least 0.
    """
    return D if isinstance(D, Prepared) else Prepared(D, memory)


def prepare_for(D: Any, x: Any) -> tuple[Prepared, Tensor]:
    """`prepare(D)` in x's dtype, and x (n, M) as a tensor without gradients.  ValueError where they do not fit."""
    given = prepare(D)
    x = check_signals(given.D, x)
    return given.to(x.dtype), x


def half_width() -> bool:
    """Whether this CPU multiplies 16-bit floats, at twice the speed of float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def in_units(given: Prepared, x: Tensor, alpha: float) -> tuple[Tensor, float, float, float]:
    """x and alpha in units in which alpha and the longest column are about one, and the units of codes and of x.

    So float32 can neither overflow nor underflow where it matters. Powers of two keep every digit.
    """
    # the quotient of alpha and the length can over- and underflow
    exponent = round(math.log2(alpha) - math.log2(given.length))
    size = 2.0 ** min(max(exponent, -1000), 1000)
    return (x / size).contiguous(), alpha / (given.length * size), size / given.length, size


def trace_bound(A: Tensor) -> Tensor:
    """(trace A^1024)^(1/1024) for symmetric, positive semidefinite A: at least its largest eigenvalue."""
    log = torch.zeros((), dtype=A.dtype, device=A.device)
    for square in range(11):
        A = A @ A if square else A
        trace = A.diagonal().sum().clamp_min(torch.finfo(A.dtype).tiny)
        A, log = A / trace, log + trace.log() / 2**square
    return log.exp()


def _bytes(value: Any) -> int:
    if isinstance(value, tuple):
        return sum(_bytes(part) for part in value)
    return value.nbytes if isinstance(value, Tensor | np.ndarray) else 0


def _gram(rows: Tensor, longest: float, short: bool) -> Gram:
    """rows rows', short: in integers of 16 bits."""
    N, M = rows.shape
    scale = 1.001 * longest**2 / 32767 if short else 1.0
    gram, scaled = np.empty((N, N), np.int16 if short else rows.numpy().dtype), (rows / scale).T

    def work(blocks: Iterator[slice]) -> None:
        room = torch.empty(min(N, BLOCK) * N, dtype=rows.dtype)
        for block in blocks:
            first, size = block.start, block.stop - block.start
            part = room[: size * (N - first)].view(size, N - first)
            torch.mm(rows[block], scaled[:, first:], out=part)
            gram[block, first:] = (part.round_() if short else part).numpy()
            # tiles that fit the caches: whole rows would touch a page for each number
            for top in range(first, block.stop, TILE):
                for left in range(first, N, TILE):
                    own = slice(top, min(top + TILE, block.stop))
                    gram[left : left + TILE, own] = gram[own, left : left + TILE].T

    share(N, work, block=BLOCK, fewest=BLOCK)
    # the blocks of the upper triangle
    cost = sum(2 * M * min(BLOCK, N - first) * (N - first) for first in range(0, N, BLOCK))
    return Gram(gram, scale, 0.51 * scale if short else 0.0, cost)
