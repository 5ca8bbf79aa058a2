"""Contracts that every encoder keeps. They loop over ENCODERS, so a new one is tested by being registered."""

import copy
import inspect

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from amortgap._largest import largest
from amortgap.encoders import ENCODERS, MLPEncoder, ReLUEncoder, topk, uniform_biases
from amortgap.encoders._decoder import linear_weight
from amortgap.encoders._sparse import FLOPS
from amortgap.problem import SparseProblem
from amortgap.solvers import pursue
from amortgap.training import fit, reconstruction_loss, resample_dead, stack

M, N, n = 6, 10, 20
encoders = pytest.mark.parametrize("name", ENCODERS)


def options(name):
    """Every set of optional terms the encoder offers."""
    offered = inspect.signature(ENCODERS[name]).parameters
    choices = [{}, {"pre_bias": True}]
    if "bias" in offered:
        choices += [{"bias": True}, {"bias": True, "pre_bias": True}]
    if name == "mlp":
        choices += [{"hidden": (7, 5), "bias": True}]
    if "aux_k" in offered or name == "batch_topk":
        choices += [{"aux_k": 2, "dead_after": 1}]
    return choices


def signals(*shape, seed=0):
    return torch.randn(*shape, M, generator=torch.Generator().manual_seed(seed))


def stirred(name, seed=0, **chosen):
    """An encoder none of whose parameters is zero any more."""
    model = ENCODERS[name](M, N, seed=seed, **chosen)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=g)
    return model


every_form = pytest.mark.parametrize(
    ("name", "chosen"), [(name, c) for name in ENCODERS for c in options(name)], ids=lambda v: str(v)
)


@every_form
def test_shapes_and_types(name, chosen):
    model = stirred(name, **chosen)
    for dtype in (torch.float32, torch.float64):
        model = model.to(dtype)
        s = model.encode(signals(n).to(dtype))
        assert s.shape == (n, N)
        assert s.dtype == dtype
        assert model.decode(s).shape == (n, M)
        assert model.decode(s).dtype == dtype
        assert model.encode(signals(0).to(dtype)).shape == (0, N)
    # activations of another type are read in the type of the encoder
    for dtype in (torch.float32, torch.bfloat16):
        x = signals(n).to(dtype)
        assert torch.equal(model.encode(x), model.encode(x.double()))


