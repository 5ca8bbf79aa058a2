"""Counting rules against what torch's counter sees on the real modules, and against the published totals."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from amortgap import flops
from amortgap.dictionaries import log_adam_dictionary
from amortgap.encoders import ENCODERS
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, solve
from amortgap.training import fit, reconstruction_loss, stack, supervised_loss

M, N, n = 5, 11, 7
HIDDEN = 13
PAPER = {"M": 8, "N": 16}
SAMPLES, STEPS = 1024, 39_501  # of the published counts


def build(name, **options):
    """An encoder with its counting arguments, at sizes without a common factor."""
    return ENCODERS[name](M, N, **({"hidden": HIDDEN} if name == "mlp" else {}), **options)


def counted(work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def dictionary():
    return SparseProblem(N=N, M=M, n=1).D


@pytest.mark.parametrize("name", ENCODERS)
def test_encoding_costs_what_the_counter_sees(name):
    model, x = build(name), torch.randn(n, M)
    assert counted(lambda: model.encode(x)) == n * flops.encode(name, M, N, hidden=HIDDEN)


@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_a_training_step_costs_what_the_counter_sees(name, learned, pre_bias):
    if name == "matching_pursuit" and not learned and not pre_bias:
        pytest.skip("nothing to learn")
    model = build(name, D=None if learned else dictionary(), pre_bias=pre_bias)
    x = torch.randn(n, M)
    rule = n * flops.training_step(name, M, N, hidden=HIDDEN, learned=learned, pre_bias=pre_bias)
    assert counted(lambda: reconstruction_loss(model, x, 0.01).backward()) == rule
    assert fit(model, x, steps=3, log_at=(0, 3)).flops == [0, 3 * rule]
    assert fit(stack([model, model]), x, steps=3, batch_size=2, log_at=[3]).flops == [3 * rule * 2 // n]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_supervised_step_costs_what_the_counter_sees(name):
    model, x, codes = build(name), torch.randn(n, M), torch.randn(n, N)
    rule = n * flops.supervised_step(name, M, N, hidden=HIDDEN)
    assert counted(lambda: supervised_loss(model, x, codes).backward()) == rule
    assert fit(model, x, codes=codes, steps=3, log_at=[3]).flops == [3 * rule]


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(("name", "option"), [("lista", "layers"), ("matching_pursuit", "k")])
def test_steps_cost_what_the_counter_sees(name, option, steps):
    model, x = ENCODERS[name](M, N, **{option: steps}), torch.randn(n, M)
    assert counted(lambda: model.encode(x)) == n * flops.encode(name, M, N, steps=steps)
    rule = n * flops.training_step(name, M, N, steps=steps)
    assert counted(lambda: reconstruction_loss(model, x, 0.01).backward()) == rule


def test_layers_cost_what_the_counter_sees():
    hidden = (13, 3, 4)
    model, x = ENCODERS["mlp"](M, N, hidden=hidden), torch.randn(n, M)
    rule = n * flops.training_step("mlp", M, N, hidden=hidden)
    assert counted(lambda: reconstruction_loss(model, x, 0.01).backward()) == rule


def test_no_rule_is_an_error():
    with pytest.raises(ValueError, match="unknown encoder"):
        flops.encode("transformer", M, N)


def test_sparse_coding_costs_what_the_counter_sees():
    x = torch.rand(
        n, M, dtype=torch.double
    )  # float32 goes through a compiled kernel, which torch cannot count
    seen = counted(lambda: log_adam_dictionary(x, N, seeds=[0, 1], steps=3))
    assert seen == 2 * 3 * n * flops.sparse_coding_step(M, N)


def test_log_adam_costs_its_rule_and_a_certificate():
    p = SparseProblem(N=N, M=M, n=n, dtype=torch.double)  # not float32: its compiled kernel cannot be counted
    results = []
    seen = counted(lambda: results.append(solve(p.D, p.x, 0.01, "log_adam", n_steps=9)))
    assert results[0].flops == seen == n * (flops.log_adam(M, N, 9) + 6 * M * N)
    assert solve(p.D.float(), p.x.float(), 0.01, "log_adam", n_steps=9).flops == seen


@pytest.mark.parametrize("shape", [(5, 11), (8, 12)], ids=["two thin products", "Gram matrix"])
@pytest.mark.parametrize("alpha", [0.01, 1e6], ids=["solved", "zero at once"])
def test_fista_counts_what_the_counter_sees(shape, alpha):
    M, N = shape
    p = SparseProblem(N=N, M=M, n=n, dtype=torch.double)
    results = []
    seen = counted(lambda: results.append(solve(p.D, p.x, alpha, "fista")))
    assert results[0].flops == seen


@pytest.mark.parametrize("nonnegative", [True, False])
def test_exhaustive_search_counts_its_products(nonnegative):
    p = SparseProblem(N=6, M=4, n=n)
    # by hand: for every support of size k a fit (2kM) and its error (2kM), before them D'x and at the end the
    # objective (2MN each); pseudo-inverses are not counted
    by_hand = n * (4 * 4 * 6 + sum(4 * k * 4 * supports for k, supports in ((1, 6), (2, 15), (3, 20))))
    assert pursue(p.D, p.x, 3, "exhaustive", nonnegative).flops == by_hand


# --- the published counts (arXiv 2411.13117, results of the public code) ------------------------------------


@pytest.mark.parametrize(
    ("total", "published"),
    [
        (SAMPLES * STEPS * flops.paper.sae_training_step(**PAPER, learned=True), 70_543_097_856),
        (SAMPLES * STEPS * flops.paper.mlp_training_step(**PAPER, hidden=32, learned=True), 232_339_193_856),
        (
            SAMPLES * STEPS * flops.paper.mlp_training_step(**PAPER, hidden=256, learned=True),
            1_582_365_818_880,
        ),
        (flops.paper.sparse_coding_training(**PAPER, n=SAMPLES, n_steps=STEPS), 2_072_931_581_952),
    ],
    ids=["SAE", "MLP 32", "MLP 256", "sparse coding"],
)
def test_the_papers_formulas_give_the_published_totals(total, published):
    assert total == published


def test_the_published_ratio_of_sparse_coding_to_an_sae_is_an_artefact_of_counting():
    ours = flops.sparse_coding_step(**PAPER) / flops.training_step("relu", **PAPER)
    published = 2_072_931_581_952 / 70_543_097_856
    assert 29 < published < 30
    assert 0.5 < ours < 1
