"""Worlds in the style of SynthSAEBench: their laws, their dictionaries, and latents as detectors."""

from __future__ import annotations

from itertools import pairwise, product
from math import prod

import pytest
import torch

from amortgap.detection import (
    always_on,
    best_thresholds,
    calibrated,
    detection,
    train_probe,
)
from amortgap.problem import SparseProblem, unit_columns
from amortgap.worlds import (
    BRANCHES,
    TREE,
    coherence,
    compensated,
    levels,
    orthogonalised,
    synthetic_world,
    through_trees,
    zipf_rates,
)

N, M, n = 512, 32, 20_000


@pytest.fixture(scope="module")
def codes():
    return synthetic_world(N, M, seed=0, steps=0).sample(n, seed=1)[0]


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    one, same, other = (synthetic_world(N, M, seed=s, steps=2) for s in (0, 0, 1))
    assert torch.equal(one.D, same.D)
    assert not torch.equal(one.D, other.D)
    for a, b in zip(one.sample(8, 3, 0.1), same.sample(8, 3, 0.1), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.sample(8, 3)[0], one.sample(8, 4)[0])
    # noise does not change the codes
    assert torch.equal(one.sample(8, 3)[0], one.sample(8, 3, 0.1)[0])


def test_roots_and_latents_outside_the_trees_fire_as_the_law_says(codes):
    p, found = zipf_rates(N), (codes > 0).double().mean(0)
    free = torch.ones(N, dtype=torch.bool)
    free[levels(N)[1][0] : levels(N)[-1][1]] = False
    assert int(free.sum()) == N // TREE + N - 85 * (N // TREE)
    # five standard errors: of some 200 latents none should be outside
    room = 5 * (p * (1 - p) / n).sqrt()
    # relu(normal(4.., std)) is zero for 1 in 10 000 at the largest spreads
    assert ((found - p).abs() < room + 0.02 * p)[free].all()


def test_children_of_roots_fire_as_exclusion_leaves_them(codes):
    p, found = zipf_rates(N), (codes > 0).double().mean(0)
    first, last = levels(N)[1]
    wish = compensated(p)[first:last].view(-1, BRANCHES)
    for root, family in enumerate(wish):
        expected = []
        for i in range(BRANCHES):
            others = [float(q) for j, q in enumerate(family) if j != i]
            wins = 0.0
            for on in product((False, True), repeat=BRANCHES - 1):
                chance = prod(q if o else 1 - q for q, o in zip(others, on, strict=True))
                wins += chance / (1 + sum(on))
            expected.append(float(p[root] * family[i]) * wins)
        # the wishes are a little correlated, and the formula has them independent
        at = first + BRANCHES * root
        assert found[at : at + BRANCHES].tolist() == pytest.approx(expected, rel=0.25)
    # so exclusion takes a third away, which the published compensation does not give back
    assert 0.5 < float(found[first:last].sum() / p[first:last].sum()) < 0.8


def test_trees_gate_scale_and_exclude(codes):
    active = codes > 0
    for (above, below), (first, last) in pairwise(levels(N)):
        siblings = active[:, first:last].view(n, -1, BRANCHES).sum(2)
        assert int(siblings.max()) == 1
        assert not (siblings > active[:, above:below]).any()


def test_a_child_is_scaled_by_its_parents_value_over_its_mean():
    mean = torch.full((TREE,), 2.0)
    values = torch.zeros(1, TREE)
    # the root, its second child and that one's first child
    values[0, [0, 2, 9]] = torch.tensor([3.0, 1.0, 2.0])
    found = through_trees(values, mean, torch.Generator().manual_seed(0))
    assert found[0, [0, 2, 9]].tolist() == [3.0, 1.5, 1.5]
    assert int((found > 0).sum()) == 3


def test_siblings_win_equally_often():
    values = torch.ones(4000, TREE)
    found = through_trees(values, torch.ones(TREE), torch.Generator().manual_seed(0))
    share = (found[:, 1:5] > 0).double().mean(0)
    # four standard errors of a quarter
    assert ((share - 0.25).abs() < 4 * (0.25 * 0.75 / 4000) ** 0.5).all()


