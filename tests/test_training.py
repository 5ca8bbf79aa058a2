"""Training many models at once is training each; and what is logged, kept and refused."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity

import amortgap
from amortgap import training
from amortgap.encoders import ENCODERS, MatchingPursuitEncoder
from amortgap.problem import SparseProblem
from amortgap.training import (
    AdamW,
    Cosine,
    checkpoint,
    fit,
    fit_until_still,
    learning_rate,
    loop,
    reconstruction_loss,
    snapshot,
    stack,
    supervised_loss,
    unstack,
)
from amortgap.training.checkpoint import Checkpoint

M, N, n = 6, 10, 40
encoders = pytest.mark.parametrize("name", ENCODERS)
with_own_weights = pytest.mark.parametrize("name", [n for n in ENCODERS if n != "matching_pursuit"])


def problem(seed=0, count=n):
    return SparseProblem(M=M, N=N, K=2, n=count, seed=seed, dtype=torch.double)


def build(name, seed=0, **options):
    return ENCODERS[name](M, N, seed=seed, **options).double()


def same(model, other):
    """Equal up to rounding: batched products sum in another order, and 60 steps of Adam carry it on.

    Gradients of matching pursuit nearly cancel (a residual is orthogonal to the atom just taken), and Adam divides
    what rounding leaves of them by its eps of 1e-8.
    """
    atol = 2e-5 if isinstance(model, MatchingPursuitEncoder) else 1e-8
    for (name, p), (_, q) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-7, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("supervised", [False, True], ids=["reconstruction", "supervised"])
@pytest.mark.parametrize("pre_bias", [False, True])
@encoders
def test_training_b_models_at_once_is_training_each(name, pre_bias, supervised, batch_size):
    p = problem()
    settings = {"steps": 60, "lr": 3e-3, "batch_size": batch_size, "seed": 5, "log_at": (0, 30, 60)}
    settings |= {"codes": p.codes} if supervised else {}
    weights = [0.0, 0.01, 0.3]
    many = stack([build(name, seed, pre_bias=pre_bias) for seed in range(3)])
    together = fit(many, p.x, l1_weight=torch.tensor(weights), **settings)
    for i, weight in enumerate(weights):
        single = build(name, i, pre_bias=pre_bias)
        alone = fit(single, p.x, l1_weight=weight, **settings)
        same(unstack(many, i), single)
        for a, b in zip(together.loss, alone.loss, strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-5, atol=1e-8)


def test_each_model_may_have_its_own_data():
    problems = [problem(seed) for seed in range(3)]
    x, codes = (torch.stack([getattr(p, k) for p in problems]) for k in ("x", "codes"))
    for target in (None, codes):
        many = stack([build("relu", seed) for seed in range(3)])
        fit(many, x, codes=target, steps=40, batch_size=8)
        for i, p in enumerate(problems):
            single = build("relu", i)
            fit(single, p.x, codes=None if target is None else p.codes, steps=40, batch_size=8)
            same(unstack(many, i), single)


@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_narrow_hidden_layers_are_padded_with_what_stays_zero(bias, supervised):
    p, widths = problem(), (3, 8, 5)
    many = stack([build("mlp", seed, hidden=h, bias=bias) for seed, h in enumerate(widths)])
    codes = p.codes if supervised else None
    fit(many, p.x, codes=codes, steps=60, lr=0.01)
    assert many.W1.shape == (3, 8, M)
    for i, h in enumerate(widths):
        assert (many.W1[i, h:] == 0).all()
        assert (many.W2[i, :, h:] == 0).all()
        assert not bias or (many.b1[i, h:] == 0).all()
        single = build("mlp", i, hidden=h, bias=bias)
        fit(single, p.x, codes=codes, steps=60, lr=0.01)
        torch.testing.assert_close(many.W1[i, :h], single.W1, rtol=1e-7, atol=1e-8)  # as in `same`
        torch.testing.assert_close(many.W2[i, :, :h], single.W2, rtol=1e-7, atol=1e-8)
        torch.testing.assert_close(unstack(many, i).encode(p.x), single.encode(p.x), rtol=1e-6, atol=1e-7)


def test_known_dictionaries_can_be_stacked():
    problems = [problem(seed) for seed in range(2)]
    many = stack([build("relu", D=p.D) for p in problems])
    before = many.decoder.D.detach().clone()
    assert not many.decoder.D.requires_grad
    fit(many, torch.stack([p.x for p in problems]), steps=5)
    assert torch.equal(many.decoder.D, before)


@encoders
def test_unstacking_undoes_stacking_and_copies(name):
    models = [build(name, seed) for seed in range(2)]
    many = stack(models)
    for i, model in enumerate(models):
        again = unstack(many, i)
        assert type(again) is type(model)
        for (k, a), (_, b) in zip(again.named_parameters(), model.named_parameters(), strict=True):
            assert torch.equal(a, b), k
            assert a.requires_grad == b.requires_grad
    with torch.no_grad():
        again.decoder.D.zero_()
    assert many.decoder.D[1].abs().sum() > 0
    assert models[1].decoder.D.abs().sum() > 0


@pytest.mark.parametrize(
    "models",
    [
        lambda: [],
        lambda: [build("relu"), build("topk")],
        lambda: [build("topk", k=2), build("topk", k=3)],
        lambda: [build("mlp", output="relu"), build("mlp", output="linear")],
        lambda: [build("relu"), build("relu", bias=True)],
        lambda: [build("relu", bias=True), build("relu")],
        lambda: [build("relu"), build("relu", D=problem().D)],
        lambda: [build("relu"), ENCODERS["relu"](M, N + 1).double()],
        lambda: [build("relu"), ENCODERS["relu"](M + 1, N).double()],
        lambda: [build("mlp", hidden=(3, 4)), build("mlp", hidden=3)],
        lambda: [build("pointwise", knots=3), build("pointwise", knots=4)],
        lambda: [build("relu"), build("relu").float()],
    ],
)
def test_what_cannot_be_stacked_is_refused(models):
    with pytest.raises(ValueError, match="stack"):
        stack(models())


# --- losses -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_losses_written_out():
    p, model = problem(), build("relu")
    s = model.encode(p.x)
    x_hat = model.decode(s)
    mse = sum(float((p.x[i, m] - x_hat[i, m]) ** 2) for i in range(n) for m in range(M)) / (n * M)
    l1 = sum(abs(float(v)) for v in s.flatten()) / (n * N)
    assert float(reconstruction_loss(model, p.x, 0.3)) == pytest.approx(mse + 0.3 * l1, rel=1e-12)
    cosines = [float(cosine_similarity(s[:, i], p.codes[:, i], dim=0)) for i in range(N)]
    assert float(supervised_loss(model, p.x, p.codes)) == pytest.approx(-sum(cosines) / N, rel=1e-12)


def test_a_dead_latent_does_not_break_the_supervised_loss():
    p, model = problem(), build("relu")
    with torch.no_grad():
        model.W[3] = 0
    codes = p.codes.clone()
    codes[:, 5] = 0
    loss = supervised_loss(model, p.x, codes)
    loss.backward()
    assert loss.isfinite()
    assert model.W.grad.isfinite().all()


@with_own_weights
def test_supervised_training_leaves_the_decoder_alone(name):
    p, model = problem(), build(name)
    before = model.decoder.D.detach().clone()
    history = fit(model, p.x, codes=p.codes, steps=100, lr=0.01, log_at=(0, 100))
    assert torch.equal(model.decoder.D, before)
    assert history.loss[1] < history.loss[0]


@pytest.mark.parametrize("lr", [0.01, Cosine(0.01), AdamW(0.01, 2.0)])
def test_fit_is_adam_as_torch_writes_it(lr):
    p, model, naive = problem(), build("relu"), build("relu")
    fit(model, p.x, steps=50, lr=lr, l1_weight=0.02)
    # a decay of 2, so that 50 steps shrink the weights by 1 - .98^50 = .64
    decayed = torch.optim.AdamW(naive.parameters(), lr=0.01, weight_decay=2.0, foreach=False)
    plain = torch.optim.Adam(naive.parameters(), lr=0.01, foreach=False)
    adam = decayed if isinstance(lr, AdamW) else plain
    for step in range(50):
        if isinstance(
            lr, Cosine
        ):  # two and a half steps up; 47.5 down, measured from the middle of each step
            fall = math.cos(math.pi * (step - 2) / 47.5)
            adam.param_groups[0]["lr"] = 0.01 * min((step + 0.5) / 2.5, (1 + fall) / 2)
        adam.zero_grad()
        s = torch.relu(p.x @ naive.W.T)
        loss = ((p.x - s @ naive.decoder.D.T) ** 2).mean() + 0.02 * s.abs().mean()
        loss.backward()
        adam.step()
        with torch.no_grad():
            naive.decoder.D /= naive.decoder.D.norm(dim=0)
    same(model, naive)


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_the_cosine_schedule(steps):
    rates = [learning_rate(Cosine(2.0), t, steps) for t in range(steps)]
    assert [learning_rate(2.0, t, steps) for t in range(steps)] == [2.0] * steps
    assert all(0 < r <= 2 for r in rates)
    # the area under the curve: half the top, warm-up and fall alike (by the midpoint rule, exact to h^2)
    assert sum(rates) / steps == pytest.approx(1.0, abs=1e-5 if steps == 1000 else 0.1)
    top = rates.index(max(rates))
    assert top == int(0.05 * steps)
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)


# --- until the loss stands still -----------------------------------------------------------------------------


def halves(supervised):
    p = SparseProblem(M=M, N=N, K=2, n=600, seed=0)
    options = {"codes": p.codes[:400], "held_out_codes": p.codes[400:]} if supervised else {}
    return (p.x[:400], p.x[400:]), {"steps": 100, "rounds": 80, "lr": 0.01, "batch_size": 100} | options


@pytest.mark.parametrize("supervised", [False, True], ids=["reconstruction", "supervised"])
def test_training_until_still_ends_where_more_training_gains_nothing(supervised):
    (x, held_out), how = halves(supervised)
    model = ENCODERS["relu"](M, N, seed=0)
    history, still = fit_until_still(model, x, held_out, **how)
    assert still
    assert history.steps == list(range(100, history.steps[-1] + 1, 100))

    def loss():
        with torch.no_grad():
            if supervised:
                return supervised_loss(model, held_out, how["held_out_codes"])
            return reconstruction_loss(model, held_out, 0.01)

    before = loss()
    # ten rounds more at the last rate: one gained less than a thousandth
    fit(model, x, codes=how.get("codes"), steps=1000, lr=0.01 / 4**3, batch_size=100, seed=7)
    assert before - loss() < 1e-2 * abs(before)


def test_a_run_that_still_learns_says_so():
    (x, held_out), how = halves(False)
    history, still = fit_until_still(ENCODERS["relu"](M, N), x, held_out, **how | {"rounds": 2, "tol": 1e-6})
    assert not still
    assert history.steps == [100, 200]


def test_training_until_still_goes_on_from_its_files(tmp_path):
    (x, held_out), how = halves(True)
    models = [ENCODERS["relu"](M, N, seed=0) for _ in range(3)]
    how |= {"rounds": 6, "log_at": (0, 3, 150), "measure": lambda m: {"norm": m.W.norm().item()}}
    whole, _ = fit_until_still(models[0], x, held_out, **how)
    assert whole.steps == [0, 3, 100, 150, 200, 300, 400, 500, 600]
    file = tmp_path / "run.pt"
    fit_until_still(models[1], x, held_out, checkpoint_file=file, **how | {"rounds": 3})
    again, _ = fit_until_still(models[2], x, held_out, checkpoint_file=file, **how)
    assert torch.equal(models[2].W, models[0].W)
    assert again.steps == whole.steps
    assert again.measures == whole.measures


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"rounds": 0}, {"tol": 0.0}, {"cuts": -1}, {"held_out_codes": None}], ids=str
)
def test_training_until_still_refuses(wrong):
    (x, held_out), how = halves(True)
    with pytest.raises(ValueError, match=r"codes|steps|tol"):
        fit_until_still(ENCODERS["relu"](M, N), x, held_out, **how | wrong)


# --- batches, history, checkpoints --------------------------------------------------------------------------


def test_one_seed_is_one_run_bit_for_bit():
    p = problem()
    models = [build("relu") for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        fit(model, p.x, steps=30, batch_size=8, seed=seed)
    assert torch.equal(models[0].W, models[1].W)
    assert not torch.equal(models[0].W, models[2].W)


def test_an_epoch_sees_every_sample_once():
    seen = []
    model = build("relu")
    encode = model.encode
    model.encode = lambda x: (seen.append(x[:, 0]), encode(x))[1]
    x = torch.arange(12, dtype=torch.double)[:, None].expand(12, M)
    fit(model, x, steps=6, batch_size=4)
    first, second = torch.cat(seen[1:4]), torch.cat(seen[4:7])  # the first look counts the FLOPs
    for epoch in (first, second):
        assert epoch.sort().values.tolist() == list(range(12))
    assert not torch.equal(first, second)
    assert not torch.equal(first, first.sort().values)


def test_history_is_what_was_asked_for():
    p, model = problem(), build("relu")
    seen = []

    def measure(current):
        assert not torch.is_grad_enabled()
        seen.append(current.W.detach().clone())
        return {"norm": float(current.W.norm())}

    history = fit(model, p.x, steps=10, log_at=(0, 3, 10, 99), measure=measure)
    assert history.steps == [0, 3, 10]
    assert len(history.loss) == len(history.measures["norm"]) == 3
    assert history.seconds > 0
    torch.testing.assert_close(history.loss[0], reconstruction_loss(build("relu"), p.x, 0.01))
    torch.testing.assert_close(history.loss[-1], reconstruction_loss(model, p.x, 0.01))
    assert torch.equal(seen[-1], model.W)


def test_snapshots_are_the_models_of_their_step():
    p, model, short = problem(), build("relu"), build("relu")
    history = fit(model, p.x, steps=20, log_at=(0, 7), measure=snapshot)
    fit(short, p.x, steps=7)
    for state, expected in zip(history.measures["state"], (build("relu"), short), strict=True):
        assert state.keys() == expected.state_dict().keys()
        assert all(torch.equal(v, expected.state_dict()[k]) for k, v in state.items())


def test_logging_does_not_change_the_run():
    p, model, quiet = problem(), build("relu"), build("relu")
    fit(model, p.x, steps=20, batch_size=8, log_at=range(21), measure=snapshot)
    fit(quiet, p.x, steps=20, batch_size=8)
    assert torch.equal(model.W, quiet.W)


def test_no_steps_change_nothing():
    model = build("relu")
    history = fit(model, problem().x, steps=0, log_at=(0,))
    assert torch.equal(model.W, build("relu").W)
    assert history.steps == [0]


# --- refusals -----------------------------------------------------------------------------------------------


def test_divergence_is_an_error_with_its_step():
    p = problem()
    model = stack([build("relu", seed) for seed in range(2)])
    with torch.no_grad():
        model.W[1] = 1e200
    with pytest.raises(FloatingPointError, match="after 0 steps"):
        fit(model, p.x, steps=3, log_at=(0,))


X, S = problem().x, problem().codes
BAD = {
    "NaN": (X * math.nan, {}),
    "inf": (X / 0, {}),
    "another width": (X[:, :3], {}),
    "one dimension": (X[0], {}),
    "no samples": (X[:0], {}),
    "a list": (X.tolist(), {}),
    "data for stacked models": (X.expand(2, n, M), {}),
    "codes of another width": (X, {"codes": S[:, :1]}),
    "codes of other samples": (X, {"codes": S[:5]}),
    "NaN codes": (X, {"codes": S * math.nan}),
    "negative steps": (X, {"steps": -1}),
    "negative weight": (X, {"l1_weight": -0.1}),
    "NaN weight": (X, {"l1_weight": math.nan}),
    "more weights than models": (X, {"l1_weight": torch.ones(3)}),
    "no learning rate": (X, {"lr": 0.0}),
    "NaN learning rate": (X, {"lr": math.nan}),
    "empty batches": (X, {"batch_size": 0}),
    "a cosine with its top at zero": (X, {"lr": Cosine(0.0)}),
    "weights that grow": (X, {"lr": AdamW(0.01, -1.0)}),
    "weights that decay past zero": (X, {"lr": AdamW(0.5, 2.0)}),
    "batches larger than the data": (X, {"batch_size": n + 1}),
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_refusals(wrong):
    x, options = wrong
    model = build("relu")
    with pytest.raises(ValueError, match=r"\w+ .+"):
        fit(model, x, **({"steps": 1} | options))
    assert torch.equal(model.W, build("relu").W)


@pytest.mark.parametrize(
    "wrong", [{"x": X.expand(2, n, M)}, {"l1_weight": torch.ones(2)}, {"codes": S.expand(2, n, N)}]
)
def test_stacked_models_refuse_data_and_weights_for_another_number(wrong):
    many = stack([build("relu", seed) for seed in range(3)])
    with pytest.raises(ValueError, match=r"must (have shape|be a number)"):
        fit(many, **({"x": X, "steps": 1} | wrong))


def test_nothing_to_learn_is_refused():
    with pytest.raises(ValueError, match="nothing to learn"):
        fit(build("matching_pursuit", D=problem().D), X, steps=1)


@pytest.mark.gpu
@encoders
def test_training_on_cuda_is_training_on_the_cpu(name):
    p = problem()
    cpu, gpu = (stack([build(name, seed) for seed in range(2)]) for _ in range(2))
    gpu.cuda()
    weights = torch.tensor([0.01, 0.1])
    for batch_size in (None, 8):
        a = fit(cpu, p.x, steps=30, batch_size=batch_size, l1_weight=weights, log_at=(30,))
        b = fit(gpu, p.x.cuda(), steps=30, batch_size=batch_size, l1_weight=weights, log_at=(30,))
        same(cpu, gpu.cpu())
        gpu.cuda()
        torch.testing.assert_close(a.loss[0], b.loss[0])


@pytest.mark.parametrize("name", ["relu", "topk", "jumprelu", "gated"])
def test_a_model_of_nan_is_an_error_even_if_nothing_is_logged(name):
    model = ENCODERS[name](M, N)
    with pytest.raises(FloatingPointError, match="not finite after 50 steps"):
        fit(model, X.float() * 1e20, steps=50, batch_size=20)


@pytest.mark.parametrize("kind", ["numpy", "double", "bfloat16", "float16"])
def test_data_are_cast_to_the_type_of_the_model(kind):
    cast, given = build("relu").float(), build("relu").float()
    x = {"numpy": X.numpy(), "double": X, "bfloat16": X.bfloat16(), "float16": X.half()}[kind]
    fit(given, x, codes=S, steps=5)
    fit(cast, torch.as_tensor(x).float(), codes=S.float(), steps=5)
    assert torch.equal(cast.W, given.W)
    with pytest.raises(ValueError, match=r"float32 contains NaN or infinite"):
        fit(cast, X * 1e300, steps=1)


# --- streams ------------------------------------------------------------------------------------------------


def endless(first, size=8):
    """Batch number t holds rows t, t + 1, ... of X, around the end."""
    while True:
        yield X.roll(-first, 0)[:size]
        first += 1


def test_a_stream_is_trained_on_batch_by_batch():
    model, naive = build("relu"), build("relu")
    history = fit(model, endless, steps=30, lr=0.01, l1_weight=0.02, log_at=(0, 30))
    adam, batches = torch.optim.Adam(naive.parameters(), lr=0.01, fused=True), endless(0)
    for _ in range(30):
        adam.zero_grad()
        reconstruction_loss(naive, next(batches), 0.02).backward()
        adam.step()
        naive.decoder.normalise_()
    assert torch.equal(model.W, naive.W)
    assert torch.equal(history.loss[1], reconstruction_loss(naive, next(batches), 0.02))
    rows = fit(build("relu"), X[:8], steps=30, log_at=(30,))
    assert history.flops[1] == rows.flops[0]


@pytest.mark.parametrize(
    ("stream", "options"),
    [
        (endless, {"codes": S}),
        (endless, {"batch_size": 4}),
        (lambda first: iter([X[:, :3]] * 9), {}),
        (lambda first: iter([X * math.nan] * 9), {}),
    ],
    ids=["codes", "batch size", "width", "NaN"],
)
def test_streams_that_do_not_fit_are_refused(stream, options):
    with pytest.raises(ValueError, match=r"stream|batches"):
        fit(build("relu"), stream, steps=1, **options)


# --- the kernel, and runs that were stopped -----------------------------------------------------------------


def small(name, seed, known=False, **options):
    """A float32 problem of more than one block of samples and a model for it."""
    p = SparseProblem(M=M, N=N, K=2, n=300, seed=seed)
    return p, ENCODERS[name](M, N, D=p.D if known else None, seed=seed, **options)


@pytest.mark.parametrize("pace", [{}, {"batch_size": 64, "lr": Cosine(3e-3)}, {"batch_size": 280}], ids=str)
@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("relu", {}),
        ("relu", {"bias": True}),
        ("mlp", {"hidden": 20}),
        ("mlp", {"hidden": 13, "bias": True, "output": "linear"}),
        ("topk", {"k": 3}),
        ("topk", {"k": 8, "bias": True}),
        ("mlp", {"hidden": 20, "k": 3}),
    ],
)
def test_the_kernel_is_autograd(name, options, known, supervised, pace, monkeypatch):
    """Losses equal up to a few roundings, weights to a tenth of one of the 50 steps, one of each kind to a third.

    Adam divides a gradient by its own size: where it nearly vanishes, what is left of it is rounding, and one step
    moves the weight by up to the learning rate.
    """
    pairs = [small(name, seed, known, **options) for seed in range(3)]
    x, codes = (torch.stack([getattr(p, k) for p, _ in pairs]) for k in ("x", "codes"))
    found = []
    for kernel in (True, False):
        many = stack([model for _, model in pairs])
        assert loop.suits_kernel(many, x)
        if not kernel:
            monkeypatch.setattr(loop, "suits_kernel", lambda *_: False)
        weights = torch.tensor([0.0, 0.01, 0.3])
        settings = {"steps": 50, "lr": 3e-3, "log_at": range(0, 51, 10), "l1_weight": weights, **pace}
        found.append((many, fit(many, x, codes=codes if supervised else None, **settings)))
    (fast, a), (slow, b) = found
    assert (a.steps, a.flops) == (b.steps, b.flops)
    torch.testing.assert_close(torch.stack(a.loss), torch.stack(b.loss), rtol=1e-6, atol=1e-6)
    for (key, p), q in zip(fast.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-3, msg=lambda text, key=key: f"{key}: {text}")
        assert ((p - q).abs() > 3e-4).sum() <= 1, key


def test_the_kernel_gives_the_same_bits_on_any_number_of_threads():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            pairs = [small("mlp", seed, hidden=9) for seed in range(3)]
            many = stack([model for _, model in pairs])
            fit(many, pairs[0][0].x, steps=30)
            found.append(many)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(p, q) for p, q in zip(found[0].parameters(), found[1].parameters(), strict=True))


class Killed(Exception):
    """Stands for a run that dies at any moment."""


@pytest.mark.parametrize("name", ["relu", "topk"])
@pytest.mark.parametrize(
    "pace",
    [{}, {"lr": Cosine(3e-3)}, {"lr": AdamW(3e-3)}, {"batch_size": 64, "lr": Cosine(3e-3)}],
    ids=str,
)
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "autograd"])
@pytest.mark.parametrize("stopped_at", [7, 40])
def test_a_stopped_run_goes_on_bit_for_bit(name, pace, compiled, stopped_at, tmp_path, monkeypatch):
    if not compiled:
        monkeypatch.setattr(loop, "suits_kernel", lambda *_: False)
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(training.steps, "CHUNK", 3)
    (p, whole), (_, again) = small(name, 0), small(name, 0)
    settings = {"steps": 50, "lr": 3e-3, "log_at": (0, 5, 20, 50), **pace}

    def measure(m):
        return {"norm": m.W.norm()} | snapshot(m)

    expected = fit(whole, p.x, measure=measure, **settings)
    file = tmp_path / "run" / "checkpoint.pt"

    write = Checkpoint.write

    def write_and_die(self, step, history):
        write(self, step, history)
        if step >= stopped_at:
            raise Killed

    settings |= {"measure": measure, "checkpoint_file": file}
    monkeypatch.setattr(Checkpoint, "write", write_and_die)
    with pytest.raises(Killed):
        fit(again, p.x, **settings)
    early = file.read_bytes()
    monkeypatch.setattr(Checkpoint, "write", write)
    for _ in range(2):  # the second time everything is read back
        _, again = small(name, 0)
        history = fit(again, p.x, **settings)
        assert torch.equal(again.W, whole.W)
        assert torch.equal(again.decoder.D, whole.decoder.D)
        assert (history.steps, history.flops) == (expected.steps, expected.flops)
        assert all(torch.equal(a, b) for a, b in zip(history.loss, expected.loss, strict=True))
        assert history.measures["norm"] == expected.measures["norm"]
        states = zip(history.measures["state"], expected.measures["state"], strict=True)
        assert all(torch.equal(a["W"], b["W"]) for a, b in states)
    assert [f.name for f in file.parent.iterdir()] == [file.name]
    _, other = small(name, 0)
    file.write_bytes(early)  # where the kernel stopped torch goes on, and the other way round
    monkeypatch.setattr(loop, "suits_kernel", lambda *_: not compiled)
    fit(other, p.x, **settings)
    torch.testing.assert_close(other.W, whole.W, rtol=0, atol=1e-3)  # as the kernel and autograd above
    monkeypatch.setattr(loop, "suits_kernel", lambda *_: compiled)
    nearly = torch.nextafter(p.x, torch.full_like(p.x, torch.inf))  # as other threads may round it
    fit(again, nearly, **settings)
    with pytest.raises(ValueError, match="another run"):
        fit(again, p.x * 2, **settings)
    with pytest.raises(ValueError, match=r"holds 50 steps|another run"):
        fit(again, p.x, **{**settings, "steps": 20})
    for damage in (b"", b"no checkpoint", file.read_bytes()[:-500]):
        file.write_bytes(damage)
        with pytest.raises(ValueError, match="damaged"):
            fit(again, p.x, **settings)


@pytest.mark.slow
def test_a_change_in_any_file_of_the_kernels_compiles_them_anew(tmp_path):
    """The cache of the outer kernel knows the text of the functions it calls, which stand in other files."""
    library = tmp_path / "lib"
    shutil.copytree(
        Path(amortgap.__file__).parent, library / "amortgap", ignore=shutil.ignore_patterns("*cache*")
    )
    products = library / "amortgap" / "_kernels" / "products.py"
    program = (
        "import torch; from amortgap.encoders import ReLUEncoder; from amortgap.training import fit;"
        "model = ReLUEncoder(2, 3); fit(model, torch.ones(4, 2), steps=1); print(model.b, model.W.tolist())"
    )
    env = os.environ | {"PYTHONPATH": str(library), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    found = []
    for epsilon in ("1e-8", "1e-8", "10.0"):
        text = re.sub(r"(BETA1, BETA2, EPS = 0.9, 0.999, )[\d.e-]+", rf"\g<1>{epsilon}", products.read_text())
        products.write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )
        found.append(done.stdout)
    assert found[0] == found[1]
    # Adam with another epsilon makes another step
    assert found[2] != found[0]
