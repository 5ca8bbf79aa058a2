"""The solvers for GPUs, held on a CPU against those made for CPUs."""

import importlib

import pytest
import torch

from amortgap.objectives import duality_gap, objective
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, solve
from amortgap.solvers._pivot import pivot
from amortgap.solvers.batched import batched
from amortgap.solvers.prepared import trace_bound

module = importlib.import_module("amortgap.solvers.batched")
module_omp = importlib.import_module("amortgap.solvers.batched_omp")
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
TOL = 1e-6


def weight(p, share=0.05):
    return share * float((p.x @ p.D).amax(1).median())


@pytest.mark.parametrize("coarse", [False, True], ids=["full", "bfloat16"])
@both_signs
def test_its_codes_are_optimal_and_its_gap_is_that_of_its_codes(nonnegative, coarse):
    amplitude = "half-normal" if nonnegative else "signed-normal"
    p = SparseProblem(N=1000, M=200, K=20, n=64, noise=0.01, amplitude=amplitude, dtype=torch.double)
    alpha = weight(p)
    found = batched(p.D, p.x, alpha, tol=TOL, nonnegative=nonnegative, coarse=coarse)
    assert found.converged.all()
    again = duality_gap(p.D, p.x, found.codes, alpha, nonnegative)
    # the gap it proves bounds what lies outside the slots, so it is never below the one of all atoms
    assert (again <= found.duality_gap + 1e-13).all()
    torch.testing.assert_close(found.objective, objective(p.D, p.x, found.codes, alpha), rtol=1e-12, atol=0)
    reference = solve(p.D, p.x, alpha, "working_set", tol=TOL, nonnegative=nonnegative)
    torch.testing.assert_close(found.objective, reference.objective, rtol=2 * TOL, atol=0)


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
def test_float32_codes_are_as_good_as_they_say(tol):
    p = SparseProblem(N=1000, M=200, K=20, n=64)
    alpha = weight(p)
    found = batched(p.D, p.x, alpha, tol=tol)
    assert found.codes.dtype == torch.float32
    assert found.converged.all()
    D, x = p.D.double(), p.x.double()
    best = solve(D, x, alpha, tol=1e-9).objective
    value = objective(D, x, found.codes.double(), alpha)
    torch.testing.assert_close(found.objective, value, rtol=1e-10, atol=0)
    assert ((value - best) <= found.duality_gap * value + 1e-9 * best).all()


def test_a_wrong_answer_is_not_certified(monkeypatch):
    """With slots that never change their coefficients nothing is proved, whatever the screening says."""
    monkeypatch.setattr(module, "pivot", lambda G, s, v, slack: (s, torch.zeros(len(s), dtype=torch.long)))
    p = SparseProblem(N=100, M=30, K=5, n=10)
    found = batched(p.D, p.x, weight(p))
    assert not found.converged.any()
    x = p.x.double()
    torch.testing.assert_close(
        found.duality_gap,
        duality_gap(p.D.double(), x, 0 * found.codes.double(), weight(p)),
        rtol=1e-6,
        atol=0,
    )


def test_blocks_of_one_sample_give_the_same_codes():
    p = SparseProblem(N=200, M=50, K=8, n=20, dtype=torch.double)
    alpha = weight(p)
    together, alone = (batched(p.D, p.x, alpha, tol=1e-9, memory=memory) for memory in (2**32, 1))
    # P is flat at its optimum: a relative gap of 1e-9 leaves errors of about 3e-5 in the codes
    torch.testing.assert_close(together.codes, alone.codes, rtol=0, atol=3e-4)
    torch.testing.assert_close(together.objective, alone.objective, rtol=2e-9, atol=0)


@both_signs
def test_supports_larger_than_the_slots(nonnegative):
    g = torch.Generator().manual_seed(0)
    D = torch.randn(150, 400, generator=g, dtype=torch.double)
    D /= torch.linalg.vector_norm(D, dim=0)
    x = torch.randn(6, 150, generator=g, dtype=torch.double)
    found = batched(D, x, 0.01, nonnegative=nonnegative)
    size = (found.codes != 0).sum(1)
    assert size.max() > module.SLOTS
    assert found.converged.all()
    reference = solve(D, x, 0.01, "working_set", nonnegative=nonnegative)
    torch.testing.assert_close(found.objective, reference.objective, rtol=2 * TOL, atol=0)


def test_a_support_beyond_all_slots_is_unfinished_and_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_SLOTS", module.SLOTS)
    g = torch.Generator().manual_seed(0)
    D = torch.randn(150, 400, generator=g)
    x = torch.randn(6, 150, generator=g)
    found = batched(D, x, 0.1)
    assert not found.converged.any()
    again = duality_gap(D.double(), x.double(), found.codes.double(), 0.1)
    open_ = found.duality_gap.isfinite()
    assert (again[open_] <= found.duality_gap[open_] * (1 + 1e-4)).all()
    assert (found.duality_gap > TOL).all()


