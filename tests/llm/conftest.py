"""Tiny random models, tiny texts, and what is read from one in the other."""

import pytest
import torch

from amortgap.llm import (
    activations,
    extract,
    load,
)
from tiny_models import WORDS, byte_tokenizer, save_gpt2


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
