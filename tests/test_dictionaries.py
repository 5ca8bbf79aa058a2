"""The paper's sparse coding against the loop its authors wrote."""

import importlib
import math

import pytest
import torch

from amortgap.dictionaries import log_adam_dictionary
from amortgap.metrics import dictionary_mcc
from amortgap.problem import SparseProblem, unit_columns

N = 10


def problem(seed=0, dtype=torch.double):
    return SparseProblem(M=6, N=N, K=2, n=30, seed=seed, dtype=dtype)


def naive(x, seed, weight, steps, lr):
    """Adam by autograd on the mean loss, dictionary and log-codes together, columns normalised after each step."""
    start = torch.randn(x.shape[1], N, generator=torch.Generator().manual_seed(seed))
    D = unit_columns(start).to(x).requires_grad_()
    log_codes = torch.full((len(x), N), -10.0, dtype=x.dtype).requires_grad_()
    adam = torch.optim.Adam([D, log_codes], lr=lr, foreach=False)
    for _ in range(steps):
        adam.zero_grad()
        s = torch.exp(log_codes)
        loss = torch.mean((x - s @ D.T) ** 2) + weight * torch.mean(s.abs())
        loss.backward()
        adam.step()
        with torch.no_grad():
            D /= D.norm(dim=0)
    return D.detach(), log_codes.detach().exp()


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5])
def test_it_is_the_naive_loop(weight):
    p = problem()
    kept = {"log_at": (300,), "measure": lambda D, s: {"s": s.clone()}}
    D, logged = log_adam_dictionary(p.x, N, seeds=[3], steps=300, l1_weight=weight, lr=0.01, **kept)
    expected, codes = naive(p.x, 3, weight, 300, 0.01)
    # the first gradients are 1e-9 and their rounding 1e-25: relative errors of 1e-16 grow over 300 steps
    torch.testing.assert_close(D[0], expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(logged["s"][0][0], codes, rtol=1e-6, atol=1e-12)


def test_many_seeds_are_one_seed_each():
    problems = [problem(seed) for seed in range(3)]
    x, weights = torch.stack([p.x for p in problems]), torch.tensor([0.0, 0.01, 0.1])
    many, _ = log_adam_dictionary(x, N, seeds=[5, 6, 7], steps=100, l1_weight=weights, lr=0.01)
    shared, _ = log_adam_dictionary(problems[0].x, N, seeds=[5, 6, 7], steps=100, lr=0.01)
    for i, p in enumerate(problems):
        one, _ = log_adam_dictionary(p.x, N, seeds=[5 + i], steps=100, l1_weight=float(weights[i]), lr=0.01)
        torch.testing.assert_close(many[i], one[0], rtol=0, atol=1e-9)  # batched sums in another order
        one, _ = log_adam_dictionary(problems[0].x, N, seeds=[5 + i], steps=100, lr=0.01)
        torch.testing.assert_close(shared[i], one[0], rtol=0, atol=1e-9)


def test_columns_stay_on_the_sphere_and_the_type_is_that_of_x():
    for dtype in (torch.float32, torch.float64):
        D, _ = log_adam_dictionary(problem(dtype=dtype).x, N, seeds=[0, 1], steps=20, lr=0.1)
        assert D.shape == (2, 6, N)
        assert D.dtype == dtype
        assert not D.requires_grad
        torch.testing.assert_close(torch.linalg.vector_norm(D, dim=1), torch.ones(2, N, dtype=dtype))


def test_one_seed_is_one_result_bit_for_bit():
    x = problem(dtype=torch.float32).x
    a, b, other = (log_adam_dictionary(x, N, seeds=[s], steps=30)[0] for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, other)


def test_the_log_holds_what_was_measured_and_when():
    x, shapes = problem().x, []

    def measure(D, codes):
        shapes.append((tuple(D.shape), tuple(codes.shape)))
        return {"norm": float(codes.sum())}

    _, logged = log_adam_dictionary(x, N, seeds=[0, 1], steps=5, log_at=(0, 2, 5, 9), measure=measure)
    assert logged["step"] == [0, 2, 5]
    assert len(logged["norm"]) == 3
    assert logged["norm"][0] == pytest.approx(2 * 30 * N * math.exp(-10), rel=1e-12)
    assert shapes == [((2, 6, N), (2, 30, N))] * 3
    assert log_adam_dictionary(x, N, seeds=[0], steps=2, log_at=(0, 1))[1] == {
        "step": []
    }  # nothing to measure


def test_it_finds_the_dictionary():
    p = SparseProblem(M=8, N=8, K=1, n=200, dictionary=torch.eye(8), dtype=torch.double)
    D, _ = log_adam_dictionary(p.x, 8, seeds=[0, 1, 2], steps=3000, lr=0.02)
    assert dictionary_mcc(p.D, D).max() > 0.95


X = problem().x


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": X * math.nan},
        {"x": X[0]},
        {"x": X[:0]},
        {"x": X.expand(3, 30, 6)},
        {"N": 0},
        {"seeds": []},
        {"steps": -1},
        {"l1_weight": -1.0},
        {"l1_weight": math.nan},
        {"l1_weight": torch.ones(3)},
    ],
    ids=str,
)
def test_refusals(wrong):
    options = {"x": X, "N": N, "seeds": [0, 1], "steps": 1} | wrong
    with pytest.raises(ValueError, match=r"\w+ .+"):
        log_adam_dictionary(options.pop("x"), options.pop("N"), **options)


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    p = problem()
    cpu, _ = log_adam_dictionary(p.x, N, seeds=[0, 1], steps=50, lr=0.01)
    gpu, _ = log_adam_dictionary(p.x.cuda(), N, seeds=[0, 1], steps=50, lr=0.01)
    torch.testing.assert_close(gpu.cpu(), cpu, rtol=0, atol=1e-8)


def test_the_kernel_of_log_codes_is_adam_as_torch_writes_it(monkeypatch):
    """float32 codes and dictionaries equal up to rounding, which 300 steps of Adam carry on."""
    modules = [importlib.import_module(f"amortgap.{part}.log_adam") for part in ("dictionaries", "solvers")]
    problems = [SparseProblem(N=10, M=6, K=2, n=300, seed=seed) for seed in range(2)]
    x, weights = torch.stack([p.x for p in problems]), torch.tensor([0.01, 0.1])
    found = []
    for limit in (modules[0].KERNEL_WEIGHTS, 0):
        for module in modules:
            monkeypatch.setattr(module, "KERNEL_WEIGHTS", limit)
        D, _ = modules[0].log_adam_dictionary(x, 10, seeds=[0, 1], steps=300, lr=0.02, l1_weight=weights)
        codes = modules[1].log_adam(problems[0].D, x[0], 0.01, n_steps=300, lr=0.05).codes
        found.append((D, codes))
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-4)
        assert not torch.equal(fast, slow)  # two ways, not one twice
