"""Tidy tables as JSON: the columns once, a line a row, scalar cells, nine digits.

`pandas.read_json(file, orient="split")` reads them, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap._files import read_json, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

#: Files of a run's data folder that are no tables.
RESERVED = {"claims", "facts", "run", "times"}


def write_table(
    path: Path, rows: DataFrame | Iterable[Mapping[str, Any]], *, may_be_empty: bool = False
) -> None:
    """Write `rows` to `path`, numbers to nine digits, which hold a float32 exactly. NaN and None become null.

    A named index of a DataFrame becomes a column; an unnamed one is dropped. Raises `Refused` for an
    empty table unless it may be empty, for column names that are not text, and for cells that are not a number,
    text, truth value or None (arrays, lists, infinities).
    """
    name = path.stem
    if hasattr(rows, "to_dict"):
        frame: Any = rows  # told by its method, so that pandas is imported only by who uses it
        named = any(level is not None for level in frame.index.names)
        rows = (frame.reset_index() if named else frame).to_dict("records")
    records = [{column: _cell(value, name, column) for column, value in row.items()} for row in rows]
    if not records and not may_be_empty:
        raise Refused(f"table {name!r} has no rows")
    columns = list(dict.fromkeys(column for row in records for column in row))
    if bad := [column for column in columns if not isinstance(column, str)]:
        raise Refused(f"table {name!r}: column {bad[0]!r} is not a text")
    lines = (_line([row.get(column) for column in columns]) for row in records)
    write_text(path, f'{{"columns": {_line(columns)},\n"data": [\n' + ",\n".join(lines) + "\n]}\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the table stored in `path`."""
    table = read_json(path)
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def read_table(path: Path) -> DataFrame:
    """The table stored in `path`."""
    import pandas as pd

    return pd.DataFrame(read_rows(path))


def _line(cells: list[Any]) -> str:
    return json.dumps(cells, ensure_ascii=False, allow_nan=False)


def _cell(value: Any, table: str, column: object) -> float | int | str | bool | None:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # numpy and torch scalars
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else float(f"{value:.9g}")
    kind = "infinite" if isinstance(value, float) else f"a {type(value).__name__}"
    raise Refused(
        f"table {table!r}, column {column!r}: a cell is {kind}; use numbers, text, true/false or None"
    )
