"""From values and a published number to a verdict: one rule for all claims."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from amortgap._errors import Refused
from amortgap.kit.intervals import SCALES, Interval, interval, prediction

#: Verdict -> symbol. The symbol is always printed beside the word, so colour never carries the meaning.
VERDICTS = {
    "reproduced": "✓",
    "inconclusive": "?",
    "not reproduced": "✗",
    "corrected": "✎",
    "not comparable": "≠",
    "beyond": "+",
}

#: One sentence or more a line.
RULE = (
    "Brackets hold the interval that decides: where the value of one more dictionary (or seed) lies with 95 % "
    "probability. Where the paper states only a direction, and beyond it, they hold the 95 % interval of the mean.",
    "Each claim names, before results are seen, the alternative that would make it pointless: chance, an untrained "
    "read-out, another method's number, no difference.",
    "Reproduced: the paper's number is inside and the alternative is not. Inconclusive: both are inside, or the "
    "alternative is where the paper has no number, or the direction cannot be told.",
    "Not reproduced: the paper's number is outside; the verdict says on which side ours lies. Corrected: outside, "
    "and an experiment on the page shows why.",
    "A published difference that one more dictionary cannot tell from none, where both lie inside its interval, is "
    "asked for its side only, of the mean; its size stays undecided, and the note says so.",
    "Not comparable: model, data, algorithm or budget differ from the paper's. Beyond: the paper has no number, "
    "and the alternative is outside.",
)


class Judgement(NamedTuple):
    """Our estimate, the interval that decides, the number of values, the verdict, and where it points."""

    ours: float
    low: float
    high: float
    n: int
    verdict: str
    #: "higher" or "lower" than the paper says, where the verdict is "not reproduced" or "corrected"; else empty
    direction: str


def judge(
    values: Any,
    published: float | str | None = None,
    against: float | None = None,
    scale: str = "plain",
    *,
    cause_shown: bool = False,
    comparable: bool = True,
) -> Judgement:
    """Apply `RULE` to independent `values`; a single number is an exact count without spread.

    An `Interval` in place of values, from a bootstrap for example, decides as it is.

    `published` is the paper's number, or "above" or "below" where the paper says no more than on which side of
    `against` the value lies. Raises `Refused` where `published` comes without `against`.
    """
    stated = published in ("above", "below")
    if isinstance(published, str) and not stated:
        raise Refused(f"`published` is a number, 'above' or 'below', not {published!r}")
    if published is not None and against is None:
        raise Refused("a published number needs `against`, the alternative it must be told apart from")
    bounds = _bounds(values, scale, mean_only=published is None or stated)
    ours, low, high, _ = bounds
    if published is None:
        undecided = comparable and against is not None and low <= float(against) <= high
        verdict = "inconclusive" if undecided else "beyond" if comparable else "not comparable"
        return Judgement(*bounds, verdict, "")
    alternative = float(against)  # type: ignore[arg-type]
    aim = alternative if stated else float(published)
    if stated:
        both = low <= aim <= high
        agrees = both or (ours > aim) == (published == "above")
    else:
        agrees = _holds(low, high, aim, scale)
        both = agrees and _holds(low, high, alternative, scale)
    if agrees:
        verdict = "inconclusive" if both else "reproduced"
    else:
        verdict = "corrected" if cause_shown else "not reproduced"
    direction = "" if agrees else "higher" if ours > aim else "lower"
    return Judgement(*bounds, verdict if comparable else "not comparable", direction)


def difference(
    values: Any, published: float, where: str, note: str = "", none: str = "difference"
) -> dict[str, Any]:
    """What `Record.claim` needs for a published difference: its size where one dictionary can tell it from none.

    Where it cannot, because both lie in the interval for one more dictionary, no number of dictionaries can: then
    the claim is about the side of zero, which the mean can tell, and the note holds both sizes.
    """
    about: dict[str, Any] = {"against": {f"no {none}": 0}, "note": note, "published": (published, where)}
    _, low, high, _ = prediction(values)
    if low <= 0 <= high and low <= published <= high:
        side = "above" if published > 0 else "below"
        size = f"The paper's is {published:+.3f}, and one more dictionary may have {low:+.3f} to {high:+.3f}."
        about |= {"published": (side, where), "note": f"{size} {note}".strip()}
    return about


def _bounds(values: Any, scale: str, mean_only: bool) -> Interval:
    if isinstance(values, Interval):
        return values
    if hasattr(values, "__len__"):
        return interval(values, scale) if mean_only else prediction(values, scale)
    exact = float(values)
    return Interval(exact, exact, exact, 1)


def _holds(low: float, high: float, value: float, scale: str) -> bool:
    # compared on the scale, so that a published 1.000 is not outside an interval that ends just below 1
    to, _ = SCALES[scale]
    if scale == "log" and value <= 0:
        return False
    # an exact count agrees with a published one within a thousandth, as numbers of three digits do
    room = 1e-3 * abs(value) if low == high else 0.0
    # nothing is too small for an interval that reaches zero on the scale of logarithms
    low = float(to(low - room)) if scale != "log" or low > room else -math.inf
    high, value = float(to(high + room)), float(to(value))
    return low <= value <= high or math.isclose(low, value) or math.isclose(high, value)
