"""Compiled top-k keeps what torch keeps, and the paper's optimised top-k is its naive loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amortgap._kernels.largest import keep_largest
from amortgap.dictionaries import log_adam_top_k
from amortgap.encoders import MLPEncoder, TopKEncoder
from amortgap.problem import SparseProblem, unit_columns
from amortgap.training import fit, stack
from amortgap.training.packed import suits_kernel

N = 10
few = st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e-20])  # many ties and zeros


@settings(deadline=None)  # the first call compiles
@given(arrays(np.float32, (7, 5), elements=few), st.integers(1, 7))
def test_of_equal_entries_the_first_are_kept(s, k):
    expected = np.zeros_like(s)
    for j in range(5):
        order = np.argsort(-s[:, j], kind="stable")[:k]
        expected[order, j] = s[order, j]
    keep_largest(s, k, np.empty((k + 1, 5), np.float32), np.empty(5, np.int32))
    assert np.array_equal(s, expected)


def problems(dtype=torch.float32, n=300):
    many = [SparseProblem(M=6, N=N, K=2, n=n, seed=seed, dtype=dtype) for seed in range(2)]
    starts = [SparseProblem(M=6, N=N, K=2, n=1, seed=9 + seed, dtype=dtype).D for seed in range(2)]
    return torch.stack([p.x for p in many]), torch.stack(starts)


def naive(x, D, k, learned, steps, lr):
    """The published loop by autograd, one problem."""
    D, logs = D.clone().requires_grad_(learned), torch.full((len(x), N), -10.0).to(x).requires_grad_()
    adam = torch.optim.Adam([logs, D] if learned else [logs], lr=lr)
    for _ in range(steps):
        s = logs.exp()
        kept = s.detach().sort(dim=1, descending=True, stable=True).indices[:, :k]
        s = torch.zeros_like(s).scatter(1, kept, s.gather(1, kept))
        adam.zero_grad()
        (x - s @ D.T).square().mean().backward()
        adam.step()
        D.data = unit_columns(D.data)
    s = logs.exp().detach()
    kept = s.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return D.detach(), torch.zeros_like(s).scatter(1, kept, s.gather(1, kept))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("k", [1, 4, N])
def test_optimised_top_k_is_the_naive_loop(k, learned):
    x, D = problems(torch.double)
    found, codes = log_adam_top_k(x, D, k, learned=learned, steps=250, lr=0.05)
    for i in range(2):
        expected, s = naive(x[i], D[i], k, learned, 250, 0.05)
        # the first gradients are 1e-9 and their rounding 1e-25: relative errors of 1e-16 grow over 250 steps
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-8)
        torch.testing.assert_close(codes[i], s, rtol=1e-6, atol=1e-8)
    assert ((codes > 0).sum(-1) <= k).all()
    assert learned or torch.equal(found, D)


@pytest.mark.parametrize("learned", [False, True])
def test_its_kernel_is_its_torch_path(learned):
    """In float32 some choices between nearly equal codes fall the other way; the errors they leave agree."""
    x, D = problems()
    ends, left = [], []
    for dtype in (torch.float32, torch.double):
        found, s = log_adam_top_k(x.to(dtype), D.to(dtype), 3, learned=learned, steps=300, lr=0.05)
        ends.append(s)
        left.append((x - s @ found.mT).square().mean((1, 2)).float())
    torch.testing.assert_close(left[0], left[1], rtol=1e-3, atol=0)
    same = ((ends[0] > 0) == (ends[1] > 0)).float().mean()
    assert same > 0.999


def test_equal_starts_keep_the_first_latents_of_every_sample():
    x, D = problems()
    for dtype in (torch.float32, torch.double):  # the kernel and torch
        _, s = log_adam_top_k(x.to(dtype), D.to(dtype), 3, learned=True, steps=0)
        assert (s[..., :3] > 0).all()
        assert (s[..., 3:] == 0).all()


X, D0 = problems(n=20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": X * math.nan},
        {"x": X[0]},
        {"x": X[..., :4]},
        {"x": X[:1]},
        {"D": D0[0]},
        {"D": D0 / 0},
        {"k": 0},
        {"k": N + 1},
        {"k": 1.5},
        {"steps": -1},
    ],
    ids=str,
)
def test_refusals(wrong):
    options = {"x": X, "D": D0, "k": 2, "learned": True, "steps": 1} | wrong
    with pytest.raises(ValueError, match=r"\w+ .+"):
        log_adam_top_k(options.pop("x"), options.pop("D"), options.pop("k"), **options)


def test_an_auxiliary_loss_goes_through_autograd():
    x = X[0]
    assert suits_kernel(TopKEncoder(6, N, k=2), x)
    assert not suits_kernel(TopKEncoder(6, N, k=2, aux_k=2), x)


@pytest.mark.parametrize("k", [2, N])
def test_mlp_codes_have_at_most_k_entries_and_all_if_k_is_n(k):
    model, plain = MLPEncoder(6, N, k=k, seed=1), MLPEncoder(6, N, seed=1)
    s, every = model.encode(X[0]), plain.encode(X[0])
    assert ((s > 0).sum(1) <= k).all()
    assert torch.equal(s[s > 0], every[s > 0])
    assert k < N or torch.equal(s, every)
    with pytest.raises(ValueError, match="relu"):
        MLPEncoder(6, N, k=2, output="linear")
    with pytest.raises(ValueError, match="between 1"):
        MLPEncoder(6, N, k=N + 1)


def test_one_seed_is_one_run_bit_for_bit_and_stacking_changes_nothing():
    alone, again = TopKEncoder(6, N, k=2, seed=3), TopKEncoder(6, N, k=2, seed=3)
    many = stack([TopKEncoder(6, N, k=2, seed=seed) for seed in (2, 3)])
    for model in (alone, again):
        fit(model, X[0], steps=40, l1_weight=0.0)
    fit(many, X[0], steps=40, l1_weight=0.0)
    assert torch.equal(alone.W, again.W)
    assert torch.equal(alone.W, many.W[1])
    assert torch.equal(alone.decoder.D, many.decoder.D[1])
