"""What `make soak` found: faults injected and survived, odd inputs tried, answered rightly and refused."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap.kit.tables import read_rows
from amortgap.kit.text import typeset
from amortgap.kit.tidy import heading


def found(bench: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of `faults.json` and `inputs.json` in a folder; of those that are there. `Refused` where damaged."""
    rows = {}
    for name, numbers in (("faults", ("injected", "survived")), ("inputs", ("tried", "right", "refused"))):
        file = bench / f"{name}.json"
        if file.is_file():
            try:
                rows[name] = read_rows(file)
                sum(row[number] for row in rows[name] for number in numbers)
            except (ValueError, KeyError, TypeError) as error:
                raise Refused(f"{file} is not what `make soak` writes, which makes it again") from error
    return rows


def robustness(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Both tables as a section of the page about the report; empty where the tests left none."""
    parts = []
    if faults := rows.get("faults"):
        total = [sum(row[name] for row in faults) for name in ("injected", "survived")]
        parts.append(
            f"<p>Of {total[0]} faults, {total[1]} left the next run with the result of an undisturbed one, or with "
            "a sentence that names the file. How many were survived, by what was done to what:</p>\n"
            + _grid(faults)
        )
    if inputs := rows.get("inputs"):
        tried, right, refused = (sum(row[name] for row in inputs) for name in ("tried", "right", "refused"))
        counted = (
            f"Of {tried} inputs to {len(inputs)} public functions, {right} had a right result, {refused} were "
            f"refused in one sentence, and {tried - right - refused} failed."
        )
        parts.append(
            f"<p>{typeset(counted)}</p>\n"
            + f"<details><summary>by function</summary>{_table(inputs)}</details>"
        )
    head = '<h2 id="robustness">Faults and odd inputs</h2>\n<p>Counted by the tests (<code>make soak</code>).</p>\n'
    return head + "\n".join(parts) if parts else ""


def _grid(rows: list[dict[str, Any]]) -> str:
    """A row for each kind of fault, a column for each job; of how many is said where not all were survived."""
    counts: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        both = counts.setdefault((row["what"], row["to"]), [0, 0])
        both[0] += row["survived"]
        both[1] += row["injected"]
    jobs = list(dict.fromkeys(row["to"] for row in rows))

    def cell(what: str, to: str) -> str:
        survived, injected = counts.get((what, to), (0, 0))
        return str(survived or "") if survived == injected else f"{survived} of {injected}"

    kinds = dict.fromkeys(row["what"] for row in rows)
    return _table([{"what": what} | {to: cell(what, to) for to in jobs} for what in kinds])


def _table(rows: list[dict[str, Any]]) -> str:
    first, *others = rows[0]
    head = "".join(f'<th scope="col" class="n">{escape(heading(name))}</th>' for name in others)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[first])}</th>'
        + "".join(f'<td class="n">{escape(str(row[name]))}</td>' for name in others)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll wide"><table>\n<thead><tr><th scope="col">{first}</th>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )
