"""Many rows, one a dictionary or seed -> one row a group with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amortgap._errors import Refused
from amortgap.kit.intervals import interval, scale_of

if TYPE_CHECKING:
    from pandas import DataFrame


def summarise(rows: DataFrame, by: str | Sequence[str], of: str, mean: Sequence[str] = ()) -> DataFrame:
    """A row for each group of `by`, in order of appearance: mean of `of`, low, high (95 %), n, means of `mean`.

    Raises `Refused` for a column that is not there, and as `interval`.
    """
    import pandas as pd

    keys = [by] if isinstance(by, str) else list(by)
    for column in (*keys, of, *mean):
        if not isinstance(column, str) or column not in rows:
            raise Refused(f"the table has no column {column!r}; it has {', '.join(map(str, rows.columns))}")
    if rows.empty:
        raise Refused("there are no rows to summarise")
    found = []
    for key, group in rows.groupby(keys, sort=False):
        middle, low, high, n = interval(group[of], scale_of(of))
        row = dict(zip(keys, key, strict=True)) | {of: middle, "low": low, "high": high, "n": n}
        found.append(row | {column: group[column].mean() for column in mean})
    return pd.DataFrame(found)
