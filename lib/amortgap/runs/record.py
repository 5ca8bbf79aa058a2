"""What a notebook leaves behind: tables, figures, claims and facts about its run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap._files import write_json
from amortgap.runs.claims import VERDICTS, Claim
from amortgap.runs.parts import Parts
from amortgap.runs.project import find_project
from amortgap.runs.svg import to_svg, use_style
from amortgap.runs.tables import read_table, write_table
from amortgap.runs.text import interval, number, typeset

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Files of a run's folder that no table may overwrite.
RESERVED = {"claims", "facts", "run"}


class Record:
    """The data folder of one notebook. Opening it forgets the claims and facts of an earlier run.

    A relative `out` is meant from the project's folder `notebooks`, wherever the kernel was started
    (the bare `papermill` command starts it in the current folder); outside a project, from the current
    folder. Opening a record also sets matplotlib's style, so open it before drawing.
    """

    def __init__(self, out: str | Path) -> None:
        self._written = Path(out)
        try:
            self.out = find_project().notebooks / out
        except Refused:
            self.out = Path(out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.parts = Parts(self.out)
        self._tables: set[str] = set()
        self._figures: set[str] = set()
        self._claims: dict[str, Claim] = {}
        self._facts: dict[str, str | float | int | bool] = {}
        for stale in ("claims.json", "facts.json"):
            (self.out / stale).unlink(missing_ok=True)
        if self.parts:  # the page's duration is then not all that it took
            self.provenance(**{"parts of a run before": len(self.parts)})
        use_style()

    def table(self, name: str, rows: DataFrame | Iterable[Mapping[str, Any]]) -> DataFrame:
        """Write `rows` to `<out>/<name>.json` and return the table *read back from that file*.

        Print and plot the returned table, so that every number shown stands in the file.
        """
        _check_name(name, "table")
        if name in RESERVED:
            raise Refused(f"table name {name!r} is taken by the run itself; choose another")
        file = self.out / f"{name}.json"
        write_table(file, rows)
        self._tables.add(name)
        return read_table(file)

    def figure(self, fig: Figure, name: str, *, title: str, alt: str, data: str) -> None:
        """Show `fig` inline with its finding (`title`), a description for those who cannot see it
        (`alt`), and a link to the table it was drawn from (`data`, already written). Closes `fig`."""
        import matplotlib.pyplot as plt
        from IPython.display import HTML, display

        _check_name(name, "figure")
        for field, text in (("title", title), ("alt", alt)):
            if not isinstance(text, str) or not text.strip():
                raise Refused(f"figure {name!r} needs a non-empty `{field}`")
        self._check_table(data, f"figure {name!r}")
        svg = to_svg(fig, name, alt)
        plt.close(fig)  # otherwise Jupyter shows it a second time at the end of the cell
        self._figures.add(name)
        display(
            HTML(
                f'<figure id="fig-{name}" role="figure" aria-labelledby="{name}-caption">\n{svg}\n'
                f'<figcaption id="{name}-caption">{typeset(title)} {self._link(data)}</figcaption>\n</figure>'
            )
        )

    def claim(
        self,
        id: str,
        *,
        says: str,
        ours: float,
        low: float,
        high: float,
        verdict: str,
        figure: str,
        data: str,
        paper: float | None = None,
        chance: float | None = None,
        note: str = "",
    ) -> None:
        """Store one claim (fields: see `amortgap.runs.claims.Claim`) and show it as one line.

        `figure` must have been shown and `data` written by this record. Making a claim again
        replaces it, so a cell can be rerun.
        """
        claim = Claim(id, says, paper, ours, low, high, chance, verdict, figure, data, note)
        if figure not in self._figures:
            raise Refused(f"claim {id}: figure {figure!r} was not shown; shown are {_list(self._figures)}")
        self._check_table(data, f"claim {id}")
        self._claims[id] = claim
        write_json(self.out / "claims.json", [one.as_dict() for one in self._claims.values()])
        _show_claim(claim, self._link(data))

    def provenance(self, **facts: str | float | int | bool) -> None:
        """Add facts that only the notebook knows to the page's footer: `rec.provenance(device="cuda:0")`."""
        for key, value in facts.items():
            if not isinstance(value, str | float | int | bool):
                raise Refused(f"provenance {key!r} must be text or a number, not a {type(value).__name__}")
        self._facts |= facts
        write_json(self.out / "facts.json", self._facts)

    def _check_table(self, data: str, who: str) -> None:
        if data not in self._tables:
            raise Refused(f"{who}: no table {data!r} was written; written are {_list(self._tables)}")

    def _link(self, data: str) -> str:
        # Relative to the notebook; the report rewrites it relative to the page.
        return f'<a class="data" href="{escape((self._written / data).as_posix())}.json">data</a>'


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused(f"{what} name {name!r} must be lower-case letters, digits and underscores")


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _show_claim(claim: Claim, link: str) -> None:
    from IPython.display import HTML, display

    paper = "no number" if claim.paper is None else number(claim.paper)
    ours = f"{number(claim.ours)} {interval(claim.low, claim.high)}".strip()
    chance = "" if claim.chance is None else f", chance {number(claim.chance)}"
    note = f" {typeset(claim.note)}" if claim.note else ""
    display(
        HTML(
            f'<p class="claim" id="claim-{claim.id}"><b>{claim.id}</b> {typeset(claim.says)} '
            f"Paper: {paper}; ours: {ours}{chance}. "
            f"<b>{VERDICTS[claim.verdict]} {claim.verdict}</b>.{note} {link}</p>"
        )
    )
