"""The identities and finite witnesses used in proofs/, in exact arithmetic wherever the statement is exact."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize

# ---------------------------------------------------------------- exact linear algebra and random instances


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


# ---------------------------------------------------------------- T1: the fibre lemma and its consequences


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


# ---------------------------------------------------------------- richness is needed


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


# ---------------------------------------------------------------- T2: one active latent


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


# ---------------------------------------------------------------- T3: hidden layers


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


# ---------------------------------------------------------------- L5, T6, T7, T8: constants and algebra

Z = sp.symbols("z", positive=True)
HALF_NORMAL = sp.sqrt(2 / sp.pi) * sp.exp(-(Z**2) / 2)


def test_rayleigh_constants():
    h = Z * sp.exp(-(Z**2) / 2)
    dh = sp.diff(h, Z)

    def over(f):
        return sp.integrate(sp.simplify(f), (Z, 0, sp.oo))

    I0, I1, Ix = over(dh**2 / HALF_NORMAL), over(h**2 / HALF_NORMAL), over(h * dh / HALF_NORMAL)
    assert over(h) == 1
    assert sp.simplify(I0 - sp.pi) == 0
    assert sp.simplify(I1 - sp.pi / 2) == 0
    assert sp.simplify(Ix + sp.sqrt(sp.pi / 2)) == 0
    n = sp.symbols("n", integer=True, positive=True)
    c = 1 / (sp.pi * (sp.pi / 2) ** (n - 1) + (n - 1) * (sp.pi / 2) * (sp.pi / 2) ** (n - 2))
    assert sp.simplify(c - (2 / sp.pi) ** (n - 1) / (sp.pi + n - 1)) == 0


def fibre_constant(n: int, b: float, rate: float) -> float:
    """c_n for half-normal amplitudes and h ∝ z^b exp(-rate z²/2), by quadrature of the defining integrals."""
    norm = integrate.quad(lambda z: z**b * math.exp(-rate * z * z / 2), 0, math.inf)[0]

    def over(f):
        weight = math.sqrt(math.pi / 2) / norm**2
        return (
            weight
            * integrate.quad(lambda z: f(z) * math.exp((0.5 - rate) * z * z), 0, math.inf, limit=200)[0]
        )

    I0 = over(lambda z: z ** (2 * b - 2) * (b - rate * z * z) ** 2)
    I1 = over(lambda z: z ** (2 * b))
    Ix = over(lambda z: z ** (2 * b - 1) * (b - rate * z * z))
    return 1 / (I0 * I1 ** (n - 1) + (n - 1) * Ix**2 * I1 ** (n - 2))


def test_better_constants():
    assert fibre_constant(2, 1, 1) == pytest.approx((2 / math.pi) / (math.pi + 1), rel=1e-7)
    assert fibre_constant(2, 0.79, 1.353) == pytest.approx(0.25219, abs=1e-5)
    assert fibre_constant(3, 0.75, 1.45) == pytest.approx(0.19482, abs=1e-5)
    # T6 at N = 16, M = 8, K = 3
    assert 2 * fibre_constant(3, 0.75, 1.45) * 3 / (16 * 15) * 8 == pytest.approx(0.0390, abs=5e-5)


@pytest.mark.parametrize("angle", [0.2, 0.7, math.pi / 4, 1.2, 1.9, 2.6])
def test_fibre_inequality_holds(angle):
    """E Var(z_1 | α·z) for two half-normal amplitudes, by quadrature, against c_2 (1 - α_1²)."""
    al, be = math.cos(angle), math.sin(angle)
    t = np.linspace(0, 9, 3001)  # along the fibre: z_1
    u = np.linspace(9 * min(al, 0), 9 * (max(al, 0) + be), 1501)
    other = (u[:, None] - al * t[None, :]) / be
    density = np.where(other > 0, np.exp(-(t[None, :] ** 2 + other**2) / 2), 0.0)
    mass = density.sum(1) + 1e-300
    mean = (density * t).sum(1) / mass
    spread = (density * (t[None, :] - mean[:, None]) ** 2).sum() / density.sum()
    assert spread > fibre_constant(2, 0.79, 1.353) * be**2


def test_signed_normal_amplitudes_attain_the_fibre_inequality():
    z = sp.symbols("z", real=True)
    p = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
    dp = sp.diff(p, z)
    I0, I1, Ix = (sp.integrate(sp.simplify(f), (z, -sp.oo, sp.oo)) for f in (dp**2 / p, p, dp))
    assert (I0, I1, Ix) == (1, 1, 0)  # c_n = 1, and Var(z_1 | α·z) = 1 - α_1²/|α|² for normal z


def test_largest_eigenvalue_of_the_fibre_form():
    I0, I1, X = sp.symbols("I0 I1 X", positive=True)  # X = I_x²
    for n in (2, 3, 4):
        diagonal, off = I0 * I1 ** (n - 1), X * I1 ** (n - 2)
        Q = sp.Matrix(n, n, lambda p, q, d=diagonal, o=off: d if p == q else o)
        eigen = {sp.expand(value): count for value, count in Q.eigenvals().items()}
        assert eigen == {sp.expand(diagonal + (n - 1) * off): 1, sp.expand(diagonal - off): n - 1}


def test_best_direction_across_the_fibre():
    al = sp.Matrix(sp.symbols("alpha1:4", real=True))
    e = unit(3, 0)
    v = e - al[0] * al / al.dot(al)
    share = 1 - al[0] ** 2 / al.dot(al)
    assert sp.simplify(v.dot(al)) == 0
    assert sp.simplify(v[0] - share) == 0
    assert sp.simplify(v.dot(v) - share) == 0


@given(dictionaries(wide=False), st.data())
@settings(deadline=None, max_examples=60)
def test_leverage_bounds_the_share_of_a_row(D, data):
    M, N = D.shape
    P = projector(D)
    a = sp.Matrix(1, M, data.draw(st.lists(st.integers(-4, 4), min_size=M, max_size=M))) * D
    for i in range(N):
        assert a[i] ** 2 <= P[i, i] * a.dot(a)
        assert 0 <= P[i, i] <= 1
        assert P[i, i] == P[i, :].dot(P[i, :])


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_reduction_to_leverages(data):
    """T6 with c_n = 1 and errors equal to L5's bound: the exact average is at least (n-1) K (N-r) / (N (N-1))."""
    N = data.draw(st.integers(2, 5))
    K = data.draw(st.integers(2, N))
    n = data.draw(st.integers(2, K))
    D = data.draw(integer_matrices(data.draw(st.integers(1, 3)), N))
    W = sp.Matrix(
        N, D.rows, data.draw(st.lists(st.integers(-3, 3), min_size=N * D.rows, max_size=N * D.rows))
    )
    A = W * D
    total, count = Fraction(0), 0
    for S in itertools.combinations(range(N), K):
        count += 1
        for i in S:
            bounds = []
            for T in itertools.combinations([k for k in S if k != i], n - 1):
                seen = A[i, i] ** 2 + sum(A[i, j] ** 2 for j in T)
                bounds.append(1 - Fraction(int(A[i, i] ** 2), int(seen)) if seen else Fraction(1))
            total += max(bounds)
    assert total / count >= Fraction((n - 1) * K * (N - D.rank()), N * (N - 1))


