"""The benchmark's tables in Markdown."""

from statistics import fmean
from typing import Any

from .race import CLOCKS, WHO

TIMES = "theirs, CPU | ours, CPU | ratio | theirs, wall | ours, wall | ratio |"


def head(columns: str) -> list[str]:
    return [f"| {columns}", "|" + "---|" * columns.count("|")]


def times(row: dict[str, Any], unit: float = 1.0) -> list[str]:
    """Six cells: seconds / unit of theirs and ours and their ratio, by both clocks."""
    cells = []
    for c in CLOCKS:
        a, b = (row[f"{who}_{c}"] / unit for who in WHO)
        cells += [f"{a:.4g}", f"{b:.4g}", f"{a / b:.3g}"]
    return cells


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def accuracy_cells(row: dict[str, Any], name: str, digits: int) -> list[str]:
    """Means over the runs, theirs and ours, and the interval of the paired difference; empty where unknown."""
    means = [f"{fmean(row[who][name]):.{digits}f}" if name in row[who] else "" for who in WHO]
    d = row["ours_less_theirs"].get(name)
    return [*means, f"{d['low']:+.{digits}f} to {d['high']:+.{digits}f}" if d else ""]


def equal_accuracy(rows: list[dict[str, Any]], sums: list[dict[str, Any]]) -> list[str]:
    three = "{0}, theirs | ours | 95 % interval of ours - theirs |"
    columns = " ".join(
        ["experiment | arm | our protocol |", *map(three.format, ("criterion", "MCC", "dictionary MCC"))]
    )
    lines = [
        "## To equal accuracy",
        "",
        "Accuracy on fresh test samples, means over the runs",
        "",
        *head(columns),
    ]
    for r in rows:
        how = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in r["protocol"].items())
        cells = [r["experiment"], r["arm"], how, *accuracy_cells(r, "criterion", 5)]
        lines.append(line([*cells, *accuracy_cells(r, "mcc", 3), *accuracy_cells(r, "dictionary_mcc", 3)]))
    if not all(r["theirs"] for r in rows):
        lines += [
            "",
            "Empty: their full protocol has not been run for this arm, so its accuracy is not compared.",
        ]
    lines += ["", "Seconds: theirs scaled up from the parts below, ours measured whole", ""]
    lines += head(f"experiment | arm | {TIMES}")
    lines += [line([r["experiment"], r.get("arm", "all"), *times(r)]) for r in [*rows, *sums]]
    return lines


def equal_steps(parts: list[dict[str, Any]], totals: list[dict[str, Any]]) -> list[str]:
    lines = ["## At equal steps", "", "Whole experiments, scaled up, seconds", ""]
    lines += head(f"experiment | arm | {TIMES}")
    lines += [line([r["experiment"], r["arm"], *times(r)]) for r in totals]
    lines += ["", "Parts, microseconds a model", ""]
    lines += head(
        f"experiment | arm | part | times in the paper | scaled up by | {TIMES} MCC, theirs | MCC, ours |"
    )
    for r in parts:
        scores = [f"{r[k]:.4f}" if k in r else "" for k in ("their_mcc", "our_mcc")]
        name = [r["experiment"], r["arm"], r["part"], str(r["count"]), f"{r['scale']:.4g}"]
        lines.append(line([*name, *times(r, 1e-6), *scores]))
    return lines
