"""Kills at random moments, full disks, damaged files, two runs at once: the next run ends as an undisturbed one.

Each job writes into one folder and is run in a fork, so that a kill costs no imports: the fork of a server that has
imported everything and done nothing. A fork of this process would inherit locks that its threads hold, and
share those that a killed process never gives back. `make soak` tries what carries its mark, too: twice as many.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import torch

import tiny_models
from amortgap._files import digest, json_digest, read_json, write_json
from amortgap.cli import main
from amortgap.encoders import ReLUEncoder, TopKEncoder
from amortgap.heads import load
from amortgap.interop import from_encoder, write
from amortgap.kit.tables import write_table
from amortgap.llm import activations, extract, store, stream
from amortgap.llm.train import build, train
from amortgap.pages import build as build_report
from amortgap.pages.manifest import verify
from amortgap.runs.project import Project
from amortgap.training import checkpoint, fit, stack
from demo_project import FULL, make_project

pytestmark = pytest.mark.timeout(1200)
FORKS = multiprocessing.get_context("forkserver")
# what jobs import when they first need it, so that kills meet their work, not their imports
FORKS.set_forkserver_preload(
    [
        __name__,
        "matplotlib.pyplot",
        "nbconvert.exporters",
        "amortgap.pages.page",
        "amortgap.solvers.kernels.working_set",
        "amortgap.training.kernel",
        "transformers.models.gpt2.modeling_gpt2",
        "transformers.models.auto.tokenization_auto",
    ]
)

REFUSED, FAILED = 7, 8
#: What was done -> how often, and how often the next run ended as an undisturbed one.
counts: dict[str, Counter[str]] = {"injected": Counter(), "survived": Counter()}


class Job(NamedTuple):
    """run(folder, given) writes into the folder; result(folder) is what must not depend on what happened before."""

    run: Callable[[Path, Path], Any]
    result: Callable[[Path], Any]


def parameters(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.bin")}


def keep(folder: Path, model: torch.nn.Module) -> None:
    (folder / "made.bin").write_bytes(b"".join(p.detach().numpy().tobytes() for p in model.parameters()))


def run_fit(folder: Path, given: Path) -> None:
    x = torch.from_numpy(np.load(given / "x.npy"))
    model = stack([ReLUEncoder(16, 32, seed=seed) for seed in range(2)])
    fit(model, x, steps=60, batch_size=64, log_at=[10, 60], checkpoint_file=folder / "checkpoint.pt")
    keep(folder, model)


def read_stream(folder: Path, given: Path) -> Any:
    return stream(str(given / "gpt2"), 2, str(given / "texts"), 1200, context=32, cache=folder / "cache")


def run_stream(folder: Path, given: Path) -> None:
    read_stream(folder, given)


def run_train(folder: Path, given: Path) -> None:
    model = stack([build("TopK", 16, 64, k=4, seed=0)])
    source = read_stream(folder, given)
    train(
        model, source, steps=12, batch_size=200, stages=2, lr=0.01, checkpoint_file=folder / "checkpoint.pt"
    )
    keep(folder, model)


def run_activations(folder: Path, given: Path) -> None:
    found = activations(
        str(given / "gpt2"),
        layer=2,
        corpus=str(given / "texts"),
        n_tokens=1200,
        context=32,
        cache=folder / "cache",
    )
    (folder / "made.bin").write_bytes(found.train.x.numpy().tobytes() + found.test.x.numpy().tobytes())


def run_cache(folder: Path, given: Path) -> None:
    for i in range(40):
        write_json(folder / "cached.json", [i] * 20_000)


def run_render(folder: Path, given: Path) -> None:
    if not (folder / "demo").exists():
        # part of it may be there, from a run that was disturbed
        shutil.copytree(given / "demo", folder / "copy", dirs_exist_ok=True)
        for page in (folder / "copy" / "reports" / "quick").glob("*.html"):
            page.unlink()
        (folder / "copy").rename(folder / "demo")
    project = Project(folder / "demo")
    build_report(project, project.reports / "quick", ["a"])


def rendered(folder: Path) -> Any:
    report = folder / "demo" / "reports" / "quick"
    assert verify(report)[0] == []
    return {path.relative_to(report): digest(path) for path in report.rglob("*") if path.is_file()}


def run_audit(folder: Path, given: Path) -> None:
    options = ["--activations", str(given / "x.npy"), "--tokens", "100", "--out", str(folder / "audit")]
    assert main(["audit", str(given / "sae"), *options]) == 0


def audited(folder: Path) -> Any:
    found = read_json(folder / "audit" / "audit.json")
    assert (folder / "audit" / "index.html").read_text().rstrip().endswith("</html>")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found["rows"]]


def run_improve(folder: Path, given: Path) -> None:
    options = ["--activations", str(given / "x.npy"), "--tokens", "100", "--baseline-seconds", ".2"]
    assert main(["improve", str(given / "sae"), *options, "--out", str(folder / "improved")]) == 0


def improved(folder: Path) -> Any:
    """What does not depend on how long something took, which decides what is chosen."""
    made = folder / "improved"
    found = read_json(made / "improve.json")
    assert (made / "index.html").read_text().rstrip().endswith("</html>")
    assert load(made).encode(torch.ones(2, 16)).isfinite().all()
    ends = [row["fvu"] for row in found["test"] if row["name"] in ("encoder", "pursuit among all")]
    return ends, digest(made / "weights.safetensors")


def run_report(folder: Path, given: Path) -> None:
    project = folder / "pages"
    if not project.exists():
        shutil.copytree(given / "pages", folder / "copy", dirs_exist_ok=True)
        (folder / "copy").rename(project)
    with contextlib.chdir(project):
        assert main(["report", "--jobs", "2"]) == 0


def reported(folder: Path) -> Any:
    report = folder / "pages" / "reports" / "quick"
    assert verify(report)[0] == []
    assert {path.name for path in report.glob("*.html")} >= {"a.html", "b.html", "index.html"}
    tables = list(report.rglob("scores.json"))
    return {path.relative_to(report): path.read_bytes() for path in tables}


def shards(folder: Path) -> Any:
    # the order of a file's metadata is not fixed
    return {
        path.name: store.read(path)[1] | digests(store.read(path)[0])
        for path in folder.rglob("*.safetensors")
    }


def digests(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    return {name: json_digest(tensor.double().tolist()) for name, tensor in tensors.items()}


JOBS = {
    "fit": Job(run_fit, parameters),
    "stream": Job(run_stream, shards),
    "train_stream": Job(run_train, parameters),
    "activations": Job(run_activations, parameters),
    "cache": Job(run_cache, lambda folder: read_json(folder / "cached.json")),
    "render": Job(run_render, rendered),
    "audit": Job(run_audit, audited),
    "improve": Job(run_improve, improved),
    "report": Job(run_report, reported),
}
#: Damage to what these write is tried elsewhere: `render` reads a report, test_runs damages single pages of one.
LONG = ("improve", "report")
ALL = [pytest.param(name, marks=pytest.mark.soak) if name in LONG else name for name in JOBS]
#: A page in steps, of which finished ones are kept.
STEPS = [
    "# A page",
    "import time\nfrom amortgap.kit import Record\nrec = Record(out)\nrows = []",
    "for i in range(4):\n    if f's{i}' not in rec.parts:\n        time.sleep(.3)\n"
    "        rec.parts[f's{i}'] = [{'seed': i, 'v': i / 7}]\n    rows += rec.parts[f's{i}']",
    "t = rec.table('scores', rows)",
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What all jobs read."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.standard_normal((500, 16)).astype(np.float32))
    write(from_encoder(TopKEncoder(16, 40, k=3, seed=0)), folder / "sae")
    (folder / "texts").mkdir()
    for i in range(20):
        (folder / "texts" / f"{i:02}.txt").write_text(
            f"Text {i}. " + "The sea is wide, the boat is small. " * 3
        )
    tiny_models.save_gpt2(folder / "gpt2")
    make_project(folder / "demo", "[quick.a]", a=FULL)
    make_project(folder / "pages", "[quick.a]\n[quick.b]", a=STEPS, b=STEPS)
    with pytest.MonkeyPatch.context() as patch:
        # where the server finds this file
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        patch.chdir(folder / "demo")
        assert main(["report", "--jobs", "1"]) == 0
        yield folder


def start(name: str, folder: Path, given: Path, largest: int = 0) -> BaseProcess:
    """A process, in a group of its own, that does the job; its exit code says how it ended.

    largest: bytes that a file may have; as many as it likes with 0.
    """
    child = FORKS.Process(target=work, args=(name, folder, given, largest))
    child.start()
    with contextlib.suppress(ProcessLookupError):
        while os.getpgid(child.pid) != child.pid:
            time.sleep(0.001)
    return child


def work(name: str, folder: Path, given: Path, largest: int) -> None:
    code = FAILED
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.chdir(given / "demo")
        checkpoint.SAVE_EVERY, extract.SHARD, extract.BATCH = 0.0, 256, 64
        if largest:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        JOBS[name].run(folder, given)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except (ValueError, OSError):
        code = REFUSED
    except BaseException as error:
        with Path(os.environ.get("FAULTS_LOG", os.devnull)).open("a") as log:
            log.write(f"{error!r}\n")
    finally:
        os._exit(code)


def end(child: BaseProcess, patience: float = 120.0) -> int:
    """The exit code of a child, which must end: it hangs when nothing of it has used a processor for so long.

    Not when it takes long: on a busy machine, a first audit compiles for minutes.
    """
    used, deadline = -1.0, 0.0
    child.join(1)
    while child.exitcode is None:
        if (now := processor_time(child.pid)) > used:
            used, deadline = now, time.monotonic() + patience
        elif time.monotonic() > deadline:
            child.kill()
            pytest.fail("a child hangs")
        child.join(1)
    return child.exitcode


def processor_time(child: int) -> float:
    """Of a process and its descendants, in seconds."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        whole = psutil.Process(child)
        for one in (whole, *whole.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(one.cpu_times()[:4])
    return total


@pytest.fixture(scope="module")
def undisturbed(
    given: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Any, float]]:
    """The folder, the result and the time of a run that nothing disturbs."""
    known: dict[str, tuple[Path, Any, float]] = {}

    def find(name: str) -> tuple[Path, Any, float]:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            child = start(name, folder, given)
            # not before: the first to start waits for the server
            begun = time.monotonic()
            assert end(child) == 0
            known[name] = folder, JOBS[name].result(folder), time.monotonic() - begun
        return known[name]

    return find


