"""omp: one sample at a time, from its correlations c0 = D'x, the Gram matrix and the inverse of its active part.

Letters as in `kernels`; columns have length one here. e (k,) are the correlations of the active atoms with the
residual, zero but for rounding after each fit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.jit import fused, jit
from amortgap.solvers.kernels.rows import add_rows, drop, grow, times

FREE, ACTIVE, ZERO, DEPENDENT = 0, 1, 2, 3  # what has become of an atom


class Atoms(NamedTuple):
    """The dictionary: unit columns (N, M), their Gram matrix G, the lengths (N,) they had. And the task: at most K
    atoms, signed codes or not, and the Schur complement below which an atom depends on the active ones."""

    columns: Any
    G: Any
    length: Any
    K: int
    signed: bool
    singular: float


class Ends(NamedTuple):
    """Where samples end: atoms (n,), squared residual (n,), the match that is rounding (n,)."""

    K: Any
    rest: Any
    floor: Any


class Found(NamedTuple):
    """Results: codes (n, N), which hold zeros, objective (n,), atoms taken (n,), operations (n,), and the smallest
    Schur complement met (n,)."""

    codes: Any
    objective: Any
    steps: Any
    flops: Any
    schur: Any


@fused
def _largest(bits: Any) -> int:
    """Index of the largest entry.  bits: floats read as integers, which order alike where they are positive.

    Integers, because maxima of floats are not computed several at a time.
    """
    top = bits[0]
    for i in range(len(bits)):
        if bits[i] > top:
            top = bits[i]
    found = 0
    for i in range(len(bits)):
        found = max(found, i * (bits[i] == top))
    return found


@fused
def _choose(c: Any, bits: Any, state: Any, taken: Any, t: int, more: bool, signed: bool, floor: float) -> int:
    """The next atom, -1 where none matches above floor.  more: whether a new one may be taken. Changes c."""
    best = -1
    for q in range(t):  # an atom taken earlier and pressed to zero may be wanted again
        if state[taken[q]] == ZERO and c[taken[q]] > floor:
            best = taken[q]
    if best >= 0 or not more:
        return best
    for q in range(t):
        c[taken[q]] = 0
    if signed:
        for i in range(len(c)):
            c[i] = abs(c[i])
    best = _largest(bits)
    return best if c[best] > floor else -1


@fused
def _fit(H: Any, s: Any, e: Any, d: Any, A: Any, state: Any, k: int, signed: bool) -> Any:
    """Lawson-Hanson: to the least squares on A, or to the first zero coefficient; k and operations after."""
    work = 0
    while k > 0:
        times(d, H, e, k)
        work += 2 * k * (k + 1)
        part, blocking = 1.0, -1
        if not signed:
            for p in range(k):
                if d[p] < 0 and s[p] + part * d[p] <= 0:
                    part, blocking = -s[p] / d[p], p
        for p in range(k):
            s[p] += part * d[p]
            e[p] *= 1 - part
        if blocking < 0:
            break
        drop(H, blocking, k)
        work += 2 * k * k
        k -= 1
        state[A[blocking]] = ZERO
        A[blocking], s[blocking], e[blocking] = A[k], s[k], e[k]
    return k, work


@fused
def _subtract(residual: Any, x: Any, s: Any, w: Any, columns: Any, A: Any, k: int) -> float:
    """residual = x - D s, and its squared length."""
    residual[:] = x
    for p in range(k):
        w[p] = -s[p]
    add_rows(residual, w, columns, A, k)
    total = 0.0
    for i in range(len(residual)):
        total += residual[i] * residual[i]
    return total


@fused
def _refine(c0: Any, G: Any, H: Any, s: Any, e: Any, d: Any, A: Any, k: int, signed: bool) -> None:
    """One more step to the least squares, from correlations without the rounding of earlier steps."""
    for p in range(k):
        e[p] = c0[A[p]]
        for q in range(k):
            e[p] -= G[A[p], A[q]] * s[q]
    times(d, H, e, k)
    for p in range(k):
        s[p] += d[p]
        if not signed and s[p] < 0:
            s[p] = 0


@jit
def pursue_rows(first: int, c0: Any, x: Any, ends: Any, integer: Any, atoms: Any, found: Any) -> None:
    """Fill `found` for the samples of x from `first` on, given their correlations c0 = D'x (n, N).

    integer (1,): any, of the floats' size.
    """
    columns, G, length, most, signed, singular = atoms
    limits, rests, floors = ends
    codes, objective, steps, flops, smallest = found
    n, (M, N) = len(c0), (x.shape[1], c0.shape[1])
    c, e = np.empty(N, c0.dtype), np.empty(most, c0.dtype)
    s, u, d, w = np.empty_like(e), np.empty_like(e), np.empty_like(e), np.empty_like(e)
    H, state = np.empty((most, most), c0.dtype), np.zeros(N, np.int8)
    A, taken = np.empty(most, np.int64), np.empty(most, np.int64)
    bits, residual = c.view(integer.dtype), np.empty(M, c0.dtype)
    for row in range(n):
        at = first + row
        k, t, work, least, K, floor, goal = 0, 0, 0, 1.0, limits[at], floors[at], rests[at]
        size = near = rest = 0.0
        if goal > 0:
            # where the length from the fit has lost its digits, the residual is made
            size = _subtract(residual, x[at], s, w, columns, A, 0)
            near, rest = goal + 64 * np.finfo(c0.dtype).eps * size, size
        for _ in range(4 * K + 4):  # each adds an atom; K suffice unless coefficients turn negative
            if goal > 0:
                if rest <= near:
                    rest = _subtract(residual, x[at], s, w, columns, A, k)
                    work += 2 * k * M
                if rest <= goal:
                    break
            c[:] = c0[row]
            for p in range(k):
                w[p] = -s[p]
            add_rows(c, w, G, A, k)
            work += 2 * k * N
            for p in range(k):
                e[p] = c[A[p]]  # rounding of earlier steps, corrected by this one
            j = _choose(c, bits, state, taken, t, t < K, signed, floor)
            if j < 0:
                break
            if state[j] == FREE:
                taken[t] = j
                t += 1
            match, schur = c0[row, j], G[j, j]
            for p in range(k):
                w[p] = G[j, A[p]]
                match -= w[p] * s[p]
            times(u, H, w, k)
            work += 2 * k * k + 4 * k
            for p in range(k):
                schur -= w[p] * u[p]
            least = min(least, schur)
            if schur <= singular:
                state[j] = DEPENDENT
                continue
            grow(H, u, schur, k)
            work += 2 * k * k
            A[k], s[k], e[k], state[j] = j, 0, match, ACTIVE
            k, more = _fit(H, s, e, d, A, state, k + 1, signed)
            work += more
            if goal > 0:
                rest = size
                for p in range(k):
                    rest -= s[p] * c0[row, A[p]]
        _refine(c0[row], G, H, s, e, d, A, k, signed)
        for p in range(k):
            codes[at, A[p]] = s[p] / length[A[p]]
        for q in range(t):
            state[taken[q]] = FREE
        objective[at] = 0.5 * _subtract(residual, x[at], s, w, columns, A, k)
        steps[at], smallest[at] = t, least
        flops[at] = work + 6 * k * k + 2 * (k + 2) * M
