"""interop: an SAE read from other projects' files codes as its equations say, whatever the file's conventions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file

from amortgap.encoders import ENCODERS, MLPEncoder, ReLUEncoder
from amortgap.interop import SAE, architectures, from_encoder, read, write
from amortgap.problem import unit_columns
from amortgap.training import stack

M, N, n = 6, 11, 40
every_architecture = pytest.mark.parametrize("architecture", architectures())


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(architecture, **change):
    """A random SAE whose decoder rows have norms between .5 and 2."""
    W_dec = draw(N, M, seed=1)
    W_dec = W_dec / W_dec.norm(dim=1, keepdim=True) * torch.linspace(0.5, 2, N)[:, None]
    parts = {"topk": {"k": 3.0}, "batchtopk": {"k": 2.5}, "jumprelu": {"threshold": draw(N, seed=4).abs()}}
    parts["matching_pursuit"] = {"k": 3.0}
    parts["gated"] = {"r_mag": 0.3 * draw(N, seed=5), "b_mag": draw(N, seed=6)}
    given = parts.get(architecture, {}) | change
    pursuit = architecture == "matching_pursuit"
    W_enc, b_enc = (W_dec.T, torch.zeros(N)) if pursuit else (draw(M, N, seed=2), 0.3 * draw(N, seed=3))
    return SAE(architecture, W_enc, b_enc, W_dec, draw(M, seed=7), **given)


z = draw(n, M, seed=9)


def plain(sae, z):
    """Codes in the file's own scale, one sample and one latent at a time."""
    s = torch.zeros(len(z), sae.N)
    for j, sample in enumerate(z):
        if sae.architecture == "matching_pursuit":
            r = sample - sae.b_dec
            for _ in range(int(sae.k)):
                v, i = (sae.W_dec @ r).max(0)
                s[j, i] += max(float(v), 0)
                r = r - max(float(v), 0) * sae.W_dec[i]
            continue
        c = (sample - sae.b_dec) @ sae.W_enc
        for i in range(sae.N):
            h = c[i] + sae.b_enc[i]
            if sae.architecture == "gated":
                s[j, i] = max(float(sae.r_mag[i].exp() * c[i] + sae.b_mag[i]), 0) if h > 0 else 0
            elif sae.architecture == "jumprelu":
                s[j, i] = h if h > max(float(sae.threshold[i]), 0) else 0
            else:
                s[j, i] = max(float(h), 0)
    if sae.architecture == "topk":
        s[s < s.topk(int(sae.k), dim=1).values[:, -1:]] = 0
    if sae.architecture == "batchtopk":
        s[s < s.flatten().topk(int(sae.k * len(z))).values[-1]] = 0
    return s


