"""How notebooks are committed: without outputs, with explained parameters, in short pieces."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from amortgap.kit import published
from amortgap.kit.text import number, quotable
from amortgap.pages.findings import NAME, read_words
from amortgap.runs.notebook import Notebook, source
from amortgap.runs.profiles import load_profiles
from amortgap.runs.project import find_project

PROJECT = find_project(Path(__file__).parent)
NOTEBOOKS = [PROJECT.notebook(name) for name in PROJECT.names]
LONGEST_BLOCK, LONGEST_CELL = 25, 60

#: Those whose pages report what was found; page 23 is for playing.
REPORTED = [path for path in NOTEBOOKS if path.stem != "23_explore"]

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def headings(path: Path) -> list[str]:
    """The headings below a notebook's title."""
    cells = (source(cell) for cell in Notebook(path).cells if cell["cell_type"] == "markdown")
    return [heading for text in cells for heading in re.findall(r"^#{2,3} (.*)$", text, re.MULTILINE)]


@every_notebook
def test_it_is_a_valid_notebook_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


@every_notebook
def test_its_name_and_title(path: Path) -> None:
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)
    first = Notebook(path).cells[0]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith("# ")


@every_notebook
def test_each_parameter_is_one_explained_line(path: Path) -> None:
    notebook = Notebook(path)
    assert "out" in notebook.parameters
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell["metadata"].get("tags", []))
    for line in source(cell).splitlines():
        assert re.fullmatch(r"[a-z]\w*: [\w\[\]]+ = .+  # \S.*", line), line
    for parameter in notebook.parameters.values():
        assert parameter.meaning
        assert parameter.accepts(parameter.default), parameter
    assert notebook.parameters["out"].default == f"../reports/interactive/data/{path.stem}"


def code_of(path: Path) -> list[str]:
    return [source(cell) for cell in Notebook(path).cells if cell["cell_type"] == "code"]


@every_notebook
def test_it_names_no_path_of_one_machine(path: Path) -> None:
    for cell in Notebook(path).cells:
        assert not re.search(r"(?<![\w.])/(work|root|home|Users)/", source(cell))


@every_notebook
def test_it_can_be_read_a_screen_at_a_time(path: Path) -> None:
    for text in code_of(path):
        lines = len(text.splitlines())
        assert lines <= LONGEST_CELL, f"a cell of {lines} lines: {text.splitlines()[0]}"
        for node in ast.parse(text).body:
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LONGEST_BLOCK, f"{length} lines: {text.splitlines()[node.lineno - 1]}"


@pytest.mark.parametrize("path", REPORTED, ids=lambda path: path.stem)
def test_sections_are_headed_by_questions(path: Path) -> None:
    asked = [heading for heading in headings(path) if heading != "What we found"]
    assert asked
    assert [heading for heading in asked if not heading.endswith("?")] == []


def test_answers_to_questions_name_claims_that_exist() -> None:
    code = "".join(text for path in NOTEBOOKS for text in code_of(path))
    made = set(re.findall(r"""["']([A-Z]\d*\.\d+)["']""", code)) | set(published().index)
    loops = {"E13": range(20, 26), "E16": range(1, 10), "G": range(1, 7)}
    made |= {f"{group}.{i}" for group, numbers in loops.items() for i in numbers}
    words = read_words(PROJECT.notebooks / "findings.toml")
    for page, answered in words.headings.items():
        assert set(answered) <= set(headings(PROJECT.notebook(page))), page
        for one in (one for sentences in answered.values() for one in sentences):
            assert {one["claim"], *(name for name, _ in NAME.findall(one["says"]))} <= made, one


#: The names under which notebooks keep what a claim says, and those of lists of it.
SAYS = {"says", "same", "sentence", "lost", "levels", "sentences", "DISTANCE"}


def text_of(node: ast.expr) -> str:
    """A string of the source with X for each value in it; nothing for what is no string."""
    if isinstance(node, ast.Constant):
        return re.sub(r"\{\w*\}", "X", node.value) if isinstance(node.value, str) else ""
    parts = node.values if isinstance(node, ast.JoinedStr) else ()
    text = "".join(text_of(part) if isinstance(part, ast.Constant) else "X" for part in parts)
    # a latent MCC or a dictionary MCC
    return text.replace("this X MCC", "this MCC")


def texts_under(node: ast.AST) -> Iterator[str]:
    """The strings of an expression, an f-string as one."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        yield text_of(node)
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts_under(child)


def sentences_of(path: Path) -> Iterator[str]:
    """What a notebook's claims say, for any parameters: the texts of six words and more under their names."""
    for node in (node for text in code_of(path) for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Assign) and SAYS & {
            name.id for to in node.targets for name in ast.walk(to) if isinstance(name, ast.Name)
        }:
            yield from (
                text for text in texts_under(node.value) if len(re.findall(r"\b(?!X\b)\w+", text)) > 5
            )


def is_finished(says: str, value: float) -> bool:
    """Whether a claim is a sentence: room for its number, a verb for it, and no word on the claim before it."""
    text = quotable(says, value)
    bare = r"(.*: )?(MCC|FVU|Share|Dictionary MCC|Mean [a-z]+|The same|Change|Distance|By how|There) "
    shown = number(value) in text or f"{100 * value:.3g}\u202f%" in text
    return shown and not re.match(bare, text)


def test_every_claim_is_a_sentence_with_its_number() -> None:
    for path in REPORTED:
        said = list(sentences_of(path))
        claims = len(re.findall(r"\brec\.claim\(", "".join(code_of(path))))
        # on pages 07, 08 and 19 two claims share one
        assert len(said) >= claims - 1, path.stem
        assert [text for text in said if not is_finished(text, 0.4321)] == [], path.stem


def test_every_claim_of_a_committed_run_of_todays_cells_is_a_sentence_with_its_number() -> None:
    report = PROJECT.root / "reports/paper/data"
    for path in REPORTED:
        run, claims = report / path.stem / "run.ipynb", report / path.stem / "claims.json"
        if claims.exists() and set(code_of(path)) <= set(code_of(run)):
            made = json.loads(claims.read_text(encoding="utf-8"))
            assert [claim for claim in made if not is_finished(claim["says"], claim["ours"])] == [], path.stem


def test_no_helper_stands_in_two_notebooks() -> None:
    homes: dict[str, set[str]] = {}
    for path in NOTEBOOKS:
        for text in code_of(path):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    # the same name may do another thing on another page; the same body is one helper
                    homes.setdefault(ast.dump(node), set()).add(f"{node.name} in {path.stem}")
    twice = [sorted(found) for found in homes.values() if len(found) > 1]
    assert not twice


def test_profiles_name_notebooks_and_parameters_that_exist() -> None:
    assert {"smoke", "quick", "paper"} <= set(load_profiles(PROJECT))
