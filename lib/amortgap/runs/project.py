"""Where the project lies: the folder that holds `pyproject.toml` and `notebooks/runs.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amortgap._errors import Refused


@dataclass(frozen=True)
class Project:
    """The folders of one checkout."""

    root: Path

    @property
    def notebooks(self) -> Path:
        """The folder of the notebooks; a notebook runs with it as its working directory."""
        return self.root / "notebooks"

    @property
    def reports(self) -> Path:
        """The folder with one report a profile."""
        return self.root / "reports"

    @property
    def names(self) -> list[str]:
        """Names of all notebooks, in reading order."""
        return sorted(path.stem for path in self.notebooks.glob("*.ipynb"))

    def notebook(self, name: str) -> Path:
        """The file of the notebook `name`; raises `Refused` when there is none."""
        if name not in self.names:
            raise Refused(f"unknown notebook {name!r}; there are {', '.join(self.names) or 'none'}")
        return self.notebooks / f"{name}.ipynb"


def find_project(start: Path | None = None) -> Project:
    """The project that `start` (default: the current folder) lies in."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks" / "runs.toml").is_file():
            return Project(folder)
    raise Refused(
        f"{start} is not inside the amortgap project: no folder above it holds pyproject.toml and "
        "notebooks/runs.toml; change into your clone first"
    )
