"""Contracts that every solver and pursuit keeps, and truths that each is held against.

The contracts loop over SOLVERS and PURSUITS, so a new entry is tested by being registered. `log_adam` is the
documented exception: it reproduces a published procedure, step for step, and neither converges nor treats the
samples of a batch apart.
"""

import inspect
import itertools
import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, nnls

from amortgap._check import as_tensor
from amortgap.objectives import alpha_from_mean_loss, duality_gap, mean_loss, objective
from amortgap.problem import SparseProblem
from amortgap.solvers import PURSUITS, SOLVERS, Solution, basis_pursuit, basis_pursuit_lp, pursue, solve
from amortgap.solvers.fista import fista
from amortgap.solvers.log_adam import START
from amortgap.solvers.matching_pursuit import matching_pursuit

# Linear convergence at the rate of the worst-conditioned support: tens of thousands of steps on half of the
# cases below, so these are held to the same contract on the well-conditioned ones.
SLOW = ["coordinate_descent", "ista", "lca"]
CONVERGING = [name for name in SOLVERS if name not in ("log_adam", *SLOW)]
EASY = ("dense signals", "more measurements than latents", "one latent", "some zero signals", "large alpha")
# exact in exact arithmetic: where the active atoms are nearly dependent they say that rounding stopped them
STOPPED_BY_ROUNDING = ("pivoting", "homotopy")
TOL = 1e-6
# Clarabel's codes are as good as fista's at 1e-9, but their proof is not: the dual point is a multiple of the
# residual, which feels errors of the codes to first order
TIGHT = {name: 1e-6 if name == "lasso_cvxpy" else 1e-9 for name in CONVERGING}
ALPHA = 0.05


def gaussian(M, N, n, seed=0):
    g = torch.Generator().manual_seed(seed)
    D = torch.randn(M, N, generator=g, dtype=torch.double)
    return D / torch.linalg.vector_norm(D, dim=0), torch.randn(n, M, generator=g, dtype=torch.double)


def cases():
    D, x = gaussian(8, 16, 6)
    paper = SparseProblem(n=6, dtype=torch.double)
    tall = gaussian(12, 5, 6, seed=1)
    return {
        "the paper's": (paper.D, paper.x, 0.0025),
        "dense signals": (D, x, ALPHA),
        "more measurements than latents": (*tall, ALPHA),
        "one latent": (D[:, :1], x, ALPHA),
        "one measurement": (D[:1].clone() + 2, x[:, :1], ALPHA),
        "duplicated columns": (torch.cat([D[:, :6], D[:, :6]], 1), x, ALPHA),
        "columns of unequal length": (D * torch.logspace(-1, 1, 16, dtype=torch.double), x, ALPHA),
        "some zero signals": (D, x * torch.tensor([[0.0], [1], [0], [1], [1], [0]]), ALPHA),
        "signals of unequal size": (D, x * torch.logspace(-2, 2, 6, dtype=torch.double)[:, None], ALPHA),
        "large alpha": (D, x, 1.0),
    }


CASES = cases()
per_case = pytest.mark.parametrize("case", CASES)
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


@pytest.fixture(scope="module")
def truth():
    """Optimal values of every case, from cvxpy, computed once."""
    known: dict = {}

    def value(case, nonnegative):
        if (case, nonnegative) not in known:
            known[case, nonnegative] = solve(*CASES[case], "lasso_cvxpy", tol=TOL, nonnegative=nonnegative)
        return known[case, nonnegative]

    return value


# --- every LASSO solver -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@both_signs
@per_case
@pytest.mark.parametrize("name", ["auto", *CONVERGING])
def test_every_solver_reaches_the_optimum_with_a_proof(name, case, nonnegative, dtype, truth):
    D, x, alpha = CASES[case]
    D, x = D.to(dtype), x.to(dtype)
    if name == "lasso_cvxpy" and dtype == torch.float64:
        solution = truth(case, nonnegative)
    else:
        solution = solve(D, x, alpha, name, tol=TOL, nonnegative=nonnegative)
    n, N = len(x), D.shape[1]

    assert isinstance(solution, Solution)
    assert solution.codes.shape == (n, N)
    assert solution.codes.dtype == dtype
    assert solution.codes.device == x.device
    assert solution.objective.shape == solution.duality_gap.shape == (n,)
    assert solution.objective.dtype == solution.duality_gap.dtype == torch.float64
    assert solution.n_steps.shape == solution.converged.shape == (n,)
    assert solution.converged.dtype == torch.bool
    assert not solution.n_steps.is_floating_point()
    assert isinstance(solution.flops, int)
    assert solution.flops >= 0
    assert np.isin(solution.method, list(SOLVERS) if name == "auto" else [name]).all()
    assert ((solution.stop == "gap reached") == solution.converged.numpy()).all()
    if nonnegative:
        assert (solution.codes >= 0).all()

    proved = solution.converged
    assert (solution.duality_gap[proved] <= TOL).all()
    if name in STOPPED_BY_ROUNDING:
        assert (solution.stop[~proved.numpy()] == "limited by rounding").all()
        assert proved.sum() >= 4  # of six
    else:
        assert proved.all()
    D64, x64, codes = D.double(), x.double(), solution.codes.double()
    # rounding the codes to float32 costs P the square of the error (4e-15, times squared lengths of up to 100)
    torch.testing.assert_close(solution.objective, objective(D64, x64, codes, alpha), rtol=1e-10, atol=0)
    if dtype == torch.float64:
        # the gap of float32 codes is proved by the codes before rounding, so it is not checked from them
        assert (duality_gap(D64, x64, codes, alpha, nonnegative) <= TOL * 1.01)[proved].all()
        reference = truth(case, nonnegative).objective
        torch.testing.assert_close(solution.objective[proved], reference[proved], rtol=1.1e-6, atol=0)


