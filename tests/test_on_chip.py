"""Triton's programs in its interpreter, where triton is installed (it comes with torch for CUDA)."""

import importlib
import os
import subprocess
import sys

import pytest
import torch

from amortgap.objectives import objective
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, solve
from amortgap.solvers._pivot import pivot

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
inside = pytest.mark.skipif(not INTERPRETED, reason="runs in the process of the first test")
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


@pytest.mark.skipif(INTERPRETED, reason="it is this process")
def test_in_the_interpreter():
    """Triton reads this variable when a program is defined: so in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


@inside
@pytest.mark.parametrize("T", [16, 20])
def test_small_quadratic_programs_from_a_start(T):
    from amortgap.solvers._pivot_on_chip import pivot_on_chip

    g = torch.Generator().manual_seed(0)
    A, q = torch.randn(3, 60, T, generator=g), torch.randn(3, T, generator=g)
    G = A.mT @ A / 60
    start = torch.rand(3, T, generator=g, dtype=torch.double)
    start *= torch.rand(3, T, generator=g) > 0.6
    v, slack = q - (G.double() @ start[:, :, None])[:, :, 0].float(), torch.full((3,), 1e-6)
    best, _ = pivot(G.double(), start, v.double(), slack.double())
    found, _, solved = pivot_on_chip(G, start, v, slack)
    assert solved.all()
    # the condition number of G, about 10, times float32's rounding
    torch.testing.assert_close(found, best, rtol=0, atol=1e-5)


@inside
@pytest.mark.parametrize("M", [30, 600])
def test_residuals_in_float64_of_columns_in_float32(M):
    from amortgap.solvers._residual_on_chip import residual_on_chip

    g = torch.Generator().manual_seed(0)
    columns, x = torch.randn(2, 11, M, generator=g), torch.randn(2, M, generator=g)
    s = torch.rand(2, 11, generator=g, dtype=torch.double)
    D = columns.double().mT
    r, c = residual_on_chip(columns, x, s)
    exact = x.double() - (D @ s[:, :, None])[:, :, 0]
    torch.testing.assert_close(r, exact, rtol=0, atol=1e-13)
    # sums of M products of numbers of order one, in any order
    torch.testing.assert_close(c, (D.mT @ exact[:, :, None])[:, :, 0], rtol=0, atol=M * 1e-13)


@inside
def test_gaps_are_proved_of_what_the_programs_find(monkeypatch):
    p = SparseProblem(N=80, M=30, K=4, n=4, noise=0.01)
    torched = solve(p.D, p.x, 0.02, "batched", tol=1e-6)
    for name in ("batched", "_pivot"):
        module = importlib.import_module(f"amortgap.solvers.{name}")
        monkeypatch.setattr(module, "suits_chip", lambda like: like.dtype == torch.float32)
    found = solve(p.D, p.x, 0.02, "batched", tol=1e-6)
    assert found.converged.all()
    torch.testing.assert_close(found.objective, torched.objective, rtol=1e-6, atol=0)
    D, x = p.D.double(), p.x.double()
    best = solve(D, x, 0.02, tol=1e-9).objective
    value = objective(D, x, found.codes.double(), 0.02)
    torch.testing.assert_close(found.objective, value, rtol=1e-10, atol=0)
    assert ((value - best) <= found.duality_gap * value + 1e-9 * best).all()


@inside
@both_signs
def test_a_step_of_fista(nonnegative, monkeypatch):
    p = SparseProblem(N=300, M=30, K=5, n=3)
    torched = solve(p.D, p.x, 0.05, "fista", nonnegative=nonnegative, tol=1e-4, max_steps=40)
    monkeypatch.setattr(importlib.import_module("amortgap.solvers.fista"), "suits_chip", lambda _: True)
    found = solve(p.D, p.x, 0.05, "fista", nonnegative=nonnegative, tol=1e-4, max_steps=40)
    torch.testing.assert_close(found.codes, torched.codes, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.objective, torched.objective, rtol=1e-5, atol=0)


@inside
@both_signs
def test_pursuit_takes_the_atoms_that_omp_takes(nonnegative):
    amplitude = "half-normal" if nonnegative else "signed-normal"
    p = SparseProblem(N=60, M=30, K=5, n=3, noise=0.1, amplitude=amplitude)
    same_as_omp(p.D, p.x, 5, nonnegative)


@inside
def test_pursuit_drops_atoms_whose_coefficients_turn_negative():
    g = torch.Generator().manual_seed(0)
    D = torch.randn(12, 40, generator=g) + 1
    x = torch.randn(30, 12, generator=g) + 0.5
    found = pursue(D, x, 8, "omp")
    drops = (found.codes > 0).sum(1) < found.n_steps
    codes, steps = same_as_omp(D / torch.linalg.vector_norm(D, dim=0), x[drops][:3], 8, True)
    assert ((codes > 0).sum(1) < steps).all()


def same_as_omp(D, x, K, nonnegative):
    from amortgap.solvers._omp_on_chip import pursue_on_chip

    theirs = pursue(D.double(), x.double(), K, "omp", nonnegative=nonnegative)
    atom, s, count, schur = pursue_on_chip(D, D.T.contiguous(), D.T @ D, x, K, nonnegative)
    codes = torch.zeros(len(x), D.shape[1]).scatter_add_(1, atom, s)
    torch.testing.assert_close(codes.double(), theirs.codes, rtol=0, atol=1e-5)
    assert torch.equal(count, theirs.n_steps)
    assert torch.allclose(schur, smallest_schur(D, x, K, nonnegative), rtol=1e-4, atol=1e-6)
    return codes, count


def smallest_schur(D, x, K, nonnegative):
    """As the pursuit in plain torch meets it."""
    from amortgap.solvers._limits import limits
    from amortgap.solvers.batched_omp import _Pursuit

    torched = _Pursuit(D, D.T.contiguous(), D.T @ D, x, limits(x, K, None), nonnegative)
    torched.run()
    return torched.schur


@inside
@both_signs
def test_pursuit_of_nearly_dependent_atoms_is_done_again_in_float64(nonnegative, monkeypatch):
    module = importlib.import_module("amortgap.solvers.batched_omp")
    monkeypatch.setattr(module, "suits_chip", lambda like: like.dtype == torch.float32)
    g = torch.Generator().manual_seed(0)
    first, away = torch.nn.functional.normalize(torch.randn(2, 24, 4, generator=g), dim=1)
    # every column has a neighbour at a cosine of 1 - 2e-6
    D = torch.nn.functional.normalize(torch.cat([first, first + 2e-3 * away], 1), dim=0)
    # what the difference of neighbours explains, which nonnegative codes cannot use, and noise
    x = (torch.rand(6, 4, generator=g) + 0.1) @ (first + away).T + 1e-3 * torch.randn(6, 24, generator=g)
    single, double = (
        pursue(D.to(t), x.to(t), 8, "batched_omp", nonnegative) for t in (x.dtype, torch.double)
    )
    assert (single.objective <= 4 * double.objective).all()  # twice the residual is four times its square


def proposed(p, k, ratio):
    """Of k latents in each activation's code, but fewer in that of the last."""
    from amortgap.heads import propose

    h = p.x @ p.D
    codes = torch.zeros_like(h).scatter_(1, (top := h.topk(k)).indices, top.values.relu())
    codes[-1, h[-1].argsort()[-k + 1 :]] = 0
    return propose(h, codes, ratio)


