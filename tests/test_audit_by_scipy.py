"""All numbers of one audit, computed again from their definitions by numpy and scipy alone, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize, nnls

from amortgap.audit import Inputs, audit
from amortgap.audit.measure import _halves
from amortgap.interop import SAE
from amortgap.problem import SparseProblem

K, TOKENS, CALIBRATION = 4, 128, 256
P = SparseProblem(N=48, M=16, K=3, n=600, noise=0.01)
DOCUMENTS = torch.arange(600) // 20
FIRST, SCORED = _halves(DOCUMENTS, 600, 0)
SCORED = SCORED[:TOKENS].sort()[0]


@pytest.fixture(scope="module")
def result():
    zero = torch.zeros
    return audit(SAE("topk", P.D, zero(48), P.D.T, zero(16), k=K), Inputs(P.x, DOCUMENTS), tokens=TOKENS)


@pytest.fixture(scope="module")
def x():
    return P.x[SCORED].double().numpy()


D = P.D.double().numpy()


def encode(x, D, k):
    """The k largest of relu(D'x)."""
    h = np.maximum(x @ D, 0)
    return np.where(h >= np.sort(h, axis=1)[:, -k, None], h, 0)


def fitted(D, x, support):
    """Nonnegative least squares on a support."""
    s = np.zeros(D.shape[1])
    s[support] = nnls(D[:, support], x)[0]
    return s


def largest(h, count):
    return np.argsort(-h)[:count]


def pursuit(D, x, k, among):
    """Nonnegative OMP with k atoms among some, as it is written."""
    support, s = [], np.zeros(D.shape[1])
    for _ in range(3 * k):
        match = np.full(D.shape[1], -np.inf)
        match[among] = D[:, among].T @ (x - D @ s)
        match[support] = -np.inf
        if len(support) == k or match.max() < 1e-5:
            break
        s = fitted(D, x, [*support, int(match.argmax())])
        support = np.flatnonzero(s).tolist()
    return s


def lasso(D, x, alpha):
    """min 1/2 |x - D s|^2 + alpha sum(s), s >= 0, by L-BFGS within bounds, from which tiny entries are dropped."""

    def value(s):
        residual = D @ s - x
        return 0.5 * residual @ residual + alpha * s.sum(), D.T @ residual + alpha

    exact = {"maxiter": 5000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-9}
    start = np.zeros(D.shape[1])
    s = minimize(value, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start), options=exact).x
    return np.where(s > 1e-6, s, 0)


def leave_one_out(D, x, support, k):
    """All are fitted; that without which the fit is best leaves, down to k."""
    s = fitted(D, x, support)
    while (s > 0).sum() > k:
        active = np.flatnonzero(s)
        without = [np.setdiff1d(active, j) for j in active]
        # the rise of least squares without bounds, s_j^2 / (G^-1)_jj
        errors = [np.linalg.lstsq(D[:, rest], x, rcond=None)[1].sum() for rest in without]
        s = fitted(D, x, without[int(np.argmin(errors))])
    return s


def lasso_head(D, x, among, k):
    """The support of the LASSO's path among some latents, where it is about to have more than k.

    Their columns C are independent, so that the LASSO of x is least squares of C (C'C)^-1 (C'x - alpha).
    """
    C, support = D[:, among], []
    for alpha in np.geomspace((C.T @ x).max(), 1e-4, 1000):
        found = np.flatnonzero(nnls(C, C @ np.linalg.solve(C.T @ C, C.T @ x - alpha))[0])
        if len(found) > k:
            break
        support = found
    return fitted(D, x, np.asarray(among)[support])


def iht(D, x, s, among, k, steps=4):
    inside = np.isin(np.arange(D.shape[1]), among)
    for _ in range(steps):
        g = (D.T @ (x - D @ s)) * inside
        inner = g * (s > 0)
        s = np.maximum(s + (inner @ inner) / np.sum((D @ inner) ** 2) * g, 0) * inside
        s[np.argsort(-s)[k:]] = 0
    return fitted(D, x, np.flatnonzero(s))


def adaptive(D, x, own, wide, gate=0.02):
    """The own latents refitted; the pursuit where one more would explain more than `gate` of what is left."""
    s = fitted(D, x, own)
    r = x - D @ s
    match = D.T @ r
    match[s > 0] = 0
    most = match[wide].max()
    return pursuit(D, x, len(own), wide) if most > 0 and most**2 / (r @ r) > gate else s


