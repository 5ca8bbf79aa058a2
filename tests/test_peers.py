"""SAEs made and saved by the packages themselves are read, and coded as those packages code them; improved ones
take an SAE's place in the packages that run models.

Needs sae-lens and its transformer-lens, nnsight, eai-sparsify and dictionary-learning (`make peers`); other tests
do without.
"""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType

import pytest
import torch

from amortgap.heads import Improved, load
from amortgap.interop import SAE, architectures, read, write

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

M, N, n = 16, 40, 64
x = 3 * torch.randn(n, M, generator=torch.Generator().manual_seed(0)) + 1


def shaken(module):
    """Its parameters moved away from where the constructor puts them, so that no bias is zero."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            step = 0.2 * torch.randn(parameter.shape, generator=draw)
            parameter += step.abs() if "threshold" in name else step
    return module


def codes(sae, x):
    """In the file's own scale."""
    s = sae.encode(sae.prepare(x)[0])
    return s if sae.rescaled else s / sae.norms


def same(found, expected):
    assert expected.count_nonzero() > n
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# --- SAELens -------------------------------------------------------------------------------------------------


LENS = {
    "standard": {},
    "gated": {},
    "jumprelu": {},
    "topk": {"k": 5},
    "matching_pursuit": {"max_iterations": 5, "residual_threshold": 1.0},
}
NORMS = ("none", "layer_norm", "constant_norm_rescale")


