"""Least squares on given supports, against scipy, on generic and on degenerate columns."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from amortgap.solvers import nnls as least_squares
from amortgap.solvers import refit


def problem(M, N, n, seed=0):
    g = torch.Generator().manual_seed(seed)
    D, x = (
        torch.randn(M, N, generator=g, dtype=torch.double),
        torch.randn(n, M, generator=g, dtype=torch.double),
    )
    return D, x, torch.rand(n, N, generator=g) < 0.5


def by_scipy(D, x, support, nonnegative):
    """Codes (n, N) and residual norms (n,)."""
    codes, errors = np.zeros(support.shape), np.linalg.norm(x.numpy(), axis=1)
    for i, chosen in enumerate(support.numpy()):
        columns = D.numpy()[:, chosen]
        if chosen.any():
            codes[i, chosen] = nnls(columns, x[i])[0] if nonnegative else np.linalg.lstsq(columns, x[i])[0]
            errors[i] = np.linalg.norm(x[i].numpy() - columns @ codes[i, chosen])
    return torch.from_numpy(codes), torch.from_numpy(errors)


def error(D, x, codes):
    return torch.linalg.vector_norm(x - codes @ D.T, dim=1)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize(("M", "N"), [(8, 8), (20, 16), (30, 40), (3, 1)])
def test_scipy_agrees(M, N, nonnegative):
    D, x, support = problem(M, N, 60)
    if N > M:
        support &= torch.arange(N) < M  # keeps the fit unique
    codes = refit(D, x, support, nonnegative=nonnegative)
    expected, errors = by_scipy(D, x, support, nonnegative)
    # the ridge of 1e-12 times the condition of the worst Gram matrix of 60 random ones (about 1e5)
    torch.testing.assert_close(codes, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(error(D, x, codes), errors, rtol=1e-9, atol=1e-9)
    assert (codes[~support] == 0).all()


def test_optimality_conditions_of_nonnegative_fits():
    D, x, support = problem(10, 30, 200)
    codes = refit(D, x, support)
    gradient = (x - codes @ D.T) @ D
    assert (codes >= 0).all()
    assert (gradient[support & (codes == 0)] < 1e-8).all()
    # columns of length 3 and a ridge of 1e-12 against codes of size one
    assert (gradient[codes > 0].abs() < 1e-8).all()


@pytest.mark.parametrize("max_pivots", [0, least_squares.MAX_PIVOTS])
def test_more_columns_than_measurements_on_every_support(max_pivots, monkeypatch):
    # block pivoting runs in circles on dependent columns; without pivots, everything is left to Lawson & Hanson
    monkeypatch.setattr(least_squares, "MAX_PIVOTS", max_pivots)
    D, x, _ = problem(20, 44, 25)
    support = torch.rand(25, 44, generator=torch.Generator().manual_seed(1)) < 0.9
    codes = refit(D, x, support)
    gradient = (x - codes @ D.T) @ D
    assert (codes >= 0).all()
    assert (gradient[support] < 1e-7).all()  # slack of 1e-10 max|D'x|, about 30, times the length of a column
    assert (gradient[codes > 0].abs() < 1e-7).all()


def test_both_algorithms_find_the_one_optimum(monkeypatch):
    D, x, support = problem(20, 16, 60)
    pivoted = refit(D, x, support)
    monkeypatch.setattr(least_squares, "MAX_PIVOTS", 0)
    torch.testing.assert_close(refit(D, x, support), pivoted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e6])
def test_the_length_of_columns_does_not_matter(scale):
    D, x, support = problem(8, 16, 50)
    support &= torch.arange(16) < 8
    lengths = torch.where(torch.arange(16) % 3 == 0, scale, 1.0)
    codes = refit(D * lengths, x, support)
    torch.testing.assert_close(codes * lengths, refit(D, x, support), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_dependent_columns_fit_as_well_as_independent_ones(nonnegative):
    D, x, _ = problem(6, 4, 50)
    twice = torch.cat([D, D, D[:, :1] + D[:, 1:2]], 1)
    support = torch.ones(50, 9, dtype=torch.bool)
    codes = refit(twice, x, support, nonnegative=nonnegative)
    expected = by_scipy(twice, x, support, nonnegative)[1]
    torch.testing.assert_close(error(twice, x, codes), expected, rtol=0, atol=1e-9)


def test_a_zero_column_is_left_out():
    D, x, _ = problem(6, 4, 5)
    D[:, 2] = 0
    support = torch.ones(5, 4, dtype=torch.bool)
    for nonnegative in (True, False):
        codes = refit(D, x, support, nonnegative=nonnegative)
        assert (codes[:, 2] == 0).all()
        expected = by_scipy(D, x, support, nonnegative)[1]
        torch.testing.assert_close(error(D, x, codes), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_supports_zero_signals_and_no_samples(dtype):
    D, x, support = (v.to(dtype) if v.is_floating_point() else v for v in problem(6, 8, 5))
    assert (refit(D, x, torch.zeros_like(support)) == 0).all()
    assert (refit(D, 0 * x, support) == 0).all()
    assert refit(D, x[:0], support[:0]).shape == (0, 8)
    assert refit(D, x, support).dtype == dtype
    support[2] = False
    assert (refit(D, x, support)[2] == 0).all()


def test_a_sample_is_fitted_alike_alone_and_in_a_batch():
    D, x, support = problem(20, 16, 40)
    alone = torch.cat([refit(D, x[i : i + 1], support[i : i + 1]) for i in range(40)])
    torch.testing.assert_close(refit(D, x, support), alone, rtol=1e-9, atol=1e-10)


def test_signals_inside_the_cone_are_reproduced():
    D, _, support = problem(20, 16, 30)
    codes = torch.rand(30, 16, generator=torch.Generator().manual_seed(5), dtype=torch.double) * support
    torch.testing.assert_close(refit(D, codes @ D.T, support), codes, rtol=1e-8, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    M=st.integers(1, 6),
    N=st.integers(1, 9),
    nonnegative=st.booleans(),
    pivots=st.sampled_from([0, 100]),
)
def test_small_whole_numbers_with_all_their_ties(seed, M, N, nonnegative, pivots):
    g = torch.Generator().manual_seed(seed)
    D = torch.randint(-2, 3, (M, N), generator=g).double()
    x = torch.randint(-3, 4, (8, M), generator=g).double()
    support = torch.rand(8, N, generator=g) < 0.7
    with mock.patch.object(least_squares, "MAX_PIVOTS", pivots):
        codes = refit(D, x, support, nonnegative=nonnegative)
    assert (codes[~support] == 0).all()
    assert (codes >= 0).all() or not nonnegative
    # scipy's nnls can be wrong on dependent columns, so the optimality conditions judge: d_i.r is zero where s_i
    # may move both ways, and at most zero where it may only grow. Rounding of 1e-16 is magnified along the null
    # space by the ridge of 1e-12, and seen through Gram entries of up to 24.
    gradient = (x - codes @ D.T) @ D
    free = support & (codes > 0) if nonnegative else support
    assert (gradient[free].abs() < 1e-5).all()
    assert (gradient[support] < 1e-5).all()


def test_large_supports_on_several_threads():
    """The batched LU of torch 2.13 fails here from some 200 columns on."""
    D, x, support = problem(400, 500, 6)  # about 250 columns each
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        codes = refit(D, x, support, nonnegative=False)
    finally:
        torch.set_num_threads(before)
    gradient = ((x - codes @ D.T) @ D)[support]
    assert gradient.abs().max() < 1e-9  # the normal equations, of numbers around 400


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("memory", [1, 20_000, 2**29])
def test_one_gram_matrix_for_all_or_each_its_own_in_small_blocks(memory, nonnegative, monkeypatch):
    D, x, support = problem(20, 30, 50)
    support &= torch.rand(support.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    expected, _ = by_scipy(D, x, support, nonnegative)
    monkeypatch.setattr(least_squares, "MEMORY", memory)
    codes = refit(D, x, support, nonnegative=nonnegative)
    torch.testing.assert_close(codes, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from /proc"
)
@pytest.mark.parametrize(("k", "n"), [(64, 800), (300, 90)])
def test_the_stated_memory_is_kept(k, n):
    M, N = 576, 4608
    g = torch.Generator().manual_seed(4)
    D, x = torch.randn(M, N, generator=g), torch.randn(n, M, generator=g)
    support = torch.rand(n, N, generator=g) < k / N
    refit(D, x[:4], support[:4])
    Path("/proc/self/clear_refs").write_text("5")
    before, _ = resident()
    refit(D, x, support)
    stated = least_squares.MEMORY + 4 * N * (M + 2 * n)
    # a tenth for what the allocator keeps
    assert resident()[1] - before < 1.1 * stated


def resident() -> tuple[float, float]:
    """Bytes in memory, now and at most since the peak was cleared."""
    status = Path("/proc/self/status").read_text()
    now, most = (int(status.split(f"{name}:")[1].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def test_wide_dictionaries_need_no_matrix_of_all_atoms():
    # N^2 float64 numbers would take 80 GB
    M, N, n = 16, 100_000, 30
    g = torch.Generator().manual_seed(3)
    D, x = torch.randn(M, N, generator=g), torch.randn(n, M, generator=g)
    support = torch.zeros(n, N, dtype=torch.bool)
    support.scatter_(1, torch.randint(N, (n, 5), generator=g), True)
    codes = refit(D, x, support)
    assert (codes[~support] == 0).all()
    for i in (0, 29):
        chosen = D[:, support[i]].double().numpy()
        best = nnls(chosen, x[i].double().numpy())[1]
        assert float(error(D, x, codes)[i]) == pytest.approx(best, rel=1e-5)
