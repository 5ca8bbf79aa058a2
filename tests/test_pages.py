"""Pages: mathematics, nothing loaded, descriptions, links, failures, and the same bytes on every rebuild."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pygments
import pytest
from bs4 import BeautifulSoup
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from amortgap._errors import Refused
from amortgap._files import write_text
from amortgap.kit.readout import short
from amortgap.kit.setting import duration
from amortgap.kit.tables import write_table
from amortgap.kit.text import interval, number, quotable, spelled, typeset
from amortgap.kit.tidy import tidy_html
from amortgap.kit.verdict import RULE
from amortgap.pages import build, cells
from amortgap.pages.about import mark_terms
from amortgap.pages.compare import as_text, claims_beside, claims_of, compare
from amortgap.pages.downloads import MOST_ROWS, _quoted, write_archive
from amortgap.pages.findings import read_words
from amortgap.pages.font import font_css
from amortgap.pages.links import relink
from amortgap.pages.mathml import Formulas, to_mathml
from amortgap.pages.page import render_page, said_once
from amortgap.pages.power import power, power_table
from amortgap.pages.rendered import Rendered
from amortgap.pages.withdrawn import withdrawals
from amortgap.runs.jobs import changes, make_job
from amortgap.runs.project import Project
from amortgap.runs.schedule import run_all
from demo_project import FULL, make_project, write_notebook

NAMES = ["a", "b", "c", "d"]
WORDS = """
question = "Is it .6?"
answers = ["Never made: {E9.9}.", "It is {E2.1} {E2.1.range}, in the paper {E2.1.paper}."]
figure = "a#curve"
[[finding]]
claim = "E2.1"
says = "Not less than chance: {E2.1}."
[[finding]]
claim = "E2.1"
when = "lower"
says = "This is false."
[[finding]]
claim = "E9.9"
says = "Never made."
[headings.a]
"Is it more than chance?" = [
    { claim = "E9.9", says = "Never made" },
    { claim = "E2.1", when = "inconclusive", says = "Nobody knows" },
    { claim = "E2.1", when = "reproduced", says = "It is: {E2.1}" },
    { claim = "E2.1", says = "Second choice" },
]
"Is it less?" = [{ claim = "E2.1", when = "lower", says = "It is less" }]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A report with a full page, a failed page, a page with little on it, and a notebook not run yet."""
    made = make_project(
        tmp_path_factory.mktemp("report") / "p",
        "",
        a=FULL,
        b=["# Broken\n\nIt fails.", "1 / 0  # </pre><b>"],
        c=["# Small", "print(1)"],
        d=["# Not run"],
    )
    folder = made.reports / "quick"
    (made.notebooks / "findings.toml").write_text(WORDS)
    run_all([make_job(made, name, folder, {}, 1) for name in "abc"], parallel=2)
    build(made, folder, NAMES)
    return made


@pytest.fixture(scope="module")
def report(project: Project) -> Path:
    return project.reports / "quick"


def without_code(text: str) -> str:
    return re.sub(r'<details class="code">.*?</details>|<script>.*?</script>', "", text, flags=re.DOTALL)


class Loads(HTMLParser):
    """Everything a page makes the browser fetch, every id, and images without a description."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.undescribed: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        styles = re.findall(r"<style.*?</style>|style=\"[^\"]*\"", text, flags=re.DOTALL)
        self.loads += [url for style in styles for url in re.findall(r"url\(\s*['\"]?([^)'\"]*)", style)]
        self.loads += re.findall(r"@import[^;]*", text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.look(tag, dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.look(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "li", "td", "th", "tr", "thead", "tbody"):  # their end may be left out
            while self.open[-1] != tag:
                self.open.pop()
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def look(self, tag: str, attrs: dict[str, str | None]) -> None:
        assert not any(name.startswith("on") for name in attrs), "a handler in the text of a page"
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            if attrs.get(name):
                self.loads.append(str(attrs[name]))
        if attrs.get("href"):
            (self.anchors if tag == "a" else self.loads).append(str(attrs["href"]))
        if attrs.get("id"):
            self.ids.append(str(attrs["id"]))
        if (tag == "svg" and not (attrs.get("aria-label") or attrs.get("aria-hidden"))) or (
            tag == "img" and not attrs.get("alt")
        ):
            self.undescribed.append(tag)


@pytest.mark.parametrize("name", ["a", "b", "c", "index", "claims", "about"])
def test_a_page_loads_nothing_and_is_sound(report: Path, name: str) -> None:
    text = (report / f"{name}.html").read_text()
    page = Loads(text)
    assert [url for url in page.loads if not url.startswith(("data:", "#"))] == []
    assert page.undescribed == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert '<html lang="en">' in text
    assert 'href="#main"' in text
    assert text.count("<script") == 1
    for target in page.anchors + [url for url in page.loads if url.startswith("#")]:
        path, _, fragment = target.partition("#")
        if not path:
            assert fragment in page.ids
        elif not path.startswith("https:"):
            file = report / path
            assert file.is_file(), target
            if fragment:
                assert f'id="{fragment}"' in file.read_text()


def test_all_formulas_become_mathml_with_a_font(report: Path) -> None:
    text = (report / "a.html").read_text()
    assert text.count("<math ") == 5  # title, inline, two displays, sympy's output
    assert text.count("</math>") == 5
    assert "⟦" not in text
    assert "$" not in re.sub(r"<annotation.*?</annotation>", "", without_code(text))
    assert "data:font/woff2" in text
    assert "data:font/woff2" not in (report / "c.html").read_text()
    assert "data:font/woff2" in (report / "index.html").read_text()  # the title and summary hold formulas


def test_what_a_reader_sees(report: Path) -> None:
    text = (report / "a.html").read_text()
    assert "only progress" not in without_code(text)
    assert "printed &lt;b&gt;" in text
    assert "Price: 3 &lt; 4 &amp; 5." in text
    assert text.count("<summary>code</summary>") == 5  # two cells that show nothing stand behind one mark
    assert '<th class="name" scope="row">seeds</th><td>2</td><td>number of seeds; n = 2 is few</td>' in text
    assert (
        text.index("<h1")
        < text.index('class="box"')
        < text.index('<nav class="toc"')
        < text.index("Its <em>summary")
    )
    assert '<a href="#found-2">' in text
    assert '<td class="n">0.61</td>' in text
    assert "<td>SAE</td>" in text
    assert '<a class="data" href="data/a/mcc.json">' in text
    assert '<a href="b.html">another</a>' in text
    assert '<a href="https://example.org/paper">' in text
    assert "<dt>device</dt><dd>cpu</dd>" in text
    assert "<dt>commit</dt><dd>unknown</dd>" in text
    assert '<a href="b.html" title="Broken">Broken →</a>' in text


def test_the_claims_page_shows_the_number_the_interval_and_the_way(report: Path) -> None:
    text = (report / "claims.html").read_text()
    row = re.search(r'<tr id="claim-E2.1".*?</tr>', text, flags=re.DOTALL)
    assert row
    for part in (
        ">0.610<",
        "[0.605, 0.615]",
        "Table &lt;2&gt;",
        "chance",
        "✓ reproduced",
        "a.html#fig-curve",
        "data/a/mcc.json",
    ):
        assert part in row[0]
    rule = text.index('class="rule"')
    assert text.count("<li>", rule, text.index("</ol>", rule)) == len(RULE)
    assert json.loads((report / "data" / "claims.json").read_text())[0]["page"] == "a"


def test_the_table_of_power_counts_what_is_decided(report: Path) -> None:
    verdicts = [
        ("a", "reproduced", 0.5),
        ("a", "inconclusive", 0.5),
        ("a", "beyond", None),
        ("a", "beyond", 0.5),
        ("b", "corrected", 1),
    ]
    verdicts += [("b", "not comparable", 0.5), ("b", "inconclusive", "above"), ("b", "being made again", 0.5)]
    claims = [dict(zip(("page", "verdict", "paper"), one, strict=True)) for one in verdicts]
    counts = {row.pop("page"): tuple(row.values()) for row in power(claims)}
    assert counts == {"a": (4, 3, 1, 2, 1), "b": (4, 1, 1, 1, 1), "all": (8, 4, 2, 3, 2)}
    assert "2 of 3 published numbers that can be compared are decided, 67\u202f%" in power_table(claims, {})
    assert power_table([], {}) == ""
    there = json.loads((report / "data" / "power.json").read_text())["data"]
    assert there[-1][1] == sum(row[1] for row in there[:-1]) > 0
    assert '<h2 id="power">' in (report / "claims.html").read_text()


def test_headings_are_findings_where_the_run_bears_them_out(report: Path) -> None:
    text = (report / "a.html").read_text()
    assert re.search(r'<h2 id="is-it-more-than-chance">It is: 0\.610\u00a0<a ', text)
    assert '<p class="asked">Is it more than chance?</p>' in text
    assert '<a href="#is-it-more-than-chance">It is: 0.610</a>' in text, "in the table of contents, too"
    assert re.search(r'<h3 id="is-it-less">Is it less\?\u00a0<a ', text), "no answer: the question stays"
    prose = re.search(r'<h2 id="what-we-found">.*?</h2>\n<p>(.*?)</p>', text, flags=re.DOTALL)
    assert prose
    said = 'Is it more than chance? It is: <a href="claims.html#claim-E2.1">0.610</a>.'
    assert prose[1] == said, "an answer that says little alone stands behind its question"


def test_the_index_answers_and_names_failures(report: Path) -> None:
    text = (report / "index.html").read_text()
    heading = re.search(r"<h1>(.*?)</h1>", text)
    assert heading
    assert heading[1] == "Is it .6?"
    assert 'It is <a href="claims.html#claim-E2.1">0.610</a> [0.605, 0.615], in the paper 0.610.' in text
    assert 'id="fig-curve"' in text
    assert "Not less than chance: <a" in text
    assert "It is .6." in text, "a sentence that the run does not bear out gives way to the claim's own"
    assert "This is false" not in text
    assert "Never made" not in text
    row = re.search(r'<tr><th scope="row"><a href="a.html">.*?</tr>', text, flags=re.DOTALL)
    assert row
    assert "A &lt;finding&gt;." in row[0]
    assert "✗ failed: ZeroDivisionError: division by zero" in text
    assert "not run yet" in text


def test_a_page_answers_on_the_index_with_its_claims_or_a_caption(project: Project, report: Path) -> None:
    row = r'<a href="a.html">.*?</th><td>(.*?)</td>'
    index, words = report / "index.html", project.notebooks / "findings.toml"
    caption = re.search(row, index.read_text(), flags=re.DOTALL)
    assert caption
    assert caption[1] == "A &lt;finding&gt;."
    before = words.read_text()
    words.write_text(f'{before}[pages]\na = {{ answers = ["Never: {{E9.9}}.", "At {{E2.1}}."] }}\n')
    build(project, report, NAMES)
    answer = re.search(row, index.read_text(), flags=re.DOTALL)
    assert answer
    assert answer[1] == 'At <a href="claims.html#claim-E2.1">0.610</a>.'
    words.write_text(before)
    build(project, report, NAMES)


def test_remarks_stand_once_on_a_page() -> None:
    one = '<div class="output">\n<p class="note">Claims that need {}</p>\n</div>'
    assert (
        said_once(f"a{one.format(1)}b{one.format(1)}c{one.format(2)}") == f"a{one.format(1)}bc{one.format(2)}"
    )


@pytest.mark.parametrize(
    ("says", "value", "quoted"),
    [
        ("The SAE reaches this MCC.", 0.602, "The SAE reaches an MCC of 0.602."),
        ("Solving reaches only this MCC (N = 100).", 0.4, "Solving reaches an MCC of only 0.400 (N = 100)."),
        ("It reaches this dictionary MCC at (16, 8).", 1, "It reaches a dictionary MCC of 1.000 at (16, 8)."),
        ("It is ahead by this MCC, on the whole.", -0.01, "It is ahead by −0.010 in MCC, on the whole."),
        ("It costs this many times the FLOPs.", 29.39, "It costs 29.39 times the FLOPs."),
        ("It ends this share above.", 0.053, "It ends 5.3\u202f% above."),
        ("It is ahead in this share of cells.", 0.75, "It is ahead in 75\u202f% of cells."),
        ("It has this share of what OMP gains.", 0.882, "It has 88.2\u202f% of what OMP gains."),
        (
            "Above this training budget it wins.",
            8.4e8,
            "Above a training budget of 8.4·10<sup>8</sup> it wins.",
        ),
        (
            "None has a larger MCC than this (certified).",
            0.989,
            "None has a larger MCC than 0.989 (certified).",
        ),
        ("The dictionary adds this much MCC to it.", 0.5, "The dictionary adds 0.500 of MCC to it."),
        ("They are told with this R², on others.", -0.03, "They are told with an R² of −0.030, on others."),
        ("The best encoder of this page wins.", 0.5, "The best encoder of this page wins."),
    ],
)
def test_a_claim_can_be_quoted_with_its_number(says: str, value: float, quoted: str) -> None:
    assert quotable(says, value) == quoted


def test_words_about_a_report_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "findings.toml"
    file.write_text("question = ")
    with pytest.raises(Refused, match=r"findings\.toml"):
        read_words(file)
    file.write_text("questions = 'x'")
    with pytest.raises(Refused, match="unknown key 'questions'"):
        read_words(file)
    assert read_words(tmp_path / "none.toml").findings == ()


def test_the_words_of_this_project_name_claims_of_its_notebooks() -> None:
    notebooks = Path(__file__).parents[1] / "notebooks"
    words = read_words(notebooks / "findings.toml")
    texts = {file.stem: file.read_text() for file in notebooks.glob("*.ipynb")}
    assert set(words.pages) <= set(texts)
    page, figure = words.figure or ("", "")
    assert f'\\"{figure}\\"' in texts[page]
    for page, wanted in words.pages.items():
        if "figure" in wanted:
            assert f'\\"{wanted["figure"]}\\"' in texts[page]


def test_terms_are_marked_once_and_never_inside_links_or_code() -> None:
    html = "<h2>MCC</h2><p>The <code>MCC</code> <a href='x'>MCC</a>, MCC and MCC; FMCC, MCC-like</p>"
    marked = mark_terms(html, {"MCC": 'a "score"'})
    assert marked.count('class="term"') == 1
    assert marked.index('class="term"') > marked.index("</a>,")
    assert 'title="a &quot;score&quot;"' in marked
    both = mark_terms("<p>the amortisation gap</p>", {"gap": "short", "amortisation gap": "long"})
    assert ">amortisation gap</a>" in both
    assert re.sub(r"<a class=\"term\"[^>]*>(.*?)</a>", r"\1", marked) == html


def test_a_page_hands_over_its_tables_its_notebook_and_its_command(report: Path) -> None:
    text = (report / "a.html").read_text()
    assert 'href="data/a/run.ipynb"' in text
    assert "amortgap run a</pre>" in text
    made = [_quoted(text) for text in ("steps=3", "laws=['a', 'b']", "text=it's $5")]
    assert made == ["steps=3", "\"laws=['a', 'b']\"", "'text=it'\"'\"'s $5'"]
    assert [shlex.split(one) for one in made] == [["steps=3"], ["laws=['a', 'b']"], ["text=it's $5"]]
    with zipfile.ZipFile(report / "data/a.zip") as archive:
        assert archive.namelist() == ["a/mcc.csv"]
        assert archive.read("a/mcc.csv").decode() == "method,seed,mcc\nSAE,0,0.6\nSAE,1,0.61\n"


def test_long_tables_are_handed_over_once(tmp_path: Path) -> None:
    for name, count in (("few", MOST_ROWS), ("many", MOST_ROWS + 1)):
        write_table(tmp_path / "a" / f"{name}.json", [{"i": i} for i in range(count)])
    with zipfile.ZipFile(write_archive(tmp_path / "a")) as archive:
        assert archive.namelist() == ["a/few.csv"]


def test_two_reports_are_compared_claim_by_claim(report: Path, tmp_path: Path) -> None:
    claims = json.loads((report / "data/claims.json").read_text())
    other = [claims[0] | {"ours": 0.7, "low": 0.69, "high": 0.71}, claims[0] | {"id": "E2.2"}]
    write_text(tmp_path / "claims.json", json.dumps(other))
    one, two = claims_of("quick", report.parent), claims_of(str(tmp_path / "claims.json"), report.parent)
    rows = compare(one, two)
    assert [(row["id"], row["apart"]) for row in rows] == [("E2.1", True), ("E2.2", False)]
    assert rows[0]["difference"] == pytest.approx(0.7 - claims[0]["ours"])
    assert rows[1]["ours_a"] is None
    lines = as_text(rows, ("quick", "other")).splitlines()
    assert lines[1].startswith("*  E2.1  0.61   0.61   0.7    0.09")
    assert lines[-1].startswith("1 claims are made by both; 1 of them")
    with pytest.raises(Refused, match="there is no report"):
        claims_of("nothing", report.parent)
    for damaged in ("{", '{"a":' * 3000):
        write_text(tmp_path / "claims.json", damaged)
        with pytest.raises(Refused, match="does not hold claims"):
            claims_of(str(tmp_path / "claims.json"), report.parent)


def test_facts_of_a_page_come_from_a_whole_file_or_from_its_maker(tmp_path: Path) -> None:
    def page(source: str = "s") -> dict[str, str]:
        return Rendered(tmp_path).page("a.html", source, lambda: (made.append(source) or "<p>", {"is": "x"}))

    made: list[str] = []
    file = tmp_path / "data" / "rendered.json"
    assert [page(), page(), page("t"), page("t")] == [{"is": "x"}] * 4
    assert made == ["s", "t"]
    content = file.read_bytes()
    flipped = [content[:i] + bytes([content[i] ^ 1 << i % 7]) + content[i + 1 :] for i in range(len(content))]
    for damaged in (*flipped, b"", b"[]", content[:-9], b'{"a":' * 3000):
        file.write_bytes(damaged)
        assert page("t") == {"is": "x"}, damaged


def test_a_report_knows_the_sound_ones_beside_it(report: Path, tmp_path: Path) -> None:
    claims = (report / "data/claims.json").read_text()
    broken = claims.replace("0.605", "NaN")
    for name, text in {"quick": "[]", "other": claims, "broken": broken, "none": "[]"}.items():
        (tmp_path / name / "data").mkdir(parents=True)
        write_text(tmp_path / name / "data" / "claims.json", text)
    assert list(claims_beside(tmp_path / "quick")) == ["other"]
    assert claims_beside(tmp_path / "paper") == {}, "what is committed depends on nothing else on this disk"


def test_a_failed_page_tells_where(report: Path) -> None:
    text = (report / "b.html").read_text()
    assert "This run failed" in text
    assert "<code>1 / 0  # &lt;/pre&gt;&lt;b&gt;</code>" in text
    assert "ZeroDivisionError" in text
    assert "papermill" not in text.lower()


def pages(report: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in report.glob("*.html")}


def test_a_second_build_renders_only_what_has_changed(
    project: Project, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = pages(report), []

    def rendered(*arguments: object) -> object:
        made.append(arguments[1]["notebook"])
        return render_page(*arguments)

    monkeypatch.setattr("amortgap.pages.page.render_page", rendered)
    build(project, report, NAMES)
    assert made == []
    for damage in (b"", before["a.html"].replace(b"summary", b"Summary")):
        (report / "a.html").write_bytes(damage)
        build(project, report, NAMES)
    (report / "c.html").unlink()
    write_text(report / "data/rendered.json", "null")
    build(project, report, NAMES)
    assert made == ["a", "a", "a", "b", "c"]
    assert pages(report) == before


def test_text_is_shown_as_it_is_now_without_a_new_run(project: Project, report: Path) -> None:
    copy = shutil.copytree(report, project.reports / "text")
    file = project.notebooks / "c.ipynb"
    old = file.read_text()
    try:
        write_notebook(file, ["# Greater", "print(1)  # as before", "# A new paragraph"])
        build(project, copy, NAMES)
        now = (copy / "c.html").read_text()
        write_notebook(file, ["# Greatest", "print(2)"])
        build(project, copy, NAMES)
        other = (copy / "c.html").read_text()
    finally:
        file.write_text(old)
    assert "<h1" in now
    assert "Greater</h1>" in now
    assert "A new paragraph</h1>" in now
    assert '<p class="note">1</p>' in now
    assert "Small</h1>" in other, "other code was run than stands in the notebook"


@pytest.mark.parametrize("file", ["mcc.json", "run.json", "run.ipynb", "claims.json"])
def test_every_kind_of_damage_is_named_in_one_sentence(project: Project, report: Path, file: str) -> None:
    copy = shutil.copytree(report, project.reports / file)
    path = copy / "data" / "a" / file
    data, one = path.read_bytes(), make_job(project, "a", copy, {}, 1)
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]
    for damaged in (data[:middle], b"", flipped, b"null", b"[]", b'"text"', data + b"\n1"):
        path.write_bytes(damaged)
        (reason,) = changes(one)[0]
        assert f"{file} is damaged" in reason
    path.unlink()
    (reason,) = changes(one)[0]
    assert reason == ("was stopped before its end" if file == "run.json" else f"data file {file} is missing")
    path.mkdir()
    (reason,) = changes(one)[0]
    assert file in reason
    build(project, copy, NAMES)
    assert not (copy / "a.html").exists()
    assert f"not shown: {reason}</td>" in (copy / "index.html").read_text()
    shutil.rmtree(path)
    path.write_bytes(data)
    assert changes(one)[0] == []


def test_rebuilding_gives_the_same_bytes(project: Project, report: Path) -> None:
    build(project, report, NAMES)  # other tests have put reports beside this one
    before = pages(report)
    (report / "data/rendered.json").unlink()
    build(project, report, NAMES)
    assert pages(report) == before
    assert str(project.root).encode() not in b"".join(before.values())


def test_a_rerun_changes_only_the_footer(project: Project, report: Path) -> None:
    def above(path: Path) -> str:
        return path.read_text().partition("<footer>")[0]

    before = above(report / "a.html")
    run_all([make_job(project, "a", report, {}, 1)], parallel=1, force=True)
    build(project, report, NAMES)
    assert above(report / "a.html") == before


def test_two_pages_with_one_claim_are_refused(project: Project, report: Path) -> None:
    file = report / "data" / "c" / "claims.json"
    write_text(file, (report / "data" / "a" / "claims.json").read_text())
    try:
        with pytest.raises(Refused, match=r"claim E2\.1 is made twice"):
            build(project, report, NAMES)
    finally:
        file.unlink()


def test_a_formula_that_cannot_be_read_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="nosuch"):
        to_mathml([("a + b", False), (r"\nosuch{x}", True)])
    formulas = Formulas()
    formulas.add("x", display=False)
    with pytest.raises(Refused, match="'x' was lost"):
        formulas.fill("no marker")


@pytest.mark.parametrize(
    ("tex", "part"),
    [
        (r"\operatorname*{arg\,min}_s f", "<munder>"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable>"),
        (r"\begin{cases} a & b \\ c & d \end{cases}", 'form="prefix">{</mo>'),
        (r"\|x\|", "‖"),
        (r"x < y", "&lt;"),
    ],
)
def test_what_notebooks_write_is_understood(tex: str, part: str) -> None:
    (mathml,) = to_mathml([(tex, True)])
    assert part in mathml
    assert "xmlns" not in mathml


def test_the_font_holds_the_italics_that_are_drawn() -> None:
    import base64
    import io

    from fontTools.ttLib import TTFont

    css = font_css("<math><mi>h</mi><mi>s</mi><mi>λ</mi><mi>N</mi></math>")
    data = css.partition("base64,")[2].partition(")")[0]
    font = TTFont(io.BytesIO(base64.b64decode(data)))
    assert set(map(ord, "ℎ𝑠𝜆𝑁√")) <= set(font.getBestCmap())
    assert "MATH" in font
    assert font_css("<p>no formula</p>") == ""


def test_tables_align_numbers_by_column() -> None:
    import pandas as pd

    frame = pd.DataFrame({"name": ["a", "b"], "x": [1.5, float("nan")], "mixed": ["1", "no"]})
    html = tidy_html(frame.to_html())
    assert '<td class="n">–</td>' in html
    assert html.count('<td class="n">') == 2
    assert '<th class="n">x</th>' in html
    assert "border=" not in html
    grouped = pd.DataFrame({"a": [1, 1], "b": [2, 3], "v": [0.5, 0.6]}).set_index(["a", "b"]).to_html()
    assert tidy_html(grouped).count('<td class="n">') == 2
    assert tidy_html("<p>as it was</p>") == "<p>as it was</p>"


def test_tables_drop_row_numbers_and_write_names_and_numbers_out() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"dict_mcc": [-0.0001, -0.5], "flops": [3.1e10, 31064850000], "A_b": ["x", "y"]}, index=[4, 1]
    )
    html = tidy_html(frame.to_html(float_format="%.3f"))
    assert ">4<" not in html
    assert [html.count(f">{name}</th>") for name in ("dictionary MCC", "FLOPs", "A_b")] == [1, 1, 1]
    assert html.count(">0.000</td>") == 1
    assert html.count(">−0.500</td>") == 1
    assert html.count(">3.1·10<sup>10</sup></td>") == 1
    assert html.count(">3.11·10<sup>10</sup></td>") == 1
    flops = pd.DataFrame({"flops": [2.56e2, 1.02e7, 9.998e-7, 0.0], 1e-6: [1, 2, 3, 4]})
    html = tidy_html(flops.to_html(float_format="%.4e"))
    assert [
        html.count(f">{text}</td>") for text in ("256", "1.02·10<sup>7</sup>", "10·10<sup>−7</sup>", "0")
    ] == [1, 1, 0, 1]
    assert ">10⁻⁶</th>" in html
    named = tidy_html(frame.set_index("A_b").to_html())
    assert named.count("<tr>") == 3  # the index's name stands beside the columns' names
    assert ">A_b</th>" in named
    assert ">k</th>" in tidy_html(frame.rename_axis("k").to_html())
    assert ">4</th>" in tidy_html(frame.rename_axis("k").to_html())
    pivot = frame.set_index("A_b").rename_axis(columns="seed").to_html()
    assert tidy_html(pivot).count("<tr>") == 3
    assert ">A_b, by seed →</th>" in tidy_html(pivot)