@every_architecture
def test_codes_follow_the_equations_and_norms_are_folded(architecture):
    sae = make(architecture)
    s, expected = sae.encode(z), plain(sae, z)
    assert expected.count_nonzero() > 20
    torch.testing.assert_close(s, expected * sae.W_dec.norm(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.D.norm(dim=0), torch.ones(N))
    # the reconstruction is the file's, whatever the scale of the latents
    torch.testing.assert_close(s @ sae.D.T, expected @ sae.W_dec, rtol=1e-5, atol=1e-5)


@every_architecture
def test_what_is_written_is_read(architecture, tmp_path):
    sae = make(architecture, normalise="layer_norm", metadata={"hook_name": "blocks.1.hook_mlp_out"})
    write(sae, tmp_path / "sae")
    back = read(tmp_path / "sae")
    assert torch.equal(back.encode(z), sae.encode(z))
    assert torch.equal(back.D, sae.D)
    assert back.metadata == {"hook_name": "blocks.1.hook_mlp_out"}
    assert (back.architecture, back.normalise) == (architecture, "layer_norm")


SCALED = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")


@every_architecture
@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("normalise", SCALED)
@pytest.mark.parametrize("subtract", [False, True])
def test_what_is_written_codes_the_same_in_our_hands_and_by_the_file_alone(
    architecture, rescaled, normalise, subtract, tmp_path
):
    """Norms and input scale are folded in: whoever knows nothing of them codes the same, up to the scale."""
    x = 3 * draw(n, M, seed=13)
    subtract = subtract or architecture == "matching_pursuit"
    extra = {"residual_threshold": 0.5, "stop_on_repeat": True} if architecture == "matching_pursuit" else {}
    sae = make(architecture, rescaled=rescaled, normalise=normalise, subtract_b_dec=subtract, **extra)
    sae = sae.calibrated(x)
    write(sae, tmp_path / "sae")
    back = read(tmp_path / "sae")
    z, undo = sae.prepare(x)
    s = sae.encode(z)
    assert s.count_nonzero() > 20
    torch.testing.assert_close(back.encode(back.prepare(x)[0]), s, rtol=1e-5, atol=1e-5)
    assert (back.normalise, back.input_scale) == (normalise, sae.input_scale)
    # the configuration says nothing of the scale
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    config.pop("amortgap_input_scale", None)
    assert config["k"] == int(config["k"]) if architecture == "topk" else True
    (tmp_path / "sae" / "cfg.json").write_text(json.dumps(config))
    bare = read(tmp_path / "sae")
    assert not bare.rescaled
    z, again = bare.prepare(x)
    scale = sae.input_scale or 1
    torch.testing.assert_close(bare.encode(z), s / scale, rtol=1e-4, atol=1e-4)
    x_hat, expected = again(bare.encode(z) @ bare.D.T + bare.b_dec), undo(s @ sae.D.T + sae.b_dec)
    torch.testing.assert_close(x_hat, expected, rtol=1e-4, atol=1e-4)


def test_a_batchtopk_threshold_is_written_as_jumprelu(tmp_path):
    sae = make("batchtopk", threshold=torch.full((N,), 0.4))
    write(sae, tmp_path)
    assert read(tmp_path).architecture == "jumprelu"
    assert torch.equal(read(tmp_path).encode(z), sae.encode(z))
    # and codes of one sample do not depend on the others
    torch.testing.assert_close(sae.encode(z[:1]), sae.encode(z)[:1])


def test_selection_by_rescaled_activations():
    sae = make("topk", rescaled=True)
    norms = sae.norms
    h = torch.relu((z - sae.b_dec) @ sae.W_enc + sae.b_enc) * norms
    values, places = h.topk(3, dim=1)
    torch.testing.assert_close(sae.encode(z), torch.zeros_like(h).scatter(1, places, values))
    assert not torch.equal(sae.encode(z) > 0, make("topk").encode(z) > 0)


def test_without_the_subtraction():
    sae = make("standard", subtract_b_dec=False)
    expected = torch.relu(z @ sae.W_enc + sae.b_enc) * sae.norms
    torch.testing.assert_close(sae.encode(z), expected)


def test_old_configurations(tmp_path):
    write(make("standard", metadata={"model_name": "m"}), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    config |= {
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 2},
        "hook_name": "blocks.3.hook_resid_pre",
    }
    config |= {"normalize_activations": False}
    config["finetuning_scaling_factor"] = True
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "sae_weights.safetensors")
    save_file(weights | {"scaling_factor": torch.full((N,), 2.0)}, tmp_path / "sae_weights.safetensors")
    sae = read(tmp_path)
    assert (sae.architecture, sae.k, sae.normalise) == ("topk", 2.0, "none")
    assert sae.metadata == {"model_name": "m", "hook_name": "blocks.3.hook_resid_pre"}
    torch.testing.assert_close(sae.encode(z) @ sae.D.T, make("topk", k=2.0).encode(z) @ sae.D.T * 2)


def test_the_first_configurations_know_one_architecture(tmp_path):
    for architecture, understood in (("standard", True), ("jumprelu", False), ("gated", False)):
        folder = tmp_path / architecture
        write(make(architecture), folder)
        config = {"hook_point": "blocks.8.hook_resid_pre", "d_in": M, "d_sae": N, "model_name": "gpt2-small"}
        (folder / "cfg.json").write_text(json.dumps(config))
        if understood:
            assert torch.equal(read(folder).encode(z), make("standard").encode(z))
        else:
            with pytest.raises(ValueError, match=r"holds threshold, which no rule|it has no b_enc"):
                read(folder)


