"""The LASSO, its dual and its certificates."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amortgap.objectives import (
    alpha_from_mean_loss,
    dual_point,
    duality_gap,
    kkt_residual,
    mean_loss,
    objective,
    relative_gap,
)
from amortgap.problem import SparseProblem
from amortgap.solvers import SOLVERS, solve

ALPHA = 0.1


def random_problem(seed: int, M: int = 5, N: int = 9, n: int = 20):
    """A dictionary with columns of unequal length, signals and arbitrary nonnegative codes."""
    g = torch.Generator().manual_seed(seed)
    D, x, codes = (torch.randn(*shape, generator=g, dtype=torch.double) for shape in ((M, N), (n, M), (n, N)))
    return D, x, codes.relu()


def dual_value(x, y):
    return (y * x).sum(-1) - 0.5 * (y * y).sum(-1)


def soft(v, alpha, nonnegative):
    shrunk = (v.abs() - alpha).clamp_min(0) * v.sign()
    return shrunk.clamp_min(0) if nonnegative else shrunk


def test_objective_is_its_definition_written_out():
    D, x, codes = random_problem(0)
    codes = codes - 0.3  # either sign
    for i, value in enumerate(objective(D, x, codes, ALPHA)):
        fit = sum(
            (float(x[i, m]) - sum(float(D[m, j] * codes[i, j]) for j in range(9))) ** 2 for m in range(5)
        )
        naive = 0.5 * fit + ALPHA * sum(abs(float(c)) for c in codes[i])
        assert float(value) == pytest.approx(naive, rel=1e-13)  # rounding of 50 terms


@pytest.mark.parametrize("nonnegative", [True, False])
def test_the_dual_point_is_feasible_and_the_best_multiple_of_the_residual(nonnegative):
    D, x, codes = random_problem(1, n=200)
    y, residual = dual_point(D, x, codes, ALPHA, nonnegative), x - codes @ D.T
    slope = y @ D if nonnegative else (y @ D).abs()
    assert (slope <= ALPHA * (1 + 1e-12)).all()
    for c in torch.linspace(0, 3, 301, dtype=torch.double):
        other = c * residual
        slope = other @ D if nonnegative else (other @ D).abs()
        feasible = (slope <= ALPHA).all(1)
        assert (dual_value(x, other) <= dual_value(x, y) + 1e-12)[feasible].all()


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-3, 1e2),
    alpha=st.floats(1e-3, 10),
    nonnegative=st.booleans(),
)
def test_the_gap_bounds_the_true_suboptimality(seed, scale, alpha, nonnegative):
    D, x, codes = random_problem(seed, n=5)
    codes = scale * codes
    best = solve(D, x, alpha, "fista", tol=1e-9, nonnegative=nonnegative).objective
    value = objective(D, x, codes, alpha)
    # the optimum itself is known to 1e-9 relative
    assert (duality_gap(D, x, codes, alpha, nonnegative) * value >= value - best - 1e-9 * value).all()


@pytest.mark.parametrize("nonnegative", [True, False])
def test_weak_duality_holds_between_any_code_and_any_dual_point(nonnegative):
    D, x, codes = random_problem(2)
    y = dual_point(D, x, codes, ALPHA, nonnegative)
    for shift in range(1, 20):
        other = objective(D, x, codes.roll(shift, 0), ALPHA)
        assert (dual_value(x, y) <= other + 1e-12).all()


@pytest.mark.parametrize("nonnegative", [True, False])
def test_orthonormal_dictionary_has_the_closed_form(nonnegative):
    g = torch.Generator().manual_seed(3)
    D = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.double)).Q
    x = torch.randn(30, 6, generator=g, dtype=torch.double)
    codes = soft(x @ D, ALPHA, nonnegative)
    # rounding of sums of 6 terms of size one, divided by alpha for the KKT residual
    assert duality_gap(D, x, codes, ALPHA, nonnegative).max() < 1e-13
    assert kkt_residual(D, x, codes, ALPHA, nonnegative).max() < 1e-13
    worse = codes + 0.01
    assert (duality_gap(D, x, worse, ALPHA, nonnegative) > 1e-6).all()
    assert (kkt_residual(D, x, worse, ALPHA, nonnegative) > 1e-3).all()


@settings(deadline=None)
@given(d=st.floats(-5, 5), x=st.floats(-5, 5), alpha=st.floats(1e-2, 5), nonnegative=st.booleans())
def test_one_latent_one_measurement(d, x, alpha, nonnegative):
    if abs(d) < 1e-2:
        d = 1.0
    D, X = torch.tensor([[d]], dtype=torch.double), torch.tensor([[x]], dtype=torch.double)
    codes = soft(X * d, alpha, nonnegative) / d**2
    # d x - d^2 s cancels: rounding of numbers up to 25, relative to alpha >= 1e-2
    assert kkt_residual(D, X, codes, alpha, nonnegative).item() < 1e-11
    value = objective(D, X, codes, alpha)
    gap = duality_gap(D, X, codes, alpha, nonnegative) * value
    assert gap.item() < 1e-12 * (1 + x * x)


def test_kkt_residual_is_its_definition_written_out():
    D, x, codes = random_problem(4)
    for nonnegative in (True, False):
        for i, value in enumerate(kkt_residual(D, x, codes, ALPHA, nonnegative)):
            worst = 0.0
            for j in range(9):
                c = float(D[:, j] @ (x[i] - D @ codes[i]))
                if codes[i, j] != 0:
                    worst = max(worst, abs(c - ALPHA))
                else:
                    worst = max(worst, (c if nonnegative else abs(c)) - ALPHA)
            assert float(value) == pytest.approx(worst / ALPHA, rel=1e-12)


def test_negative_codes_are_infeasible_in_the_nonnegative_case_only():
    D, x, codes = random_problem(5)
    codes[0, 0] = -1e-9
    for certificate in (duality_gap, kkt_residual):
        assert torch.isinf(certificate(D, x, codes, ALPHA))[0]
        assert torch.isfinite(certificate(D, x, codes, ALPHA))[1:].all()
        assert torch.isfinite(certificate(D, x, codes, ALPHA, nonnegative=False)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_zero_signals_and_no_signals(dtype, nonnegative):
    D = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    for n in (0, 3):
        x, codes = torch.zeros(n, 4, dtype=dtype), torch.zeros(n, 6, dtype=dtype)
        for certificate in (duality_gap, kkt_residual):
            value = certificate(D, x, codes, ALPHA, nonnegative)
            assert value.shape == (n,)
            assert value.dtype == dtype
            assert (value == 0).all()


def test_an_exact_fit_has_a_gap_of_one():
    # zero residual: the only dual point of its direction is y = 0
    D = torch.eye(3, dtype=torch.double)
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.double)
    assert duality_gap(D, x, x, ALPHA).item() == 1


@pytest.mark.parametrize("nonnegative", [True, False])
def test_an_exact_fit_in_a_batch_has_a_gap_of_one(nonnegative):
    # in a batch of two, D'r comes out as -0.0, and alpha / -0.0 made the gap NaN
    D = torch.tensor([[-1.0, 1.0]], dtype=torch.double)
    codes = torch.tensor([[3.0, 1.0], [3.0, 1.0]], dtype=torch.double)
    assert duality_gap(D, codes @ D.T, codes, ALPHA, nonnegative).tolist() == [1, 1]


@settings(deadline=None, max_examples=200)
@given(
    D=st.lists(st.integers(-2, 2).filter(bool), min_size=1, max_size=3),
    codes=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    shift=st.sampled_from([0, 0.5, 1]),
)
def test_the_gap_is_a_number_wherever_residuals_vanish(D, codes, shift):
    matrix = torch.tensor([D], dtype=torch.double)
    s = torch.tensor([codes[: len(D)]] * 2, dtype=torch.double)
    for nonnegative in (True, False):
        gap = duality_gap(matrix, s @ matrix.T + shift, s, ALPHA, nonnegative)
        assert ((gap >= 0) & (gap <= 1)).all()


def test_relative_gap_of_a_pair_is_never_negative():
    x = torch.ones(1, 2, dtype=torch.double)
    assert relative_gap(torch.tensor([1.0 - 1e-16], dtype=torch.double), x, x).item() == 0


@settings(deadline=None)
@given(
    weight=st.floats(0, 10),
    M=st.integers(1, 8),
    N=st.integers(1, 8),
    n=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_the_papers_loss_is_two_over_m_times_the_mean_objective(weight, M, N, n, seed):
    D, x, codes = random_problem(seed, M, N, n)
    expected = 2 / M * objective(D, x, codes - 0.2, alpha_from_mean_loss(weight, M, N)).mean()
    torch.testing.assert_close(mean_loss(D, x, codes - 0.2, weight), expected, rtol=1e-13, atol=0)


def test_alpha_of_the_papers_setting():
    assert alpha_from_mean_loss(0.01, 8, 16) == pytest.approx(0.0025, rel=1e-15)


def test_the_papers_loss_of_stacked_models_is_that_of_each():
    g = torch.Generator().manual_seed(0)
    D, codes, x = (
        torch.randn(3, 4, 6, generator=g),
        torch.rand(3, 10, 6, generator=g),
        torch.randn(10, 4, generator=g),
    )
    losses = mean_loss(D, x, codes, 0.1)
    single = torch.stack([mean_loss(d, x, s, 0.1) for d, s in zip(D, codes, strict=True)])
    torch.testing.assert_close(losses, single)


def test_certificates_do_not_depend_on_the_batch():
    p = SparseProblem(n=9, dtype=torch.double)
    codes = p.codes + 0.1
    for certificate in (objective, duality_gap, kkt_residual):
        one = torch.cat([certificate(p.D, p.x[i : i + 1], codes[i : i + 1], ALPHA) for i in range(9)])
        torch.testing.assert_close(certificate(p.D, p.x, codes, ALPHA), one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1e200])
def test_nothing_is_certified_of_what_is_not_finite(wrong):
    D, x = torch.eye(2, dtype=torch.double), torch.tensor([[1.0, 2.0], [1.0, 2.0]], dtype=torch.double)
    codes = torch.tensor([[0.9, 1.9], [0.9, wrong]], dtype=torch.double)
    gap = duality_gap(D, x, codes, 0.1)
    assert gap[0] < 1e-12  # x - alpha is the optimum, to rounding
    assert gap[1] == math.inf


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e150])
@pytest.mark.parametrize("length", [1e-10, 1, 1e10])
@pytest.mark.parametrize("method", ["auto", *(name for name in SOLVERS if name != "log_adam")])
def test_every_method_works_in_units(method, length, size):
    # |x|^2 is 5e-400 for the smallest, and P itself is zero in float64
    D = torch.tensor([[1.0, 0.6], [0.0, 0.8]], dtype=torch.double)
    x = torch.tensor([[1.0, 2.0]], dtype=torch.double)
    found = solve(D * length, x * size, 0.05 * size * length, method, tol=1e-8)
    assert found.converged.all()
    expected = torch.tensor([[0.0, 2.15]]).double() * (size / length)
    # P is flat: a gap of 1e-8 leaves 1e-4 of a code
    torch.testing.assert_close(found.codes, expected, rtol=3e-4, atol=3e-4 * size / length)
    torch.testing.assert_close(
        found.objective, torch.tensor([0.18875]).double() * size * size, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_zero_codes_of_tiny_signals_are_certified_without_their_squares(dtype, nonnegative):
    D, x, _ = random_problem(4)
    x = x * torch.finfo(dtype).tiny
    gap = duality_gap(D.to(dtype), x.to(dtype), torch.zeros(len(x), 9, dtype=dtype), ALPHA, nonnegative)
    assert (gap == 0).all()