@both_signs
@pytest.mark.parametrize("case", EASY)
@pytest.mark.parametrize("name", SLOW)
def test_slow_solvers_reach_the_same_optimum_alone_and_in_a_batch(name, case, nonnegative, truth):
    D, x, alpha = CASES[case]
    solution = solve(D, x, alpha, name, tol=TOL, nonnegative=nonnegative)
    assert (solution.method == name).all()
    assert solution.converged.all()
    assert (duality_gap(D, x, solution.codes, alpha, nonnegative) <= TOL * 1.01).all()
    torch.testing.assert_close(solution.objective, truth(case, nonnegative).objective, rtol=1.1e-6, atol=0)
    alone = solve(D, x[1:2], alpha, name, tol=TOL, nonnegative=nonnegative)
    # the same iterates up to the order of summation in matrix products
    torch.testing.assert_close(alone.codes, solution.codes[1:2], rtol=1e-9, atol=1e-9)
    again = solve(D, x, alpha, name, tol=TOL, nonnegative=nonnegative, init=solution.codes)
    assert (again.n_steps == 0).all()


@both_signs
@per_case
@pytest.mark.parametrize("name", CONVERGING)
def test_optimality_conditions_of_every_converged_solution(name, case, nonnegative):
    D, x, alpha = CASES[case]
    solution = solve(D, x[:3], alpha, name, tol=TIGHT[name], nonnegative=nonnegative)
    assert solution.converged.all() or name in STOPPED_BY_ROUNDING
    # A violation v at column d could be turned into a decrease of P by min(v^2 / 2 ||d||^2, v |s_i| / 2), the
    # second where s_i meets zero first, and the gap bounds every decrease. So v is small, or s_i is.
    D64, x64, codes = D, x[:3], solution.codes
    allowed = (solution.duality_gap * solution.objective)[:, None] + 1e-15
    correlation = (x64 - codes @ D64.T) @ D64
    active = (correlation - alpha * codes.sign()).abs()
    inactive = ((correlation if nonnegative else correlation.abs()) - alpha).clamp_min(0)
    violation = torch.where(codes != 0, active, inactive)
    bound = (2 * allowed).sqrt() * torch.linalg.vector_norm(D64, dim=0)
    bound = torch.where(codes != 0, torch.maximum(bound, 2 * allowed / codes.abs()), bound)
    assert (violation <= 1.01 * bound + 1e-12).all()


@both_signs
@pytest.mark.parametrize("name", CONVERGING)
def test_a_sample_is_solved_alike_alone_and_in_a_batch(name, nonnegative):
    D, x = gaussian(8, 16, 12)
    tol = TIGHT[name]
    together = solve(D, x, ALPHA, name, tol=tol, nonnegative=nonnegative)
    shuffle = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = solve(D, x[shuffle], ALPHA, name, tol=tol, nonnegative=nonnegative)
    alone = [solve(D, row, ALPHA, name, tol=tol, nonnegative=nonnegative) for row in x.split(1)]
    # P is flat at its optimum: a relative gap of 1e-9 leaves errors of about 3e-5 in the codes
    torch.testing.assert_close(torch.cat([s.codes for s in alone]), together.codes, rtol=0, atol=3e-4)
    torch.testing.assert_close(shuffled.codes, together.codes[shuffle], rtol=0, atol=3e-4)
    torch.testing.assert_close(
        torch.cat([s.objective for s in alone]), together.objective, rtol=2 * tol, atol=0
    )


@pytest.mark.parametrize("name", CONVERGING)
def test_the_same_call_gives_the_same_bits(name):
    D, x = gaussian(8, 16, 20)
    a, b = (solve(D, x, ALPHA, name) for _ in range(2))
    assert torch.equal(a.codes, b.codes)
    assert torch.equal(a.n_steps, b.n_steps)


@both_signs
@pytest.mark.parametrize("name", CONVERGING)
def test_alpha_beyond_the_largest_correlation_gives_zero_codes(name, nonnegative):
    D, x = gaussian(8, 16, 5)
    correlation = x @ D if nonnegative else (x @ D).abs()
    for alpha in (float(correlation.max()) * 1.0001, 1e6):
        solution = solve(D, x, alpha, name, nonnegative=nonnegative)
        assert (solution.codes == 0).all()
        assert solution.converged.all()
        torch.testing.assert_close(solution.objective, 0.5 * x.square().sum(1))
    alpha = float(correlation[0].max()) * 0.99
    solution = solve(D, x[:1], alpha, name, tol=TIGHT[name], nonnegative=nonnegative)
    assert (solution.codes.abs() > 1e-6).sum() == 1  # an interior point leaves traces on the others
    assert solution.codes.abs().argmax() == correlation[0].argmax()


@pytest.mark.parametrize("name", SOLVERS)
def test_no_samples_no_codes(name):
    D, x = gaussian(8, 16, 0)
    solution = solve(D, x, ALPHA, name, **({"n_steps": 5} if name == "log_adam" else {}))
    assert solution.codes.shape == (0, 16)
    assert solution.objective.shape == solution.converged.shape == (0,)


