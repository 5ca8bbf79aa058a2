"""Sweeps through joblib's backends: as in one process, and nothing lost or twice when a worker is killed.

Ray and Dask: `make cluster`.
"""

from __future__ import annotations

import contextlib
import copyreg
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from amortgap._errors import Refused
from amortgap.cli import main
from amortgap.runs import sweep as sweeps
from amortgap.runs.cached import KIND
from amortgap.runs.jobs import make_job, read_state
from amortgap.runs.project import Project
from amortgap.runs.schedule import run_all
from amortgap.runs.sweep import Backend, sweep
from demo_project import make_project

OTHERS = [
    pytest.param(name, marks=[pytest.mark.cluster, pytest.mark.filterwarnings("ignore")])
    for name in ("ray", "dask")
]
every_backend = pytest.mark.parametrize("backend", ["loky", *OTHERS], indirect=True)


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Two workers: processes here, a Ray cluster of two nodes, or a Dask cluster, all on loopback."""
    if request.param == "loky":
        yield Backend("loky", workers=2)
    elif request.param == "ray":
        with pytest.MonkeyPatch.context() as patch, ray_cluster(patch, tmp_path_factory.mktemp("lean")) as at:
            yield Backend("ray", at)
    else:
        distributed = pytest.importorskip("distributed", reason="Dask is not installed: make cluster")
        with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            yield Backend("dask", cluster.scheduler_address)


@contextlib.contextmanager
def ray_cluster(patch: pytest.MonkeyPatch, lean: Path) -> Iterator[str]:
    """The address of a cluster of two nodes of a processor each."""
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Ray takes 127.0.0.1 for the machine's own address, unless it keeps to loopback as it does on macOS
    patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    # A node gives each of its processes 15 seconds to start. With JupyterLab's packages here, the import of
    # jsonschema would take two of processor time in each, to read a grammar that Ray has no use for.
    (lean / "rfc3987_syntax.py").write_text("raise ImportError\n")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(lean), *filter(None, [os.environ.get("PYTHONPATH")])]))
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: make cluster")
    node = {"num_cpus": 1, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def cell(folder: Path, kills: tuple[int, ...] = (), always: bool = False) -> Callable[[int], dict[str, Any]]:
    """seed -> a row; a call in `kills` takes its worker with it, the first time or always."""

    def rows(seed: int) -> dict[str, Any]:
        import numpy as np

        tried = folder / f"tried_{seed}"
        if seed in kills and (always or not tried.exists()):
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        D = np.random.default_rng(seed).normal(size=(40, 300))
        # so that two workers share the calls
        time.sleep(0.1)
        return {"seed": seed, "value": float(np.linalg.inv(D @ D.T).sum()), "process": os.getpid()}

    return rows


def without_process(found: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in found[i].items() if name != "process"} for i in sorted(found)]


@every_backend
def test_a_sweep_is_that_of_one_process_when_a_worker_is_killed(backend: Backend, tmp_path: Path) -> None:
    alone = without_process(dict(sweep(cell(tmp_path), range(8))))
    found = list(sweep(cell(tmp_path, kills=(2, 5)), range(8), backend))
    assert sorted(i for i, _ in found) == list(range(8))  # each once
    assert without_process(dict(found)) == alone
    processes = {row["process"] for _, row in found}
    assert os.getpid() not in processes
    assert len(processes) > 1
    assert {file.name for file in tmp_path.iterdir()} == {"tried_2", "tried_5"}


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_one_processor_makes_the_calls_itself(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: make cluster")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        found = dict(sweep(cell(tmp_path, kills=(1,)), range(3), Backend("dask", cluster.scheduler_address)))
    assert sorted(found) == [0, 1, 2]
    assert os.getpid() not in {row["process"] for row in found.values()}


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")
def test_a_call_whose_result_is_here_is_not_made_again(tmp_path: Path) -> None:
    here, calls = tmp_path / "here", tmp_path / "calls"

    def call(i: int) -> int:
        with calls.open("a") as file:
            file.write(f"{i}")
        while i == 1 and not here.exists():
            time.sleep(0.05)
        if i == 1 and calls.read_text().count("1") == 1:
            time.sleep(0.5)  # for the scheduler to hear that the first result has come
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    distributed = pytest.importorskip("distributed", reason="Dask is not installed: make cluster")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        for i, result in sweep(call, range(2), Backend("dask", cluster.scheduler_address)):
            assert i == result
            here.touch()
    assert calls.read_text() == "011"


def test_a_call_that_always_kills_its_worker_ends_the_sweep(tmp_path: Path) -> None:
    found = []
    with pytest.raises(RuntimeError, match="killed its worker 3 times"):
        found += sweep(cell(tmp_path, kills=(1,), always=True), range(3), Backend("loky", workers=2))
    assert len({i for i, _ in found}) == len(found) < 3


def test_what_a_call_raises_comes_out() -> None:
    def fails(i: int) -> None:
        raise ValueError(f"number {i}")

    with pytest.raises(ValueError, match="number 0"):
        list(sweep(fails, [0], Backend("loky", workers=2)))


@every_backend
def test_what_a_function_keeps_is_made_once_in_each_worker(backend: Backend, tmp_path: Path) -> None:
    @cache
    def world(seed: int) -> int:
        with (tmp_path / f"made_{os.getpid()}").open("a") as file:
            file.write("once\n")
        return 10 * seed

    def rows(i: int) -> int:
        time.sleep(0.1)
        return world(7) + i

    assert dict(sweep(rows, range(8), backend)) == {i: 70 + i for i in range(8)}
    assert {file.read_text() for file in tmp_path.iterdir()} == {"once\n"}
    assert not (tmp_path / f"made_{os.getpid()}").exists()
    assert KIND not in copyreg.dispatch_table, "other pickles are as they were"


def test_only_this_process_draws_bars(capfd: pytest.CaptureFixture[str]) -> None:
    def rows(i: int) -> int:
        from amortgap._progress import progress

        return sum(progress(range(3), delay=0, desc="inner"))

    assert dict(sweep(rows, range(2), Backend("loky", workers=2))) == {0: 3, 1: 3}
    assert "inner" not in capfd.readouterr().err
    assert rows(0) == 3
    assert "inner" in capfd.readouterr().err


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def test_what_no_worker_can_read_is_said() -> None:
    given = Unreadable()
    with pytest.raises(RuntimeError, match="cannot be read by another process: ValueError: invalid literal"):
        list(sweep(lambda i: given, range(2), Backend("loky", workers=2)))


PAGE = [
    "P: seed: int = 0  # seed",
    "P: slow: bool = False  # waits for the test",
    "import time\nfrom functools import cache\nimport numpy as np\nfrom amortgap.kit import Record\n"
    "rec = Record(out)\n",
    # keeps its results, and calls itself
    "@cache\ndef world(i):\n"
    "    return np.random.default_rng(seed).normal(size=(60, 60)) if i == 0 else 2 * world(i - 1) ** 2\n",
    "def one(i):\n    x = world(i)\n    return [dict(i=i, value=np.linalg.inv(x @ x.T).sum())]\n",
    "while slow and not (rec.out.parent / 'go_on').exists():\n    time.sleep(.05)\n",
    "rec.step('values', one, over=range(4));",
]


def data(project: Project, report: str) -> dict[str, bytes]:
    """The tables of a report."""
    tables = (project.reports / report).glob("data/*/values.json")
    return {file.parent.name: file.read_bytes() for file in tables}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of three pages that one process has run."""
    made = make_project(tmp_path_factory.mktemp("alone"), "", a=PAGE, b=PAGE, c=PAGE)
    jobs = [make_job(made, name, made.reports / "alone", {"seed": i}, 5) for i, name in enumerate("abc")]
    run_all(jobs, parallel=1)
    return data(made, "alone")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, "", a=PAGE, b=PAGE, c=PAGE)


