"""What the benchmarks write."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from amortgap._files import write_json, write_text
from amortgap.runs.provenance import cpu

REPORTS = Path("reports/bench")


def about() -> dict[str, Any]:
    """The machine and the torch that made a result."""
    return {"machine": cpu(), "torch": torch.__version__}


def markdown(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table of cells that are text already."""
    head, *body = (f"| {' | '.join(map(str, line))} |\n" for line in (columns, *rows))
    return "".join([head, "|" + "---|" * len(columns) + "\n", *body])


def write(path: Path, result: Any, text: str) -> None:
    """The result as JSON, and `text` beside it in Markdown."""
    write_json(path.with_suffix(".json"), result)
    write_text(path.with_suffix(".md"), text)
