"""Every public function on a device other than the CPU: no tensor is left behind, and the numbers are the CPU's."""

import inspect
import sys

import pytest
import torch

from amortgap.dictionaries import LEARNERS, learn
from amortgap.encoders import ENCODERS
from amortgap.gap import each_row
from amortgap.metrics import dictionary_mcc, fvu, l0, mcc, support_scores
from amortgap.objectives import dual_point, duality_gap, kkt_residual, objective
from amortgap.problem import SparseProblem
from amortgap.solvers import PURSUITS, SOLVERS, alpha_for, basis_pursuit, path, pursue, refit, screened, solve
from amortgap.training import Cosine, fit, snapshot, stack
from pretend_device import DEVICE, Pretending, elsewhere, here

P = SparseProblem(N=40, M=12, K=3, n=16, dtype=torch.double)
ALPHA = 0.02
ON_CPU = ("lasso_cvxpy", "pivoting", "working_set", "homotopy")  # or refuse other devices
SLOW = ("coordinate_descent",)  # a call of torch for every number of this pretence


@pytest.fixture(autouse=True)
def device():
    with Pretending():
        yield


def same(there, cpu, **tolerance):
    assert there.device == DEVICE
    torch.testing.assert_close(here(there), cpu, **tolerance)


@pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
@pytest.mark.parametrize("name", ["auto", *(n for n in SOLVERS if n not in ON_CPU + SLOW)])
def test_solve(name, nonnegative, monkeypatch):
    allow_fused_steps(monkeypatch)
    if name == "log_adam" and not nonnegative:
        return  # it writes codes as exponentials
    few = {
        "log_adam": {"n_steps": 20},
        **{k: {"max_steps": 30} for k in ("ista", "lca")},
    }
    options = few.get(name, {})
    cpu = solve(P.D, P.x, ALPHA, name, nonnegative=nonnegative, **options)
    D, x, init = elsewhere(P.D), elsewhere(P.x), elsewhere(torch.zeros_like(P.codes))
    there = solve(D, x, ALPHA, name, nonnegative=nonnegative, **options)
    for field in ("codes", "objective", "duality_gap", "n_steps", "converged"):
        assert getattr(there, field).device == DEVICE, field
    same(there.objective, cpu.objective, rtol=2e-6, atol=0)
    if not options:
        assert here(there.converged).all()
    solve(D, x, ALPHA, name, nonnegative=nonnegative, init=init, **options)


@pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
@pytest.mark.parametrize("name", ["auto", *(n for n in PURSUITS if n != "omp")])  # which refuses
def test_pursue(name, nonnegative):
    p = SparseProblem(n=16, dtype=torch.double)  # exhaustive looks at every support
    cpu = pursue(p.D, p.x, 3, name, nonnegative=nonnegative)
    there = pursue(elsewhere(p.D), elsewhere(p.x), 3, name, nonnegative=nonnegative)
    same(there.objective, cpu.objective, rtol=1e-9, atol=1e-18)
    same(there.n_steps, cpu.n_steps)


def test_refit_path_and_screening():
    D, x = elsewhere(P.D), elsewhere(P.x)
    for nonnegative in (True, False):
        cpu = refit(P.D, P.x, P.codes > 0, nonnegative=nonnegative)
        same(refit(D, x, elsewhere(P.codes) > 0, nonnegative=nonnegative), cpu)
    for there, cpu in zip(path(D, x, [0.2, 0.05]), path(P.D, P.x, [0.2, 0.05]), strict=True):
        same(there.objective, cpu.objective, rtol=2e-6, atol=0)
    assert alpha_for(D, x, l0=3.0) == pytest.approx(alpha_for(P.D, P.x, l0=3.0), rel=0.1)
    codes = solve(P.D, P.x, ALPHA).codes
    same(screened(D, x, elsewhere(codes), ALPHA), screened(P.D, P.x, codes, ALPHA))
    same(basis_pursuit(D, x).objective, basis_pursuit(P.D, P.x).objective, rtol=1e-5, atol=0)


