"""Exchanges, near-optimal supports and certificates against brute force; agreement against its definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from amortgap.agreement import RIDGES, _ridge, chance_overlap, jaccard, linear_fit, linear_r2, overlap, shaken
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue, solve
from amortgap.supports import at_count, every_support, exchange, settled

P = SparseProblem(16, 8, 3, n=24, noise=0.1, seed=3, dtype=torch.float64)
D, X = P.D.numpy(), P.x.numpy()


def least(x: np.ndarray, support: tuple[int, ...]) -> tuple[float, bool]:
    """E of a support by scipy, and whether least squares gives each latent a positive amplitude."""
    s, length = nnls(D[:, list(support)], x)
    return length**2, bool((s > 1e-12).all())


@pytest.mark.parametrize("slack", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("K", [1, 3, 5])
def test_exchanges_are_those_that_brute_force_finds(slack: float, K: int) -> None:
    codes = solve(P.D, P.x, 0.05).codes if K == 5 else pursue(P.D, P.x, K, method="iht").codes
    found = exchange(P.D, P.x, codes > 0, slack)
    for row, (x, s) in enumerate(zip(X, codes.numpy(), strict=True)):
        own = np.flatnonzero(s > 0)
        amplitude, length = nnls(D[:, own], x)
        own, error = own[amplitude > 1e-12], length**2
        tried = [
            least(x, (*(l for l in own if l != j), i))  # noqa: E741
            for j in own
            for i in range(16)
            if i not in own
        ]
        within = [e for e, able in tried if able and e <= error + slack * (x @ x)]
        assert found.error[row] == pytest.approx(error, abs=1e-12)
        assert found.near[row] == len(within)
        assert found.best[row] == pytest.approx(min(within, default=np.inf), abs=1e-10)


@pytest.mark.parametrize("slack", [0.0, 0.01, 0.1])
def test_every_support_is_tried(slack: float) -> None:
    found = every_support(P.D, P.x, 3, slack)
    exact = pursue(P.D, P.x, 3, method="exhaustive")
    assert torch.allclose(found.error, 2 * exact.objective, atol=1e-12)
    for row, x in enumerate(X[:6]):
        errors = [e for e, able in (least(x, S) for S in itertools.combinations(range(16), 3)) if able]
        assert found.near[row] == sum(e <= min(errors) + slack * (x @ x) for e in errors)
    assert (found.near >= 1).all()
    with pytest.raises(ValueError, match="supports"):
        every_support(torch.eye(60), torch.ones(1, 60), 30, slack)


def test_the_best_support_of_all_has_no_better_exchange() -> None:
    best = pursue(P.D, P.x, 3, method="exhaustive").codes > 0
    found = exchange(P.D, P.x, best, 0.0)
    assert torch.isinf(found.best).all()
    # and of those one exchange away, as many are near as of all that differ in one latent
    assert (exchange(P.D, P.x, best, 0.05).near < every_support(P.D, P.x, 3, 0.05).near).all()


def test_columns_of_any_length_make_the_same_supports() -> None:
    codes = pursue(P.D, P.x, 3, method="iht").codes > 0
    longer = exchange(P.D * torch.linspace(0.2, 5, 16), P.x, codes, 0.05)
    for a, b in zip(longer, exchange(P.D, P.x, codes, 0.05), strict=True):
        assert torch.allclose(a, b)


def test_certificates_say_no_more_than_an_exact_optimum() -> None:
    alpha = torch.full((24,), 0.05, dtype=torch.float64)
    exact = solve(P.D, P.x, alpha, tol=1e-12).codes > 1e-9
    shares = []
    for tol in (1e-1, 1e-3, 1e-5, 1e-9):
        loose = solve(P.D, P.x, 0.05, method="fista", tol=tol).codes
        found = settled(P.D, P.x, loose, alpha)
        assert not (found.present & ~exact).any()
        assert not (found.absent & exact).any()
        shares.append(float((found.present | found.absent).double().mean()))
    assert shares == sorted(shares)
    assert shares[-1] > 0.99
    assert found.only.all()


def test_two_equal_columns_have_no_single_optimum() -> None:
    twice = torch.cat([P.D, P.D[:, :1]], 1)
    x = 2 * P.D[:, :1].T
    alpha = torch.tensor([0.1], dtype=torch.float64)
    found = settled(twice, x, solve(twice, x, 0.1, tol=1e-10).codes, alpha)
    assert not found.only.any()
    assert not found.present.any()
    assert settled(P.D, x, solve(P.D, x, 0.1, tol=1e-10).codes, alpha).present[0, 0]


@pytest.mark.parametrize("l2", [0.0, 0.2])
def test_solutions_have_the_number_of_latents_asked_for(l2: float) -> None:
    K = torch.arange(24) % 6 + 1
    found = at_count(P.D, P.x, K, l2=l2, tol=1e-8)
    count = (found.codes > 0).sum(1)
    assert (count <= K).all()
    assert (count == K).double().mean() > 0.8  # a path that loses latents may never have so many
    again = solve(P.D, P.x, found.alpha, tol=1e-8, l2=l2)
    assert torch.allclose(again.codes, found.codes, atol=1e-5)
    assert (found.gap <= 1e-8).all()
    with pytest.raises(ValueError, match="K must be a whole number between 1 and"):
        at_count(P.D, P.x, K * 0)
    none = at_count(torch.rand(4, 6), -torch.rand(3, 4), 2, l2=l2)
    assert not none.codes.any()
    assert not none.gap.any()


@pytest.mark.parametrize(("a", "b", "N"), [(3, 3, 16), (1, 5, 9), (6, 6, 8), (0, 2, 5), (4, 4, 4)])
def test_chance_overlap_is_that_of_random_supports(a: int, b: int, N: int) -> None:
    draw, n = np.random.default_rng(0), 20_000
    one, other = (torch.from_numpy((draw.random((n, N)).argsort(1) < k).astype(float)) for k in (a, b))
    each = overlap(one, other)
    assert chance_overlap(a, b, N) == pytest.approx(
        float(each.mean()), abs=4 * float(each.std()) / n**0.5 + 1e-12
    )
    assert chance_overlap(0, 0, N) == 1
    with pytest.raises(ValueError, match="between 0 and"):
        chance_overlap(N + 1, 1, N)


def test_agreement_of_codes() -> None:
    a = torch.tensor([[1.0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    b = torch.tensor([[3.0, 0, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]])
    assert jaccard(a, b) == pytest.approx((1 / 3 + 1 + 1) / 3)
    draw = torch.Generator().manual_seed(0)
    s = torch.randn(400, 20, generator=draw)
    assert linear_r2(s, s @ torch.randn(20, 30, generator=draw)) > 0.999
    assert linear_r2(s, torch.randn(400, 30, generator=draw)) < 0.05
    z = torch.randn(5, 50, generator=draw)
    assert torch.allclose((shaken(z, 0) - z).norm(dim=1), 0.01 * z.norm(dim=1))


def test_linear_fit_is_least_squares_where_samples_abound() -> None:
    """With 1000 samples of 6 latents the ridge is the only difference from numpy's lstsq."""
    draw = np.random.default_rng(1)
    a = draw.exponential(size=(2000, 6))
    b = a @ draw.normal(size=(6, 4)) + draw.normal(size=(2000, 4))
    half = np.arange(2000) < 1000
    left = np.zeros(2000)
    for train in (half, ~half):
        known, new = (np.column_stack([a[rows], np.ones(rows.sum())]) for rows in (train, ~train))
        left[~train] = ((b[~train] - new @ np.linalg.lstsq(known, b[train], rcond=None)[0]) ** 2).sum(1)
    for train in (half, ~half):
        found = linear_fit(*(torch.from_numpy(v) for v in (a, b, train)))
        assert found.left.sum().item() == pytest.approx(left[~train].sum(), rel=1e-3)
        assert 0 < found.r2 < 1


