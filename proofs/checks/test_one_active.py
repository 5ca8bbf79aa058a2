"""T2: one active latent, in exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from exact import dictionaries, relu


@given(st.integers(2, 12), st.fractions(min_value=Fraction(1, 100), max_value=100), st.data())
@settings(deadline=None, max_examples=60)
def test_parabola_is_exact_with_one_active(N, t, data):
    j = data.draw(st.integers(0, N - 1))
    x = [t * j**r for r in range(3)]
    for i in range(N):
        w = [1 - i * i, 2 * i, -1]
        assert relu(sum(p * q for p, q in zip(w, x, strict=True))) == (t if i == j else 0)


def test_parabola_row():
    i, k = sp.symbols("i k")
    assert sp.expand((1 - i**2) + 2 * i * k - k**2 - (1 - (i - k) ** 2)) == 0


def decodable_with_one_active(D: np.ndarray, i: int) -> bool:
    """Is d_i outside the cone of the other columns? (Farkas: some w with w·d_i = 1, w·d_j ≤ 0.)"""
    others = np.delete(D, i, axis=1)
    found = optimize.linprog(
        np.zeros(len(D)),
        A_ub=others.T,
        b_ub=np.zeros(others.shape[1]),
        A_eq=D[:, i : i + 1].T,
        b_eq=[1],
        bounds=(None, None),
    )
    return found.status == 0


def wendel(M: int, N: int) -> Fraction:
    """Probability that N directions, symmetric and in general position, lie in a half-space of R^M."""
    return Fraction(sum(math.comb(N - 1, k) for k in range(M)), 2 ** (N - 1))


def test_gaussian_columns_leave_their_cone_with_wendels_probability():
    assert wendel(8, 16) == Fraction(1, 2)
    rng = np.random.default_rng(0)
    for M, N, draws in [(8, 16, 60), (3, 8, 60)]:
        shares = []
        for _ in range(draws):
            D = rng.standard_normal((M, N))
            shares.append(np.mean([decodable_with_one_active(D, i) for i in range(N)]))
        error = np.std(shares, ddof=1) / math.sqrt(draws)
        assert abs(np.mean(shares) - float(wendel(M, N))) < 3 * error


@given(dictionaries(min_m=2, max_m=3, max_n=5), st.data())
@settings(deadline=None, max_examples=40)
def test_top_one_with_the_transposed_dictionary(D, data):
    i, j = data.draw(st.permutations(range(D.cols)))[:2]
    one, other = D[:, i], D[:, j]
    assume(sp.Matrix.hstack(one, other).rank() == 2)
    # unit columns: d_j·d_i / |d_j| < |d_i| unless the two point the same way; squared to stay rational
    assert one.dot(other) ** 2 < one.dot(one) * other.dot(other)
