"""What a reader may take from a page: tables as CSV, the notebook as it was run, the command that runs it."""

from __future__ import annotations

import csv
import io
import shlex
import zipfile
from html import escape
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import whole
from amortgap.kit.tables import RESERVED, read_rows
from amortgap.runs.notebook import Notebook

#: Tables with more rows, most of the bytes of a report, are not written once more as CSV, which is read by eye.
MOST_ROWS = 2000


def tables(folder: Path) -> list[Path]:
    """The tables of one data folder, in order of their names."""
    return sorted(file for file in folder.glob("*.json") if file.stem not in RESERVED and file.is_file())


def write_archive(folder: Path) -> Path:
    """`<folder>.zip` with every table of at most `MOST_ROWS` rows as CSV, the same bytes for the same tables.

    Raises `Refused` for a file that is no table.
    """
    target = folder.with_suffix(".zip")
    with whole(target) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in tables(folder):
            try:
                text, rows = io.StringIO(), read_rows(file)
            except (ValueError, KeyError, TypeError) as error:
                raise Refused(f"{file} is no table of its page, which did not write it; remove it") from error
            if len(rows) > MOST_ROWS:
                continue
            writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            # no time of its own, so that an archive changes only with its tables
            entry = zipfile.ZipInfo(f"{folder.name}/{file.stem}.csv", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text.getvalue())
    return target


def command(notebook: Notebook, parameters: dict[str, Any]) -> str:
    """The command that runs this page with these parameters."""
    given = [
        f"-p {_quoted(f'{name}={parameters[name]}')}"
        for name, one in notebook.parameters.items()
        if name != "out" and name in parameters and parameters[name] != one.default
    ]
    return " ".join(["amortgap run", notebook.path.stem, *given])


def _quoted(text: str) -> str:
    """For a shell; in double quotes where the text has single ones and nothing that double ones would change."""
    plain = "'" in text and not any(letter in text for letter in '"$`\\!')
    return f'"{text}"' if plain else shlex.quote(text)


def box(folder: Path, notebook: Notebook, run: dict[str, Any]) -> str:
    """The section at the end of a page."""
    name, there = folder.name, tables(folder)
    kept = "run.ipynb" if run["status"] == "done" else run["error"]["kept"]
    links = [f'<a href="data/{name}/{kept}">the notebook as it was run</a>'] if kept else []
    if there:
        long = any(len(read_rows(file)) > MOST_ROWS for file in there)
        which = f"tables of up to {MOST_ROWS} rows" if long else "all tables"
        links.append(f'<a href="data/{name}.zip">{which} as CSV</a> (zip)')
    items = "".join(f'<li><a href="data/{name}/{file.name}">{escape(file.stem)}</a></li>' for file in there)
    listed = (
        f'<details><summary>its {len(there)} tables</summary><ul class="files">{items}</ul></details>\n'
        if there
        else ""
    )
    # no line ends between an option and its value
    again = escape(command(notebook, run["parameters"])).replace(" -p ", ' <span class="joined">-p </span>')
    reading = ""
    if there:
        example = f'pandas.read_json("data/{name}/{there[0].name}", orient="split")'
        reading = f"<p>A table is read by</p>\n<pre data-copy>{escape(example)}</pre>\n"
    return (
        f'<h2 id="take">Data, notebook, command</h2>\n<p>{", ".join(links)}.</p>\n{listed}{reading}'
        f"<p>This page is made again by</p>\n<pre data-copy>{again}</pre>\n"
    )
