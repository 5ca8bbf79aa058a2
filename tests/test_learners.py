"""Dictionary learners: contracts over LEARNERS, what theory promises of each, and scikit-learn as a control."""

import math

import numpy as np
import pytest
import torch

from amortgap.dictionaries import LEARNERS, STARTS, learn
from amortgap.dictionaries._alternate import correlations, has_stopped, sweep
from amortgap.dictionaries._learned import replace_dead
from amortgap.dictionaries.scikit_learn import scikit_learn_dictionary
from amortgap.metrics import chance_dictionary_mcc, dictionary_mcc
from amortgap.problem import SparseProblem, unit_columns
from amortgap.solvers import solve

N, M, alpha = 10, 6, 0.1
learners = pytest.mark.parametrize("method", LEARNERS)


def problem(dtype=torch.double, **sizes):
    return SparseProblem(**{"N": N, "M": M, "K": 2, "n": 120, "dtype": dtype} | sizes)


X = problem().x


@pytest.mark.parametrize("nonnegative", [True, False])
@learners
def test_the_objective_is_that_of_the_dictionary_returned(method, nonnegative):
    for dtype in (torch.float32, torch.float64):
        x = problem(dtype).x
        found = learn(x, N, alpha, method, rounds=15, nonnegative=nonnegative)
        assert found.D.shape == (M, N)
        assert found.D.dtype == dtype
        torch.testing.assert_close(torch.linalg.vector_norm(found.D, dim=0), torch.ones(N, dtype=dtype))
        value = solve(found.D, x, alpha, nonnegative=nonnegative).objective.mean().item()
        assert value == pytest.approx(min(found.objective), rel=1e-6)  # one solver, one tolerance
        assert found.objective[-1] < found.objective[0]
        assert len(found.objective) <= 15
        assert found.flops > 0


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("init", STARTS)
@pytest.mark.parametrize("method", [m for m in LEARNERS if m != "mod"])  # MOD normalises, and may rise
def test_the_objective_never_rises(method, init, nonnegative):
    found = learn(X, N, alpha, method, init=init, rounds=30, tol=0, nonnegative=nonnegative)
    for before, after in zip(found.objective, found.objective[1:], strict=False):
        assert after <= before * (1 + 1e-6)  # the gap to which codes are solved


@learners
def test_one_seed_is_one_dictionary_bit_for_bit(method):
    a, b, other = (learn(X, N, alpha, method, rounds=5, seed=s).D for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)


@learners
def test_a_planted_dictionary_is_found(method):
    p = SparseProblem(dtype=torch.double)  # N=16, M=8, K=3, 1024 samples
    found = learn(p.x, 16, alpha, method, restarts=3)
    # MOD forgets the penalty when it normalises, so that another learner gains some parts in a thousand
    assert found.converged == (method != "mod")
    assert dictionary_mcc(p.D, found.D) > 0.98
    assert chance_dictionary_mcc(8, 16) < 0.7


def test_all_learners_meet_at_one_objective():
    p = SparseProblem(dtype=torch.double)
    least = {m: min(learn(p.x, 16, alpha, m, restarts=3).objective) for m in LEARNERS}
    # block descent, K-SVD and online share their fixed points; MOD's normalisation costs some parts in a thousand
    assert max(least.values()) <= 1.005 * min(least.values()), least
    del least["mod"]
    assert max(least.values()) <= 1.001 * min(least.values()), least


@learners
def test_converged_means_that_no_learner_gains_more_than_tol(method):
    p = SparseProblem(dtype=torch.double)
    massive = p.x.clone()
    massive[::100] *= 100
    seen = set()
    for x, tol in ((p.x, 1e-3), (p.x, 2e-2), (massive, 1e-2)):
        found = learn(x, 16, alpha, method, rounds=60, tol=tol)
        gains = []
        for other in LEARNERS:
            start, end = learn(x, 16, alpha, other, init=found.D, rounds=2, tol=tol).objective
            gains.append(1 - end / start)
        seen.add(found.converged)
        assert not found.converged or max(gains) <= tol + 1e-5
    assert True in seen


def repeated(D, signed=False):
    cosines = (D.T @ D).fill_diagonal_(0)
    return int(((cosines.abs() if signed else cosines) > 1 - 1e-6).sum())


