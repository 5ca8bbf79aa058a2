"""The CPU kernels on dictionaries made to break them: the contracts of test_solvers.py cover the ordinary ones."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amortgap.objectives import duality_gap, kkt_residual, objective
from amortgap.solvers import solve

FAST = ["working_set", "pivoting"]
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


def gaussian(M, N, seed=0):
    g = torch.Generator().manual_seed(seed)
    D = torch.randn(M, N, generator=g, dtype=torch.double)
    return D / torch.linalg.vector_norm(D, dim=0)


def adversaries(M, N):
    D, other = gaussian(M, N), gaussian(M, N, seed=1)
    half = N // 2
    return {
        "gaussian": D,
        "coherence .99": 0.99**0.5 * D[:, :1] + 0.01**0.5 * other,
        "clusters": D[:, : N // 8].repeat_interleave(8, 1) + 0.07 * other[:, : N // 8 * 8],
        "every column twice": D[:, :half].repeat(1, 2),
        "nearly twice": torch.cat([D[:, :half], D[:, :half] + 1e-4 * other[:, :half]], 1),
        "almost exactly twice": torch.cat([D[:, :half], D[:, :half] + 1e-6 * other[:, :half]], 1),
        "opposite pairs": torch.cat([D[:, :half], -D[:, :half]], 1),
        "rank 2": D[:, :2] @ gaussian(2, N),
        "rank M/2": D[:, : M // 2] @ gaussian(M // 2, N),
        "tall": D[:, : M // 2],
        "lengths 1e-3 to 1e3": D * torch.logspace(-3, 3, N, dtype=torch.double),
    }


LARGE, SMALL = adversaries(40, 160), adversaries(8, 16)


@both_signs
@pytest.mark.parametrize("share", [1e-3, 0.05, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("name", FAST)
def test_every_sample_is_certified_on_every_dictionary(name, kind, dtype, share, nonnegative):
    D = (LARGE if name == "working_set" else SMALL)[kind].to(dtype)
    x = torch.randn(60, len(D), generator=torch.Generator().manual_seed(2), dtype=dtype)
    x[0], x[1] = 0, D[:, 0]
    alpha = share * float((x @ D).abs().amax(1).median())
    solution = solve(D, x, alpha, name, nonnegative=nonnegative)
    assert solution.method == name
    assert solution.converged.all()
    assert (solution.codes[0] == 0).all()
    assert (solution.codes >= 0).all() or not nonnegative
    D, x, codes = D.double(), x.double(), solution.codes.double()
    torch.testing.assert_close(solution.objective, objective(D, x, codes, alpha), rtol=1e-7, atol=0)
    if dtype == torch.float64:  # float32 codes are certified before rounding
        assert (duality_gap(D, x, codes, alpha, nonnegative) <= 1e-6).all()


@both_signs
@pytest.mark.parametrize("kind", ["gaussian", "coherence .99", "every column twice", "rank M/2"])
@pytest.mark.parametrize("name", FAST)
def test_objectives_of_an_interior_point_method(name, kind, nonnegative):
    D = (LARGE if name == "working_set" else SMALL)[kind]
    x = torch.randn(4, len(D), generator=torch.Generator().manual_seed(3), dtype=torch.double)
    ours = solve(D, x, 0.1, name, tol=1e-8, nonnegative=nonnegative)
    theirs = solve(D, x, 0.1, "lasso_cvxpy", nonnegative=nonnegative)
    torch.testing.assert_close(ours.objective, theirs.objective, rtol=1e-6, atol=0)
    assert (kkt_residual(D, x, ours.codes, 0.1, nonnegative) < 1e-3).all()


@both_signs
@pytest.mark.parametrize("name", FAST)
def test_alone_or_in_a_batch(name, nonnegative):
    D = gaussian(40, 160) if name == "working_set" else gaussian(8, 16)
    x = torch.randn(1500, len(D), generator=torch.Generator().manual_seed(4), dtype=torch.double)
    together = solve(D, x, 0.2, name, tol=1e-10, nonnegative=nonnegative)
    for i in (0, 700, 1499):
        alone = solve(D, x[i : i + 1], 0.2, name, tol=1e-10, nonnegative=nonnegative)
        # a relative gap of 1e-10 leaves errors of about 1e-5 in the codes
        torch.testing.assert_close(alone.codes[0], together.codes[i], rtol=0, atol=1e-4)
        torch.testing.assert_close(alone.objective[0], together.objective[i], rtol=2e-10, atol=0)


@pytest.mark.parametrize("name", FAST)
def test_alpha_above_every_correlation_gives_zero(name):
    D = gaussian(8, 16)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(5))
    solution = solve(D, x, 100.0, name)
    assert (solution.codes == 0).all()
    assert (solution.duality_gap == 0).all()
    assert solution.converged.all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FAST),
    st.integers(1, 12),
    st.integers(1, 16),
    st.integers(0, 9),
    st.floats(-3, 0.5),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_shape(name, M, N, n, magnitude, nonnegative, seed):
    D = gaussian(M, N, seed)
    x = torch.randn(n, M, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    solution = solve(D, x, 10.0**magnitude, name, nonnegative=nonnegative)
    assert solution.codes.shape == (n, N)
    assert (duality_gap(D, x, solution.codes, 10.0**magnitude, nonnegative) <= 1e-6).all()


@both_signs
@pytest.mark.parametrize("name", FAST)
def test_signals_of_extreme_size(name, nonnegative):
    D = gaussian(20, 60) if name == "working_set" else gaussian(8, 16)
    x = torch.randn(6, len(D), generator=torch.Generator().manual_seed(6), dtype=torch.double)
    for size in (1e-60, 1e-20, 1e20, 1e60):
        solution = solve(D, size * x, 0.1 * size, name, nonnegative=nonnegative)
        assert solution.converged.all()
        assert (duality_gap(D, x, solution.codes / size, 0.1, nonnegative) <= 1e-6).all()
    x[0] *= 1e200  # beyond float32 beside an alpha of 0.1
    solution = solve(D, x, 0.1, name, nonnegative=nonnegative)
    unproved = ~(duality_gap(D, x, solution.codes, 0.1, nonnegative) <= 1e-6)
    assert not (solution.converged & unproved).any()
    assert solution.converged[1:].all()


def test_importing_the_solvers_compiles_nothing():
    code = "import sys, amortgap.solvers; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0
