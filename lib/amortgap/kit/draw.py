"""Figures that look alike on all pages: a method keeps its colour and mark, legends stand outside the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from amortgap.kit.intervals import interval, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

#: Colour, mark and line of well-known methods; a name takes those of the longest entry that it begins with.
LOOKS = {
    "SAE": ("C0", "o", "-"),
    "ReLU": ("C0", "o", "-"),
    "MLP": ("C1", "s", "-"),
    "MLP 256": ("C1", "D", "--"),
    "MLP 1024": ("C1", "^", ":"),
    "sparse coding": ("C2", "^", "-"),
    "converged": ("C3", "v", "-"),
    "ITO": ("C4", "P", "-"),
    "MLP 32, 32": ("C1", "p", "-."),
    "TopK": ("C5", "d", "-"),
    "true dictionary": ("C4", "X", "--"),
    "random dictionary": ("C6", "x", "--"),
    "untrained": ("C6", "x", ":"),
    "matching pursuit": ("C3", "h", "--"),
}
#: For all other names, in the order in which a page meets them.
SPARE = list(product(("--", ":", "-.", "-"), ("p", "h", "<", ">"), ("C5", "C4", "C3", "C2", "C1", "C0")))
_met: dict[str, tuple[str, str, str]] = {}

#: Marks of what is not ours.
PAPER = {"marker": "D", "mfc": "none", "color": "C6", "ls": "", "label": "the paper"}
CHANCE = {"marker": "|", "ms": 10, "color": "C6", "ls": "", "label": "chance (samples shuffled)"}


def style(name: str) -> dict[str, str]:
    """Colour, marker and line style of a method, the same wherever its name begins the same."""
    known = max((entry for entry in LOOKS if name.startswith(entry)), key=len, default=None)
    if known is None and name not in _met:
        line, mark, colour = SPARE[len(_met) % len(SPARE)]
        _met[name] = colour, mark, line
    colour, mark, line = LOOKS[known] if known else _met[name]
    return {"color": colour, "marker": mark, "ls": line}


def dots(
    ax: Axes,
    table: DataFrame,
    of: str,
    order: Sequence[str],
    by: str = "method",
    shift: float = 0.0,
    **look: Any,
) -> None:
    """Horizontal dot plot: columns `of`, low and high of a summary, one row a name of `order`, the first on top.

    Several calls with the same `order` and another `shift` put series beside each other.
    """
    order = list(order)
    y = [order.index(name) + shift for name in table[by]]
    error = [table[of] - table["low"], table["high"] - table[of]]
    settings: dict[str, Any] = {"fmt": "o", "capsize": 3} | look
    ax.errorbar(table[of], y, xerr=error, **settings)
    ax.set_yticks(range(len(order)), order)
    ax.set_ylim(len(order) - 0.5, -0.5)


def marks(
    ax: Axes,
    values: Series | dict[str, float],
    order: Sequence[str],
    kind: dict[str, Any],
    shift: float = 0.0,
) -> None:
    """Values of others by name beside the dots of `order`: `PAPER`, `CHANCE`, or a style of your own."""
    order = list(order)
    at = [(value, order.index(name) + shift) for name, value in values.items() if name in order]
    ax.plot([v for v, _ in at], [y for _, y in at], **kind)


def band(ax: Axes, rows: DataFrame, across: str, of: str, ends: str = "interval", **look: Any) -> None:
    """Mean of `of` against a column in a band: its 95 % interval over rows, or with ends="range" min to max."""
    groups = rows.groupby(across)[of]
    if ends == "range":
        middle, low, high = groups.mean(), groups.min(), groups.max()
    else:
        found = groups.apply(interval, scale_of(of))
        middle, low, high = (found.map(lambda one, i=i: one[i]) for i in range(3))
    ax.plot(middle.index, middle, **look)
    # The underscore keeps it out of the legend.
    label = f"_{look.get('label', '')}"
    between = low.to_numpy(), high.to_numpy()
    ax.fill_between(middle.index, *between, color=look.get("color"), alpha=0.15, lw=0, label=label)


def legend(fig: Figure, columns: int = 4) -> None:
    """One legend below all panels of the figure, each label once, in as many columns as fit.

    A figure without labels has none.
    """
    handles: dict[str, Any] = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    for count in range(columns, 0, -1):
        box = fig.legend(
            list(handles.values()), list(handles), fontsize=9, loc="outside lower center", ncols=count
        )
        if count == 1 or box.get_window_extent().width <= fig.bbox.width:
            return
        box.remove()


def name_points(ax: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """The name of each point (name, x, y) beside it, where it falls on no other; what fits nowhere goes unnamed.

    Call it when scales and limits are final.
    """
    from matplotlib.transforms import Bbox

    ax.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    places = [ax.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in places]
    for name, x, y in points:
        for right, up in product((6, -6), (-11, 4)):
            side = "left" if right > 0 else "right"
            at: Any = {"xytext": (right, up), "textcoords": "offset points", "ha": side, "fontsize": 8}
            text = ax.annotate(name, (x, y), **at)
            box = text.get_window_extent()
            if box.x1 <= ax.bbox.x1 and box.x0 >= ax.bbox.x0 and not any(map(box.overlaps, taken)):
                taken.append(box)
                break
            text.remove()


def log_ticks(ax: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic x axis with these ticks, written as they are."""
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def heat_map(
    ax: Axes, values: Any, columns: Sequence[Any], rows: Sequence[Any], *, text: str = "{:+.2f}", **how: Any
) -> Any:
    """Values (rows, columns) as colours with their numbers inside; `how` goes to `imshow` (cmap, vmin, vmax)."""
    values = np.asarray(values, dtype=float)
    picture = ax.imshow(values, aspect="auto", **how)
    for (i, j), value in np.ndenumerate(values):
        red, green, blue, _ = picture.cmap(picture.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        ax.text(
            j,
            i,
            text.format(value).replace("-", "−"),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else "#111111",
        )
    ax.grid(False)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    return picture
