"""Drawings of page 23, from the rows or tables of `amortgap.explore`, fast enough to be drawn at each move."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Rows = Any  # a table, or a list of its rows

#: Colours of the three codes of one signal.
CODES = {"true": "C6", "read off": "C1", "solved": "C0"}

#: What a label takes to each side of its middle, along and across, as a share of the plane's side.
ROOM = np.array([0.07, 0.035])


def signal(codes: Rows, ladder: Rows) -> Figure:
    """One signal's codes (code, latent, value), a line each, and the rungs (rung, mcc, low, chosen)."""
    codes, ladder = _tables(codes, ladder)
    fig, (ax, beside) = _panels(0.62)
    tallest = max(float(codes.value.abs().max()), 1e-9)
    for at, (name, colour) in zip((2, 1, 0), CODES.items(), strict=True):
        rows = codes[codes.code == name]
        ax.vlines(rows.latent, at, at + 0.85 * rows.value / tallest, color=colour, lw=3)
        ax.axhline(at, color="C6", lw=0.6)
    ax.set_yticks([2, 1, 0], list(CODES))
    ax.grid(False)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("latent")
    ax.set_title(f"one signal; the tallest value is {tallest:.3g}", loc="left")
    _ladder(beside, ladder)
    return fig


def _ladder(ax: Any, ladder: DataFrame) -> None:
    y = np.arange(len(ladder))
    bar = ladder.rung == "L-NL ceiling"
    sized = np.where(ladder.chosen, 9, 6)
    # without a known law of amplitudes there is no ceiling
    known = ladder.mcc.notna().to_numpy()
    ax.scatter(ladder.mcc[~bar & known], y[~bar & known], s=sized[~bar & known] ** 2, color="C0", zorder=3)
    for at, row in zip(y[bar & known], ladder[bar & known].itertuples(), strict=True):
        low = row.mcc if row.low is None or np.isnan(row.low) else row.low
        ax.plot([low, row.mcc], [at, at], color="C1", lw=5, solid_capstyle="butt")
        ax.plot([row.mcc], [at], "|", color="C1", ms=12, mew=2)
    labels = [f"{row.rung} ←" if row.chosen else row.rung for row in ladder.itertuples()]
    ax.set_yticks(y, labels)
    ax.set_ylim(len(ladder) - 0.5, -0.5)
    ax.set_xlim(min(0.0, float(ladder.mcc.min())) - 0.02, 1.02)
    ax.set_xlabel("MCC over many signals")
    ax.set_title("the gap taken apart", loc="left")


def steps(told: Rows, values: Rows, truth: Rows, at: int) -> Figure:
    """A solver's objective and duality gap against its steps, and its code after `at` steps beside the true one."""
    told, values, truth = _tables(told, values, truth)
    fig, (ax, beside) = _panels(0.1)
    floor = 1e-16
    ax.plot(
        told.step, told.excess.clip(lower=floor), "-o", ms=3, color="C0", label="objective above the optimum"
    )
    ax.plot(told.step, told.gap.clip(lower=floor), "--s", ms=3, color="C1", label="relative duality gap")
    ax.axvline(at, color="C6", lw=1)
    ax.set_yscale("log")
    ax.set_xlabel("step")
    now = told[told.step == at].iloc[0]
    ax.set_title(f"step {at}: objective {now.objective:.4g}, gap {now.gap:.2g}", loc="left")
    ax, rows = beside, values[values.step == at]
    ax.vlines(truth.latent, 0, truth.value, color="C6", lw=7, alpha=0.35, label="true code")
    ax.vlines(rows.latent, 0, rows.value, color="C0", lw=3, label="code at this step")
    ax.set_ylim(min(0.0, values.value.min()) - 0.05, max(values.value.max(), truth.value.max()) * 1.05 + 0.05)
    ax.set_xlabel("latent")
    ax.set_title(f"{int(now.active)} latents active", loc="left")
    return fig


