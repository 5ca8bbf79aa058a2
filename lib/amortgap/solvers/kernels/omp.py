"""omp: one sample at a time, from its correlations c0 = D'x, the Gram matrix and the inverse of its active part.

Letters as in `kernels`; columns have length one here. e (k,) are the correlations of the active atoms with the
residual, zero but for rounding after each fit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap.solvers.kernels.rows import add_rows, drop, grow, jit, times

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


class Found(NamedTuple):
    """Results: codes (n, N), which hold zeros, objective (n,), atoms taken (n,), operations (n,)."""

    codes: Any
    objective: Any
    steps: Any
    flops: Any


@jit
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


@jit
def pursue_rows(c0: Any, x: Any, floor: Any, integer: Any, atoms: Any, found: Any) -> None:
    """Fill `found` for samples x (n, M) with correlations c0 = D'x (n, N).

    floor (n,): matches that are rounding.  integer (1,): any, of the floats' size.
    """
    columns, G, length, K, signed, singular = atoms
    codes, objective, steps, flops = found
    n, N = c0.shape
    c, e = np.empty(N, c0.dtype), np.empty(K, c0.dtype)
    s, u, d, w = np.empty(K, c0.dtype), np.empty(K, c0.dtype), np.empty(K, c0.dtype), np.empty(K, c0.dtype)
    H, state = np.empty((K, K), c0.dtype), np.zeros(N, np.int8)
    A, taken = np.empty(K, np.int64), np.empty(K, np.int64)
    bits, residual = c.view(integer.dtype), np.empty(x.shape[1], c0.dtype)
    for row in range(n):
        k, t, work = 0, 0, 0
        for _ in range(4 * K + 4):  # each adds an atom; K suffice unless coefficients turn negative
            c[:] = c0[row]
            for p in range(k):
                w[p] = -s[p]
            add_rows(c, w, G, A, k)
            work += 2 * k * N
            for p in range(k):
                e[p] = c[A[p]]  # rounding of earlier steps, corrected by this one
            j = -1
            for q in range(t):  # an atom taken earlier and pressed to zero may be wanted again
                if state[taken[q]] == ZERO and c[taken[q]] > floor[row]:
                    j = taken[q]
            if j < 0:
                if t == K:
                    break
                for q in range(t):
                    c[taken[q]] = 0
                if signed:
                    for i in range(N):
                        c[i] = abs(c[i])
                j = _largest(bits)
                if not c[j] > floor[row]:
                    break
                taken[t] = j
                t += 1
            match = c0[row, j]
            for p in range(k):
                w[p] = G[j, A[p]]
                match -= w[p] * s[p]
            times(u, H, w, k)
            work += 2 * k * k + 4 * k
            schur = G[j, j]
            for p in range(k):
                schur -= w[p] * u[p]
            if schur <= singular:
                state[j] = DEPENDENT
                continue
            grow(H, u, schur, k)
            work += 2 * k * k
            A[k], s[k], e[k], state[j] = j, 0, match, ACTIVE
            k += 1
            while k > 0:  # Lawson-Hanson: to the least squares on A, or to the first coefficient that is zero
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
        for p in range(k):  # refinement
            e[p] = c0[row, A[p]]
            for q in range(k):
                e[p] -= G[A[p], A[q]] * s[q]
        times(d, H, e, k)
        for p in range(k):
            s[p] += d[p]
        residual[:] = x[row]
        for p in range(k):
            if not signed and s[p] < 0:
                s[p] = 0
            w[p] = -s[p]
            codes[row, A[p]] = s[p] / length[A[p]]
        add_rows(residual, w, columns, A, k)
        total = 0.0
        for i in range(len(residual)):
            total += residual[i] * residual[i]
        objective[row] = 0.5 * total
        for q in range(t):
            state[taken[q]] = FREE
        steps[row], flops[row] = t, work + 4 * k * k + 2 * (k + 1) * len(residual)