def lens(architecture, **config):
    package = pytest.importorskip("sae_lens")
    kind, about = package.registry.get_sae_class(architecture)
    about = about(d_in=M, d_sae=N, **(LENS.get(architecture, {}) | config))
    return shaken(kind(about))


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("normalise", NORMS)
@pytest.mark.parametrize("architecture", LENS)
def test_saelens(architecture, normalise, subtract, tmp_path):
    sae = lens(architecture, normalize_activations=normalise, apply_b_dec_to_input=subtract)
    if architecture == "matching_pursuit":
        sae.W_dec.data /= sae.W_dec.data.norm(dim=1, keepdim=True)
    sae.save_model(tmp_path)
    found, expected = read(tmp_path), sae.encode(x).detach()
    same(codes(found, x), expected)
    z, undo = found.prepare(x)
    x_hat = undo(found.encode(z) @ found.D.T + found.b_dec)
    torch.testing.assert_close(x_hat, sae.decode(sae.encode(x)).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rescaled", [True, False])
def test_saelens_topk_rescaled_and_signed(rescaled, tmp_path):
    sae = lens("topk", rescale_acts_by_decoder_norm=rescaled)
    sae.save_model(tmp_path / "topk")
    same(codes(read(tmp_path / "topk"), x), sae.encode(x).detach())
    sae = lens("abstopk", k=5, rescale_acts_by_decoder_norm=rescaled)
    sae.save_model(tmp_path / "abstopk")
    s = codes(read(tmp_path / "abstopk"), x)
    same(s[:, :N] - s[:, N:], sae.encode(x).detach())


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_saelens_batchtopk_while_it_trains_and_after(architecture, rescaled, tmp_path):
    package = pytest.importorskip("sae_lens")
    kind, about = package.registry.get_sae_training_class(architecture)
    widths = {"matryoshka_widths": [10, N]} if architecture.startswith("matryoshka") else {}
    sae = shaken(kind(about(d_in=M, d_sae=N, k=4, rescale_acts_by_decoder_norm=rescaled, **widths)))
    sae.topk_threshold = torch.tensor(0.8, dtype=torch.double)
    sae.save_inference_model(tmp_path / "after")
    inference = package.SAE.load_from_disk(tmp_path / "after")
    expected = inference.encode(x).detach()
    same(codes(read(tmp_path / "after"), x), expected)
    sae.save_model(tmp_path / "training")
    found = read(tmp_path / "training")
    same(found.encode(x), expected * inference.W_dec.detach().norm(dim=1))


@pytest.mark.parametrize("scale", [None, 0.2])
@pytest.mark.parametrize(
    "normalise", ["none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"]
)
@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("architecture", architectures())
def test_what_we_write_saelens_codes_as_we_do(architecture, rescaled, normalise, scale, tmp_path):
    package = pytest.importorskip("sae_lens")
    draw = torch.Generator().manual_seed(2)
    W_dec = torch.randn(N, M, generator=draw) * torch.linspace(0.1, 0.5, N)[:, None]
    pursuit = architecture == "matching_pursuit"
    if pursuit:
        W_dec = W_dec / W_dec.norm(dim=1, keepdim=True)
    parts = {
        "topk": {"k": 4},
        "batchtopk": {"threshold": torch.full((N,), 0.3)},
        "matching_pursuit": {"k": 4},
    }
    parts["jumprelu"] = {"threshold": torch.rand(N, generator=draw)}
    parts["gated"] = {"r_mag": 0.1 * torch.randn(N, generator=draw), "b_mag": torch.randn(N, generator=draw)}
    W_enc, b_enc = torch.randn(M, N, generator=draw), torch.randn(N, generator=draw)
    sae = SAE(
        architecture,
        W_dec.T if pursuit else W_enc,
        torch.zeros(N) if pursuit else b_enc,
        W_dec,
        torch.randn(M, generator=draw),
        rescaled=rescaled,
        normalise=normalise,
        input_scale=scale if normalise == "expected_average_only_in" else None,
        **parts.get(architecture, {}),
    )
    if normalise == "expected_average_only_in":
        sae = sae.calibrated(x)
    write(sae, tmp_path / "sae")
    theirs = package.SAE.load_from_disk(tmp_path / "sae")
    z, undo = sae.prepare(x)
    s = sae.encode(z) / (sae.input_scale or 1)
    mine = s if rescaled and not pursuit else s * (sae.input_scale or 1) / sae.norms
    if pursuit:
        mine = s / sae.norms
    torch.testing.assert_close(theirs.encode(x).detach(), mine, rtol=1e-4, atol=1e-4)
    assert mine.count_nonzero() > n
    x_hat = undo(sae.encode(z) @ sae.D.T + sae.b_dec)
    torch.testing.assert_close(theirs.decode(theirs.encode(x)).detach(), x_hat, rtol=1e-4, atol=1e-4)


# --- sparsify ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sparsify(dtype, tmp_path):
    package = pytest.importorskip("sparsify")
    sae = shaken(package.SparseCoder(M, package.SparseCoderConfig(num_latents=N, k=5), dtype=dtype))
    sae.save_to_disk(tmp_path)
    top = sae.float().encode(x)
    expected = torch.zeros(n, N).scatter(1, top.top_indices, top.top_acts).detach()
    same(codes(read(tmp_path), x), expected)
    same(codes(read(tmp_path / "sae.safetensors"), x), expected)


# --- dictionary_learning -------------------------------------------------------------------------------------


class Anything(ModuleType):
    """In place of packages that dictionary_learning imports for training alone."""

    def __getattr__(self, name):
        return type(name, (), {}) if not name.startswith("__") else super().__getattribute__(name)


@pytest.fixture(scope="module")
def learning():
    if importlib.util.find_spec("dictionary_learning") is None:
        pytest.skip("dictionary-learning is not installed")
    for name in ("nnsight", "wandb", "datasets", "zstandard", "circuitsvis", "umap"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = Anything(name)
    return importlib.import_module("dictionary_learning.utils")


DICTIONARIES = {
    "AutoEncoder": {},
    "AutoEncoderNew": {},
    "GatedAutoEncoder": {},
    "JumpReluAutoEncoder": {},
    "AutoEncoderTopK": {"k": 5},
    "BatchTopKSAE": {"k": 5},
    "MatryoshkaBatchTopKSAE": {"k": 5, "group_sizes": [10, N - 10]},
}


@pytest.mark.parametrize(
    ("name", "threshold"),
    [(name, t) for name in DICTIONARIES for t in (-1.0, 0.7) if t < 0 or "k" in DICTIONARIES[name]],
)
def test_dictionary_learning(name, threshold, learning, tmp_path):
    options = DICTIONARIES[name]
    sae = shaken(getattr(learning, name)(M, N, **options))
    if "k" in options:
        sae.threshold.fill_(threshold)
    torch.save(sae.state_dict(), tmp_path / "ae.pt")
    trainer = {"dict_class": name, "activation_dim": M, "dict_size": N, "lm_name": "m", "layer": 0}
    trainer |= {"k": 5} if "k" in options else {}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    # before training has set a threshold, the batch classes take the k n largest of a batch
    batch = name in ("BatchTopKSAE", "MatryoshkaBatchTopKSAE")
    expected = sae.encode(x, use_threshold=threshold > 0) if batch else sae.encode(x)
    same(codes(read(tmp_path), x), expected.detach())


# --- improved SAEs in other packages' models -----------------------------------------------------------------


HOOK = "blocks.0.hook_resid_post"
TOKENS = torch.arange(24).reshape(3, 8) % 20


@pytest.fixture(params=[("topk", "layer_norm"), ("jumprelu", "none")], ids=lambda which: which[0])
def improved(request, tmp_path):
    """A folder that SAELens saved, and what was made of it, saved and loaded."""
    architecture, normalise = request.param
    sae = lens(architecture, normalize_activations=normalise)
    sae.cfg.metadata.hook_name = HOOK
    sae.save_model(tmp_path / "sae")
    Improved(read(tmp_path / "sae"), "pursuit", 2).save(tmp_path / "improved")
    return tmp_path / "sae", load(tmp_path / "improved")


def tiny(kind):
    """A random transformer of this class of TransformerLens or SAELens."""
    package = pytest.importorskip("transformer_lens")
    sizes = {"n_layers": 2, "d_model": M, "n_ctx": 8, "d_head": 8, "n_heads": 2, "d_vocab": 20}
    return kind(package.HookedTransformerConfig(**sizes, act_fn="relu", seed=0))


def test_improved_in_transformer_lens(improved):
    model, better = tiny(pytest.importorskip("transformer_lens").HookedTransformer), improved[1]
    _, cache = model.run_with_cache(TOKENS)
    expected, after = better(cache[HOOK]), []
    assert better.encode(cache[HOOK]).count_nonzero() > 24
    assert (expected - cache[HOOK]).abs().max() > 0.01
    hooks = [
        (HOOK, lambda value, hook: better(value)),
        ("blocks.1.hook_resid_pre", lambda value, hook: after.append(value)),
    ]
    model.run_with_hooks(TOKENS, fwd_hooks=hooks)
    torch.testing.assert_close(after[0], expected, rtol=0, atol=0)


def test_improved_in_saelens(improved):
    """README's two lines: hooks, cache and error term of SAELens stay, codes and reconstructions are ours."""
    package = pytest.importorskip("sae_lens")
    model, (folder, better) = tiny(package.HookedSAETransformer), improved
    sae = package.SAE.load_from_disk(folder)
    untouched, cache = model.run_with_cache(TOKENS)
    spliced = model.run_with_hooks(TOKENS, fwd_hooks=[(HOOK, lambda value, hook: better(value))])
    before = model.run_with_saes(TOKENS, saes=[sae])
    sae.encode = lambda x: sae.hook_sae_acts_post(better.encode(x))
    sae.decode = better.decode
    found, seen = model.run_with_cache_with_saes(TOKENS, saes=[sae])
    torch.testing.assert_close(found, spliced, rtol=1e-6, atol=1e-6)
    assert (found - before).abs().max() > 1e-3
    torch.testing.assert_close(seen[f"{HOOK}.hook_sae_acts_post"], better.encode(cache[HOOK]), rtol=0, atol=0)
    # with its error added, a reconstruction is the activation
    whole = model.run_with_saes(TOKENS, saes=[sae], use_error_term=True)
    torch.testing.assert_close(whole, untouched, rtol=1e-4, atol=1e-5)


def test_improved_in_nnsight(improved):
    nnsight, transformers = pytest.importorskip("nnsight"), pytest.importorskip("transformers")
    better = improved[1]
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": M, "n_head": 2, "vocab_size": 20, "n_positions": 8}
    plain = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    model = nnsight.NNsight(plain)
    with torch.no_grad(), model.trace(TOKENS):
        before = model.transformer.h[0].output.save()
        model.transformer.h[0].output = better(model.transformer.h[0].output)
        after = model.transformer.h[1].input.save()
    assert (before - after).abs().max() > 0.01
    torch.testing.assert_close(after, better(before), rtol=0, atol=0)
