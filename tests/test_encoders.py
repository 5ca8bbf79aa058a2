"""Contracts that every encoder keeps. They loop over ENCODERS, so a new one is tested by being registered."""

import copy
import inspect

import pytest
import torch

from amortgap.encoders import ENCODERS
from amortgap.encoders._decoder import linear_weight
from amortgap.problem import SparseProblem
from amortgap.training import fit, reconstruction_loss, stack

M, N, n = 6, 10, 20
encoders = pytest.mark.parametrize("name", ENCODERS)


def options(name):
    """Every set of optional terms the encoder offers."""
    offered = inspect.signature(ENCODERS[name]).parameters
    choices = [{}, {"pre_bias": True}]
    if "bias" in offered:
        choices += [{"bias": True}, {"bias": True, "pre_bias": True}]
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
    model = ENCODERS[name](M, N, D=p.D)
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
        ("mlp", {"hidden": 0}),
        ("mlp", {"output": "gelu"}),
        ("pointwise", {"knots": 0}),
    ],
)
def test_settings_out_of_range_are_refused(name, wrong):
    with pytest.raises(ValueError, match="must be"):
        ENCODERS[name](M, N, **wrong)


def test_weights_start_like_torchs_linear_layers():
    ours = linear_weight(50, 400, torch.Generator().manual_seed(0))
    theirs = torch.nn.Linear(50, 400).weight
    assert ours.shape == theirs.shape
    for w in (ours, theirs.detach()):  # uniform in +-1/sqrt(50): standard deviation 1/sqrt(150)
        assert w.abs().max() <= 50**-0.5
        assert abs(float(w.std()) * 150**0.5 - 1) < 5 / (2 * w.numel()) ** 0.5
