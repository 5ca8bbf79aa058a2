"""What a notebook leaves behind: tables, figures, claims and facts about its run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap._files import read_json, write_json
from amortgap._progress import progress
from amortgap.kit.claims import Claim
from amortgap.kit.parts import Parts
from amortgap.kit.pictures import pictures
from amortgap.kit.setting import Setting, differing
from amortgap.kit.svg import use_style
from amortgap.kit.tables import RESERVED, read_table, write_table
from amortgap.kit.text import interval, number, quotable, show_html, typeset
from amortgap.kit.tidy import use_tables
from amortgap.kit.verdict import VERDICTS, judge
from amortgap.runs.project import find_project
from amortgap.runs.sweep import announced, sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

NAME = re.compile(r"[a-z][a-z0-9_]*")


class Record:
    """The data folder of one notebook. Opening it forgets the claims and facts of an earlier run.

    Further arguments are facts for the page's footer, as in `provenance`: Record(out, device=device, seed=seed).

    A relative `out` is meant from the project's folder `notebooks`, wherever the kernel was started
    (the bare `papermill` command starts it in the current folder); outside a project, from the current
    folder. Opening a record also sets matplotlib's style, so open it before drawing, and how Jupyter shows tables.

    Parameters that differ from those of the full-size run are named when it is opened, and a step that took long
    in an earlier run says so before it starts.

    With AMORTGAP_REDRAW=1 in the environment the page is only drawn again: `step` reads the tables of the
    earlier run instead of computing them, and that run's facts stay.
    """

    def __init__(self, out: str | Path, **facts: str | float | int | bool) -> None:
        self._written = Path(out)
        try:
            self.out = find_project().notebooks / out
        except Refused:
            self.out = Path(out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.parts = Parts(self.out)
        self.redraw = os.environ.get("AMORTGAP_REDRAW") == "1"
        self._tables: set[str] = set()
        #: name of a figure -> the table it was drawn from
        self._figures: dict[str, str] = {}
        self._claims: dict[str, Claim] = {}
        self._facts: dict[str, str | float | int | bool] = {}
        (self.out / "claims.json").unlink(missing_ok=True)
        earlier = self.out / "facts.json"
        if self.redraw and earlier.exists():
            self._facts = read_json(earlier)
        else:
            earlier.unlink(missing_ok=True)
        # the page's duration is then not all that it took
        if earlier_runs := self.parts.earlier():
            self.provenance(**earlier_runs)
        if facts:
            self.provenance(**facts)
        use_style()
        use_tables()
        self._setting = Setting(self.out)
        _note(self._setting.note())

    def table(self, name: str, rows: DataFrame | Iterable[Mapping[str, Any]]) -> DataFrame:
        """Write `rows` to `<out>/<name>.json` and return the table *read back from that file*.

        Print and plot the returned table, so that every number shown stands in the file.
        """
        file = self._file(name)
        write_table(file, rows)
        self._tables.add(name)
        return read_table(file)

    def step(
        self, names: str | tuple[str, ...], compute: Callable[..., Any], over: Iterable[Any] | None = None
    ) -> Any:
        """The tables of a heavy step: computed once, then read.

            results = rec.step("results", compute)                  # compute() -> rows
            grid = rec.step("grid", one_cell, over=cells)           # one_cell(cell) -> rows, for each cell
            training, results = rec.step(("training", "results"), compute)    # compute() -> rows, rows

        Each call of `compute` is a part: a run that was killed goes on after the last part that ended. The
        tables are written like those of `table`. When a page is drawn again, nothing is computed.
        """
        one = isinstance(names, str)
        names = (names,) if isinstance(names, str) else names
        files = [self._file(name) for name in names]
        if self.redraw:
            if missing := [file.name for file in files if not file.exists()]:
                raise Refused(f"{missing[0]} of the earlier run is missing; run the page again to draw it")
            self._tables.update(names)
            tables = [read_table(file) for file in files]
        else:
            with self._setting.clock(names[0]):
                made = self._made(names, compute, over)
            tables = [self.table(name, rows) for name, rows in zip(names, made, strict=True)]
        return tables[0] if one else tuple(tables)

    def _made(
        self, names: tuple[str, ...], compute: Callable[..., Any], over: Iterable[Any] | None
    ) -> list[list[dict[str, Any]]]:
        """The rows of each table of a step, from the parts of a killed run and from calls of `compute`."""
        calls = [
            ([f"{part}.{name}" if len(names) > 1 else part for name in names], call)
            for call, part in _calls(names[0], compute, over)
        ]
        due = [each for each in calls if any(one_part not in self.parts for one_part in each[0])]
        ended = sweep(_result, [call for _, call in due], announced() if len(due) > 1 else None)
        bar = progress(
            ended, desc=names[0], total=len(calls), initial=len(calls) - len(due), disable=over is None
        )
        for i, result in bar:
            for one_part, rows in zip(due[i][0], (result,) if len(names) == 1 else result, strict=True):
                self.parts[one_part] = rows
        return [
            [row for wanted, _ in calls for row in self.parts[wanted[place]]] for place in range(len(names))
        ]

    def as_in_paper(self, **parameters: tuple[Any, Any]) -> bool:
        """Whether each parameter has the paper's value: `if rec.as_in_paper(steps=(steps, 20000)):` before claims.

        Where one has another, the notebook says so in the claims' place.
        """
        now, paper = ({name: pair[i] for name, pair in parameters.items()} for i in (0, 1))
        if said := differing(now, paper):
            _note(f"Claims that need the paper's setting are not made: {said}.")
        return not said

    def figure(
        self, fig: Figure, name: str, title: str, alt: str, *, data: str = "", columns: int = 4
    ) -> None:
        """Show `fig` inline with its finding (`title`), a description for those who cannot see it (`alt`), and a
        link to the table it was drawn from (`data`, already written; by default the one called `name`).
        Closes `fig`.

        What has a label stands in one legend below the panels, in at most so many columns.
        """
        import matplotlib.pyplot as plt
        from IPython.display import display

        _check_name(name, "figure")
        for field, text in (("title", title), ("alt", alt)):
            if not isinstance(text, str) or not text.strip():
                raise Refused(f"figure {name!r} needs a non-empty `{field}`")
        data = data or name
        self._check_table(data, f"figure {name!r}")
        drawn = pictures(fig, name, alt, columns)
        plt.close(fig)  # otherwise Jupyter shows it a second time at the end of the cell
        self._figures[name] = data
        caption = f"{typeset(title)} {self._link(data)}"
        # A picture that every viewer shows, also of a notebook that is not trusted, as none is that papermill ran.
        # What the page makes of it travels in the metadata.
        page = {
            "figure": name,
            "drawings": drawn.drawings,
            "width": drawn.width,
            "caption": caption,
        }
        bundle = {"image/png": drawn.png, "text/plain": alt}
        display(bundle, metadata={"amortgap": page}, raw=True)
        show_html(f"<p>{caption}</p>", caption_of=name)

    def claim(
        self,
        id: str,
        says: str,
        values: Any,
        *,
        figure: str,
        data: str = "",
        published: Any = None,
        against: Mapping[str, float] | None = None,
        scale: str = "plain",
        cause: str = "",
        incomparable: str = "",
        note: str = "",
    ) -> None:
        """Judge one claim by the rule of `amortgap.kit.verdict`, store it and show it as one line.

        `values`: one a dictionary or seed; a single number is an exact count; an `Interval` found otherwise is
        taken as it is. `published`: a row of `kit.published`; the paper's number and where it stands,
        (0.4, "Table 2"); ("above", "text") or "below" where the paper states only on which side of `against` the
        value lies; None where it says nothing. `against`: the alternative by name, {"chance": 0.16}.
        `scale`: "score" for correlations and other scores up to 1 (Fisher z), "log" for quantities that span
        decades. `cause`: what on the page shows why the paper's number is off; it makes "not reproduced"
        "corrected". `incomparable`: why the paper's number cannot be compared with ours.

        `figure` must have been shown and `data` written by this record; without `data` it is the figure's table. A
        claim made again replaces the first, so that a cell can be run again.

        A run smaller than the full-size one is too weak for some claims: what it finds inconclusive is said, not
        claimed.
        """
        stated, where = _published(published, f"claim {id}")
        if cause and incomparable:
            raise Refused(f"claim {id} has a cause for a difference and a reason not to compare; keep one")
        data = data or self._figures.get(figure, "")
        ((alternative, level),) = against.items() if against else (("", None),)
        try:
            found = judge(values, stated, level, scale, cause_shown=bool(cause), comparable=not incomparable)
        except Refused as error:
            raise Refused(f"claim {id}: {error}") from None
        if found.verdict == "inconclusive" and self._setting.smaller:
            self._claims.pop(id, None)
            why = f"Claim {id} is not made, because {found.n} values cannot decide it:"
            show_html(f'<p class="note">{why} {quotable(says, found.ours)}</p>')
            return
        if found.verdict == "corrected" or incomparable:
            note = f"{cause or incomparable} {note}".strip()
        self._keep(
            Claim(id, says, where, stated, *found[:4], alternative, level, *found[4:], figure, data, note)
        )

    def _keep(self, claim: Claim) -> None:
        if claim.figure not in self._figures:
            raise Refused(
                f"claim {claim.id}: figure {claim.figure!r} was not shown; shown are {_list(self._figures)}"
            )
        self._check_table(claim.data, f"claim {claim.id}")
        self._claims[claim.id] = claim
        write_json(self.out / "claims.json", [asdict(one) for one in self._claims.values()])
        _show_claim(claim, self._link(claim.data))

    def provenance(self, **facts: str | float | int | bool) -> None:
        """Add facts that only the notebook knows to the page's footer: `rec.provenance(device="cuda:0")`."""
        for key, value in facts.items():
            if not isinstance(value, str | float | int | bool):
                raise Refused(f"provenance {key!r} must be text or a number, not a {type(value).__name__}")
        self._facts |= facts
        write_json(self.out / "facts.json", self._facts)

    def _file(self, name: str) -> Path:
        _check_name(name, "table")
        if name in RESERVED:
            raise Refused(f"table name {name!r} is taken by the run itself; choose another")
        return self.out / f"{name}.json"

    def _check_table(self, data: str, who: str) -> None:
        if data not in self._tables:
            raise Refused(f"{who}: no table {data!r} was written; written are {_list(self._tables)}")

    def _link(self, data: str) -> str:
        # Relative to the notebook; the report rewrites it relative to the page.
        return f'<a class="data" href="{escape((self._written / data).as_posix())}.json">data</a>'


