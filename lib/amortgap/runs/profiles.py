"""Profiles: which notebooks a report runs, and with which parameters (`notebooks/runs.toml`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from amortgap._errors import Refused
from amortgap.runs.notebook import Notebook
from amortgap.runs.project import Project

DEFAULT_TIMEOUT = 60.0


@dataclass(frozen=True)
class Profile:
    """What one report runs."""

    name: str
    #: minutes that a notebook may go without writing or printing anything
    timeout: float
    #: notebook -> its parameters, in the order to run
    notebooks: dict[str, dict[str, Any]]


def load_profiles(project: Project) -> dict[str, Profile]:
    """All profiles, with every notebook name, parameter name and parameter type checked."""
    try:
        content = tomllib.loads((project.notebooks / "runs.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"notebooks/runs.toml cannot be read: {error}") from error
    return {name: _profile(project, name, table) for name, table in content.items()}


def load_profile(project: Project, name: str) -> Profile:
    """The profile `name`; raises `Refused` when there is none or any part of the file is wrong."""
    profiles = load_profiles(project)
    if name not in profiles:
        raise Refused(f"unknown profile {name!r}; notebooks/runs.toml has {', '.join(profiles)}")
    return profiles[name]


def _profile(project: Project, name: str, table: dict[str, Any]) -> Profile:
    where = f"notebooks/runs.toml, profile {name!r}"
    if not isinstance(table, dict):
        raise Refused(f"{where} must be a table of notebooks, as in [{name}.notebook]")
    timeout = table.get("timeout", DEFAULT_TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise Refused(f"{where}: timeout must be a positive number of minutes, not {timeout!r}")
    notebooks = {}
    for notebook, given in table.items():
        if notebook == "timeout":
            continue
        if not isinstance(given, dict):
            raise Refused(f"{where}: {notebook!r} must be a table of parameters, as in [{name}.{notebook}]")
        try:
            if "out" in given:
                raise Refused(f"{notebook}: `out` is set by the run itself")
            Notebook(project.notebook(notebook)).resolve(given)
        except Refused as error:
            raise Refused(f"{where}: {error}") from error
        notebooks[notebook] = given
    return Profile(name, float(timeout), notebooks)