def test_tables_name_methods_and_numbers_as_the_text_does() -> None:
    import pandas as pd

    rows = {
        "solver": ["working_set", "fista"],
        "runs": [3.0, 12.0],
        "of": [1.0, 0.5],
        "gap": [0.123456789, 4e-5],
        "rate": [9758.475, 10539.259],
        "vectors": ["40,000", "-"],
        "share": ["97%", "-"],
    }
    html = tidy_html(pd.DataFrame(rows, index=["mcc SAE", "support_oracle"]).to_html())
    assert ">10\u202f000 steps</th>" in tidy_html(pd.DataFrame({"a": [1]}, index=["10,000 steps"]).to_html())
    for cell in (
        "working set",
        "FISTA",
        "3",
        "12",
        "1.0",
        "0.5",
        "0.1235",
        "4·10<sup>−5</sup>",
        "9758",
        "10\u202f539",
        "40\u202f000",
        "97\u202f%",
    ):
        assert f">{cell}</td>" in html, cell
    assert ">MCC SAE</th>" in html
    assert ">support oracle</th>" in html


def test_sentences_get_minus_signs_and_powers_of_ten() -> None:
    assert typeset("SAE -0.5, at -.5 [-1, 2], 2603-28744, p-value, x-1 & 3.3e+04, 1e-5, e5") == (
        "SAE −0.5, at −.5 [−1, 2], 2603-28744, p-value, x-1 &amp; 3.3·10<sup>4</sup>, 10<sup>−5</sup>, e5"
    )
    assert typeset("2.6e+02 FLOPs, 12,345, of 1e5") == "260 FLOPs, 12\u202f345, of 10<sup>5</sup>"
    assert spelled("-0.5 at 1e-6, 3.3e+04 FLOPs, p-value") == "−0.5 at 10⁻⁶, 3.3·10⁴ FLOPs, p-value"
    assert [short(value) for value in (1234.4, 12345.0, -1e-9)] == ["1234", "1.23·10⁴", "−10⁻⁹"]
    assert interval(0.25, 0.25) == ""
    assert interval(-0.25, 0.5) == "[−0.250, 0.500]"


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("02.ipynb#found", "02.html#found"),
        ("09.ipynb", "../../notebooks/09.ipynb"),
        ("../proofs/a.v", "../../proofs/a.v"),
        ("../reports/quick/data/02/t.json", "data/02/t.json"),
        ("https://example.org/a.ipynb", "https://example.org/a.ipynb"),
        ("#here", "#here"),
    ],
)
def test_links_work_from_the_page(href: str, expected: str) -> None:
    root = Path("/p")
    html = relink(f'<a class="x" href="{href}">t</a>', root / "notebooks", root / "reports/quick", ["02"])
    assert html == f'<a class="x" href="{expected}">t</a>'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.5, "0.500"),
        (-0.028, "−0.028"),
        (0, "0"),
        (12.5, "12.5"),
        (2.73e9, "2.73·10<sup>9</sup>"),
        (-1e-9, "−10<sup>−9</sup>"),
        (0.0001901, "1.9·10<sup>−4</sup>"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_durations() -> None:
    assert [duration(seconds) for seconds in (3.4, 119, 125, 7260)] == ["3 s", "119 s", "2 min", "2 h 01 min"]


def test_a_withdrawn_claim_keeps_its_numbers_and_loses_its_verdict(project: Project, report: Path) -> None:
    copy = shutil.copytree(report, project.reports / "withdrawn")
    lines = project.notebooks / "withdrawn.csv"
    lines.write_text(
        "page,claims,why,mended\n"
        "a,E2.1,The <weight> was wrong.,\n"
        "c,,Its figure is too old.,9999-01-01T00:00:00+00:00\n"
        "c,,This was mended before the run.,1999-01-01T00:00:00+00:00\n"
    )
    try:
        build(project, copy, NAMES)
    finally:
        lines.unlink()
    before, after = (json.loads((folder / "data/claims.json").read_text())[0] for folder in (report, copy))
    assert after == before | {"verdict": "being made again", "note": "The <weight> was wrong."}
    assert "<b>1</b> ↻ being made again" in (copy / "index.html").read_text()
    page = (copy / "a.html").read_text()
    assert "The &lt;weight&gt; was wrong." in page
    line = re.search(r'<p class="claim" id="claim-E2.1">.*?</p>', page)
    assert line is not None
    assert "↻ being made again" in line[0]
    assert "reproduced" not in line[0]
    assert ">data</a>" in line[0]
    other = (copy / "c.html").read_text()
    assert "Its figure is too old." in other
    assert "mended before" not in other


def test_the_withdrawn_claims_of_this_project_are_made_on_the_pages_named() -> None:
    root = Path(__file__).parents[1]
    for one in withdrawals(root / "notebooks/withdrawn.csv"):
        file = root / "reports/paper/data" / one.page / "claims.json"
        assert set(one.claims) <= {claim["id"] for claim in json.loads(file.read_text())}, one.page


def test_code_keeps_its_words_and_the_colours_that_the_style_has() -> None:
    style = (Path(cells.__file__).parent / "templates/style.css").read_text()
    rules = "".join(re.findall(r"^(\.highlight [^{]*){", style, flags=re.MULTILINE))
    assert set(re.findall(r"\.(\w+)", rules)) - {"highlight"} == cells.COLOURED
    code = 'def f(x):  # a word\n    return f"{x} of {2 * x}" if x < 3 else None\n'
    long = f'<p><span class="n">here</span></p>{pygments.highlight(code, PythonLexer(), HtmlFormatter())}'
    short = cells.lean(long)
    assert BeautifulSoup(short, "html.parser").text == BeautifulSoup(long, "html.parser").text
    assert '<span class="n">here</span>' in short, "only code"
    assert '<span class="k">def</span> f(x):' in short
    assert len(short) < 0.7 * len(long)
