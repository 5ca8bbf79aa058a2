"""What `make soak` found: faults injected and survived, odd inputs tried, answered rightly and refused."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from amortgap.kit.tables import read_rows


def found(bench: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of `faults.json` and `inputs.json` in a folder; of those that are there."""
    files = {name: bench / f"{name}.json" for name in ("faults", "inputs")}
    return {name: read_rows(file) for name, file in files.items() if file.is_file()}


def robustness(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Both tables as a section of the page about the report; empty where the tests left none."""
    parts = []
    if faults := rows.get("faults"):
        total = [sum(row[name] for row in faults) for name in ("injected", "survived")]
        parts.append(
            f"<p>Of {total[0]} faults, {total[1]} left the next run with the result of an undisturbed one, or with "
            "a sentence that names the file.</p>\n" + _table(("what", "to", "injected", "survived"), faults)
        )
    if inputs := rows.get("inputs"):
        tried, right, refused = (sum(row[name] for row in inputs) for name in ("tried", "right", "refused"))
        parts.append(
            f"<p>Of {tried} inputs to {len(inputs)} public functions, {right} had a right result, {refused} were "
            f"refused in one sentence, and {tried - right - refused} failed.</p>\n"
            + _table(("function", "tried", "right", "refused"), inputs)
        )
    head = '<h2 id="robustness">Faults and odd inputs</h2>\n<p>Counted by the tests (<code>make soak</code>).</p>\n'
    return head + "\n".join(parts) if parts else ""


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        return f"<td>{escape(value)}</td>" if isinstance(value, str) else f'<td class="n">{value}</td>'

    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(cell(row[column]) for column in columns)}</tr>" for row in rows)
    return (
        '<details><summary>table</summary><div class="scroll wide"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></details>"
    )