def test_no_start_and_no_result_has_a_column_twice():
    g = torch.Generator().manual_seed(0)
    few = torch.randn(5, 8, generator=g).repeat(40, 1) * torch.rand(200, 1, generator=g)
    start = STARTS["data"](few, 12, torch.Generator().manual_seed(0))
    assert repeated(start) == 0
    # the five directions are all there
    best = (torch.nn.functional.normalize(few, dim=1) @ start).max(1).values
    torch.testing.assert_close(best, torch.ones(200), rtol=0, atol=1e-5)
    for method in LEARNERS:
        assert repeated(learn(few, 12, 0.02, method, rounds=30).D) == 0


@pytest.mark.parametrize("nonnegative", [True, False])
def test_a_column_twice_in_the_start_is_replaced_at_no_cost(nonnegative):
    D = unit_columns(torch.randn(M, N, generator=torch.Generator().manual_seed(1)).double())
    D[:, 4] = D[:, 1] if nonnegative else -D[:, 1]
    found = learn(X, N, 0.01, init=D, rounds=20, nonnegative=nonnegative)
    assert repeated(found.D, signed=not nonnegative) == 0
    assert found.objective[1] < found.objective[0]


@pytest.mark.slow
def test_scikit_learn_meets_us_at_the_same_objective():
    p = SparseProblem(dtype=torch.double)
    D = scikit_learn_dictionary(p.x, 16, alpha, nonnegative=True, rounds=100)
    ours = min(learn(p.x, 16, alpha, restarts=3).objective)
    assert solve(D, p.x, alpha).objective.mean().item() == pytest.approx(ours, rel=1e-3)


@pytest.mark.parametrize("solver", ["fista", "lca"])
@pytest.mark.parametrize("method", ["block_descent", "online"])
def test_another_solver_inside_leads_to_the_same_dictionary(method, solver):
    ours, other = (learn(X, N, alpha, method, rounds=12, tol=0, solver=s) for s in ("auto", solver))
    # every code is solved to a relative gap of 1e-6; the optimum is flat, so columns move by the root of that
    assert other.objective == pytest.approx(ours.objective, rel=1e-5)
    torch.testing.assert_close(other.D, ours.D, rtol=0, atol=5e-3)
    assert other.flops != ours.flops  # it was another solver indeed


def test_continuation_beats_a_direct_start_at_a_small_penalty():
    p = SparseProblem(dtype=torch.double)
    direct = learn(p.x, 16, 0.0025, rounds=100)
    continued = learn(p.x, 16, [0.1, 0.03, 0.01, 0.0025], rounds=100)
    assert min(continued.objective) < 0.9 * min(direct.objective)
    assert dictionary_mcc(p.D, continued.D) > 0.98


def test_the_start_with_the_lowest_validation_objective_is_kept():
    held_out = problem(n=80).sample(80, seed=5).x
    best = learn(X, N, alpha, rounds=8, restarts=4, seed=3, validation=held_out)
    scores = {}
    for seed in range(3, 7):
        one = learn(X, N, alpha, rounds=8, seed=seed)
        scores[seed] = solve(one.D, held_out, alpha).objective.mean().item()
        assert one.seed == seed
        assert seed != best.seed or torch.equal(one.D, best.D)
    assert best.seed == min(scores, key=scores.get)
    assert best.flops > 2 * one.flops


def test_each_column_of_a_sweep_is_the_best_unit_vector_given_the_others():
    g = torch.Generator().manual_seed(0)
    D, codes = problem().D, torch.rand(120, N, generator=g).double() * (torch.rand(120, N, generator=g) < 0.3)
    new = sweep(D, *correlations(X, codes))
    trial = unit_columns(torch.randn(M, 1000, generator=g).double())
    # the last column is optimal against the final others
    rest = X - codes[:, :-1] @ new[:, :-1].T

    def error(d):
        return (rest[:, :, None] - codes[:, -1, None, None] * d).square().sum((0, 1))

    assert (error(new[:, -1:]) <= error(trial)).all()
    before, after = ((X - codes @ A.T).square().sum() for A in (D, new))
    assert after < before


def test_the_true_dictionary_of_noiseless_data_is_a_fixed_point_of_a_sweep():
    p = problem()
    new = sweep(p.D, *correlations(p.x, p.codes))
    torch.testing.assert_close(new, p.D, rtol=0, atol=1e-12)


def test_unused_columns_are_replaced_by_the_worst_samples():
    D = problem().D
    codes = torch.rand(120, N).double()
    codes[:, [1, 4]] = 0
    cost = torch.arange(120).double()
    new = replace_dead(D, X, codes, cost, False)
    torch.testing.assert_close(new[:, [1, 4]], unit_columns(X[[119, 118]].T))
    kept = [i for i in range(N) if i not in (1, 4)]
    assert torch.equal(new[:, kept], D[:, kept])
    assert replace_dead(D, X, torch.ones(120, N), cost, False) is D


@learners
def test_columns_that_start_useless_are_used_in_the_end(method):
    start = (
        torch.eye(M).double()[:, :1].expand(M, N).clone()
    )  # ten times one direction, which few samples need
    found = learn(X, N, alpha, method, init=start, rounds=40)
    codes = solve(found.D, X, alpha).codes
    assert (codes > 0).any(0).double().mean() >= 0.9
    assert found.objective[-1] < 0.7 * found.objective[0]


def test_stopping_waits_for_ten_rounds_without_progress():
    falling = [1 / (i + 1) for i in range(30)]
    assert not has_stopped(falling, 1e-3)
    assert not has_stopped([1.0] * 10, 1e-3)
    assert has_stopped([1.0] * 11, 1e-3)
    assert not has_stopped([1.0] * 11 + [0.9], 1e-3)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_scikit_learn_gives_unit_columns_and_beats_its_start(nonnegative):
    D = scikit_learn_dictionary(X, N, alpha, nonnegative=nonnegative, rounds=20)
    assert D.shape == (M, N)
    torch.testing.assert_close(torch.linalg.vector_norm(D, dim=0), torch.ones(N).double())
    value = solve(D, X, alpha, nonnegative=nonnegative).objective.mean()
    start = STARTS["gaussian"](X, N, torch.Generator().manual_seed(0))
    assert value < solve(start, X, alpha, nonnegative=nonnegative).objective.mean()
    again = scikit_learn_dictionary(X, N, alpha, nonnegative=nonnegative, rounds=20)
    assert torch.equal(D, again)


def test_more_columns_than_samples():
    found = learn(X[:4], N, alpha, rounds=3)
    assert found.D.shape == (M, N)
    assert found.D.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": X * math.nan},
        {"x": X[0]},
        {"x": X[:0]},
        {"x": X * 0},
        {"N": 0},
        {"alpha": 0.0},
        {"alpha": -1.0},
        {"alpha": []},
        {"method": "fft"},
        {"init": "ones"},
        {"solver": "omp"},
        {"init": torch.eye(M)},
        {"init": torch.ones(M, N)},
        {"init": problem().D, "restarts": 2},
        {"rounds": 0},
        {"restarts": 0},
        {"tol": 1.0},
        {"tol": math.nan},
        {"validation": X[:, :2]},
        {"validation": X[:0]},
    ],
    ids=str,
)
def test_refusals(wrong):
    options = {"x": X, "N": N, "alpha": alpha} | wrong
    with pytest.raises(ValueError, match=r"\w+ .+"):
        learn(options.pop("x"), options.pop("N"), options.pop("alpha"), **options)


@pytest.mark.gpu
@learners
def test_cuda_agrees_with_the_cpu(method):
    start = problem().sample(2, seed=9).D
    cpu = learn(X, N, alpha, method, init=start, rounds=5)
    gpu = learn(X.cuda(), N, alpha, method, init=start, rounds=5)
    assert gpu.D.is_cuda
    torch.testing.assert_close(gpu.D.cpu(), cpu.D, rtol=0, atol=1e-3)  # codes agree to a gap of 1e-6


def test_arrays_give_an_array():
    found, same = learn(X.numpy(), N, 0.05, rounds=3), learn(X, N, 0.05, rounds=3)
    assert isinstance(found.D, np.ndarray)
    assert found.D.dtype == X.numpy().dtype
    assert np.array_equal(found.D, same.D.numpy())