def test_counting_pairs_and_companions():
    for N, K, n in [(5, 3, 2), (6, 4, 3), (7, 3, 3)]:
        chance = Fraction(math.comb(N - 2, K - 2), math.comb(N, K))  # that both i and j are active
        assert chance == Fraction(K * (K - 1), N * (N - 1))
        kept = Fraction(math.comb(K - 2, n - 2), math.comb(K - 1, n - 1))  # that j is a companion of i
        assert kept == Fraction(n - 1, K - 1)


def removal_ratio(D: sp.Matrix, i: int, m: int) -> sp.Expr:
    """ρ_{i,m}: least (1 - h_i)/h_i over the dictionaries that m of the other columns have left."""
    N, least = D.cols, sp.oo
    for Z in itertools.combinations([k for k in range(N) if k != i], m):
        left = [k for k in range(N) if k not in Z]
        h = projector(D[:, left])[left.index(i), left.index(i)]
        least = min(least, (1 - h) / h if h else sp.oo)
    return least


@given(dictionaries(max_m=3, max_n=5), st.data())
@settings(deadline=None, max_examples=30)
def test_removing_columns_bounds_the_tails_of_a_row(D, data):
    M, N = D.shape
    a = sp.Matrix(1, M, data.draw(st.lists(st.integers(-4, 4), min_size=M, max_size=M))) * D
    i = data.draw(st.integers(0, N - 1))
    assume(a[i] != 0)
    b = sorted(((a[j] / a[i]) ** 2 for j in range(N) if j != i), reverse=True)
    previous = sp.oo
    for m in range(N - 1):
        rho = removal_ratio(D, i, m)
        assert sum(b[m:]) >= rho
        assert rho <= previous
        previous = rho


