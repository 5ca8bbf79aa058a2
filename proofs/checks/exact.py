"""Exact linear algebra, and random instances of it."""

from __future__ import annotations

import sympy as sp
from hypothesis import strategies as st


def integer_matrices(M: int, N: int) -> st.SearchStrategy[sp.Matrix]:
    return st.lists(st.integers(-3, 3), min_size=M * N, max_size=M * N).map(lambda e: sp.Matrix(M, N, e))


def dictionaries(
    min_m: int = 1, max_m: int = 4, max_n: int = 6, wide: bool = True
) -> st.SearchStrategy[sp.Matrix]:
    """Integer dictionaries D (M, N), N >= 2, and M < N if wide."""
    shapes = st.tuples(st.integers(min_m, max_m), st.integers(2, max_n))
    if wide:
        shapes = shapes.map(lambda shape: (shape[0], max(shape[0] + 1, shape[1])))
    return shapes.flatmap(lambda shape: integer_matrices(*shape))


def projector(D: sp.Matrix) -> sp.Matrix:
    """D⁺D, exact: the orthogonal projector on the row space."""
    rows = D.rowspace()
    if not rows:
        return sp.zeros(D.cols)
    B = sp.Matrix.vstack(*rows)
    return B.T * (B * B.T).inv() * B


def unit(N: int, i: int) -> sp.Matrix:
    return sp.Matrix(N, 1, lambda k, _: int(k == i))


def relu(t):
    return max(t, 0)


def simplex4() -> sp.Matrix:
    """M=3, N=4: the vertices of a regular simplex, of squared length 3. DᵀD = 4 I − J."""
    return sp.Matrix([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
