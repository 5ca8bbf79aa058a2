"""The training protocol for encoders on activations."""

import pytest
import torch

from amortgap import flops
from amortgap.llm.train import (
    ARCHITECTURES,
    SparseCoder,
    build,
    penalty_for,
    set_threshold,
    size_of_run,
    train,
)
from amortgap.metrics import l0
from amortgap.objectives import duality_gap
from amortgap.problem import SparseProblem
from amortgap.training import stack, unstack

M, N = 12, 64
X = SparseProblem(M=M, N=N, K=2, n=300, seed=1).x.float()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_starts_tied_and_trains(name):
    model = stack([build(name, M, N, k=4, seed=s) for s in (0, 1)])
    D = model.decoder.D.detach()
    read = model.W2 @ model.W1 if name.startswith("MLP") else model.W
    cosines = torch.cosine_similarity(read.mT, D, dim=-2)
    torch.testing.assert_close(cosines, torch.ones(2, N))
    weight = 0.0 if ARCHITECTURES[name][2] == "k" else 0.1
    history = train(model, X, steps=30, log_at=[0, 15], batch_size=150, l1_weight=weight, lr=0.01)
    assert history.steps == [0, 10, 15, 20, 30]
    assert history.flops == [step * history.flops[-1] // 30 for step in history.steps]
    assert (history.loss[-1] < history.loss[0]).all()
    torch.testing.assert_close(model.decoder.D.norm(dim=1), torch.ones(2, N))


def test_stacked_models_train_as_they_would_alone():
    both = stack([build("ReLU", M, N, seed=s) for s in (0, 1)])
    train(both, X, steps=6, stages=2, batch_size=50, l1_weight=0.5)
    for s in (0, 1):
        one = build("ReLU", M, N, seed=s)
        train(one, X, steps=6, stages=2, batch_size=50, l1_weight=0.5)
        for a, b in zip(one.parameters(), unstack(both, s).parameters(), strict=True):
            torch.testing.assert_close(
                a, b, atol=1e-5, rtol=1e-4
            )  # batched and single products round differently


def test_the_mlp_of_equal_compute_costs_what_a_relu_encoder_costs():
    M, N = 576, 1152
    hidden = build("MLP, equal compute", M, N).get_parameter("W1").shape[0]
    assert flops.encode("mlp", M, N, hidden=hidden) == pytest.approx(
        flops.encode("relu", M, N), rel=1 / hidden
    )


def test_the_penalty_for_a_target_is_exact_on_a_power_law():
    tried = torch.tensor([0.5, 1.0, 4.0])
    found = 30 * tried**-0.7
    assert penalty_for(25.0, tried, found) == pytest.approx((30 / 25) ** (1 / 0.7), rel=1e-6)
    assert penalty_for(1e-3, tried, found) == pytest.approx(12)  # three times the largest tried
    assert penalty_for(1e5, tried, found) == pytest.approx(0.5 / 3)
    bent = torch.tensor([90.0, 60.0, 20.0])  # between the two nearest, 60 and 20, whatever the third is
    expected = torch.tensor([1.0, 4.0]).log().mean().exp().item()  # sqrt(60 * 20) is half-way on both axes
    assert penalty_for(1200**0.5, tried, bent) == pytest.approx(expected, rel=1e-6)
    for bad in ((0.0, tried, found), (9.0, tried[:1], found[:1]), (9.0, -tried, found)):
        with pytest.raises(ValueError, match="target L0"):
            penalty_for(*bad)


def test_batch_topks_threshold_gives_its_k():
    model = stack([build("BatchTopK", M, N, k=4, seed=s) for s in (0, 1)])
    set_threshold(model, X)
    # the entry that is the threshold is not above it
    assert (l0(model.encode(X)) - 4).abs().max() * len(X) <= 1 + 1e-9


def test_a_sparse_coders_codes_are_certified():
    D = SparseProblem(M=M, N=N, K=2, n=1, seed=1).D.float()
    model = SparseCoder(D, 0.05)
    assert duality_gap(D.double(), X.double(), model.encode(X).double(), 0.05).max() <= 1.1e-4


@pytest.mark.parametrize("stages", [0, 7])
def test_train_refuses_stages_that_do_not_fit(stages):
    with pytest.raises(ValueError, match="stages"):
        train(build("ReLU", M, N), X, steps=6, stages=stages)


def test_the_size_of_a_run_tells_what_was_measured():
    manifest = {"model": "m", "n_tokens": 7200, "tokens_per_second": 2}
    told = {row["what"]: row["value"] for row in size_of_run(manifest, X, 1000, 1800.0)}
    assert (told["hours of reading"], told["hours of the rest"]) == ("1.00", "0.50")
    assert told["training activations"] == str(len(X))
    unknown = size_of_run({"model": "m", "n_tokens": 1}, X, 1, 1.0)
    assert {"what": "hours of reading", "value": "not recorded"} in unknown
