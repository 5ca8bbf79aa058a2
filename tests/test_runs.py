"""Profiles, run keys and the execution of notebooks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import papermill
import psutil
import pytest
from jupyter_client.connect import LocalPortCache

from amortgap._errors import Refused
from amortgap._files import lock, write_text
from amortgap.kit import Record
from amortgap.kit.tables import read_rows, read_table, write_table
from amortgap.pages.page import footer
from amortgap.runs.backup import back_up
from amortgap.runs.execute import execute
from amortgap.runs.jobs import changes, make_job, read_state
from amortgap.runs.key import Inputs, differences, drawn_otherwise, run_key
from amortgap.runs.notebook import Notebook
from amortgap.runs.profiles import load_profile, load_profiles
from amortgap.runs.project import Project, find_project
from amortgap.runs.schedule import run_all, sentence
from demo_project import make_project, write_notebook


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


def test_a_folder_in_a_files_place_is_named(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    place.mkdir()
    with pytest.raises(IsADirectoryError, match=r"^[^\[]*a\.json is a folder"):
        write_text(place, "new")
    assert list(tmp_path.iterdir()) == [place]


def test_runs_report_and_help_need_no_torch() -> None:
    code = (
        "import sys, amortgap.runs, amortgap.kit, amortgap.pages, amortgap.cli\n"
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


LIBRARY = {
    "__init__.py": '"""The package."""',
    "metrics.py": '''"""Scores."""
import numpy as np
from amortgap.tools import HALF, unused

def score(x):
    """The score."""
    return np.mean(x) * HALF + helper(x)

def helper(x):
    return x  # as it is

def other(x):
    return x

def lazily():
    import sklearn
    return sklearn
''',
    "tools.py": "HALF = 0.5\n\ndef unused():\n    return 1\n",
    "solvers/__init__.py": """
from amortgap.solvers._registry import METHODS

def solve(x, method):
    return METHODS[method](x)
""",
    "solvers/_registry.py": """
METHODS = {}

def register(method):
    METHODS[method.__name__] = method
    return method
""",
    "solvers/fista.py": """
from amortgap.solvers._registry import register

@register
def fista(x):
    return x
""",
    "llm.py": """
from pathlib import Path
PINS = Path(__file__).with_name("packages.txt").read_text()
""",
    "packages.txt": "a==1",
    "pages/page.py": "TITLE = 1\n",
    "kit/__init__.py": "from amortgap.kit.record import Record\n",
    "kit/record.py": """
from amortgap.kit.svg import draw
from amortgap.kit.tables import write

class Record:
    def table(self): write()
    def figure(self): draw()
