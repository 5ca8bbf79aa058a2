"""What a page's script needs of a figure: values to read out, and which marks belong to a legend's entry."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from amortgap.kit.text import spelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Points kept of a figure and of one series; curves with more are thinned evenly.
MOST, MOST_OF_ONE = 240, 40


def tag(fig: Figure) -> list[str]:
    """Give everything that a legend names an id of its own; returns the labels by their number in these ids.

    `s3.7` is a mark of label 3, `l3.2` its handle in the legend, `t3.1` its text there. What is labelled
    `_NAME` belongs to NAME without standing in the legend.
    """
    labels = [text for box in _legends(fig) for text in (one.get_text() for one in box.get_texts())]
    labels = list(dict.fromkeys(labels))
    count = iter(range(10**9))

    def mark(artist: Any, kind: str, label: str) -> None:
        label = label if label in labels else label.removeprefix("_")
        if label in labels:
            artist.set_gid(f"{kind}{labels.index(label)}.{next(count)}")

    for ax in fig.axes:
        for container in ax.containers:
            for artist in _leaves(container):
                mark(artist, "s", str(container.get_label()))
        for artist in (*ax.lines, *ax.collections, *ax.patches):
            if not artist.get_gid():
                mark(artist, "s", str(artist.get_label()))
    for box in _legends(fig):
        for column in box._legend_handle_box.get_children():
            for entry in column.get_children():
                area, text = entry.get_children()
                label = text._text.get_text()
                mark(text._text, "t", label)
                for artist in area.get_children():
                    mark(artist, "l", label)
    return labels


def _legends(fig: Figure) -> list[Any]:
    return [*fig.legends, *(box for ax in fig.axes if (box := ax.get_legend()))]


def _leaves(container: Any) -> list[Any]:
    found: list[Any] = []
    for part in container:
        found += _leaves(part) if isinstance(part, tuple) else [] if part is None else [part]
    return found


def points(fig: Figure, labels: list[str], most: int = MOST) -> list[list[Any]]:
    """[x, y, text, 0, label's number or -1] for values of a drawn figure, x and y in points from its top left."""
    found: list[list[Any]] = []
    width, height = (72 * inches for inches in fig.get_size_inches())
    for ax in fig.axes:
        panel = plain(ax.get_title("left") or ax.get_title()) if len(fig.axes) > 1 else ""
        for label, values, ends in _series(ax):
            keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_OF_ONE)).astype(int))
            at = ax.transData.transform(values[keep]) / (fig.bbox.width, fig.bbox.height)
            inside = ax.bbox.transformed(fig.transFigure.inverted())
            label = label if label in labels else label.removeprefix("_")
            number, name = (labels.index(label), plain(label)) if label in labels else (-1, "")
            for i, (u, v) in zip(keep, at, strict=True):
                if inside.x0 - 1e-6 <= u <= inside.x1 + 1e-6 and inside.y0 - 1e-6 <= v <= inside.y1 + 1e-6:
                    head = ", ".join(part for part in (panel, name) if part)
                    body = _said(ax, values[i], None if ends is None else ends[i])
                    text = f"{head}: {body}" if head else body
                    found.append([round(u * width, 1), round((1 - v) * height, 1), text, 0, number])
    step = max(1, math.ceil(len(found) / most))
    return found[::step]


def _series(ax: Axes) -> list[tuple[str, Any, Any]]:
    """(label, values (n, 2), (low, high) of each or None) of what is drawn in data coordinates."""
    from matplotlib.collections import PathCollection
    from matplotlib.container import BarContainer, ErrorbarContainer

    found: list[tuple[str, Any, list[Any]]] = []
    drawn: set[int] = set()
    for container in ax.containers:
        label = str(container.get_label())
        if isinstance(container, ErrorbarContainer):
            line, caps, lines = container.lines
            drawn |= {id(line), *map(id, caps)}
            if line is not None:
                found.append((label, line, [one.get_segments() for one in lines]))
        elif isinstance(container, BarContainer):
            tall = container.orientation != "horizontal"
            middles = [
                (p.get_x() + p.get_width() / 2, p.get_y() + p.get_height())
                if tall
                else (p.get_x() + p.get_width(), p.get_y() + p.get_height() / 2)
                for p in container.patches
            ]
            # histograms have many narrow bars, which say little one by one
            if len(middles) <= MOST_OF_ONE:
                found.append((label, np.array(middles), []))
    for line in ax.lines:
        if id(line) not in drawn and line.get_transform() is ax.transData:
            found.append((str(line.get_label()), line, []))
    for dots in ax.collections:
        if isinstance(dots, PathCollection) and dots.get_offset_transform() is ax.transData:
            found.append((str(dots.get_label()), np.asarray(dots.get_offsets(), dtype=float), []))
    series = []
    for label, source, bars in found:
        values = _numbers(source)
        if len(values) == 0:
            continue
        ends = _ends(bars, len(values))
        fine = np.isfinite(values).all(axis=1)
        series.append((label, values[fine], None if ends is None else ends[fine]))
    return [one for one in series if len(one[1])]


def _numbers(source: Any) -> Any:
    if not hasattr(source, "get_xdata"):
        return source.reshape(-1, 2)
    # in data units: categories and dates are numbers there
    return np.column_stack(
        [
            np.asarray(source.get_xdata(orig=False), dtype=float),
            np.asarray(source.get_ydata(orig=False), dtype=float),
        ]
    )


def _ends(bars: list[Any], count: int) -> Any:
    """The ends of horizontal or vertical error bars; None where there are none or both."""
    if len(bars) != 1 or len(bars[0]) != count:
        return None
    ends = np.array([segment if len(segment) == 2 else np.full((2, 2), np.nan) for segment in bars[0]])
    along = 0 if np.allclose(ends[:, 0, 1], ends[:, 1, 1], equal_nan=True) else 1
    return np.column_stack([np.full(count, along), ends[:, 0, along], ends[:, 1, along]])


def _said(ax: Axes, values: Any, ends: Any) -> str:
    parts = []
    for along, (axis, value) in enumerate(zip((ax.xaxis, ax.yaxis), values, strict=True)):
        name = plain(axis.get_label().get_text()).split(",")[0].split("(")[0].strip()
        text = _name_at(axis, value) or short(value)
        if ends is not None and ends[0] == along and ends[1] != ends[2]:
            text += f" [{short(ends[1])}, {short(ends[2])}]"
        parts.append(f"{name} {text}".strip())
    return ", ".join(parts)


def _name_at(axis: Any, value: float) -> str:
    """The name of the category at `value`, where the axis has names."""
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), FixedLocator):
        return ""
    ticks = np.asarray(axis.get_majorticklocs())
    names = [plain(label.get_text()) for label in axis.get_majorticklabels()]
    if not len(ticks) or len(names) != len(ticks) or all(_is_number(name) for name in names):
        return ""
    at = int(np.argmin(np.abs(ticks - value)))
    return names[at] if abs(ticks[at] - value) < 0.5 else ""


def _is_number(text: str) -> bool:
    try:
        float(text.replace("−", "-"))
    except ValueError:
        return False
    return True


def short(value: float) -> str:
    """Four digits, three and a power of ten where it is large or small."""
    text = f"{value:.4g}"
    return spelled(f"{value:.3g}" if "e" in text else text)


def plain(text: str) -> str:
    """A label without the marks of TeX."""
    return (
        re.sub(r"\\(?:mathrm|mathbf|mathdefault|text|hat|ell)?|[${}^]", "", str(text))
        .replace("\n", " ")
        .strip()
    )
