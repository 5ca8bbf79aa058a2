"""Matplotlib figure -> inline SVG that follows the page's colours and is the same on every rebuild."""

from __future__ import annotations

import io
import json
import re
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Any

from amortgap.kit.readout import MOST, points, tag
from amortgap.kit.text import spelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Drawn wherever the page's text colour is meant; becomes `currentColor` in the SVG.
INK = "#010203"
#: After Okabe & Ito, darkened until each has a contrast of 3 with the light and the dark page alike.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#B5679A", "#B27D00", "#8A73D6", INK, "#2F8FCB"]
#: Settings drawn in the page's text colour.
INKED = [
    *("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"),
    *("patch.edgecolor", "hatch.color", "boxplot.boxprops.color", "boxplot.whiskerprops.color"),
    *("boxplot.capprops.color", "boxplot.flierprops.color"),
]
#: A line of a panel's grid: upright or level, with the strength of `grid.alpha`.
GRID = re.compile(
    r'(<path d="M(\S+) (\S+)L(?:\2 \S+|\S+ \3)") clip-path="[^"]*"(?=[^>]*stroke-opacity:0\.15\b)'
)
#: Five uses of one mark in one style, or more.
MARKS = re.compile(
    r'<use href="#([^"]*)" x="[^"]*" y="[^"]*"((?: style="[^"]*")?)/>\s*'
    r'(?:<use href="#\1" x="[^"]*" y="[^"]*"\2/>\s*){4,}'
)
STYLE: dict[str, Any] = {
    "image.cmap": "cividis",
    "figure.figsize": (6.4, 3.8),
    "figure.constrained_layout.use": True,
    # inches; a title stands clear of the ticks above it
    "figure.constrained_layout.h_pad": 0.08,
    # "×10⁸" at the end of an axis, not "1e8"
    "axes.formatter.use_mathtext": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": "medium",
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "font.size": 10.5,
}


def use_style() -> None:
    """Set matplotlib's defaults for figures that are read on light, dark and paper backgrounds."""
    import matplotlib as mpl
    from cycler import cycler

    # Any: matplotlib types the keys as a union of 300 literals.
    settings: Any = STYLE | dict.fromkeys(INKED, INK) | {"axes.prop_cycle": cycler(color=COLOURS)}
    mpl.rcParams.update(settings)


def to_svg(fig: Figure, name: str, alt: str, most: int = MOST) -> str:
    """The figure as one `<svg>` element whose ids all begin with `name`, described by `alt`.

    No width or height in points is kept beyond a maximum, so that a narrow window shrinks it. At most so many of
    its values can be read out.
    """
    import matplotlib as mpl

    labels, buffer = tag(fig), io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # Matplotlib's <style> would apply to the whole page; its two rules become attributes of this figure.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(rf"{INK}|#000000", "currentColor", text)
    text = text.replace("xlink:href=", "href=")
    # A blank is a glyph without a course, which validators reject; so is an empty curve.
    text = re.sub(r'<path (id="[^"]*") transform="scale', r'<path \1 d="M0 0" transform="scale', text)
    text = re.sub(r'<path(?![^>]*\bd="[^"]+")[^>]*/>', "", text)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"\n\s*", "\n", re.sub(r"[ \t]+\n", "\n", text))
    text = _bare(_number_parts(_rounded(text), name, labels), name)
    width, height = (72 * inches for inches in fig.get_size_inches())
    read = json.dumps(points(fig, labels, most), ensure_ascii=False, separators=(",", ":"))
    # in single quotes, for JSON is full of double ones
    read = escape(read, quote=False).replace("'", "&#39;")
    box = re.search(r'viewBox="[^"]*"', text)
    opening = (
        f'<svg role="img" aria-label="{escape(spelled(alt))}" {box[0] if box else ""} fill="currentColor"'
        f" data-points='{read}'"
        ' stroke-linejoin="round" stroke-linecap="butt"'
        f' style="width:100%;max-width:{width * 4 / 3:.0f}px;height:auto;aspect-ratio:{width:g}/{height:g}">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1)


def _rounded(svg: str) -> str:
    """Coordinates of paths and places to a hundredth of a point, which nobody sees, in half the bytes."""
    number = re.compile(r"-?\d+\.\d{3,}")

    def shorter(found: re.Match[str]) -> str:
        return number.sub(lambda one: f"{float(one[0]):.2f}".rstrip("0").rstrip("."), found[0])

    # Not the scale of glyphs, which is a small number.
    return re.sub(r'\b(?:d|x|y)="[^"]*"|translate\([^)]*\)', shorter, svg)


def _bare(svg: str, name: str) -> str:
    """`svg` without what nothing asks for, a third of its bytes.

    That is: ids of groups but texts, groups in a group of their own, bare ones of one part, clips of grid lines,
    which end where their panel does, what a mark's definition says already, blanks.
    """
    svg = re.sub(rf'<g id="{name}-(?!text_)[^"]*"', "<g", svg)
    svg = re.sub(
        rf'(<g id="{name}-text_\d+")>\s*<g((?: [^>]*)?>(?:(?!</?g\b).)*</g>)\s*</g>',
        r"\1\2",
        svg,
        flags=re.DOTALL,
    )
    svg = re.sub(r'style="[^"]*"', lambda found: re.sub(r"([:;]) ", r"\1", found[0]), svg)
    # Matplotlib gives the stroke of a line's marks, not of a scatter's, to their definition too.
    drawn = set(re.findall(r'<path id="([^"]*)"[^>]* style="stroke', svg))
    svg = re.sub(
        r'<use href="#([^"]*)"[^>]*>',
        lambda use: re.sub(r";?stroke[-\w]*:[^;\"]*", "", use[0]) if use[1] in drawn else use[0],
        svg,
    )
    svg = _marked(re.sub(r' style="(?:fill:currentColor)?;?"(?=/>)', "", svg), name)
    single = re.compile(r"<g>\s*(<(?:use|path|g)\b[^>]*/>)\s*</g>|<g>\s*</g>|<g/>\n?")
    while svg != (svg := single.sub(lambda found: found[1] or "", svg)):
        pass
    svg = re.sub(r"\s*\n(?=[LCz\"])", "", re.sub(r"\b([MLC]) (?=-?\d)", r"\1", svg))
    return GRID.sub(r"\1", svg)


def _marked(svg: str, name: str) -> str:
    """`svg` with a mark that is drawn often at the corners of an undrawn line, a third of the bytes."""

    def line(found: re.Match[str]) -> str:
        mark = f"{name}-m{sha256(found[0].encode()).hexdigest()[:10]}"
        corners = "L".join(f"{x} {y}" for x, y in re.findall(r' x="([^"]*)" y="([^"]*)"', found[0]))
        return (
            f'<marker id="{mark}" markerUnits="userSpaceOnUse" overflow="visible">'
            f'<use href="#{found[1]}"{found[2]}/></marker>\n'
            f'<path d="M{corners}" style="fill:none;stroke:none;marker:url(#{mark})"/>\n'
        )

    return MARKS.sub(line, svg)


def _number_parts(svg: str, name: str, labels: list[str]) -> str:
    """The ids of `readout.tag` as attributes for the page's script."""

    def attributes(found: re.Match[str]) -> str:
        kind, number = found[1], int(found[2])
        if kind == "s":
            return f'data-series="{number}"'
        return f'data-legend="{number}"' + (f' data-name="{escape(labels[number])}"' if kind == "t" else "")

    return re.sub(rf'id="{name}-([slt])(\d+)\.\d+"', attributes, svg)