@every_backend
def test_a_report_is_that_of_one_process_when_a_worker_is_killed(
    project: Project, alone: dict[str, bytes], backend: Backend, capfd: pytest.CaptureFixture[str]
) -> None:
    report = project.reports / "swept"
    given = [{"seed": i, "slow": name == "b"} for i, name in enumerate("abc")]
    jobs = [make_job(project, name, report, one, 5) for name, one in zip("abc", given, strict=True)]
    killed: list[int] = []

    def kill_the_worker_of_b() -> None:
        partial = report / "data" / "b" / "partial.ipynb"
        while not partial.exists():
            time.sleep(0.05)
        for process in psutil.process_iter(["cmdline", "cwd", "environ"]):
            if "amortgap.runs.apart" in (process.info["cmdline"] or []) and b_is_held_by(process, report):
                killed.append(process.ppid())
                os.kill(process.ppid(), signal.SIGKILL)
        (report / "data" / "go_on").touch()

    killer = threading.Thread(target=kill_the_worker_of_b)
    killer.start()
    capfd.readouterr()
    results = run_all(jobs, parallel=1, on=backend)
    killer.join()
    assert len(killed) == 1
    assert sorted((one["notebook"], one["status"]) for one in results) == [(name, "done") for name in "abc"]
    said = capfd.readouterr().err
    assert all(said.count(f"{name}: done in") == 1 for name in "abc")
    assert data(project, "swept") == alone
    assert all(read_state(job.folder)[0] for job in jobs)
    assert run_all(jobs, parallel=1, on=backend) == []