@pytest.mark.parametrize("name", SOLVERS)
def test_arrays_go_in_and_come_out(name):
    D, x = (v.numpy() for v in gaussian(8, 16, 3))
    x.flags.writeable = False  # as a memory-mapped array is
    options = {"n_steps": 20} if name == "log_adam" else {}
    solution = solve(D, x[:, ::-1], ALPHA, name, **options)
    for field in ("codes", "objective", "duality_gap", "n_steps", "converged"):
        assert isinstance(getattr(solution, field), np.ndarray), field
    tensors = solve(torch.from_numpy(D), torch.from_numpy(x[:, ::-1].copy()), ALPHA, name, **options)
    np.testing.assert_array_equal(solution.codes, tensors.codes.numpy())


@pytest.mark.parametrize("name", SOLVERS)
def test_a_dictionary_in_training_leaves_no_graph(name):
    D, x = gaussian(8, 16, 3)
    D.requires_grad_()
    options = {"n_steps": 5} if name == "log_adam" else {}
    solution = solve(D, x, ALPHA, name, init=(x @ D).relu(), **options)
    assert not solution.codes.requires_grad
    assert not solution.objective.requires_grad


@pytest.mark.parametrize("name", SOLVERS)
def test_inputs_are_left_as_they_were(name):
    D, x = gaussian(8, 16, 3)
    init = torch.ones(3, 16, dtype=torch.double)
    kept = [v.clone() for v in (D, x, init)]
    solve(D, x, ALPHA, name, init=init, **({"n_steps": 5} if name == "log_adam" else {}))
    assert all(torch.equal(a, b) for a, b in zip((D, x, init), kept, strict=True))


@pytest.mark.parametrize("name", CONVERGING)
def test_any_start_leads_to_the_same_optimum(name):
    D, x = gaussian(8, 16, 5)
    cold = solve(D, x, ALPHA, name, tol=TOL)
    for init in (cold.codes, torch.full((5, 16), 3.0)):
        warm = solve(D, x, ALPHA, name, tol=TOL, init=init)
        assert warm.converged.all()
        torch.testing.assert_close(warm.objective, cold.objective, rtol=2 * TOL, atol=0)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    M=st.integers(1, 10),
    N=st.integers(1, 14),
    log_alpha=st.floats(-3, 1),
    nonnegative=st.booleans(),
    integers=st.booleans(),
)
def test_all_solvers_meet_at_one_optimum(seed, M, N, log_alpha, nonnegative, integers):
    D, x = gaussian(M, N, 2, seed)
    if integers:  # dependent and repeated columns, ties
        D, x = (2 * D).round(), (2 * x).round()
        D[0, (D == 0).all(0)] = 1
    values = {
        name: solve(D, x, 10**log_alpha, name, tol=1e-7, nonnegative=nonnegative)
        for name in ("auto", *CONVERGING)
        if name != "lasso_cvxpy"
    }
    for name, solution in values.items():
        proved, best = solution.converged, values["fista"].objective
        assert proved.all() or name in STOPPED_BY_ROUNDING, name
        torch.testing.assert_close(solution.objective[proved], best[proved], rtol=2e-7, atol=1e-14)
        assert (solution.objective >= best * (1 - 2e-7) - 1e-14).all(), name


@both_signs
@per_case
def test_fista_and_cvxpy_agree_far_below_their_tolerance(case, nonnegative, truth):
    ours = solve(*CASES[case], "fista", tol=1e-9, nonnegative=nonnegative)
    # Clarabel's own relative accuracy on the smallest signals (norm 1e-2, alpha of the same size)
    torch.testing.assert_close(ours.objective, truth(case, nonnegative).objective, rtol=3e-8, atol=1e-15)


# --- fista --------------------------------------------------------------------------------------------------


def test_a_start_at_the_optimum_takes_no_step():
    D, x = gaussian(8, 16, 20)
    optimum = fista(D, x, ALPHA, tol=1e-9).codes
    again = fista(D, x, ALPHA, tol=1e-8, init=optimum)
    assert (again.n_steps == 0).all()
    assert torch.equal(again.codes, optimum)
    nearby = fista(D, x, ALPHA, tol=1e-8, init=optimum + 1e-4)
    assert nearby.n_steps.sum() < fista(D, x, ALPHA, tol=1e-8).n_steps.sum()


def test_what_did_not_converge_says_so():
    p = SparseProblem(n=20)
    short = fista(p.D, p.x, 0.0025, max_steps=3)
    assert not short.converged.any()
    assert (short.n_steps == 3).all()
    assert (short.duality_gap > 1e-6).all()
    none = fista(p.D, p.x, 0.0025, max_steps=0)
    assert (none.n_steps == 0).all()
    assert (none.codes == 0).all()
    assert (short.stop == "step limit").all()


def test_samples_stop_one_by_one():
    p = SparseProblem(n=50)
    steps = fista(p.D, p.x, 0.0025).n_steps
    assert len(steps.unique()) > 5


def test_loose_tolerances_stay_in_single_precision_and_still_hold():
    p = SparseProblem(n=50)
    loose = fista(p.D, p.x, 0.0025, tol=1e-3)
    # float32 iterates: the gap that stopped them and the float64 certificate differ by rounding, about 1e-5
    assert (loose.duality_gap <= 1e-3 + 1e-5).all()
    best = fista(p.D, p.x, 0.0025, tol=1e-8).objective
    assert (loose.objective - best <= (1e-3 + 1e-5) * loose.objective).all()


