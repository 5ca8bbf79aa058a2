"""What a run was made from. Two runs made from the same would give the same result, so the second is not needed.

The inputs of a run are kept in its `run.json`, each with a digest, so that a later difference can be named:

    parameters   name -> value, without `out`
    cells        a digest for each code cell; Markdown and the parameters' cell have none
    code         file of the library -> definition reached -> digest
    data         file read -> digest
    packages     Python and the packages that the reached code uses -> version
    drawing      code, data and packages that only draw: they do not count as a result
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from amortgap._files import digest
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project
from amortgap.runs.reach import Library, Reached

Inputs = dict[str, Any]
#: Import name -> name of the distribution, where they differ.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}
#: Parts of the library and packages that neither make nor draw a result.
PAPERWORK = {"runs", "pages", "cli", "_files", "_errors", "kit.parts"}
PAPERWORK_PACKAGES = {
    "IPython",
    "tqdm",
    "filelock",
    "papermill",
    "joblib",
    "threadpoolctl",
    "ray",
    "distributed",
}
#: What `kit` holds beside the drawing of figures and claims.
RESULTS_OF_KIT = {"tables", "summary", "intervals"}
DRAWING_PACKAGES = {"matplotlib", "cycler", "PIL"}


def find_inputs(project: Project, notebook: Notebook, parameters: dict[str, Any]) -> Inputs:
    """What a run of `notebook` with all its `parameters` is made from, as it is now."""
    root = project.root / "lib" / "amortgap"
    files = sorted(root.rglob("*.py"))
    library = _library(root, tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))
    reached = library.reach(notebook.code)
    given = {name: value for name, value in parameters.items() if name != "out"}
    packages = {name.partition(".")[0] for name in reached.packages}
    texts: dict[str, set[str]] = {"result": {text for cell in notebook.code for text in cell.whole.texts}}
    for module, found in reached.texts.items():
        texts.setdefault(_kind(module), set()).update(found)
    return {
        "parameters": given,
        "cells": [cell.whole.digest for cell in notebook.code],
        "code": _code(library, reached, "result"),
        "data": _given(project, given) | _named_files(project, texts["result"]) | _beside(library, reached),
        "packages": {"python": platform.python_version()}
        | _versions(packages - DRAWING_PACKAGES)
        | _versions(_told_to_use(reached.packages)),
        "drawing": {
            "code": _code(library, reached, "drawing"),
            "data": _named_files(project, texts.get("drawing", set())),
            "packages": _versions(packages & DRAWING_PACKAGES),
        },
    }


@lru_cache(maxsize=1)
def _library(root: Path, files: tuple[tuple[Path, int, int], ...]) -> Library:
    """The library, read once while its files stay as they are."""
    return Library(root, [path for path, _, _ in files])


def run_key(inputs: Inputs) -> str:
    """One digest of all inputs that decide the result."""
    counted = {name: value for name, value in inputs.items() if name != "drawing"}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


def differences(then: Inputs, now: Inputs) -> list[str]:
    """What changed between two runs' inputs, each as a few words."""
    return [
        *changed_values(then["parameters"], now["parameters"]),
        *_changed_cells(then["cells"], now["cells"]),
        *drawn_otherwise(then, now),
    ]


def drawn_otherwise(then: Inputs, now: Inputs) -> list[str]:
    """What changed of code, data and packages, of two runs' inputs or of their parts `drawing`."""
    return [
        *_changed_code(then["code"], now["code"]),
        *(f"data file {name} changed" for name, old, _ in _changed(then["data"], now["data"]) if old),
        *_changed_versions(then["packages"], now["packages"]),
    ]


