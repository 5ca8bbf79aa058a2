"""What all pages of one report are rendered from, beside their runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amortgap.pages.about import About
from amortgap.pages.findings import Words
from amortgap.pages.frame import Navigation
from amortgap.pages.withdrawn import Withdrawal
from amortgap.runs.project import Project


@dataclass(frozen=True)
class Report:
    """One report: its folder, the plain titles of its pages in order, and what `notebooks` says about them."""

    project: Project
    folder: Path
    titles: dict[str, str]
    words: Words
    about: About
    withdrawn: tuple[Withdrawal, ...]
    #: of all pages, those withdrawn marked
    claims: tuple[dict[str, Any], ...]

    @property
    def navigation(self) -> Navigation:
        """The bar of its pages."""
        there = (self.folder / "reference" / "amortgap.html").is_file()
        return Navigation(self.folder.name, self.titles, there)

    def withdrawn_on(self, page: str) -> list[Withdrawal]:
        """What is withdrawn on `page`."""
        return [one for one in self.withdrawn if one.page == page]

    def claims_on(self, page: str) -> list[dict[str, Any]]:
        """The claims that `page` makes."""
        return [claim for claim in self.claims if claim["page"] == page]
