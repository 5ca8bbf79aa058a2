"""alpha for each sample, weights for each atom and an l2 term, against scikit-learn, cvxpy and longdouble."""

import functools

import cvxpy as cp
import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet

from amortgap.objectives import duality_gap, kkt_residual, objective
from amortgap.solvers import SOLVERS, alpha_max, path, prepare, refit, reweighted, screened, solve

rng = np.random.default_rng(0)
M, N, n = 8, 14, 4
D = rng.standard_normal((M, N))
D /= np.linalg.norm(D, axis=0)
X = rng.standard_normal((n, M))
WEIGHTS = 10 ** rng.uniform(-1, 1, N)
ALPHAS = 10 ** rng.uniform(-2, -0.5, n)
OPTIONS = {
    "alpha for each sample": (ALPHAS, {}),
    "weights": (0.05, {"weights": WEIGHTS}),
    "l2": (0.05, {"l2": 0.3}),
    "all": (ALPHAS, {"weights": WEIGHTS, "l2": 0.01}),
}
# the slow ones get the same matrices from the same door
METHODS = ["auto", *(m for m in SOLVERS if m not in ("log_adam", "ista", "lca", "coordinate_descent"))]
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
LONG = np.longdouble


def gap_in_longdouble(D, x, s, alpha, nonnegative, weights, l2):
    """The gap of one sample, with the dual point written out: y = c r and, for l2, its second block."""
    D, x, s = D.astype(LONG), x.astype(LONG), s.astype(LONG)
    r = x - D @ s
    primal = r @ r / 2 + alpha * (weights * abs(s)).sum() + l2 * (s @ s) / 2
    c = D.T @ r - l2 * s
    steepest = max(LONG(1e-300), *(c if nonnegative else abs(c)) / weights)
    scale = min(max(0, r @ x / (r @ r + l2 * (s @ s))), alpha / steepest)
    dual = scale * (r @ x) - scale**2 * (r @ r + l2 * (s @ s)) / 2
    return float((primal - dual) / primal)


@functools.cache
def optimum(case, dtype, nonnegative):
    """P* of every sample, from Clarabel."""
    alpha, options = OPTIONS[case]
    given, values = {"weights": np.ones(N), "l2": 0.0} | options, []
    for x, level in zip(X.astype(dtype).astype(float), np.broadcast_to(alpha, n), strict=True):
        s = cp.Variable(N, nonneg=nonnegative)
        fit = cp.sum_squares(x - D.astype(dtype).astype(float) @ s) / 2
        penalty = level * given["weights"] @ cp.abs(s) + given["l2"] / 2 * cp.sum_squares(s)
        problem = cp.Problem(cp.Minimize(fit + penalty))
        values.append(problem.solve(cp.CLARABEL, tol_gap_rel=1e-10, tol_gap_abs=1e-12))
    return np.array(values)


@both_signs
@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_solves_the_problem_that_was_asked(method, dtype, case, nonnegative):
    alpha, options = OPTIONS[case]
    a, b, tol = D.astype(dtype), X.astype(dtype), 1e-6
    found = solve(a, b, alpha, method, tol, nonnegative, **options)
    assert found.codes.dtype == dtype
    # homotopy says where the active columns, of unequal length now, are too nearly dependent for it
    assert found.converged.sum() >= (2 if method == "homotopy" else n)
    given = {"weights": np.ones(N), "l2": 0.0} | options
    a, b, s = a.astype(float), b.astype(float), found.codes.astype(float)
    np.testing.assert_allclose(found.objective, objective(a, b, s, alpha, **options), rtol=1e-12)
    best = optimum(case, dtype, nonnegative)
    assert (found.objective >= best * (1 - 1e-8)).all()
    assert (found.objective <= best * (1 + 1.1e-6))[found.converged].all()
    for i, level in enumerate(np.broadcast_to(alpha, n)):
        # the dual point here is that of the rounded codes, which is first order in their rounding
        slack = 1e-4 if dtype == np.float32 else 1e-12
        gap = gap_in_longdouble(a, b[i], s[i], level, nonnegative, *given.values())
        assert gap <= tol + slack or not found.converged[i]


@both_signs
def test_the_elastic_net_is_scikit_learns(nonnegative):
    alpha, l2 = 0.05, 0.2
    ours = solve(D, X, alpha, tol=1e-12, nonnegative=nonnegative, l2=l2)
    # its objective is ours / M
    peer = ElasticNet(
        (alpha + l2) / M,
        l1_ratio=alpha / (alpha + l2),
        fit_intercept=False,
        tol=1e-13,
        positive=nonnegative,
        max_iter=100_000,
    )
    for x, code in zip(X, ours.codes, strict=True):
        np.testing.assert_allclose(code, peer.fit(D, x).coef_, atol=1e-7)


def test_weights_of_one_no_l2_and_equal_alphas_are_the_lasso():
    plain = solve(D, X, 0.05, tol=1e-10)
    same = solve(D, X, np.full(n, 0.05), tol=1e-10, weights=np.ones(N), l2=0.0)
    np.testing.assert_allclose(same.codes, plain.codes, atol=1e-6)
    # each sample's alpha is its own
    each = [solve(D, x[None], a, tol=1e-10).codes[0] for x, a in zip(X, ALPHAS, strict=True)]
    np.testing.assert_allclose(solve(D, X, ALPHAS, tol=1e-10).codes, each, atol=1e-6)
    # a weight is a length: D / w, codes w s
    scaled = solve(D / WEIGHTS, X, 0.05, tol=1e-10).codes / WEIGHTS
    np.testing.assert_allclose(
        solve(prepare(D), X, 0.05, tol=1e-10, weights=WEIGHTS).codes, scaled, atol=1e-6
    )