def count(kind: str, name: str) -> None:
    counts[kind][name] += 1


def goes_on(
    what: str,
    name: str,
    folder: Path,
    given: Path,
    expected: Any,
    may_refuse: bool = False,
    child: BaseProcess | None = None,
) -> None:
    """The next run, child if it has been started, ends as the undisturbed one; nothing unfinished is left."""
    count("injected", f"{what}: {name}")
    code = end(child or start(name, folder, given))
    if not (may_refuse and code == REFUSED):
        assert code == 0
        assert JOBS[name].result(folder) == expected
    count("survived", f"{what}: {name}")


HOW = {
    "SIGKILL of the group": lambda pid: os.killpg(pid, signal.SIGKILL),
    "SIGKILL of the parent": lambda pid: os.kill(pid, signal.SIGKILL),
    "SIGTERM": lambda pid: os.kill(pid, signal.SIGTERM),
    "SIGINT": lambda pid: os.kill(pid, signal.SIGINT),
}


#: Kills of each job in `make test`, most where they cost least; `make soak` adds eight of each.
KILLS = {"cache": 20, "render": 14, "fit": 8, "stream": 4, "activations": 4, "train_stream": 2}
KILLS |= {"audit": 2, "improve": 1, "report": 1}


@pytest.mark.parametrize("soak", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["", "soak"])
@pytest.mark.parametrize("name", JOBS)
def test_killed_at_a_random_moment_it_goes_on(
    name: str, soak: bool, given: Path, undisturbed: Any, tmp_path: Path
) -> None:
    _, expected, seconds = undisturbed(name)
    draw = random.Random(f"{name} {soak}")
    for number in range(8 if soak else KILLS[name]):
        # jobs that are killed once or twice are not all killed in the same ways
        how = list(HOW)[(number + list(JOBS).index(name)) % len(HOW)]
        folder, child, seconds = running(name, tmp_path / str(number), given, seconds, draw)
        own = []
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(child.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            HOW[how](child.pid)
        end(child)
        assert psutil.wait_procs(own, timeout=60)[1] == [], "processes of a killed run live on"
        goes_on(f"killed, {how}", name, folder, given, expected)


def running(
    name: str, root: Path, given: Path, seconds: float, draw: random.Random
) -> tuple[Path, BaseProcess, float]:
    """A folder, a process that has been doing the job in it for a random time, and how long the job may take.

    Where it ended before, which is no kill, it took less than `seconds` (the first one may have compiled), and
    another is killed at an earlier moment.
    """
    while True:
        moment = draw.uniform(0.02, max(seconds, 0.03))
        folder = root / f"{moment:.4f}"
        folder.mkdir(parents=True)
        child, begun = start(name, folder, given), time.monotonic()
        child.join(moment)
        if child.is_alive():
            return folder, child, seconds
        assert end(child) == 0
        seconds = min(moment, time.monotonic() - begun)


def test_fifty_were_killed_in_every_way(request: pytest.FixtureRequest) -> None:
    """Counted, not read off the list above."""
    here = [item for item in request.session.items if item.path == request.path]
    tests = [item for item in here if item.name.startswith("test_killed_at")]
    if {item.callspec.params["name"] for item in tests} != set(JOBS):
        pytest.skip("not every job was to be killed")
    killed = {name: number for name, number in counts["survived"].items() if name.startswith("killed, ")}
    assert sum(killed.values()) >= 50
    for how in HOW:
        assert sum(n for name, n in killed.items() if name.startswith(f"killed, {how}: ")) >= 10
    assert {name.split(": ")[1] for name in killed} == set(JOBS)


@pytest.mark.parametrize("name", ALL)
def test_a_full_disk_is_said_and_leaves_nothing_half(
    name: str, given: Path, undisturbed: Any, tmp_path: Path
) -> None:
    whole, expected, _ = undisturbed(name)
    sizes = sorted(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    for limit in (1000, sizes[-1] // 2):
        folder = tmp_path / str(limit)
        folder.mkdir()
        code = end(start(name, folder, given, largest=limit))
        # commands say it and end with 2; render and report first copy what they draw
        assert code in (REFUSED, FAILED) if name in ("audit", "render", *LONG) else code == REFUSED
        assert not list(folder.rglob("*.tmp"))
        goes_on("disk full", name, folder, given, expected)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "bit flipped": lambda path: flip(path),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "a folder instead": lambda path: (path.unlink(), path.mkdir()),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("name", [name for name in JOBS if name not in ("audit", "cache", *LONG)])
def test_a_damaged_file_is_made_again_or_named(
    name: str, given: Path, undisturbed: Any, tmp_path: Path
) -> None:
    whole, expected, _ = undisturbed(name)
    kinds: dict[str, Path] = {}
    for path in sorted(whole.rglob("*")):
        inside = path.relative_to(whole)
        if path.is_file() and not path.name.startswith(".") and inside.parts[1:2] != ("notebooks",):
            kinds.setdefault("".join(c for c in inside.as_posix() if not c.isdigit()), inside)
    assert kinds
    cases = [(inside, how) for inside in kinds.values() for how in DAMAGES]
    # two at a time, in folders of their own
    for first in range(0, len(cases), 2):
        started = []
        for number, (inside, how) in enumerate(cases[first : first + 2]):
            folder = Path(shutil.copytree(whole, tmp_path / f"{first + number}"))
            DAMAGES[how](folder / inside)
            started.append((inside, how, folder, start(name, folder, given)))
        for inside, how, folder, child in started:
            data = inside.parts[1:4] == ("reports", "quick", "data") and len(inside.parts) > 5
            if name == "render" and data:
                # a page whose data are damaged is not shown until it has been run again
                count("injected", f"{how}: {name}")
                assert end(child) in (0, REFUSED)
                assert not (folder / "demo/reports/quick/a.html").exists()
                count("survived", f"{how}: {name}")
            else:
                refuse = how == "a folder instead" or "checkpoint" in inside.name
                goes_on(how, name, folder, given, expected, may_refuse=refuse, child=child)
            shutil.rmtree(folder)


@pytest.mark.parametrize("name", ALL)
def test_two_runs_at_once_do_not_disturb_each_other(
    name: str, given: Path, undisturbed: Any, tmp_path: Path
) -> None:
    _, expected, _ = undisturbed(name)
    if name == "render":
        run_render(tmp_path, given)
    children = [start(name, tmp_path, given) for _ in range(2)]
    codes = [end(child) for child in children]
    # a report leaves out a page that the other is running and says so; each may have one that the other wants
    crossed = name == "report" and set(codes) == {FAILED}
    if not crossed:
        assert 0 in codes
        assert set(codes) <= {0, REFUSED} | ({FAILED} if name == "report" else set())
        assert JOBS[name].result(tmp_path) == expected
    goes_on("two at once", name, tmp_path, given, expected)


@pytest.fixture(scope="module", autouse=True)
def table() -> Any:
    """What was injected and survived, for `make soak`, which shows it in the report."""
    yield
    if folder := os.environ.get("TABLES"):
        rows = [
            dict(zip(("what", "to"), name.split(": "), strict=True))
            | {"injected": number, "survived": counts["survived"][name]}
            for name, number in sorted(counts["injected"].items())
        ]
        write_table(Path(folder) / "faults.json", rows)
    if sys.exc_info()[0] is None:
        assert counts["injected"] == counts["survived"]
