"""T3 and iteration: what hidden layers can and cannot do, exact where the statement is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from exact import relu, simplex4, unit


def test_minimum_of_linear_forms_has_kinks_on_part_of_a_hyperplane():
    # T3a: on {u_1 = u_2} the minimum bends where u_1 = u_2 is least, and not where u_3 is
    u = sp.Matrix([-1, -1, 2]), sp.Matrix([1, 1, -2])
    normal = sp.Matrix([1, -1, 0])
    bends = []
    for point in u:
        left, right = min(point - normal / 8), min(point + normal / 8)
        bends.append(left + right - 2 * min(point))
    assert bends[0] < 0
    assert bends[1] == 0


def hidden_layer(x: sp.Matrix) -> sp.Matrix:
    """The 12 hidden ReLUs of T3b, from x = D s with D = simplex4(), then a linear readout: s."""
    D = simplex4()
    correlations = D.T * x  # 4 s_i - sum s
    pairs = [(correlations[i] - correlations[j]) / 4 for i, j in itertools.combinations(range(4), 2)]
    hidden = [relu(u) for u in pairs] + [relu(u) for k in range(3) for u in (x[k], -x[k])]
    assert len(hidden) == 12
    linear = sp.Matrix([hidden[6 + 2 * k] - hidden[7 + 2 * k] for k in range(3)])  # x itself
    sizes = [hidden[6 + 2 * k] + hidden[7 + 2 * k] for k in range(3)]  # |x_k|
    differences = (
        2 * sum(hidden[:6])
        - sum((D.T * linear)[i] - (D.T * linear)[j] for i, j in itertools.combinations(range(4), 2)) / 4
    )
    total = sp.Rational(2, 3) * differences - sp.Rational(1, 3) * sum(sizes)
    return (D.T * linear + total * sp.ones(4, 1)) / 4


def test_pairwise_sum_identity_on_every_face():
    a, b = sp.symbols("a b", nonnegative=True)
    for i, j in itertools.combinations(range(4), 2):
        s = [sp.Integer(0)] * 4
        s[i], s[j] = a, b
        pairs = sum(sp.Abs(s[p] - s[q]) for p, q in itertools.combinations(range(4), 2))
        pairings = sum(sp.Abs(s[0] + s[k] - sum(s[q] for q in (1, 2, 3) if q != k)) for k in (1, 2, 3))
        value = sp.Rational(2, 3) * pairs - sp.Rational(1, 3) * pairings - a - b
        # on a >= b and on a <= b in turn
        d = sp.symbols("d", nonnegative=True)
        assert sp.simplify(value.subs(a, b + d)) == 0
        assert sp.simplify(value.subs(b, a + d)) == 0


@given(st.lists(st.fractions(0, 10), min_size=2, max_size=2), st.permutations(range(4)))
@settings(deadline=None, max_examples=40)
def test_twelve_hidden_relus_close_the_gap(values, places):
    s = sp.zeros(4, 1)
    for place, value in zip(places[:2], values, strict=True):
        s[place] = sp.Rational(value.numerator, value.denominator)
    assert hidden_layer(simplex4() * s) == s


def test_twelve_hidden_relus_are_not_exact_with_three_active():
    s = sp.Matrix([1, 2, 3, 0])
    assert hidden_layer(simplex4() * s) != s  # as T3a demands


def vertices(D: sp.Matrix, c: list) -> list[sp.Matrix]:
    """Vertices λ of {Dᵀλ ≤ c}."""
    M, N = D.shape
    found = []
    for rows in itertools.combinations(range(N), M):
        A = D[:, list(rows)].T
        if A.det() != 0:
            lam = A.inv() * sp.Matrix([c[r] for r in rows])
            if all((D.T * lam)[k] <= c[k] for k in range(N)):
                found.append(lam)
    return found


@pytest.mark.parametrize(
    "D", [simplex4(), sp.Matrix([[1, 0, -1, 2], [0, 1, -1, 1]])], ids=["simplex", "plane"]
)
def test_difference_of_two_maxouts_reads_the_codes_that_l1_solves(D):
    M, N = D.shape
    step = sp.Rational(1, 64)
    dual = vertices(D, [1] * N)
    moved = [vertices(D, list(sp.ones(N, 1) + step * unit(N, i))) for i in range(N)]
    solved = 0
    for size in range(1, M + 1):
        for support in itertools.combinations(range(N), size):
            # L1 recovers the face if some λ has D_S'λ = 1 and D'λ < 1 off S: here, by averaging the dual optima
            s = sum((sp.Rational(k + 2, 3) * unit(N, k) for k in support), sp.zeros(N, 1))
            x = D * s
            value = max((lam.T * x)[0] for lam in dual)
            best = [lam for lam in dual if (lam.T * x)[0] == value]
            middle = sum(best, sp.zeros(M, 1)) / len(best)
            recovered = all((D.T * middle)[k] == 1 for k in support) and all(
                (D.T * middle)[k] < 1 for k in range(N) if k not in support
            )
            if not (recovered and D[:, list(support)].rank() == size):
                continue
            solved += 1
            for i in range(N):
                assert (max((lam.T * x)[0] for lam in moved[i]) - value) / step == s[i]
    assert solved >= N


def test_size_of_the_maxout():
    n, d = 16, 8
    k = d // 2
    assert n * math.comb(n - k, k) // (n - k) == 660  # facets of a cyclic polytope, even dimension
    assert math.ceil(math.log2(660)) == 10


def recovered_supports(D: np.ndarray, K: int) -> set[tuple[int, ...]]:
    """Supports of size K on which nonnegative L1 finds every code: those inside a vertex of {Dᵀλ ≤ 1}."""
    M, N = D.shape
    sets = np.array(list(itertools.combinations(range(N), M)))
    lam = np.linalg.solve(D.T[sets], np.ones((len(sets), M, 1)))[..., 0]
    tight = sets[(lam @ D <= 1 + 1e-9).all(1)]
    return {part for vertex in tight.tolist() for part in itertools.combinations(vertex, K)}


def gaussian_dictionary(seed: int, M: int = 8, N: int = 16) -> np.ndarray:
    D = np.random.default_rng(seed).standard_normal((M, N))
    return D / np.linalg.norm(D, axis=0)


def test_supports_that_l1_recovers_are_faces_of_vertices():
    counts = [len(recovered_supports(gaussian_dictionary(seed), 8)) for seed in range(5)]
    assert (min(counts), max(counts)) == (422, 455)  # vertices; at most 660
    shares = [
        [len(recovered_supports(gaussian_dictionary(seed), K)) / math.comb(16, K) for K in (1, 2, 3)]
        for seed in range(5)
    ]
    assert np.mean(shares, axis=0) == pytest.approx([1, 0.9983, 0.9661], abs=5e-5)
    rng, D = np.random.default_rng(0), gaussian_dictionary(1)
    recovered = recovered_supports(D, 3)
    for support in rng.permutation(list(itertools.combinations(range(16), 3)))[:60]:
        s = np.zeros(16)
        s[support] = np.abs(rng.standard_normal(3)) + 0.1
        found = optimize.linprog(np.ones(16), A_eq=D, b_eq=D @ s).x
        assert (np.abs(found - s).max() < 1e-6) == (tuple(support.tolist()) in recovered)


def test_a_second_iteration_separates_what_one_latent_cannot():
    # M = 2, N = 3, two active: equal d_3·x, different s_3
    D = sp.Matrix([[1, 0, -1], [0, 1, -1]])
    tau, alpha = sp.Rational(1, 4), sp.Rational(1, 100)

    def ista(x: sp.Matrix, steps: int) -> sp.Matrix:
        s = sp.zeros(3, 1)
        for _ in range(steps):
            s = (s + tau * (D.T * (x - D * s) - alpha * sp.ones(3, 1))).applyfunc(relu)
        return s

    first, second = sp.Matrix([1, 0, 1]), sp.Matrix([0, 3, 2])
    assert (D.T * D * first)[2] == (D.T * D * second)[2]
    one = [ista(D * s, 1)[2] for s in (first, second)]
    two = [ista(D * s, 2)[2] for s in (first, second)]
    assert one[0] == one[1]
    assert two[0] < two[1]  # the right way round: 1 and 2
