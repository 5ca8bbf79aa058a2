"""Conditions for sparse recovery: exact values on known frames, brute force, and recovery by the solvers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from amortgap import sensing
from amortgap.problem import SparseProblem
from amortgap.solvers import basis_pursuit


def dictionary(seed: int, M: int = 8, N: int = 16) -> np.ndarray:
    D = np.random.default_rng(seed).standard_normal((M, N))
    return D / np.linalg.norm(D, axis=0)


def simplex(M: int) -> torch.Tensor:
    return SparseProblem(N=M + 1, M=M, K=1, n=1, dictionary="simplex", dtype=torch.float64).D


def with_circuit(size: int, M: int = 5, N: int = 7) -> np.ndarray:
    """A generic dictionary but for its first `size` columns, which are dependent, any fewer of them are not."""
    D = dictionary(size, M, N)
    D[:, size - 1] = D[:, : size - 1] @ np.arange(1.0, size)
    return D / np.linalg.norm(D, axis=0)


# --- coherence ----------------------------------------------------------------------------------------------


def test_coherence_and_babel_against_loops() -> None:
    D = dictionary(0, 4, 7)
    products = [sorted((abs(D[:, i] @ D[:, j]) for j in range(7) if j != i), reverse=True) for i in range(7)]
    assert sensing.coherence(D) == pytest.approx(max(row[0] for row in products))
    babel = sensing.babel(D)
    assert isinstance(babel, np.ndarray)
    np.testing.assert_allclose(babel, [max(sum(row[:k]) for row in products) for k in range(1, 7)])
    assert isinstance(sensing.babel(torch.from_numpy(D)), torch.Tensor)


@pytest.mark.parametrize("M", [3, 8])
def test_simplex_frame_facts(M: int) -> None:
    """d_i.d_j = -1/M: eigenvalues of a k-block are 1 + 1/M and 1 - (k-1)/M; the kernel is (1, ..., 1)."""
    D = simplex(M)
    assert sensing.coherence(D) == pytest.approx(1 / M)
    np.testing.assert_allclose(sensing.babel(D), np.arange(1, M + 1) / M)
    for k in range(2, M + 2):
        assert sensing.rip_constant(D, k) == pytest.approx((k - 1) / M)
        assert sensing.rip_upper_bound(D, k) == pytest.approx((k - 1) / M)  # every bound is sharp here
        assert sensing.rip_lower_bound(D, k, draws=3) == pytest.approx((k - 1) / M)
        assert sensing.nullspace_constant(D, k) == pytest.approx(k / (M + 1))
    assert sensing.spark(D) == M + 1
    assert len(sensing.circuits(D)) == 1
    # nonnegative codes: only the support of all M + 1 contains the kernel's negative side
    assert sensing.neighbourliness(D) == M
    assert sensing.l1_success_rate(D, M) == sensing.l1_success_rate(D, M, method="lp") == (1.0, 0.0)


def test_orthonormal_columns_are_perfect() -> None:
    D = torch.linalg.qr(torch.from_numpy(dictionary(1, 6, 4))).Q
    assert sensing.coherence(D) == pytest.approx(0, abs=1e-12)
    assert sensing.rip_constant(D, 4) == pytest.approx(0, abs=1e-12)
    assert sensing.spark(D) == 5
    assert sensing.nullspace_constant(D, 2) == 0
    assert sensing.neighbourliness(D) == 4
    assert sensing.coherence_guarantee(D) == 3
    assert sensing.l1_success_rate(D, 4) == sensing.l1_success_rate(D, 4, method="lp") == (1.0, 0.0)


# --- restricted isometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_rip_against_a_loop_over_supports(order: int) -> None:
    D = dictionary(order, 4, 8)
    brute = max(
        np.abs(np.linalg.svd(D[:, list(S)].T @ D[:, list(S)] - np.eye(order), compute_uv=False)).max()
        for S in itertools.combinations(range(8), order)
    )
    assert sensing.rip_constant(D, order) == pytest.approx(brute, abs=1e-10)
    assert sensing.rip_lower_bound(D, order) <= brute + 1e-10
    for exact_order in (2, 3):
        assert sensing.rip_upper_bound(D, order, exact_order) >= brute - 1e-10
    if order == 2:
        assert brute == pytest.approx(sensing.coherence(D))


def test_rip_says_nothing_in_the_papers_setting() -> None:
    order_three, order_six = [], []
    for seed in range(5):
        D = dictionary(seed)
        order_six.append(sensing.rip_constant(D, 6))
        order_three.append(sensing.rip_constant(D, 3))
        assert sensing.rip_lower_bound(D, 6, draws=200) <= order_six[-1] + 1e-10
        assert 0.77 <= sensing.coherence(D) <= 0.85
        assert sensing.coherence_guarantee(D) == 1
        assert sensing.spark(D) == 9
    # delta < 1 would make K-sparse codes unique; every one of these is above
    assert 1.26 <= min(order_three) <= max(order_three) <= 1.505
    assert 1.995 <= min(order_six) <= max(order_six) <= 2.5


def test_rip_bounds_bracket_a_dictionary_too_large_to_enumerate() -> None:
    D = dictionary(0, 300, 400)
    with pytest.raises(ValueError, match=r"supports, more than 2000000; call rip_lower_bound and rip_upper"):
        sensing.rip_constant(D, 6)
    low = sensing.rip_lower_bound(D, 6, draws=100)
    assert sensing.rip_lower_bound(D, 6, draws=100, steps=0) < low < sensing.rip_upper_bound(D, 6) < 1.5


# --- kernel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_spark_of_known_matrices(size: int) -> None:
    D = with_circuit(size) if size < 6 else dictionary(6, 5, 7)
    assert sensing.spark(D) == size
    assert sensing.spark(torch.from_numpy(D)) == size


def test_spark_of_spikes_and_hadamard() -> None:
    """[I, H/2] in R^4: a spike comb is its own transform; the spark is 2 sqrt(M) = 4."""
    H = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    D = np.hstack([np.eye(4), H])
    assert sensing.spark(D) == 4
    assert sensing.spark(np.vstack([D, np.zeros((2, 8))])) == 4  # rank below M


@pytest.mark.parametrize("D", [with_circuit(3), with_circuit(2), dictionary(0, 3, 6)])
def test_circuits_are_the_minimal_kernel_vectors(D: np.ndarray) -> None:
    vectors = sensing.circuits(D).numpy()
    np.testing.assert_allclose(D @ vectors.T, 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(vectors).sum(1), 1)
    found = {frozenset(np.flatnonzero(v).tolist()) for v in vectors}
    assert len(found) == len(vectors)
    minimal: set[frozenset[int]] = set()
    for k in range(1, D.shape[1] + 1):
        for S in itertools.combinations(range(D.shape[1]), k):
            dependent = np.linalg.matrix_rank(D[:, S], tol=1e-8) < k
            if dependent and not any(smaller <= set(S) for smaller in minimal):
                minimal.add(frozenset(S))
    assert found == minimal


@pytest.mark.parametrize("seed", range(3))
def test_nullspace_constant_against_random_kernel_vectors_and_programmes(seed: int) -> None:
    D = dictionary(seed, 5, 8)
    kernel = np.linalg.svd(D)[2][5:]
    v = np.random.default_rng(seed).standard_normal((20_000, 3)) @ kernel
    v = np.sort(np.abs(v) / np.abs(v).sum(1, keepdims=True), axis=1)[:, ::-1]
    for K in (1, 2, 3):
        gamma = sensing.nullspace_constant(D, K)
        assert 0.9 * gamma < v[:, :K].sum(1).max() <= gamma + 1e-12
        assert sensing.nullspace_upper_bound(D, K) >= gamma - 1e-9
    assert sensing.nullspace_upper_bound(D, 1) == pytest.approx(sensing.nullspace_constant(D, 1), abs=1e-9)


# --- faces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("D", [dictionary(0, 4, 7), with_circuit(3), with_circuit(2), simplex(4).numpy()])
def test_circuits_and_programmes_find_the_same_faces(D: np.ndarray, nonnegative: bool) -> None:
    for K in range(1, 5):
        by_circuits = sensing.l1_success_rate(D, K, nonnegative, method="circuits")
        assert by_circuits == sensing.l1_success_rate(D, K, nonnegative, method="lp")
        if nonnegative:
            assert (by_circuits[0] == 1) == (sensing.neighbourliness(D) >= K)
        else:
            assert (by_circuits[0] == 1) == (sensing.nullspace_constant(D, K) < 0.5)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_each_face_agrees_with_basis_pursuit(nonnegative: bool) -> None:
    """Recovery depends on support and signs only: any amplitudes on the face tell."""
    D, K = dictionary(2, 6, 12), 3
    amplitude = "half-normal" if nonnegative else "signed-normal"
    problem = SparseProblem(
        N=12, M=6, K=K, n=60, dictionary=torch.from_numpy(D), amplitude=amplitude, dtype=torch.float64
    )
    solved = basis_pursuit(problem.D, problem.x, nonnegative=nonnegative).codes
    recovered = (solved - problem.codes).norm(dim=1) < 1e-5 * problem.codes.norm(dim=1)
    for s, success in zip(problem.codes, recovered, strict=True):
        S = s.nonzero().squeeze(1)
        assert sensing.l1_recovers(D, S, None if nonnegative else s[S].sign()) == bool(success)
    assert 0 < recovered.double().mean() < 1


@pytest.mark.parametrize(("K", "expected"), [(2, 1.0), (3, 0.9768), (5, 0.6522)])
def test_success_rate_agrees_with_solved_draws(K: int, expected: float) -> None:
    D, n = dictionary(0), 300
    rate, error = sensing.l1_success_rate(D, K)
    assert error == 0
    assert rate == pytest.approx(expected, abs=1e-4)
    sampled, error = sensing.l1_success_rate(D, K, draws=n, seed=K)
    assert abs(sampled - rate) <= 3 * max(error, math.sqrt(rate * (1 - rate) / n))
    problem = SparseProblem(K=K, n=n, dictionary=torch.from_numpy(D), dtype=torch.float64)
    solved = basis_pursuit(problem.D, problem.x).codes
    share = ((solved - problem.codes).norm(dim=1) < 1e-5 * problem.codes.norm(dim=1)).double().mean()
    assert abs(float(share) - rate) <= 3 * math.sqrt(rate * (1 - rate) / n) + 1e-12


@pytest.mark.slow
def test_recovery_over_sparsity_in_the_papers_setting() -> None:
    rates = np.array([[sensing.l1_success_rate(dictionary(s), K)[0] for K in range(1, 9)] for s in range(5)])
    np.testing.assert_allclose(
        rates.mean(0), [1, 0.9983, 0.9661, 0.8500, 0.6345, 0.3730, 0.1542, 0.0340], atol=1e-4
    )


# --- phase transitions --------------------------------------------------------------------------------------


def test_weak_thresholds_at_half_and_at_the_ends() -> None:
    assert sensing.weak_threshold(0.5, nonnegative=False) == pytest.approx(0.38569, abs=1e-5)
    assert sensing.weak_threshold(0.5, nonnegative=True) == pytest.approx(0.55823, abs=1e-5)
    delta = np.array([1e-4, 0.01, 0.1, 0.5, 0.9, 1.0])
    signed, nonnegative = (sensing.weak_threshold(delta, kind) for kind in (False, True))
    assert (np.diff(signed) > 0).all()
    assert (np.diff(nonnegative) > 0).all()
    assert (nonnegative[:-1] > signed[:-1]).all()
    assert signed[-1] == pytest.approx(1)
    assert nonnegative[-1] == pytest.approx(1)
    # rho ~ 1 / (2 log(1/delta)) as delta -> 0 (Donoho & Tanner 2005, theorem 1.1)
    tiny = np.array([1e-60, 1e-120])
    limit = sensing.weak_threshold(tiny, False) * 2 * np.log(1 / tiny)
    assert (np.abs(limit - 1) < 0.05).all()
    assert abs(limit[1] - 1) < abs(limit[0] - 1)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("delta", [0.1, 0.5, 0.9])
def test_weak_threshold_is_the_statistical_dimension(delta: float, nonnegative: bool) -> None:
    """Two derivations, one curve: the parametric formula against a numerical minimum with integrals by quad."""
    kappa = delta * sensing.weak_threshold(delta, nonnegative)
    c = 1 if nonnegative else 2

    def dimension(t: float) -> float:
        tail, _ = integrate.quad(lambda u: (u - t) ** 2 * stats.norm.pdf(u), t, np.inf)
        return kappa * (1 + t * t) + (1 - kappa) * c * tail

    assert optimize.minimize_scalar(dimension, bounds=(0, 5)).fun == pytest.approx(delta, abs=1e-6)
    N = 10**6
    assert sensing.measurements_needed(round(kappa * N), N, nonnegative) / N == pytest.approx(delta, abs=1e-5)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_recovery_falls_at_the_threshold(nonnegative: bool) -> None:
    N, M = 60, 30
    middle = sensing.weak_threshold(M / N, nonnegative) * M

    def rate(K: int) -> float:
        return sensing.recovery_rate(
            lambda D, x: basis_pursuit(D, x, nonnegative=nonnegative).codes,
            N, M, K, dictionaries=5, n=4, nonnegative=nonnegative, dtype=torch.float64,
        )[0]  # fmt: skip

    assert rate(round(0.6 * middle)) > 0.85
    assert rate(round(1.4 * middle)) < 0.15


def test_recovery_rate_counts_its_error() -> None:
    always = sensing.recovery_rate(lambda D, x: torch.zeros(len(x), D.shape[1]), 8, 4, 2)
    assert always == (0.0, 0.0)
    # one measurement in ten recovered, in every dictionary alike: the binomial error remains
    rate, error = sensing.recovery_rate(
        lambda D, x: torch.cat([x[:1] @ torch.linalg.pinv(D).T, torch.full((9, 4), 9.0)]), 4, 4, 4, n=10
    )
    assert rate == pytest.approx(0.1)
    assert error == pytest.approx(math.sqrt(0.1 * 0.9 / 100))


# --- refusals -----------------------------------------------------------------------------------------------

WITH_ORDER = [
    sensing.rip_constant,
    sensing.rip_lower_bound,
    sensing.rip_upper_bound,
    sensing.nullspace_constant,
    sensing.nullspace_upper_bound,
    sensing.l1_success_rate,
]
WITHOUT_ORDER = [
    sensing.coherence,
    sensing.babel,
    sensing.coherence_guarantee,
    sensing.spark,
    sensing.circuits,
    sensing.neighbourliness,
]


@pytest.mark.parametrize("measure", WITH_ORDER)
@settings(max_examples=15, deadline=None)
@given(order=st.one_of(st.integers(-5, 0), st.integers(7, 99), st.floats(1.1, 1.9)))
def test_orders_outside_the_dictionary_are_refused(measure, order: float) -> None:
    with pytest.raises(ValueError, match="must be a whole number between 1 and N = 6"):
        measure(dictionary(0, 4, 6), order)


@pytest.mark.parametrize("measure", WITH_ORDER + WITHOUT_ORDER)
@settings(max_examples=15, deadline=None)
@given(where=st.integers(0, 5), kind=st.sampled_from(["nan", "inf", "zero", "scaled", "flat", "list"]))
def test_bad_dictionaries_are_refused(measure, where: int, kind: str) -> None:
    D = dictionary(0, 4, 6)
    words = {"nan": "NaN", "inf": "NaN or inf", "zero": "zero", "scaled": "norm one", "flat": "shape"}
    if kind in ("nan", "inf"):
        D[where % 4, where] = float(kind)
    elif kind in ("zero", "scaled"):
        D[:, where] *= 0 if kind == "zero" else 1.5 + where
    value = {"flat": D.ravel(), "list": D.tolist()}.get(kind, D)
    with pytest.raises(ValueError, match=words.get(kind, "must be a torch tensor or a numpy array")):
        measure(value, 2) if measure in WITH_ORDER else measure(value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda D: sensing.rip_lower_bound(D, 2, draws=0), "draws must be at least 1"),
        (lambda D: sensing.rip_upper_bound(D, 3, exact_order=1), "exact_order must be at least 2"),
        (lambda D: sensing.spark(D, tol=0), "tol is a singular value"),
        (lambda D: sensing.spark(dictionary(0, 20, 60)), "sets of 20, more than 500000"),
        (lambda D: sensing.l1_success_rate(D, 2, method="guess"), "unknown method 'guess'"),
        (lambda D: sensing.l1_success_rate(D, 2, draws=0), "draws must be at least 1"),
        (
            lambda D: sensing.l1_success_rate(dictionary(0, 20, 60), 6),
            "linear programmes, more than 50000; give",
        ),
        (lambda D: sensing.l1_recovers(D, [0, 0]), "different indices between 0 and N - 1 = 5"),
        (lambda D: sensing.l1_recovers(D, [6]), "different indices"),
        (lambda D: sensing.l1_recovers(D, [0, 1], [1]), "signs must be"),
        (lambda D: sensing.l1_recovers(D, [0, 1], [1, 0.5]), "signs must be"),
        (lambda D: sensing.weak_threshold(0), r"delta = M/N must lie in \(0, 1\]"),
        (lambda D: sensing.weak_threshold(math.nan), "delta = M/N must lie in"),
        (lambda D: sensing.measurements_needed(7, 6), "K must be a whole number between 1 and N = 6"),
        (lambda D: sensing.recovery_rate(lambda D, x: x, 4, 2, 1, dictionaries=0), "dictionaries must be"),
    ],
)
def test_refusals_say_what_is_wrong(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(dictionary(0, 4, 6))
