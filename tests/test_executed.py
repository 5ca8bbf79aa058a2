"""Executed notebooks show what they found wherever they are opened, also where nobody trusts them."""

from __future__ import annotations

import base64
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from amortgap._progress import progress
from amortgap.kit.text import show_html
from amortgap.runs.jobs import make_job
from amortgap.runs.schedule import run_all
from demo_project import FULL, make_project

#: Elements that JupyterLab and code hosts take out of a notebook that is not trusted.
STRIPPED = ["script", "style", "svg", "figure", "iframe", "object", "form", "input", "link"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    made = make_project(
        tmp_path_factory.mktemp("executed") / "p", "", a=[*FULL, "t.assign(ok=t.mcc > 0.605)"]
    )
    run_all([make_job(made, "a", made.reports / "quick", {}, 5)], parallel=1)
    return nbformat.read(made.reports / "quick/data/a/run.ipynb", as_version=4)


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_figures_are_pictures_with_words_for_those_who_cannot_see_them(executed) -> None:
    (figure,) = [output.data for output in outputs(executed) if "image/png" in output.get("data", {})]
    picture = base64.b64decode(figure["image/png"])
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 600
    assert height > 250
    assert figure["text/plain"].strip()


def test_every_output_survives_where_nothing_is_trusted(executed) -> None:
    nbformat.validate(executed)
    shown = outputs(executed)
    for output in shown:
        if output.output_type == "stream":
            assert output.name == "stdout"
            continue
        words = output.data["text/plain"]
        assert "text/latex" in output.data or not words.startswith("<IPython"), "no fallback"
        html = BeautifulSoup(output.data.get("text/html", ""), "html.parser")
        assert html.find(STRIPPED) is None
    assert sum(output.output_type == "stream" for output in shown) == 1, "progress bars stay out"


def test_viewers_without_html_have_every_sentence(executed) -> None:
    """VS Code shows plain text instead of HTML in folders that nobody has said to trust."""
    words = [output.data["text/plain"] for output in outputs(executed) if "data" in output]
    assert "A <finding>. data" in words
    (claim,) = [text for text in words if text.startswith("E2.1 ")]
    assert claim.startswith("E2.1 It is .6. Paper: 0.610 (Table <2>); ours: 0.610 [0.605, 0.615]")


def test_strengths_of_tokens_survive_where_styles_are_stripped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    mark = '<mark style="--s:{}" title="1.00"> a{}</mark>'
    show_html("".join(mark.format(strength, strength) for strength in (0.9, 0.5, 0.1)))
    bare = re.sub(r' (style|title)="[^"]*"', "", shown[0]["text/html"])
    assert bare == "<mark><b> a0.9</b></mark><mark> a0.5</mark><mark><small> a0.1</small></mark>"
    assert shown[0]["text/plain"] == "a0.9 a0.5 a0.1"


def test_links_to_tables_lead_to_the_files_beside_it(executed) -> None:
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs(executed))
    assert set(re.findall(r'href="([^"]*)"', html)) == {"mcc.json"}


def test_tables_are_shown_as_on_the_page(executed) -> None:
    tables = [
        BeautifulSoup(output.data["text/html"], "html.parser").table
        for output in outputs(executed)
        if "<table" in output.get("data", {}).get("text/html", "")
    ]
    assert [cell.get_text() for cell in tables[0].select("thead th")] == ["method", "seed", "MCC"]
    assert [cell.get_text() for cell in tables[1].select("tbody tr")[0].find_all("td")] == [
        "SAE",
        "0",
        "0.60",
        "no",
    ]


def test_bars_are_widgets_in_jupyter_and_lines_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "AMORTGAP_RUN", "key")
    with progress(total=1, desc="two seconds later") as bar:
        assert type(bar).__module__ == "tqdm.std"
        assert bar.delay == 2
    monkeypatch.delitem(os.environ, "AMORTGAP_RUN")
    assert list(progress(range(3))) == [0, 1, 2]  # outside of Jupyter


def test_a_process_killed_as_it_draws_a_bar_stops_no_other() -> None:
    """In a process of its own, which is stopped if it hangs."""
    script = """
import os, signal
from amortgap._progress import progress
from tqdm import tqdm
list(progress(range(3)))
if not (child := os.fork()):
    for bar in progress(range(1)):
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
list(progress(range(3)))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


@pytest.mark.timeout(
    900
)  # half a minute of processor time, and kernels to compile: a busy machine must not stop it
@pytest.mark.parametrize("name", ["23_explore"])
def test_a_page_of_the_report_survives_too(name: str, tmp_path: Path) -> None:
    from amortgap.runs.project import find_project

    project = find_project(Path(__file__).parent)
    (result,) = run_all([make_job(project, name, tmp_path, {}, 5)], parallel=1)
    assert result["status"] == "done"
    notebook = nbformat.read(tmp_path / "data" / name / "run.ipynb", as_version=4)
    assert sum("image/png" in one.get("data", {}) for one in outputs(notebook)) == 3
