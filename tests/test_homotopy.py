"""homotopy, basis pursuit and the kernel of omp, beyond the contracts that tests/test_solvers.py loops over."""

import pytest
import torch

from amortgap.problem import SparseProblem
from amortgap.solvers import basis_pursuit, basis_pursuit_lp, prepare, solve
from amortgap.solvers.batched_omp import batched_omp
from amortgap.solvers.homotopy import follow_path, homotopy
from amortgap.solvers.omp import omp

both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


def signals(kind, nonnegative, n=40):
    p = SparseProblem(
        n=n, N=48, M=16, K=5, amplitude="half-normal" if nonnegative else "signed-normal", dtype=torch.double
    )
    D = p.D
    if kind == "repeated columns":
        D = torch.cat([D[:, :24], D[:, :24]], 1)
    if kind == "integers":  # ties in the correlations and dependent columns
        D = (3 * D).round() + torch.eye(16, 48)
        D[0, (D == 0).all(0)] = 1
    if kind == "coherent":
        D = D + 1.5
    return D, p.codes @ D.T


@both_signs
@pytest.mark.parametrize("kind", ["gaussian", "repeated columns", "integers", "coherent"])
def test_the_path_ends_at_the_optimum_without_help(kind, nonnegative):
    D, x = signals(kind, nonnegative)
    codes, _, steps, _ = follow_path(prepare(D), x, 0.01, nonnegative, 1000, multipliers=False)
    whole = homotopy(D, x, 0.01, nonnegative=nonnegative, tol=1e-9)
    assert whole.converged.all()
    assert torch.equal(codes, whole.codes)  # so no sample was handed on
    assert (steps < 1000).all()


@both_signs
@pytest.mark.parametrize("kind", ["gaussian", "repeated columns", "integers", "coherent"])
def test_basis_pursuit_and_the_linear_program_have_one_optimum(kind, nonnegative):
    D, x = signals(kind, nonnegative, n=6)
    fast, slow = basis_pursuit(D, x, nonnegative=nonnegative), basis_pursuit_lp(D, x, nonnegative=nonnegative)
    assert fast.converged.all()
    # HiGHS meets the equality to 1e-7
    torch.testing.assert_close(fast.objective, slow.objective, rtol=1e-6, atol=0)


def test_basis_pursuit_proves_generic_samples_by_its_path():
    D, x = signals("gaussian", True, n=200)
    dense = torch.randn(50, 16, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    limit = 20 * 16 + 200
    for target, nonnegative in ((x, True), (x, False), (dense, False)):
        _, _, steps, _ = follow_path(prepare(D), target, 0.0, nonnegative, limit, multipliers=True)
        # the linear program's iterations would be added
        assert torch.equal(basis_pursuit(D, target, nonnegative=nonnegative).n_steps, steps)


@both_signs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_omp_kernel_takes_the_steps_of_the_batched_form(nonnegative, dtype):
    D, x = (v.to(dtype) for v in signals("gaussian", nonnegative))
    D = D * torch.logspace(-1, 1, 48, dtype=dtype)
    # noise, so that no sample is fitted exactly and what follows is no matching of rounding
    x = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    together, ours = (pursuit(D, x, 7, nonnegative=nonnegative) for pursuit in (batched_omp, omp))
    # codes grow like 1 / length, up to 10 here, and the least squares loses its condition, about 100
    torch.testing.assert_close(ours.codes, together.codes, rtol=0, atol=1e4 * torch.finfo(dtype).eps)
    assert torch.equal(ours.n_steps, together.n_steps)
    assert (ours.stop == together.stop).all()


def test_threads_change_nothing():
    D, x = signals("gaussian", True, n=300)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = homotopy(D, x, 0.01), omp(D, x, 5)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(two, (homotopy(D, x, 0.01), omp(D, x, 5)), strict=True):
        # matrix products round differently when they are cut differently
        torch.testing.assert_close(a.codes, b.codes, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["fista", "ista"])
def test_codes_near_the_optimum_are_a_start_that_saves_steps(name):
    p = SparseProblem(n=60, dtype=torch.double)
    near = solve(p.D, p.x, 0.05, "fista", tol=1e-2).codes  # as good as a well-trained encoder's
    cold = solve(p.D, p.x, 0.05, name, tol=1e-4)
    warm = solve(p.D, p.x, 0.05, name, tol=1e-4, init=near)
    assert warm.converged.all()
    assert warm.n_steps.sum() < cold.n_steps.sum()
