"""Figures: no text on another, values to read out, legends that can be switched, a drawing for phones, colours."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag

from amortgap import pages
from amortgap.kit.clear import make_narrow, overlaps, settle
from amortgap.kit.draw import legend, name_points
from amortgap.kit.pictures import pictures, unpacked
from amortgap.kit.svg import COLOURS, INK, to_svg, use_style
from amortgap.pages.glyphs import share


@pytest.fixture
def plain_style() -> Iterator[None]:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")
    with mpl.rc_context():
        use_style()
        yield
        plt.close("all")


def crowded():
    """A figure whose ticks, titles and names are too long for it, with a point outside of its axes."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(6, 3), sharey=True)
    axes[0].errorbar([1, 2, 50], [0, 1, 2], xerr=0.1, fmt="o", label="ours")
    axes[0].set_xlim(0, 4)
    axes[0].set_yticks(range(3), ["first method", "second method", "third method"])
    axes[1].plot(range(9), np.linspace(0, 2, 9), "s-", label="a curve")
    axes[1].set_xticks(range(9), [f"{10**7 + i}" for i in range(9)])
    axes[1].set_title("a title that is a good deal longer than the panel under it is wide")
    return fig


def test_figures_are_mended_until_no_text_overprints_another(plain_style: None) -> None:
    fig = crowded()
    fig.draw_without_rendering()
    assert overlaps(fig)
    legend(fig)
    settle(fig)
    assert overlaps(fig) == []
    assert any("50 →" in text.get_text() for text in fig.axes[0].texts), "a point outside is marked"
    from matplotlib.text import Text

    assert all(text.get_fontsize() >= 9 for text in fig.findobj(Text) if text.get_text())
    assert make_narrow(fig)
    assert fig.get_size_inches()[0] == pytest.approx(4.4)
    for box in list(fig.legends):
        box.remove()
    legend(fig)
    settle(fig)
    assert overlaps(fig) == []
    below, above = sorted(ax.get_position().y0 for ax in fig.axes)
    assert above - below > 0.3, "panels stand below one another"


def test_a_page_can_read_values_out_and_knows_what_a_legend_entry_names(plain_style: None) -> None:
    fig = crowded()
    drawn = pictures(fig, "f", "Two panels.")
    svg, narrow = unpacked({"drawings": drawn.drawings})
    assert drawn.width == 6
    assert len(drawn.drawings) < (len(svg) + len(narrow)) / 4
    for drawing, name in ((svg, "f-"), (narrow, "f-narrow-")):
        points = json.loads(unescape(re.search(r"data-points='([^']*)'", drawing)[1]))
        texts = [point[2] for point in points]
        assert "ours: 1 [0.9, 1.1], first method" in [text.partition(", ours")[0] for text in texts]
        assert not any("50" in text for text in texts if "ours" in text), (
            "what is outside cannot be pointed at"
        )
        assert drawing.count('data-name="ours"') == 1
        for number, _ in enumerate(("ours", "a curve")):
            assert f'data-series="{number}"' in drawing
            assert f'data-legend="{number}"' in drawing
        ids = re.findall(r'\bid="([^"]*)"', drawing)
        assert len(ids) == len(set(ids))
        assert all(one.startswith(name) for one in ids)
    # the point at (1, 0) lies where its mark is drawn
    x, y, *_ = next(point for point in json.loads(unescape(re.search(r"data-points='([^']*)'", svg)[1])))
    drawn = [(float(a), float(b)) for a, b in re.findall(r'<use [^>]*x="([-\d.]+)" y="([-\d.]+)"', svg)]
    assert min(abs(a - x) + abs(b - y) for a, b in drawn) < 0.2