def test_the_compensation_is_the_published_one():
    p = zipf_rates(N)
    parent, first = 0, levels(N)[1][0]
    others = p[first + 1 : first + 4].sum()
    assert compensated(p)[first] == pytest.approx(float(p[first] / p[parent] * (1 + others / p[parent])))
    assert compensated(p).max() <= 1


@pytest.mark.parametrize("amplitude", ["normal", "constant", "half-normal", "log-normal"])
def test_amplitude_laws_have_one_mean(amplitude):
    codes, _ = synthetic_world(TREE, M, seed=0, steps=0, amplitude=amplitude).sample(n, seed=1)
    values = codes[:, 0][codes[:, 0] > 0]
    # four standard errors, of a log-normal law at most 1.31 times its mean
    assert float(values.mean()) == pytest.approx(5.0, abs=4 * 1.31 * 5 / len(values) ** 0.5)


def test_the_gradient_of_the_orthogonalisation_is_that_of_all_pairs():
    start = unit_columns(torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    rows = start.T.clone().requires_grad_()
    adam = torch.optim.Adam([rows], lr=0.01)
    for _ in range(7):
        G = rows @ rows.T
        off = (G - torch.diag(G.diagonal())).square().sum()
        adam.zero_grad()
        (off + 20 * (G.diagonal() - 1).square().sum()).backward()
        adam.step()
    torch.testing.assert_close(
        orthogonalised(start, 7, 0.01), unit_columns(rows.detach().T), rtol=1e-9, atol=1e-9
    )


def test_orthogonalising_lowers_coherence():
    D = synthetic_world(N, 64, seed=0, steps=0).D
    G = (D.T @ D).fill_diagonal_(0)
    torch.testing.assert_close(coherence(D, block=100), G.abs().amax(0))
    after = orthogonalised(D, 100, 1e-3)
    torch.testing.assert_close(after.norm(dim=0), torch.ones(N))
    assert coherence(after).mean() < coherence(D).mean() - 0.01
    assert (after.T @ after).square().sum() < G.square().sum() + N


@pytest.mark.parametrize(("name", "value"), [("N", 127), ("M", 0), ("steps", -1), ("amplitude", "cauchy")])
def test_bad_sizes_and_laws_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        synthetic_world(**({"N": N, "M": M} | {name: value}))


# --- latents as detectors ------------------------------------------------------------------------------------


def drawn(n, N, seed=0):
    g = torch.Generator().manual_seed(seed)
    active = torch.rand(n, N, generator=g) < torch.linspace(0.02, 0.6, N)
    return torch.randn(n, N, generator=g) + 1.5 * active, active


def naive(fires, active):
    out = []
    for i in range(fires.shape[1]):
        hits = sum(f and a for f, a in zip(fires[:, i].tolist(), active[:, i].tolist(), strict=True))
        fired, there = int(fires[:, i].sum()), int(active[:, i].sum())
        precision, recall = hits / fired if fired else 0.0, hits / there if there else 0.0
        both = precision + recall
        out.append((precision, recall, 2 * precision * recall / both if both else 0.0))
    return torch.tensor(out, dtype=torch.float64).T


def test_scores_of_detectors_are_those_of_a_naive_count():
    scores, active = drawn(60, 7)
    scores[:, 3], active[:, 4] = -5, False
    found = detection(scores > 0.5, active)
    torch.testing.assert_close(torch.stack(found), naive(scores > 0.5, active))


def test_the_best_threshold_is_the_best_of_all():
    scores, active = drawn(80, 9)
    # ties, a column that only zero fires, one that is never active
    scores[:, 1] = scores[:, 1].round()
    scores[:, 2], active[:, 3] = 0, False
    t = best_thresholds(scores, active)
    found = detection(scores > t, active).f1
    for i in range(9):
        candidates = [-torch.inf, *scores[:, i].tolist()]
        best = max(float(detection(scores[:, [i]] > c, active[:, [i]]).f1) for c in candidates)
        assert float(found[i]) == pytest.approx(best)
    assert t[3] == torch.inf
    assert float(found[2]) == pytest.approx(float(always_on(active)[2]))


def test_calibration_is_least_squares_where_the_latent_fires():
    scores, active = drawn(200, 4)
    codes = active * (2 * scores + 1)
    fires = scores > 0.3
    slope, offset = calibrated(scores, fires, codes)
    for i in range(4):
        u, s = (v[fires[:, i], i].double() for v in (scores, codes))
        line = torch.linalg.lstsq(torch.stack([u, torch.ones_like(u)], 1), s[:, None]).solution[:, 0]
        assert [float(slope[i]), float(offset[i])] == pytest.approx(line.tolist(), abs=1e-3)


def directions(count):
    angle = 2 * torch.pi * torch.arange(count) / count
    return torch.stack([angle.cos(), angle.sin()])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_for_the_pointwise_ceiling_finds_what_brute_force_finds(seed):
    p = SparseProblem(N=4, M=2, K=2, n=1500, seed=seed)
    active = p.codes != 0

    def score(w, i):
        u, a = p.x @ w, active[:, [i]].expand(-1, w.shape[1])
        return detection(u > best_thresholds(u, a), a).f1

    for i in range(p.N):
        best = score(directions(360), i).max()
        # from several starts at once, as an ascent may end in a local maximum
        starts = directions(8)
        a = active[:, [i]].expand(-1, 8)
        found = score(train_probe(p.x, a, starts, loss="f1", steps=200, batch_size=512, lr=0.02), i).max()
        # the ascent sees F1 through a sigmoid, and F1 jumps by some thousandths between neighbouring directions
        assert best - 0.02 < found < best + 0.005
        assert score(starts, i).min() < best - 0.05


def test_a_logistic_probe_separates_what_is_separable():
    x, active = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(2000, 2)
    truth = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    active = x @ truth > 1
    w = train_probe(x, active, torch.eye(6)[:, :2], steps=400, lr=0.1)
    u = x @ w
    assert (detection(u > best_thresholds(u, active), active).f1 > 0.97).all()
    cosine = (unit_columns(w) * unit_columns(truth)).sum(0)
    assert (cosine > 0.99).all()
    with pytest.raises(ValueError, match="loss"):
        train_probe(x, active, truth, loss="hinge")


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
def test_sae_lens_draws_worlds_like_ours():
    from amortgap.interop.synthetic import saelens_world

    theirs, ours = (make(2048, 128, 0, steps=0) for make in (saelens_world, synthetic_world))
    a, b = ((w.sample(n, seed=1)[0] > 0).double() for w in (theirs, ours))
    l0 = [v.sum(1) for v in (a, b)]
    # correlations of the worlds' own latents move L0 by more than the samples' standard error of .03
    assert float(l0[0].mean()) == pytest.approx(float(l0[1].mean()), rel=0.03)
    assert float(l0[0].std()) == pytest.approx(float(l0[1].std()), rel=0.1)
    pa, pb = a.mean(0), b.mean(0)
    spread = ((pa + pb) / n).sqrt().clamp_min(1 / n)
    # correlated factors differ between the worlds, so that children's rates do a little more than by sampling
    assert float(((pa - pb) / spread).square().mean()) < 4
    for first, last in levels(2048):
        assert float(pa[first:last].sum()) == pytest.approx(float(pb[first:last].sum()), rel=0.05)
    assert float(coherence(theirs.D).mean()) == pytest.approx(float(coherence(ours.D).mean()), rel=0.01)
    torch.testing.assert_close(theirs.rates, ours.rates)
    assert float(theirs.bias.norm()) == pytest.approx(float(ours.bias.norm()))


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
def test_sae_lens_orthogonalises_as_ours():
    from sae_lens.synthetic.feature_dictionary import orthogonalize_embeddings

    D = synthetic_world(256, 32, seed=0, steps=0).D
    theirs = orthogonalize_embeddings(D.T, num_steps=20, lr=3e-4, chunk_size=100).T
    # Adam divides by the gradient's size: entries whose gradient is nearly zero amplify rounding
    torch.testing.assert_close(orthogonalised(D, 20), theirs, rtol=1e-3, atol=1e-4)