def test_wide_and_narrow_dictionaries_take_different_products_to_one_optimum():
    D, x = gaussian(8, 20, 10)  # N > 2M: two thin products; N <= 2M: the Gram matrix
    wide = fista(D, x, ALPHA, tol=1e-9)
    taller, longer = torch.cat([D, torch.zeros(4, 20)]), torch.cat([x, torch.zeros(10, 4)], 1)
    padded = fista(taller, longer, ALPHA, tol=1e-9)
    torch.testing.assert_close(wide.objective, padded.objective, rtol=1e-9, atol=0)


def test_float32_mixed_with_float64_takes_the_type_of_x():
    D, x = gaussian(8, 16, 3)
    assert solve(D, x.float(), ALPHA).codes.dtype == torch.float32
    assert solve(D.float(), x, ALPHA).codes.dtype == torch.float64
    assert solve(D, torch.ones(3, 8, dtype=torch.long), ALPHA).codes.dtype == torch.get_default_dtype()


@pytest.mark.gpu
@both_signs
@pytest.mark.parametrize("name", ["auto", *(n for n in CONVERGING if n != "lasso_cvxpy")])
def test_cuda_agrees_with_the_cpu_or_is_refused(name, nonnegative):
    p = SparseProblem(n=200, dtype=torch.double)
    cpu = solve(p.D, p.x, 0.0025, name, tol=TOL, nonnegative=nonnegative)
    if name in ("pivoting", "working_set", "homotopy"):
        with pytest.raises(ValueError, match="runs on a CPU"):
            solve(p.D.cuda(), p.x.cuda(), 0.0025, name, nonnegative=nonnegative)
        return
    gpu = solve(p.D.cuda(), p.x.cuda(), 0.0025, name, tol=TOL, nonnegative=nonnegative)
    assert gpu.codes.is_cuda
    assert gpu.converged.all()
    torch.testing.assert_close(gpu.objective.cpu(), cpu.objective, rtol=2 * TOL, atol=0)


# --- the paper's Adam on log-codes --------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, True])
def test_log_adam_is_the_papers_loop(warm):
    p = SparseProblem(n=10, dtype=torch.double)
    weight, steps = 0.01, 400
    init = (p.x @ p.D).relu() if warm else None

    start = torch.full((10, 16), -10.0, dtype=torch.double)
    if warm:
        start = torch.maximum(start, init.log())
    log_codes = start.requires_grad_()
    adam = torch.optim.Adam([log_codes], lr=3e-3, foreach=False)
    for _ in range(steps):
        adam.zero_grad()
        s = torch.exp(log_codes)
        loss = torch.mean((p.x - s @ p.D.T) ** 2) + weight * torch.mean(s.abs())
        loss.backward()
        adam.step()

    alpha = alpha_from_mean_loss(weight, 8, 16)
    solution = solve(p.D, p.x, alpha, "log_adam", init=init, n_steps=steps)
    # rounding of the gradient (1e-16) against its size at the start (1e-9), carried through 400 steps
    torch.testing.assert_close(solution.codes, log_codes.detach().exp(), rtol=1e-6, atol=0)
    torch.testing.assert_close(mean_loss(p.D, p.x, solution.codes, weight), loss.detach(), rtol=1e-2, atol=0)


def test_log_adam_defaults_are_the_published_ones():
    assert START == -10
    defaults = {k: v.default for k, v in inspect.signature(SOLVERS["log_adam"]).parameters.items()}
    assert (defaults["n_steps"], defaults["lr"]) == (10_000, 3e-3)
    D, x = gaussian(8, 16, 2)
    zero = solve(D, x, ALPHA, "log_adam", n_steps=0)
    torch.testing.assert_close(zero.codes, torch.full((2, 16), math.exp(-10), dtype=torch.double))


def test_log_adam_has_not_converged_after_the_papers_steps():
    # the paper's setting: 10 000 steps end well above the optimum, and the record says so
    p = SparseProblem(n=1024)
    adam, best = solve(p.D, p.x, 0.0025, "log_adam"), solve(p.D, p.x, 0.0025)
    assert (adam.codes > 0).all()
    assert not adam.converged.any()
    # per sample 17 % above the optimum; fewer samples would do better, for the gradients are means over them
    assert (adam.n_steps == 10_000).all()
    assert (adam.objective >= best.objective * (1 - 1e-6)).all()
    assert 1.1 < float(adam.objective.mean() / best.objective.mean()) < 1.3
    true_gap = (adam.objective - best.objective) / adam.objective
    assert (adam.duality_gap >= true_gap - 1e-6).all()


def test_log_adam_improves_on_its_start():
    p = SparseProblem(n=20)
    init = (p.x @ p.D).relu()
    after = solve(p.D, p.x, 0.0025, "log_adam", init=init, n_steps=300)
    assert after.objective.mean() < objective(p.D, p.x, init, 0.0025).mean()


def test_log_adam_refuses_signed_codes():
    D, x = gaussian(8, 16, 2)
    with pytest.raises(ValueError, match="nonnegative"):
        solve(D, x, ALPHA, "log_adam", nonnegative=False)


# --- refusals -----------------------------------------------------------------------------------------------