def test_a_mark_drawn_often_is_drawn_at_the_corners_of_one_line(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    places = np.random.default_rng(0).normal(size=(60, 2))
    fig, ax = plt.subplots()
    ax.scatter(*places.T, s=9, alpha=0.5)
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg")
    marked = to_svg(fig, "f", "many points")
    alone = [
        tuple(map(float, place))
        for place in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="[^"]*opacity', buffer.getvalue())
    ]
    assert len(alone) == 60
    (line,) = re.findall(r'd="M([^"]*)" style="fill:none;stroke:none;marker:url\(#([^)]*)\)"', marked)
    corners = [tuple(map(float, place.split())) for place in line[0].split("L")]
    # coordinates are kept to a hundredth of a point; a second drawing moves the panel by less than that
    assert np.abs(np.subtract(corners, alone)).max() <= 0.015
    mark = BeautifulSoup(marked, "html.parser").find("marker", id=line[1])
    assert "opacity:0.5" in mark.use["style"]
    assert mark.find_parent("svg").find(id=mark.use["href"][1:]), "the mark that it draws"


def test_two_panels_with_the_same_points_name_their_marks_once(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 1)
    for ax in axes:
        ax.set_axes_locator(lambda ax, renderer: axes[0].get_position(original=True))
        ax.scatter(range(9), range(9), label="points")
    svg = to_svg(fig, "f", "the same points twice")
    assert len(re.findall("<marker id", svg)) == 2
    body = share(svg)
    there = re.findall(r'\bid="([^"]*)"', body)
    assert len(there) == len(set(there))
    assert {*re.findall(r"marker:url\(#([^)]*)\)", body)} <= {*there}


