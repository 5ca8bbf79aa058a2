"""A prepared dictionary answers as its matrix does, works everything out once, and keeps within its bound."""

import threading

import numpy as np
import pytest
import torch

from amortgap.gap import excess_objective, on_same_decoder
from amortgap.problem import SparseProblem
from amortgap.solvers import (
    PURSUITS,
    SOLVERS,
    alpha_for,
    alpha_max,
    basis_pursuit,
    path,
    prepare,
    pursue,
    refit,
    screened,
    solve,
)

ALPHA = 0.05
LOOSE = {"log_adam": {"n_steps": 20}, "ista": {"tol": 1e-2}, "lca": {"tol": 1e-2}}


def signals(N=24, M=10, K=3, n=12, dtype=torch.float32):
    p = SparseProblem(N=N, M=M, K=K, n=n, noise=0.05, dtype=dtype)
    return 1.7 * p.D, p.x, 0.5 * p.codes


@pytest.mark.parametrize("name", ["auto", *SOLVERS])
def test_every_solver_gives_the_same_twice_and_from_the_matrix(name):
    D, x, _ = signals(N=12 if name == "pivoting" else 24)
    given, options = prepare(D), LOOSE.get(name, {})
    plain, first, second = (solve(d, x, ALPHA, name, **options) for d in (D, given, given))
    for one in (first, second):
        assert torch.equal(one.codes, plain.codes)
        assert torch.equal(one.duality_gap, plain.duality_gap)
        assert torch.equal(one.n_steps, plain.n_steps)
    # what was there already is not counted again
    assert second.flops <= first.flops == plain.flops


@pytest.mark.parametrize("name", ["auto", *PURSUITS])
def test_every_pursuit_gives_the_same_twice_and_from_the_matrix(name):
    D, x, _ = signals()
    given = prepare(D)
    plain, first, second = (pursue(d, x, 3, name) for d in (D, given, given))
    assert torch.equal(first.codes, plain.codes)
    assert torch.equal(second.codes, plain.codes)


def every_call(D, x, codes):
    """All other functions that take a dictionary."""
    yield torch.stack([s.codes for s in path(D, x, [0.1, 0.05])])
    yield torch.tensor(alpha_for(D, x, l0=2.0))
    yield alpha_max(D, x)
    yield screened(D, x, codes, ALPHA).float()
    yield refit(D, x, codes > 0)
    yield torch.stack(list(on_same_decoder(D, x, codes, ALPHA).values()))
    yield excess_objective(D, x, codes, ALPHA)
    yield basis_pursuit(D, codes @ (D.D if hasattr(D, "D") else D).T).codes


def test_every_function_takes_either():
    D, x, codes = signals()
    given = prepare(D)
    for from_matrix, prepared in zip(every_call(D, x, codes), every_call(given, x, codes), strict=True):
        assert torch.equal(from_matrix, prepared)


def test_one_prepared_dictionary_serves_signals_of_any_dtype_and_kind():
    D, x, _ = signals(dtype=torch.float64)
    given = prepare(D.numpy())
    for data in (x, x.float()):
        assert torch.equal(solve(given, data, ALPHA).codes, solve(D, data, ALPHA).codes)
    found = solve(given, x.numpy(), ALPHA)
    assert isinstance(found.codes, np.ndarray)


def test_the_gram_matrix_is_made_once():
    D, x, _ = signals(N=300, M=40)
    given = prepare(D)
    costs = [solve(given, x, ALPHA, "working_set").flops for _ in range(3)]
    assert costs[0] - costs[1] == 2 * 40 * 300**2
    assert costs[1] == costs[2]


def test_threads_make_each_thing_once():
    D, _, _ = signals(N=400, M=64)
    given, made = prepare(D), []

    def work():
        made.append(given.gram(torch.float32))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(gram.G is made[0].G for gram in made)
    assert sum(gram.flops > 0 for gram in made) == 1


@pytest.mark.parametrize("memory", [0, 100_000, 10_000_000])
def test_what_is_kept_stays_within_the_bound(memory):
    D, x, codes = signals(N=300, M=40)
    given = prepare(D, memory)
    for found, exact in zip(every_call(given, x, codes), every_call(D, x, codes), strict=True):
        # another way to the same optimum, where D'D does not fit
        torch.testing.assert_close(found, exact, rtol=0.02, atol=2e-3)
        assert given.held() <= memory
    if memory > 4 * 300**2:
        assert given.held() > 4 * 300**2


@pytest.mark.parametrize("memory", [float("nan"), -1, "much", None])
def test_what_may_be_kept_is_a_number_of_bytes(memory):
    with pytest.raises(ValueError, match="memory"):
        prepare(torch.eye(3), memory)


def test_the_eigenvalue_is_that_of_the_gram_matrix():
    for D in (signals(N=50, M=20)[0], signals(N=20, M=16)[0][:, :8]):
        exact = np.linalg.norm(D.double().numpy(), 2) ** 2
        assert float(prepare(D).eigenvalue) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4), torch.ones(3), torch.full((2, 2), torch.nan), "D"])
def test_what_is_no_dictionary_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match=r"dictionary D"):
        prepare(wrong)


def test_of_unit_columns_one_gram_matrix_serves_pursuits_and_lasso():
    D = torch.nn.functional.normalize(torch.randn(2048, 64, generator=torch.Generator().manual_seed(0))).T
    given = prepare(D)
    short = given.gram(torch.float32)
    given = prepare(D)
    cosines = given.cosines(torch.float32)
    gram = given.gram(torch.float32)
    assert gram.G is cosines.G
    assert given.has_gram(torch.float32)
    error = (torch.from_numpy(gram.G).double() - D.double().T @ D.double()).abs().max()
    assert error <= gram.fuzz < short.fuzz
    longer = prepare(1.01 * D)
    longer.cosines(torch.float32)
    assert not longer.has_gram(torch.float32)
