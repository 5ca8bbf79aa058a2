"""What a notebook uses to keep and show what it finds.

How to write a page
-------------------
The cell tagged `parameters` ends with `out: str = "../reports/interactive/data/02_known_codes"  # folder ...`.
The next cell imports, opens the record and draws the problems:

    from amortgap.kit import CHANCE, PAPER, Record, dots, marks, published, style, summarise
    rec = Record(out, device=device, seed=seed)     # before drawing: it also sets the figure style
    paper = published(experiment="E1")      # rows of notebooks/published.csv, indexed by key

Whatever takes more than a second is a function of no arguments (or of one item of a loop) that returns rows, a list
of dicts with scalar cells. Give it to a step; never train or solve outside one:

    def train():
        ...
        return curves, scores
    curves, scores = rec.step(("curves", "scores"), train)
    grid = rec.step("grid", one_cell, over=[(16, 8, 3), (32, 8, 3)])    # one_cell((N, M, K)) -> rows

A step writes `<out>/<name>.json` and returns the table read back. A killed run goes on after its last finished
call, and `amortgap report --redraw` draws the page from the tables alone: code outside steps must therefore need
nothing but tables. Cheap tables derived from them are written by `rec.table`:

    summary = rec.table("summary", summarise(scores, by="method", of="mcc", mean=["chance"]))

A figure is drawn from tables, its finding stands in its title, and `rec.figure` puts the labels in a legend below:

    fig, ax = plt.subplots()
    dots(ax, summary, "mcc", order=list(summary.method), label="ours")     # means and intervals
    marks(ax, paper.set_index("method").value, list(summary.method), PAPER)
    band(ax, curves[curves.method == "SAE"], "step", "mcc", label="SAE", **style("SAE"))
    title = "The finding, as a sentence."
    alt = "What is drawn, for a reader who cannot see it."
    rec.figure(fig, "mcc_by_method", title, alt, data="summary")    # without data: the table of the same name

A claim gets values, one a dictionary or seed, and the kit finds interval and verdict (`amortgap.kit.verdict.RULE`):

    says = "The SAE reaches this test correlation."
    rec.claim("E1.1", says, scores.mcc, scale="score",
        published=paper.loc["E1.1"],        # or (0.4, "Table 2"), ("above", "text of section 4"), None
        against={"chance": 0.0},            # what would make the sentence pointless
        cause="", incomparable="",          # see `Record.claim`
        figure="mcc_by_method", note="")                # and data="…" where it is not the figure's table
    rec.claim("E3.11", says, lead, **difference(lead, 0.125, "Table 2"), figure=...)     # a published difference

The cells of a grid are rows of a table; claims are about the grid as a whole (`amortgap.kit.grids`):

    here = whole(paper, lambda number: ..., slope)      # our values for a published number, by dictionary
    rec.claim("E9.120", says, here.values, published=(here.published, "computed from ..."), against=..., ...)

A run smaller than the full-size one makes no claim that it cannot decide; a sentence stands in its place.

No helper stands in two notebooks, no top-level block has more than 25 lines and no cell more than 60: what two
pages need belongs into the library, drawing into `amortgap.kit.draw`. Names of tables and figures are lower-case
letters, digits and underscores, unique in a notebook; claim ids (`E2.1`, `T.1`) are unique over all notebooks. Bad
use raises `Refused` (a ValueError). Nothing here imports torch; numpy and torch scalars are accepted wherever a
number is.
"""

from amortgap._errors import Refused
from amortgap.kit.draw import CHANCE, PAPER, band, dots, heat_map, log_ticks, marks, style
from amortgap.kit.grids import chance_winner, distance, mean, one_more, same_winner, slope, whole
from amortgap.kit.intervals import interval
from amortgap.kit.published import beside, published
from amortgap.kit.record import Record
from amortgap.kit.summary import summarise
from amortgap.kit.text import show_html
from amortgap.kit.verdict import difference

__all__ = [
    "CHANCE",
    "PAPER",
    "Record",
    "Refused",
    "band",
    "beside",
    "chance_winner",
    "difference",
    "distance",
    "dots",
    "heat_map",
    "interval",
    "log_ticks",
    "marks",
    "mean",
    "one_more",
    "published",
    "same_winner",
    "show_html",
    "slope",
    "style",
    "summarise",
    "whole",
]
