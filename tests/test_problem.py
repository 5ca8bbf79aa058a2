"""Synthetic problems: their laws, their seeds, and what they refuse."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct

from amortgap.problem import AMPLITUDES, DICTIONARIES, SUPPORTS, SparseProblem, unit_columns

MANY = 20_000  # samples behind a law's frequency; tests allow 5 standard errors


def sizes(dictionary: str) -> dict[str, int]:
    return {"M": 15, "N": 16} if dictionary == "simplex" else {"M": 8, "N": 16}


@pytest.mark.parametrize("dictionary", DICTIONARIES)
@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("amplitude", AMPLITUDES)
def test_every_combination_of_laws_is_a_problem(dictionary, support, amplitude):
    p = SparseProblem(
        **sizes(dictionary),
        n=32,
        dictionary=dictionary,
        support=support,
        amplitude=amplitude,
        dtype=torch.double,
    )
    assert p.D.shape == (p.M, p.N)
    assert p.codes.shape == (32, p.N)
    assert p.x.shape == (32, p.M)
    assert {p.D.dtype, p.codes.dtype, p.x.dtype} == {torch.float64}
    norms = torch.linalg.vector_norm(p.D, dim=0)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-14, atol=0)  # one division's rounding
    torch.testing.assert_close(p.x, p.codes @ p.D.T, rtol=0, atol=1e-13)  # no noise, sums of 16 terms
    if amplitude != "signed-normal":
        assert (p.codes >= 0).all()


@pytest.mark.parametrize("support", SUPPORTS)
def test_one_seed_is_one_problem_bit_for_bit(support):
    a, b = (SparseProblem(n=64, support=support, noise=0.1, seed=7) for _ in range(2))
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("D", "codes", "x"))
    other = SparseProblem(n=64, support=support, noise=0.1, seed=8)
    assert not any(torch.equal(getattr(a, name), getattr(other, name)) for name in ("D", "codes", "x"))


def test_the_dictionary_depends_on_the_seed_and_its_shape_only():
    p = SparseProblem(n=10, K=3)
    q = SparseProblem(n=500, K=5, support="zipf", amplitude="uniform", noise=1.0)
    assert torch.equal(p.D, q.D)


@pytest.mark.parametrize("seed", [0, 1, 2**32, -1])
def test_dictionary_samples_and_models_draw_from_different_streams(seed, monkeypatch):
    # torch's CPU generator reads 32 bits of a seed: seed and seed + 2**32 are one stream
    drawn = []

    def spy(n, N, *rest):
        drawn.append(torch.rand(n, N, generator=rest[-1], dtype=torch.float64))
        return drawn[-1]

    monkeypatch.setitem(DICTIONARIES, "spy", spy)
    monkeypatch.setitem(SUPPORTS, "spy", spy)
    SparseProblem(N=8, M=8, n=8, dictionary="spy", support="spy", seed=seed)
    SparseProblem(N=8, M=8, n=8, dictionary="spy", support="spy", seed=seed + 2**32)
    drawn.append(torch.rand(8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    assert len({float(d[0, 0]) for d in drawn}) == 5


@pytest.mark.parametrize("support", ["exactly-k", "zipf"])
def test_supports_of_exactly_k(support):
    p = SparseProblem(n=500, K=5, support=support)
    assert ((p.codes != 0).sum(1) == 5).all()


@pytest.mark.parametrize(("support", "K"), [("exactly-k", 3), ("bernoulli", 3), ("exactly-k", 1)])
def test_every_latent_is_active_with_probability_k_over_n(support, K):
    p = SparseProblem(n=MANY, K=K, support=support)
    frequency = (p.codes != 0).double().mean(0)
    error = math.sqrt(K / 16 * (1 - K / 16) / MANY)
    assert (frequency - K / 16).abs().max() < 5 * error


def test_bernoulli_latents_are_independent_and_sometimes_all_off():
    active = (SparseProblem(n=MANY, K=3, support="bernoulli").codes != 0).double()
    assert (active.sum(1) == 0).any()
    # the number of active latents is binomial
    variance = 16 * (3 / 16) * (13 / 16)
    assert abs(float(active.sum(1).var()) / variance - 1) < 5 * math.sqrt(2 / MANY)


def test_zipf_draws_latents_with_weight_one_over_rank():
    frequency = (SparseProblem(n=MANY, K=1, support="zipf").codes != 0).double().mean(0)
    law = 1 / torch.arange(1, 17, dtype=torch.float64)
    law /= law.sum()
    assert ((frequency - law).abs() < 5 * (law * (1 - law) / MANY).sqrt()).all()


@pytest.mark.parametrize(
    ("amplitude", "mean", "second"),
    [
        ("half-normal", math.sqrt(2 / math.pi), 1),
        ("signed-normal", 0, 1),
        ("uniform", 1 / 2, 1 / 3),
        ("log-normal", math.exp(1 / 2), math.exp(2)),
    ],
)
def test_moments_of_the_amplitudes(amplitude, mean, second):
    s = SparseProblem(n=MANY, K=16, amplitude=amplitude, dtype=torch.double).codes
    error = math.sqrt((second - mean**2) / s.numel())
    assert abs(float(s.mean()) - mean) < 5 * error
    assert abs(float(s.square().mean()) - second) < 5 * float(s.square().std()) / math.sqrt(s.numel())


def test_noise_has_the_standard_deviation_asked_for():
    p = SparseProblem(n=MANY, noise=0.3, dtype=torch.double)
    noise = p.x - p.codes @ p.D.T
    assert abs(float(noise.std()) / 0.3 - 1) < 5 / math.sqrt(2 * noise.numel())
    assert abs(float(noise.mean())) < 5 * 0.3 / math.sqrt(noise.numel())


def test_noise_leaves_dictionary_and_codes_alone():
    p, q = SparseProblem(n=20), SparseProblem(n=20, noise=1.0)
    assert torch.equal(p.D, q.D)
    assert torch.equal(p.codes, q.codes)


def test_simplex_columns_are_equiangular():
    D = SparseProblem(M=5, N=6, K=2, n=1, dictionary="simplex", dtype=torch.double).D
    expected = torch.full((6, 6), -1 / 5, dtype=torch.double).fill_diagonal_(1)
    torch.testing.assert_close(D.T @ D, expected, rtol=0, atol=1e-14)


def test_the_whole_dct_is_scipys_orthonormal_one():
    D = SparseProblem(M=12, N=12, n=1, dictionary="partial-dct", dtype=torch.double).D
    torch.testing.assert_close(D, torch.from_numpy(dct(np.eye(12), axis=0, norm="ortho")), rtol=0, atol=1e-14)


def test_a_partial_dct_is_some_rows_of_the_whole_one():
    D = SparseProblem(M=5, N=9, n=1, dictionary="partial-dct", dtype=torch.double).D
    full = torch.from_numpy(dct(np.eye(9), axis=0, norm="ortho"))
    parts = [unit_columns(full[list(rows)]) for rows in itertools.combinations(range(9), 5)]
    assert sum(torch.allclose(D, part, rtol=0, atol=1e-13) for part in parts) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fresh_samples_have_the_same_dictionary_to_the_last_bit(dtype):
    for seed in range(20):  # normalising a rounded dictionary again used to change half of them
        p = SparseProblem(M=3, n=5, seed=seed, dtype=dtype, noise=0.1)
        q = p.sample(7, seed=100 + seed)
        assert torch.equal(p.D, q.D)
        assert torch.equal(q.D, q.sample(3, seed=5000).D)
        assert q.codes.shape == (7, 16)
        assert not torch.equal(p.codes, q.codes[:5])
        assert (q.K, q.noise, q.support) == (p.K, p.noise, p.support)


def test_fresh_samples_with_the_same_seed_are_refused():
    with pytest.raises(ValueError, match="choose another"):
        SparseProblem(n=2, seed=3).sample(2, seed=3)


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_a_given_dictionary_is_normalised(kind):
    given_D = [[3.0, 0.0, 1.0], [4.0, 2.0, 1.0]]
    D = SparseProblem(M=2, N=3, K=1, n=1, dictionary=kind(given_D), dtype=torch.double).D
    r = math.sqrt(0.5)
    # 1e-7: torch.tensor makes float32
    torch.testing.assert_close(
        D, torch.tensor([[0.6, 0, r], [0.8, 1, r]], dtype=torch.double), atol=1e-7, rtol=0
    )


BAD = {
    "more active than there are": {"K": 17},
    "no active": {"K": 0},
    "half an active": {"K": 2.5},
    "no samples": {"n": 0},
    "no measurements": {"M": 0},
    "no latents": {"N": 0},
    "negative noise": {"noise": -0.1},
    "NaN noise": {"noise": math.nan},
    "infinite noise": {"noise": math.inf},
    "unknown dictionary": {"dictionary": "fourier"},
    "unknown support": {"support": "poisson"},
    "unknown amplitude": {"amplitude": "cauchy"},
    "simplex of the wrong size": {"dictionary": "simplex"},
    "DCT with too many rows": {"dictionary": "partial-dct", "M": 17},
    "matrix of the wrong shape": {"dictionary": torch.eye(8)},
    "matrix with a zero column": {"dictionary": torch.ones(8, 16) * (torch.arange(16) != 3)},
    "matrix with NaN": {"dictionary": torch.full((8, 16), math.nan)},
    "matrix with inf": {"dictionary": torch.full((8, 16), math.inf)},
    "matrix of complex numbers": {"dictionary": torch.ones(8, 16, dtype=torch.cfloat)},
    "matrix of strings": {"dictionary": np.full((8, 16), "a")},
    "a list": {"dictionary": [[1.0]]},
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=r"\w+ .+") as refusal:
        SparseProblem(**wrong)
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(RuntimeError, match="no CUDA device"):
        SparseProblem(n=2, device="cuda")


def test_unit_columns_refuses_a_zero_column():
    with pytest.raises(ValueError, match="zero"):
        unit_columns(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


@settings(deadline=None, max_examples=50)
@given(N=st.integers(-1, 12), M=st.integers(-1, 12), K=st.integers(-1, 14), n=st.integers(-1, 5))
def test_any_sizes_make_a_problem_or_one_sentence(N, M, K, n):
    if min(N, M, n) >= 1 and 1 <= K <= N:
        p = SparseProblem(N=N, M=M, K=K, n=n)
        assert (p.D.shape, p.codes.shape, p.x.shape) == ((M, N), (n, N), (n, M))
        assert ((p.codes != 0).sum(1) <= K).all()
    else:
        with pytest.raises(ValueError, match="must be"):
            SparseProblem(N=N, M=M, K=K, n=n)


@pytest.mark.gpu
def test_one_seed_gives_the_same_data_on_cuda():
    p, q = SparseProblem(n=50, noise=0.1), SparseProblem(n=50, noise=0.1, device="cuda")
    assert all(torch.equal(getattr(p, k), getattr(q, k).cpu()) for k in ("D", "codes", "x"))


def test_zipf_amplitudes_fall_as_one_over_rank():
    # E s_i^2 = 1/i^2; s_i^2 i^2 is chi-square with one degree of freedom, variance 2: five standard errors
    p = SparseProblem(N=8, K=8, n=MANY, amplitude="zipf-half-normal", dtype=torch.double)
    ratio = p.codes.square().mean(0) * torch.arange(1, 9) ** 2
    assert (ratio - 1).abs().max() < 5 * (2 / MANY) ** 0.5
