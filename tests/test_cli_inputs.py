"""Every option of every command with values of every kind: an exit code and one sentence, never a traceback."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from amortgap.cli import BAD_USE, build_parser, main
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
    monkeypatch.setattr("amortgap.runs.schedule.run_all", lambda jobs, parallel, force=False: [])
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
