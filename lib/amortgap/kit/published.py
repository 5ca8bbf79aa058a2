"""The paper's numbers: notebooks/published.csv, one number a line, with where it stands.

Columns: key (the id of the claim about this number, or a name of its own), experiment, quantity, method, the
setting (empty where it does not apply), value, sd (over the paper's initialisations, where stated), where.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap.runs.project import find_project

if TYPE_CHECKING:
    from pandas import DataFrame


def published(**which: Any) -> DataFrame:
    """The published numbers whose columns equal `which`, in the file's order, indexed by key.

        published(experiment="E9", quantity="mcc", N=16)

    Columns that are empty in all of them are left out. Raises `Refused` for an unknown column and where no
    number fits.
    """
    rows = _all()
    for column, value in which.items():
        if column not in rows:
            raise Refused(f"published.csv has no column {column!r}; it has {', '.join(rows.columns)}")
        rows = rows[rows[column] == value]
    if rows.empty:
        raise Refused(f"published.csv has no number with {which}")
    return rows.dropna(axis="columns", how="all")


@lru_cache(maxsize=1)
def _all() -> DataFrame:
    import pandas as pd

    return pd.read_csv(find_project().notebooks / "published.csv", comment="#", index_col="key")
