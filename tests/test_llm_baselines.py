"""What language-model pages are measured against: half-trained baselines, noise of probes, documents drawn anew."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

from amortgap.kit import Refused, interval
from amortgap.kit.intervals import over_documents
from amortgap.llm.frozen import NEAR, freeze
from amortgap.llm.interpret import detectable, redrawn
from amortgap.llm.reproducible import found_again, same_latents, within_few
from amortgap.llm.train import BASELINES, build, preactivations, train
from amortgap.problem import SparseProblem, unit_columns
from amortgap.training import stack, unstack

M, N = 12, 48
X = SparseProblem(M=M, N=N, K=2, n=400, seed=1).x.float()


@pytest.mark.parametrize("name", BASELINES)
def test_what_is_frozen_stays_and_the_rest_learns(name):
    starts = [build(name, M, N, k=3, seed=s) for s in (0, 1)]
    model = stack(starts)
    train(model, X, steps=60, stages=3, batch_size=100, lr=0.02, l1_weight=0.0)
    for s, start in enumerate(starts):
        found = unstack(model, s)
        cosines = (found.decoder.D * start.decoder.D).detach().sum(0)
        moved = {n: not torch.equal(p, start.get_parameter(n)) for n, p in found.named_parameters()}
        if name.endswith("frozen encoder"):
            assert moved == {n: n == "decoder.D" for n in moved}
        elif name.endswith("soft-frozen decoder"):
            torch.testing.assert_close(found.decoder.D.norm(dim=0), torch.ones(N))
            # the steps are long enough for the bound to hold many columns back
            assert cosines.min() == pytest.approx(NEAR, abs=1e-5)
            assert moved["W"]
        else:
            assert not moved["decoder.D"]
            assert moved["W"]


def test_a_softly_frozen_column_is_the_nearest_within_its_cone():
    decoder = freeze(build("TopK", M, N, k=3), "soft-frozen decoder").decoder
    D0 = decoder.start.detach()
    decoder.D.data = wanted = unit_columns(torch.randn(M, N, generator=torch.Generator().manual_seed(3)))
    decoder.normalise_()
    reached = (decoder.D * wanted).sum(0)
    # no unit vector of the cone on any of many other arcs comes nearer
    for seed in range(20):
        other = torch.randn(M, N, generator=torch.Generator().manual_seed(10 + seed)) + 3 * wanted
        across = unit_columns(other - (other * D0).sum(0) * D0)
        rim = NEAR * D0 + (1 - NEAR**2) ** 0.5 * across
        outside = (wanted * D0).sum(0) < NEAR
        assert ((rim * wanted).sum(0) <= reached + 1e-6)[outside].all()
    with pytest.raises(ValueError, match="is one of"):
        freeze(build("TopK", M, N, k=3), "bias")


@pytest.mark.parametrize("name", ["ReLU", "TopK", "BatchTopK", "JumpReLU", "Gated", "MLP", "LISTA"])
def test_active_latents_have_the_largest_preactivations(name):
    model = build(name, M, N, k=3)
    h, codes = preactivations(model, X), model.encode(X)
    for row, code in zip(h, codes, strict=True):
        if (code > 0).any() and (code == 0).any():
            # thresholds and gates differ between latents only after training
            assert row[code > 0].min() >= row[code == 0].max() - 1e-5


def test_columns_are_found_again_whatever_their_order_and_lost_ones_lie_in_their_span():
    D = unit_columns(torch.randn(M, N, generator=torch.Generator().manual_seed(0)))
    shuffled = D[:, torch.randperm(N, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(found_again(D, shuffled), torch.ones(N))
    # two columns that another dictionary holds as their sum and difference: the subspace is the same
    a, b = torch.eye(M)[:, 0], torch.eye(M)[:, 1]
    turned = torch.stack([(a + b) / 2**0.5, (a - b) / 2**0.5, *torch.eye(M)[:, 2:].T], 1)
    pair = torch.stack([a, b], 1)
    torch.testing.assert_close(found_again(pair, turned), torch.full((2,), 0.5**0.5))
    torch.testing.assert_close(within_few(pair, turned, 2), torch.ones(2))
    torch.testing.assert_close(within_few(pair, turned, 1), torch.full((2,), 0.5))


def test_the_same_latents_in_another_order_correlate_fully():
    s = SparseProblem(M=M, N=N, K=6, n=500, seed=2).codes
    assert same_latents(s, s.flip(1)) == pytest.approx(1)
    other = SparseProblem(M=M, N=N, K=6, n=500, seed=3).codes
    assert same_latents(s, other) < 0.3
    assert same_latents(s, torch.zeros_like(s)) != same_latents(s, torch.zeros_like(s))  # NaN


def test_a_probe_finds_the_detectable_difference_four_times_in_five():
    draw, spread, runs = np.random.default_rng(0), 0.1, 6
    least, found = detectable(spread, runs), 0
    for _ in range(2000):
        a, b = draw.normal(0, spread, runs), draw.normal(least, spread, runs)
        found += ttest_ind(a, b).pvalue < 0.05
    # the rule with two quantiles is a little short of the exact power of a t test; .009 is its standard error here
    assert found / 2000 == pytest.approx(0.8, abs=0.04)
    with pytest.raises(ValueError, match="two runs"):
        detectable(0.1, 1)


def test_redrawn_windows_come_from_whole_documents_of_every_class():
    labels, document = np.array(list("aaabbbbb")), np.array([0, 0, 1, 2, 2, 3, 3, 3])
    seen = set()
    for seed in range(20):
        rows = redrawn(labels, document, seed)
        counts = np.bincount(rows, minlength=8)
        for name in range(4):
            assert len(set(counts[document == name])) == 1
        assert set(labels[rows]) == {"a", "b"}
        seen.add(tuple(counts))
    assert len(seen) > 3


def test_the_interval_over_documents_covers_and_knows_the_spread_of_runs():
    draw, hits = np.random.default_rng(1), 0
    for _ in range(200):
        size = draw.integers(5, 60, 40)
        # errors of one document share a level, so tokens are not independent
        level = draw.normal(0.3, 0.1, 40)
        low, high = over_documents(level * size, size.astype(float), draws=400)[1:3]
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 200 <= 0.99
    top, bottom, runs = [1.0, 2.0, 3.0], [4.0, 4.0, 4.0], [0.4, 0.5, 0.6]
    alone, wider = over_documents(top, bottom), over_documents(top, bottom, runs)
    mean, low, *_ = interval(runs)
    assert (alone.mean, alone.n) == (0.5, 3)
    assert wider.high - wider.mean == pytest.approx(np.hypot(alone.high - alone.mean, mean - low))
    for bad in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 1.0])):
        with pytest.raises(Refused, match="over documents"):
            over_documents(*bad)