D0, X0 = gaussian(4, 6, 3)
BAD = {
    "NaN in x": (D0, X0 * math.nan, ALPHA, {}),
    "inf in x": (D0, X0 / 0, ALPHA, {}),
    "NaN in D": (D0 * math.nan, X0, ALPHA, {}),
    "complex x": (D0, X0.to(torch.cdouble), ALPHA, {}),
    "x one-dimensional": (D0, X0[0], ALPHA, {}),
    "x of another width": (D0, X0[:, :3], ALPHA, {}),
    "D three-dimensional": (D0[None], X0, ALPHA, {}),
    "D without columns": (D0[:, :0], X0, ALPHA, {}),
    "zero column": (D0 * (torch.arange(6) != 2), X0, ALPHA, {}),
    "a list": (D0.tolist(), X0, ALPHA, {}),
    "more digits than float64's": (D0.numpy().astype(np.longdouble), X0, ALPHA, {}),
    "a sparse tensor": (D0.to_sparse(), X0, ALPHA, {}),
    "eight bits a number": (D0, X0.to(torch.float8_e4m3fn), ALPHA, {}),
    "alpha in words": (D0, X0, "0.1", {}),
    "alpha complex": (D0, X0, 1j, {}),
    "alpha true": (D0, X0, True, {}),
    "alpha beyond all numbers": (D0, X0, 10**400, {}),
    "tol in words": (D0, X0, ALPHA, {"tol": "small"}),
    "tol missing": (D0, X0, ALPHA, {"tol": None}),
    "strings": (D0, np.full((3, 4), "1"), ALPHA, {}),
    "objects": (D0, np.full((3, 4), None), ALPHA, {}),
    "alpha zero": (D0, X0, 0, {}),
    "alpha negative": (D0, X0, -0.1, {}),
    "alpha NaN": (D0, X0, math.nan, {}),
    "alpha infinite": (D0, X0, math.inf, {}),
    "tol zero": (D0, X0, ALPHA, {"tol": 0}),
    "tol one": (D0, X0, ALPHA, {"tol": 1}),
    "tol NaN": (D0, X0, ALPHA, {"tol": math.nan}),
    "unknown method": (D0, X0, ALPHA, {"method": "newton"}),
    "options without a method": (D0, X0, ALPHA, {"max_steps": 5}),
    "pivoting of many columns": (torch.eye(40), torch.ones(3, 40), ALPHA, {"method": "pivoting"}),
    "infeasible start": (D0, X0, ALPHA, {"init": -torch.ones(3, 6)}),
    "start of the wrong shape": (D0, X0, ALPHA, {"init": torch.ones(3, 5)}),
    "NaN in the start": (D0, X0, ALPHA, {"init": torch.full((3, 6), math.nan)}),
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_solve_refuses_with_one_sentence(wrong):
    D, x, alpha, options = wrong
    with pytest.raises(ValueError, match=r"\w+ .+") as refusal:
        solve(D, x, alpha, **options)
    assert "\n" not in str(refusal.value)


def test_arrays_of_the_other_byte_order_are_read():
    D, x = D0.numpy(), X0.numpy()
    found = solve(D.astype(">f8"), x.astype(">f8"), np.float32(ALPHA))
    assert found.codes.dtype.isnative
    np.testing.assert_array_equal(found.codes, solve(D, x, float(np.float32(ALPHA))).codes)


def test_solving_in_many_threads_leaves_torch_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def count():
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return seen[0]

    try:
        D, x = gaussian(16, 64, 300)
        threads = [threading.Thread(target=solve, args=(D, x, 0.3)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert count() == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["fista", "ista", "lca", "coordinate_descent"])
@pytest.mark.parametrize("wide", [True, False])
def test_steps_have_the_same_bits_on_any_number_of_threads(name, wide):
    # more samples than a thread takes, and products that a library would share among threads
    D, x = gaussian(24 if wide else 200, 60, 2100)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(solve(D, x, 0.3, name, max_steps=30))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0].codes, other.codes) for other in found[1:])
    assert all(torch.equal(found[0].n_steps, other.n_steps) for other in found[1:])


def test_numbers_are_read_one_by_one_where_their_sum_says_nothing():
    most = torch.finfo(torch.float32).max
    assert as_tensor(torch.tensor([most, most]), "x").isfinite().all()
    with pytest.raises(ValueError, match="x contains NaN or infinite"):
        as_tensor(torch.tensor([math.inf, -math.inf]), "x")


@pytest.mark.parametrize("name", ["pivoting", "working_set", "homotopy"])
def test_kernels_refuse_other_devices_in_their_own_words(name):
    # solve() reads its inputs first, which a tensor without data cannot be
    with pytest.raises(ValueError, match=f"{name} runs on a CPU, but x is on meta"):
        SOLVERS[name](D0.to("meta"), X0.to("meta"), ALPHA)


def test_signed_problems_may_start_anywhere():
    assert solve(D0, X0, ALPHA, nonnegative=False, init=-torch.ones(3, 6)).converged.all()