def _changed(then: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield name, then.get(name), now.get(name)


def changed_values(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The parameters that differ, each as a few words."""
    return [f"parameter {name} is {new!r}, was {old!r}" for name, old, new in _changed(then, now)]


def _changed_cells(then: list[str], now: list[str]) -> Iterator[str]:
    changed = [str(number) for number, digest in enumerate(now, start=1) if digest not in then]
    if len(changed) > 3:
        yield f"{len(changed)} code cells of the notebook changed"
    elif changed:
        yield f"code cell {', '.join(changed)} of the notebook changed"
    elif then != now:
        yield "code cells of the notebook were removed or moved"


def _changed_code(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for file, before, after in _changed(then, now):
        if before is None or after is None:
            yield f"{file} is {'used now' if before is None else 'not used any more'}"
            continue
        names = list(_changed(before, after))
        yield from (f"{file}: {name} changed" for name, old, new in names if old and new)
        yield from (f"{file}: {name} is used now" for name, old, _ in names if not old)
        yield from (f"{file}: {name} is not used any more" for name, _, new in names if not new)


def _changed_versions(then: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for package, old, new in _changed(then, now):
        # A package that came since is used by code that has changed, or was not missed.
        if old is not None:
            yield f"{package} {new or 'is gone'}, was {old}"


def _code(library: Library, reached: Reached, kind: str) -> dict[str, dict[str, str]]:
    """The reached definitions of this kind: file -> name -> digest."""
    return {
        library.files[module].relative_to(library.root).as_posix(): dict(sorted(found.items()))
        for module, found in sorted(reached.code.items())
        if _kind(module) == kind
    }


def _kind(module: str) -> str:
    """What a module of the library is for: "result", "drawing" or "paperwork"."""
    _, part, *rest = *module.split("."), ""
    if part in PAPERWORK or module.removeprefix("amortgap.") in PAPERWORK:
        return "paperwork"
    return "drawing" if part == "kit" and not RESULTS_OF_KIT.intersection(rest) else "result"


def _given(project: Project, parameters: dict[str, Any]) -> dict[str, str]:
    """The files that parameters name, and those in the folders that they name.

    Folders in which runs keep what they make are no input.
    """
    values = [one for value in parameters.values() for one in (value if isinstance(value, list) else [value])]
    texts = {value for value in values if isinstance(value, str)}
    found = _named_files(project, texts)
    for text in sorted(texts - found.keys()):
        folder = (project.notebooks / text).resolve()
        if text and folder.is_dir() and not {".cache", "reports"}.intersection(folder.parts):
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            found |= {(Path(text) / path.relative_to(folder)).as_posix(): digest(path) for path in files}
    return found


def _named_files(project: Project, texts: set[str]) -> dict[str, str]:
    """The files among `texts`, seen from the folder of the notebooks, in which notebooks run."""
    names = sorted(text for text in texts if "." in text and text.isprintable() and len(text) < 256)
    return {name: digest(path) for name in names if (path := project.notebooks / name).is_file()}


def _beside(library: Library, reached: Reached) -> dict[str, str]:
    """Data files of the library beside the modules that ask where they lie."""
    folders = {library.files[module].parent for module in reached.readers}
    files = (path for folder in folders for path in folder.iterdir() if path.is_file())
    return {
        path.relative_to(library.root).as_posix(): digest(path)
        for path in sorted(files)
        if path.suffix != ".py"
    }


def _told_to_use(names: set[str]) -> set[str]:
    """Packages that another one is told to use by a constant in capitals, as in `cvxpy.CLARABEL`."""
    return {part.lower() for name in names for part in name.split(".")[1:] if part.isupper()}


def _versions(packages: set[str]) -> dict[str, str]:
    """The installed ones among `packages` with their versions, read without importing them."""
    found = {}
    for package in sorted(packages - PAPERWORK_PACKAGES - sys.stdlib_module_names):
        name = DISTRIBUTIONS.get(package, package)
        try:
            found[name] = _installed(name, version)
        except PackageNotFoundError:
            continue  # an optional package that the run does without, or no package at all
    return found


@cache
def _installed(name: str, look_up: Callable[[str], str]) -> str:
    return look_up(name)
