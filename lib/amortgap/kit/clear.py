"""Figures without overprinted text, with marks for what lies outside the axes, and for a narrow window."""

from __future__ import annotations

import re
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from amortgap.kit.readout import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points. The narrow drawing is as wide as a phone's column of text, 350 pixels, where 9 points are 9.9 pixels.
SMALLEST, NARROW = 9.0, 4.4
#: Arrows at one edge of one panel; more would overprint each other.
MOST_OUTSIDE = 6
#: Inches that a line of a name takes.
LINE = 0.185
#: Letters in a line of a name at the left of a narrow drawing.
LONGEST_NAME = 20


def settle(fig: Figure) -> None:
    """Mend the figure's text: no size under 9 points, no tick label on another, no title wider than its panel."""
    from matplotlib.text import Text

    for text in fig.findobj(Text):
        text.set_fontsize(max(SMALLEST, text.get_fontsize()))
    for ax in fig.axes:
        _mark_outside(ax)
        _whole(ax)
        _plain(ax.xaxis)
        _plain(ax.yaxis)
    fig.draw_without_rendering()
    for ax in fig.axes:
        _upright(ax.xaxis)
    changed = [_wrap(ax) for ax in fig.axes] + [
        _thin(axis) for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)
    ]
    # Halving sixteen labels four times leaves one.
    for _ in range(4):
        if not any(changed):
            return
        fig.draw_without_rendering()
        still = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis) if _overlap(_shown(axis))]
        changed = [_drop_every_second(axis) for axis in still]


def _whole(ax: Axes) -> None:
    """Whole numbers along the horizontal axis where its lines have no others: there is no latent 2.5."""
    from matplotlib.ticker import MaxNLocator

    places = [line.get_xdata(orig=False) for line in ax.lines if line.get_transform() is ax.transData]
    upright = [bars for bars in ax.containers if getattr(bars, "orientation", "") == "vertical"]
    places += [[round(bar.get_x() + bar.get_width() / 2, 9) for bar in bars] for bars in upright]
    values = np.concatenate(places).astype(float) if places else np.zeros(0)
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator) and len(values) and np.ptp(values) > 2 and not np.any(values % 1):
        locator.set_params(integer=True)


def _plain(axis: Any) -> None:
    """Plain numbers along a logarithmic axis of less than two decades: `20` and `50`, not `2 × 10¹`."""
    from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation

    low, high = sorted(axis.get_view_interval())
    named = isinstance(axis.get_major_formatter(), LogFormatterSciNotation)
    if axis.get_scale() == "log" and named and low >= 1e-3 and high <= 1e4 and high < 100 * low:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        some = "25" if high < 30 * low else ""
        axis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in some else "")
        )


def overlaps(fig: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of a drawn figure that are printed on one another."""
    from matplotlib.text import Text

    axes = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    # the lists themselves: `get_major_ticks` leaves out those that a longer list of ticks left behind
    ticks = [tick for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks)]
    not_drawn = {id(label) for tick in ticks for label in (tick.label1, tick.label2)}
    not_drawn -= {
        id(label)
        for ax in fig.axes
        if _visible(ax)
        for axis in (ax.xaxis, ax.yaxis)
        for label in _shown(axis)
    }
    texts = [
        t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip() and id(t) not in not_drawn
    ]
    boxes = [text.get_window_extent() for text in texts]
    found = []
    for i, a in enumerate(boxes):
        for j in range(i + 1, len(boxes)):
            b = boxes[j]
            wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            if wide > 1 and high > 1:
                found.append((texts[i].get_text(), texts[j].get_text()))
    return found


def _visible(ax: Axes) -> bool:
    return ax.get_visible() and ax.axison


def _shown(axis: Any) -> list[Any]:
    """The tick labels that are drawn, in their order along the axis."""
    ticks = axis._update_ticks()
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    labels = [one for one in labels if one.get_visible() and one.get_text().strip()]
    along = 0 if axis.axis_name == "x" else 1
    return sorted(labels, key=lambda one: float(one.get_position()[along]))


def _overlap(labels: list[Any]) -> bool:
    boxes = [label.get_window_extent().padded(1) for label in labels]
    return any(a.overlaps(b) for a, b in pairwise(boxes))


def _thin(axis: Any) -> bool:
    """Fewer tick labels, or names turned, where some overprint each other; whether anything was changed."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    labels = _shown(axis)
    if not _overlap(labels):
        return False
    locator = axis.get_major_locator()
    if axis.get_scale() == "log" and isinstance(locator, LogLocator):
        axis.set_minor_formatter(NullFormatter())
        locator.set_params(numticks=max(3, len(axis.get_majorticklocs()) // 2))
    elif isinstance(locator, MaxNLocator):
        locator.set_params(nbins=max(2, len(labels) // 2))
    elif _named(axis):
        smaller = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        for label in labels:
            label.set(**smaller if axis.axis_name == "x" else {"fontsize": SMALLEST})
    else:
        _drop_every_second(axis)
    return True


def _upright(axis: Any) -> None:
    """Labels that were turned in case they overprint each other stand upright where they do not."""
    turned = [label for label in _shown(axis) if label.get_rotation() and label.get_ha() == "center"]
    angles = {label.get_rotation() for label in turned}
    if len(angles) != 1:
        return
    axis.set_tick_params(rotation=0)
    if _overlap(_shown(axis)):
        axis.set_tick_params(rotation=angles.pop())


def _named(axis: Any) -> bool:
    """Whether an axis has names instead of numbers."""
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    places = isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator)
    return places and not _numeric(axis.get_majorticklabels())


def _numeric(labels: list[Any]) -> bool:
    return all(label.get_text().strip("$−-").replace(".", "").isdigit() for label in labels)


def _drop_every_second(axis: Any) -> bool:
    from matplotlib.ticker import FixedFormatter, FixedLocator

    at = [(float(label.get_position()[axis.axis_name == "y"]), label.get_text()) for label in _shown(axis)]
    axis.set_major_locator(FixedLocator([place for place, _ in at]))
    axis.set_major_formatter(FixedFormatter([name if i % 2 == 0 else "" for i, (_, name) in enumerate(at)]))
    axis.set_minor_locator(FixedLocator([]))
    return len(at) > 1


def _wrap(ax: Axes) -> bool:
    """Titles and axis labels that are longer than their axis, or leave the figure, go over several lines."""
    changed, box, edge = False, ax.get_window_extent(), ax.get_figure(root=True).bbox.x1  # type: ignore[union-attr]
    room = {"x": box.width, "y": box.height}
    left: Any = ax._left_title  # type: ignore[attr-defined]
    texts = [(ax.title, "x"), (left, "x"), (ax.xaxis.label, "x"), (ax.yaxis.label, "y")]
    for text, along in texts:
        said = text.get_text()
        size = text.get_window_extent()
        length = size.width if along == "x" else size.height
        cut = along == "x" and (size.x0 < 0 or size.x1 > edge)
        # the label of the horizontal axis may stand out a little on both sides
        limit = room[along] * (1.15 if text is ax.xaxis.label else 1.0)
        if "\n" not in said and (cut or length > limit > 0):
            # a little less, for letters differ in width
            text.set_text(_lines(said, max(8, int(0.95 * len(said) * room[along] / length))))
            changed |= text.get_text() != said
    return changed


def _lines(text: str, width: int) -> str:
    """`text` in lines of so many letters, formulas kept whole."""
    kept = re.sub(r"\$[^$]*\$", lambda found: found[0].replace(" ", "\0"), text)
    return textwrap.fill(kept, width, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def _fold_names(ax: Axes) -> float:
    """Long names at the left go over several lines, so that they leave room for the data; inches they need then."""
    if not _named(ax.yaxis):
        return 0.0
    names = [_lines(label.get_text(), LONGEST_NAME) for label in ax.get_yticklabels()]
    ax.set_yticks(ax.get_yticks(), names)
    return LINE * len(names) * max((1 + name.count("\n") for name in names), default=0)


def _mark_outside(ax: Axes) -> None:
    """An arrow with the value at the edge for each mark that lies outside the axes."""
    from matplotlib.transforms import blended_transform_factory

    if getattr(ax, "_outside_marked", False):
        return
    ax._outside_marked = True  # type: ignore[attr-defined]
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    found: list[tuple[int, float, float, Any]] = []
    for line in ax.lines:
        if line.get_marker() in ("None", None, "", " ", "|") or line.get_transform() is not ax.transData:
            continue
        for x, y in np.column_stack([line.get_xdata(orig=False), line.get_ydata(orig=False)]).astype(float):
            if bottom <= y <= top and (x < left or x > right):
                found.append((0, x, y, line.get_color()))
            elif left <= x <= right and (y < bottom or y > top):
                found.append((1, x, y, line.get_color()))
    for along, x, y, colour in found[:MOST_OUTSIDE]:
        value = (x, y)[along]
        high = value > (right, top)[along]
        flipped = (ax.xaxis_inverted(), ax.yaxis_inverted())[along]
        at = float(high != flipped)
        text = short(value)
        if along == 0:
            place = blended_transform_factory(ax.transAxes, ax.transData)
            said, where = (f"{text} →", (at, y)) if at else (f"← {text}", (at, y))
            ax.text(*where, said, transform=place, ha="right" if at else "left", va="center", color=colour)
        else:
            place = blended_transform_factory(ax.transData, ax.transAxes)
            said = f"↑ {text}" if at else f"↓ {text}"
            ax.text(x, at, said, transform=place, ha="center", va="top" if at else "bottom", color=colour)


def make_narrow(fig: Figure) -> bool:
    """Turn the figure into one for a phone: panels below one another, 4.4 inches wide; False where that cannot be.

    Its legend must be drawn again.
    """
    from matplotlib.gridspec import GridSpec

    wide, high = fig.get_size_inches()
    specs: dict[Any, Any] = {ax: spec for ax in fig.axes if (spec := ax.get_subplotspec()) is not None}
    grids = {id(spec.get_gridspec()): spec.get_gridspec() for spec in specs.values()}
    if len(grids) != 1 or len(specs) > 9:
        return False
    (grid,) = grids.values()
    if grid.ncols == 1:
        needed = sum(map(_fold_names, specs)) + 1.2
        fig.set_size_inches(NARROW, max(needed, high * (1.0 if wide < 1.6 * high else 0.9)))
        return True
    panels = sorted(specs, key=lambda ax: specs[ax].num1)
    if len(panels) < 2 or any(spec.num1 != spec.num2 for spec in specs.values()):
        return False
    rows = [specs[ax].rowspan.start for ax in panels]
    columns = [specs[ax].colspan.start for ax in panels]
    # of panels that share an axis, only the first of a line and the last of a column are labelled
    below = {column: ax.get_xlabel() for column, ax in zip(columns, panels, strict=True)}
    # and a title above a column is that of all its panels
    above = {column: ax.get_title() for column, ax in reversed(list(zip(columns, panels, strict=True)))}
    shown = [i for i, ax in enumerate(panels) if ax.get_visible() and (ax.axison or ax.has_data())]
    stack = GridSpec(len(shown), 1, figure=fig)
    for place, i in enumerate(shown):
        ax = panels[i]
        ax.set_subplotspec(stack[place])
        ax.tick_params(labelleft=True, labelbottom=True)
        first = panels[rows.index(rows[i])]
        # names beside numbers are another axis
        if _named(ax.yaxis) == _named(first.yaxis):
            ax.set_ylabel(ax.get_ylabel() or first.get_ylabel())
        ax.set_xlabel(ax.get_xlabel() or below[columns[i]])
        if not (ax.get_title() or ax.get_title("left")):
            ax.set_title(above[columns[i]])
    for i, ax in enumerate(panels):
        if i not in shown:
            ax.remove()
    each = max(min(3.4, max(2.4, high / grid.nrows)), 1.0 + max(_fold_names(panels[i]) for i in shown))
    fig.set_size_inches(NARROW, each * len(shown) + 0.6)
    return True