@settings(deadline=None, max_examples=50)
@given(
    shapes=st.tuples(*[st.lists(st.integers(0, 4), min_size=0, max_size=3) for _ in range(2)]),
    value=st.sampled_from([0.0, 1.0, math.nan, math.inf]),
)
def test_any_shapes_and_values_are_solved_or_refused_with_value_error(shapes, value):
    D, x = (torch.full(tuple(shape), 1.0) for shape in shapes)
    if x.numel():
        x.view(-1)[-1] = value
    fits = D.ndim == 2 and D.numel() > 0 and x.ndim == 2 and x.shape[1] == D.shape[0] and x.isfinite().all()
    if fits:
        assert solve(D, x, 0.1).converged.all()
    else:
        with pytest.raises(ValueError, match=r"\w+ .+"):
            solve(D, x, 0.1)


# --- pursuits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@both_signs
@pytest.mark.parametrize("case", [c for c in CASES if c not in ("one latent", "one measurement")])
@pytest.mark.parametrize("name", PURSUITS)
def test_every_pursuit_returns_at_most_k_and_an_honest_objective(name, case, nonnegative, dtype):
    D, x, _ = CASES[case]
    D, x = D.to(dtype), x.to(dtype)
    previous = 0.5 * x.double().square().sum(1)
    for K in (1, 2, 3):
        solution = pursue(D, x, K, name, nonnegative)
        assert solution.codes.shape == (len(x), D.shape[1])
        assert solution.codes.dtype == dtype
        assert ((solution.codes != 0).sum(1) <= K).all()
        assert (solution.codes >= 0).all() or not nonnegative
        assert (solution.method == name).all()
        assert solution.stop.shape == (len(x),)
        assert isinstance(solution.flops, int)
        residual = x.double() - solution.codes.double() @ D.double().T
        # float32 residuals carry rounding of x, relative to ||x||
        slack = 1e-6 * x.double().square().sum(1) + 1e-15
        assert ((solution.objective - 0.5 * residual.square().sum(1)).abs() <= slack).all()
        best = pursue(D, x, K, "exhaustive", nonnegative).objective
        assert (solution.objective >= best - slack).all()
        if name != "iht":  # which may end in another local optimum
            assert (solution.objective <= previous + slack).all()  # one more atom never hurts
        previous = solution.objective


@both_signs
@pytest.mark.parametrize("name", PURSUITS)
def test_every_sample_has_its_own_k(name, nonnegative):
    D, x = gaussian(8, 16, 12)
    K = torch.arange(12) % 3 + 1
    together = pursue(D, x, K, name, nonnegative)
    for k in (1, 2, 3):
        alone = pursue(D, x[k == K], k, name, nonnegative)
        torch.testing.assert_close(together.codes[k == K], alone.codes, rtol=1e-9, atol=1e-9)
        assert torch.equal(together.n_steps[k == K], alone.n_steps) or name == "iht"
    assert isinstance(pursue(D.numpy(), x.numpy(), K.numpy(), name, nonnegative).codes, np.ndarray)


@both_signs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", PURSUITS)
def test_a_pursuit_ends_at_the_first_code_whose_residual_is_short_enough(name, nonnegative, dtype):
    D, x = (v.to(dtype) for v in gaussian(8, 16, 12))
    if name == "iht":
        with pytest.raises(ValueError, match="residual"):
            pursue(D, x, 3, name, residual=0.5)
        return
    share = torch.linspace(0.2, 1.1, 12, dtype=dtype)  # at the last, nothing is taken
    limit = share * x.norm(dim=1)
    found = pursue(D, x, 4, name, nonnegative, residual=limit)
    by_steps = [pursue(D, x, k, name, nonnegative) for k in (1, 2, 3, 4)]
    lengths = torch.stack([x.double().norm(dim=1), *((2 * s.objective).sqrt() for s in by_steps)])
    # the margin keeps ties of rounding out; none of the lengths lies in it
    assert ((lengths / limit - 1).abs() > 1e-5).all()
    first = torch.where(lengths <= limit, torch.arange(5)[:, None], 4).amin(0)
    codes = torch.stack([torch.zeros_like(found.codes), *(s.codes for s in by_steps)])[
        first, torch.arange(12)
    ]
    torch.testing.assert_close(found.codes, codes, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-9)
    assert (found.codes[-1] == 0).all()
    if name != "exhaustive":
        assert ((found.stop == "residual reached") == (lengths <= limit).any(0).numpy()).all()


@pytest.mark.parametrize("name", ["omp", "batched_omp", "matching_pursuit", "gradient_pursuit"])
def test_a_residual_alone_is_enough(name):
    D, x = gaussian(8, 16, 12)
    limit = 0.4 * x.norm(dim=1)
    found = pursue(D, x, method=name, nonnegative=False, residual=limit)
    reached = (2 * found.objective).sqrt() <= limit * (1 + 1e-9)
    assert (reached.numpy() == (found.stop == "residual reached")).all()
    assert reached.float().mean() > 0.5
    if name.endswith("omp"):  # whose M atoms span the space
        assert reached.all()


@both_signs
@pytest.mark.parametrize("name", ["auto", "omp", "batched_omp"])
@pytest.mark.parametrize("apart", [1e-3, 6e-4, 1e-4, 1e-5, 1e-6])
def test_float32_fits_as_well_as_float64_where_columns_are_coherent(name, apart, nonnegative):
    g = torch.Generator().manual_seed(0)
    first, away = torch.nn.functional.normalize(torch.randn(2, 24, 4, generator=g), dim=1)
    # every column has a neighbour at a cosine of about 1 - apart
    D = torch.nn.functional.normalize(torch.cat([first, first + (2 * apart) ** 0.5 * away], 1), dim=0)
    # what the difference of neighbours explains, which nonnegative codes cannot use, and noise
    x = (torch.rand(40, 4, generator=g) + 0.1) @ (first + away).T + 1e-3 * torch.randn(40, 24, generator=g)
    single, double = (
        pursue(D.to(t), x.to(t), 8, name, nonnegative).objective for t in (torch.float32, torch.float64)
    )
    assert (single <= 4 * double).all()  # twice the residual is four times its square


