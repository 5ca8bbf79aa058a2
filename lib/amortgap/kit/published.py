"""The paper's numbers: notebooks/published.csv, one number a line, with where it stands.

Columns: key (the id of the claim about this number, or a name of its own), experiment, quantity, method, the
setting (empty where it does not apply), value, sd (over the paper's initialisations, where stated), where.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap.kit.verdict import judge
from amortgap.runs.project import find_project

if TYPE_CHECKING:
    from pandas import DataFrame, Series


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
        if not isinstance(value, str | int | float):
            raise Refused(f"{column} must be text or a number, not {value!r}")
        rows = rows[rows[column] == value]
    if rows.empty:
        raise Refused(f"published.csv has no number with {which}")
    return rows.dropna(axis="columns", how="all")


def beside(numbers: DataFrame, ours: Callable[[Series], Any]) -> DataFrame:
    """Published `numbers` with ours beside each: paper, ours, P (low, high), n, agrees (the paper's is in P).

    `ours` gives our values for a row, one a dictionary; rows for which there are none are left out. P is found on
    the scale of scores for correlations and shares of active latents, else on the plain one.
    """
    import pandas as pd

    rows = []
    for key, number in numbers.iterrows():
        values = ours(number)
        if len(values):
            value = number["value"]
            found = judge(values, value, against=value, scale=scale_of(number["quantity"]))
            row = {"key": key} | number.rename({"value": "paper"}).to_dict()
            row |= {"ours": found.ours, "low": found.low, "high": found.high, "n": found.n}
            rows.append(row | {"agrees": not found.direction})
    return pd.DataFrame(rows)


def scale_of(quantity: str) -> str:
    """The scale (`amortgap.kit.intervals`) on which values of a published quantity are compared."""
    return "score" if quantity.endswith(("mcc", "correlation")) or quantity.startswith("l0") else "plain"


@lru_cache(maxsize=1)
def _all() -> DataFrame:
    import pandas as pd

    return pd.read_csv(find_project().notebooks / "published.csv", comment="#", index_col="key")
