"""The reference: its examples run, and its pages stand alone."""

from __future__ import annotations

import doctest
import re
from html import unescape
from pathlib import Path

import pytest

import amortgap
from amortgap.cli import COMMANDS
from amortgap.cli.reference import commands, main, modules
from amortgap.pages import build
from amortgap.pages.manifest import verify
from demo_project import make_project

#: Each help stands twice, for phones and for wider windows.
KINDS = ("slim", "wide")
LONGEST = "--subtract-b-dec, --no-subtract-b-dec"


def test_the_examples_give_what_they_say() -> None:
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    found = doctest.testmod(amortgap, optionflags=flags)
    assert found.attempted >= 30
    # the ten that people need most
    named = (
        "SparseProblem(",
        "solve(",
        "duality_gap(",
        "pursue(",
        "mcc(",
        "fit(",
        "mcc_ceiling(",
        "read(",
        "audit(",
        "improve(",
    )
    assert all(name in (amortgap.__doc__ or "") for name in named)
    assert found.failed == 0


def test_the_help_of_every_command_stands_on_a_page_of_its_own() -> None:
    page = commands()
    for name in COMMANDS:
        assert f'<h2 id="amortgap-{name}">' in page
        assert f"usage: amortgap {name} [-h]" in page
    assert "--redraw" in page
    # on a phone no line needs to be pushed sideways, and no word is left out
    slim, wide = (
        re.findall(rf'<pre class="help {kind}"><code>(.*?)</code>', page, re.DOTALL) for kind in KINDS
    )
    options = (re.split("examples:|exit codes:", text)[0].partition("options:")[2] for text in slim)
    lines = [line for text in options for line in text.splitlines()]
    assert len(lines) > 100
    # a name that is longer alone stands on a line of its own
    assert {line.strip() for line in map(unescape, lines) if len(line) > 38} <= {LONGEST}
    assert ["".join(text.split()) for text in slim] == ["".join(text.split()) for text in wide]
    assert not re.findall(r'(?:src|<link[^>]*href)="?https?:', page)


def test_everything_that_the_readme_imports_is_in_the_reference() -> None:
    known = set(modules())
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    named = set(re.findall(r"^from (amortgap[\w.]*) import|`(amortgap\.[a-z_.]+)", readme, re.MULTILINE))
    for name in ("".join(pair).rstrip(".") for pair in named):
        assert name in known or name.rpartition(".")[0] in known, name
    assert {"amortgap.interop.estimators", "amortgap.llm.train", "amortgap.solvers.fista"} <= known
    assert not [name for name in known if "._" in name or name.startswith("amortgap.pages")]


def test_make_reference_says_where_it_wrote_and_the_index_links_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    project = make_project(tmp_path, "[quick.a]", a=["# A"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("amortgap.cli.reference.modules", lambda: ["amortgap", r"!amortgap\..*"])
    folder = project.reports / "quick"
    build(project, folder, ["a"])
    assert main(["quick"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [str(folder / "reference" / name) for name in ("amortgap.html", "commands.html")]
    assert all(Path(line).is_file() for line in said[:2])
    assert 'href="reference/commands.html"' in (folder / "index.html").read_text()
    assert verify(folder)[0] == []


# annotations of named tuples that only a type checker imports
@pytest.mark.filterwarnings("ignore:Error parsing type annotation")
def test_reference_pages_ask_for_nothing(tmp_path: Path) -> None:
    pdoc = pytest.importorskip("pdoc", reason="pdoc is not installed")
    pdoc.pdoc("amortgap.metrics", output_directory=tmp_path)
    text = (tmp_path / "amortgap/metrics.html").read_text()
    assert "chance_mcc" in text
    assert not re.findall(r'(?:src|<link[^>]*href)="https?:', text)