def _calls(
    name: str, compute: Callable[..., Any], over: Iterable[Any] | None
) -> Iterator[tuple[Callable[[], Any], str]]:
    """Each call of a step with the name of its part."""
    if over is None:
        yield compute, name
        return
    for item in over:
        parts = item if isinstance(item, tuple | list) else [item]
        yield partial(compute, item), re.sub(r"\W", "_", "_".join(map(str, [name, *parts])))


def _result(call: Callable[[], Any]) -> Any:
    return call()


def _note(sentence: str) -> None:
    """Show a remark on this run, where there is one."""
    if sentence:
        show_html(f'<p class="note">{typeset(sentence)}</p>')


def _published(said: Any, who: str) -> tuple[float | str | None, str]:
    """The paper's number, or "above" or "below", and where it says so."""
    if said is None:
        return None, ""
    if hasattr(said, "keys"):
        return float(said["value"]), str(said["where"])
    if not isinstance(said, tuple) or len(said) != 2 or not isinstance(said[1], str) or not said[1]:
        raise Refused(f"{who}: say where in the paper it stands, as in published=(0.4, 'Table 2')")
    return said


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused(f"{what} name {name!r} must be lower-case letters, digits and underscores")


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _show_claim(claim: Claim, link: str) -> None:
    said = f"{claim.paper} {number(claim.against)}" if isinstance(claim.paper, str) else number(claim.paper)
    said = "no number" if claim.paper is None else said
    paper = f"{said} ({typeset(claim.where)})" if claim.where else said
    ours = f"{number(claim.ours)} {interval(claim.low, claim.high)}".strip()
    against = "" if claim.against is None else f"; {typeset(claim.alternative)}: {number(claim.against)}"
    direction = f", ours is {claim.direction}" if claim.direction else ""
    note = f" {typeset(claim.note)}" if claim.note else ""
    show_html(
        f'<p class="claim" id="claim-{claim.id}"><b>{claim.id}</b> {quotable(claim.says, claim.ours)} '
        f"Paper: {paper}; ours: {ours}{against}. "
        f"<b>{VERDICTS[claim.verdict]} {claim.verdict}{direction}</b>.{note} {link}</p>"
    )
