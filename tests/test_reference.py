"""The reference: its examples run, and its pages stand alone."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import amortgap


def test_the_examples_give_what_they_say() -> None:
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    found = doctest.testmod(amortgap, optionflags=flags)
    assert found.attempted >= 20
    assert found.failed == 0


# annotations of named tuples that only a type checker imports
@pytest.mark.filterwarnings("ignore:Error parsing type annotation")
def test_reference_pages_ask_for_nothing(tmp_path: Path) -> None:
    pdoc = pytest.importorskip("pdoc", reason="pdoc is not installed")
    pdoc.pdoc("amortgap.metrics", output_directory=tmp_path)
    text = (tmp_path / "amortgap/metrics.html").read_text()
    assert "chance_mcc" in text
    assert not re.findall(r'(?:src|<link[^>]*href)="https?:', text)