@both_signs
@pytest.mark.parametrize("case", OPTIONS)
def test_certificates_take_the_same_options(case, nonnegative):
    alpha, options = OPTIONS[case]
    best = solve(D, X, alpha, tol=1e-13, nonnegative=nonnegative, **options)
    assert duality_gap(D, X, best.codes, alpha, nonnegative, **options).max() < 1e-11
    assert kkt_residual(D, X, best.codes, alpha, nonnegative, **options).max() < 1e-5
    other = best.codes + 0.1 * (best.codes != 0) * np.sign(best.codes)
    excess = objective(D, X, other, alpha, **options) - best.objective
    gap = duality_gap(D, X, other, alpha, nonnegative, **options) * objective(D, X, other, alpha, **options)
    assert (gap >= excess - 1e-12).all()
    assert kkt_residual(D, X, other, alpha, nonnegative, **options).min() > 1e-3


def test_half_precision_is_certified_for_the_dictionary_that_was_given():
    a, x = torch.from_numpy(D).float(), torch.from_numpy(X).bfloat16()
    for method in ("auto", "homotopy", "fista"):
        found = solve(a, x, 0.05, method, tol=1e-2)
        assert found.codes.dtype == torch.bfloat16
        exact = solve(a.double(), x.double(), 0.05, tol=1e-10).objective
        value = objective(a.double(), x.double(), found.codes.double(), 0.05)
        torch.testing.assert_close(found.objective, value, rtol=1e-12, atol=0)
        assert (found.duality_gap >= (value - exact) / value - 1e-10).all()
        assert (found.stop[~found.converged.numpy()] == "limited by rounding").all()


def test_arrays_in_arrays_out():
    codes = solve(D, X, 0.05).codes
    for value in (
        path(D, X, [0.1, 0.05])[1].codes,
        alpha_max(D, X),
        refit(D, X, codes > 0),
        screened(D, X, codes, 0.05),
        objective(D, X, codes, 0.05),
        duality_gap(D, X, codes, 0.05),
        kkt_residual(D, X, codes, 0.05),
    ):
        assert isinstance(value, np.ndarray)


@pytest.mark.parametrize(
    ("alpha", "options", "message"),
    [
        (ALPHAS[:3], {}, r"alpha must be one number or have shape \(4,\), not \(3,\)"),
        (-ALPHAS, {}, "every alpha must be > 0"),
        (ALPHAS * np.nan, {}, "alpha contains NaN"),
        (0.1, {"weights": np.ones(3)}, r"weights must have shape \(14,\)"),
        (0.1, {"weights": np.zeros(N)}, "every weight must be > 0"),
        (0.1, {"l2": -1.0}, "l2 must be a finite number >= 0"),
        (0.1, {"l2": "much"}, "l2 must be one real number"),
    ],
)
def test_options_are_refused_in_one_sentence(alpha, options, message):
    with pytest.raises(ValueError, match=message):
        solve(D, X, alpha, **options)


def test_codes_beyond_the_range_of_their_dtype_are_refused():
    with pytest.raises(ValueError, match=r"beyond the range of torch\.float32"):
        solve((D * 1e-20).astype(np.float32), (X * 1e30).astype(np.float32), 1e8)
    with pytest.raises(ValueError, match="P is beyond the range of float64"):
        solve(D, X * 1e160, 1e159)


@both_signs
def test_reweighting_solves_convex_problems_and_lowers_the_sum_of_logarithms(nonnegative):
    alpha, epsilon, tol = 0.05, 0.1, 1e-8
    before = solve(D, X, alpha, tol=tol, nonnegative=nonnegative)
    last = np.inf
    for rounds in (1, 2, 3):
        found, weights = reweighted(D, X, alpha, epsilon, rounds=rounds, nonnegative=nonnegative, tol=tol)
        assert found.converged.all()
        np.testing.assert_allclose(weights, epsilon / (abs(before.codes) + epsilon), rtol=1e-4)
        for i in range(n):
            x, code, own = X[i : i + 1], found.codes[i : i + 1], weights[i]
            # the same weights on all columns at once
            alone = solve(D, x, alpha, tol=tol, nonnegative=nonnegative, weights=own)
            np.testing.assert_allclose(found.objective[i], alone.objective[0], rtol=2 * tol)
            assert duality_gap(D, x, code, alpha, nonnegative, weights=own)[0] < 2 * tol
        logs = alpha * epsilon * np.log(abs(found.codes) / epsilon + 1).sum(1)
        value = (((X - found.codes @ D.T) ** 2).sum(1) / 2 + logs).sum()
        assert value < last
        before, last = found, value


def test_reweighting_finds_sparser_codes_of_planted_signals():
    g = np.random.default_rng(1)
    A = g.standard_normal((32, 64))
    A /= np.linalg.norm(A, axis=0)
    planted = np.where(g.random((20, 64)) < 0.1, 1 + g.random((20, 64)), 0)
    x = planted @ A.T + 0.02 * g.standard_normal((20, 32))
    plain, (found, _) = solve(A, x, 0.1), reweighted(A, x, 0.1, 0.1)
    assert abs(found.codes - planted).sum() < 0.7 * abs(plain.codes - planted).sum()
    assert (found.codes > 0).sum() <= (plain.codes > 0).sum()


@pytest.mark.parametrize(("epsilon", "rounds"), [(0.0, 1), (-1.0, 1), (np.inf, 1), (0.1, 0), (0.1, 1.5)])
def test_reweighting_refuses(epsilon, rounds):
    with pytest.raises(ValueError, match=r"epsilon must be|rounds must be"):
        reweighted(D, X, 0.05, epsilon, rounds=rounds)
