"""Small drawings of claims: an interval beside what it is judged by, and the paper's numbers against ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 150, 26


def strip(claim: dict[str, Any]) -> str:
    """Ours (a dot in its interval), the paper's number (a diamond) and the alternative (a tick) on one line.

    The axis runs from the least to the greatest of them.
    """
    paper = claim["paper"] if isinstance(claim["paper"], int | float) else None
    against = claim.get("against")
    values = [v for v in (claim["low"], claim["high"], claim["ours"], paper, against) if v is not None]
    low, high = min(values), max(values)
    # one number alone stands in the middle
    low, high = (low - 1, high + 1) if low == high else (low, high)

    def at(value: float) -> str:
        return f"{8 + (WIDTH - 16) * (value - low) / (high - low):.1f}"

    middle = HEIGHT / 2
    parts = [f'<path class="axis" d="M4 {middle:g}H{WIDTH - 4}"/>']
    if against is not None:
        parts.append(f'<path class="against" d="M{at(against)} 5v16"/>')
    parts.append(f'<path class="range" d="M{at(claim["low"])} {middle:g}H{at(claim["high"])}"/>')
    if paper is not None:
        x = float(at(paper))
        parts.append(f'<path class="paper" d="M{x - 6:.1f} {middle:g}l6 -6l6 6l-6 6z"/>')
    parts.append(f'<circle class="ours" cx="{at(claim["ours"])}" cy="{middle:g}" r="4"/>')
    said = "ours with its interval" + (", the paper's number" if paper is not None else "")
    said += f", {claim.get('alternative') or 'the alternative'}" if against is not None else ""
    return (
        f'<svg class="strip" role="img" aria-label="{escape(said)}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'
    )


SIDE, ROOM = 340, 44


def scatter(claims: Sequence[dict[str, Any]]) -> str:
    """The paper's numbers (horizontal) against ours, of claims whose numbers lie between 0 and 1.

    Empty where fewer than three claims have such numbers. Colours go by verdict; a script reads the values out.
    """
    shown = [
        claim
        for claim in claims
        if isinstance(claim["paper"], int | float) and 0 <= claim["paper"] <= 1 and 0 <= claim["ours"] <= 1
    ]
    if len(shown) < 3:
        return ""

    def at(value: float) -> float:
        return ROOM + (SIDE - ROOM - 10) * value

    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [f'<path class="axis" d="M{at(0):g} {SIDE - at(0):g}L{at(1):g} {SIDE - at(1):g}"/>']
    for tick in ticks:
        x, y = at(tick), SIDE - at(tick)
        parts.append(
            f'<path class="grid" d="M{x:g} {SIDE - at(0):g}V{SIDE - at(1):g}M{at(0):g} {y:g}H{at(1):g}"/>'
        )
        parts.append(f'<text x="{x:g}" y="{SIDE - ROOM + 17}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{ROOM - 6}" y="{y + 4:g}" text-anchor="end">{tick:g}</text>')
    read: list[list[Any]] = []
    for claim in sorted(shown, key=lambda claim: (claim["paper"], claim["ours"])):
        x, y = round(at(claim["paper"]), 1), round(SIDE - at(claim["ours"]), 1)
        low, high = (SIDE - at(min(max(claim[end], 0), 1)) for end in ("low", "high"))
        kind = claim["verdict"].replace(" ", "-")
        parts.append(
            f'<g class="v-{kind}"><path d="M{x} {low:.1f}V{high:.1f}"/><circle cx="{x}" cy="{y}" r="3.5"/></g>'
        )
        text = f"{claim['id']} {claim['verdict']}: paper {claim['paper']:.3f}, ours {claim['ours']:.3f}"
        read.append([x, y, text, f"#claim-{claim['id']}"])
    parts.append(
        f'<text x="{(SIDE + ROOM) / 2}" y="{SIDE - 8}" text-anchor="middle">the paper’s number</text>'
    )
    parts.append(
        f'<text transform="translate(12 {(SIDE - ROOM) / 2}) rotate(-90)" text-anchor="middle">ours</text>'
    )
    points = escape(json.dumps(read))
    label = f"Scatter of {len(shown)} numbers of the paper against ours; on the diagonal they are equal."
    return (
        f'<figure class="scatter"><svg role="img" aria-label="{label}" viewBox="0 0 {SIDE} {SIDE}" '
        f'data-points="{points}">{"".join(parts)}</svg>\n<figcaption>Each mark is one number between 0 and 1, '
        "ours with the interval that decides; on the diagonal both agree.</figcaption></figure>\n"
    )
