"""A grid as a whole: what a statistic over all its cells is for the paper, and would be for one more dictionary.

One dictionary's cells are a Series (index: cell), or a table with a column a method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from amortgap._errors import Refused

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def one_more(
    ours: Sequence[Any], published: Any, statistic: Callable[[Any, Any], float]
) -> tuple[list[float], float]:
    """statistic(one dictionary's cells, mean of the others') for each of ours, and statistic(published, our mean).

    The values say what the statistic is where nothing but the dictionary differs: the published number should lie
    among them. Raises `Refused` for fewer than two dictionaries and for cells that are not the same.
    """
    if len(ours) < 2:
        raise Refused("a grid needs at least two dictionaries")
    if any(not one.index.equals(published.index) for one in ours):
        raise Refused("ours and the published grid must have the same cells in the same order")
    total = sum(ours[1:], start=ours[0])
    others = [(total - one) / (len(ours) - 1) for one in ours]
    values = [float(statistic(one, rest)) for one, rest in zip(ours, others, strict=True)]
    return values, float(statistic(published, total / len(ours)))


def mean(one: Series, rest: Series) -> float:
    """Of `one` over the cells, whatever the rest."""
    return float(one.mean())


def slope(one: Series, rest: Series) -> float:
    """Of `one` on `rest` by least squares: 1 where both depend on the cell alike, 0 where `one` does not."""
    centred = rest - rest.mean()
    return float((centred * one).sum() / (centred * centred).sum())


def distance(one: Series, rest: Series) -> float:
    """Root mean square difference over the cells."""
    return float(((one - rest) ** 2).mean() ** 0.5)


def same_winner(one: DataFrame, rest: DataFrame) -> float:
    """Share of cells in which the same column has the highest value."""
    return float((one.idxmax(axis=1) == rest.idxmax(axis=1)).mean())


def chance_winner(one: DataFrame, rest: DataFrame) -> float:
    """Share of cells with the same winner if each wins as often as it does, but in cells drawn at random."""
    shares = [table.idxmax(axis=1).value_counts(normalize=True) for table in (one, rest)]
    return float(shares[0].mul(shares[1], fill_value=0).sum())


class Whole(NamedTuple):
    """A statistic over a group of published numbers."""

    #: one a dictionary of ours
    values: list[float]
    published: float
    #: the numbers of the group that we have, a row each, and their values as compared
    numbers: DataFrame
    compared: Series


def whole(
    numbers: DataFrame,
    ours: Callable[[Series], Series],
    statistic: Callable[[Any, Any], float],
    to: Callable[[Series], Series] | None = None,
) -> Whole:
    """`one_more` for the published `numbers` (of `kit.published`) that we have.

    `ours` gives our values for a published number, indexed by dictionary; `to` is a scale, a logarithm for example.
    """
    import pandas as pd

    found = {key: values for key, number in numbers.iterrows() if len(values := ours(number))}
    table = pd.DataFrame(found).dropna()
    grids, theirs = [row for _, row in table.iterrows()], numbers["value"][table.columns]
    if to is not None:
        grids, theirs = [to(one) for one in grids], to(theirs)
    return Whole(*one_more(grids, theirs, statistic), numbers.loc[theirs.index], theirs)
