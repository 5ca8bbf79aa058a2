"""What each page was rendered from, so that it is rendered again only when something of that has changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amortgap._files import digest, json_digest, read_json, write_json, write_text

#: Packages that shape a page.
PACKAGES = (
    "nbconvert",
    "mistune",
    "pygments",
    "jinja2",
    "beautifulsoup4",
    "fonttools",
    "ziamath",
    "pypandoc_binary",
)


class Rendered:
    """The pages of one report: file -> what it was made from, its digest, and facts that its maker found.

    Kept in `data/rendered.json` with its own digest. Where that does not fit, no page counts as rendered; nor does
    one that is missing or was changed by hand.
    """

    def __init__(self, report: Path) -> None:
        self._report, self._file = report, report / "data" / "rendered.json"
        try:
            known = read_json(self._file)
            whole = known.pop("sealed") == json_digest(known)
        except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
            whole = False
        self._known: dict[str, Any] = known if whole else {}

    def page(self, name: str, source: Any, make: Callable[[], tuple[str, Any]]) -> Any:
        """Write the page `name` unless it is there, made from the same JSON-able `source`; returns its facts.

        `make` returns the document and the facts.
        """
        path, made_from = self._report / name, json_digest([_look(), source])
        entry = self._known.get(name, {})
        if path.is_file() and (entry.get("from"), entry.get("page")) == (made_from, digest(path)):
            return entry["facts"]
        document, facts = make()
        write_text(path, document)
        self._known[name] = {"from": made_from, "page": digest(path), "facts": facts}
        write_json(self._file, self._known | {"sealed": json_digest(self._known)})
        return facts

    def forget(self, name: str) -> None:
        """Remove the page `name` of a run whose data are gone."""
        (self._report / name).unlink(missing_ok=True)
        self._known.pop(name, None)


@cache
def _look() -> str:
    """Of everything in this package and in `kit` that shapes a page."""
    here = Path(__file__).parent
    files = [*here.rglob("*"), *here.with_name("kit").glob("*.py")]
    shapes = sorted(path for path in files if path.is_file() and path.suffix != ".pyc")
    return json_digest([*map(digest, shapes), *map(version, PACKAGES)])
