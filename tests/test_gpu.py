"""With a CUDA device (pytest -m gpu): every public function there gives what it gives on the CPU."""

import inspect
import os

import pytest
import torch

from amortgap.encoders import ENCODERS
from amortgap.metrics import dictionary_mcc, fvu, l0, mcc
from amortgap.objectives import duality_gap, objective
from amortgap.problem import SparseProblem
from amortgap.solvers import PURSUITS, alpha_for, path, pursue, refit, solve
from amortgap.training import Cosine, fit, stack

pytestmark = pytest.mark.gpu
TOL = 1e-6
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
per_encoder = pytest.mark.parametrize("name", ENCODERS)


def weight(p):
    return 0.05 * float((p.x @ p.D).amax(1).median())


@both_signs
@pytest.mark.parametrize(("N", "M", "K"), [(16, 8, 3), (1000, 200, 20), (5000, 300, 20)])
@pytest.mark.parametrize("method", ["auto", "batched", "fista"])
def test_solve_on_cuda_is_solve_on_the_cpu(method, N, M, K, nonnegative):
    p = SparseProblem(N=N, M=M, K=K, n=64, noise=0.01)
    tol = 1e-3 if method == "fista" else 1e-4  # its iterates are float32, and so is their gap
    alpha, options = weight(p), {"tol": tol, "nonnegative": nonnegative}
    cpu = solve(p.D, p.x, alpha, **options)
    found = solve(p.D.cuda(), p.x.cuda(), alpha, method, **options)
    assert found.codes.is_cuda
    assert found.converged.all()
    D, x, codes = p.D.double(), p.x.double(), found.codes.double().cpu()
    torch.testing.assert_close(found.objective.cpu(), objective(D, x, codes, alpha), rtol=1e-9, atol=0)
    torch.testing.assert_close(found.objective.cpu(), cpu.objective, rtol=2 * tol, atol=0)
    # codes rounded to float32 prove a little less than those before rounding
    assert (duality_gap(D, x, codes, alpha, nonnegative) <= 1.1 * tol).all()


@both_signs
def test_batched_proves_a_gap_of_a_millionth(nonnegative):
    p = SparseProblem(N=2000, M=200, K=20, n=100, noise=0.01, dtype=torch.double)
    alpha = weight(p)
    cpu = solve(p.D, p.x, alpha, tol=TOL, nonnegative=nonnegative)
    for coarse in (False, True):
        options = {"tol": TOL, "nonnegative": nonnegative, "coarse": coarse}
        found = solve(p.D.cuda(), p.x.cuda(), alpha, "batched", **options)
        assert found.converged.all()
        again = duality_gap(p.D, p.x, found.codes.cpu(), alpha, nonnegative)
        assert (again <= found.duality_gap.cpu() + 1e-13).all()
        torch.testing.assert_close(found.objective.cpu(), cpu.objective, rtol=2 * TOL, atol=0)


@both_signs
@pytest.mark.parametrize("name", ["auto", *(n for n in PURSUITS if n != "omp")])  # which refuses
def test_pursue_on_cuda_is_pursue_on_the_cpu(name, nonnegative):
    p = SparseProblem(n=100, dtype=torch.double)
    cpu = pursue(p.D, p.x, 3, name, nonnegative=nonnegative)
    found = pursue(p.D.cuda(), p.x.cuda(), 3, name, nonnegative=nonnegative)
    assert found.codes.is_cuda
    torch.testing.assert_close(found.codes.cpu(), cpu.codes, rtol=1e-7, atol=1e-9)


def test_pursuit_on_a_large_dictionary():
    p = SparseProblem(N=5000, M=300, K=20, n=64, noise=0.01, dtype=torch.double)
    cpu, found = pursue(p.D, p.x, 20), pursue(p.D.cuda(), p.x.cuda(), 20)
    torch.testing.assert_close(found.codes.cpu(), cpu.codes, rtol=1e-7, atol=1e-9)


@both_signs
def test_least_squares_on_supports(nonnegative):
    p = SparseProblem(N=256, M=64, K=8, n=200, noise=0.1)
    support = p.codes > 0
    cpu = refit(p.D, p.x, support, nonnegative=nonnegative)
    found = refit(p.D.cuda(), p.x.cuda(), support.cuda(), nonnegative=nonnegative)
    torch.testing.assert_close(found.cpu(), cpu, rtol=1e-5, atol=1e-6)


