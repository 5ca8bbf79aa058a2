"""The key of a run: two runs with one key would give one result, so the second is not needed."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from amortgap.runs.notebook import Notebook, source
from amortgap.runs.project import Project

PACKAGES = ("torch", "numpy", "scipy")
#: Parts of the library that carry no result: what they change is shown again without a new run.
EXCLUDED = {"runs", "pages", "kit", "cli.py", "__pycache__"}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results, read without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def run_key(project: Project, notebook: Notebook, parameters: dict[str, Any]) -> str:
    """sha256 over cell sources, resolved parameters (without `out`), library sources and versions."""
    facts = {
        "cells": [[cell["cell_type"], source(cell)] for cell in notebook.cells],
        "parameters": {name: value for name, value in parameters.items() if name != "out"},
        "library": _library(project.root / "lib" / "amortgap"),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _library(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    relative = ((path.relative_to(folder), path) for path in sorted(files))
    return {
        name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in relative
        if name.parts[0] not in EXCLUDED and "__pycache__" not in name.parts
    }
