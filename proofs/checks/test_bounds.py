"""L5, T6, T7, T8: constants by sympy and quadrature, inequalities on random rational instances."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate

from exact import dictionaries, integer_matrices, projector, unit

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


def test_slope_of_a_noisy_reading():
    """T9: E Var(s_i | a·s + σ ξ) changes by at most B² E|(a - b)·s| / (σ sqrt(2 π)); what certifying takes."""
    N, K, B = 16, 3, 3.0
    eigenvalue = K / N + (N - 1) * K * (K - 1) / (N * (N - 1)) * 2 / math.pi
    assert eigenvalue == pytest.approx(0.426, abs=5e-4)
    radius = 0.00165 * 0.01 * math.sqrt(2 * math.pi) / (B**2 * math.sqrt(eigenvalue))
    assert radius == pytest.approx(7e-6, rel=0.05)
    # half of the sphere in eight dimensions (pi^4/3 its whole area) over a ball of radius r in seven
    balls = math.pi**4 / 6 / (math.pi**3.5 / math.gamma(4.5))
    assert balls == pytest.approx(3.4, abs=0.1)
    assert balls * radius**-7 == pytest.approx(4e36, rel=0.5)
    # the inequality, one of two latents active with an amplitude uniform on [0, 1], where everything is an integral
    z, weight = np.polynomial.legendre.leggauss(400)
    z, weight, sigma = (z + 1) / 2, weight / 2, 0.1
    u = np.linspace(-3, 3, 6001)

    def left_over(a):
        first, second = (weight * _normal(u[:, None] - c * z, sigma) / 2 for c in a)
        density = (first + second).sum(1)
        seen = np.where(density > 1e-200, (first @ z) ** 2 / np.maximum(density, 1e-200), 0)
        return 0.5 / 3 - seen.sum() * (u[1] - u[0])

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.standard_normal((2, 2))
        a, b = a / np.linalg.norm(a), a / np.linalg.norm(a) + 0.1 * b
        # s is z e_1 or z e_2, each half of the time, and E z = 1/2
        moved = np.abs(a - b).mean() / 2
        assert 0 < left_over(a) < 0.5 / 3
        assert abs(left_over(a) - left_over(b)) <= moved / (sigma * math.sqrt(2 * math.pi))


def _normal(x, sigma):
    return np.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
