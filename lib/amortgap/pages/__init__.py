"""Executed notebooks -> HTML pages that open offline, with mathematics, and an index with the claims.

`build(project, report, names)` is the whole interface. A page holds its style, its figures and its
mathematical font, and loads nothing.
"""

from amortgap.pages.build import build

__all__ = ["build"]
