"""Reading and replacing what flows through a block."""

import subprocess
import sys

import pytest
import torch

from amortgap.llm import (
    cross_entropy,
    hooks,
    load,
    read,
)
from tiny_models import byte_tokenizer


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
