"""The reference of functions (pdoc) and commands (their own help), as pages: `make reference`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path

from amortgap._files import write_text
from amortgap.cli import build_parser, notebooks
from amortgap.runs.project import find_project

#: What is no part of the reference: private modules, compiled loops, and the house itself.
LEFT_OUT = re.compile(r"amortgap\.(_|.*\._|(cli|pages|runs|solvers\.kernels)\b)")

#: An example with what it does beside it, and, in a narrow window, below it.
BESIDE, BELOW = re.compile(r"^(  amortgap .*?) {2,}(\S.*)$", re.MULTILINE), r"\1\n      \2"


def modules() -> list[str]:
    """Every module that pdoc documents, by name: left to itself it stops at packages that say what they export."""
    root = Path(__file__).parents[1]
    files = (file.relative_to(root.parent).with_suffix("") for file in root.rglob("*.py"))
    names = {".".join(file.parts).removesuffix(".__init__") for file in files}
    return sorted(name for name in names if not LEFT_OUT.match(name))


def write(folder: Path) -> list[Path]:
    """Write the pages of functions, which begin at `amortgap.html`, and `commands.html`; returns these two."""
    import pdoc

    folder.mkdir(parents=True, exist_ok=True)
    # the sources are in the repository; here they would be half of 26 MB
    pdoc.render.configure(show_source=False, template_directory=Path(__file__).parent / "reference_look")
    with warnings.catch_warnings():
        # annotations of named tuples that only a type checker imports
        warnings.filterwarnings("ignore", message="Error parsing type annotation")
        # a package brings the modules that it exports, those left out among them
        warnings.filterwarnings("ignore", message="The module specification")
        pdoc.pdoc(*modules(), f"!{LEFT_OUT.pattern}", output_directory=folder)
    write_text(folder / "commands.html", commands())
    return [folder / "amortgap.html", folder / "commands.html"]


def commands() -> str:
    """A page with the help of `amortgap` and of each of its commands, as a terminal shows it, and a phone's."""
    from amortgap.pages.frame import frame

    wide, slim = _helps(100), _helps(38)
    body = "\n".join(
        f'<h2 id="{name.replace(" ", "-")}">{name}</h2>\n'
        f'<pre class="help wide"><code>{escape(text)}</code></pre>\n'
        f'<pre class="help slim"><code>{escape(BESIDE.sub(BELOW, slim[name]))}</code></pre>'
        for name, text in wide.items()
    )
    nav = (
        '<header><nav aria-label="Reference">\n<a href="../index.html">The report</a>\n'
        '<a href="amortgap.html">Functions</a>\n<a href="commands.html" aria-current="page">Commands</a>\n'
        "</nav></header>"
    )
    return frame("Commands", nav, f"<h1>Commands</h1>\n{body}", "What each prints with --help.")


def _helps(columns: int) -> dict[str, str]:
    """The help of the program and of each command in so many columns."""
    parser = build_parser()
    known = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction)).choices
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        helps = {"amortgap": parser.format_help()}
        return helps | {f"amortgap {name}": command.format_help() for name, command in known.items()}
    finally:
        os.environ.pop("COLUMNS")
        os.environ |= {"COLUMNS": before} if before is not None else {}


def main(arguments: Sequence[str]) -> int:
    """Write the reference beside the report of a profile, link it there, and say where it is."""
    from amortgap.pages import build

    (profile,) = arguments
    project = find_project()
    names = sorted(notebooks.profile_jobs(project, profile))
    folder = project.reports / profile
    for page in write(folder / "reference"):
        print(page)
    if (folder / "index.html").is_file():
        print(f"linked from {build(project, folder, names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
