"""Records, profiles, run keys and the execution of notebooks."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amortgap._files import lock, write_text
from amortgap.runs import Claim, Record, Refused
from amortgap.runs.claims import VERDICTS, merge
from amortgap.runs.execute import execute
from amortgap.runs.jobs import is_done, make_job, state
from amortgap.runs.notebook import Notebook
from amortgap.runs.profiles import load_profile, load_profiles
from amortgap.runs.project import Project, find_project
from amortgap.runs.schedule import run_all, sentence
from amortgap.runs.svg import to_svg
from amortgap.runs.tables import read_rows, read_table, write_table
from demo_project import make_project, write_notebook

CLAIM = {"says": "s", "paper": 0.5, "ours": 0.6, "low": 0.5, "high": 0.7, "chance": None, "verdict": "beyond"}


def claim(**changes: object) -> Claim:
    return Claim(**({"id": "E2.1", "figure": "f", "data": "d"} | CLAIM | changes))


# --- files and tables -------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    write_text(file, "old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_infinity=False, allow_subnormal=False),
    st.text(),
)


@given(st.lists(cells, min_size=1, max_size=5))
def test_a_table_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, column: list) -> None:
    file = tmp_path_factory.getbasetemp() / "table.json"
    write_table(file, [{"x": cell} for cell in column])
    for cell, row in zip(column, read_rows(file), strict=True):
        if isinstance(cell, float):  # half a unit in the ninth digit
            assert row["x"] is None if math.isnan(cell) else math.isclose(row["x"], cell, rel_tol=5.01e-9)
        else:
            assert row["x"] == cell
    assert len(read_table(file)) == len(column)


def test_numpy_scalars_and_named_indices_are_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"m": ["a", "b"], "v": np.array([0.1, np.nan])}).set_index("m")
    write_table(tmp_path / "t.json", frame)
    assert read_rows(tmp_path / "t.json") == [{"m": "a", "v": 0.1}, {"m": "b", "v": None}]


def test_pandas_reads_a_table_alone_and_a_missing_cell_is_null(tmp_path: Path) -> None:
    write_table(tmp_path / "t.json", [{"m": "a, b"}, {"m": 'c"d', "v": 0.5}])
    ours = read_table(tmp_path / "t.json")
    pd.testing.assert_frame_equal(pd.read_json(tmp_path / "t.json", orient="split"), ours)
    assert read_rows(tmp_path / "t.json")[0] == {"m": "a, b", "v": None}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([{"x": np.ones(2)}], "a ndarray"),
        ([{"x": [1]}], "a list"),
        ([{"x": math.inf}], "infinite"),
        ([{1: 2}], "not a text"),
    ],
)
def test_untidy_tables_are_refused(tmp_path: Path, rows: list, message: str) -> None:
    with pytest.raises(Refused, match=message):
        write_table(tmp_path / "t.json", rows)
    assert not list(tmp_path.iterdir())


# --- claims -----------------------------------------------------------------------------------------------


@given(st.text(max_size=6))
def test_claim_ids_have_one_form(identifier: str) -> None:
    head, dot, tail = identifier.partition(".")
    good = (
        dot == "."
        and head[:1] in set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        and head[:1] != ""
        and set(head[1:]) <= set("0123456789")
        and tail != ""
        and set(tail) <= set("0123456789")
    )
    if good:
        assert claim(id=identifier).id == identifier
    else:
        with pytest.raises(Refused, match="claim id"):
            claim(id=identifier)


@given(*(st.floats() for _ in range(3)))
def test_claims_need_finite_numbers_in_order(ours: float, low: float, high: float) -> None:
    if all(map(math.isfinite, (ours, low, high))) and low <= ours <= high:
        assert claim(ours=ours, low=low, high=high).ours == ours
    else:
        with pytest.raises(Refused, match=r"E2\.1"):
            claim(ours=ours, low=low, high=high)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "true"},
        {"says": " "},
        {"paper": "0.9"},
        {"ours": True},
        {"ours": None},
        {"chance": math.nan},
    ],
)
def test_bad_claims_are_refused(change: dict) -> None:
    with pytest.raises(Refused, match=r"claim E2\.1"):
        claim(**change)


def test_claims_take_numpy_scalars_and_store_plain_floats() -> None:
    assert type(claim(ours=np.float32(0.5)).ours) is float
    assert type(claim(ours=1, high=2).ours) is float


def test_claims_of_all_pages_are_merged_in_order(tmp_path: Path) -> None:
    for page, identifiers in {"a": ["C.1", "E10.1", "T.1"], "b": ["E2.1"]}.items():
        write_text(tmp_path / page / "claims.json", json.dumps([claim(id=i).as_dict() for i in identifiers]))
    (tmp_path / "c").mkdir()
    merged = merge([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert [(one["id"], one["page"]) for one in merged] == [
        ("E2.1", "b"),
        ("E10.1", "a"),
        ("T.1", "a"),
        ("C.1", "a"),
    ]
    write_text(tmp_path / "c" / "claims.json", json.dumps([claim(id="T.1").as_dict()]))
    with pytest.raises(Refused, match=r"claim T\.1 is made twice: by a and by c"):
        merge([tmp_path / "a", tmp_path / "c"])


# --- the record -------------------------------------------------------------------------------------------


@pytest.fixture
def rec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    """A record with the table `t`; what it shows is kept in `rec.shown`."""
    import matplotlib as mpl

    mpl.use("agg")
    shown: list[str] = []
    monkeypatch.setattr("IPython.display.display", lambda html: shown.append(html.data))
    with mpl.rc_context():
        record = Record(tmp_path / "out")
        record.table("t", [{"x": 1, "y": 2.5}])
        record.shown = shown  # type: ignore[attr-defined]
        yield record


def figure():
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], color="k", marker="o")
    ax.set_xlabel(r"$\lambda$")
    return fig


def test_a_record_opened_from_the_root_lies_where_the_notebook_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rec: Record
) -> None:
    project = make_project(tmp_path / "p", "")
    monkeypatch.chdir(project.root)
    folder = project.reports / "interactive" / "data" / "a"
    assert Record("../reports/interactive/data/a").out.resolve() == folder
    assert folder.is_dir()


def test_a_figure_is_shown_with_caption_description_and_data(rec: Record) -> None:
    import matplotlib.pyplot as plt

    rec.figure(figure(), "f", title="It <rises>.", alt='A "line".', data="t")
    (html,) = rec.shown  # type: ignore[attr-defined]
    assert 'aria-label="A &quot;line&quot;."' in html
    assert "It &lt;rises&gt;." in html
    assert "out/t.json" in html
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "change", [{"alt": " "}, {"title": ""}, {"data": "u"}, {"name": "F 1"}, {"alt": None}]
)
def test_incomplete_figures_are_refused(rec: Record, change: dict) -> None:
    import matplotlib.pyplot as plt

    with pytest.raises(Refused):
        rec.figure(figure(), **({"name": "f", "title": "t", "alt": "a", "data": "t"} | change))
    plt.close("all")


@pytest.mark.parametrize("name", ["claims", "run", "facts", "../t", "T", "", "a.b"])
def test_bad_table_names_are_refused(rec: Record, name: str) -> None:
    with pytest.raises(Refused):
        rec.table(name, [{"x": 1}])


def test_claims_are_stored_and_can_be_made_again(rec: Record) -> None:
    with pytest.raises(Refused, match="figure 'f' was not shown"):
        rec.claim("E1.1", figure="f", data="t", **CLAIM)
    rec.figure(figure(), "f", title="t", alt="a", data="t")
    rec.claim("E1.1", figure="f", data="t", **CLAIM)
    rec.claim("E1.1", figure="f", data="t", **CLAIM | {"ours": 0.65})
    (stored,) = json.loads((rec.out / "claims.json").read_text())
    assert stored["ours"] == 0.65
    with pytest.raises(Refused, match="no table 'u'"):
        rec.claim("E1.2", figure="f", data="u", **CLAIM)
    Record(rec.out)
    assert not (rec.out / "claims.json").exists()


def test_provenance_facts_are_stored(rec: Record) -> None:
    rec.provenance(device="cpu")
    rec.provenance(model="m")
    assert json.loads((rec.out / "facts.json").read_text()) == {"device": "cpu", "model": "m"}
    with pytest.raises(Refused, match="device"):
        rec.provenance(device=[1])  # type: ignore[arg-type]


def test_an_svg_is_the_same_each_time_and_follows_the_page(rec: Record) -> None:
    import matplotlib.pyplot as plt

    one, two = figure(), figure()
    first, second = to_svg(one, "f", "a"), to_svg(two, "f", "a")
    other = to_svg(one, "g", "a")
    plt.close("all")
    assert first == second
    assert "currentColor" in first
    assert "#000000" not in first
    assert "#010203" not in first
    assert "http" not in first
    assert "<style" not in first

    def identifiers(svg: str) -> set[str]:
        return {part.split('"')[0] for part in svg.split(' id="')[1:]}

    assert identifiers(first)
    assert not identifiers(first) & identifiers(other)


def test_runs_report_and_help_need_no_torch() -> None:
    code = (
        "import sys, amortgap.runs, amortgap.pages, amortgap.cli\n"
        "amortgap.cli.build_parser()\n"
        "slow = {'torch', 'pandas', 'matplotlib', 'papermill', 'nbconvert'} & set(sys.modules)\n"
        "sys.exit(str(slow) if slow else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- notebooks and profiles -------------------------------------------------------------------------------


def test_parameters_are_read_as_papermill_reads_them(tmp_path: Path) -> None:
    write_notebook(
        tmp_path / "n.ipynb",
        ["P: a: int = 3  # a number", "P: b: float = -1e-3  # b", "P: c: list[int] = [1, 2]  # several"],
    )
    ours = Notebook(tmp_path / "n.ipynb").parameters
    theirs = papermill.inspect_notebook(tmp_path / "n.ipynb")
    assert list(ours) == list(theirs) == ["a", "b", "c", "out"]
    for name, parameter in ours.items():
        assert (parameter.type, parameter.meaning) == (
            theirs[name]["inferred_type_name"],
            theirs[name]["help"],
        )
    assert ours["b"].default == -1e-3


@pytest.mark.parametrize(
    ("type_", "value", "fits"),
    [
        *[("int", 3, True), ("int", True, False), ("int", 3.0, False), ("int", "3", False)],
        *[("float", 3, True), ("float", 3.5, True), ("float", True, False), ("float", "x", False)],
        *[("str", "x", True), ("str", 1, False), ("bool", True, True), ("bool", 1, False)],
        *[("list[int]", [1], True), ("list[int]", ["a"], False), ("list", 1, False)],
    ],
)
def test_parameter_types(tmp_path: Path, type_: str, value: object, fits: bool) -> None:
    write_notebook(tmp_path / "n.ipynb", [f"P: a: {type_} = {'[]' if 'list' in type_ else 0}  # a"])
    notebook = Notebook(tmp_path / "n.ipynb")
    if fits:
        assert notebook.resolve({"a": value})["a"] == value
    else:
        with pytest.raises(Refused, match="parameter 'a' is"):
            notebook.resolve({"a": value})


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("[quick.a]\nseed = 1", "unknown parameter 'seed'; it has seeds, out"),
        ("[quick.a]\nseeds = 'x'", "'seeds' is int, not 'x'"),
        ("[quick.z]", "unknown notebook 'z'; there are a"),
        ("[quick.a]\nout = 'x'", "`out` is set by the run"),
        ("[quick]\na = 3", "must be a table"),
        ("[quick]\ntimeout = 0", "positive number of minutes"),
        ("[quick", "cannot be read"),
        ("[smoke]", "unknown profile 'quick'; notebooks/runs.toml has smoke"),
    ],
)
def test_wrong_profiles_are_refused(tmp_path: Path, runs: str, message: str) -> None:
    project = make_project(tmp_path, runs, a=["P: seeds: int = 2  # n"])
    with pytest.raises(Refused, match=message):
        load_profile(project, "quick")


def test_profiles_are_read(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, "[quick]\ntimeout = 5\n[quick.b]\n[quick.a]\nseeds = 1", a=["P: seeds: int = 2  # n"], b=[]
    )
    (profile,) = load_profiles(project).values()
    assert profile.timeout == 5
    assert list(profile.notebooks.items()) == [("b", {}), ("a", {"seeds": 1})]


def test_the_project_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", "")
    assert find_project(project.notebooks) == project
    with pytest.raises(Refused, match="not inside the amortgap project"):
        find_project(tmp_path)


def test_the_key_knows_what_decides_a_result(tmp_path: Path) -> None:
    project = make_project(tmp_path, "", a=["# text", "P: seeds: int = 2  # n"])
    science, footer = tmp_path / "lib/amortgap/metrics.py", tmp_path / "lib/amortgap/pages/page.py"
    write_text(science, "1")

    def key(**given: object) -> str:
        return make_job(project, "a", project.reports / "quick", given, 1).key()

    first = key()
    assert key(seeds=2) == first
    assert make_job(project, "a", project.reports / "paper", {}, 1).key() == first
    assert key(seeds=3) != first
    write_text(footer, "changed")
    assert key() == first
    write_text(science, "2")
    second = key()
    assert second != first
    write_notebook(project.notebooks / "a.ipynb", ["# other text", "P: seeds: int = 2  # n"])
    assert key() != second


# --- running ----------------------------------------------------------------------------------------------


def job(project: Project, name: str, minutes: float = 1, **given: object):
    return make_job(project, name, project.reports / "quick", given, minutes)


def test_runs_are_kept_skipped_forced_and_do_not_stop_each_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project = make_project(
        tmp_path,
        "",
        good=[
            "from pathlib import Path\nPath(out, 'mark').touch()\nprint(Path.cwd().name)",
            "import sys\nprint(Path.cwd(), file=sys.stderr)",  # as warnings name the files they come from
        ],
        bad=["a = 1", "# note", "b = a / 0", "print('never')"],
    )
    jobs = [job(project, "bad"), job(project, "good")]
    results = {result["notebook"]: result for result in run_all(jobs, parallel=2)}
    assert results["good"]["status"] == "done"
    assert results["bad"]["error"] == {
        "kind": "ZeroDivisionError",
        "message": "division by zero",
        "cell": 4,
        "line": "b = a / 0",
        "kept": "failed.ipynb",
    }
    assert "division by zero; read data/bad/failed.ipynb" in sentence(results["bad"])
    assert "bad: FAILED" in capfd.readouterr().err
    folder = project.reports / "quick" / "data"
    assert sorted(path.name for path in (folder / "good").glob("[!.]*")) == ["mark", "run.ipynb", "run.json"]
    assert sorted(path.name for path in (folder / "bad").glob("[!.]*")) == ["failed.ipynb", "run.json"]
    text = (folder / "good" / "run.ipynb").read_text()
    assert "notebooks" in text  # it ran in the folder of the notebooks
    assert str(tmp_path) not in text

    assert [is_done(one) for one in jobs] == [False, True]
    assert run_all([jobs[1]], parallel=1) == []
    assert "good: already done" in capfd.readouterr().err
    (result,) = run_all([jobs[1]], parallel=1, force=True)
    assert result["provenance"]["commit"] == "unknown"


def test_a_notebook_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    project = make_project(tmp_path, "", slow=["import time\ntime.sleep(60)"])
    result = execute(job(project, "slow", minutes=1 / 60))
    assert result["status"] == "failed"
    assert result["error"]["kind"] == "CellTimeoutError"
    assert "time limit" in result["error"]["message"]
    assert result["error"]["line"] == "import time"


def test_a_killed_run_counts_as_not_run_and_the_next_one_repairs_it(tmp_path: Path) -> None:
    project = make_project(
        tmp_path,
        "[quick.a]",
        a=[
            "P: pause: float = 60.0  # seconds",
            "from pathlib import Path\nPath(out, 'begun').touch()",
            "import time; time.sleep(pause)",
        ],
    )
    folder = project.reports / "quick" / "data" / "a"
    command = [sys.executable, "-m", "amortgap.cli", "report", "--jobs", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "begun").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    with pytest.raises(Refused, match="the folder a is in use by another process"):
        execute(job(project, "a"))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert state(folder) is None
    assert not is_done(job(project, "a"))
    result = execute(job(project, "a", pause=0.0))
    assert result["status"] == "done"
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["begun", "run.ipynb", "run.json"]


def test_a_run_that_was_stopped_goes_on_from_its_parts(tmp_path: Path) -> None:
    project = make_project(
        tmp_path,
        "",
        long=[
            "from pathlib import Path\nfrom amortgap.runs import Record\nrec, made = Record(out), Path('made')\n",
            """def rows(i):
    made.open("a").write(str(i))
    if i == 2 and not Path("go").exists():
        raise ValueError("stopped")
    return [{"i": i, "third": i / 3}]

found = []
for i in range(4):
    if f"part_{i}" not in rec.parts:
        rec.parts[f"part_{i}"] = rows(i)
    found += rec.parts[f"part_{i}"]
rec.table("all", found)""",
        ],
    )
    one = job(project, "long")
    assert execute(one)["status"] == "failed"
    (project.notebooks / "go").touch()
    assert execute(one)["status"] == "done"
    assert (project.notebooks / "made").read_text() == "01223"  # nothing was made twice but what had failed
    assert json.loads((one.folder / "facts.json").read_text()) == {"parts of a run before": 2}
    assert {path.name for path in one.folder.glob("[!.]*")} == {
        "all.json",
        "facts.json",
        "run.ipynb",
        "run.json",
    }
    assert list(read_table(one.folder / "all.json").third) == [0, 0.333333333, 0.666666667, 1]
    assert execute(one)["status"] == "done"  # the parts went with the run that used them
    assert (project.notebooks / "made").read_text() == "01223" + "0123"


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(Refused), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


def test_every_verdict_has_a_symbol() -> None:
    assert all(len(symbol) == 1 for symbol in VERDICTS.values())
