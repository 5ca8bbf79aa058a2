"""The parameters that a notebook runs with, beside those of the full-size run, and how long its steps took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap._files import read_json, write_json
from amortgap.runs.notebook import Notebook
from amortgap.runs.profiles import load_profile
from amortgap.runs.project import find_project

#: Parameters that say where and on what a notebook runs, not what it computes.
ELSEWHERE = {"out", "device", "seed", "checkpoints"}
#: Of the steps of a notebook: how long each took, and with which parameters.
TIMES = "times.json"
#: Seconds from which on a time is said beforehand.
LONG = 5.0


class Setting:
    """The notebook whose data folder is `out`: its name, and its parameters as the kernel holds them now."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.now: dict[str, Any] = {}
        self.paper: dict[str, Any] = {}
        #: data folders of the same notebook in the project's reports
        self.others: list[Path] = []
        try:
            project = find_project()
            notebook = Notebook(project.notebook(out.name))
            self.paper = notebook.resolve(load_profile(project, "paper").notebooks.get(out.name, {}))
        except Refused:
            return
        self.others = sorted(project.reports.glob(f"*/data/{out.name}"))
        from IPython import get_ipython

        if shell := get_ipython():
            names = [name for name in notebook.parameters if name not in ELSEWHERE]
            self.now = {name: shell.user_ns[name] for name in names if name in shell.user_ns}

    @property
    def smaller(self) -> bool:
        """Whether parameters differ from those of the full-size run."""
        return bool(differing(self.now, self.paper))

    def note(self) -> str:
        """Which parameters differ from those of the full-size run; empty where none does."""
        said = differing(self.now, self.paper)
        return f"These parameters differ from those of the full-size run: {said}." if said else ""

    @contextmanager
    def clock(self, step: str) -> Iterator[None]:
        """Say how long `step` took before, if long, and note how long it takes now."""
        if said := self.estimate(step):
            print(f"{step}: {said}", file=sys.stderr)
        start = time.perf_counter()
        yield
        file = self.out / TIMES
        known = read_json(file) if file.exists() else {}
        spent = round(time.perf_counter() - start, 1)
        write_json(file, known | {step: {"seconds": spent, "parameters": self.now}})

    def estimate(self, step: str) -> str:
        """How long `step` took in an earlier run, if long: of the one with fewest other parameters; else empty."""
        found = []
        for folder in (self.out, *self.others):
            file = folder / TIMES
            one = read_json(file).get(step) if file.exists() else None
            if one and one["seconds"] >= LONG:
                others = {name for name, value in self.now.items() if one["parameters"].get(name) != value}
                found.append((len(others), one["seconds"], one["parameters"]))
        if not found:
            return ""
        _, seconds, parameters = min(found, key=lambda one: one[:2])
        said = differing(parameters, self.now)
        return f"took {duration(seconds)} in an earlier run" + (f", with {said}" if said else "")


def differing(values: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """The `values` that differ from `others`: "steps = 200 instead of 20,000"."""
    return ", ".join(
        f"{name} = {_short(value)} instead of {_short(others[name])}"
        for name, value in values.items()
        if name in others and others[name] != value
    )


def _short(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else repr(value) if value == "" else str(value)


def duration(seconds: float) -> str:
    """Seconds below two minutes, else minutes, else hours and minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
