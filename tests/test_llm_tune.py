"""Encoders at a wanted mean L0."""

import pytest
import torch

from amortgap.llm.train import build
from amortgap.llm.tune import train_as_one, train_at_l0
from amortgap.metrics import l0
from amortgap.problem import SparseProblem

M, N = 12, 48
P = SparseProblem(M=M, N=N, K=3, n=400, seed=2)
X, VALIDATION = 2 * P.x.float(), 2 * P.sample(400, seed=5).x.float()
OPTIONS = {"steps": 100, "batch_size": 100, "lr": 0.01}


@pytest.mark.parametrize(("name", "target"), [("ReLU", 6.0), ("MLP", 6.0), ("JumpReLU", 3.0)])
def test_a_penalised_encoder_comes_out_at_the_target(name, target):
    tuned = train_at_l0(name, N, X, VALIDATION, target, [0.1, 0.4], seeds=2, **OPTIONS)
    with torch.no_grad():
        assert torch.equal(l0(tuned.model.encode(VALIDATION)).double(), tuned.l0)
        tried = [l0(one.encode(VALIDATION)).item() for _, one in tuned.tried]
    assert tried[0] > tried[1]
    # a tenth is what the first reading may miss by; the second is not tried again
    assert abs(tuned.l0.mean() / target - 1) < 0.2


@pytest.mark.parametrize("name", ["TopK", "BatchTopK"])
def test_an_encoder_that_is_given_k_needs_no_penalty(name):
    tuned = train_at_l0(name, N, X, VALIDATION, 4.0, seeds=2, **OPTIONS)
    assert tuned.penalty == 0
    assert not tuned.tried
    torch.testing.assert_close(tuned.l0, torch.full((2,), 4.0, dtype=torch.double), atol=0.01, rtol=0)


def test_a_larger_penalty_leaves_fewer_latents_active():
    alphas = [0.05, 0.2, 0.8]
    swept = train_as_one("ReLU", [build("ReLU", M, N) for _ in alphas], X, VALIDATION, alphas, **OPTIONS)
    assert (swept.l0.diff() < 0).all()


def test_a_penalised_encoder_needs_two_penalties():
    with pytest.raises(ValueError, match="two or more penalties"):
        train_at_l0("ReLU", N, X, VALIDATION, 4.0, [0.1], **OPTIONS)
