"""Paths, the alpha for a target, safe screening, and the five ways to code on one decoder."""

import pytest
import torch

from amortgap.gap import excess_objective, on_same_decoder
from amortgap.metrics import fvu
from amortgap.objectives import objective
from amortgap.problem import SparseProblem
from amortgap.solvers import alpha_for, alpha_max, path, screened, solve

P = SparseProblem(N=60, M=20, K=4, n=40, noise=0.1, dtype=torch.float64)
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


@both_signs
def test_alpha_max_is_where_the_solution_vanishes(nonnegative):
    for x, a in zip(P.x[:5], alpha_max(P.D, P.x[:5], nonnegative).tolist(), strict=True):
        assert (solve(P.D, x[None], a * 1.0001, nonnegative=nonnegative).codes == 0).all()
        assert (solve(P.D, x[None], a * 0.99, nonnegative=nonnegative).codes != 0).any()


@both_signs
def test_a_path_is_the_separate_solutions_reached_faster(nonnegative):
    alphas = [0.6, 0.3, 0.2, 0.15]
    warm = path(P.D, P.x, alphas, nonnegative=nonnegative)
    cold = [solve(P.D, P.x, a, "fista", nonnegative=nonnegative) for a in alphas]
    for one, other in zip(warm, cold, strict=True):
        assert one.converged.all()
        torch.testing.assert_close(one.objective, other.objective, rtol=2e-6, atol=0)  # both within 1e-6
    assert sum(s.n_steps.sum() for s in warm) < sum(s.n_steps.sum() for s in cold)
    values = torch.stack([s.objective for s in warm])
    assert (values.diff(dim=0) <= 0).all()  # the optimum falls with alpha


@pytest.mark.parametrize("target", [1.5, 4.0, 9.0])
def test_alpha_for_a_mean_l0(target):
    found = (solve(P.D, P.x, alpha_for(P.D, P.x, l0=target)).codes > 0).sum(1).double().mean()
    assert abs(found - target) <= 0.06 * target  # 40 samples: L0 moves in steps of 1/40, some of several


@pytest.mark.parametrize("target", [0.02, 0.3])
def test_alpha_for_a_share_left_unexplained(target):
    codes = solve(P.D, P.x, alpha_for(P.D, P.x, fvu=target)).codes
    left = (P.x - codes @ P.D.T).square().sum() / P.x.square().sum()
    assert abs(left - target) <= 0.011 * target  # the stated accuracy of 1 %, and the solver's 1e-4


def test_impossible_targets_are_refused():
    for wrong in ({}, {"l0": 1, "fvu": 0.1}, {"l0": 21}, {"l0": 0}, {"fvu": 1.0}, {"fvu": -1}):
        with pytest.raises(ValueError, match=r"target|active latents|unexplained"):
            alpha_for(P.D, P.x, **wrong)
    clean = SparseProblem(N=60, M=20, K=4, n=40, dtype=torch.float64)
    with pytest.raises(ValueError, match="out of reach"):
        alpha_for(clean.D, clean.x, l0=15)
    with pytest.raises(ValueError, match="no atom fits"):
        alpha_for(P.D, torch.zeros(3, 20), l0=1)


@both_signs
def test_screening_never_rules_out_an_active_latent_and_grows_with_accuracy(nonnegative):
    alpha, ruled_out = 0.2, []
    best = solve(P.D, P.x, alpha, "fista", tol=1e-10, nonnegative=nonnegative).codes
    for tol in (0.3, 1e-2, 1e-4, 1e-8):
        rough = solve(P.D, P.x, alpha, "fista", tol=tol, nonnegative=nonnegative).codes
        zero = screened(P.D, P.x, rough, alpha, nonnegative=nonnegative)
        assert not (zero & (best != 0)).any()
        ruled_out.append(int(zero.sum()))
    assert ruled_out == sorted(ruled_out)
    assert ruled_out[-1] > 0.8 * zero.numel()


@pytest.fixture(scope="module")
def coded():
    codes = torch.relu(P.x @ P.D - 0.4)
    alpha = alpha_for(P.D, P.x, l0=float((codes > 0).sum(1).double().mean()))
    return codes, alpha, on_same_decoder(P.D, P.x, codes, alpha)


def test_the_five_ways_keep_what_they_promise(coded):
    codes, alpha, found = coded
    assert list(found) == ["encoder", "own support", "L1", "L1 support", "OMP"]
    left = {name: float(fvu(P.x, c @ P.D.T)) for name, c in found.items()}
    assert all((c >= 0).all() for c in found.values())
    assert torch.equal(found["encoder"], codes)
    # least squares on a support explains at least what any code on it does
    assert left["own support"] <= left["encoder"]
    assert left["L1 support"] <= left["L1"]
    assert not (found["own support"] != 0)[codes == 0].any()
    assert not (found["L1 support"] != 0)[found["L1"] == 0].any()
    k = round(float((codes > 0).sum(1).double().mean()))
    assert ((found["OMP"] != 0).sum(1) <= k).all()
    torch.testing.assert_close(found["L1"], solve(P.D, P.x, alpha, tol=1e-4).codes)


def test_excess_is_zero_at_the_optimum_and_blind_to_scale(coded):
    codes, alpha, _ = coded
    best = solve(P.D, P.x, alpha, tol=1e-8).codes
    # both optima are within 1e-4 of P*, the tolerance excess_objective solves to
    assert excess_objective(P.D, P.x, best, alpha).abs().max() <= 1e-4
    excess = excess_objective(P.D, P.x, codes, alpha)
    torch.testing.assert_close(excess_objective(P.D, P.x, 3 * codes, alpha), excess, rtol=1e-9, atol=1e-12)
    plain = objective(P.D, P.x, codes, alpha) / solve(P.D, P.x, alpha, tol=1e-8).objective - 1
    assert (excess <= plain + 1e-4).all()
    assert (excess >= -1e-4).all()


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="nonnegative with shape"):
        on_same_decoder(P.D, P.x, -torch.ones(40, 60), 0.1)
    with pytest.raises(ValueError, match="nonnegative with shape"):
        on_same_decoder(P.D, P.x, torch.ones(40, 59), 0.1)