@pytest.fixture(scope="module")
def codes(result, x):
    """Way -> codes (n, N)."""
    h, alpha, own = x @ D, result.scored.alpha, encode(x, D, K)
    found = {"encoder": own}
    each = {
        "own support": lambda i, mine: fitted(D, x[i], mine),
        "L1": lambda i, mine: lasso(D, x[i], alpha),
        "OMP": lambda i, mine: pursuit(D, x[i], K, np.arange(48)),
        "OMP, own count": lambda i, mine: pursuit(D, x[i], len(mine), np.arange(48)),
        "leave-one-out among 1.5k": lambda i, mine: leave_one_out(D, x[i], largest(h[i], 6), len(mine)),
        "adaptive among 4k": lambda i, mine: adaptive(D, x[i], mine, largest(h[i], 16)),
        "LASSO among 2k": lambda i, mine: lasso_head(D, x[i], largest(h[i], 8), len(mine)),
        "IHT among 2k": lambda i, mine: iht(D, x[i], own[i], largest(h[i], 8), len(mine)),
    }
    for ratio in (1.5, 2, 4):
        each[f"pursuit among {ratio:g}k"] = lambda i, mine, r=ratio: pursuit(
            D, x[i], len(mine), largest(h[i], int(r * len(mine)))
        )
    for name, one in each.items():
        found[name] = np.stack([one(i, np.flatnonzero(own[i])) for i in range(len(x))])
    found["L1 support"] = np.stack(
        [fitted(D, y, np.flatnonzero(s)) for y, s in zip(x, found["L1"], strict=True)]
    )
    s, rate = own, 1 / np.linalg.norm(D, 2) ** 2
    for step in range(1, 11):
        s = np.maximum(s - rate * ((s @ D.T - x) @ D + alpha), 0)
        if step in (1, 2, 5, 10):
            name = f"{step} step{'s' * (step > 1)}"
            found[name] = s
            found[f"{name}, refitted"] = np.stack(
                [fitted(D, x[i], largest(s[i], int((own[i] > 0).sum()))) for i in range(len(x))]
            )
    return found


def test_every_row_on_the_saes_decoder(result, codes, x):
    rows = {row.method: row for row in result.rows if row.decoder == "SAE"}
    assert set(rows) == set(codes)
    power = ((x - x.mean(0)) ** 2).sum(1)
    groups = DOCUMENTS[SCORED].numpy()
    first = ((x - codes["encoder"] @ D.T) ** 2).sum(1)
    for name, s in codes.items():
        x_hat, row = s @ D.T, rows[name]
        error = ((x - x_hat) ** 2).sum(1)
        length, its = np.linalg.norm(x, axis=1), np.linalg.norm(x_hat, axis=1)
        # float32 may decide otherwise between two latents that match a residual equally: one token in 128
        assert row.fvu == pytest.approx(error.sum() / power.sum(), rel=5e-3), name
        assert row.gain == pytest.approx((first - error).sum() / power.sum(), abs=5e-3 * row.fvu + 1e-4), name
        assert row.l0 == pytest.approx((s > 0).sum(1).mean(), abs=1.5 / TOKENS), name
        assert row.l0_spread == pytest.approx((s > 0).sum(1).std(ddof=1), abs=0.1), name
        assert row.cosine == pytest.approx(((x * x_hat).sum(1) / length / its).mean(), rel=1e-3), name
        assert row.norm_ratio == pytest.approx((its / length).mean(), rel=1e-3), name
        assert row.explained == pytest.approx((1 - error / power).mean(), rel=1e-3), name
        # of another 4000 resamplings of documents: the ends scatter by a few per cent of the width
        drawn, gains = bootstrap([error, first - error], power, groups)
        for ends, low, high in ((drawn, row.low, row.high), (gains, row.gain_low, row.gain_high)):
            near = 0.12 * (ends[1] - ends[0]) + 1e-6
            assert (low, high) == (pytest.approx(ends[0], abs=near), pytest.approx(ends[1], abs=near)), name


def bootstrap(values, power, groups):
    """95 % intervals of sum(value) / sum(power) over documents drawn with replacement."""
    names, draw = np.unique(groups), np.random.default_rng(1)
    sums = [np.array([one[groups == name].sum() for name in names]) for one in (*values, power)]
    drawn = draw.integers(len(names), size=(4000, len(names)))
    *tops, bottom = (one[drawn].sum(1) for one in sums)
    return [np.quantile(top / bottom, [0.025, 0.975]) for top in tops]


def test_alpha_gives_the_encoders_l0_where_it_was_set(result):
    x = P.x[FIRST[:CALIBRATION]].double().numpy()
    own = (encode(x, D, K) > 0).sum(1).mean()
    active = np.mean([(lasso(D, one, result.scored.alpha) > 0).sum() for one in x])
    assert active == pytest.approx(own, rel=0.02)


def test_the_random_decoder(result):
    draw = torch.Generator().manual_seed(0)
    R = torch.randn(16, 48, generator=draw).double().numpy()
    R /= np.linalg.norm(R, axis=0)
    b = P.x[FIRST[:CALIBRATION]].double().numpy().mean(0)
    x = P.x[SCORED].double().numpy()
    power = ((x - x.mean(0)) ** 2).sum()
    own = encode(x - b, R, K)
    found = {
        "encoder": own,
        "own support": np.stack([fitted(R, y, np.flatnonzero(s)) for y, s in zip(x - b, own, strict=True)]),
        "OMP": np.stack([pursuit(R, y, K, np.arange(48)) for y in x - b]),
    }
    rows = {row.method: row for row in result.rows if row.decoder == "random"}
    for name, s in found.items():
        assert rows[name].fvu == pytest.approx(((x - b - s @ R.T) ** 2).sum() / power, rel=5e-3), name


