"""`converged` never lies: gaps of returned codes, recomputed in longdouble for the D and x that were given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amortgap.solvers import SOLVERS, solve

LONG = np.longdouble
SHORT = {
    "fista": {"max_steps": 2000},
    "ista": {"max_steps": 500},
    "lca": {"max_steps": 500},
    "coordinate_descent": {"max_steps": 200},
    "log_adam": {"n_steps": 50},
}
METHODS = ["auto", *SOLVERS]
KINDS = ("gaussian", "coherent", "twins", "rank", "conditioned", "whole numbers", "opposite", "uneven")


def dictionary(kind, M, N, rng):
    D = rng.standard_normal((M, N))
    if kind == "coherent":  # cosines of 1 - 1e-6
        D = rng.standard_normal((M, 1)) + 1e-3 * D
    elif kind == "twins":
        D = D[:, rng.integers(0, max(1, N // 2), N)]
    elif kind == "rank":
        r = max(1, min(M, N) // 2)
        D = D[:, :r] @ rng.standard_normal((r, N))
    elif kind == "conditioned":
        U, s, V = np.linalg.svd(D, full_matrices=False)
        D = U * np.geomspace(1, 1e-12, len(s)) @ V
    elif kind == "whole numbers":
        D = rng.integers(-1, 2, (M, N)).astype(float)
        D[0, (D == 0).all(0)] = 1
    elif kind == "opposite":
        D[:, 1::2] = -D[:, 0::2][:, : N // 2]
    D = D / np.linalg.norm(D, axis=0)
    return D * 10.0 ** rng.uniform(-10, 10, N) if kind == "uneven" else D


def dual_value(D, x, r, alpha, nonnegative):
    """Q of the best feasible multiple of r."""
    c = D.T @ r
    steepest, rr, rx = (c if nonnegative else abs(c)).max(), r @ r, r @ x
    if rr == 0 or rx <= 0:
        return LONG(0)
    scale = rx / rr if steepest <= 0 else min(rx / rr, alpha / steepest)
    return scale * rx - scale**2 * rr / 2


def true_gap(D, x, s, alpha, nonnegative):
    """An upper bound on (P - P*) / P, with all sums in longdouble.

    The dual points are the residuals of the codes, and of the codes after steps of Newton's method on their support
    or on a better one: where P is flat, the residual of rounded codes is a poor dual point.
    """
    D, x, s, alpha = D.astype(LONG), x.astype(LONG), s.astype(LONG), LONG(alpha)
    r = x - D @ s
    primal = r @ r / 2 + alpha * abs(s).sum()
    if primal == 0:
        return 0.0
    best = max(LONG(0), dual_value(D, x, r, alpha, nonnegative))
    size = float(abs(x).max())
    again = solve(
        D.astype(float),
        (x / size).astype(float)[None],
        float(alpha / size),
        tol=1e-12,
        nonnegative=nonnegative,
    )
    for start in (s, again.codes[0].astype(LONG) * size):
        A = np.flatnonzero(start)
        part, t = D[:, A], start[A].copy()
        inverse = np.linalg.pinv(part.astype(float), rcond=1e-14).astype(LONG) if len(A) else None
        for _ in range(5):
            r = x - part @ t
            best = max(best, dual_value(D, x, r, alpha, nonnegative))
            if inverse is not None:
                t = t + inverse @ (inverse.T @ (part.T @ r - alpha * np.sign(start[A])))
    return float((primal - best) / primal)


def check(seed, method, kind, N, M, double, amplitude, below, nonnegative, tol):
    rng = np.random.default_rng(seed)
    dtype = np.float64 if double else np.float32
    D = dictionary(kind, M, N, rng).astype(dtype)
    x = rng.standard_normal((2, M))
    if seed % 2:  # sparse, without noise
        x = abs(rng.standard_normal((2, N))) * (rng.random((2, N)) < 0.2) @ D.T.astype(float)
        x = x / max(abs(x).max(), 1e-30)
    x = (x * 10.0 ** (amplitude * (150 if double else 30))).astype(dtype)
    match = x.astype(float) @ D
    most = float((match if nonnegative else abs(match)).max())
    alpha = (most if most > 0 else 1.0) * 10.0**-below
    if method == "log_adam" and not nonnegative:
        return
    if method == "pivoting" and (32 if nonnegative else 16) < N:
        return
    try:
        found = solve(D, x, alpha, method, tol, nonnegative, **SHORT.get(method, {}))
    except ValueError as refusal:
        if "beyond the range" not in str(refusal):
            raise
        return
    assert np.isfinite(found.codes).all()
    assert not np.isnan(found.duality_gap).any()
    assert (found.converged == (found.duality_gap <= tol)).all()
    assert not nonnegative or (found.codes >= 0).all()
    a, b, codes = D.astype(float), x.astype(float), found.codes.astype(float)
    for i in range(2):
        r = b[i].astype(LONG) - a.astype(LONG) @ codes[i].astype(LONG)
        primal = float(r @ r / 2 + LONG(alpha) * abs(codes[i]).sum())
        if 1e-290 < primal < 1e300:
            assert abs(found.objective[i] / primal - 1) < 1e-6, (found.objective[i], primal)
            if found.converged[i]:
                assert true_gap(a, b[i], codes[i], alpha, nonnegative) <= 1.01 * tol + 1e-12


drawn = {
    "seed": st.integers(0, 10**6),
    "method": st.sampled_from(METHODS),
    "kind": st.sampled_from(KINDS),
    "N": st.sampled_from([1, 2, 31, 32, 33, 64]),  # 1000 below
    "M": st.sampled_from([1, 2, 8, 16, 33]),
    "double": st.booleans(),
    "amplitude": st.sampled_from([-1.0, -0.3, 0.0, 0.3, 1.0]),
    "below": st.floats(0, 12),
    "nonnegative": st.booleans(),
    "tol": st.sampled_from([1e-3, 1e-6, 1e-9]),
}


@settings(deadline=None, max_examples=100, derandomize=True)
@given(**drawn)
def test_converged_never_lies(**case):
    check(**case)


@pytest.mark.parametrize("method", METHODS)
def test_converged_never_lies_with_a_thousand_columns(method):
    check(0, method, "twins", 1000, 33, True, 0.0, 1.5, True, 1e-3)


@pytest.mark.slow
@pytest.mark.timeout(0)
@settings(deadline=None, max_examples=5000)
@given(**drawn)
def test_converged_never_lies_in_five_thousand_cases(**case):
    check(**case)