def test_objectives_and_scores():
    D, x, codes = elsewhere(P.D), elsewhere(P.x), elsewhere(P.codes)
    for function in (objective, dual_point, duality_gap, kkt_residual):
        same(function(D, x, codes, ALPHA), function(P.D, P.x, P.codes, ALPHA))
    other = P.codes.flip(0)
    for score in (mcc, l0_of_both, support_scores, fvu):
        torch.testing.assert_close(score(codes, elsewhere(other)), score(P.codes, other))
    torch.testing.assert_close(dictionary_mcc(D, D), torch.tensor(1.0, dtype=torch.double))


def l0_of_both(a, b):
    return l0(a) + l0(b)


def test_rows_of_one_decoder():
    codes = SparseProblem(N=40, M=12, K=3, n=16, seed=1, dtype=torch.double).codes
    cpu = each_row(P.D, P.x, codes, ALPHA, 3)
    there = each_row(elsewhere(P.D), elsewhere(P.x), elsewhere(codes), ALPHA, 3)
    for (name, a, _), (_, b, _) in zip(there, cpu, strict=True):
        # on other devices "L1" is another solver's: codes of a gap of 1e-4
        (
            same(
                objective(elsewhere(P.D), elsewhere(P.x), a, ALPHA),
                objective(P.D, P.x, b, ALPHA),
                rtol=5e-3,
                atol=0,
            ),
            name,
        )


# --- encoders -----------------------------------------------------------------------------------------------


def build(name, **options):
    if "bias" in inspect.signature(ENCODERS[name]).parameters:
        options = {"bias": True, **options}
    if name in ("topk", "batch_topk"):
        options = {"k": 3, "aux_k": 2, "dead_after": 20, **options}
    return ENCODERS[name](12, 40, pre_bias=True, **options).double()


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_there_and_back(name):
    cpu, there = build(name), elsewhere(build(name))
    for model, x in ((cpu, P.x), (there, elsewhere(P.x))):
        model.decode(model.encode(x)).square().sum().backward()
    same(there.encode(elsewhere(P.x)), cpu.encode(P.x).detach())
    for (label, a), b in zip(there.named_parameters(), cpu.parameters(), strict=True):
        if b.grad is not None:
            same(a.grad, b.grad), label


def allow_fused_steps(monkeypatch):
    """torch's fused Adam asks for the device's name."""
    name = "_get_fused_kernels_supported_devices"
    for module in (sys.modules["torch.optim.adam"], sys.modules["torch.optim.optimizer"]):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, lambda: ["cpu", DEVICE.type])


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("name", ENCODERS)
def test_training(name, batch_size, monkeypatch):
    allow_fused_steps(monkeypatch)
    cpu, there = build(name), elsewhere(build(name))
    options = {
        "steps": 6,
        "batch_size": batch_size,
        "log_at": (3, 4, 6),
        "lr": Cosine(1e-3),
        "measure": snapshot,
    }
    a = fit(cpu, P.x, **options)
    b = fit(there, elsewhere(P.x), **options)
    for p, q in zip(there.parameters(), cpu.parameters(), strict=True):
        same(p, q.detach(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(b.loss, a.loss)


def test_stacked_and_supervised_training(monkeypatch):
    cpu = stack([build("relu", seed=seed) for seed in range(2)])
    there = elsewhere(stack([build("relu", seed=seed) for seed in range(2)]))
    weights = torch.tensor([0.01, 0.1], dtype=torch.double)
    fit(cpu, P.x, steps=0, l1_weight=weights)
    fit(there, elsewhere(P.x), steps=0, l1_weight=elsewhere(weights), codes=elsewhere(P.codes))


@pytest.mark.parametrize("method", LEARNERS)
def test_dictionary_learning(method):
    options = {"alpha": 0.05, "rounds": 2, "seed": 0}
    x = P.x
    cpu, there = learn(x, 14, method=method, **options), learn(elsewhere(x), 14, method=method, **options)
    same(there.D, cpu.D, rtol=0, atol=1e-3)
