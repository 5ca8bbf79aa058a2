"""Activations in words."""

from __future__ import annotations

from pathlib import Path

from amortgap.llm import from_file
from amortgap.llm.facts import facts

SAMPLE = Path(__file__).parents[1] / "data" / "sotu_layer15.safetensors"


def test_facts_are_the_manifest_and_counts_in_words() -> None:
    acts = from_file(SAMPLE)
    told = facts(acts)
    assert told["language model"] == acts.manifest["model"]
    assert told["tokens read"] == f"{acts.manifest['n_tokens']:,}"
    assert told["training activations"] == f"{len(acts.train.x):,}"
    # one entry for each part, joined
    assert told["activations kept"].count(":") == len(acts.manifest["vectors"])
