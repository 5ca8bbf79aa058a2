"""`amortgap verify`: damage to any file of a stored report is named, and numbers that do not fit each other."""

import json
import shutil
import time
from pathlib import Path

import pytest

from amortgap._errors import Refused
from amortgap._files import digest, json_digest
from amortgap.cli import main
from amortgap.kit.tables import write_table
from amortgap.pages.manifest import verify, write_manifest
from amortgap.runs.jobs import write_state
from demo_project import FULL, make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_project(root, "[quick.a]", a=FULL, b=["# Other"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["report", "--jobs", "1"]) == 0
    return root


@pytest.fixture
def report(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy")) / "reports" / "quick"


def files(report: Path) -> list[Path]:
    return sorted(path for path in report.rglob("*") if path.is_file() and path.name != ".lock")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


DAMAGES = {
    "flip": flip,
    "truncate": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "remove": lambda path: path.unlink(),
    "nest too deeply": lambda path: path.write_bytes(b"[" * 100_000 + b"]" * 100_000),
}


def test_a_report_as_it_was_written_is_said_to_be_so_in_a_moment(
    report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(report.parents[1])
    begun = time.process_time()
    assert main(["verify"]) == 0
    assert time.process_time() - begun < 5
    assert main(["verify", str(report)]) == 0
    assert main(["verify", report.name]) == 0  # a profile
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    count = len(files(report)) - 1
    assert lines[0] == f"{count} files, 1 pages and 1 claims in {report}: as they were written"
    manifest = json.loads((report / "manifest.json").read_text())
    run = json.loads((report / "data" / "a" / "run.json").read_text())
    assert manifest["files"]["a.html"] == digest(report / "a.html")
    assert manifest["inputs"]["a"]["packages"] == run["inputs"]["packages"]
    assert run["provenance"]["memory"] > 0.01
    assert "GB" in (report / "index.html").read_text()


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_to_any_file_is_named_and_mended_by_the_next_report(
    report: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(report.parents[1])
    for file in files(report):
        before = file.read_bytes()
        DAMAGES[how](file)
        if (file.name, how) == ("manifest.json", "remove"):
            with pytest.raises(Refused, match=r"no manifest\.json"):
                verify(report)
        else:
            assert any(file.name in sentence for sentence in verify(report)[0])
        if file.parent == report or file.suffix == ".zip":
            assert main(["report", "--jobs", "1"]) == 0
            assert verify(report)[0] == []
            assert "nothing to run" in capsys.readouterr().out
        file.write_bytes(before)
    (report / "extra.html").touch()
    assert verify(report)[0] == ["extra.html is not in manifest.json"]


def test_a_manifest_that_holds_something_else_is_damaged(report: Path) -> None:
    for odd in ({"files": 5, "inputs": {}}, {"files": {}, "inputs": "a"}, {"files": None}):
        text = json.dumps(odd | {"sealed": json_digest(odd)})
        (report / "manifest.json").write_text(text)
        assert verify(report)[0] == ["manifest.json is damaged"]


def changed(report: Path, name: str, **values: object) -> list[str]:
    """What is found when the claim is changed and all digests are made to fit."""
    file = report / name
    claims = json.loads(file.read_text())
    claims[0] |= values
    file.write_text(json.dumps(claims))
    run = json.loads((report / "data/a/run.json").read_text())
    del run["sealed"]
    write_state(report / "data" / "a", run)
    write_manifest(report)
    return verify(report)[0]


def test_numbers_that_do_not_fit_each_other_are_found_whatever_the_digests(report: Path) -> None:
    assert changed(report, "data/a/claims.json", verdict="not reproduced") == [
        "a: claim E2.1: its numbers do not give the verdict 'not reproduced'",
        "data/claims.json has claim E2.1 otherwise than a",
    ]
    assert changed(report, "data/a/claims.json", verdict="reproduced", ours=0.9)[0].startswith(
        "a: a claim cannot be read: claim E2.1: ours = 0.9 lies outside its interval"
    )
    assert changed(report, "data/a/claims.json", ours=0.61, figure="other", data="none")[:2] == [
        "a: claim E2.1: the page shows no figure 'other'",
        "a: claim E2.1: there is no table 'none'",
    ]
    manifest = json.loads((report / "manifest.json").read_text())
    manifest["inputs"]["a"]["key"] = "0"
    del manifest["sealed"]
    (report / "manifest.json").write_text(json.dumps(manifest | {"sealed": json_digest(manifest)}))
    assert "a: its inputs are not those in manifest.json" in verify(report)[0]


def test_there_is_a_sentence_where_nothing_can_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_project(tmp_path, "[quick.a]", a=["# A"])
    monkeypatch.chdir(tmp_path)
    assert main(["verify"]) == 2
    assert main(["verify", "nowhere"]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith(("amortgap: no report in", "amortgap: there is no report", "amortgap: /"))


def test_the_page_about_the_report_counts_what_the_tests_injected(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(report.parents[1])
    assert "Faults" not in (report / "about.html").read_text()
    rows = [{"what": "killed", "to": "fit <b>", "injected": 9, "survived": n} for n in (9, 8)]
    write_table(report.parent / "bench" / "faults.json", rows)
    assert main(["report", "--jobs", "1"]) == 0
    about = (report / "about.html").read_text()
    assert "Of 18 faults, 17 left the next run" in about
    assert "fit &lt;b&gt;" in about
    assert ">17 of 18<" in about
    assert verify(report)[0] == []


ODD = {
    "notebooks/runs.toml": (b"\xff\xfe", b"quick = 3"),
    "notebooks/a.ipynb": (
        b"[" * 100_000,
        b'{"cells": [{"cell_type": "markdown", "metadata": {}, "source": 5}]}',
        b"[]",
    ),
    "notebooks/findings.toml": (b"\xff", b"question = 3", b"nothing = 3"),
    "notebooks/about.toml": (b"\xff", b"terms = 3"),
    "notebooks/withdrawn.csv": (b"\xff", b"a,b\n1,2\n"),
    "reports/bench/faults.json": (b"{", b'{"columns": ["what"], "data": [["a"]]}'),
    "reports/quick/data/a/mine.json": (b"{}", b"3"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_somebody_else_wrote_is_named_in_one_sentence(
    report: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(report.parents[1])
    for content in ODD[name]:
        (report.parents[1] / name).parent.mkdir(exist_ok=True)
        (report.parents[1] / name).write_bytes(content)
        assert main(["report", "--jobs", "1"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert Path(name).name in said[-1]
        assert said[-1].startswith("amortgap: ")
        assert "Traceback" not in "".join(said)