def plane(cells: Rows, columns: Rows) -> Figure:
    """The plane of signals twice, one colour a cell; arrows are the columns of D, labels the active latents."""
    cells, columns = _tables(cells, columns)
    fig, axes = _panels(0.2, 4.4)
    line = np.sort(cells.x.unique())
    for ax, (name, rows) in zip(axes, cells.groupby("code", sort=False), strict=True):
        names = sorted(rows.cell.unique(), key=lambda cell: (cell.count("+"), cell))
        grid = rows.cell.map({cell: i for i, cell in enumerate(names)}).to_numpy()
        grid = grid.reshape(len(line), len(line)).T
        ends = (line[0], line[-1])
        ax.imshow(grid, origin="lower", extent=ends + ends, cmap=_shades(len(names)), interpolation="nearest")
        for cell, place in rows.groupby("cell"):
            if cell and len(place) > len(rows) / 80:
                x, y = _free_place(place, columns, line[-1] - line[0])
                ax.text(x, y, cell, ha="center", va="center", fontsize=9, color="#111111")
        for column in columns.itertuples():
            ax.annotate("", (column.x, column.y), (0, 0), arrowprops={"arrowstyle": "->", "color": "#111111"})
        ax.set_title(f"{name}: {len(names)} cells, up to {rows.active.max()} active", loc="left")
        ax.set(xlabel="first measurement", ylabel="second measurement")
        ax.grid(False)
    return fig


def _free_place(cell: DataFrame, columns: DataFrame, side: float) -> tuple[float, float]:
    """The point of a cell nearest to its middle that is clear of every arrow; the clearest where none is."""
    points = cell[["x", "y"]].to_numpy()
    ends = columns[["x", "y"]].to_numpy()
    along = np.clip(points @ ends.T / (ends**2).sum(1), 0, 1)
    apart = (points[:, None] - along[..., None] * ends) / (ROOM * side)
    clear = np.sqrt((apart**2).sum(2)).min(1)
    from_middle = ((points - points.mean(0)) ** 2).sum(1)
    x, y = points[np.where(clear >= min(1.0, clear.max()), from_middle, np.inf).argmin()]
    return float(x), float(y)


def _shades(count: int) -> Any:
    """So many light colours on which dark labels can be read, neighbours in the list far apart."""
    from matplotlib.colors import ListedColormap, hsv_to_rgb

    hues = (0.08 + 0.618 * np.arange(count)) % 1
    return ListedColormap(hsv_to_rgb(np.stack([hues, np.full(count, 0.28), np.full(count, 0.97)], 1)))


def show(draw: Callable[[], Figure]) -> None:
    """Show what `draw` draws, without what a page's figure takes; of a ValueError its sentence."""
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    try:
        fig = draw()
    except ValueError as error:
        print(error)
        return
    picture = io.BytesIO()
    fig.savefig(picture, format="png", dpi=80, facecolor="white")
    plt.close(fig)
    display(Image(picture.getvalue()))


def latents(rows: Sequence[Mapping[str, Any]]) -> str:
    """Latents with an `html` each, one below the other, the strength of a token or signal as colour."""
    look = "<style>.latent mark {background: rgb(0 114 178 / calc(10% + 50% * var(--s))); color: inherit}</style>"
    return "\n".join([look, *(str(row["html"]) for row in rows)])


def chooser(label: str, start: Path, listing: Callable[[Path], list[str]]) -> Any:
    """A widget in which one walks from `start` through folders; `.chosen` is the file, or the folder, one is at."""
    from ipywidgets import HTML, Select, VBox

    said, names = HTML(), Select(rows=8)
    box = VBox([HTML(f"<b>{escape(label)}</b>"), said, names])

    def enter(folder: Path) -> None:
        box.chosen = box.folder = folder
        said.value = escape(str(folder))
        # without a choice new names choose nothing
        names.index = None
        names.options = listing(folder)

    def follow(change: Any) -> None:
        if change["new"] is None:
            return
        path = (box.folder / names.options[change["new"]]).resolve()
        if path.is_dir():
            enter(path)
        else:
            box.chosen, said.value = path, escape(str(path))

    enter(start.resolve())
    names.observe(follow, "index")
    return box


def _tables(*rows: Any) -> list[DataFrame]:
    import pandas as pd

    return [pd.DataFrame(one) for one in rows]


def _panels(between: float, height: float = 3.6) -> tuple[Figure, Any]:
    """Two panels side by side at fixed places: to lay them out takes longer than to draw them."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(9.5, height), layout="none")
    fig.subplots_adjust(0.08, 0.16, 0.99, 0.91, wspace=between)
    return fig, axes