@pytest.mark.parametrize("angle", [1e-1, 1e-3, 0.0])
def test_coherent_and_repeated_columns(angle):
    g = torch.Generator().manual_seed(1)
    base = torch.randn(40, 60, generator=g, dtype=torch.double)
    D = torch.cat([base, base + angle * torch.randn(40, 60, generator=g, dtype=torch.double)], 1)
    D /= torch.linalg.vector_norm(D, dim=0)
    x = torch.randn(30, 40, generator=g, dtype=torch.double)
    for dtype in (torch.float32, torch.float64):
        found = batched(D.to(dtype), x.to(dtype), 0.1)
        reference = solve(D.to(dtype), x.to(dtype), 0.1, "fista")
        done = found.converged
        assert done.double().mean() > (0.9 if dtype == torch.float64 else 0.5)
        torch.testing.assert_close(found.objective[done], reference.objective[done], rtol=2 * TOL, atol=0)


def test_alpha_just_below_the_largest_correlation():
    p = SparseProblem(N=600, M=100, K=8, n=20)
    alpha = 0.999 * float((p.x @ p.D).amax())
    found = batched(p.D, p.x, alpha, coarse=True)
    assert found.converged.all()
    assert (found.codes != 0).sum() == 1


def test_signals_and_columns_of_any_size():
    p = SparseProblem(N=200, M=50, K=8, n=8)
    reference = batched(p.D, p.x, weight(p))
    for column, signal in ((2.0**40, 2.0**-50), (2.0**-30, 2.0**30)):
        found = batched(column * p.D, signal * p.x, column * signal * weight(p))
        assert found.converged.all()
        torch.testing.assert_close(found.codes * (column / signal), reference.codes)  # powers of two
        torch.testing.assert_close(found.objective / signal**2, reference.objective)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    p = SparseProblem(N=64, M=32, K=4, n=5)
    found = batched(p.D.to(dtype), p.x.to(dtype), 0.05, tol=1e-3)
    assert found.codes.dtype == dtype
    D, x = p.D.to(dtype).double(), p.x.to(dtype).double()
    torch.testing.assert_close(
        found.objective, objective(D, x, found.codes.double(), 0.05), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_small_quadratic_programs(dtype):
    g = torch.Generator().manual_seed(0)
    A = torch.randn(50, 24, 16, generator=g, dtype=torch.double)
    q = torch.randn(50, 16, generator=g, dtype=torch.double)
    start = torch.zeros(50, 16, dtype=torch.double)
    G = A.mT @ A
    found, steps = pivot(G.to(dtype), start, q.to(dtype), torch.zeros(50, dtype=dtype))
    assert (steps < 20).all()
    w = q - (G @ found[:, :, None])[:, :, 0]
    eps = torch.finfo(dtype).eps
    assert (found >= 0).all()
    assert (w.amax(1) < 1e3 * eps).all()
    assert ((w * found).abs().amax(1) < 1e3 * eps).all()


def test_a_block_of_many_samples_is_not_a_loop_over_them():
    """The number of torch calls depends on the rounds, not on the samples."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.calls += 1
            return function(*args, **(kwargs or {}))

    p = SparseProblem(N=100, M=30, K=4, n=2000)
    counts = []
    for n in (200, 2000):
        with Counter() as counter:
            batched(p.D, p.x[:n], weight(p), tol=1e-4)
        counts.append(counter.calls)
    assert counts[1] < 2 * counts[0]


def test_the_bound_on_the_largest_eigenvalue_on_cuda():
    D = SparseProblem(N=300, M=60, dtype=torch.double).D
    exact, bound = torch.linalg.matrix_norm(D, ord=2).square(), trace_bound(D @ D.T)
    assert exact <= bound <= 60 ** (1 / 1024) * exact * (1 + 1e-12)


# --- orthogonal matching pursuit ----------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "M", "K"), [(256, 64, 12), (5000, 100, 10)], ids=["Gram matrix", "columns"])
@both_signs
def test_pursuit_takes_the_atoms_that_omp_takes(nonnegative, N, M, K):
    amplitude = "half-normal" if nonnegative else "signed-normal"
    p = SparseProblem(N=N, M=M, K=K, n=40, noise=0.1, amplitude=amplitude, dtype=torch.double)
    theirs, ours = (pursue(p.D, p.x, K, name, nonnegative=nonnegative) for name in ("omp", "batched_omp"))
    torch.testing.assert_close(ours.codes, theirs.codes, rtol=1e-9, atol=1e-11)
    assert torch.equal(ours.n_steps, theirs.n_steps)
    single = pursue(p.D.float(), p.x.float(), K, "batched_omp", nonnegative=nonnegative)
    torch.testing.assert_close(single.objective, theirs.objective, rtol=1e-4, atol=0)


def test_pursuit_drops_atoms_whose_coefficients_turn_negative_and_takes_them_back():
    # coherent columns and as many atoms as measurements: about every second sample drops one
    g = torch.Generator().manual_seed(0)
    D = torch.randn(12, 40, generator=g, dtype=torch.double) + 1
    x = torch.randn(60, 12, generator=g, dtype=torch.double) + 0.5
    theirs, ours = (pursue(D, x, 8, name) for name in ("omp", "batched_omp"))
    assert ((ours.codes > 0).sum(1) < ours.n_steps).any()  # some were dropped
    torch.testing.assert_close(ours.codes, theirs.codes, rtol=1e-7, atol=1e-9)


def test_pursuit_in_blocks_of_one_sample():
    p = SparseProblem(N=100, M=40, K=6, n=12, dtype=torch.double)
    codes = [module_omp.batched_omp(p.D, p.x, 6, memory=memory).codes for memory in (2**32, 1)]
    torch.testing.assert_close(*codes, rtol=1e-10, atol=1e-12)