def test_the_ridge_is_what_samples_left_out_one_by_one_ask_for() -> None:
    """The closed form of leaving one out against refitting without each sample; noise asks for more than none."""
    draw = torch.Generator().manual_seed(3)
    a = torch.randn(40, 60, generator=draw, dtype=torch.float64)
    for noise in (0.0, 30.0):
        b = a @ torch.randn(60, 3, generator=draw, dtype=torch.float64)
        b += noise * torch.randn(b.shape, generator=draw, dtype=torch.float64)
        gram, unit, errors = a @ a.T, float((a @ a.T).diagonal().mean()), []
        for ridge in RIDGES:
            total = 0.0
            for i in range(40):
                keep = torch.arange(40) != i
                C = gram[keep][:, keep] + ridge * unit * torch.eye(39)
                total += float((b[i] - gram[i, keep] @ torch.linalg.solve(C, b[keep])).square().sum())
            errors.append(total)
        assert _ridge(gram, b) == pytest.approx(unit * RIDGES[int(np.argmin(errors))])
    assert _ridge(gram, b) > unit * RIDGES[0]


def test_a_fit_is_not_scored_on_the_samples_it_has_seen() -> None:
    """More latents than samples fit anything: scored on others, codes that know nothing explain nothing."""
    draw = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 60, 300, generator=draw)
    seen = torch.linalg.lstsq(a.double(), b.double()).solution
    assert torch.allclose(a.double() @ seen, b.double(), atol=1e-8)
    assert linear_r2(a, b) < 0.05


def test_a_support_of_dependent_columns_is_the_part_that_fits_as_well() -> None:
    """Twins, and more columns than measurements: their Gram matrix has no inverse."""
    draw = torch.Generator().manual_seed(4)
    for columns in (torch.randn(3, 7, generator=draw), torch.eye(3)[:, [0, 0, 1, 1, 2]]):
        x = torch.rand(5, 3, generator=draw)
        found = exchange(columns, x, torch.ones(5, columns.shape[1]) > 0, 0.01)
        for signal, error in zip(x, found.error, strict=True):
            least_error = nnls(columns.double().numpy(), signal.double().numpy())[1] ** 2
            assert error == pytest.approx(least_error, abs=1e-9)
