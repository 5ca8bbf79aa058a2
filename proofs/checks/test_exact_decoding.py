"""T1, the measure version's Jacobian, and why amplitudes must vary: finite witnesses in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exact import dictionaries, projector, relu, unit


def codes_on_a_fibre(a: sp.Matrix, i: int, K: int, count: int) -> list[sp.Matrix]:
    """`count` codes, nonnegative with exactly K active, of equal a·s and different s_i; a not a multiple of e_i."""
    N = a.cols
    j = next((j for j in range(N) if j != i and a[j] != 0), (i + 1) % N)
    support = [i, j, *(k for k in range(N) if k not in (i, j))][:K]
    base = sum((unit(N, k) for k in support), sp.zeros(N, 1))
    slope = -a[i] / a[j] if a[j] != 0 else sp.Integer(0)  # a[j] = 0: then a = 0, or a is no multiple of e_i
    step = sp.Rational(1, 2 * count) / (1 + abs(slope))
    return [base + t * step * (unit(N, i) + slope * unit(N, j)) for t in range(count)]


@given(dictionaries(), st.data())
@settings(deadline=None, max_examples=60)
def test_fibre_lemma_gives_codes_that_no_gate_can_tell_apart(D, data):
    M, N = D.shape
    i = data.draw(st.integers(0, N - 1))
    K = data.draw(st.integers(2, N))
    m = data.draw(st.integers(1, 4))
    w = sp.Matrix(1, M, data.draw(st.lists(st.integers(-3, 3), min_size=M, max_size=M)))
    a = w * D
    assume(a[i] == 0 or any(a[j] != 0 for j in range(N) if j != i))  # a is no multiple c e_i, c ≠ 0
    codes = codes_on_a_fibre(a, i, K, m + 1)  # one more than the gate has values
    assert all(min(s) >= 0 and sum(x != 0 for x in s) == K for s in codes)
    assert len({(w * D * s)[0] for s in codes}) == 1
    assert len({s[i] for s in codes}) == m + 1


@given(dictionaries(wide=False), st.data())
@settings(deadline=None, max_examples=60)
def test_converse_unit_leverage_makes_a_linear_latent_exact(D, data):
    N = D.cols
    i = data.draw(st.integers(0, N - 1))
    h = projector(D)[i, i]
    others = sp.Matrix.hstack(*(D[:, j] for j in range(N) if j != i))
    assert (h == 1) == (others.rank() == D.rank() - 1)  # e_i ∈ R  ⇔  d_i outside the span of the others
    if h == 1:
        w = unit(N, i).T * D.pinv()
        s = sp.Matrix(N, 1, data.draw(st.lists(st.integers(-5, 5), min_size=N, max_size=N)))
        assert (w * D * s)[0] == s[i]


@given(dictionaries(wide=False))
@settings(deadline=None, max_examples=80)
def test_counting_corollary(D):
    N, rank = D.cols, D.rank()
    h = projector(D).diagonal()
    decodable = sum(x == 1 for x in h)
    assert sum(h) == rank
    assert decodable <= rank
    if rank < N and all(any(D[:, j]) for j in range(N)):
        assert decodable <= rank - 1


def test_counting_corollary_is_attained():
    # M = 4, N = 6: e_1, e_2, e_3 and three multiples of e_4
    D = sp.Matrix([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 2, 3]])
    assert sum(x == 1 for x in projector(D).diagonal()) == D.rank() - 1


def test_jacobian_of_the_measure_version():
    K = 4
    s, a = sp.symbols(f"s1:{K + 1}"), sp.symbols(f"a1:{K + 1}")
    # (s_i, s_j, rest) -> (s_i, a·s, rest) with i = 1, j = 2
    image = sp.Matrix([s[0], sum(x * y for x, y in zip(a, s, strict=True)), *s[2:]])
    assert sp.simplify(image.jacobian(s).det() - a[1]) == 0


def test_simplex_frame_reads_binary_codes():
    N, K = sp.symbols("N K", positive=True)
    # d_i·x for a binary code with K ones, unit columns of pairwise product -1/(N-1)
    active, silent = 1 - (K - 1) / (N - 1), -K / (N - 1)
    w, b = (N - 1) / N, K / N
    assert sp.simplify(w * active + b - 1) == 0
    assert sp.simplify(w * silent + b) == 0


def test_simplex_frame_has_small_rip_constants():
    for M, k in [(3, 2), (7, 4), (9, 6)]:
        gram = sp.Matrix(k, k, lambda p, q, M=M: 1 if p == q else -sp.Rational(1, M))
        assert gram.eigenvals() == {1 + sp.Rational(1, M): k - 1, 1 - sp.Rational(k - 1, M): 1}
        assert max(abs(e - 1) for e in gram.eigenvals()) == sp.Rational(k - 1, M)  # δ_k; so δ_2K = (2K-1)/M


@given(st.integers(1, 7), st.data())
@settings(deadline=None, max_examples=60)
def test_known_sum_is_read_by_relus_from_one_measurement_less(M, data):
    N = M + 1
    s = [Fraction(data.draw(st.integers(0, 9)), data.draw(st.integers(1, 9))) for _ in range(N)]
    x = [s[j] - s[M] for j in range(M)]  # columns e_1..e_M, -(e_1 + ... + e_M)
    total = sum(s)  # known to the encoder, through its bias
    for i in range(N):
        w = [Fraction(int(j == i)) - Fraction(1, N) for j in range(M)]
        assert relu(sum(p * q for p, q in zip(w, x, strict=True)) + total / N) == s[i]