def b_is_held_by(process: psutil.Process, report: Path) -> bool:
    """Whether it has the lock of the page b."""
    return any(file.path == str(report / "data" / "b" / ".lock") for file in process.open_files())


@every_backend
def test_parts_of_a_page_run_there_too(
    project: Project, alone: dict[str, bytes], backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sweeps.BACKEND, backend.name)
    monkeypatch.setenv(sweeps.ADDRESS, backend.address)
    job = make_job(project, "b", project.reports / "parts", {"seed": 1}, 5)
    (result,) = run_all([job], parallel=1)
    assert result["status"] == "done", result
    assert data(project, "parts")["b"] == alone["b"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--backend", "ray"], "--backend ray needs a package: pip install ray"),
        (["--backend", "dask"], "--backend dask needs a package: pip install distributed"),
        (["--backend", "loky", "--address", "x:1"], "loky runs on this machine and takes no address"),
        (["--address", "x:1"], "--address says where a cluster is; say --backend ray or dask, too"),
    ],
)
@pytest.mark.parametrize("command", ["report", "run"])
def test_what_cannot_be_used_is_said_in_one_sentence(
    command: str,
    options: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(make_project(tmp_path, "", a=PAGE).root)
    found = sweeps.find_spec
    monkeypatch.setattr(sweeps, "find_spec", lambda name: found(name) if name == "joblib" else None)
    monkeypatch.delenv(sweeps.BACKEND, raising=False)
    assert main([command, *(["a"] if command == "run" else []), *options]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("address", ["", "x", "127.0.0.1", ":6379", "x:y", "http://x:1"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(Refused, match="--address must be HOST:PORT"):
        sweeps._check_answers("dask", address)


@every_backend
def test_an_address_where_nothing_answers_is_refused_at_once(backend: Backend) -> None:
    name = "dask" if backend.name == "loky" else backend.name
    with socket.socket() as bound:
        # not listened at
        bound.bind(("127.0.0.1", 0))
        began = time.perf_counter()
        for at in (f"127.0.0.1:{bound.getsockname()[1]}", "127.0.0.1:99999", "nowhere.invalid:80"):
            with pytest.raises(Refused, match=f"no {name} cluster answers at {at}"):
                sweeps._check_answers(name, at)
    assert time.perf_counter() - began < 25
