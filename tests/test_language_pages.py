"""Pages on language models with a model that runs: their smoke profile, fed from a file, has none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amortgap._files import read_json
from amortgap.kit.tables import read_rows
from tiny_models import WORDS, save_gpt2

ROOT = Path(__file__).parents[1]
SMALL = {
    "layer": 2,
    "n_tokens": 7000,
    "latents": 32,
    "lr": 0.03,
    "steps": 60,
    "batch_size": 128,
    "sparsity": 4.0,
    "seeds": 2,
}
SIZES = {
    "10_language_model": {
        "alphas": [0.7, 2.0],
        "architectures": ["ReLU", "TopK", "MLP"],
        "other_k": [2],
        "untrained_tokens": 5000,
        "coding_samples": 512,
        "test_tokens": 64,
        "splice_windows": 2,
    },
    "11_interpretability": {
        "alphas": [0.3, 1.0],
        "untrained_tokens": 5000,
        "windows": 30,
        "explained": 5,
        "examples": 20,
        "cards": 1,
        "probed": "century",  # the first two letters of a title
    },
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A random GPT-2 and forty documents of random words."""
    folder, draw = tmp_path_factory.mktemp("texts"), torch.Generator().manual_seed(1)
    for i in range(40):
        words = [WORDS[j] for j in torch.randint(len(WORDS), (90,), generator=draw).tolist()]
        (folder / f"{i % 2}0_{i:02d}.txt").write_text(" ".join(words))
    torch.manual_seed(7)
    return {"source": str(save_gpt2(tmp_path_factory.mktemp("gpt2"))), "corpus": str(folder)}


@pytest.mark.parametrize("name", SIZES)
def test_random_weights_stand_beside_the_trained(name, small, tmp_path, monkeypatch):
    import papermill

    monkeypatch.setenv("AMORTGAP_CACHE", str(tmp_path / "cache"))
    page = tmp_path / "page.ipynb"
    parameters = SMALL | SIZES[name] | small | {"out": str(tmp_path / "data")}
    papermill.execute_notebook(
        ROOT / "notebooks" / f"{name}.ipynb", page, parameters, cwd=ROOT / "notebooks", progress_bar=False
    )

    def table(which):
        return read_rows(tmp_path / "data" / f"{which}.json")

    claims = {claim["id"] for claim in read_json(tmp_path / "data" / "claims.json")}
    if name.startswith("10"):
        assert {"E16.27", "E16.28", "E16.29", "E16.30"} <= claims
        there = {"ReLU, random LM", "TopK, random LM", "Gaussian columns, random LM"}
        for measure in ("results", "objective_gap", "dictionary", "density", "spliced_random"):
            assert there <= {row["decoder"] for row in table(measure)}, measure
    else:
        assert {"E16.31", "E16.32"} <= claims
        for measure in ("training", "latents", "summary", "by_seed"):
            assert "SAE, random LM" in {row["method"] for row in table(measure)}, measure
