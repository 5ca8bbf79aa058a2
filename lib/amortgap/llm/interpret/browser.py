"""Latents to browse: the same latent as it is read off and as it is solved for, token by token, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from amortgap.llm.interpret.examples import Places

#: Windows shown of a latent, of each way of coding its strongest in turn; tokens around the strongest.
WINDOWS, BEFORE, AFTER = 4, 12, 6


def latent_row(
    latent: int, codes: Mapping[str, np.ndarray], rules: Mapping[str, Mapping[str, Any]], places: Places
) -> dict[str, Any]:
    """One latent as a row of a table: density, balanced accuracy and rule for each way of coding, and its HTML.

    codes: way of coding -> codes (n,) of the latent at `places`; rules: the same ways -> a row of `survey`. The
    windows shown are those in which either way is strongest, and in each the strength of every token stands once
    for each way, as colour and, on hover, as a number.
    """
    row: dict[str, Any] = {"latent": int(latent)}
    for i, way in enumerate(codes):
        row |= {f"{key}_{i}": rules[way][key] for key in ("density", "balanced", "rule")}
    return row | {"html": _html(row, list(codes), codes, places)}


def browser(rows: Iterable[Mapping[str, Any]]) -> str:
    """All latents, one below the other; the page's script adds a search and an order."""
    shown = "\n".join(str(row["html"]) for row in rows)
    return f'<div class="latents">\n{shown}\n</div>'


def _html(row: dict[str, Any], ways: Sequence[str], codes: Mapping[str, np.ndarray], places: Places) -> str:
    most = max(float(values.max()) for values in codes.values()) or 1.0
    heads = "; ".join(
        f"{way}: balanced accuracy {row[f'balanced_{i}']:.2f}, active on {row[f'density_{i}']:.2%}"
        for i, way in enumerate(ways)
    )
    rules = "".join(
        f"<dt>{escape(way)}</dt><dd>{escape(str(row[f'rule_{i}']))}</dd>" for i, way in enumerate(ways)
    )
    texts = "\n".join(_window(at, codes, places, most) for at in _strongest(codes, places))
    latent, rule = row["latent"], escape(str(row["rule_0"]))
    data = f'data-score="{row["balanced_0"]:.4f}" data-density="{row["density_0"]:.6f}"'
    return (
        f'<details class="latent" data-latent="{latent}" {data}><summary>Latent {latent}: {rule}</summary>\n'
        f"<p>{escape(heads)}.</p>\n<dl>{rules}</dl>\n{texts}\n</details>"
    )


def _strongest(codes: Mapping[str, np.ndarray], places: Places) -> list[int]:
    """Rows of different windows: of each way of coding its strongest, in turn."""
    found: dict[int, int] = {}
    orders = [np.argsort(-values, kind="stable")[: 8 * WINDOWS] for values in codes.values()]
    for rows in zip(*orders, strict=True):
        for row, values in zip(rows, codes.values(), strict=True):
            if values[row] > 0 and len(found) < WINDOWS:
                found.setdefault(int(places.window[row]), int(row))
    return list(found.values())


def _window(at: int, codes: Mapping[str, np.ndarray], places: Places, most: float) -> str:
    window, middle = places.window[at], int(places.position[at])
    tokens = places.windows[window]
    span = range(max(0, middle - BEFORE), min(len(tokens), middle + AFTER + 1))
    rows = {int(places.position[i]): int(i) for i in np.flatnonzero(places.window == window)}
    lines = []
    for way, values in codes.items():
        parts = []
        for position in span:
            text = escape(places.strings[int(tokens[position])])
            code = float(values[rows[position]]) if position in rows else 0.0
            shade = f'<mark style="--s:{code / most:.2f}" title="{code:.2f}">{text}</mark>'
            parts.append(shade if code > 0 else text)
        lines.append(f'<p class="text"><b>{escape(way)}</b> {"".join(parts)}</p>')
    return "\n".join(lines)