def test_which_code(result, codes):
    own = codes["encoder"]
    for one in result.agreement:
        other = codes[one.method]
        moved = np.roll(other, TOKENS // 2, 0)
        for b, share, r2 in ((other, one.jaccard, one.r2), (moved, one.jaccard_chance, one.r2_chance)):
            both, either = ((own > 0) & (b > 0)).sum(1), ((own > 0) | (b > 0)).sum(1)
            assert share == pytest.approx((both / either).mean(), abs=5e-3), one.method
            assert r2 == pytest.approx(ridge(own, b), abs=0.01), one.method
    both = ((own > 0) & (codes["L1"] > 0)).sum() / (own > 0).sum()
    assert result.proved.shared == pytest.approx(both, abs=2 / (own > 0).sum())
    # what is proved to be absent is absent here; what is neither shared nor absent is undecided
    assert 0 < result.proved.absent <= 1 - both + 1e-9
    assert result.proved.absent + result.proved.shared > 0.9


def ridge(a, b):
    rest = total = 0
    half = np.arange(len(a)) % 2 == 0
    assert half.sum() <= 1024
    for train in (half, ~half):
        known, new = a[train] - a[train].mean(0), a[~train] - a[train].mean(0)
        mean = b[train].mean(0)
        errors = []
        for share in (0.01, 0.1, 1, 10, 100):
            weight = share * (known**2).sum(1).mean()
            factor = cho_factor(known.T @ known + weight * np.eye(a.shape[1]))
            # what is left of a sample that is left out: its own residual, over one minus its leverage
            leverage = (known * cho_solve(factor, known.T).T).sum(1)
            fit = cho_solve(factor, known.T @ (b[train] - mean))
            left_out = ((b[train] - mean - known @ fit) / (1 - leverage)[:, None]) ** 2
            errors.append((left_out.sum(), ((b[~train] - mean - new @ fit) ** 2).sum()))
        rest += min(errors)[1]
        total += ((b[~train] - mean) ** 2).sum()
    return 1 - rest / total


def test_the_objective_latents_and_losses(result, codes, x):
    own, l1, alpha = codes["encoder"], codes["L1"], result.scored.alpha
    excess = []
    for y, s, best in zip(x, own, l1, strict=True):
        y_hat = D @ s
        scale = max(0, (y_hat @ y - alpha * s.sum()) / (y_hat @ y_hat))
        values = [0.5 * np.sum((y - D @ c) ** 2) + alpha * c.sum() for c in (scale * s, best)]
        excess.append(values[0] / values[1] - 1)
    assert result.excess == pytest.approx(excess, abs=1e-3)
    every = encode(P.x.double().numpy(), D, K)
    assert result.density == pytest.approx((every > 0).mean(0), abs=1e-3)
    assert result.dead == (every == 0).all(0).mean()
    errors = [((x - codes[name] @ D.T) ** 2).sum(1) for name in ("encoder", "OMP, own count")]
    assert result.lost.beaten == pytest.approx((errors[1] < errors[0]).mean(), abs=1.5 / TOKENS)
    refitted = ((x - codes["own support"] @ D.T) ** 2).sum(1)
    assert result.lost.short == pytest.approx((errors[1] < refitted * (1 - 1e-6)).mean(), abs=1.5 / TOKENS)
    mean = ((x - x.mean(0)) ** 2).sum(1).mean()
    gains = np.sort(errors[0] - errors[1])[::-1][: len(result.lost.tokens)] / mean
    shown = [one["encoder"] - one["pursuit"] for one in result.lost.tokens]
    assert shown == pytest.approx(gains, rel=0.02, abs=1e-4)
    used = [(codes[name] > 0).sum(0) for name in ("encoder", "OMP, own count")]
    for one in result.lost.latents:
        assert one["encoder"] == used[0][one["latent"]]
        assert one["pursuit"] == pytest.approx(used[1][one["latent"]], abs=2)


def test_noise_moves_supports_as_said(result, x):
    """Of the encoder, on every other token, with the audit's own draw of noise."""
    some = x[::2]
    noise = torch.randn(some.shape, generator=torch.Generator().manual_seed(0)).double().numpy()
    size = np.linalg.norm(some, axis=1) / np.linalg.norm(noise, axis=1)
    a, b = encode(some, D, K) > 0, encode(some + 0.01 * size[:, None] * noise, D, K) > 0
    assert result.stability["encoder"] == pytest.approx(((a & b).sum(1) / (a | b).sum(1)).mean(), abs=5e-3)


def test_another_count_is_told_apart(result, codes, x):
    """The comparison can fail: one latent more a token moves the FVU by far more than the tolerance."""
    power = ((x - x.mean(0)) ** 2).sum()
    five = np.stack([pursuit(D, y, K + 1, np.arange(48)) for y in x])
    rows = {row.method: row for row in result.rows if row.decoder == "SAE"}
    assert rows["OMP"].fvu != pytest.approx(((x - five @ D.T) ** 2).sum() / power, rel=0.05)
