"""amortgap improve: what it chooses, on what it measures it, and the module and page that it writes."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.optimize import nnls

from amortgap import heads
from amortgap.audit import Inputs, from_model
from amortgap.audit.groups import groups
from amortgap.audit.loss import model_loss
from amortgap.cli import main
from amortgap.improve import improve
from amortgap.improve.baselines import longer, refitted
from amortgap.improve.measure import _choose
from amortgap.improve.splits import split
from amortgap.interop import SAE, write
from amortgap.pages.improve import render
from amortgap.problem import SparseProblem
from tiny_models import save_gpt2

P = SparseProblem(N=96, M=24, K=4, n=900, noise=0.05, seed=3)
DOCUMENTS = torch.arange(900) // 25
TOPK = SAE("topk", P.D.clone(), torch.zeros(96), P.D.T.contiguous(), torch.zeros(24), k=4)


@pytest.fixture(scope="module")
def result():
    return improve(TOPK, Inputs(P.x, DOCUMENTS), share=0.5, tokens=200, baseline_seconds=0.3)


def test_the_numbers_are_those_of_the_module(result):
    rows = split(DOCUMENTS, 0)[2][:200]
    x = P.x[rows].double()
    codes = result.module.encode(P.x[rows]).double()
    power = (x - x.mean(0)).square().sum()
    way = {w.name: w for w in result.test}[result.chosen]
    assert way.fvu == pytest.approx(float((x - codes @ TOPK.W_dec.double()).square().sum() / power), rel=1e-5)
    assert way.l0 == pytest.approx(float((codes > 0).sum(1).double().mean()))
    own = TOPK.encode(P.x[rows]).double()
    encoder = result.test[0]
    assert encoder.fvu == pytest.approx(
        float((x - own @ TOPK.W_dec.double()).square().sum() / power), rel=1e-5
    )
    best = {w.name: w for w in result.test}["pursuit among all"]
    assert (encoder.share, best.share) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert way.share == pytest.approx((encoder.fvu - way.fvu) / (encoder.fvu - best.fvu))
    for w in result.test:
        assert w.low <= w.fvu <= w.high
        assert w.l0 <= encoder.l0


def test_refit_is_recomputed_by_scipy_alone(result):
    rows = split(DOCUMENTS, 0)[1][:200].tolist()
    D, x = P.D.double().numpy(), P.x[rows].double().numpy()
    error = 0.0
    for signal in x:
        own = np.argsort(-(D.T @ signal))[:4]
        error += nnls(D[:, own], signal)[1] ** 2
    fvu = error / ((x - x.mean(0)) ** 2).sum()
    assert {w.name: w for w in result.validation}["refit"].fvu == pytest.approx(fvu, rel=1e-4)


def test_the_fastest_that_is_good_enough_is_chosen(result):
    tried = result.validation[1:-1]
    assert result.kept
    enough = [way for way in tried if way.share >= 0.5]
    assert result.chosen == min(enough, key=lambda way: way.cost).name
    assert all(way.cost > 0 and way.flops > 1 for way in tried)
    pursuits = {w.name: w.share for w in tried}
    assert pursuits["pursuit among 1.5k"] < pursuits["pursuit among 3k"] < pursuits["pursuit among 8k"]
    best = max(tried, key=lambda way: way.share)
    assert _choose(tried, {"cost": 1e9}) == (best.name, True)
    assert _choose(tried, {"share": 2.0}) == (best.name, False)
    assert _choose(tried, {"cost": 1e-9}) == (min(tried, key=lambda way: way.cost).name, False)


def test_where_a_pursuit_gains_nothing_the_encoder_is_kept(result):
    level = [replace(way, fvu=result.test[0].fvu) for way in result.test]
    assert replace(result, test=level).sentence.startswith("Keep the encoder: a pursuit among all latents")
    assert result.sentence.startswith("Use ")


def test_documents_are_in_one_part_only():
    parts = split(DOCUMENTS, 5)
    names = [set(DOCUMENTS[part].tolist()) for part in parts]
    assert not names[0] & names[1]
    assert not names[1] & names[2]
    assert not names[0] & names[2]
    assert sorted(torch.cat(parts).tolist()) == list(range(900))
    assert [round(len(part) / 900, 1) for part in parts] == [0.5, 0.2, 0.3]
    group, name = groups(torch.zeros(900), 900)
    assert name == "blocks"
    assert (group.unique(return_counts=True)[1] <= 32).all()
    # enough documents are known, but too few of them are in one of the parts that are scored
    assert groups(DOCUMENTS, 900)[1] == groups(DOCUMENTS, 900, *parts[:1])[1] == "documents"
    assert groups(DOCUMENTS, 900, *parts)[1] == "blocks"


def test_baselines_train_the_encoder_alone_and_get_better_by_their_own_loss():
    start = replace(
        TOPK, W_enc=TOPK.W_enc + 0.3 * torch.randn(24, 96, generator=torch.Generator().manual_seed(0))
    )
    after = longer(start, P.x, 0.5, 0)
    assert torch.equal(after.W_dec, start.W_dec)

    def fvu(sae):
        return float((P.x - sae.encode(P.x) @ sae.D.T).square().sum())

    assert fvu(after) < fvu(start)
    codes = torch.relu(P.x @ P.D)
    fitted = refitted(start, P.x, codes, 0.5, 0)

    def distance(sae):
        return float((torch.relu(sae.preactivations(P.x)[0]) - codes).square().sum())

    assert distance(fitted) < distance(start)


def test_other_architectures_leave_out_what_they_cannot_have():
    standard = replace(TOPK, architecture="standard", b_enc=torch.full((96,), -0.3), k=None)
    found = improve(standard, Inputs(P.x), cost=4, tokens=100, baseline_seconds=0.1)
    assert "does not say what its penalty weighed" in found.left_out["encoder trained on by its own loss"]
    assert [w.name for w in found.test][-1] == "linear encoder fitted to the pursuit's codes"
    assert found.resampled == "blocks"
    gated = replace(standard, architecture="gated", r_mag=torch.zeros(96), b_mag=torch.full((96,), -0.1))
    assert len(improve(gated, Inputs(P.x), tokens=100, baseline_seconds=0.1).left_out) == 2


def test_the_page_and_the_notebook_show_it(result):
    page = render("<my> SAE", result)
    assert "&lt;my&gt; SAE" in page
    assert "<my>" not in page
    assert not re.search(r'(src|href)="(?!#|data:|improve\.json)', page)
    for way in result.test + result.validation:
        assert f"{way.fvu:.4f}" in page
    shown = result._repr_html_()
    assert result.chosen in shown
    assert shown.count("<tr>") == 1 + len(result.test)


def test_with_a_model_the_loss_recovered_is_that_of_the_module(tmp_path, monkeypatch):
    monkeypatch.setenv("AMORTGAP_CACHE", str(tmp_path))
    torch.manual_seed(0)
    model, texts = save_gpt2(tmp_path / "gpt2"), tmp_path / "texts"
    texts.mkdir()
    draw = np.random.default_rng(0)
    for i in range(14):
        (texts / f"{i}.txt").write_text(" ".join(draw.choice(["peace", "war", "labor", "of", "the"], 200)))
    given = from_model(str(model), "blocks.1.hook_resid_post", str(texts), 2500, context=32)
    D = SparseProblem(N=48, M=16, K=3, n=1).D
    sae = SAE("topk", D, torch.zeros(48), D.T.contiguous(), torch.zeros(16), k=4)
    found = improve(sae, given, share=0.5, tokens=128, baseline_seconds=0.1)
    assert set(found.loss.recovered) == {"encoder", found.chosen}
    alone = model_loss(given, lambda x: {"module": found.module(x)})
    assert found.loss.recovered[found.chosen] == pytest.approx(alone.recovered["module"], abs=1e-6)
    assert found.loss.recovered[found.chosen] != pytest.approx(found.loss.recovered["encoder"], abs=1e-4)
    page = render("mine", found)
    assert "In the model" in page
    assert f"{found.loss.recovered[found.chosen]:.1%}" in page


def stop(*_):
    raise KeyboardInterrupt


def test_the_command_writes_a_module_that_loads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(TOPK, tmp_path / "sae")
    save_file({"activations": P.x, "document": DOCUMENTS}, tmp_path / "x.safetensors")
    arguments = ["improve", "sae", "--activations", "x.safetensors", "--tokens", "100"]
    assert main([*arguments, "--share", ".3", "--baseline-seconds", ".1"]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert printed.startswith("Use ")
    folder = tmp_path / "improved_sae"
    written = json.loads((folder / "improve.json").read_text())
    assert written["sentence"] in printed
    module = heads.load(folder)
    # one that was stopped while it wrote may be run again
    arguments += ["--share", ".3", "--baseline-seconds", ".1", "--out", "stopped"]
    with monkeypatch.context() as patch:
        patch.setattr(heads.Improved, "save", stop)
        assert main(arguments) == 130
    assert main(arguments) == 0, capsys.readouterr().err
    assert torch.isfinite(heads.load(tmp_path / "stopped")(P.x)).all()
    assert torch.isfinite(module(P.x)).all()
    assert (P.x - module(P.x)).square().sum() < (P.x - TOPK.encode(P.x) @ TOPK.D.T).square().sum()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (P.x, {"share": 0.5, "cost": 2}, "not both"),
        (P.x, {"share": 1.5}, "share must be above 0"),
        (P.x, {"cost": 1}, "cost above 1"),
        (P.x, {"tokens": 1}, "tokens must be at least 2"),
        (P.x[:, :10], {}, "this SAE takes"),
        (P.x[:100], {}, "needs at least 256 activations, not 100"),
        (torch.ones(300, 24), {}, "all the same"),
        (-P.x.abs() * 0, {}, "all the same"),
        (P.x * 1e20, {}, "float32 computes with"),
        (torch.cat([P.x[:1], torch.ones(899, 24)]), {}, "head are all the same"),
    ],
)
def test_bad_use_is_one_sentence(given, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        improve(TOPK, Inputs(given), **options)
    with pytest.raises(ValueError, match="takes what amortgap"):
        improve(TOPK, P.x)
    silent = replace(TOPK, b_enc=torch.full((96,), -1e3))
    with pytest.raises(ValueError, match="the encoder uses no latent"):
        improve(silent, Inputs(P.x))
