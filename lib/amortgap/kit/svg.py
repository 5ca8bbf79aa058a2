"""Matplotlib figure -> inline SVG that follows the page's colours and is the same on every rebuild."""

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'
DATA = "data:image/svg+xml;base64,"
#: Drawn wherever the page's text colour is meant; becomes `currentColor` in the SVG.
INK = "#010203"
#: Okabe & Ito's palette, told apart with every common colour blindness; yellow last, as it is faint on white.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, "#F0E442"]
#: Settings drawn in the page's text colour.
INKED = [
    *("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"),
    *("patch.edgecolor", "hatch.color", "boxplot.boxprops.color", "boxplot.whiskerprops.color"),
    *("boxplot.capprops.color", "boxplot.flierprops.color"),
]
STYLE: dict[str, Any] = {
    "image.cmap": "cividis",
    "figure.figsize": (6.4, 3.8),
    "figure.constrained_layout.use": True,
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


def as_image(svg: str, alt: str) -> str:
    """The `<svg>` as an `<img>`, which JupyterLab shows in notebooks that it does not trust, as all that were run
    by papermill; an `<svg>` in HTML it takes out. `inline` undoes it."""
    alone = svg.replace("<svg ", f"<svg {NAMESPACE} ", 1)
    data = b64encode(alone.encode()).decode()
    return f'<img src="{DATA}{data}" alt="{escape(alt)}" style="background:#fff;max-width:100%">'


def inline(html: str) -> str:
    """`html` with the images of `as_image` as `<svg>` again, so that they follow the page's colours."""
    return re.sub(
        rf'<img src="{re.escape(DATA)}([^"]*)"[^>]*>',
        lambda found: b64decode(found[1]).decode().replace(f"<svg {NAMESPACE} ", "<svg ", 1),
        html,
    )


def use_style() -> None:
    """Set matplotlib's defaults for figures that are read on light, dark and paper backgrounds."""
    import matplotlib as mpl
    from cycler import cycler

    # Any: matplotlib types the keys as a union of 300 literals.
    settings: Any = STYLE | dict.fromkeys(INKED, INK) | {"axes.prop_cycle": cycler(color=COLOURS)}
    mpl.rcParams.update(settings)


def to_svg(fig: Figure, name: str, alt: str) -> str:
    """The figure as one `<svg>` element whose ids all begin with `name`, described by `alt`.

    No width or height in points is kept beyond a maximum, so that a narrow window shrinks it.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # Matplotlib's <style> would apply to the whole page; its two rules become attributes of this figure.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(rf"{INK}|#000000", "currentColor", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"\n\s*", "\n", re.sub(r"[ \t]+\n", "\n", text))
    width, height = (72 * inches for inches in fig.get_size_inches())
    box = re.search(r'viewBox="[^"]*"', text)
    opening = (
        f'<svg role="img" aria-label="{escape(alt)}" {box[0] if box else ""} fill="currentColor"'
        ' stroke-linejoin="round" stroke-linecap="butt"'
        f' style="width:100%;max-width:{width * 4 / 3:.0f}px;height:auto;aspect-ratio:{width:g}/{height:g}">'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1)
