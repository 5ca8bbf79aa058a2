"""Scores against their definitions written out, chance levels against simulation, and what is refused."""

import math

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.stats import pearsonr

from amortgap.metrics import (
    chance_corrected,
    chance_dictionary_mcc,
    chance_mcc,
    code_scores,
    correlations,
    dead_latents,
    dictionary_cosine,
    dictionary_mcc,
    fvu,
    l0,
    matched,
    mcc,
    paired_correlation,
    support_scores,
)
from amortgap.problem import SparseProblem


def codes(*shape, seed=0, density=0.4):
    g = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=g, dtype=torch.double)
    return values * (torch.rand(*shape, generator=g) < density)


def naive_mcc(s, s_hat):
    """The published computation: a double loop, latents without variance score zero."""
    scores = np.zeros((s.shape[1], s_hat.shape[1]))
    for i in range(s.shape[1]):
        for j in range(s_hat.shape[1]):
            if np.var(s[:, i]) >= 1e-12 and np.var(s_hat[:, j]) >= 1e-12:
                scores[i, j] = abs(pearsonr(s[:, i], s_hat[:, j])[0])
    rows, columns = linear_sum_assignment(-scores)
    return scores[rows, columns].mean()


@pytest.mark.parametrize(("N", "N_hat"), [(16, 16), (7, 12), (12, 7), (1, 1), (1, 5)])
def test_mcc_is_the_naive_double_loop(N, N_hat):
    s, s_hat = codes(60, N), codes(60, N_hat, seed=1)
    assert float(mcc(s, s_hat)) == pytest.approx(naive_mcc(s.numpy(), s_hat.numpy()), abs=1e-12)


def test_mcc_with_dead_latents_is_the_naive_double_loop():
    s, s_hat = codes(40, 8), codes(40, 8, seed=1)
    s_hat[:, 2], s_hat[:, 5], s[:, 1] = 0, 3.7, -1
    s_hat[:, 6] *= 1e-7  # alive, but below the paper's variance threshold
    assert float(mcc(s, s_hat)) == pytest.approx(naive_mcc(s.numpy(), s_hat.numpy()), abs=1e-12)


def test_arrays_single_precision_and_whole_numbers():
    s, s_hat = codes(50, 6), codes(50, 6, seed=1)
    assert torch.equal(mcc(s.numpy(), s_hat.numpy()), mcc(s, s_hat))
    assert mcc(s.float(), s_hat.float()).dtype == torch.float64
    assert float(mcc(s.float(), s_hat)) == pytest.approx(float(mcc(s, s_hat)), abs=1e-6)  # float32 rounding
    whole = (3 * s).round()
    assert float(mcc(whole.long(), s_hat)) == pytest.approx(float(mcc(whole, s_hat)), abs=1e-12)


def test_leading_dimensions_are_separate_models():
    s, s_hat = codes(2, 3, 30, 5), codes(2, 3, 30, 6, seed=1)
    together = mcc(s, s_hat)
    assert together.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert float(together[i, j]) == pytest.approx(float(mcc(s[i, j], s_hat[i, j])), abs=1e-13)
    one_truth = mcc(s[0, 0], s_hat)  # one true code against many models
    assert float(one_truth[1, 2]) == pytest.approx(float(mcc(s[0, 0], s_hat[1, 2])), abs=1e-13)
    assert paired_correlation(s, s).shape == l0(s).shape == dead_latents(s).shape == (2, 3)
    assert fvu(s, s).shape == support_scores(s, s).f1.shape == (2, 3)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 20), N=st.integers(1, 6), N_hat=st.integers(1, 6))
def test_mcc_is_a_score(seed, n, N, N_hat):
    s, s_hat = codes(n, N, seed=seed), codes(n, N_hat, seed=seed + 1)
    value = float(mcc(s, s_hat))
    assert 0 <= value <= 1 + 1e-12
    assert float(mcc(s_hat, s)) == pytest.approx(value, abs=1e-12)
    # relabelling, sign, scale and shift of the latents do not matter
    g = torch.Generator().manual_seed(seed)
    scale = 0.5 + torch.rand(N_hat, generator=g, dtype=torch.double)
    sign = torch.where(torch.rand(N_hat, generator=g) < 0.5, -1.0, 1.0)
    other = (s_hat * scale * sign + 3)[:, torch.randperm(N_hat, generator=g)]
    assert float(mcc(s, other)) == pytest.approx(value, abs=1e-9)  # 3 + s loses digits


