"""The benchmark's tables in Markdown."""

from statistics import fmean
from typing import Any

from ..output import markdown
from .race import CLOCKS, WHO

Row = dict[str, Any]
TIMES = ["theirs, CPU", "ours, CPU", "ratio", "theirs, wall", "ours, wall", "ratio"]


def times(row: Row, unit: float = 1.0) -> list[str]:
    """Six cells: seconds / unit of theirs and ours and their ratio, by both clocks."""
    cells = []
    for c in CLOCKS:
        a, b = (row[f"{who}_{c}"] / unit for who in WHO)
        cells += [f"{a:.4g}", f"{b:.4g}", f"{a / b:.3g}"]
    return cells


def accuracy_cells(row: Row, name: str, digits: int) -> list[str]:
    """Means over the runs, theirs and ours, and the interval of the paired difference; empty where unknown."""
    means = [f"{fmean(row[who][name]):.{digits}f}" if name in row[who] else "" for who in WHO]
    d = row["ours_less_theirs"].get(name)
    return [*means, f"{d['low']:+.{digits}f} to {d['high']:+.{digits}f}" if d else ""]


def equal_accuracy(rows: list[Row], sums: list[Row]) -> str:
    scores = {"criterion": 5, "mcc": 3, "dictionary_mcc": 3}
    names = ("criterion", "MCC", "dictionary MCC")
    columns = [c for name in names for c in (f"{name}, theirs", "ours", "95 % interval of ours - theirs")]
    cells = []
    for r in rows:
        how = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in r["protocol"].items())
        found = [cell for name, digits in scores.items() for cell in accuracy_cells(r, name, digits)]
        cells.append([r["experiment"], r["arm"], how, *found])
    unknown = "\nEmpty: their full protocol has not been run for this arm, so its accuracy is not compared.\n"
    return (
        "## To equal accuracy\n\nAccuracy on fresh test samples, means over the runs\n\n"
        + markdown(["experiment", "arm", "our protocol", *columns], cells)
        + ("" if all(r["theirs"] for r in rows) else unknown)
        + "\nSeconds: theirs scaled up from the parts below, ours measured whole\n\n"
        + seconds([*rows, *sums])
    )


def seconds(rows: list[Row]) -> str:
    cells = [[r["experiment"], r.get("arm", "all"), *times(r)] for r in rows]
    return markdown(["experiment", "arm", *TIMES], cells)


def equal_steps(parts: list[Row], totals: list[Row]) -> str:
    columns = ["experiment", "arm", "part", "times in the paper", "scaled up by", *TIMES]
    cells = []
    for r in parts:
        scores = [f"{r[k]:.4f}" if k in r else "" for k in ("their_mcc", "our_mcc")]
        name = [r["experiment"], r["arm"], r["part"], r["count"], f"{r['scale']:.4g}"]
        cells.append([*name, *times(r, 1e-6), *scores])
    return (
        f"## At equal steps\n\nWhole experiments, scaled up, seconds\n\n{seconds(totals)}"
        f"\nParts, microseconds a model\n\n{markdown([*columns, 'MCC, theirs', 'MCC, ours'], cells)}"
    )
