"""Paths, the alpha for a target, safe screening, the ladder of the gap, and five ways to code on one decoder."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch

from amortgap.encoders import ReLUEncoder
from amortgap.gap import HEAD_ROWS, LADDER, decompose, excess_objective, on_same_decoder
from amortgap.metrics import fvu
from amortgap.objectives import dual_point, objective
from amortgap.problem import SparseProblem
from amortgap.solvers import alpha_for, alpha_max, path, pursue, screened, solve
from amortgap.training import fit

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
    # the stated accuracy of 1 %, and the solver's 1e-4 of an objective that is mostly penalty
    assert abs(left - target) <= 0.02 * target


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


@both_signs
@pytest.mark.parametrize("columns", [7, 2048])
def test_screening_is_the_sphere_around_the_dual_point(columns, nonnegative, monkeypatch):
    """Column by column or all at once, for codes near the optimum and far from it."""
    monkeypatch.setattr(sys.modules["amortgap.solvers.path"], "COLUMNS", columns)
    alpha = 0.2
    near = solve(P.D, P.x, alpha, tol=1e-4, nonnegative=nonnegative).codes
    for codes in (near, torch.zeros_like(near), near.roll(1, 0)):
        y = dual_point(P.D, P.x, codes, alpha, nonnegative)
        gap = objective(P.D, P.x, codes, alpha) - (P.x.square() - (P.x - y).square()).sum(1) / 2
        match = y @ P.D if nonnegative else (y @ P.D).abs()
        margin = alpha - match - (2 * gap.clamp_min(0)).sqrt()[:, None] * P.D.norm(dim=0)
        found = screened(P.D, P.x, codes, alpha, nonnegative=nonnegative)
        # the sphere's radius is known to the root of what P - Q loses to rounding
        assert torch.equal(found[margin.abs() > 1e-7], (margin > 0)[margin.abs() > 1e-7])
        assert found.any() or codes is not near


def optima(D, x, alpha):
    """Latents of the nonnegative LASSO's optima by trying every support, in float64."""
    used = np.zeros(D.shape[1], bool)
    for size in range(1, min(D.shape) + 1):
        for S in map(list, itertools.combinations(range(D.shape[1]), size)):
            G = D[:, S].T @ D[:, S]
            if np.linalg.cond(G) > 1e12:
                continue
            s = np.linalg.solve(G, D[:, S].T @ x - alpha)
            room = 1e-12 * (alpha + np.linalg.norm(x))
            if (s > 0).all() and (D.T @ (x - D[:, S] @ s)).max() <= alpha + room:
                used[S] = True
    return used


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_screening_keeps_what_any_optimum_uses(dtype):
    """Twins, nearly equal columns, codes rounded from the optimum, amplitudes near the ends of float32."""
    rng, ruled_out = np.random.default_rng(0), 0
    for number in range(16):
        D = rng.standard_normal((4, 6))
        if number % 4 == 1:
            D[:, 1] = D[:, 0]
        if number % 4 == 2:
            D = rng.standard_normal((4, 1)) + 1e-3 * D
        D = (D / np.linalg.norm(D, axis=0)).astype(dtype)
        size = 10.0 ** (0, 0, 30, -30)[number // 4]
        x = (size * (abs(rng.standard_normal((1, 6))) @ D.T.astype(float))).astype(dtype)
        alpha = float((x.astype(float) @ D).max()) * 10.0 ** -rng.uniform(0.1, 6)
        if alpha <= 0:
            continue
        used = optima(D.astype(float), x[0].astype(float) / size, alpha / size)
        assert used.any()
        for tol in (1e-2, 1e-6, 1e-14):
            best = solve(D.astype(float), x.astype(float), alpha, tol=tol).codes
            absent = screened(D, x, best.astype(dtype), alpha)[0]
            assert not (absent & used).any(), (number, tol)
        ruled_out += int(absent.sum())
    assert ruled_out > 10


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


def test_heads_are_rows_where_the_encoders_candidates_are_known(coded):
    codes, alpha, rows = coded
    h, count = P.x @ P.D - 0.4, (codes > 0).sum(1)
    found = on_same_decoder(P.D, P.x, codes, alpha, h=h)
    assert list(found) == [*rows, *HEAD_ROWS]
    left = {name: (P.x - c @ P.D.T).square().sum() for name, c in found.items()}
    for name, (head, ratio) in HEAD_ROWS.items():
        s = found[name]
        assert (s >= 0).all()
        assert ((s > 0).sum(1) <= count).all()
        # h >= 0 wherever the encoder is active, so its candidates are the largest of h
        rank = h.argsort(dim=1, descending=True).argsort(dim=1)
        assert not (s > 0)[rank >= (ratio * count).ceil()[:, None]].any(), head
    assert left["pursuit among 4k"] < left["pursuit among 2k"] < left["own support"] < left["encoder"]


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
    with pytest.raises(ValueError, match="h must have the codes' shape"):
        on_same_decoder(P.D, P.x, torch.ones(40, 60), 0.1, h=torch.ones(40, 59))


# --- the ladder ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ladder():
    """The paper's setting with briefly trained encoders: (test problem, alpha, rungs by name)."""
    train = SparseProblem(n=512)
    test, alpha = train.sample(512, seed=1), 0.0025
    models = {"supervised": ReLUEncoder(8, 16, D=train.D, bias=True), "known": ReLUEncoder(8, 16, D=train.D)}
    models["learned"] = ReLUEncoder(8, 16)
    for name, model in models.items():
        fit(model, train.x, steps=300, lr=1e-2, codes=train.codes if name == "supervised" else None)
    codes = {name: model.encode(test.x).detach() for name, model in models.items()}
    frame = models["learned"].decoder.D.detach()
    rungs = decompose(test, alpha, **codes, learned_D=frame, restarts=1, adam_steps=300)
    return test, alpha, {r.name: r for r in rungs}


def test_the_ladder_has_its_rungs_in_order(ladder):
    names = list(ladder[2])
    assert tuple(names[: len(LADDER)]) == LADDER
    assert names[len(LADDER) :] == ["paper's Adam", "paper's Adam, learned dictionary"]


def test_no_code_beats_the_optimum_of_its_own_dictionary(ladder):
    rungs = ladder[2]
    for best, others in {
        "converged L1": ("oracle", "supervised encoder", "encoder, known dictionary", "paper's Adam"),
        "converged L1, learned dictionary": (
            "encoder, learned dictionary",
            "paper's Adam, learned dictionary",
        ),
    }.items():
        for other in others:  # the optimum is certified to 1e-6
            assert rungs[best].objective * (1 - 1e-6) <= rungs[other].objective


def test_the_oracle_is_the_truth_and_nothing_sparse_fits_better(ladder):
    test, _, rungs = ladder
    assert rungs["oracle"].mcc > 1 - 1e-6  # noiseless, and any six columns of eight numbers are independent
    assert rungs["oracle"].mse < 1e-12  # float32 codes
    greedy = pursue(test.D, test.x, test.K).codes
    assert rungs["oracle"].mse <= float((test.x - greedy @ test.D.T).square().mean())


def test_the_ceiling_is_above_every_linear_nonlinear_encoder(ladder):
    rungs = ladder[2]
    for name in ("supervised encoder", "encoder, known dictionary", "encoder, learned dictionary"):
        # three standard errors of a mean of 16 correlations over 512 samples
        assert rungs[name].mcc <= rungs["L-NL ceiling"].mcc + 3 / math.sqrt(16 * 512)
    assert rungs["L-NL ceiling"].mse is rungs["L-NL ceiling"].objective is None
    assert rungs["converged L1"].mcc > rungs["L-NL ceiling"].mcc  # what the theorem is about


def test_the_ladder_on_an_orthonormal_dictionary_is_known_in_closed_form():
    p = SparseProblem(6, 6, 2, n=300, dictionary=torch.eye(6), dtype=torch.float64)
    alpha = 0.05
    soft = torch.relu(p.x - alpha)
    rungs = decompose(
        p, alpha, supervised=p.codes, known=soft, learned=soft, learned_D=p.D, restarts=1, adam_steps=10
    )
    row = {r.name: r for r in rungs}
    assert abs(row["L-NL ceiling"].mcc - 1) < 1e-3  # every e_i lies in the row space: no capacity is missing
    assert row["oracle"].mcc == pytest.approx(1, abs=1e-12)
    assert row["supervised encoder"].mse == pytest.approx(0, abs=1e-24)
    assert row["supervised encoder"].objective == pytest.approx(alpha * float(p.codes.sum(1).mean()))
    for name in ("converged L1", "encoder, known dictionary", "converged L1, learned dictionary"):
        assert row[name].mse == pytest.approx(
            float(torch.minimum(p.codes, p.x.new_tensor(alpha)).square().mean())
        )
        assert row[name].objective == pytest.approx(row["converged L1"].objective, rel=1e-6)
    assert (
        row["oracle"].chance < 0.3
    )  # 6 latents, 300 samples: best of 720 assignments of |r| near 1/sqrt(300)


def test_where_supports_cannot_be_enumerated_the_oracle_is_told():
    p = SparseProblem(60, 30, 5, n=300, amplitude="log-normal")
    codes = torch.relu(p.x @ p.D)
    rungs = decompose(p, 0.01, supervised=codes, known=codes, learned=codes, learned_D=p.D, adam_steps=1)
    assert rungs[0].note == "told the true support"
    assert rungs[0].mcc > 1 - 1e-6
    assert rungs[2].mcc is None
    assert "log-normal" in rungs[2].note


def test_a_ladder_of_misfits_is_refused():
    p = SparseProblem(n=10)
    good = dict.fromkeys(("supervised", "known", "learned"), p.codes) | {"learned_D": p.D}
    for wrong, says in (
        ({"known": -p.codes}, "known must be nonnegative"),
        ({"learned": p.codes[:, :8]}, "learned must be nonnegative with shape"),
        ({"supervised": p.codes * float("nan")}, "supervised contains NaN"),
        ({"learned_D": p.D[:, :8]}, "learned_D must have shape"),
    ):
        with pytest.raises(ValueError, match=says):
            decompose(p, 0.01, **(good | wrong))
    with pytest.raises(ValueError, match="made for nonnegative codes"):
        decompose(SparseProblem(n=10, amplitude="signed-normal"), 0.01, **good)


def test_a_signal_that_is_zero_has_no_excess():
    D, x = torch.eye(3), torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    found = excess_objective(D, x, torch.tensor([[0.0, 0.5, 0.0], [1.0, 1.0, 0.0]]), 0.5)
    assert found[0] == 0
    assert found[1] > 0
