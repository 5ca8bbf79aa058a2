"""The committed notebooks, all of them, from parameters to pages, at the sizes of the smoke profile."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from amortgap.cli import main
from recompute import differences

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """reports/smoke of a copy of the project, so that a reader's own reports are left alone."""
    root = tmp_path_factory.mktemp("project")
    for part in ("notebooks", "tests/data", "lib"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_*"))
    shutil.copy(ROOT / "pyproject.toml", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["report", "--profile", "smoke"]) == 0
    return root / "reports" / "smoke"


@pytest.mark.timeout(1800)  # minutes on an idle machine; a busy one must not make it fail
def test_every_notebook_has_its_page_and_the_index_links_them(report: Path) -> None:
    index = (report / "index.html").read_text()
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (report / f"{notebook.stem}.html").is_file()
        assert f'href="{notebook.stem}.html"' in index


def test_pages_load_nothing_and_describe_every_figure(report: Path) -> None:
    for page in report.glob("*.html"):
        html = page.read_text()
        assert not re.findall(r'(?:src|href)="?(?:https?:)?//[^>]*>', re.sub(r"<a\s[^>]*>", "", html)), page
        assert "@import" not in html
        assert not re.findall(r"url\((?!['\"]?(?:data:|#))", html), page
        for svg in re.findall(r"<svg(?![^>]*aria-hidden)[^>]*>", html):
            assert 'role="img"' in svg, page
            assert re.search(r'aria-label="[^"]{20,}"', svg), page


def test_claims_hold_the_bounds_that_no_size_can_break(report: Path) -> None:
    claims = {c["id"]: c for c in json.loads((report / "data" / "claims.json").read_text())}
    assert claims["T.1"]["low"] > 0  # the closed-form gap bound
    assert claims["T.2"]["ours"] < 1e-20  # binary codes are read off exactly: squared rounding errors
    # no linear-nonlinear encoder recovers the codes: what a search finds, a certified bound, the codes
    assert claims["T.3"]["ours"] <= claims["T.14"]["ours"] < 1
    for decoder in (1, 4):  # least squares on the encoder's own support cannot explain less
        assert claims[f"E16.{decoder}"]["ours"] > 0


def test_claims_are_found_again_from_their_tables(report: Path) -> None:
    count, wrong = differences(report)
    assert wrong == []
    assert count >= 3
