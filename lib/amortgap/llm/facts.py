"""What activations are of, in words for a reader."""

from __future__ import annotations

from typing import Any

from amortgap.llm.activations import Activations

#: Entry of the manifest -> what it is. The last two are counted from the activations themselves.
WORDS = {
    "model": "language model",
    "layer": "blocks before the hook",
    "corpus": "text",
    "n_tokens": "tokens read",
    "dtype": "computed in",
    "vectors": "activations kept",
    "dropped": "dropped",
    "median_norm": "median norm",
    "median_norm_position_0": "median norm at position 0",
    "mean_share_of_power": "share of the mean in the squared norm",
    "training": "training activations",
    "context": "tokens a window",
}


def facts(acts: Activations) -> dict[str, str]:
    """Model, text, norms and counts of activations: what is stated -> its value as text."""
    counts = {"training": len(acts.train.x), "context": acts.windows.shape[1]}
    known = acts.manifest | counts
    return {words: _text(known[name]) for name, words in WORDS.items()}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(one)}" for name, one in value.items())
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
