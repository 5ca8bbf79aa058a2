"""Heads: each against a plain version of its equations, the kernel against all samples at once, the module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from amortgap.gap import HEAD_ROWS
from amortgap.heads import HEADS, Improved, _restricted, load, proposal_of, propose, propose_top
from amortgap.heads._select import select_rows
from amortgap.interop import SAE
from amortgap.problem import SparseProblem
from amortgap.solvers import prepare, pursue, solve

P = SparseProblem(N=96, M=32, K=5, n=120, noise=0.05, seed=1)
K = 6
GIVEN = prepare(P.D)
H = P.x @ P.D - 0.1
CODES = torch.zeros_like(H).scatter(1, H.topk(K).indices, H.topk(K).values.clamp_min(0))
every_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)


def error(values, proposal, x=P.x, D=P.D):
    return (x - proposal.codes(values, D.shape[1]) @ D.T).square().sum(1)


def columns(proposal, i):
    """The candidates of sample i as a float64 matrix (M, m)."""
    return P.D[:, proposal.candidates[i, : proposal.width[i]]].double().numpy()


@every_head
@pytest.mark.parametrize("ratio", [1, 1.5, 4])
def test_the_contract(head, ratio):
    proposal = propose(H, CODES, ratio)
    found = head(GIVEN, P.x, proposal)
    assert found.values.shape == proposal.candidates.shape
    assert found.values.dtype == P.x.dtype
    assert (found.values >= 0).all()
    assert ((found.values > 0).sum(1) <= proposal.k).all()
    beyond = torch.arange(found.values.shape[1]) >= proposal.width[:, None]
    assert not found.values[beyond].any()
    assert found.flops > 0
    # what is left: the best single candidate of those not in use, as a share of |r|^2
    codes = proposal.codes(found.values, 96)
    residual = P.x - codes @ P.D.T
    match = (residual @ P.D).gather(1, proposal.candidates).masked_fill(beyond | (found.values > 0), 0)
    if (
        head is not HEADS["lasso"] and head is not HEADS["iht"]
    ):  # a support may be smaller than they asked for
        share = match.clamp_min(0).amax(1).square() / residual.square().sum(1)
        assert torch.allclose(found.left, share, atol=1e-4)


@every_head
def test_a_sample_alone_or_among_others(head):
    proposal = propose(H, CODES, 3)
    together = head(GIVEN, P.x, proposal).values
    for i in (0, 7, 119):
        rows = torch.tensor([i])
        alone = head(GIVEN, P.x[rows], proposal.rows(rows)).values
        assert torch.allclose(together[rows], alone, atol=1e-5)


@every_head
def test_float32_by_the_kernel_and_float64_all_at_once_agree(head):
    proposal = propose(H, CODES, 3)
    other = proposal._replace(amplitude=proposal.amplitude.double())
    fast, exact = head(GIVEN, P.x, proposal), head(prepare(P.D.double()), P.x.double(), other)
    assert exact.values.dtype == torch.float64
    # in single samples rounding may decide between two candidates that match equally
    same = (fast.values - exact.values).abs().amax(1) < 1e-3
    assert same.double().mean() > 0.98
    assert torch.allclose(fast.left[same].double(), exact.left[same], atol=1e-3)


@every_head
def test_nothing_proposed_and_no_samples(head):
    silent = propose(-H.abs(), torch.zeros_like(H), 2)
    assert not head(GIVEN, P.x, silent).values.any()
    none = torch.zeros(0, dtype=torch.long)
    proposal = propose(H, CODES, 2)
    assert head(GIVEN, P.x[:0], proposal.rows(none)).values.shape == (0, proposal.candidates.shape[1])


def test_refit_is_nonnegative_least_squares():
    proposal = propose(H, CODES, 2)
    values = HEADS["refit"](GIVEN, P.x, proposal).values
    for i in range(len(P.x)):
        own = columns(proposal, i)[:, : proposal.k[i]]
        assert np.allclose(values[i, : proposal.k[i]], nnls(own, P.x[i].double().numpy())[0], atol=1e-4)


def plain_pursuit(C, x, K):
    """OMP with s >= 0 as it is written: (support, coefficients)."""
    support, s = [], np.zeros(0)
    for _ in range(3 * K):
        match = C.T @ (x - C[:, support] @ s)
        match[support] = -np.inf
        if len(support) == K or match.max() < 1e-5:
            break
        support.append(int(match.argmax()))
        s = nnls(C[:, support], x)[0]
        support, s = [j for j, v in zip(support, s, strict=True) if v > 0], s[s > 0]
    return support, s


def test_pursuit_is_omp_among_the_candidates():
    proposal = propose(H, CODES, 4)
    values = HEADS["pursuit"](GIVEN, P.x, proposal).values
    for i in range(len(P.x)):
        support, s = plain_pursuit(columns(proposal, i), P.x[i].double().numpy(), int(proposal.k[i]))
        expected = np.zeros(values.shape[1])
        expected[support] = s
        assert np.allclose(values[i], expected, atol=1e-3)


def test_pursuit_among_all_latents_is_that_of_the_solvers():
    everything = propose(H, torch.ones_like(H), 1)._replace(k=torch.full((len(H),), K))
    mine = error(HEADS["pursuit"](GIVEN, P.x, everything).values, everything)
    omp = 2 * pursue(P.D, P.x, K).objective
    # theirs counts an atom that has left among the K, so here the error can only be smaller
    assert (mine <= omp * (1 + 1e-4) + 1e-6).double().mean() > 0.9
    assert torch.isclose(mine.double(), omp, rtol=1e-3, atol=1e-6).double().mean() > 0.8


def test_leave_one_out_drops_what_costs_least():
    proposal = propose(H, CODES, 2)
    values = HEADS["leave_one_out"](GIVEN, P.x, proposal).values
    for i in range(40):
        C, x, k = columns(proposal, i), P.x[i].double().numpy(), int(proposal.k[i])
        support = [j for j, v in enumerate(nnls(C, x)[0]) if v > 0]
        while len(support) > k:
            costs = [nnls(C[:, [j for j in support if j != out]], x)[1] for out in support]
            support.pop(int(np.argmin(costs)))
        cost = nnls(C[:, support], x)[1]
        # the plain version looks one latent ahead with s >= 0, the head without: they may part where one turns zero
        assert float(error(values, proposal)[i]) ** 0.5 <= cost * 1.02 + 1e-6


def test_lasso_is_on_the_solution_path_and_as_far_down_as_the_count_allows():
    proposal = propose(H, CODES, 4)
    values = HEADS["lasso"](GIVEN, P.x, proposal, refit=False).values
    for i in range(0, len(P.x), 4):
        C, s = columns(proposal, i), values[i, : proposal.width[i]].double().numpy()
        c = C.T @ (P.x[i].double().numpy() - C @ s)
        alpha = float(c[s > 0].mean())
        assert np.allclose(c[s > 0], alpha, atol=1e-4)
        assert (c[s == 0] <= alpha + 1e-4).all()
        # a little further down the path there would be too many, or the penalty has ended
        if alpha > 1e-3:
            lower = solve(torch.tensor(C), P.x[i : i + 1].double(), 0.999 * alpha, tol=1e-9).codes[0]
            assert int((lower > 1e-9).sum()) > int(proposal.k[i]) or alpha < 2e-3


def test_iht_takes_its_steps():
    proposal = propose(H, CODES, 3)
    none = HEADS["iht"](GIVEN, P.x, proposal, steps=0, refit=False).values
    assert torch.allclose(none, proposal.amplitude)
    one = HEADS["iht"](GIVEN, P.x, proposal, steps=1, refit=False).values
    for i in range(20):
        C, x, k = columns(proposal, i), P.x[i].double().numpy(), int(proposal.k[i])
        s = proposal.amplitude[i, : C.shape[1]].double().numpy()
        g = C.T @ (x - C @ s)
        step = (g[s > 0] ** 2).sum() / ((C[:, s > 0] @ g[s > 0]) ** 2).sum()
        moved = np.maximum(s + step * g, 0)
        moved[np.argsort(-moved)[k:]] = 0
        assert np.allclose(one[i, : C.shape[1]], moved, atol=1e-4)
    with pytest.raises(ValueError, match="steps must be at least 0"):
        HEADS["iht"](GIVEN, P.x, proposal, steps=-1)


def test_adaptive_is_between_refit_and_pursuit():
    proposal = propose(H, CODES, 3)
    refit, pursuit = (HEADS[name](GIVEN, P.x, proposal) for name in ("refit", "pursuit"))
    assert torch.equal(HEADS["adaptive"](GIVEN, P.x, proposal, gate=1).values, refit.values)
    gate = float(refit.left.median())
    half = HEADS["adaptive"](GIVEN, P.x, proposal, gate=gate)
    pays = refit.left > gate
    assert torch.equal(half.values[~pays], refit.values[~pays])
    assert torch.allclose(half.values[pays], pursuit.values[pays], atol=1e-6)
    assert refit.flops < half.flops < refit.flops + pursuit.flops
    with pytest.raises(ValueError, match="gate is a share"):
        HEADS["adaptive"](GIVEN, P.x, proposal, gate=2)


def test_a_gram_matrix_in_16_bits_changes_nothing_that_counts():
    p = SparseProblem(N=2304, M=64, K=8, n=64, noise=0.02, seed=2)
    h = p.x @ p.D
    proposal, given = propose_top(h, 8, 4), prepare(p.D)
    assert given.gram(torch.float32).G.dtype == np.int16
    exact = proposal._replace(amplitude=proposal.amplitude.double())
    for name in ("refit", "pursuit"):
        fast = error(HEADS[name](given, p.x, proposal).values, proposal, p.x, p.D)
        slow = HEADS[name](prepare(p.D.double()), p.x.double(), exact).values
        reference = error(slow, proposal, p.x.double(), p.D.double())
        assert float(fast.sum()) == pytest.approx(
            float(reference.sum()), rel=1e-2 if name == "pursuit" else 1e-4
        )


def test_more_candidates_explain_more():
    proposals = [propose(H, CODES, ratio) for ratio in (1, 2, 4)]
    errors = [float(error(HEADS["pursuit"](GIVEN, P.x, p).values, p).sum()) for p in proposals]
    own = float((P.x - CODES @ P.D.T).square().sum())
    assert own > errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(
    ("N", "T", "k"), [(4608, 64, 32), (100, 64, 3), (64, 64, 64), (7, 1, 1), (1000, 999, 5)]
)
def test_selection_finds_the_largest(N, T, k):
    draw = torch.Generator().manual_seed(0)
    rows = [torch.randn(8, N, generator=draw), torch.randn(2, N, generator=draw).round(), torch.zeros(1, N)]
    h = torch.cat([*rows, -1 - torch.rand(3, N, generator=draw)])
    found, width = np.empty((len(h), T), np.int64), np.linspace(k, T, len(h)).astype(np.int64)
    select_rows(h.numpy(), T, width, width * k // T, found)
    found = torch.from_numpy(found)
    assert (found.sort(1).values.diff(dim=1) > 0).all()
    for row, places, w in zip(h, found, width.tolist(), strict=True):
        for first in (T, w, w * k // T):
            chosen = row[places[:first]].sort(descending=True).values
            assert torch.equal(chosen, row.topk(first).values)


def test_proposals_begin_with_the_encoders_own():
    proposal = propose(H, CODES, 2.5)
    assert torch.equal(proposal.codes(proposal.amplitude, 96), CODES)
    assert torch.equal(proposal.k, (CODES > 0).sum(1))
    assert torch.equal(proposal.width, (2.5 * proposal.k).ceil().long())
    for i in range(len(H)):
        chosen = proposal.candidates[i, : proposal.width[i]]
        assert set(chosen.tolist()) == set(H[i].topk(len(chosen)).indices.tolist())
    # an encoder that uses more latents on some activations than on others
    codes = torch.relu(H - H.median(dim=1).values[:, None] - torch.linspace(0, 1, len(H))[:, None])
    varied = propose(H, codes, 1.5)
    assert torch.equal(varied.codes(varied.amplitude, 96), codes)
    assert len(varied.k.unique()) > 5
    for i in range(len(H)):
        for first in (varied.k[i], varied.width[i]):
            chosen = varied.candidates[i, :first]
            assert set(chosen.tolist()) == set(H[i].topk(len(chosen)).indices.tolist())
    top = propose_top(H, K, 2.5)
    assert torch.equal(top.codes(top.amplitude, 96), CODES)
    assert torch.equal(top.k, proposal.k)
    # an encoder that finds fewer than k positive pre-activations
    few = propose_top(H - H.median(), 40, 2)
    assert torch.equal((few.amplitude > 0).sum(1), few.k)
    assert int(few.k.min()) < 40
    for make in (lambda: propose(H, CODES, 0.5), lambda: propose_top(H, K, 0.5)):
        with pytest.raises(ValueError, match="ratio >= 1"):
            make()


def make(architecture, **options):
    """An SAE whose decoder rows are not of length one."""
    draw = torch.Generator().manual_seed(0)
    length = 0.5 + torch.rand(96, generator=draw)
    b_dec = 0.1 * torch.randn(32, generator=draw)
    bias = -0.2 * torch.rand(96, generator=draw)
    return SAE(architecture, P.D / length, bias, (P.D * length).T.contiguous(), b_dec, **options)


SAES = {
    "standard": make("standard"),
    "topk": make("topk", k=5),
    "topk, rescaled": make("topk", k=5, rescaled=True),
    "topk, own scale of inputs": make("topk", k=5, normalise="constant_norm_rescale"),
    "topk, layer norm": make("topk", k=5, normalise="layer_norm"),
    "batchtopk": make("batchtopk", k=5, threshold=torch.full((96,), 0.3)),
    "jumprelu": make("jumprelu", threshold=torch.linspace(0.1, 0.4, 96), subtract_b_dec=False),
    "matching pursuit": replace(make("matching_pursuit", k=5), W_enc=make("topk", k=5).W_dec.T),
    "gated": make("gated", r_mag=torch.full((96,), 0.1), b_mag=torch.full((96,), -0.1)),
}
every_sae = pytest.mark.parametrize("sae", SAES.values(), ids=SAES)


@every_sae
def test_the_module_takes_the_place_of_the_sae(sae, tmp_path):
    z, undo = sae.prepare(P.x)
    codes = sae.encode(z)
    module = Improved(sae, "pursuit", 3)
    proposal = proposal_of(sae, z, 3)
    assert torch.allclose(proposal.codes(proposal.amplitude, 96), codes, atol=1e-6)
    better = module.encode(P.x)
    assert ((better > 0).sum(1) <= (codes > 0).sum(1)).all()
    assert torch.allclose(module.decode(better), undo(better @ sae.W_dec + sae.b_dec), atol=1e-5)
    own = (P.x - undo(codes @ sae.D.T + sae.b_dec)).square().sum()
    assert (P.x - module(P.x)).square().sum() < own
    # any leading shape, any type
    assert torch.allclose(module(P.x.reshape(4, 30, 32)).reshape(-1, 32), module(P.x), atol=1e-5)
    assert module(P.x.bfloat16()).dtype == torch.bfloat16
    module.save(tmp_path / "better")
    again = load(tmp_path / "better")
    assert torch.equal(again.encode(P.x), better)
    assert (again.head, again.ratio, again.options) == ("pursuit", 3, {})


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sort", ["topk", "jumprelu"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_an_activation_that_is_not_finite_has_no_codes_and_changes_no_other(head, sort, value):
    module = Improved(SAES[sort], head)
    x = P.x[:6].clone()
    x[2, 3] = value
    codes, others = module.encode(x), [0, 1, 3, 4, 5]
    assert codes[2].isnan().all()
    assert torch.allclose(codes[others], module.encode(P.x[:6])[others], atol=1e-6)
    assert module.decode(codes).isnan().any(1).tolist() == [i == 2 for i in range(6)]


def test_the_module_keeps_its_head_and_options(tmp_path):
    module = Improved(SAES["topk"], "adaptive", 2, gate=0.1)
    module.save(tmp_path)
    again = load(tmp_path)
    assert again.options == {"gate": 0.1}
    assert torch.equal(again(P.x), module(P.x))
    assert "adaptive" in repr(again)
    assert not any(p.requires_grad for p in again.parameters())
    # casting the module loses digits of its weights, not its way of working
    assert torch.allclose(again.to(torch.bfloat16)(P.x), module(P.x), atol=0.3)


def test_dead_decoder_rows_are_left_out():
    sae = make("topk", k=5)
    sae.W_dec[::7] = 0
    module = Improved(sae, "pursuit", 4)
    codes = module.encode(P.x)
    assert not codes[:, ::7].any()
    assert torch.isfinite(module(P.x)).all()


def test_bad_use_is_one_sentence(tmp_path):
    sae = SAES["topk"]
    for arguments, options, message in (
        (("magic",), {}, "unknown head 'magic'; choose one of refit, pursuit"),
        (("pursuit", 0.5), {}, "ratio >= 1, not 0.5"),
        (("pursuit", 2), {"gate": 0.1}, "the head 'pursuit' does not take gate"),
        (("adaptive", 2), {"gate": 3}, "gate is a share"),
    ):
        with pytest.raises(ValueError, match=message):
            Improved(sae, *arguments, **options)
    with pytest.raises(ValueError, match=r"must have shape \(\.\., 32\) for this SAE, not \(32, 2\)"):
        Improved(sae).encode(torch.ones(32, 2))
    with pytest.raises(FileNotFoundError, match=r"holds no improved SAE: it has no head\.json"):
        load(tmp_path)
    Improved(sae).save(tmp_path)
    (tmp_path / "head.json").write_text("{}")
    with pytest.raises(ValueError, match="is no improved SAE, or damaged"):
        load(tmp_path)


@pytest.mark.gpu
@every_head
@pytest.mark.parametrize(("N", "k", "ratio"), [(96, 6, 3), (600, 40, 2), (600, 40, 4)])
def test_on_a_gpu(head, N, k, ratio):
    p = SparseProblem(N=N, M=N // 3, K=k, n=120, noise=0.05, seed=1)
    h = p.x @ p.D - 0.1
    proposal = propose(h, torch.zeros_like(h).scatter(1, h.topk(k).indices, h.topk(k).values.relu()), ratio)
    found = head(prepare(p.D.cuda()), p.x.cuda(), type(proposal)(*(part.cuda() for part in proposal)))
    assert found.values.is_cuda
    assert ((found.values > 0).sum(1).cpu() <= proposal.k).all()
    here = head(prepare(p.D), p.x, proposal)
    # rounding may decide between two candidates that match equally, the more often the more there are
    same = (found.values.cpu() - here.values).abs().amax(1) < 1e-3
    assert same.double().mean() > (0.98 if k == 6 else 0.9)
    assert torch.allclose(found.left.cpu()[same], here.left[same], atol=1e-3)
    errors = [float(error(values.cpu(), proposal, p.x, p.D).sum()) for values in (found.values, here.values)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


@pytest.mark.parametrize("name", HEAD_ROWS)
def test_with_more_latents_than_measurements_no_head_fits_worse_than_nothing(name):
    # least squares with s >= 0 leave at most |x|^2, and the encoder's own support at most what refitting it leaves
    g = torch.Generator().manual_seed(0)
    D = torch.nn.functional.normalize(torch.randn(16, 128, generator=g), dim=0)
    x = torch.randn(50, 16, generator=g) + 3 * torch.randn(1, 16, generator=g)
    h = x @ D
    codes = h.where(h > h.kthvalue(128 - 40, dim=1).values[:, None], 0).clamp_min(0)
    head, ratio = HEAD_ROWS[name]
    found, proposal = [], propose(h, codes, ratio)
    for dtype in (torch.float32, torch.float64):
        one = HEADS[head](
            prepare(D.to(dtype)), x.to(dtype), proposal._replace(amplitude=proposal.amplitude.to(dtype))
        )
        assert one.values.isfinite().all()
        assert (one.left <= 1).all()
        rest = x.double() - proposal.codes(one.values.double(), 128) @ D.double().T
        found.append(rest.square().sum(1) / x.double().square().sum(1))
        assert (found[-1] <= 1 + 1e-6).all()
    # float32 may take other steps where candidates tie, but explains as much
    assert found[0].mean() <= found[1].mean() + 0.01


def test_what_others_have_saved_is_not_overwritten(tmp_path):
    improved = Improved(SAES["topk"], "refit", 1)
    improved.save(tmp_path)
    improved.save(tmp_path)
    for name in ("head.json", "weights.safetensors"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(FileExistsError, match="another kind"):
            improved.save(folder)
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_hold_the_candidates_columns_too(monkeypatch, dtype):
    monkeypatch.setattr(_restricted, "MEMORY", 2_000_000)
    taken, plain = [], _restricted.small_problem
    monkeypatch.setattr(
        _restricted, "small_problem", lambda *given: taken.append(len(given[1])) or plain(*given)
    )
    proposal = propose(H, CODES, 4)
    HEADS["lasso"](
        prepare(P.D.to(dtype)), P.x.to(dtype), proposal._replace(amplitude=proposal.amplitude.to(dtype))
    )
    T, M = proposal.candidates.shape[1], P.x.shape[1]
    assert len(taken) > 1
    # the Gram matrix and the columns in float64
    assert max(taken) * 8 * (T * T + T * M) <= 2_000_000