@given(
    st.lists(st.integers(0, 9), min_size=4, max_size=4),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.integers(1, 3),
    st.fractions(0, 1),
)
def test_mean_share_is_monotone_under_tail_sums(values, extra, size, part):
    """The step of T7: where every tail of b is at least that of c, so is the mean over subsets of t/(1+t)."""
    c = sorted(map(Fraction, values), reverse=True)
    b = [p + q for p, q in zip(c, extra, strict=True)]
    move = part * (b[0] - b[-1]) / 2  # from the first to the last: tails grow, or stay
    b = sorted([b[0] - move, *b[1:-1], b[-1] + move], reverse=True)
    assert all(sum(b[m:]) >= sum(c[m:]) for m in range(4))

    def mean(numbers: list[Fraction]) -> Fraction:
        sums = [sum(chosen) for chosen in itertools.combinations(numbers, size)]
        return sum(t / (1 + t) for t in sums) / len(sums)

    assert mean(b) >= mean(c)


def test_quantiser_integral():
    m, B, r = sp.symbols("m B r", positive=True)
    # P(distance to the nearest of m points > r) >= 1 - 2 r m B
    least = sp.integrate(2 * r * (1 - 2 * r * m * B), (r, 0, 1 / (2 * m * B)))
    assert sp.simplify(least - 1 / (12 * m**2 * B**2)) == 0


def test_semicircle_has_the_least_cube():
    R, angle, v = sp.symbols("R angle v", positive=True)
    # f(x) = 2 sqrt(R² - x²) / (π R²), at x = R sin(angle)
    f, x, dx = 2 * sp.cos(angle) / (sp.pi * R), R * sp.sin(angle), R * sp.cos(angle)

    def over(g):
        return sp.simplify(sp.integrate(g * dx, (angle, -sp.pi / 2, sp.pi / 2)))

    assert [over(f), over(f * x), over(f * x**2)] == [1, 0, R**2 / 4]
    assert sp.simplify(over(f**3) - 3 / (sp.pi**2 * R**2)) == 0
    assert sp.simplify(over(f**3).subs(R, 2 * sp.sqrt(v)) - 3 / (4 * sp.pi**2 * v)) == 0
    # the tangent of t³ at f is a multiple of R² - x²: least for given mass and variance
    assert sp.simplify(3 * f**2 - 12 / (sp.pi**2 * R**4) * (R**2 - x**2)) == 0


def test_gate_constant_for_half_normal_amplitudes():
    peak, variance, m = HALF_NORMAL.subs(Z, 0), 1 - 2 / sp.pi, sp.symbols("m", positive=True)
    constant = 1 / (16 * sp.pi**2 * m**2 * peak**4 * variance)
    assert sp.simplify(constant - 1 / (64 * (1 - 2 / sp.pi) * m**2)) == 0
    assert constant.subs(m, 1).evalf() > (sp.pi / 96).evalf()
