"""The CPU kernels on dictionaries made to break them: the contracts of test_solvers.py cover the ordinary ones."""

import importlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from amortgap.objectives import duality_gap, kkt_residual, objective
from amortgap.solvers import path, prepare, pursue, solve

FAST = ["working_set", "pivoting"]
ACTIVATIONS = Path(__file__).parent / "data" / "sotu_layer15.safetensors"
prepared_module = importlib.import_module("amortgap.solvers.prepared")
pivoting_module = importlib.import_module("amortgap.solvers.pivoting")
working_set_module = importlib.import_module("amortgap.solvers.working_set")  # the package names the function
both_signs = pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])


def gaussian(M, N, seed=0):
    g = torch.Generator().manual_seed(seed)
    D = torch.randn(M, N, generator=g, dtype=torch.double)
    return D / torch.linalg.vector_norm(D, dim=0)


def adversaries(M, N):
    D, other = gaussian(M, N), gaussian(M, N, seed=1)
    half = N // 2
    return {
        "gaussian": D,
        "coherence .99": 0.99**0.5 * D[:, :1] + 0.01**0.5 * other,
        "clusters": D[:, : N // 8].repeat_interleave(8, 1) + 0.07 * other[:, : N // 8 * 8],
        "every column twice": D[:, :half].repeat(1, 2),
        "nearly twice": torch.cat([D[:, :half], D[:, :half] + 1e-4 * other[:, :half]], 1),
        "almost exactly twice": torch.cat([D[:, :half], D[:, :half] + 1e-6 * other[:, :half]], 1),
        "opposite pairs": torch.cat([D[:, :half], -D[:, :half]], 1),
        "rank 2": D[:, :2] @ gaussian(2, N),
        "rank M/2": D[:, : M // 2] @ gaussian(M // 2, N),
        "tall": D[:, : M // 2],
        "lengths 1e-3 to 1e3": D * torch.logspace(-3, 3, N, dtype=torch.double),
    }


LARGE, SMALL = adversaries(40, 160), adversaries(8, 16)


@both_signs
@pytest.mark.parametrize("share", [1e-3, 0.05, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("name", ["working_set", "auto"])
def test_every_sample_is_certified_on_every_dictionary(name, kind, dtype, share, nonnegative):
    D = (LARGE if name == "working_set" else SMALL)[kind].to(dtype)
    x = torch.randn(60, len(D), generator=torch.Generator().manual_seed(2), dtype=dtype)
    x[0], x[1] = 0, D[:, 0]
    alpha = share * float((x @ D).abs().amax(1).median())
    solution = solve(D, x, alpha, name, nonnegative=nonnegative)
    assert solution.converged.all()
    assert (solution.stop == "gap reached").all()
    assert (solution.codes[0] == 0).all()
    assert (solution.codes >= 0).all() or not nonnegative
    D, x, codes = D.double(), x.double(), solution.codes.double()
    torch.testing.assert_close(solution.objective, objective(D, x, codes, alpha), rtol=1e-7, atol=0)
    if dtype == torch.float64:  # float32 codes are certified before rounding
        assert (duality_gap(D, x, codes, alpha, nonnegative) <= 1e-6).all()


@both_signs
@pytest.mark.parametrize("share", [1e-3, 0.05])
@pytest.mark.parametrize("kind", ["coherence .99", "nearly twice", "lengths 1e-3 to 1e3"])
def test_what_one_method_leaves_the_next_one_finishes(kind, share, nonnegative, monkeypatch):
    # too few exchanges for most of the samples that are not zero
    monkeypatch.setattr(pivoting_module, "EXCHANGES", 0.125)
    monkeypatch.setattr(pivoting_module, "MORE", 1)
    D = SMALL[kind]
    x = torch.randn(200, len(D), generator=torch.Generator().manual_seed(2), dtype=torch.double)
    x[:20] = 0
    alpha = share * float((x @ D).abs().amax(1).median())
    first, all_of_them = (solve(D, x, alpha, name, nonnegative=nonnegative) for name in ("pivoting", "auto"))
    proved = first.converged
    left = (~proved).numpy()
    assert left.any()
    assert proved.any()
    assert (first.method == "pivoting").all()
    assert np.isin(first.stop[left], ["limited by rounding", "step limit"]).all()
    assert (first.stop[~left] == "gap reached").all()
    assert all_of_them.converged.all()
    assert (all_of_them.method[~left] == "pivoting").all()
    assert np.isin(all_of_them.method[left], ["working_set", "fista"]).all()
    assert torch.equal(all_of_them.codes[proved], first.codes[proved])
    # the work of all that tried is counted
    assert torch.equal(all_of_them.n_steps[proved], first.n_steps[proved])
    assert (all_of_them.n_steps[left] > first.n_steps[left]).all()
    assert (all_of_them.flops > first.flops) == left.any()


@both_signs
@pytest.mark.parametrize("kind", ["gaussian", "coherence .99", "every column twice", "rank M/2"])
@pytest.mark.parametrize("name", FAST)
def test_objectives_of_an_interior_point_method(name, kind, nonnegative):
    D = (LARGE if name == "working_set" else SMALL)[kind]
    x = torch.randn(4, len(D), generator=torch.Generator().manual_seed(3), dtype=torch.double)
    ours = solve(D, x, 0.1, name, tol=1e-8, nonnegative=nonnegative)
    theirs = solve(D, x, 0.1, "lasso_cvxpy", nonnegative=nonnegative)
    torch.testing.assert_close(ours.objective, theirs.objective, rtol=1e-6, atol=0)
    assert (kkt_residual(D, x, ours.codes, 0.1, nonnegative) < 1e-3).all()


@both_signs
@pytest.mark.parametrize("name", FAST)
def test_alone_or_in_a_batch(name, nonnegative):
    D = gaussian(40, 160) if name == "working_set" else gaussian(8, 16)
    x = torch.randn(1500, len(D), generator=torch.Generator().manual_seed(4), dtype=torch.double)
    together = solve(D, x, 0.2, name, tol=1e-10, nonnegative=nonnegative)
    for i in (0, 700, 1499):
        alone = solve(D, x[i : i + 1], 0.2, name, tol=1e-10, nonnegative=nonnegative)
        # a relative gap of 1e-10 leaves errors of about 1e-5 in the codes
        torch.testing.assert_close(alone.codes[0], together.codes[i], rtol=0, atol=1e-4)
        torch.testing.assert_close(alone.objective[0], together.objective[i], rtol=2e-10, atol=0)


@both_signs
@pytest.mark.parametrize("kind", ["gaussian", "clusters", "every column twice", "rank M/2"])
def test_a_start_changes_the_work_but_not_the_optimum(kind, nonnegative):
    D = LARGE[kind]
    x = torch.randn(60, len(D), generator=torch.Generator().manual_seed(7), dtype=torch.double)
    options = {"nonnegative": nonnegative, "tol": 1e-9}
    cold = solve(D, x, 0.3, "working_set", **options)
    starts = {
        "the next alpha": solve(D, x, 0.33, "working_set", **options).codes,
        "the optimum": cold.codes,
        "another sample's": cold.codes.roll(1, 0),
        "dense": torch.ones_like(cold.codes),
    }
    for name, start in starts.items():
        warm = solve(D, x, 0.3, "working_set", init=start, **options)
        assert warm.converged.all()
        # both within a relative gap of 1e-9 of the one optimum
        torch.testing.assert_close(warm.objective, cold.objective, rtol=2e-9, atol=0)
        if name in ("the next alpha", "the optimum"):
            assert warm.n_steps.sum() < 0.5 * cold.n_steps.sum(), name


def test_a_path_takes_a_fraction_of_the_pivots():
    D = gaussian(40, 160)
    x = torch.randn(60, 40, generator=torch.Generator().manual_seed(8), dtype=torch.double)
    alphas = [0.8**i for i in range(1, 10)]
    warm = path(D, x, alphas, tol=1e-8)
    cold = [solve(D, x, alpha, "working_set", tol=1e-8) for alpha in alphas]
    for a, b in zip(warm, cold, strict=True):
        assert a.converged.all()
        torch.testing.assert_close(a.objective, b.objective, rtol=2e-8, atol=0)
    assert 3 * sum(a.n_steps.sum() for a in warm) < sum(b.n_steps.sum() for b in cold)


@both_signs
@pytest.mark.parametrize(
    "kind", ["gaussian", "coherence .99", "every column twice", "nearly twice", "rank M/2"]
)
def test_sixteen_bits_certify_every_sample(kind, nonnegative, monkeypatch):
    monkeypatch.setattr(prepared_module, "COMPRESSED", 1)
    monkeypatch.setattr(working_set_module, "COMPRESSED", 1)
    D = LARGE[kind]
    x = torch.randn(60, len(D), generator=torch.Generator().manual_seed(9), dtype=torch.double)
    solution = solve(D, x, 0.1, "working_set", tol=1e-8, nonnegative=nonnegative)
    assert solution.converged.all()
    assert (duality_gap(D, x, solution.codes, 0.1, nonnegative) <= 1e-8).all()


@pytest.mark.parametrize("compressed", [1, 10_000])
def test_the_gram_matrix_is_within_its_bound(compressed, monkeypatch):
    monkeypatch.setattr(prepared_module, "COMPRESSED", compressed)
    D = 1.5 * gaussian(40, 1100).float()  # more than one block
    given = prepare(D)
    gram, scale, bound, flops = given.gram(torch.float32)
    exact = (D.double().T @ D.double()).numpy() / given.length**2
    # float32 sums of 40 products of size one
    assert abs(scale * gram.astype("float64") - exact).max() <= bound + 5e-6
    assert gram.itemsize == (2 if compressed == 1 else 4)
    assert flops > 0
    # the second time it is there
    assert given.gram(torch.float32).G is gram
    assert given.gram(torch.float32).flops == 0


def test_half_width_products_are_within_their_bound():
    g = torch.Generator().manual_seed(11)
    D, x = gaussian(40, 160).float(), torch.randn(50, 40, generator=g)
    coarse, out, exact = prepare(D).coarse(), torch.empty(50, 160), x.double() @ D.double()
    bound, _ = working_set_module._correlate(x, D, coarse, 1.0, 1e9, out)
    wrong = (out - exact).abs().amax(1)
    # float32 sums of 40 products of size one; and a bound ten times too large would leave every atom in doubt
    assert (wrong <= bound + 5e-6).all()
    assert (bound < 10 * wrong).all()
    assert (
        working_set_module._correlate(x, D, coarse, 1.0, 1e-9, out)[0].max() == 0
    )  # too rough: float32 instead
    assert (out - exact).abs().max() < 5e-6


@both_signs
@pytest.mark.parametrize("width", [True, False], ids=["half width", "single"])
@pytest.mark.parametrize("kind", ["gaussian", "coherence .99", "every column twice", "rank M/2"])
def test_either_width_certifies_every_sample(kind, width, nonnegative, monkeypatch):
    monkeypatch.setattr(working_set_module, "half_width", lambda: width)
    monkeypatch.setattr(prepared_module, "COMPRESSED", 1)
    monkeypatch.setattr(working_set_module, "COMPRESSED", 1)
    D = LARGE[kind]
    x = torch.randn(60, len(D), generator=torch.Generator().manual_seed(12), dtype=torch.double)
    alpha = 0.1 * float((x @ D).abs().amax(1).median())  # half width is precise enough for this one
    solution = solve(D, x, alpha, "working_set", tol=1e-8, nonnegative=nonnegative)
    assert solution.converged.all()
    assert (duality_gap(D, x, solution.codes, alpha, nonnegative) <= 1e-8).all()


@both_signs
@pytest.mark.parametrize(
    ("run", "N"),
    [
        (partial(solve, alpha=0.2, method="working_set"), 160),
        (partial(solve, alpha=0.2, method="pivoting"), 16),
        (partial(pursue, K=5), 160),
    ],
    ids=["working_set", "pivoting", "omp"],
)
def test_threads_share_the_samples_and_change_nothing(run, N, nonnegative):
    D = gaussian(N // 4, N).float()
    x = torch.randn(1100, N // 4, generator=torch.Generator().manual_seed(10))  # more than one block
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(run(D, x, nonnegative=nonnegative))
            assert torch.get_num_threads() == threads  # which are one while the blocks are shared
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0].codes, found[1].codes)
    assert torch.equal(found[0].duality_gap, found[1].duality_gap)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_threads_of_its_own():
    script = """if True:
        import os, torch
        from amortgap.solvers import solve
        torch.set_num_threads(2)
        D, x = torch.eye(4), torch.rand(200, 4)
        codes = solve(D, x, 0.1).codes
        child = os.fork()
        if child == 0:
            os._exit(0 if torch.equal(codes, solve(D, x, 0.1).codes) else 1)
        raise SystemExit(os.waitpid(child, 0)[1])
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)


@both_signs
@pytest.mark.parametrize("share", [1e-6, 1e-3, 0.05])
@pytest.mark.parametrize("kind", SMALL)
def test_pivoting_alone_certifies_every_sample(kind, share, nonnegative):
    D = SMALL[kind]
    x = torch.randn(200, len(D), generator=torch.Generator().manual_seed(2), dtype=torch.double)
    alpha = share * float((x @ D).abs().amax(1).median())
    solution = solve(D, x, alpha, "pivoting", nonnegative=nonnegative)
    # lengths of 1e-3 and 1e3 at an alpha of 1e-6 leave float64 few digits
    spared = kind == "lengths 1e-3 to 1e3" and share == 1e-6
    assert (~solution.converged).sum() <= (0.05 * len(x) if spared else 0)
    assert (duality_gap(D, x, solution.codes, alpha, nonnegative) <= 1e-6)[solution.converged].all()


def test_pivoting_swaps_columns_when_the_support_is_full():
    """At small alpha, M columns fit x exactly and another one is violated: it can only replace one of them."""
    D = gaussian(8, 16)
    x = torch.randn(3000, 8, generator=torch.Generator().manual_seed(13), dtype=torch.double)
    solution = solve(D, x, 0.01, "pivoting")
    assert ((solution.codes > 0).sum(1) == 8).sum() > 300  # the case in question is common here
    assert solution.converged.all()


@both_signs
@pytest.mark.parametrize("centred", [True, False], ids=["centred", "as they are"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_dictionary_of_real_activations(dtype, centred, nonnegative):
    """Signals of a language model decomposed into other signals: uncentred they share one large direction."""
    data = load_file(ACTIVATIONS)
    mean = data["train.x"].double().mean(0) if centred else 0
    D = (data["train.x"].double() - mean).T.to(dtype)
    D /= torch.linalg.vector_norm(D, dim=0)
    x = (data["val.x"].double()[:40] - mean).to(dtype)
    alpha = 0.05 * float((x @ D).abs().amax(1).median())
    solution = solve(D, x, alpha, "working_set", nonnegative=nonnegative)
    assert solution.converged.all()
    if dtype == torch.float64:
        assert (duality_gap(D, x, solution.codes, alpha, nonnegative) <= 1e-6).all()


@pytest.mark.parametrize("name", FAST)
def test_alpha_above_every_correlation_gives_zero(name):
    D = gaussian(8, 16)
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(5))
    solution = solve(D, x, 100.0, name)
    assert (solution.codes == 0).all()
    # the rounding of float64 sums is counted
    assert (solution.duality_gap < 1e-13).all()
    assert solution.converged.all()


@settings(max_examples=60, deadline=None)
# exchanges of the worst violated index go in circles
@example("pivoting", 8, 8, 9, -2.5, False, 8)
@given(
    st.sampled_from(FAST),
    st.integers(1, 12),
    st.integers(1, 16),
    st.integers(0, 9),
    st.floats(-3, 0.5),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_shape(name, M, N, n, magnitude, nonnegative, seed):
    D = gaussian(M, N, seed)
    x = torch.randn(n, M, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    solution = solve(D, x, 10.0**magnitude, name, nonnegative=nonnegative)
    assert solution.codes.shape == (n, N)
    assert (duality_gap(D, x, solution.codes, 10.0**magnitude, nonnegative) <= 1e-6).all()


@both_signs
@pytest.mark.parametrize("name", FAST)
def test_signals_of_extreme_size(name, nonnegative):
    D = gaussian(20, 60) if name == "working_set" else gaussian(8, 16)
    x = torch.randn(6, len(D), generator=torch.Generator().manual_seed(6), dtype=torch.double)
    for size in (1e-60, 1e-20, 1e20, 1e60):
        solution = solve(D, size * x, 0.1 * size, name, nonnegative=nonnegative)
        assert solution.converged.all()
        assert (duality_gap(D, x, solution.codes / size, 0.1, nonnegative) <= 1e-6).all()
    # beyond float32 beside an alpha of 0.1
    x[0] *= 1e100
    solution = solve(D, x, 0.1, name, nonnegative=nonnegative)
    unproved = ~(duality_gap(D, x, solution.codes, 0.1, nonnegative) <= 1e-6)
    assert not (solution.converged & unproved).any()
    assert solution.converged[1:].all()
    with pytest.raises(ValueError, match="P is beyond the range of float64"):
        solve(D, 1e100 * x, 0.1, name, nonnegative=nonnegative)


def test_importing_the_solvers_imports_no_engine():
    # each takes between half a second and two, and most calls need none of them
    code = "import sys, amortgap.solvers; print(*{'numba', 'cvxpy', 'highspy', 'scipy'} & set(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code]
    assert not subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@both_signs
@pytest.mark.parametrize("max_pivots", [0, 3, 10])
def test_working_set_certifies_the_codes_that_it_did_not_finish(max_pivots, nonnegative):
    D = gaussian(16, 64)
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    options = {"nonnegative": nonnegative, "max_pivots": max_pivots}
    s = solve(D, x, 0.01, "working_set", **options)
    assert not s.converged.any()
    assert (s.stop == "step limit").all()
    # both are sums of 16 squares and 64 codes in float64
    assert torch.allclose(s.objective, objective(D, x, s.codes, 0.01), rtol=1e-12)
    assert torch.allclose(s.duality_gap, duality_gap(D, x, s.codes, 0.01, nonnegative), rtol=1e-12)