def test_lines_of_the_grid_need_no_clip_and_those_of_data_keep_theirs(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    ax.plot([0, 0], [-9, 9], color=INK, label="upright, out of the panel")
    ax.set_ylim(-1, 1)
    drawn = BeautifulSoup(to_svg(fig, "f", "a line"), "html.parser")
    lines = [one for one in drawn("path") if "stroke-opacity:0.15" in one.get("style", "")]
    assert len(lines) >= 4, "of both axes"
    assert not any(line.get("clip-path") for line in lines)
    (data,) = [one for one in drawn("path") if "stroke-width:1.8" in one.get("style", "")]
    assert data["clip-path"], "it leaves the panel"


def courses(part: Tag, common: Tag) -> Iterator[str]:
    """The course of each letter and mark that is used in `part`."""
    for use in part("use"):
        target = part.find(id=use["href"][1:]) or common.find(id=use["href"][1:])
        if target.name == "g":
            yield from courses(target, common)
        elif (course := " ".join(target["d"].split())) != "M0 0":
            yield course


def parts(figure: Tag) -> list[Tag]:
    return [part for part in figure(["path", "g"]) if part.get("style") or part.get("class")]


def test_letters_are_drawn_once_a_page_and_those_of_formulas_are_found_too(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    drawn = []
    for name in ("first", "second"):
        fig, ax = plt.subplots()
        ax.loglog([1, 1e4], [1, 1e-6], label="$\\alpha^2$ and text")
        drawn += unpacked({"drawings": pictures(fig, name, "a line").drawings})
    body = share("\n".join(drawn))
    wanted, there = re.findall(r'href="#([^"]*)"', body), re.findall(r'\bid="([^"]*)"', body)
    assert set(wanted) <= set(there), "powers of ten are raised and smaller, and still find their letters"
    assert len(there) == len(set(there))
    common, *figures = BeautifulSoup(body, "html.parser").find_all("svg")
    rules = dict(re.findall(r"\.(\w+) {(.*)}", common.style.get_text()))
    assert common("g"), "words that come again"
    for figure, svg in zip(figures, drawn, strict=True):
        apart = BeautifulSoup(svg, "html.parser").svg
        assert [*courses(figure, common)] == [*courses(apart, apart)]
        styles = [
            rules[part["class"][0]] if part.get("class") else part.get("style") for part in parts(figure)
        ]
        assert styles == [part.get("style") for part in parts(apart)]
    # the index takes a figure with its letters out of a page
    assert share(body) == body


def test_panels_below_one_another_keep_the_labels_of_their_column(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(2, 2, sharex="col", sharey="row")
    for ax in axes.flat:
        ax.plot([0, 1], [0, 1])
    for ax, text in zip(axes[1], ("FLOPs", "seconds"), strict=True):
        ax.set_xlabel(text)
    for ax, text in zip(axes[:, 0], ("gap", "MCC"), strict=True):
        ax.set_ylabel(text)
    assert make_narrow(fig)
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in axes.flat]
    assert labels == [("FLOPs", "gap"), ("seconds", "gap"), ("FLOPs", "MCC"), ("seconds", "MCC")]


def test_colours_stand_out_on_light_and_dark_pages() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    style = (Path(pages.__file__).parent / "templates/style.css").read_text()
    for paper in re.findall(r"--paper: (#[0-9a-f]{6})", style):
        for colour in set(COLOURS) - {INK}:
            darker, lighter = sorted((luminance(colour), luminance(paper)))
            # WCAG 1.4.11 asks 3 of what carries meaning in a graphic
            assert (lighter + 0.05) / (darker + 0.05) >= 3, (colour, paper)


def test_a_phone_drawing_folds_long_names_and_a_scatter_keeps_its_edges(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(7.5, 3))
    ax.set_yticks(
        range(3), ["the dictionary of sparse coding, converged codes", "short", "another name that is long"]
    )
    ax.scatter([0.1, 0.5, 0.9], range(3), c=[0, 0, 1], edgecolors="#123456")
    assert make_narrow(fig)
    settle(fig)
    assert ax.get_window_extent().width > fig.bbox.width / 2
    assert max(len(line) for label in ax.get_yticklabels() for line in label.get_text().split("\n")) <= 20
    assert to_svg(fig, "edges", "three dots").count("stroke:#123456") == 3


def test_a_phone_drawing_of_panels_keeps_every_name_and_no_label_of_another_axis(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    names = [f"converged L1, dictionary number {i}" for i in range(8)]
    fig, axes = plt.subplots(1, 3, figsize=(10, 4))
    axes[0].plot([0, 1], [0, 1])
    axes[0].set_ylabel("share")
    for ax in axes[1:]:
        ax.plot([0.5] * 8, range(8), "o")
        ax.set(xlabel="cosine", yticks=range(8), yticklabels=names, title="a panel")
    axes[2].sharey(axes[1])
    assert make_narrow(fig)
    settle(fig)
    for ax in axes[1:]:
        assert [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()] == names
        assert ax.get_ylabel() == ""
    assert overlaps(fig) == []
    fig, axes = plt.subplots(1, 2)
    axes[0].plot([0, 1], [0, 1])
    axes[0].set_ylabel("share")
    axes[1].plot([0.1, 0.2], ["an encoder's own latents", "found by a pursuit"], "o")
    assert make_narrow(fig)
    settle(fig)
    assert axes[1].get_ylabel() == ""
    assert [label.get_text() for label in axes[1].get_yticklabels()][1] == "found by a pursuit"


def test_ticks_of_counts_are_whole_numbers(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(4.4, 3))
    ax.plot(range(1, 17), range(16))
    assert any(tick % 1 for tick in ax.get_xticks())
    settle(fig)
    assert not any(tick % 1 for tick in ax.get_xticks())
    plt.close(fig)


def test_turned_ticks_stand_upright_where_there_is_room(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(9, 3))
    for ax, count in zip(axes, (3, 60), strict=True):
        ax.plot(range(count), range(count))
        ax.set_xticks(range(count), [str(1000 + i) for i in range(count)])
        ax.tick_params(axis="x", rotation=45)
    few, many = axes
    settle(fig)
    assert {label.get_rotation() for label in few.get_xticklabels()} == {0}
    assert {label.get_rotation() for label in many.get_xticklabels()} == {45}
    plt.close(fig)


def test_names_of_points_fall_on_no_other(plain_style: None) -> None:
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    crowd = [(f"pursuit among {i}k", 1 + 0.02 * i, 0.5 + 0.01 * i) for i in range(12)]
    alone = [("encoder", 3.0, 0.0), ("LASSO", 8.0, 1.0)]
    ax.plot([x for _, x, _ in crowd + alone], [y for *_, y in crowd + alone], "o")
    ax.set_xscale("log")
    name_points(ax, crowd + alone)
    said = [text.get_text() for text in ax.texts]
    assert {"encoder", "LASSO", "pursuit among 0k"} <= set(said)
    assert 3 < len(said) < 14, "what has no room is left out"
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 for box in boxes)
    plt.close(fig)