@every_form
def test_a_sample_is_encoded_alike_alone_and_in_a_batch(name, chosen):
    model, x = stirred(name, **chosen).double(), signals(n).double()
    together = model.encode(x)
    alone = torch.cat([model.encode(row) for row in x.split(1)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model.decode(alone), model.decode(together), rtol=1e-12, atol=1e-14)


@every_form
def test_a_stacked_model_is_its_models(name, chosen):
    models = [stirred(name, seed, **chosen).double() for seed in range(3)]
    many, x = stack(models), signals(n).double()
    s = many.encode(x)
    assert s.shape == (3, n, N)
    own = signals(3, n, seed=1).double()
    for i, model in enumerate(models):
        # batched and plain products sum in another order
        torch.testing.assert_close(s[i], model.encode(x), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(many.encode(own)[i], model.encode(own[i]), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(many.decode(s)[i], model.decode(s[i]), rtol=1e-12, atol=1e-13)


@encoders
def test_decoding_is_the_dictionary_and_the_bias(name):
    model = stirred(name, pre_bias=True)
    s = torch.rand(n, N, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.decode(s), s @ model.decoder.D.T + model.decoder.b_pre)


@encoders
def test_the_pre_bias_is_taken_off_before_encoding(name):
    model = stirred(name, pre_bias=True).double()
    shifted = copy.deepcopy(model)
    with torch.no_grad():
        shifted.decoder.b_pre += 2.5
    x = signals(n).double()
    torch.testing.assert_close(shifted.encode(x + 2.5), model.encode(x), rtol=1e-12, atol=1e-12)


@every_form
def test_every_parameter_learns(name, chosen):
    model = stirred(name, **chosen)
    reconstruction_loss(model, signals(200), 0.01).backward()
    for parameter, value in model.named_parameters():
        if not value.requires_grad:  # counters and running means
            continue
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter
        assert value.grad.isfinite().all(), parameter


@encoders
def test_one_seed_is_one_model_bit_for_bit(name):
    a, b, other = (ENCODERS[name](M, N, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["decoder.D"], other["decoder.D"])


@encoders
def test_a_learned_dictionary_keeps_unit_columns(name):
    model = ENCODERS[name](M, N)
    ones = torch.ones(N)
    torch.testing.assert_close(torch.linalg.vector_norm(model.decoder.D, dim=0), ones)
    before = model.decoder.D.detach().clone()
    fit(model, signals(100), steps=20, lr=0.01)
    torch.testing.assert_close(torch.linalg.vector_norm(model.decoder.D, dim=0), ones)
    assert not torch.allclose(before, model.decoder.D)


@encoders
def test_a_given_dictionary_never_moves(name):
    p = SparseProblem(M=M, N=N, n=50)
    # matching pursuit has no weights but the dictionary and the pre-bias
    model = ENCODERS[name](M, N, D=p.D, pre_bias=True)
    assert not model.decoder.D.requires_grad
    fit(model, p.x, steps=10, lr=0.01)
    assert torch.equal(model.decoder.D, p.D)
    assert torch.equal(ENCODERS[name](M, N, D=p.D.numpy()).decoder.D, p.D)


@encoders
def test_training_lowers_the_loss(name):
    p = SparseProblem(M=M, N=N, n=200)
    model = ENCODERS[name](M, N)
    history = fit(model, p.x, steps=300, lr=0.01, log_at=(0, 300))
    assert history.loss[1] < 0.7 * history.loss[0]


@encoders
def test_refusals(name):
    for wrong in (torch.eye(M), torch.zeros(M, N), torch.full((M, N), torch.nan), torch.ones(N, M)):
        with pytest.raises(ValueError, match="dictionary"):
            ENCODERS[name](M, N, D=wrong)


def test_relu_and_mlp_written_out():
    x = signals(n)
    relu = stirred("relu", bias=True, pre_bias=True)
    centred = x - relu.decoder.b_pre
    torch.testing.assert_close(relu.encode(x), torch.relu(centred @ relu.W.T + relu.b))
    for output in ("relu", "linear"):
        mlp = stirred("mlp", hidden=7, bias=True, pre_bias=True, output=output)
        s = torch.relu((x - mlp.decoder.b_pre) @ mlp.W1.T + mlp.b1) @ mlp.W2.T + mlp.b2
        torch.testing.assert_close(mlp.encode(x), torch.relu(s) if output == "relu" else s)
        assert (mlp.encode(x) < 0).any() == (output == "linear")


@pytest.mark.parametrize("k", [1, 3, N])
def test_topk_keeps_the_k_largest_positive_ones(k):
    model, x = stirred("topk", k=k, bias=True), signals(n)
    s = model.encode(x)
    assert ((s != 0).sum(1) <= k).all()
    assert (s >= 0).all()
    full = torch.relu(x @ model.W.T + model.b)
    for code, pre in zip(s, full, strict=True):
        kept = sorted(pre.tolist(), reverse=True)[:k]
        torch.testing.assert_close(code.sort(descending=True).values[:k], torch.tensor(kept))
        assert (code[code != 0] == pre[code != 0]).all()


def test_topk_starts_at_the_transposed_dictionary():
    model = ENCODERS["topk"](M, N)
    assert torch.equal(model.W, model.decoder.D.T)
    assert model.W.data_ptr() != model.decoder.D.data_ptr()


@pytest.mark.parametrize("knots", [1, 2, 5, 16])
def test_pointwise_starts_as_relu(knots):
    model, x = ENCODERS["pointwise"](M, N, knots=knots), signals(n)
    torch.testing.assert_close(model.encode(x), torch.relu(x @ model.W.T))


def test_pointwise_written_out():
    model, x = stirred("pointwise", knots=3).double(), signals(n).double()
    u = x @ model.W.T
    for i in range(N):
        kinks = sum(model.v[i, p] * torch.relu(u[:, i] - model.t[i, p]) for p in range(3))
        torch.testing.assert_close(model.encode(x)[:, i], model.c[i] * u[:, i] + kinks + model.b[i])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("topk", {"k": 0}),
        ("topk", {"k": N + 1}),
        ("topk", {"aux_k": N + 1}),
        ("topk", {"dead_after": 0}),
        ("batch_topk", {"k": 0}),
        ("matching_pursuit", {"k": N + 1}),
        ("jumprelu", {"threshold": 0}),
        ("jumprelu", {"bandwidth": float("nan")}),
        ("lista", {"layers": -1}),
        ("lista", {"alpha": -1}),
        ("mlp", {"hidden": ()}),
        ("mlp", {"hidden": (4, 0)}),
        ("mlp", {"hidden": 0}),
        ("mlp", {"output": "gelu"}),
        ("pointwise", {"knots": 0}),
    ],
)
def test_settings_out_of_range_are_refused(name, wrong):
    with pytest.raises(ValueError, match="must be"):
        ENCODERS[name](M, N, **wrong)


def test_batch_topk_keeps_k_on_average_and_learns_its_threshold():
    model, x = stirred("batch_topk", k=2), signals(200)
    model.theta.data.zero_()
    pre = torch.relu(x @ model.W.T)
    kept = pre.flatten().sort(descending=True).values[: 2 * 200]
    x_hat, penalty, _ = model.training_pass(x)
    torch.testing.assert_close(x_hat, model.decode(pre * (pre >= kept.min())))
    torch.testing.assert_close(penalty, kept.sum() / pre.numel())
    assert model.theta == kept.min()  # the first batch sets it
    assert (model.encode(x) > 0).sum() == 2 * 200 - 1  # strictly above the threshold
    double = 2 * x
    model.training_pass(double)
    torch.testing.assert_close(model.theta, kept.min() * (1 + 0.01))


def test_batch_topk_without_a_positive_entry_keeps_its_threshold():
    model = stirred("batch_topk")
    before = model.theta.clone()
    x_hat, _, _ = model.training_pass(torch.zeros(5, M))
    assert x_hat.abs().sum() == 0
    assert torch.equal(model.theta, before)


def test_jumprelu_and_its_straight_through_gradients_written_out():
    model, x = stirred("jumprelu", bias=True, bandwidth=0.5).double(), signals(200).double()
    pi = (x @ model.W.T + model.b).detach()
    theta = model.log_theta.exp().detach()
    torch.testing.assert_close(model.encode(x), torch.where(pi > theta, pi, 0))
    s = model.encode(x)
    x_hat, penalty, extra = model.training_pass(x)
    assert extra == 0
    assert torch.equal(x_hat, model.decode(s))
    assert penalty.item() == pytest.approx((s > 0).double().mean().item(), rel=1e-12)
    near = ((pi - theta).abs() < 0.25).double() / 0.5
    (by_s,) = torch.autograd.grad(s.sum(), model.log_theta, retain_graph=True)
    torch.testing.assert_close(by_s, -(theta * near).sum(0) * theta)  # d theta / d log theta = theta
    (by_penalty,) = torch.autograd.grad(penalty, model.log_theta)
    torch.testing.assert_close(by_penalty, -near.sum(0) / pi.numel() * theta)


def test_the_expected_jumprelu_gradient_is_that_of_the_smoothed_expectation():
    """E H(pi - theta) = P(pi > theta): its derivative is minus the density of pi at theta."""
    pi = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()
    model = ENCODERS["jumprelu"](1, 1, D=torch.ones(1, 1), threshold=0.5, bandwidth=0.2).double()
    _, penalty, _ = model.training_pass(pi[:, None])
    (grad,) = torch.autograd.grad(penalty, model.log_theta)
    density = 0.5 * torch.exp(torch.tensor(-(0.5**2) / 2)) / (2 * torch.pi) ** 0.5
    # standard error sqrt(density / (bandwidth n)) theta, and curvature of the density below 1e-3
    assert abs(grad.item() + density.item()) < 3 * 0.5 * (0.35 / 0.2 / 200_000) ** 0.5 + 1e-3


def test_relu_trains_as_with_absolute_values_bit_for_bit():
    model, x = stirred("relu", bias=True, pre_bias=True), signals(50)
    s = model.encode(x)
    written = (x - model.decode(s)).square().mean() + 0.1 * s.abs().mean()
    learned = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(written, learned)
    loss = reconstruction_loss(model, x, 0.1)
    assert torch.equal(loss, written)
    assert all(map(torch.equal, torch.autograd.grad(loss, learned), expected))


def test_gated_written_out():
    model, x = stirred("gated", pre_bias=True).double(), signals(n).double()
    u = (x - model.decoder.b_pre) @ model.W.T
    gate = torch.relu(u + model.b_gate)
    s = (gate > 0) * torch.relu(model.r.exp() * u + model.b_mag)
    torch.testing.assert_close(model.encode(x), s)
    x_hat, penalty, extra = model.training_pass(x)
    assert torch.equal(x_hat, model.decode(s))
    torch.testing.assert_close(penalty, gate.mean())
    torch.testing.assert_close(extra, (x - model.decode(gate)).square().mean())
    (penalty + extra).backward()
    assert model.decoder.D.grad is None  # the auxiliary loss must not train the decoder
    assert model.decoder.b_pre.grad is not None


def test_lista_starts_as_nonnegative_ista():
    D, x, alpha = SparseProblem(M=M, N=N, n=1).D, signals(n).double(), 0.05
    model = ENCODERS["lista"](M, N, D=D, layers=30, alpha=alpha).double()
    D = model.decoder.D
    L = torch.linalg.matrix_norm(D, 2) ** 2
    s = torch.zeros(n, N).double()
    for _ in range(31):  # the first layer is the step away from zero
        s = torch.relu(s + ((x - s @ D.T) @ D - alpha) / L)
    torch.testing.assert_close(model.encode(x), s, rtol=1e-5, atol=1e-5)  # weights were made in float32


def test_matching_pursuit_is_the_pursuit_and_never_adds_to_the_residual():
    D, x = SparseProblem(M=M, N=N, n=1, dtype=torch.double).D, signals(n).double()
    before = x.norm(dim=1)
    for k in range(1, 5):
        model = ENCODERS["matching_pursuit"](M, N, D=D, k=k).double()
        s = model.encode(x)
        torch.testing.assert_close(s, pursue(model.decoder.D, x, k, "matching_pursuit").codes)
        after = (x - model.decode(s)).norm(dim=1)
        assert (after <= before + 1e-12).all()
        before = after


def test_several_hidden_layers_written_out():
    model, x = stirred("mlp", hidden=(7, 5), bias=True), signals(n)
    h = torch.relu(torch.relu(x @ model.W1.T + model.b1) @ model.W2.T + model.b2)
    torch.testing.assert_close(model.encode(x), torch.relu(h @ model.W3.T + model.b3))


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_auxk_trains_dead_latents_and_only_them(name):
    model, x = ENCODERS[name](M, N, k=1, bias=True, aux_k=2, dead_after=60), signals(50)
    with torch.no_grad():
        model.W[3] = 0
        model.b[3] = 1e-4  # positive, and never the largest
    for seen in (50, 100):
        x_hat, _, extra = model.training_pass(x)
        pre = torch.relu(x @ model.W.T + model.b)
        s = largest(pre, 1) if name == "topk" else largest(pre.view(1, -1), 50).view_as(pre)
        torch.testing.assert_close(x_hat, model.decode(s))
        assert (model.silent[s.any(0)] == 0).all()
        assert model.silent[3] == seen
        assert bool(extra > 0) == (seen >= 60)
    dead = model.silent >= 60
    assert dead.sum() == 1
    extra.backward()
    assert model.W.grad[3].abs().sum() > 0
    assert model.W.grad[~dead].abs().sum() == 0
    left = x - model.decode(s)
    z = torch.zeros(50, N).index_fill(1, torch.tensor(3), 1e-4)
    torch.testing.assert_close(extra, (left - model.decode(z)).square().mean() / 32)


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
@pytest.mark.parametrize(
    "chosen", [{}, {"bias": True, "pre_bias": True, "aux_k": 3, "dead_after": 25}, {"D": True}]
)
@pytest.mark.parametrize("stacked", [False, True])
def test_training_by_kept_entries_is_training_by_dense_products(name, chosen, stacked, monkeypatch):
    chosen = chosen | ({"D": SparseProblem(M=M, N=N, n=1).D} if "D" in chosen else {})
    models = [stirred(name, seed=s, k=2, **chosen).double() for s in (0, 1)]
    model, x = stack(models) if stacked else models[0], signals(n).double()
    found = {}
    for least in (0, N + 1):  # latents per entry from which the sparse way is taken
        monkeypatch.setattr(topk, "LATENTS_PER_ENTRY", least)
        one = copy.deepcopy(model)
        for batch in (x, 2 * x):  # in the second pass some latents count as dead
            with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
                loss = reconstruction_loss(one, batch, 0.3)
                loss.sum().backward()
        gradients = {key: p.grad for key, p in one.named_parameters()}
        found[least] = (loss, gradients, one.state_dict(), counter.get_total_flops())
    for a, b in zip(found[0][:3], found[N + 1][:3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    if not chosen:  # W x; then D s, and the gradients of W, D and the values, for n k entries each
        assert found[0][3] == (1 + stacked) * (2 * n * N * M + 4 * 2 * n * 2 * M)
        assert found[N + 1][3] == (1 + stacked) * 5 * 2 * n * N * M


@pytest.mark.parametrize("name", ["topk", "batch_topk"])
def test_a_look_at_the_loss_is_no_training(name):
    model = stirred(name, aux_k=2, dead_after=5)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        reconstruction_loss(model, signals(n), 0.0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_tied_relu_encoder_starts_at_the_transposed_dictionary():
    model = ENCODERS["relu"](M, N, tied=True)
    assert torch.equal(model.W, model.decoder.D.T)
    assert torch.equal(model.decoder.D, ENCODERS["relu"](M, N).decoder.D)


@pytest.mark.parametrize("name", ["relu", "topk", "batch_topk", "jumprelu", "gated", "mlp", "lista"])
def test_resampling_revives_dead_latents_and_leaves_the_others(name):
    options = {"pre_bias": True} | ({} if name in ("gated", "lista") else {"bias": True})
    model, x = ENCODERS[name](M, N, **options), signals(200)
    weight = getattr(model, "W2" if name == "mlp" else "W")
    with torch.no_grad():
        model.decoder.b_pre += 0.3
        for parameter in ("b", "b2", "b_gate"):
            if getattr(model, parameter, None) is not None:
                getattr(model, parameter)[:] += 0.2
                getattr(model, parameter)[[2, 7]] = -1e3
        if name == "lista":
            model.theta[[2, 7]] = 1e3
    before = copy.deepcopy(model)
    old = getattr(before, "W2" if name == "mlp" else "W")
    assert {2, 7} <= set((before.encode(x) == 0).all(0).nonzero().squeeze(1).tolist())
    dead = resample_dead(model, x, seed=1)
    assert torch.equal(dead, (before.encode(x) == 0).all(0))
    assert not dead.all()
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        changed = a != b
        assert not changed.any() or changed.ndim == 0 or N in a.shape
    torch.testing.assert_close(weight[~dead], old[~dead])
    torch.testing.assert_close(model.decoder.D[:, ~dead], before.decoder.D[:, ~dead])
    centred = x - model.decoder.b_pre
    cosines = (centred / centred.norm(dim=1, keepdim=True)) @ model.decoder.D[:, dead]
    torch.testing.assert_close(cosines.amax(0), torch.ones(int(dead.sum())))  # each new column is a row of x
    length = 0.2 * old[~dead].norm(dim=1).mean()
    torch.testing.assert_close(weight[dead].norm(dim=1), length.expand(int(dead.sum())))
    if name != "mlp":  # which reads its last hidden layer
        torch.testing.assert_close(weight[dead], length * model.decoder.D[:, dead].T)
    if name in ("relu", "mlp", "gated"):
        assert (model.encode(x)[:, dead] > 0).any(0).all()
    again = copy.deepcopy(before)
    assert torch.equal(resample_dead(again, x, seed=1), dead)
    assert torch.equal(getattr(again, "W2" if name == "mlp" else "W"), weight)


def test_resampling_prefers_what_is_badly_reconstructed():
    model = ENCODERS["relu"](M, N)
    with torch.no_grad():
        model.W.zero_()  # all dead: the error of a row is its own length
    x = torch.eye(M) * torch.tensor([100.0] + [1e-3] * (M - 1))
    assert resample_dead(model, x).all()
    torch.testing.assert_close(model.decoder.D, torch.eye(M)[:, :1].expand(M, N))


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (ENCODERS["pointwise"](M, N), signals(n)),
        (ENCODERS["relu"](M, N, D=SparseProblem(M=M, N=N, n=1).D), signals(n)),
        (stack([ENCODERS["relu"](M, N)]), signals(n)),
        (ENCODERS["relu"](M, N), signals(n)[:, :3]),
        (ENCODERS["relu"](M, N), signals(n) * torch.nan),
        (ENCODERS["relu"](M, N), signals(0)),
    ],
    ids=["kind", "given", "stacked", "width", "NaN", "empty"],
)
def test_resampling_refuses(model, x):
    with pytest.raises(ValueError, match=r"\w+ .+"):
        resample_dead(model, x)


def test_weights_start_like_torchs_linear_layers():
    ours = linear_weight(50, 400, torch.Generator().manual_seed(0))
    theirs = torch.nn.Linear(50, 400).weight
    assert ours.shape == theirs.shape
    for w in (ours, theirs.detach()):  # uniform in +-1/sqrt(50): standard deviation 1/sqrt(150)
        assert w.abs().max() <= 50**-0.5
        assert abs(float(w.std()) * 150**0.5 - 1) < 5 / (2 * w.numel()) ** 0.5


@pytest.mark.parametrize("encoder", [ReLUEncoder, MLPEncoder])
def test_biases_start_as_in_torchs_linear_layers(encoder):
    models = [encoder(8, 16, bias=True, seed=s) for s in range(200)]
    for s, model in enumerate(models):
        uniform_biases(model, s)
    for name in ("b",) if encoder is ReLUEncoder else ("b1", "b2"):
        inputs = models[0].get_parameter("W" + name[1:]).shape[1]
        values = torch.stack([model.get_parameter(name).detach() for model in models]).flatten() * inputs**0.5
        # a uniform law on (-1, 1): mean 0, variance 1/3, and 3200 or more values
        assert values.abs().max() <= 1
        assert values.mean().abs() < 0.06
        assert values.square().mean() == pytest.approx(1 / 3, abs=0.03)
    with pytest.raises(ValueError, match="has no biases"):
        uniform_biases(encoder(8, 16), 0)
