"""One matplotlib figure in every form that is kept of it: for a page, for a phone, and for a notebook."""

from __future__ import annotations

import io
import lzma
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from amortgap._errors import Refused
from amortgap.kit.clear import make_narrow, overlaps, settle
from amortgap.kit.draw import legend
from amortgap.kit.svg import to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Series with a label in one panel; a reader cannot tell more apart.
MOST_SERIES = 7


def packed(svg: str, narrow: str) -> str:
    """Both drawings of a figure, which share most of their letters and marks, in a sixth of their length."""
    return b64encode(lzma.compress("\0".join((svg, narrow)).encode(), preset=9)).decode()


def unpacked(about: Mapping[str, Any]) -> list[str]:
    """Both drawings out of what a notebook keeps of a figure; the second is empty where it has one only."""
    return lzma.decompress(b64decode(about["drawings"])).decode().split("\0")


class Pictures(NamedTuple):
    """One figure: for a page, for a phone where it can be drawn narrow (packed), for a notebook (base64)."""

    drawings: str
    png: str
    #: inches that the drawing for a page is made for
    width: float


def pictures(fig: Figure, name: str, alt: str, columns: int = 4) -> Pictures:
    """Draw `fig` with one legend below its panels, in at most so many columns, in every form. It is used up.

    Raises `Refused` where one panel has more than seven labelled series.
    """
    for ax in fig.axes:
        if (count := len(set(ax.get_legend_handles_labels()[1]))) > MOST_SERIES:
            raise Refused(f"figure {name!r} has {count} series in one panel; {MOST_SERIES} can be told apart")
    width, buffer = float(fig.get_size_inches()[0]), io.BytesIO()
    if fig.get_layout_engine() is None:
        fig.set_layout_engine("constrained")
    legend(fig, columns)
    settle(fig)
    crowded = len(overlaps(fig))
    svg = to_svg(fig, name, alt)
    fig.savefig(buffer, format="png", dpi=80, facecolor="white", metadata={"Software": None})
    narrow = ""
    if make_narrow(fig):
        for box in list(fig.legends):
            box.remove()
        legend(fig, min(columns, 3))
        settle(fig)
        if len(overlaps(fig)) <= crowded:
            drawn = to_svg(fig, f"{name}-narrow", alt, most=90)
            narrow = drawn.replace("<svg ", '<svg class="narrow" ', 1)
    return Pictures(packed(svg, narrow), b64encode(_few_colours(buffer)).decode(), width)


def _few_colours(png: io.BytesIO) -> bytes:
    """The picture with at most 64 colours, a third of the bytes."""
    # a dependency of matplotlib
    from PIL import Image

    small = io.BytesIO()
    whole = Image.open(png).convert("RGB")
    whole.quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()
