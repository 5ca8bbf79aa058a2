"""amortgap audit: its numbers are those of gap, its page stands alone, its refusals are one sentence."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from amortgap._errors import Refused
from amortgap.audit import Inputs, audit, from_model, from_path
from amortgap.audit import measure as measuring
from amortgap.audit import rows as scoring
from amortgap.audit.agreement import proved
from amortgap.audit.loss import model_loss
from amortgap.audit.measure import SPLICED, _halves, reconstructions
from amortgap.audit.ways import Ways
from amortgap.cli import main
from amortgap.cli.auditing import folder_name, own_folder
from amortgap.gap import on_same_decoder
from amortgap.interop import SAE, read, write
from amortgap.metrics import fvu, l0
from amortgap.pages.audit import advice, findings, render
from amortgap.problem import SparseProblem
from amortgap.solvers import prepare, solve
from tiny_models import save_gpt2

P = SparseProblem(N=48, M=16, K=3, n=600, noise=0.01)
DOCUMENTS = torch.arange(600) // 20


def reading(D, bias=-0.3):
    """The SAE that reads codes off with the transpose of D."""
    return SAE("standard", D / 2, torch.full((D.shape[1],), bias / 2), 2 * D.T, torch.zeros(len(D)))


@pytest.fixture(scope="module")
def result():
    return audit(reading(P.D), Inputs(P.x, DOCUMENTS), tokens=128)


def test_the_rows_are_those_of_gap(result):
    rows = {row.method: row for row in result.rows if row.decoder == "SAE"}
    scored = _halves(DOCUMENTS, 600, 0)[1][:128].sort()[0]
    x, sae = P.x[scored], reading(P.D)
    expected = on_same_decoder(sae.D, x, sae.encode(x), result.scored.alpha)
    assert set(rows) > set(expected)
    for method, codes in expected.items():
        # with more latents than dimensions the kernel takes nearly dependent columns for dependent, in the order in
        # which it meets them: on one token of the 128 it does with one latent fewer
        assert rows[method].fvu == pytest.approx(float(fvu(x, codes @ sae.D.T)), rel=1e-3)
        assert rows[method].l0 == pytest.approx(float(l0(codes)), abs=1.5 / len(x))
        assert rows[method].low <= rows[method].fvu <= rows[method].high
        assert rows[method].gain == pytest.approx(rows["encoder"].fvu - rows[method].fvu)
        assert rows[method].flops > 0
    assert rows["own support"].gain >= 0
    assert rows["L1 support"].flops > rows["L1"].flops
    # the true dictionary and a solver explain nearly all; a random dictionary does not
    assert rows["OMP"].fvu < 0.05
    assert min(row.fvu for row in result.rows if row.decoder == "random") > 2 * rows["OMP"].fvu
    assert result.scored.worst_gap <= result.scored.tol
    assert result.l0 == rows["encoder"].l0
    assert min(result.excess) >= -1e-4


def test_tokens_that_set_alpha_are_not_scored():
    first, second = _halves(DOCUMENTS, 600, 0)
    assert not set(DOCUMENTS[first].tolist()) & set(DOCUMENTS[second].tolist())
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(600))
    first, second = _halves(None, 600, 0)
    assert len(first) == len(second) == len({*first.tolist(), *second.tolist()}) / 2


def test_dead_latents_are_counted():
    sae = reading(P.D)
    sae.b_enc[:12] = -1e3
    assert audit(sae, Inputs(P.x), tokens=64).dead == pytest.approx(12 / 48)


def test_a_zero_decoder_row_is_a_dead_latent(tmp_path):
    sae = reading(P.D)
    sae.W_dec[5] = 0
    write(sae, tmp_path / "sae")
    found = audit(read(tmp_path / "sae"), Inputs(P.x), tokens=64)
    assert found.dead == pytest.approx(1 / 48)
    assert all(np.isfinite([row.fvu, row.l0]).all() for row in found.rows)


def test_dotted_names_have_folders_of_their_own_and_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", P.x.numpy())
    for name in ("blocks.8.hook_resid_pre", "blocks.8.hook_mlp_out"):
        write(reading(P.D), name)
        assert main(["audit", name, "--activations", "x.npy", "--tokens", "64"]) == 0
        assert Path(f"audit_{name}/audit.json").is_file()
    assert folder_name(f"{name}/sae_weights.safetensors") == name
    assert (
        folder_name("gemma-scope-2b-pt-res:layer_20/width_16k") == "gemma-scope-2b-pt-res_layer_20_width_16k"
    )
    # a link is called as the user calls it, whatever it leads to
    Path("linked.safetensors").symlink_to(Path(name, "sae_weights.safetensors").absolute())
    assert folder_name("linked.safetensors") == "linked"
    assert folder_name(f"{name}/../{name}/.") == name
    # what is of another SAE stays, unless its folder was named; what a killed run left is nothing
    Path("other").mkdir()
    write(reading(P.D), f"other/{name}")
    before = Path(f"audit_{name}/index.html").stat().st_mtime_ns
    assert main(["audit", f"other/{name}", "--activations", "x.npy", "--tokens", "64"]) == 2
    assert f"holds what was made of {tmp_path / name}" in capsys.readouterr().err
    assert Path(f"audit_{name}/index.html").stat().st_mtime_ns == before
    Path("killed").mkdir()
    Path("killed/.audit.json.0123.tmp").write_text("{")
    assert own_folder(Path("killed"), "", [name]) == tmp_path / "killed"
    # the audit's own folder may be written again, another may not
    assert main(["audit", name, "--activations", "x.npy", "--tokens", "64"]) == 0
    Path("mine").mkdir()
    Path("mine/index.html").write_text("my page")
    assert main(["audit", name, "--activations", "x.npy", "--tokens", "64", "--out", "mine"]) == 2
    assert "holds other files; choose an empty or a new one" in capsys.readouterr().err
    assert Path("mine/index.html").read_text() == "my page"
    with pytest.raises(Refused, match=r"already holds cfg\.json and sae_weights"):
        write(reading(P.D), name)


@pytest.fixture(scope="module")
def small():
    """A TopK SAE without biases, which reads x and c x alike, and its audit."""
    sae = SAE("topk", P.D, torch.zeros(48), P.D.T, torch.zeros(16), k=3)
    return sae, {(row.decoder, row.method): row for row in audit(sae, Inputs(P.x), tokens=64).rows}


@pytest.mark.parametrize("scale", [1e-12, 1e13])
def test_the_unit_of_the_activations_does_not_matter(small, scale):
    sae, expected = small
    for row in audit(sae, Inputs(P.x * scale), tokens=64).rows:
        for name in ("fvu", "gain", "l0", "cosine", "norm_ratio", "explained"):
            # float32 may decide otherwise between two latents that match a residual equally: one token in 64
            near = pytest.approx(getattr(expected[row.decoder, row.method], name), rel=0.02, abs=0.02)
            assert getattr(row, name) == near, (row.method, name)


def test_zero_activations_have_no_ratio_of_norms(small):
    sae, _ = small
    x = torch.where(torch.arange(600)[:, None] % 2 == 0, P.x, 0)
    result = audit(sae, Inputs(x), tokens=64)
    z = x[_halves(None, 600, 0)[1][:64].sort()[0]]
    z = z[z.any(1)]
    assert 10 < len(z) < 50
    expected = ((sae.encode(z) @ sae.D.T).norm(dim=1) / z.norm(dim=1)).mean()
    assert result.rows[0].norm_ratio == pytest.approx(float(expected), rel=1e-5)
    assert json.dumps([row.norm_ratio for row in result.rows], allow_nan=False)


def test_an_sae_in_float64_is_audited_in_float32(small):
    sae, expected = small
    doubled = replace(
        sae, **{name: getattr(sae, name).double() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    )
    row = audit(doubled, Inputs(P.x.double().requires_grad_()), tokens=64).rows[0]
    assert row.fvu == pytest.approx(expected["SAE", "encoder"].fvu, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (P.x, "an audit takes what amortgap.audit's Inputs, from_path or from_model gives, not Tensor"),
        (Inputs(P.x * 1e20), "float32 computes with 1e-15 to 1e+15 here"),
        (Inputs(P.x * 1e-20), "float32 computes with"),
        (Inputs(P.x.double() * 1e200), "the largest activation has norm inf"),
        (Inputs(torch.cat([P.x[:1], torch.ones(299, 16)])), "activations that are scored are all the same"),
    ],
)
def test_activations_that_cannot_be_audited_are_one_sentence(small, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        audit(small[0], given, tokens=64)


def test_no_gap_where_the_encoder_is_exact():
    clean = SparseProblem(N=16, M=16, K=3, n=400, dictionary=torch.eye(16))
    sae = replace(reading(clean.D, bias=0.0), architecture="topk", k=3)
    said = findings(audit(sae, Inputs(clean.x), tokens=128))
    assert "Keep the encoder" in said[0]


def test_the_same_seed_gives_the_same_numbers(result):
    again = audit(reading(P.D), Inputs(P.x, DOCUMENTS), tokens=128)
    for a, b in zip(result.rows, again.rows, strict=True):
        assert replace(a, seconds=0) == replace(b, seconds=0)


def test_the_rows_do_not_depend_on_the_batches(monkeypatch):
    # four latents a token, so that supports are independent
    sae = replace(reading(P.D, bias=0.0), architecture="topk", k=4)
    result = audit(sae, Inputs(P.x, DOCUMENTS), tokens=128)
    monkeypatch.setattr(scoring, "BATCH", 20)
    again = audit(sae, Inputs(P.x, DOCUMENTS), tokens=128)
    for a, b in zip(result.rows, again.rows, strict=True):
        # float32 may decide otherwise between two latents that match a residual equally
        assert (a.method, a.fvu, a.l0) == (
            b.method,
            pytest.approx(b.fvu, rel=5e-3),
            pytest.approx(b.l0, abs=0.05),
        )
    assert again.excess == pytest.approx(result.excess, abs=1e-3)
    assert len(again.excess) == again.scored.tokens == 128


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_decoding_sparse_codes_is_the_product(share):
    draw = torch.Generator().manual_seed(0)
    s = torch.rand(40, 200, generator=draw) * (torch.rand(40, 200, generator=draw) < share)
    s[[0, 17, 39]] = 0
    D = torch.randn(12, 200, generator=draw)
    assert torch.allclose(scoring.decode(s, D), s @ D.T, atol=1e-5)


def test_comparisons_and_the_random_decoder_take_a_part_of_many_tokens(monkeypatch):
    monkeypatch.setattr(measuring, "COMPARED_ON", 40)
    monkeypatch.setattr(measuring, "RANDOM_ON", 64)
    result = audit(reading(P.D), Inputs(P.x, DOCUMENTS), tokens=256)
    assert (result.scored.tokens, result.scored.compared, result.scored.random) == (256, 40, 64)
    page = render("a", result)
    assert "on 40 of the 256 tokens, evenly spaced" in page
    assert "on 64 of the 256 tokens, evenly spaced" in page


def test_the_page_stands_alone_and_escapes_names(result):
    page = render("<my> SAE", result)
    assert "&lt;my&gt; SAE" in page
    assert "<my>" not in page
    assert not re.search(r'(src|href)="(?!#|data:|audit\.json)', page)
    assert page.count('<svg role="img"') == 4
    for row in result.rows:
        assert f"{row.fvu:.4f}" in page


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    torch.manual_seed(0)
    folder = save_gpt2(tmp_path_factory.mktemp("gpt2"))
    texts = tmp_path_factory.mktemp("texts")
    draw = np.random.default_rng(0)
    for i in range(12):
        (texts / f"{i}.txt").write_text(" ".join(draw.choice(["peace", "war", "labor", "of", "the"], 200)))
    return str(folder), str(texts)


def test_the_loss_recovered_in_a_model(gpt2, tmp_path, monkeypatch):
    monkeypatch.setenv("AMORTGAP_CACHE", str(tmp_path))
    model, texts = gpt2
    given = from_model(model, "blocks.1.hook_resid_post", texts, 2000, context=32)
    identity = torch.cat([torch.eye(16), -torch.eye(16)], 1)
    # split into positive and negative parts, nothing is lost, and OMP with M atoms finds as much
    sae = reading(identity, bias=0.0)
    ways = Ways(sae, prepare(sae.D), 1e-3, 16, 1e-4)
    loss = model_loss(given, partial(reconstructions, sae, ways))
    assert loss.recovered["encoder"] == pytest.approx(1, abs=1e-3)
    assert loss.recovered["OMP"] == pytest.approx(1, abs=1e-3)
    assert loss.nats["encoder"] == pytest.approx(loss.nats["untouched"], abs=1e-5)
    assert loss.nats["mean"] != loss.nats["untouched"]


def test_what_a_dense_encoder_prevents_is_left_out_row_by_row():
    result = audit(reading(P.D, bias=0.6), Inputs(P.x, DOCUMENTS), tokens=64)
    assert result.l0 > 16
    assert "on M = 16 dimensions" in result.missing["L1, L1 support and steps"]
    own = {row.method for row in result.rows if row.decoder == "SAE"}
    assert {"encoder", "own support", "pursuit among 2k"} <= own
    assert not own & {"L1", "L1 support", "OMP", "OMP, own count", "1 step"}
    page = render("dense", result)
    assert "Rows left out" in page
    assert "are more than M = 16" in page
    assert "The objective" not in page


def test_steps_are_ista_begun_at_the_encoders_code():
    sae, x = reading(P.D), P.x[:64]
    codes = sae.encode(x)
    ways = {name: s for name, s, _ in Ways(sae, prepare(sae.D), 0.05, 3, 1e-4)(x, codes)}
    rate = 1 / np.linalg.norm(P.D.double().numpy(), 2) ** 2
    s = codes.double()
    for step in range(1, 6):
        s = (s - rate * ((s @ P.D.double().T - x) @ P.D.double() + 0.05)).clamp_min(0)
        if step in (1, 5):
            assert torch.allclose(ways[f"{step} step{'s' * (step > 1)}"].double(), s, atol=1e-5)
    refitted = ways["5 steps, refitted"]
    assert ((refitted > 0).sum(1) <= (codes > 0).sum(1)).all()
    assert set(refitted[3].nonzero()[:, 0].tolist()) <= set(
        s[3].topk(int((codes[3] > 0).sum())).indices.tolist()
    )


def test_which_code_and_what_loses_most(result):
    for one in result.agreement:
        assert 0 <= one.jaccard_chance < one.jaccard <= 1
        assert one.r2_chance < one.r2
    assert result.stability["encoder"] > 0.8
    assert all(one["encoder"] >= one["pursuit"] for one in result.lost.tokens)
    assert 0 < result.lost.short <= result.lost.beaten
    scored = _halves(DOCUMENTS, 600, 0)[1][:128].tolist()
    assert {one["row"] for one in result.lost.tokens + result.lost.latents} <= set(scored)


def test_the_text_of_a_token_is_that_before_it():
    strings = dict(enumerate("abcdefgh"))
    windows = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    given = Inputs(P.x[:2], windows=windows, place=torch.tensor([[1, 2], [0, 1]]), strings=strings)
    assert [given.text(0), given.text(1)] == ["ef[g]", "a[b]"]
    assert Inputs(P.x[:2]).text(0) is None


def test_latents_proved_absent_are_in_no_optimum():
    """Against an optimum to 1e-9: from a loose solution, whose certificate must not say too much."""
    x, own = P.x[:200].double(), torch.ones(200, 48)
    given = prepare(P.D.double())
    exact = solve(given, x, 0.05, tol=1e-9).codes
    shares = []
    for tol in (1e-1, 1e-2, 1e-4, 1e-8):
        loose = solve(given, x, 0.05, method="fista", tol=tol).codes
        found = proved(given, x, own, loose, 0.05)
        assert found.absent <= float((exact == 0).double().mean())
        assert found.shared == pytest.approx(float((loose > 0).double().mean()))
        shares.append(found.absent)
    assert shares == sorted(shares)
    assert shares[-1] > float((exact == 0).double().mean()) - 0.02


def test_the_advice_follows_from_the_rows(result):
    def with_gains(**gains):
        rows = [
            replace(row, gain=gains.get(row.method.replace(" ", "_"), 0.0), gain_low=0.01, l0=1, seconds=1)
            for row in result.rows
        ]
        return advice(replace(result, rows=rows))

    assert "Keep the encoder" in with_gains(L1=-0.1)
    said = with_gains(own_support=0.09, OMP=0.1)
    assert said.startswith("Use own support: 90% of the largest gain, OMP's, at 1.0 times")
    assert said.endswith("do not add ISTA steps, which leave more unexplained than the encoder.")
    assert "do not add" not in with_gains(OMP=0.1, **{"1_step": 0.02})


def test_a_way_at_another_l0_says_so_and_wins_nothing(result):
    def row(one):
        gain = {"own support": 0.1, "5 steps": 0.3}.get(one.method, 0.0)
        return replace(one, gain=gain, gain_low=gain, l0=12.6 if one.method == "5 steps" else 10.0, seconds=1)

    denser = replace(result, rows=[row(one) for one in result.rows])
    assert "Use own support: the largest gain at 1.0 times" in advice(denser)
    # what loses more than the best way gains is named instead of drawn
    lost = [replace(one, gain=-0.5) if one.method == "L1" else row(one) for one in result.rows]
    assert "Not drawn, as they lose more than the best way gains: L1.</p>" in render(
        "mine", replace(result, rows=lost)
    )
    assert "Not drawn" not in render("mine", denser)
    assert any(sentence.startswith("own support on the same decoder") for sentence in findings(denser))
    page = render("mine", denser)
    assert "<td>5 steps (1.26 × the L0)</td>" in page
    assert "<td>own support</td>" in page


def test_the_command_with_files(tmp_path, capsys):
    write(reading(P.D), tmp_path / "sae")
    np.save(tmp_path / "x.npy", P.x.numpy())
    out = tmp_path / "page"
    arguments = ["audit", str(tmp_path / "sae"), "--activations", str(tmp_path / "x.npy"), "--out", str(out)]
    assert main([*arguments, "--tokens", "64"]) == 0
    printed = capsys.readouterr().out
    assert "The encoder uses" in printed
    assert printed.strip().endswith("index.html")
    written = json.loads((out / "audit.json").read_text())
    assert len(written["rows"]) == 26
    assert written["scored"]["resampled"] == "blocks"
    assert "Audit of sae" in (out / "index.html").read_text()


def test_several_saes_make_a_page_that_compares_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(reading(P.D), tmp_path / "a")
    write(replace(reading(P.D, bias=0.0), architecture="topk", k=4), tmp_path / "b")
    np.save("x.npy", P.x.numpy())
    assert main(["audit", "a", "b", "--activations", "x.npy", "--tokens", "64"]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.splitlines()[-1].endswith("index.html")
    page = Path("audits/index.html").read_text()
    for name in ("1_a", "2_b"):
        written = json.loads(Path(f"audits/{name}/audit.json").read_text())
        assert f"{written['rows'][0]['fvu']:.4f}" in page
        assert f'href="./{name}/index.html"' in page
    assert main(["audit", "a", "b", "--activations", "x.npy", "--tokens", "64"]) == 0  # its own folder, again
    # one that was stopped between the two may be run again
    again = ["audit", "a", "b", "--activations", "x.npy", "--tokens", "64", "--out", "stopped"]
    configuration = Path("b/cfg.json").read_text()
    Path("b/cfg.json").write_text("{")
    assert main(again) == 2
    assert Path("stopped/1_a/index.html").is_file()
    Path("b/cfg.json").write_text(configuration)
    assert main(again) == 0
    Path("full").mkdir()
    Path("full/mine.txt").write_text("")
    capsys.readouterr()
    assert main(["audit", "a", "b", "--activations", "x.npy", "--out", "full"]) == 2
    assert "holds other files" in capsys.readouterr().err


@pytest.mark.parametrize("tokens", [-5, 0, 1, 2.5, "9"])
def test_two_tokens_are_the_fewest(tokens):
    with pytest.raises(ValueError, match="tokens must be"):
        audit(reading(P.D), Inputs(P.x), tokens=tokens)


def test_the_command_with_the_model_that_the_configuration_names(gpt2, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AMORTGAP_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model, texts = gpt2
    sae = replace(reading(P.D, bias=0.0), architecture="topk", k=4)
    sae.metadata.update(model_name=model, hook_name="blocks.1.hook_mlp_out")
    write(sae, tmp_path / "sae")
    arguments = ["audit", "sae", "--corpus", texts, "--n-tokens", "2000", "--tokens", "64"]
    assert main(arguments) == 0, capsys.readouterr().err
    written = json.loads(Path("audit_sae/audit.json").read_text())
    assert written["activations"]["layer"] == "blocks.1.hook_mlp_out"
    assert "In the model" in Path("audit_sae/index.html").read_text()
    # one position in each window of 128, and no massive activation in a model of random weights
    assert written["left_out"]["found"]["position 0"] == written["left_out"]["rows"] // 128
    assert set(written["loss"]["recovered"]) == set(SPLICED)
    # what loses most is shown in its text, the token itself in brackets
    page = Path("audit_sae/index.html").read_text()
    for one in written["lost"]["tokens"] + written["lost"]["latents"]:
        assert re.search(r"\[[^\[\]]+\]$", one["text"])
        assert escape(one["text"]) in page


def test_activation_files(tmp_path):
    save_file({"x": P.x, "document": DOCUMENTS}, tmp_path / "a.safetensors")
    given = from_path(tmp_path / "a.safetensors")
    assert torch.equal(given.x, P.x)
    assert torch.equal(given.document, DOCUMENTS)
    sample = from_path(Path(__file__).parent / "data" / "sotu_layer15.safetensors")
    assert sample.x.shape == (1000, 576)
    assert len(sample.document.unique()) > 10
    assert sample.x.norm(dim=1).median() > 100  # in the model's units, not normalised


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "--activations", "x.npy"], "there is no file or folder absent"),
        (["sae"], "say what the SAE is to be tried on: --activations FILE, or --model NAME"),
        (["sae", "--activations", "absent.npy"], "there is no file absent.npy"),
        (["sae", "--activations", "broken.npy"], "broken.npy is damaged, or not one of"),
        (
            ["sae", "--activations", "broken.safetensors"],
            "broken.safetensors is damaged, or no safetensors file",
        ),
        (["sae", "--activations", "named.safetensors"], "has no tensor named activations or x; it has other"),
        (
            ["sae", "--activations", "flat.npy"],
            "must have shape (n, M), or (sequences, positions, M), not (600,)",
        ),
        (["sae", "--activations", "wide.npy"], "the activations are (80, 17), but this SAE takes (n, 16)"),
        (["sae", "--activations", "few.npy"], "at least 64 activations, not 10"),
        (["sae", "--activations", "nan.npy"], "contains NaN"),
        (
            ["bare.safetensors", "--activations", "x.npy", "--architecture", "topk", "--normalise", "none"],
            "it does not say k; say it with --k K",
        ),
        (
            [
                "bare.safetensors",
                *["--activations", "x.npy", "--architecture", "topk", "--k", "2.5", "--normalise", "none"],
            ],
            "keeps a whole number of latents, not k = 2.5",
        ),
        (
            ["sae", "--activations", "x.npy", "--architecture", "topk"],
            "architecture = topk was asked for, but the file says standard",
        ),
        (["sae", "--activations", "same.npy"], "the activations are all the same"),
        (["sae", "--activations", "x.npy", "--device", "gpu"], "no device named 'gpu'; use 'cpu' or 'cuda'"),
        (["sae", "--activations", "x.npy", "--out", "x.npy"], "x.npy is a file, not a folder to write to"),
        (["silent", "--activations", "x.npy"], "the encoder uses 0 latents on average"),
        (["sae", "--model", "absent.gguf", "--layer", "1"], "There is no GGUF file"),
        (
            ["sae", "--activations", "x.npy", "--model", "gpt2"],
            "give either --activations FILE, or --model NAME",
        ),
    ],
)
def test_bad_use_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write(reading(P.D), "sae")
    save_file(load_file("sae/sae_weights.safetensors"), "bare.safetensors")
    write(reading(P.D, bias=-1e3), "silent")
    x = P.x.numpy()
    files = {"x": x, "flat": x[:, 0], "wide": np.ones((80, 17), np.float32), "few": x[:10], "nan": x * np.nan}
    files["same"] = np.ones((80, 16), np.float32)
    for name, value in files.items():
        np.save(f"{name}.npy", value)
    Path("broken.npy").write_bytes(b"nothing")
    Path("broken.safetensors").write_bytes(b"nothing")
    save_file({"other": P.x}, "named.safetensors")
    assert main(["audit", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("audit_*"))