def test_plain_files(tmp_path):
    sae, path = make("standard"), tmp_path / "sae.safetensors"
    linear = {"encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}
    linear = {k: v.contiguous() for k, v in linear.items()} | {"decoder.bias": sae.b_dec}
    save_file(linear, path)
    rest = {"subtract_b_dec": True, "normalise": "none"}
    assert torch.equal(read(path, "standard", **rest).encode(z), sae.encode(z))
    assert read(path, "topk", 4, **rest).k == 4
    assert torch.equal(read(path, "batchtopk", k=2.5, **rest).encode(z), make("batchtopk").encode(z))
    without = make("standard", subtract_b_dec=False)
    found = read(path, "standard", subtract_b_dec=False, normalise="none")
    assert torch.equal(found.encode(z), without.encode(z))
    # every question that is open is asked, and no other
    for answers, asked in (
        ({}, "architecture, subtract_b_dec, normalise"),
        ({"architecture": "topk"} | rest, "k"),
    ):
        with pytest.raises(ValueError, match=f"it does not say {asked}; say it with --"):
            read(path, **answers)
    torch.save(linear, tmp_path / "sae.pt")
    assert torch.equal(read(tmp_path / "sae.pt", "standard", **rest).encode(z), sae.encode(z))
    # Qwen Scope has the matrices the other way round
    turned = {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec.T, "b_enc": sae.b_enc, "b_dec": sae.b_dec}
    torch.save(turned, tmp_path / "sae.pt")
    assert torch.equal(read(tmp_path / "sae.pt", "standard", **rest).encode(z), sae.encode(z))
    parts = {"W_enc": sae.W_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    threshold = make("jumprelu").threshold
    save_file(parts | {"b_enc": sae.b_enc, "threshold": threshold}, path)
    assert torch.equal(read(path, **rest).encode(z), make("jumprelu").encode(z))
    gated = make("gated")
    save_file(parts | {"b_gate": sae.b_enc, "r_mag": gated.r_mag, "b_mag": gated.b_mag}, path)
    assert torch.equal(read(path, **rest).encode(z), gated.encode(z))
    words = {"architecture": "topk", "k": "3", "apply_b_dec_to_input": "False"}
    save_file(parts | {"b_enc": sae.b_enc}, path, metadata=words)
    assert torch.equal(read(path).encode(z), make("topk", subtract_b_dec=False).encode(z))
    save_file(parts | {"b_enc": sae.b_enc}, path, metadata=words | {"apply_b_dec_to_input": "perhaps"})
    with pytest.raises(ValueError, match="apply_b_dec_to_input must be true or false, not 'perhaps'"):
        read(path)


def test_normalisations_are_undone():
    x = 5 + 3 * draw(n, M, seed=11)
    for name in ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"):
        sae = make("standard", normalise=name).calibrated(x)
        z, undo = sae.prepare(x)
        torch.testing.assert_close(undo(z), x, rtol=1e-4, atol=1e-4)
        assert not sae.prepare(torch.zeros(1, M))[0].any()
        if name == "expected_average_only_in":
            with pytest.raises(ValueError, match="calibrate it"):
                make("standard", normalise=name).prepare(x)
            assert sae.calibrated(2 * x) is sae
            assert z.norm(dim=1).mean().item() == pytest.approx(M**0.5, rel=1e-5)
        if name == "constant_norm_rescale":
            torch.testing.assert_close(z.norm(dim=1), torch.full((n,), M**0.5))
        if name == "layer_norm":
            torch.testing.assert_close(z.mean(1), torch.zeros(n), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pre_bias", [False, True])
@pytest.mark.parametrize("name", [name for name, kind in ENCODERS.items() if kind.exchange])
def test_our_encoders_survive_the_round_trip(name, pre_bias, tmp_path):
    encoder = ENCODERS[name](M, N, pre_bias=pre_bias, seed=3)
    with torch.no_grad():
        for i, parameter in enumerate(encoder.parameters()):
            parameter += 0.2 * draw(parameter.numel(), seed=i).view_as(parameter)
        encoder.decoder.D.copy_(unit_columns(encoder.decoder.D))
        if name == "batch_topk":  # its threshold is not negative
            encoder.theta.fill_(0.3)
    write(from_encoder(encoder, model_name="m"), tmp_path)
    sae = read(tmp_path)
    s = encoder.encode(z).detach()
    assert s.count_nonzero() > 20
    torch.testing.assert_close(sae.encode(z), s, rtol=1e-5, atol=1e-6)
    x_hat = sae.encode(z) @ sae.D.T + sae.b_dec
    torch.testing.assert_close(x_hat, encoder.decode(s).detach(), rtol=1e-5, atol=1e-5)
    assert sae.metadata["model_name"] == "m"


@pytest.mark.parametrize("model", [MLPEncoder(M, N), stack([ReLUEncoder(M, N), ReLUEncoder(M, N)])])
def test_encoders_without_a_name_elsewhere_are_refused(model):
    with pytest.raises(ValueError, match="only a single"):
        from_encoder(model)


def test_refused_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"none of the known pairs \(cfg\.json and sae_weights"):
        read(tmp_path)
    write(make("standard"), tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    parts = load_file(weights)

    def refused(match, change=None, **config):
        save_file({k: v for k, v in (parts | (change or {})).items() if v is not None}, weights)
        good = {"architecture": "standard", "d_in": M, "d_sae": N}
        (tmp_path / "cfg.json").write_text(json.dumps(good | config))
        with pytest.raises(ValueError, match=match):
            read(tmp_path)

    refused("it has no W_enc; it has W_dec, b_dec, b_enc", {"W_enc": None})
    refused("W_enc must have shape", {"W_enc": torch.ones(M, N + 1)})
    refused("it is a transcoder", d_out=M + 1)
    refused("it is a temporal .its latents depend on earlier tokens", architecture="temporal")
    refused("architecture 'l1' is not one of standard", architecture="l1")
    refused("it does not say architecture", architecture=None)
    refused("k = 4 is given, but a standard SAE has no k", k=4)
    refused("holds extra, W_skip|holds W_skip, extra", {"extra": torch.ones(1), "W_skip": torch.ones(1)})
    refused("says d_in = 7, but its tensors 6", d_in=7)
    refused("activation function 'tanh-relu' is not known", activation_fn_str="tanh-relu")
    refused("needs threshold, which is missing", architecture="jumprelu")
    refused("it has no r_mag", {"b_gate": parts["b_enc"].clone()}, architecture="gated")
    refused("it does not say k; say it with --k K", architecture="topk")
    refused("needs k between 1 and N = 11, not 12", architecture="topk", k=12)
    refused("contains NaN or infinite", {"b_dec": torch.full((M,), torch.nan)})
    refused("a matrix .* not all zero", {"W_dec": torch.zeros(N, M)})
    refused("normalisation 'zca' is not one of", normalize_activations="zca")
    refused("b_enc must hold floating-point numbers", {"b_enc": torch.ones(N, dtype=torch.int32)})
    refused("must be a matrix", {"W_dec": torch.ones(3)})
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(ValueError, match=r"cfg\.json is not JSON"):
        read(tmp_path)
    weights.write_bytes(b"PK\x03\x04 a pickle")
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(ValueError, match=r"damaged, or no safetensors file; pickles are named \.pt"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"activations must have shape \(n, 6\)"):
        make("standard").encode(torch.ones(3, 7))


@settings(deadline=None)
@given(
    some.sampled_from([name for name in architectures() if name != "matching_pursuit"]), some.floats(0.1, 10)
)
def test_a_latents_scale_does_not_matter(architecture, scale):
    """Dividing a decoder row and multiplying what its code is made of changes nothing but TopK's choice."""
    sae = make(architecture, rescaled=architecture in ("topk", "batchtopk"))
    factor = torch.ones(N)
    factor[2] = scale
    changed = replace(
        sae,
        W_enc=sae.W_enc * factor,
        b_enc=sae.b_enc * factor,
        W_dec=sae.W_dec / factor[:, None],
        threshold=None if sae.threshold is None else sae.threshold * factor,
        b_mag=None if sae.b_mag is None else sae.b_mag * factor,
    )
    torch.testing.assert_close(changed.encode(z), sae.encode(z), rtol=1e-4, atol=1e-4)


@every_architecture
@pytest.mark.parametrize("subtract", [True, False])
def test_an_sae_of_normalised_activations_becomes_one_of_raw_ones(architecture, subtract):
    sae, mean, scale = make(architecture, subtract_b_dec=subtract), draw(M, seed=12), 7.0
    if architecture == "matching_pursuit":
        with pytest.raises(ValueError, match="decoder alone"):
            sae.on_raw(mean, scale)
        return
    raw = sae.on_raw(mean, scale)
    s, z_hat = raw.encode(z * scale + mean), sae.encode(z) @ sae.D.T + sae.b_dec
    torch.testing.assert_close(s / raw.norms, sae.encode(z) / sae.norms, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(s @ raw.D.T + raw.b_dec, z_hat * scale + mean, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="already normalises"):
        replace(sae, normalise="layer_norm").on_raw(mean, scale)
