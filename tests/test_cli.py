"""The command line: exit codes, one sentence for bad use, what is removed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from amortgap._check import check_alpha
from amortgap.cli import COMMANDS, main
from amortgap.pages import build
from amortgap.runs.jobs import write_state
from amortgap.runs.project import Project
from demo_project import make_project, write_notebook

RUNS = "[quick.good]\nseeds = 1\n[quick.bad]\n[paper.good]"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = make_project(
        tmp_path,
        RUNS,
        good=[
            "# Good",
            "P: seeds: int = 2  # number of seeds",
            'P: law: str = "zipf"  # law',
            "print(seeds, law)",
        ],
        bad=["# Bad", "raise ValueError('no luck')"],
    )
    monkeypatch.chdir(made.notebooks)
    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "--profile", "huge"], "unknown profile 'huge'"),
        (["report", "--only", "nope"], "profile 'quick' has no notebook 'nope'; it has good, bad"),
        (
            ["report", "--only", "nope", "--only", "good"],
            "has no notebook 'nope'",
        ),  # all of them, not the last
        (["run", "nope"], "unknown notebook 'nope'; there are bad, good"),
        (["run", "good", "-p", "seed=1"], "unknown parameter 'seed'; it has seeds, law, out"),
        (["run", "good", "-p", "seeds=one"], "parameter 'seeds' is int, not 'one'"),
        (["run", "good", "-p", "seeds"], "-p 'seeds' must be KEY=VALUE"),
        (["clean", "--profile", "paper"], "there is no report 'paper'; there are none"),
    ],
)
def test_bad_use_is_one_sentence_and_exit_2(
    project: Project, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not project.reports.exists()  # nothing was run


@pytest.mark.parametrize("arguments", [[], ["fly"], ["report", "--jobs", "0"], ["run"]])
def test_unknown_arguments_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_outside_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 2
    assert "not inside the amortgap project" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_teaches(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "amortgap" in capsys.readouterr().out


def test_report_runs_then_has_nothing_to_do(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--only", "good"]) == 0
    index = project.reports / "quick" / "index.html"
    assert capfd.readouterr().out.strip() == str(index)
    assert index.is_file()
    page = index.with_name("good.html")
    assert "1 zipf" in page.read_text()

    assert main(["report", "--only", "good"]) == 0
    assert "nothing to run: all notebooks are done" in capfd.readouterr().out

    assert main(["report"]) == 1
    captured = capfd.readouterr()
    assert captured.out.strip() == str(index)
    assert "good: current" in captured.err
    assert "ValueError: no luck" in captured.err
    assert captured.err.rstrip().endswith("failed: bad")


def test_run_takes_parameters_and_a_folder(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    out = project.root / "elsewhere"
    assert main(["run", "good", "-p", "seeds=5", "-p", "law=5", "--out", str(out)]) == 0
    assert "5 5" in (out / "good.html").read_text()
    assert (out / "data" / "good" / "run.json").is_file()
    assert capfd.readouterr().out.strip() == str(out / "index.html")


def test_status_says_why_a_page_is_stale(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    def status() -> list[str]:
        capfd.readouterr()
        assert main(["status"]) == 0
        return capfd.readouterr().out.splitlines()

    assert status() == ["bad: stale: not run yet", "good: stale: not run yet"], "in page order"
    assert main(["report"]) == 1
    assert status() == ["bad: stale: failed: ValueError: no luck", "good: current"]
    index = project.reports / "quick/index.html"
    assert "✓ current" in index.read_text(encoding="utf-8")
    folder = project.reports / "quick/data/good"
    run = json.loads((folder / "run.json").read_text())
    run["inputs"]["drawing"]["packages"]["matplotlib"] = "0.1"
    del run["sealed"], run["files"]
    write_state(folder, run)
    assert (
        status()[1]
        == "good: current, but drawn before a change (report --redraw): matplotlib is gone, was 0.1"
    )
    write_notebook(project.notebooks / "good.ipynb", ["P: seeds: int = 2  # number of seeds", "print(seeds)"])
    assert (
        status()[1] == "good: stale: parameter law is None, was 'zipf'; code cell 1 of the notebook changed"
    )
    build(project, index.parent, ["good"])
    assert "↻ made by earlier code" in index.read_text(encoding="utf-8")
    (folder / "run.ipynb").write_text("")
    assert status()[1] == "good: stale: data file run.ipynb is damaged"
    run = json.loads((folder / "run.json").read_text())
    old = {name: run[name] for name in ("status", "notebook", "parameters", "provenance")}
    (folder / "run.json").write_text(json.dumps(old))
    assert status()[1] == "good: stale: run.json is damaged"


def test_redraw_computes_nothing(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--redraw"]) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said == "amortgap: nothing of profile 'quick' was run, so nothing can be drawn again"
    assert main(["report", "--only", "good"]) == 0
    assert main(["report", "--redraw", "--only", "good"]) == 0
    assert "<dt>drawn</dt>" in (project.reports / "quick/good.html").read_text()


def bug() -> None:
    raise ValueError("from elsewhere")


@pytest.mark.parametrize(
    ("error", "code", "traceback"),
    [
        (lambda: check_alpha(0.0), 2, False),
        (lambda: Path("nowhere/x").read_text(), 2, False),
        (lambda: 1 / 0, 3, True),
        (bug, 3, True),
    ],
)
def test_only_documented_errors_become_one_sentence(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Callable[[], object],
    code: int,
    traceback: bool,
) -> None:
    monkeypatch.setattr("amortgap.runs.project.Project.names", property(lambda _: error()))
    assert main(["list"]) == code
    shown = capsys.readouterr().err
    assert ("Traceback" in shown) == traceback
    assert shown.splitlines()[-1].startswith("amortgap: ")
    assert main(["list", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_list(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert "good  Good\n    profiles: quick, paper\n    seeds: int = 2  # number of seeds\n" in text


def test_clean_keeps_the_paper_report_unless_it_is_named(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("quick", "paper", "interactive"):
        (project.reports / name / "data").mkdir(parents=True)
    assert main(["clean"]) == 0
    assert "removed: interactive, quick" in capsys.readouterr().out
    assert [path.name for path in project.reports.iterdir()] == ["paper"]
    assert main(["clean", "--profile", "paper"]) == 0
    assert not list(project.reports.iterdir())


def test_a_terminal_without_greek_letters_ends_no_command(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(project.notebook("good"), ["# The α of a LASSO", "P: seeds: int = 2  # seeds"])
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["list"]) == 0
    stdout.flush()
    assert b"good  The \\u03b1 of a LASSO" in stdout.buffer.getvalue()