def test_perfect_codes_score_one():
    s = codes(50, 6)
    shuffled = s[:, torch.randperm(6, generator=torch.Generator().manual_seed(0))]
    assert float(mcc(s, -2 * shuffled)) == pytest.approx(1, abs=1e-14)
    assert float(paired_correlation(s, s)) == pytest.approx(1, abs=1e-14)
    assert float(paired_correlation(s, -s)) == pytest.approx(-1, abs=1e-14)


def test_paired_correlation_is_pearsons_averaged():
    s, s_hat = codes(50, 6), codes(50, 6, seed=1) + codes(50, 6)
    naive = np.mean([pearsonr(s[:, i], s_hat[:, i])[0] for i in range(6)])
    assert float(paired_correlation(s, s_hat)) == pytest.approx(naive, abs=1e-13)


def test_matching_takes_the_best_assignment():
    scores = torch.tensor([[0.9, 0.8], [0.8, 0.1]])  # greedy would take .9 and .1
    assert float(matched(scores)) == pytest.approx(0.8)


def test_correlations_are_pearsons():
    s, s_hat = codes(30, 3), codes(30, 4, seed=1)
    scores = correlations(s, s_hat)
    for i in range(3):
        for j in range(4):
            assert float(scores[i, j]) == pytest.approx(pearsonr(s[:, i], s_hat[:, j])[0], abs=1e-13)