def test_paths_and_the_alpha_of_a_sparsity():
    p = SparseProblem(N=256, M=64, K=8, n=50, dtype=torch.double)
    D, x = p.D.cuda(), p.x.cuda()
    for a, b in zip(path(D, x, [0.2, 0.05]), path(p.D, p.x, [0.2, 0.05]), strict=True):
        torch.testing.assert_close(a.objective.cpu(), b.objective, rtol=2 * TOL, atol=0)
    codes = solve(D, x, alpha_for(D, x, l0=8.0)).codes
    assert float(l0(codes)) == pytest.approx(8, rel=0.05)


def test_scores():
    p, q = SparseProblem(n=300), SparseProblem(n=300, seed=1)
    torch.testing.assert_close(mcc(p.codes.cuda(), q.codes.cuda()), mcc(p.codes, q.codes), rtol=0, atol=1e-12)
    torch.testing.assert_close(dictionary_mcc(p.D.cuda(), q.D.cuda()), dictionary_mcc(p.D, q.D))
    torch.testing.assert_close(fvu(p.x.cuda(), q.x.cuda()), fvu(p.x, q.x))


# --- encoders and their training ----------------------------------------------------------------------------


def build(name, **options):
    known = inspect.signature(ENCODERS[name]).parameters
    options |= {k: v for k, v in {"bias": True, "k": 4}.items() if k in known}
    if name in ("topk", "batch_topk"):
        options |= {"bias": True, "k": 4, "aux_k": 2, "dead_after": 200}
    return ENCODERS[name](24, 64, pre_bias=True, **options)


def data(dtype=torch.float32):
    return SparseProblem(N=64, M=24, K=4, n=256, dtype=dtype).x


@per_encoder
def test_encoders_forwards_and_backwards(name):
    x, cpu, gpu = data(torch.double), build(name).double(), build(name).double().cuda()
    for model, rows in ((cpu, x), (gpu, x.cuda())):
        model.decode(model.encode(rows)).square().sum().backward()
    torch.testing.assert_close(gpu.encode(x.cuda()).cpu(), cpu.encode(x))
    for p, q in zip(gpu.parameters(), cpu.parameters(), strict=True):
        if q.grad is not None:
            torch.testing.assert_close(p.grad.cpu(), q.grad)


@per_encoder
@pytest.mark.parametrize("batch_size", [None, 64])
def test_training(name, batch_size):
    x, cpu, gpu = data(torch.double), build(name).double(), build(name).double().cuda()
    options = {"steps": 20, "batch_size": batch_size, "log_at": (10, 20), "lr": Cosine(1e-3)}
    a, b = fit(cpu, x, **options), fit(gpu, x.cuda(), **options)
    torch.testing.assert_close(b.loss, a.loss, rtol=1e-6, atol=0)
    assert all(p.is_cuda for p in gpu.parameters())


@per_encoder
def test_one_seed_trains_one_model(name):
    """Bit for bit, on one device."""
    x, models = data().cuda(), []
    for _ in range(2):
        models.append(build(name, seed=3).cuda())
        fit(models[-1], x, steps=15, batch_size=64, seed=5)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(p, q)


def test_stacked_training_from_a_file_that_was_left(tmp_path):
    x, weights = data().cuda(), torch.tensor([0.01, 0.1])
    whole, halves = (stack([build("relu", seed=s) for s in range(2)]).cuda() for _ in range(2))
    fit(whole, x, steps=40, batch_size=64, l1_weight=weights, checkpoint_file=tmp_path / "whole")
    for steps in (20, 40):
        fit(halves, x, steps=steps, batch_size=64, l1_weight=weights, checkpoint_file=tmp_path / "halves")
    for p, q in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_same_call_gives_the_same_bits():
    p = SparseProblem(N=1000, M=200, K=20, n=500, device="cuda")
    for call in (lambda: solve(p.D, p.x, weight(p), tol=1e-4), lambda: pursue(p.D, p.x, 10)):
        assert torch.equal(call().codes, call().codes)


def test_activations_of_a_language_model(tmp_path):
    from amortgap.llm import load, read
    from tiny_models import save_gpt2

    folder = save_gpt2(tmp_path / "gpt2")
    tokens = torch.randint(0, 256, (3, 20), generator=torch.Generator().manual_seed(0))
    cpu, gpu = (read(load(str(folder), device=device), tokens, 1) for device in ("cpu", "cuda"))
    torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-4, atol=1e-5)


def test_there_is_one():
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        assert os.environ["CUDA_VISIBLE_DEVICES"] != ""
    assert torch.cuda.is_available()
