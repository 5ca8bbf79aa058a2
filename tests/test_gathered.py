"""The working set by slots, without D'D: the same optima, true counts, and taken where the cost model says so."""

import importlib
from functools import partial

import pytest
import torch

from amortgap.objectives import duality_gap
from amortgap.problem import SparseProblem
from amortgap.solvers import _cost, path, prepare, solve
from test_counters import counted

module = importlib.import_module("amortgap.solvers.working_set")  # the package names the function
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


@pytest.fixture
def by_slots(monkeypatch):
    monkeypatch.setattr(module, "_pays", lambda *sizes: False)


def signals(M=60, N=400, K=6, n=40, dtype=torch.float32, **options):
    p = SparseProblem(M=M, N=N, K=K, n=n, noise=0.02, dtype=dtype, **options)
    return p.D, p.x, 0.05 * float((p.x @ p.D).abs().amax(1).median())


@both_signs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("half", [True, False], ids=["half width", "single"])
def test_the_optima_are_those_found_with_the_gram_matrix(half, dtype, nonnegative, monkeypatch):
    D, x, alpha = signals(dtype=dtype)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_pays", lambda *sizes: True)
        expected = solve(D, x, alpha, "working_set", tol=1e-9, nonnegative=nonnegative)
    monkeypatch.setattr(module, "_pays", lambda *sizes: False)
    monkeypatch.setattr("amortgap.solvers._gathered.half_width", lambda: half)
    found = solve(D, x, alpha, "working_set", tol=1e-6, nonnegative=nonnegative)
    assert found.converged.all()
    torch.testing.assert_close(found.objective, expected.objective, rtol=1e-6, atol=0)
    # the gap as it is recomputed, from codes that float32 rounds
    gap = duality_gap(D.double(), x.double(), found.codes.double(), alpha, nonnegative)
    assert gap.max() < 3e-6


def test_no_dependence_on_the_batch_beyond_the_tolerance(by_slots):
    D, x, alpha = signals()
    together = solve(D, x, alpha, "working_set", tol=1e-8)
    for i in (0, 17):
        alone = solve(D, x[i : i + 1], alpha, "working_set", tol=1e-8)
        torch.testing.assert_close(alone.objective, together.objective[i : i + 1], rtol=2e-8, atol=0)


def test_more_atoms_above_alpha_than_there_are_slots(by_slots):
    D, x, _ = signals(M=100, N=2000, K=50)
    found = solve(D, x, 0.002 * float((x @ D).amax(1).median()), "working_set", tol=1e-7)
    assert found.converged.all()
    assert (found.codes > 0).sum(1).max() > 64


def test_a_warm_start_takes_fewer_exchanges(by_slots):
    D, x, alpha = signals()
    cold = solve(D, x, alpha, "working_set")
    _, warm = path(D, x, [1.05 * alpha, alpha])
    assert warm.converged.all()
    assert 3 * warm.n_steps.sum() < cold.n_steps.sum()
    torch.testing.assert_close(warm.objective, cold.objective, rtol=2e-6, atol=0)


@both_signs
def test_the_operations_are_those_seen(nonnegative, by_slots, monkeypatch):
    D, x, alpha = signals(M=10, N=24, K=3, n=32, dtype=torch.float64)
    run = partial(solve, D, x, alpha, "working_set", nonnegative=nonnegative)
    found, seen = counted(run, monkeypatch)
    assert found.converged.all()
    assert found.flops == pytest.approx(seen, rel=0.1)


def test_nothing_of_n_times_n_is_made_where_it_does_not_fit():
    D, x, alpha = signals(M=64, N=20_000, n=8)
    given = prepare(D, memory=2**26)  # D'D would take 800 MB in 16 bits
    found = solve(given, x, alpha, tol=1e-5)
    assert found.converged.all()
    assert (found.method == "working_set").all()
    assert given.held() <= 2**26


SIZES = [(20, 100, 400, 3), (60, 3000, 60, 6), (60, 3000, 6, 6), (40, 200, 40, 10), (100, 1500, 400, 20)]


@pytest.mark.parametrize("sizes", SIZES)
def test_the_cost_model_orders_the_two_ways_as_their_counted_operations_do(sizes, monkeypatch):
    M, N, n, K = sizes
    D, x, alpha = signals(M, N, K, n)
    counts = []
    for pays in (True, False):
        monkeypatch.setattr(module, "_pays", lambda *given, pays=pays: pays)
        found = solve(D, x, alpha, "working_set", tol=1e-5)
        counts.append(found.flops)
    k = float((found.codes > 0).sum(1).double().mean())
    # operations as they are, not the time they take
    for name, value in {"STREAM": 1, "SMALL": 1, "CONVERT": 1, "CALL": 0}.items():
        monkeypatch.setattr(_cost, name, value)
    predicted = _cost.full(M, N, n, k, ready=False, half=False), _cost.slots(M, N, n, k, half=False)
    assert (predicted[0] < predicted[1]) == (counts[0] < counts[1])
    for one, other in zip(predicted, counts, strict=True):
        assert one / 3 < other < 3 * one


def test_the_gram_matrix_is_made_once_it_would_have_paid():
    D, x, alpha = signals(M=40, N=1200, n=20)
    given, ready = prepare(D), []
    for _ in range(200):
        solve(given, x, alpha, "working_set", tol=1e-4)
        ready.append(given.has_gram(torch.float32))
        if ready[-1]:
            break
    assert ready[-1]
    assert not ready[0]


def test_a_head_of_the_signals_tells_how_many_atoms_they_take(monkeypatch):
    D, x, alpha = signals(M=200, N=1000, n=70)
    seen = []
    ways = {name: getattr(module, name) for name in ("_by_slots", "_solve")}
    for name, way in ways.items():

        def spy(given, x, *rest, name=name, way=way, **options):
            seen.append((name, len(x)))
            return way(given, x, *rest, **options)

        monkeypatch.setattr(module, name, spy)
    whole = solve(D, x, alpha, "working_set", tol=1e-5)
    assert whole.converged.all()
    assert len(whole.codes) == len(whole.method) == 70
    assert seen[0] == ("_by_slots", module.HEAD)
    assert seen[1][1] == 70 - module.HEAD
