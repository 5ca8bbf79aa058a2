"""Two reports side by side: the claims that both make, ours in A, ours in B, and the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import read_json
from amortgap.kit.claims import order


def claims_of(where: str, reports: Path) -> dict[str, dict[str, Any]]:
    """The claims by id of a profile (a folder of `reports`), another folder of a report, or a `claims.json`.

    Raises `Refused` where there are none to be read.
    """
    named = reports / where / "data" / "claims.json"
    given = Path(where)
    file = named if named.is_file() else given / "data" / "claims.json" if given.is_dir() else given
    try:
        return {claim["id"]: _checked(claim) for claim in read_json(file)}
    except OSError:
        raise Refused(
            f"there is no report {where!r} in {reports}, and no folder or claims.json of that name; "
            f"`make report PROFILE={where}` makes the report of a profile"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"{file} does not hold claims: {error}") from None


def _checked(claim: dict[str, Any]) -> dict[str, Any]:
    for key in ("says", "paper", "verdict"):
        claim[key]
    for key in ("ours", "low", "high"):
        if not math.isfinite(claim[key]):
            raise ValueError(f"{key} of {claim['id']} is no number")
    return claim


def claims_beside(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The claims of the other reports in the folder of the report `folder`, by name.

    The report `paper` is committed, so it shows nothing of what else was made on this disk.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    if folder.name == "paper":
        return found
    for file in sorted(folder.parent.glob("*/data/claims.json")):
        name = file.parents[1].name
        # a damaged report beside this one is no reason to render nothing
        with suppress(Refused):
            if name != folder.name and (claims := claims_of(name, folder.parent)):
                found[name] = claims
    return found


def compare(one: dict[str, dict[str, Any]], two: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each claim of either: id, says, paper, ours and verdict in both, difference (two - one), apart.

    `apart`: whether neither number lies in the other's interval. A claim that one does not make has None there.
    """
    rows = []
    for identifier in sorted({*one, *two}, key=order):
        a, b = one.get(identifier), two.get(identifier)
        either = b or a or {}
        row = {"id": identifier, "says": either["says"], "paper": either["paper"]}
        for side, claim in (("a", a), ("b", b)):
            row |= {f"ours_{side}": claim and claim["ours"], f"verdict_{side}": claim and claim["verdict"]}
        row["difference"] = b["ours"] - a["ours"] if a and b else None
        row["apart"] = bool(a and b and not _inside(a, b) and not _inside(b, a))
        rows.append(row)
    return rows


def _inside(claim: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(other["low"] <= claim["ours"] <= other["high"])


def as_text(rows: Sequence[dict[str, Any]], names: tuple[str, str]) -> str:
    """The rows as lines for a terminal; those that are apart carry a star."""

    def cell(value: Any) -> str:
        return "–" if value is None else value if isinstance(value, str) else f"{value:.4g}"

    head = ["", "id", "paper", names[0], names[1], "difference", "verdicts", "claim"]
    lines = [head]
    for row in rows:
        verdicts = list(dict.fromkeys(str(row[f"verdict_{side}"] or "–") for side in "ab"))
        numbers = [cell(row[name]) for name in ("paper", "ours_a", "ours_b", "difference")]
        lines.append(["*" if row["apart"] else "", row["id"], *numbers, " → ".join(verdicts), row["says"]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    text = "\n".join(
        "  ".join([*(part.ljust(width) for part, width in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )
    both = sum(row["difference"] is not None for row in rows)
    apart = sum(row["apart"] for row in rows)
    return f"{text}\n{both} claims are made by both; {apart} of them (*) lie outside each other's interval"
