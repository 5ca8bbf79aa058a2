"""Every kind of page keeps to the gates of `tests.gates`, and each gate stops what it is there to stop."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gates import Browser, browser, faults, html_errors, isolated, missing, validator, vnu_errors

from amortgap.llm.interpret import browser as latents
from amortgap.pages import build
from amortgap.pages.claims import claims_body
from amortgap.pages.frame import frame
from amortgap.runs.jobs import make_job
from amortgap.runs.schedule import run_all
from demo_project import FULL, make_project

pytestmark = pytest.mark.timeout(900)  # a busy machine must not make it fail


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_project(tmp_path_factory.mktemp("gates") / "p", "", a=FULL)
    folder = made.reports / "quick"
    run_all([make_job(made, "a", folder, {}, 5)], parallel=1)
    build(made, folder, ["a"])
    return folder


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if reason := missing():
        pytest.skip(reason)
    with browser() as found:
        yield found


KINDS = ["a", "index", "claims", "about"]


@pytest.mark.parametrize("name", KINDS)
def test_pages_are_html(report: Path, name: str) -> None:
    pytest.importorskip("html5lib", reason="html5lib is not installed")
    assert html_errors(report / f"{name}.html") == []


@pytest.mark.skipif(bool(validator()), reason=validator())
def test_the_validator_has_nothing_to_say(report: Path, tmp_path: Path) -> None:
    assert vnu_errors([report / f"{name}.html" for name in KINDS]) == []
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html lang=en><title>x</title><p id=a><p id=a><figure role=none><img src=x>"
    )
    assert len(vnu_errors([bad])) >= 2


def test_pages_are_looked_at_without_a_network(tab: Browser) -> None:
    if not isolated():
        pytest.skip("a network namespace of its own is not allowed here (unshare --net)")
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = f"http://127.0.0.1:{server.getsockname()[1]}"
        socket.create_connection(server.getsockname()).close()  # it answers here
        said = tab.ask(f"fetch('{at}', {{mode: 'no-cors'}}).then(() => 'there', () => 'nothing there')")
    assert said == "nothing there"


@pytest.mark.parametrize("name", KINDS)
def test_pages_keep_to_the_gates(tab: Browser, report: Path, name: str) -> None:
    assert faults(tab, report / f"{name}.html") == []


def test_each_gate_stops_something(tab: Browser, report: Path) -> None:
    text = (report / "a.html").read_text()
    worse = report / "worse.html"
    body = (
        "<main id='main'><img src='https://example.org/x.png'><p style='width:2000px'>wide</p>"
        "<p style='color:#bbb;background:#fff'>faint</p><script>nowhere()</script>"
    )
    worse.write_text(text.replace('<main id="main">', body).replace("scale(0.105", "scale(0.04"))
    found = "\n".join(faults(tab, worse))
    worse.unlink()
    for part in (
        "asks for https://example.org",
        "script: ",
        "image-alt",
        "color-contrast",
        "390 px: wider",
        "px: fig-curve",
    ):
        assert part in found, part


def test_values_are_read_out_by_keys_and_legends_hide_series(tab: Browser, report: Path) -> None:
    tab.look(1280)
    tab.open(report / "a.html")
    press = "svg.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))"
    svg = "const svg = document.querySelector('#fig-curve > svg:not(.narrow)');"
    said = tab.ask(f"(() => {{ {svg} {press}; return document.querySelector('.tip').textContent; }})()")
    assert said == "a panel, SAE: seed 0, 0.6"
    # in the corner of its letters' box, where no stroke is
    corner = "const box = svg.querySelector('[data-name=SAE]').getBoundingClientRect()"
    at = "{bubbles: true, clientX: box.left, clientY: box.top}"
    hide = f"{corner}; svg.dispatchEvent(new MouseEvent('click', {at}))"
    shown = "[...svg.querySelectorAll('[data-series=\"0\"]')].filter(e => e.style.display !== 'none').length"
    before, after = tab.ask(f"(() => {{ {svg} const b = {shown}; {hide}; return [b, {shown}]; }})()")
    assert before > 0
    assert after == 0
    said = tab.ask(f"(() => {{ {svg} {press}; return document.querySelector('.tip').textContent; }})()")
    assert "solver" in said, "hidden values are passed over"


def test_a_wide_table_says_that_it_scrolls_and_keeps_its_first_column(tab: Browser, tmp_path: Path) -> None:
    cells = "".join(f"<td class=n>{i / 7:.5f}</td>" for i in range(30))
    table = f"<table><tbody>{f'<tr><th scope=row>a method</th>{cells}</tr>' * 3}</tbody></table>"
    page = tmp_path / "wide.html"
    page.write_text(frame("wide", "", f'<div class="scroll wide">{table}</div>', ""))
    tab.look(390)
    tab.open(page)
    assert "scrolls sideways" in tab.ask(
        "getComputedStyle(document.querySelector('.scroll'), '::before').content"
    )
    place = "document.querySelector('tbody th').getBoundingClientRect().left"
    said = f"[a, {place}, box.scrollLeft, box.tabIndex]"
    moved = f"(box => {{ const a = {place}; box.scrollLeft = 300; return {said}; }})"
    before, after, scrolled, reached = tab.ask(f"{moved}(document.querySelector('.scroll'))")
    assert scrolled == 300
    assert after == before
    assert reached == 0, "by keyboard, too"


def test_the_command_of_a_page_is_copied_by_a_button(tab: Browser, report: Path) -> None:
    tab.look(1280)
    tab.open(report / "a.html")
    tab.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    press = "[...document.querySelectorAll('[data-copy]')].find(one => one.textContent.startsWith('amortgap run'))"
    said = tab.ask(
        f"(async () => {{ const button = {press}.nextSibling; button.click(); "
        "await new Promise(done => setTimeout(done, 300)); return button.textContent; })()"
    )
    # without a clipboard, as in a headless browser, the command is selected instead
    assert said in ("copied", "selected")
    if said == "selected":
        assert tab.ask("getSelection().toString()").startswith("amortgap run a")


def test_claims_are_searched_filtered_and_found_by_their_address(tab: Browser, report: Path) -> None:
    claims = report / "claims.html"
    text = claims.read_text()
    row = text[text.index('<tr id="claim-E2.1"') : text.index("</tr>", text.index('<tr id="claim-E2.1"')) + 5]
    more = "\n".join(
        row.replace("E2.1", f"E3.{i}")
        .replace("It is .6.", f"It is {i}.")
        .replace("reproduced", "corrected" if i % 2 else "reproduced")
        for i in range(1, 401)
    )
    many = report / "many.html"
    many.write_text(text.replace(row, f"{row}\n{more}"))
    tab.look(1280)
    tab.open(many)
    visible = "[...document.querySelectorAll('tr[data-verdict]')].filter(row => row.offsetParent).length"
    type_ = "f.words.value = '{}'; f.dispatchEvent(new Event('input'));"
    script = (
        "(() => {{ const f = document.querySelector('form.controls'), t = performance.now(); {} "
        "return [{}, performance.now() - t]; }})()"
    )
    shown, took = tab.ask(script.format(type_.format("it is 39"), visible))
    assert shown == 14  # 39, 139, 239, 339, and 390 to 399
    shown, _ = tab.ask(
        script.format(
            type_.format("") + "f.verdict.value = 'corrected'; f.dispatchEvent(new Event('input'));", visible
        )
    )
    assert shown == 200
    assert took < 2000, "400 rows: an eye's blink on an idle machine, with room for a busy one"
    many.unlink()


def test_another_run_stands_beside_this_one(tab: Browser, report: Path, tmp_path: Path) -> None:
    (claim,) = json.loads((report / "data/claims.json").read_text())
    two = [claim | {"id": f"E2.{i}"} for i in (1, 2)]
    other = claim | {"ours": 0.7, "low": 0.69, "high": 0.71, "verdict": "not reproduced"}
    page = tmp_path / "claims.html"
    body = claims_body(two, {}, "quick", {"paper": {"E2.1": other, "E9.9": other}})
    page.write_text(frame("claims", "", body, "", ("page", "claims")))
    tab.look(1280)
    tab.open(page)
    shown = "[...document.querySelectorAll('[id=\"claim-E2.1\"] td')].map(cell => cell.textContent)"
    heads = "[...document.querySelectorAll('.claims thead th')].map(cell => cell.textContent)"
    said = "document.querySelector('.controls output').textContent"
    choose = (
        "(f => {{ f.beside.value = {}; f.beside.dispatchEvent(new Event('change')); }})(document.forms[0])"
    )
    tab.ask(choose.format("'paper'"))
    assert tab.ask(heads)[3:7] == ["ours A: quick", "ours B: paper", "difference B − A", "against"]
    assert tab.ask(shown)[3:5] == ["0.700[0.690, 0.710] not reproduced", "0.090 *"]
    tab.look(794, media="print")
    assert tab.ask("document.querySelector('.says').clientWidth") > 130, "a column of single words"
    tab.look(1280)
    assert tab.ask(said).startswith("1 claims are made by both; 1 of them (*)")
    tab.ask(choose.format("''"))
    assert tab.ask(heads)[3:] == ["ours", "against", "verdict"]
    file = tmp_path / "other.json"
    file.write_text(json.dumps([claim | {"id": "E2.2", "verdict": "<img src=x onerror='window.hit=1'>"}]))
    root = tab.send("DOM.getDocument")["root"]["nodeId"]
    field = tab.send("DOM.querySelector", nodeId=root, selector="[type=file]")["nodeId"]
    tab.send("DOM.setFileInputFiles", nodeId=field, files=[str(file)])
    tab.ask("new Promise(done => setTimeout(done, 300))")
    assert "ours B: other.json" in tab.ask(heads)
    assert tab.ask(shown)[3:5] == ["–", "–"]
    assert "<img" in tab.ask(shown.replace("E2.1", "E2.2"))[3], "words of a file stay words"
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{")
    tab.send("DOM.setFileInputFiles", nodeId=field, files=[str(damaged)])
    tab.ask("new Promise(done => setTimeout(done, 300))")
    assert "holds no claims" in tab.ask(said)
    assert tab.ask("window.hit === undefined")


def test_latents_are_searched_and_sorted(tab: Browser, tmp_path: Path) -> None:
    rows = [
        {
            "html": f'<details class="latent" data-latent="{i}" data-score="{s}" data-density="{d}">{w}</details>'
        }
        for i, s, d, w in ((3, 0.6, 0.2, "Tuesday"), (5, 0.9, 0.1, "between"), (8, 0.7, 0.3, "betray"))
    ]
    page = tmp_path / "latents.html"
    page.write_text(frame("latents", "", latents(rows), ""))
    tab.open(page)
    order = (
        "(f => {{ f.words.value = '{}'; f.sort.value = '{}'; f.dispatchEvent(new Event('input')); "
        "return [...document.querySelectorAll('.latent:not([hidden])')].map(one => +one.dataset.latent); }})"
        "(document.querySelector('.latents form'))"
    )
    assert tab.ask(order.format("", "score")) == [5, 8, 3]
    assert tab.ask(order.format("", "density")) == [8, 3, 5]
    assert tab.ask(order.format("BET", "latent")) == [5, 8]


def test_no_script_of_a_stranger_runs(tab: Browser, tmp_path: Path) -> None:
    """Parameters, texts, what a notebook prints and raises, as code that would say it had run."""
    attack = "</td></title></script><script>window.hit=1</script><img src=x onerror='window.hit=1'>\"'`"
    made = make_project(
        tmp_path,
        "",
        a=[
            "# Page",
            "P: text: str = 'x'  # a text <script>window.hit=1</script>",
            "import pandas as pd\nfrom amortgap.kit import Record\nrec = Record(out)\nprint(text)",
            "rec.table('found', [{'text': text, 'v': 1.0}])",
            "pd.DataFrame({text: [text]})",
            "text",
        ],
        b=["P: text: str = 'x'  # a text", "# Fails", "raise ValueError(text)"],
    )
    folder = made.reports / "quick"
    run_all([make_job(made, name, folder, {"text": attack}, 5) for name in "ab"], parallel=2)
    build(made, folder, ["a", "b"])
    assert "window.hit" in (folder / "a.html").read_text()
    for page in sorted(folder.glob("*.html")):
        tab.open(page)
        assert tab.ask("new Promise(done => setTimeout(() => done(window.hit === undefined), 200))"), (
            page.name
        )
    bad = folder / "bad.html"
    bad.write_text(f"<p>{attack}")
    tab.open(bad)
    assert tab.ask("new Promise(done => setTimeout(() => done(window.hit), 200))") == 1