""",
    "kit/svg.py": "def draw(): pass\n",
    "kit/tables.py": "def write(): return round(1.5)\n",
}
CELLS = [
    "# text",
    "P: n: int = 2  # number",
    'P: source: str = "numbers.txt"  # data',
    "import amortgap.solvers.fista\nfrom amortgap import llm, metrics\n"
    "from amortgap.kit import Record\nfrom amortgap.solvers import solve",
    "metrics.score(2), solve(1, 'fista'), llm.PINS, Record",
]


@pytest.fixture
def library(tmp_path: Path) -> Project:
    project = make_project(tmp_path, "", a=CELLS)
    for name, text in LIBRARY.items():
        write_text(tmp_path / "lib/amortgap" / name, text)
    write_text(project.notebooks / "numbers.txt", "1")
    return project


def since(project: Project, then: Inputs) -> list[str]:
    return differences(then, job(project, "a").inputs())


def edit(project: Project, file: str, old: str, new: str) -> None:
    path = project.root / "lib/amortgap" / file
    assert old in path.read_text()
    write_text(path, path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("metrics.py", "return x  # as it is", "return +x", "metrics.py: helper changed"),
        ("metrics.py", "* HALF", "* HALF * 2", "metrics.py: score changed"),
        ("tools.py", "0.5", "0.25", "tools.py: HALF changed"),
        ("solvers/fista.py", "return x", "return 2 * x", "solvers/fista.py: fista changed"),
        ("solvers/_registry.py", "{}", "dict()", "solvers/_registry.py: METHODS changed"),
        ("packages.txt", "1", "2", "data file packages.txt changed"),
        ("kit/tables.py", "1.5", "1.25", "kit/tables.py: write changed"),
        ("metrics.py", "# as it is", "# a comment", None),
        ("metrics.py", "The score.", "Another docstring.", None),
        ("metrics.py", "Scores.", "Another docstring.", None),
        ("metrics.py", "import sklearn", "import torch", None),
        ("metrics.py", "def other(x):\n    return x", "def other(x):\n    return 2", None),
        ("tools.py", "return 1", "return 2", None),
        ("pages/page.py", "1", "2", None),
        ("kit/svg.py", "pass", "return 1", None),
    ],
)
def test_a_run_depends_on_what_its_notebook_reaches(
    library: Project, file: str, old: str, new: str, reason: str | None
) -> None:
    then = job(library, "a").inputs()
    edit(library, file, old, new)
    assert since(library, then) == ([reason] if reason else [])
    assert (run_key(then) == run_key(job(library, "a").inputs())) == (reason is None)


def test_drawing_is_told_apart_from_results(library: Project) -> None:
    then = job(library, "a").inputs()
    edit(library, "kit/svg.py", "pass", "return 1")
    now = job(library, "a").inputs()
    assert drawn_otherwise(then["drawing"], now["drawing"]) == ["kit/svg.py: draw changed"]


def test_a_run_depends_on_its_notebook_parameters_and_data(library: Project) -> None:
    then = job(library, "a").inputs()
    write_notebook(library.notebooks / "a.ipynb", ["# other text", *CELLS[1:-1], CELLS[-1] + "  # note"])
    assert since(library, then) == []
    write_notebook(library.notebooks / "a.ipynb", [*CELLS, "print(1)"])
    assert since(library, then) == ["code cell 3 of the notebook changed"]
    write_notebook(library.notebooks / "a.ipynb", CELLS)
    write_text(library.notebooks / "numbers.txt", "2")
    assert since(library, then) == ["data file numbers.txt changed"]
    assert differences(then, job(library, "a", n=3).inputs())[0] == "parameter n is 3, was 2"
    other = make_job(library, "a", library.reports / "paper", {}, 1)
    assert run_key(other.inputs()) == run_key(job(library, "a").inputs())


def test_a_run_depends_on_the_versions_of_the_packages_it_uses(
    library: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from amortgap.runs import key

    then = job(library, "a").inputs()
    monkeypatch.setattr(key, "version", lambda _: "99")
    numpy = then["packages"]["numpy"]
    # scikit-learn is used by a function that the notebook does not call.
    assert since(library, then) == [f"numpy 99, was {numpy}"]


@pytest.mark.parametrize(
    "use",
    [
        "getattr(metrics, name)",
        "import importlib; importlib.import_module('amortgap.metrics')",
        "from amortgap.metrics import *; other(1)",
        "f'amortgap.{name}'",
        "name = 'amortgap.metrics:other'",
    ],
)
def test_where_a_name_cannot_be_followed_the_whole_module_counts(library: Project, use: str) -> None:
    write_notebook(library.notebooks / "a.ipynb", [*CELLS, use])
    assert {"score", "other", "lazily"} <= job(library, "a").inputs()["code"]["metrics.py"].keys()


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

    assert [changes(one)[0] == [] for one in jobs] == [False, True]
    assert run_all([jobs[1]], parallel=1) == []
    assert "good: current" in capfd.readouterr().err
    (result,) = run_all([jobs[1]], parallel=1, force=True)
    assert result["provenance"]["commit"] == "unknown"


def test_a_notebook_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    project = make_project(tmp_path, "", slow=["import time\ntime.sleep(60)"])
    result = execute(job(project, "slow", minutes=1 / 60))
    assert result["status"] == "failed"
    assert result["error"]["kind"] == "NoProgress"
    assert "nothing was written or printed for 0.017 minutes" in result["error"]["message"]
    assert result["error"]["line"] == "import time"


def test_a_kernel_that_finds_its_port_taken_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = job(make_project(tmp_path, "", good=["print(1)"]), "good", minutes=5)
    find, asked = LocalPortCache.find_available_port, []

    def taken_at_first(self: LocalPortCache, ip: str) -> int:
        asked.append(ip)
        return taken if len(asked) <= 5 * refused else find(self, ip)

    monkeypatch.setattr(LocalPortCache, "find_available_port", taken_at_first)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        refused = 2
        assert execute(once)["status"] == "done"
        assert len(asked) == 5 * 3
        refused = 9
        result = execute(once)
    assert result["status"] == "failed"
    assert result["error"]["message"] == "Kernel died before replying to kernel_info"


def test_a_notebook_that_makes_progress_may_take_longer_than_the_limit(tmp_path: Path) -> None:
    work = "for i in range(40):\n    Path(out, str(i)).touch()\n    time.sleep(.25)"
    project = make_project(tmp_path, "", slow=[f"import time\nfrom pathlib import Path\n{work}"])
    # Ten seconds of work, and never more than a fraction of eight without a new file: beside others on a busy
    # machine, the kernel alone may take two or three to start.
    assert execute(job(project, "slow", minutes=8 / 60))["status"] == "done"


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_nothing_behind_and_the_next_one_repairs_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    project = make_project(
        tmp_path,
        "[quick.a]\n[quick.b]\n[quick.c]",
        a=[
            "P: pause: float = 60.0  # seconds",
            "from pathlib import Path\nPath(out, 'begun').touch()",
            "import time; time.sleep(pause)",
        ],
        b=["import time; time.sleep(60)"],
        c=["# Third"],
    )
    folder = project.reports / "quick" / "data" / "a"
    command = [sys.executable, "-m", "amortgap.cli", "report", "--jobs", "2"]
    # a shell starts what it puts in the background with SIGINT ignored, and children inherit that
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 300  # a busy machine
    while not (folder / "begun").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    started = descendants(process)
    assert len(started) >= 4  # two workers, two kernels
    with pytest.raises(Refused, match="the folder a is in use by another process"):
        execute(job(project, "a"))
    os.kill(process.pid, how)
    process.wait(timeout=120)
    _, alive = psutil.wait_procs(started, timeout=120)
    assert alive == []
    assert not (folder.parent / "c").exists(), "the killed run has begun another notebook"
    assert read_state(folder)[0] is None
    assert changes(job(project, "a"))[0] == ["was stopped before its end"]
    result = execute(job(project, "a", pause=0.0))
    assert result["status"] == "done"
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["begun", "run.ipynb", "run.json"]


def test_a_page_in_use_does_not_block_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project = make_project(tmp_path, "", a=["1"], b=["2"])
    jobs = [job(project, name) for name in "ab"]
    with lock(jobs[0].folder):
        results = {result["notebook"]: result["status"] for result in run_all(jobs, parallel=1)}
    assert results == {"a": "refused", "b": "done"}
    assert "a: not run: the folder a is in use by another process" in capfd.readouterr().err


STEPS = [
    "P: rows: int = 2  # rows",
    "from pathlib import Path\nfrom amortgap.kit import Record\nrec = Record(out)\n"
    "def compute():\n    Path('made.txt').open('a').write('x')\n    return [{'x': i} for i in range(rows)]",
    "table = rec.step('numbers', compute)",
    "print('shown', table.x.sum())",
]


@pytest.fixture
def drawn(tmp_path: Path) -> Project:
    project = make_project(tmp_path, "", a=STEPS)
    assert execute(job(project, "a"))["status"] == "done"
    return project


def made(project: Project) -> str:
    return (project.notebooks / "made.txt").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def test_a_page_is_drawn_again_from_its_tables(drawn: Project) -> None:
    write_notebook(drawn.notebooks / "a.ipynb", [*STEPS[:-1], "print('drawn', table.x.sum())"])
    one = job(drawn, "a")
    assert changes(one)[0] == ["code cell 3 of the notebook changed"]
    (result,) = run_all([replace(one, redraw=True)], parallel=1)
    assert result["status"] == "done"
    assert result["provenance"]["drawn"] == "unknown"
    assert made(drawn) == "x", "it was computed again"
    assert "drawn 1" in (one.folder / "run.ipynb").read_text()
    assert changes(one)[0] == []
    (result,) = run_all([replace(job(drawn, "a", rows=3), redraw=True)], parallel=1)
    assert result["why"] == "it must be run, not drawn again: parameter rows is 3, was 2"


def test_a_run_leaves_its_tables_without_blanks_and_their_values_as_they_were(tmp_path: Path) -> None:
    rows = [{"a, b": 1 / 3, "t": "x, y\u00e9\n"}, {"a, b": None, "t": "[1, 2]"}, {"a, b": -1e-300, "t": ""}]
    source = f"from amortgap.kit import Record\nRecord(out).table('numbers', {rows!r})"
    project = make_project(tmp_path, "", a=["P: rows: int = 2  # rows", source])
    one = job(project, "a")
    assert execute(one)["status"] == "done"
    write_table(tmp_path / "numbers.json", rows)
    found = one.folder / "numbers.json"
    assert read_rows(found) == read_rows(tmp_path / "numbers.json")
    assert found.stat().st_size < (tmp_path / "numbers.json").stat().st_size
    assert found.read_text().count("\n") == len(rows) + 3, "one row a line"
    assert read_state(one.folder)[1] == ""


def test_a_redraw_that_fails_or_is_killed_changes_nothing(drawn: Project) -> None:
    one = replace(job(drawn, "a"), redraw=True)
    before = contents(one.folder)
    write_notebook(drawn.notebooks / "a.ipynb", [*STEPS, "1 / 0"])
    assert execute(one)["error"]["kind"] == "ZeroDivisionError"
    after = contents(one.folder)
    assert "ZeroDivisionError" in after.pop("failed.ipynb").decode()
    assert after == before
    write_notebook(drawn.notebooks / "a.ipynb", STEPS)
    back_up(one.folder)
    write_text(one.folder / "numbers.json", "")
    assert changes(one)[0] == ["was stopped while it was drawn again"]
    assert run_all([job(drawn, "a")], parallel=1) == []
    assert contents(one.folder) == before | {"failed.ipynb": contents(one.folder)["failed.ipynb"]}
    assert made(drawn) == "x"


def test_a_run_that_was_stopped_goes_on_from_its_parts(tmp_path: Path) -> None:
    project = make_project(
        tmp_path,
        "",
        long=[
            "from pathlib import Path\nfrom time import sleep\nfrom amortgap.kit import Record\n"
            "rec, made = Record(out), Path('made')\n",
            """def rows(i):
    made.open("a").write(str(i))
    sleep(0.5 * (i == 1))
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
    facts = json.loads((one.folder / "facts.json").read_text())
    assert facts == {
        "earlier parts": 2,
        "earlier seconds": facts["earlier seconds"],
        "earlier commits": "unknown",
    }
    # the second part of the run that was stopped slept
    made_by = json.loads((one.folder / "run.json").read_text())["provenance"]
    began, ended = (datetime.fromisoformat(made_by[at]) for at in ("started", "ended"))
    assert facts["earlier seconds"] >= 0.5
    assert made_by["seconds"] == pytest.approx(
        (ended - began).total_seconds() + facts["earlier seconds"], abs=1.1
    )
    assert "of these" in footer(made_by)
    assert "(2 parts, commit unknown)" in footer(made_by)
    assert {path.name for path in one.folder.glob("[!.]*")} == {
        "all.json",
        "facts.json",
        "run.ipynb",
        "run.json",
    }
    assert list(read_table(one.folder / "all.json").third) == [0, 0.333333333, 0.666666667, 1]
    assert execute(one)["status"] == "done"  # the parts went with the run that used them
    assert (project.notebooks / "made").read_text() == "01223" + "0123"


@pytest.mark.parametrize(
    "damage", ["", '{"columns": ["a"],\n"data": [\n[1', '{"columns": ["a"],\n"data": [\n[3]\n]}\n', "null"]
)
def test_a_damaged_part_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    monkeypatch.setenv("AMORTGAP_RUN", "key")
    parts = Record(tmp_path).parts
    parts["sound"], parts["broken"] = [{"a": 1}], [{"a": 2}]
    assert Record(tmp_path).parts == {"sound": [{"a": 1}], "broken": [{"a": 2}]}
    assert capsys.readouterr().err == ""
    (tmp_path / "parts_key/broken.json").write_text(damage)
    assert Record(tmp_path).parts == {"sound": [{"a": 1}]}
    assert capsys.readouterr().err == "part broken is damaged, so it is computed again\n"


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(Refused), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass
