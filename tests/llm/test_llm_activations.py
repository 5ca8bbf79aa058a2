"""Activations: normalised, cached, resumed; in memory or in shards on disk."""

from pathlib import Path

import pytest
import torch

from amortgap.llm import (
    activations,
    corpus,
    extract,
    from_file,
    load,
    read,
    save,
    store,
    stream,
)
from amortgap.llm.activations import _assemble

FIXTURE = Path(__file__).parents[1] / "data" / "sotu_layer15.safetensors"


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