@inside
@pytest.mark.parametrize(("name", "options"), [
    ("refit", {}),
    ("pursuit", {}),
    ("lasso", {}),
    ("lasso", {"refit": False}),
    ("iht", {"steps": 2}),
    ("iht", {"steps": 3, "refit": False}),
    ("leave_one_out", {}),
    ("adaptive", {"gate": 0.05}),
])  # fmt: skip
def test_heads_are_those_of_the_tableau(name, options, monkeypatch):
    from amortgap.heads import HEADS
    from amortgap.solvers import prepare

    # columns that are close to each other: some of the encoder's own latents have to leave
    g = torch.Generator().manual_seed(0)
    D = torch.randn(20, 40, generator=g) + 0.5
    p = SparseProblem(N=40, M=20, K=6, n=4, noise=0.05, dictionary=D)
    proposal, given = proposed(p, 6, 2.0), prepare(p.D)
    exact = proposal._replace(amplitude=proposal.amplitude.double())
    expected = HEADS[name](prepare(p.D.double()), p.x.double(), exact, **options)
    for module in ("_restricted", "pursuit"):
        module = importlib.import_module(f"amortgap.heads.{module}")
        monkeypatch.setattr(module, "suits_chip", lambda like: like.dtype == torch.float32)
        monkeypatch.setattr(module, "_kernel_serves", lambda given, x: False, raising=False)
    found = HEADS[name](given, p.x, proposal, **options)
    assert ((found.values > 0).sum(1) <= proposal.k).all()
    # float32 against float64, least squares of condition numbers about ten
    torch.testing.assert_close(found.values.double(), expected.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.left.double(), expected.left, rtol=1e-3, atol=1e-6)
    assert found.flops == expected.flops


@inside
@pytest.mark.parametrize("signals", [1, 5])
def test_the_pursuit_among_many_candidates_is_that_of_the_kernel(signals, monkeypatch):
    from amortgap.heads import HEADS
    from amortgap.solvers import prepare

    p = SparseProblem(N=60, M=20, K=6, n=signals, noise=0.05)
    proposal, given = proposed(p, 6, 2.0), prepare(p.D)
    expected = HEADS["pursuit"](given, p.x, proposal)
    module = importlib.import_module("amortgap.heads.pursuit")
    monkeypatch.setattr(module, "suits_chip", lambda like: True)
    # as for more candidates than the others' program holds
    monkeypatch.setattr(module, "ON_CHIP", 0)
    found = HEADS["pursuit"](given, p.x, proposal)
    assert ((found.values > 0).sum(1) <= proposal.k).all()
    # two ways of float32 rounding of well-conditioned least squares
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.left, expected.left, rtol=1e-3, atol=1e-6)
