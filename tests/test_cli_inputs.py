"""Every option of every command with values of every kind: an exit code and one sentence, never a traceback."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from amortgap.cli import BAD_USE, auditing, build_parser, main
from amortgap.interop.sae import NORMALISATIONS, architectures
from amortgap.interop.settle import SIGNED
from demo_project import make_project

VALUES = [
    "",
    "x",
    "-1",
    "0",
    "1.5",
    "nan",
    "1e999",
    "9" * 40,
    "../..",
    "/nowhere/x",
    "a=b",
    "é\n<b>",
    "-p",
    "None",
]


def options() -> list[tuple[str, str]]:
    """Command and option, of all that take a value; "" for a positional argument."""
    commands = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = []
    for name, parser in commands.choices.items():
        for action in parser._actions:
            if action.nargs != 0:
                found.append((name, action.option_strings[-1] if action.option_strings else ""))
    return found


@pytest.mark.parametrize(("command", "option"), options(), ids=lambda text: text or "argument")
def test_a_value_of_any_kind_is_refused_in_one_sentence(
    command: str,
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # a profile without notebooks, so that a value that happens to fit runs nothing
    make_project(tmp_path / "project", "[quick]\n", a=["P: n: int = 1  # n", "1 / 0"])
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("amortgap.runs.schedule.run_all", lambda jobs, parallel, force=False, on=None: [])
    for value in VALUES:
        given = [command, *([option] if option else []), value]
        if command in ("audit", "improve", "run") and option:
            given.insert(1, "absent")
        try:
            code = main(given)
        except SystemExit as exit:
            code = exit.code
        said = capsys.readouterr()
        assert code in (0, 1, BAD_USE), (given, said.err)
        assert "Traceback" not in said.err, given
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project"]


SIMPLE = (
    ("there is no file or folder absent", "audit", "absent"),
    ("there is no file or folder absent", "improve", "absent"),
    ("there is no file absent.npy", "audit", "here", "--activations", "absent.npy"),
    ("no device named 'gpu'", "audit", "here", "--device", "gpu"),
    ("holds other files", "audit", "here", "--out", "here"),
    ("invalid choice: 'tpk'", "audit", "here", "--architecture", "tpk"),
    ("invalid choice: 'layer'", "audit", "here", "--normalise", "layer"),
    ("'3' is not a number above 0 and at most 1", "improve", "here", "--share", "3"),
    ("'1' is not a number above 1", "improve", "here", "--cost", "1"),
    ("'inf' is not a number above 0", "improve", "here", "--baseline-seconds", "inf"),
    ("unrecognized arguments: --nothing", "audit", "here", "--nothing"),
)


def test_simple_errors_are_said_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine").touch()
    tried = """
import sys
from amortgap.cli import main
for _, *given in eval(sys.argv[1]):
    try:
        code = main(given)
    except SystemExit as exit:
        code = exit.code
    print(code, "torch" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", tried, repr(SIMPLE)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # each error, and after it the line of the loop
    said = done.stderr.split(f"{BAD_USE} False\n")
    assert len(said) == len(SIMPLE) + 1, done.stderr
    for (message, *_), one in zip(SIMPLE, said, strict=False):
        assert message in one


def test_the_parser_knows_the_names_that_reading_knows() -> None:
    assert set(auditing.ARCHITECTURES) == {*architectures(), SIGNED}
    assert auditing.NORMALISATIONS == NORMALISATIONS
