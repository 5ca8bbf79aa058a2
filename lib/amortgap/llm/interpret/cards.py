"""A card for a latent: where it is strongest, how often it is active, what it does to the next token, its rule."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.llm.interpret.examples import Places
from amortgap.llm.model import LanguageModel

CONTEXTS = 4  # the strongest shown
NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


def logit_effects(lm: LanguageModel, direction: Tensor, count: int = 6) -> tuple[list[str], list[str]]:
    """Tokens whose logits a residual-stream direction (M,) raises and lowers most, directly.

    The direction goes through the final norm's weights, without its division (which rescales all logits alike), to
    the unembedding. Later blocks are left out, so it is a first look and not an effect. Raises ValueError where the
    final norm is not found.
    """
    inner = lm.model.base_model
    norm = next((getattr(inner, name) for name in NORMS if hasattr(inner, name)), None)
    if norm is None:
        raise ValueError(f"{lm.name}: no final norm named {', '.join(NORMS)} was found.")
    d = direction.to(lm.device).float()
    if isinstance(norm, torch.nn.LayerNorm):
        d = d - d.mean()
    effect = lm.model.get_output_embeddings().weight.float() @ (d * norm.weight.float())
    up, down = effect.topk(count).indices, (-effect).topk(count).indices
    return [lm.tokenizer.decode([i]) for i in up.tolist()], [lm.tokenizer.decode([i]) for i in down.tolist()]


def card(
    name: str,
    values: np.ndarray,
    places: Places,
    rule: str,
    scores: dict[str, float],
    effects: tuple[list[str], list[str]] | None = None,
) -> dict[str, Any]:
    """Everything about one latent, as JSON can hold it. values (n,): its codes at `places`.

    The contexts are the strongest of different windows, then one of the median strength.
    """
    order = np.argsort(-values, kind="stable")
    seen: dict[int, int] = {}
    for i in order:
        if values[i] <= 0 or len(seen) == CONTEXTS:
            break
        seen.setdefault(int(places.window[i]), int(i))
    on = np.flatnonzero(values > 0)
    rows = list(seen.values())
    if len(on):
        rows.append(int(on[np.argsort(values[on], kind="stable")[len(on) // 2]]))
    shown = [
        dict(zip(("before", "token", "after"), places.context(i), strict=True), code=float(values[i]))
        for i in rows
    ]
    raised, lowered = effects or ([], [])
    return {
        "name": name,
        "density": float((values > 0).mean()),
        "contexts": shown,
        "rule": rule,
        "raises": raised,
        "lowers": lowered,
        "scores": {key: float(value) for key, value in scores.items()},
    }


def html(cards: list[dict[str, Any]]) -> str:
    """The cards as HTML, folded, one `<details>` a latent."""
    return "\n".join(_one(shown) for shown in cards)


def _one(shown: dict[str, Any]) -> str:
    lines = "".join(
        f"<li>{escape(c['before'])}<b>{escape(c['token'])}</b>{escape(c['after'])} "
        f'<span class="soft">({c["code"]:.2f}{", median" if i == len(shown["contexts"]) - 1 else ""})</span></li>'
        for i, c in enumerate(shown["contexts"])
    )
    effects = "".join(
        f"<p>{word}: {', '.join(f'<code>{escape(t)}</code>' for t in shown[key])}</p>"
        for key, word in (("raises", "Raises the logits of"), ("lowers", "Lowers those of"))
        if shown[key]
    )
    scores = ", ".join(f"{key} {value:.2f}" for key, value in shown["scores"].items())
    return (
        f'<details class="latent"><summary>{escape(shown["name"])}: {escape(shown["rule"])}</summary>\n'
        f"<p>Active on {shown['density']:.2%} of the tokens; rule on other documents: {escape(scores)}.</p>\n"
        f"<ul>{lines}</ul>\n{effects}</details>"
    )