@pytest.mark.parametrize(("M", "chance"), [(8, 0.669), (16, 0.476), (32, 0.337)])
def test_chance_level_of_dictionary_mcc(M, chance):
    D, D_hat = (torch.randn(200, M, 16, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    values = dictionary_mcc(D, D_hat)
    error = float(values.std()) / math.sqrt(200)
    # known to three digits
    assert abs(float(values.mean()) - chance) < 4 * error + 5e-4
    assert abs(float(chance_dictionary_mcc(M, 16)) - chance) < 4 * error + 5e-4


def test_chance_levels_follow_their_seed():
    a, b, c = (chance_dictionary_mcc(4, 6, draws=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert chance_dictionary_mcc(4, 6, N_hat=9, draws=5).shape == ()


def test_chance_mcc_of_shuffled_codes_forgets_how_good_they_were():
    p = SparseProblem(n=300)
    unrelated = SparseProblem(n=300, seed=1)
    good, bad = chance_mcc(p.codes, p.codes), chance_mcc(p.codes, unrelated.codes)
    assert float(good) == pytest.approx(float(bad), abs=0.01)  # 20 shuffles of 300 samples
    assert float(mcc(p.codes, unrelated.codes)) == pytest.approx(float(bad), abs=0.03)
    assert float(good) < 0.3 < float(mcc(p.codes, p.codes))


def test_chance_correction_is_zero_at_chance_and_one_at_best():
    assert chance_corrected(0.669, 0.669) == 0
    assert chance_corrected(1.0, 0.669) == 1
    assert chance_corrected(0.0, 0.5) == -1
    assert torch.equal(chance_corrected(torch.ones(3), 0.5), torch.ones(3))
    table = pandas.DataFrame({"mcc": [0.5, 1.0], "chance": [0.5, 0.2]})
    assert chance_corrected(table.mcc, table.chance).tolist() == [0, 1]


def test_dictionary_cosine_matches_columns():
    p = SparseProblem(n=1, dtype=torch.double)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert float(dictionary_cosine(p.D, -3 * p.D[:, order])) == pytest.approx(1, abs=1e-14)
    other = SparseProblem(n=1, seed=5, dtype=torch.double).D
    scores = (p.D.T @ other).abs().numpy()
    naive = scores[linear_sum_assignment(-scores)].mean()
    assert float(dictionary_cosine(p.D, other)) == pytest.approx(naive, abs=1e-13)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 6),
    N=st.integers(1, 6),
    threshold=st.sampled_from([0.0, 0.5]),
)
def test_support_scores_are_their_definitions(seed, n, N, threshold):
    s, s_hat = codes(n, N, seed=seed), codes(n, N, seed=seed + 1)
    precision, recall, f1 = [], [], []
    for a, b in zip(s.tolist(), s_hat.tolist(), strict=True):
        true = {i for i, v in enumerate(a) if v != 0}
        found = {i for i, v in enumerate(b) if abs(v) > threshold}
        precision.append(len(true & found) / len(found) if found else 1)
        recall.append(len(true & found) / len(true) if true else 1)
        f1.append(2 * len(true & found) / (len(true) + len(found)) if true or found else 1)
    scores = support_scores(s, s_hat, threshold)
    for value, naive in zip(scores, (precision, recall, f1), strict=True):
        assert float(value) == pytest.approx(np.mean(naive), abs=1e-14)


def test_fvu_is_one_for_the_mean_and_zero_for_the_truth():
    x = codes(40, 5) + 2
    assert float(fvu(x, x)) == 0
    assert float(fvu(x, x.mean(0).expand_as(x))) == pytest.approx(1, abs=1e-14)
    x_hat = codes(40, 5, seed=1)
    naive = ((x - x_hat) ** 2).sum() / (40 * x.var(0, unbiased=False).sum())
    assert float(fvu(x, x_hat)) == pytest.approx(float(naive), rel=1e-13)


def test_l0_and_dead_latents_at_their_thresholds():
    s = torch.tensor([[0.0, 1e-4, -2.0], [0.0, 1e-4, 0.0]])
    assert (float(l0(s)), float(l0(s, 1e-3))) == (1.5, 0.5)
    assert float(dead_latents(s)) == pytest.approx(1 / 3)
    assert float(dead_latents(s, 1e-3)) == pytest.approx(2 / 3)


S = codes(10, 4)
REFUSED = {
    "different numbers of samples": lambda: mcc(S, codes(9, 4)),
    "one sample": lambda: mcc(S[:1], S[:1]),
    "one dimension": lambda: mcc(S[:, 0], S[:, 0]),
    "NaN": lambda: mcc(S, S * math.nan),
    "infinite": lambda: correlations(S / 0, S),
    "a list": lambda: mcc(S.tolist(), S),
    "zero column": lambda: dictionary_cosine(S, 0 * S),
    "supports of other sizes": lambda: support_scores(S, S[:, :1]),
    "reconstructions of other sizes": lambda: fvu(S, S[:, :1]),
    "signals that do not vary": lambda: fvu(torch.ones(5, 3), torch.zeros(5, 3)),
    "dictionaries of other heights": lambda: dictionary_cosine(S, S[:3]),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_refusals(call):
    with pytest.raises(ValueError, match=r"\w+ .+"):
        call()


@pytest.mark.gpu
def test_scores_on_cuda_are_those_on_the_cpu():
    s, s_hat = codes(3, 200, 16), codes(3, 200, 16, seed=1)
    torch.testing.assert_close(mcc(s.cuda(), s_hat.cuda()), mcc(s, s_hat), rtol=0, atol=1e-12)
    torch.testing.assert_close(fvu(s.cuda(), s_hat.cuda()), fvu(s, s_hat))
    assert not mcc(s.cuda(), s_hat.cuda()).is_cuda


def test_the_scores_of_the_true_codes_and_of_codes_in_another_order():
    t = SparseProblem(n=200, seed=3)
    true = code_scores(t, t.D, t.codes)
    assert true["mcc"] == pytest.approx(1)
    assert true["dict_mcc"] == pytest.approx(1)
    assert true["cosine"] == pytest.approx(1)
    # float32: a rounding error of each product
    assert true["mse"] < 1e-12
    shuffled = code_scores(t, t.D, t.codes.roll(1, 0))
    # codes of another sample know nothing: as good as chance, up to its spread over shuffles of 200 samples
    assert shuffled["mcc"] == pytest.approx(shuffled["chance"], abs=0.03)
    assert shuffled["mse"] == pytest.approx((t.x - t.x.roll(1, 0)).square().mean().item(), rel=1e-5)


def test_correlation_has_no_scale():
    s = torch.rand(300, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    for scale in (1e-150, 1e-6, 1e6, 1e150):
        assert mcc(s, scale * s).item() == pytest.approx(1, abs=1e-12)
    constant = torch.cat([s, torch.full((300, 1), 3.0)], 1)
    assert paired_correlation(constant, 1e200 * constant).item() == pytest.approx(5 / 6, abs=1e-12)


@pytest.mark.parametrize("draws", [0, -1, 1.5])
def test_chance_needs_a_draw(draws):
    with pytest.raises(ValueError, match="draws must be at least 1"):
        chance_dictionary_mcc(8, 16, draws=draws)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        chance_mcc(torch.rand(5, 2), torch.rand(5, 2), draws=draws)