@both_signs
@pytest.mark.parametrize("name", ["auto", "omp", "batched_omp"])
@pytest.mark.parametrize("apart", [1e-1, 1e-2, 1e-3, 3e-4])
def test_float32_goes_on_where_all_columns_are_alike(name, apart, nonnegative):
    # after the first atom no match d_i.r is above the rounding of x, though the residual is a thousand times it
    g = torch.Generator().manual_seed(0)
    D = 1 + apart * torch.randn(20, 50, generator=g)
    x = 1 + apart * torch.randn(30, 20, generator=g)
    single, double = (
        pursue(D.to(t), x.to(t), 8, name, nonnegative).objective for t in (torch.float32, torch.float64)
    )
    assert (single <= 4 * double).all()  # twice the residual is four times its square


@both_signs
@pytest.mark.parametrize("name", PURSUITS)
def test_a_pursuit_treats_samples_apart(name, nonnegative):
    D, x = gaussian(8, 16, 10)
    together = pursue(D, x, 3, name, nonnegative).codes
    alone = torch.cat([pursue(D, row, 3, name, nonnegative).codes for row in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)  # least squares on one support


@both_signs
@pytest.mark.parametrize("name", [name for name in PURSUITS if name != "iht"])
def test_one_atom_is_the_best_matching_one(name, nonnegative):
    D, x = gaussian(8, 16, 50)
    match = x @ D if nonnegative else (x @ D).abs()
    solution = pursue(D, x, 1, name, nonnegative)
    assert torch.equal(solution.codes.abs().argmax(1), match.argmax(1))
    expected = (x @ D).gather(1, match.argmax(1, keepdim=True)).squeeze(1)
    torch.testing.assert_close(solution.codes.sum(1), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", PURSUITS)
def test_orthonormal_atoms_are_all_recovered(name):
    p = SparseProblem(M=10, N=10, K=3, n=30, dictionary=torch.eye(10), dtype=torch.double)
    torch.testing.assert_close(pursue(p.D, p.x, 3, name).codes, p.codes, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", PURSUITS)
def test_pursuits_refuse(name):
    for K in (
        torch.tensor([1, 0, 1]),
        torch.tensor([1.5, 1, 1]),
        torch.tensor([1, 1]),
        torch.tensor([1, 1, 5]),
    ):
        with pytest.raises(ValueError, match=r"\bK\b"):
            pursue(D0, X0[:3], K, name)
    for residual in (0.0, -1.0, math.nan, torch.ones(2)):
        with pytest.raises(ValueError, match="residual"):
            pursue(D0, X0[:3], 1, name, residual=residual)
    with pytest.raises(ValueError, match="K, the number of latents, or residual"):
        pursue(D0, X0, method=name)
    for K in (0, 7, 2.5, 5):  # 5 columns of length 4 are dependent
        with pytest.raises(ValueError, match=r"\bK\b"):
            pursue(D0, X0, K, name)
    with pytest.raises(ValueError, match="NaN"):
        pursue(D0, X0 * math.nan, 1, name)
    with pytest.raises(ValueError, match="unknown pursuit"):
        pursue(D0, X0, 1, "lasso")


@pytest.mark.parametrize("name", PURSUITS)
def test_pursuits_of_nothing(name):
    assert pursue(D0, X0[:0], 2, name).codes.shape == (0, 6)
    assert (pursue(D0, torch.zeros(2, 4), 2, name).codes == 0).all()
    assert isinstance(pursue(D0.numpy(), X0.numpy(), 2, name).codes, np.ndarray)


@both_signs
def test_matching_pursuit_is_its_loop(nonnegative):
    D, x = gaussian(8, 16, 30)
    for target in x:
        r, s = target.clone(), torch.zeros(16, dtype=x.dtype)
        for _ in range(12):  # more than M: atoms are taken again
            match = D.T @ r
            i = int(match.argmax() if nonnegative else match.abs().argmax())
            amount = match[i].clamp_min(0) if nonnegative else match[i]
            s[i] += amount
            r -= amount * D[:, i]
        found = pursue(D, target[None], torch.tensor([8]), "matching_pursuit", nonnegative)
        again = matching_pursuit(D, target[None], 12, nonnegative=nonnegative)
        assert (found.codes != 0).sum() <= 8
        torch.testing.assert_close(again.codes[0], s, rtol=1e-9, atol=1e-12)


@both_signs
def test_exhaustive_search_is_brute_force(nonnegative):
    D, x = gaussian(5, 7, 8)
    solution = pursue(D, x, 3, "exhaustive", nonnegative)
    for i, target in enumerate(x.numpy()):
        best = math.inf
        for support in itertools.combinations(range(7), 3):
            columns = D.numpy()[:, support]
            if nonnegative:
                error = nnls(columns, target)[1] ** 2
            else:
                error = float(np.linalg.lstsq(columns, target)[1].sum())
            best = min(best, error / 2)
        assert float(solution.objective[i]) == pytest.approx(best, rel=1e-10)  # two least-squares routines
    assert solution.converged.all()
    assert (solution.duality_gap == 0).all()


def test_exhaustive_search_recovers_what_is_sparse():
    p = SparseProblem(n=30, dtype=torch.double)
    torch.testing.assert_close(pursue(p.D, p.x, 3, "exhaustive").codes, p.codes, rtol=0, atol=1e-9)


def test_exhaustive_search_refuses_too_many_supports():
    with pytest.raises(ValueError, match="supports"):
        pursue(torch.eye(100), torch.ones(1, 100), 4, "exhaustive")


@both_signs
def test_omp_is_its_definition_written_out(nonnegative):
    D, x = gaussian(6, 10, 10)
    matrix = D.numpy()
    for target, code in zip(x.numpy(), pursue(D, x, 3, "omp", nonnegative).codes.numpy(), strict=True):
        chosen: list[int] = []
        fit = np.zeros(10)
        for _ in range(3):
            match = matrix.T @ (target - matrix @ fit)
            match = match if nonnegative else np.abs(match)
            match[chosen] = -np.inf
            if match.max() > 0:
                chosen.append(int(match.argmax()))
            part = matrix[:, chosen]
            fit = np.zeros(10)
            fit[chosen] = nnls(part, target)[0] if nonnegative else np.linalg.lstsq(part, target)[0]
        np.testing.assert_allclose(code, fit, atol=1e-9)


@both_signs
@pytest.mark.parametrize("alpha", [1e-4, 1e-8])
@pytest.mark.parametrize("method", ["auto", "fista"])
def test_an_alpha_far_below_the_largest_takes_no_endless_steps(method, alpha, nonnegative):
    """On the support A of the signal,  s_A = s0_A - alpha (A'A)^-1 1  where the others' correlations stay below."""
    K = 4
    for seed in range(100):
        D, _ = gaussian(128, 256, 1, seed=seed)
        A, s0 = D[:, :K], torch.zeros(256, dtype=torch.double)
        s0[:K] = torch.linspace(1, 2, K, dtype=torch.double)
        step = torch.linalg.solve(A.T @ A, torch.ones(K, dtype=torch.double))
        if (D[:, K:].T @ (A @ step)).abs().max() < 0.95:
            break
    optimum = s0.clone()
    optimum[:K] -= alpha * step
    found = solve(D, (D @ s0)[None], alpha, method, nonnegative=nonnegative)
    assert found.converged.all()
    # FISTA by itself takes more than 50 000 steps at 1e-8; the working set's pivots are cheaper
    assert found.n_steps.max() < (1500 if method == "fista" else 6000)
    # 1/2 |D (s - s*)|^2 <= gap P, and near s* the support's Gram matrix is that of A, all of it above 1/2
    error = 2 * float((1e-6 * found.objective[0]) ** 0.5)
    torch.testing.assert_close(found.codes[0], optimum, rtol=0, atol=error)


# --- basis pursuit ------------------------------------------------------------------------------------------


@both_signs
def test_basis_pursuit_agrees_with_linprog(nonnegative):
    p = SparseProblem(
        n=8, K=5, amplitude="half-normal" if nonnegative else "signed-normal", dtype=torch.double
    )
    solution = basis_pursuit(p.D, p.x, nonnegative=nonnegative)
    D = p.D.numpy()
    matrix = D if nonnegative else np.hstack([D, -D])
    for i, target in enumerate(p.x.numpy()):
        reference = linprog(np.ones(matrix.shape[1]), A_eq=matrix, b_eq=target)
        assert float(solution.objective[i]) == pytest.approx(
            reference.fun, rel=1e-6
        )  # HiGHS's feasibility, 1e-7
    assert solution.converged.all()
    torch.testing.assert_close(solution.codes @ p.D.T, p.x, rtol=0, atol=1e-6)
    torch.testing.assert_close(solution.objective, solution.codes.abs().sum(1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("function", [basis_pursuit, basis_pursuit_lp])
def test_basis_pursuit_answers_in_kind(function):
    p = SparseProblem(n=3, dtype=torch.double)
    found = function(p.D.numpy(), p.x.numpy())
    assert isinstance(found.codes, np.ndarray)
    assert np.array_equal(found.codes, function(p.D, p.x).codes.numpy())


def test_basis_pursuit_is_the_limit_of_the_lasso():
    p = SparseProblem(n=5, dtype=torch.double)
    limit = solve(p.D, p.x, 1e-6, tol=1e-8)
    torch.testing.assert_close(basis_pursuit(p.D, p.x).codes, limit.codes, rtol=0, atol=1e-3)


def test_basis_pursuit_refuses_what_no_code_reproduces():
    D = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="sample 1"):
        basis_pursuit(D, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(ValueError, match="nonnegative code"):
        basis_pursuit(D, torch.tensor([[-1.0, 1.0, 0.0]]))
    assert basis_pursuit(D, torch.tensor([[-1.0, 1.0, 0.0]]), nonnegative=False).converged.all()
    with pytest.raises(ValueError, match="NaN"):
        basis_pursuit(D, torch.full((1, 3), math.nan))


def test_basis_pursuit_of_zero_and_of_nothing():
    D, x = gaussian(4, 6, 2)
    zero = basis_pursuit(D, 0 * x)
    assert (zero.codes == 0).all()
    assert zero.converged.all()
    assert basis_pursuit(D, x[:0]).codes.shape == (0, 6)
