"""Links written for a notebook's folder -> links that work from its page."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path


def relink(html: str, base: Path, page: Path, pages: Collection[str]) -> str:
    """`html` with every relative `href`, written for the folder `base`, rewritten for the folder `page`.

    A link to the notebook `NAME.ipynb` goes to `NAME.html` when NAME is one of `pages`.
    """

    def rewritten(match: re.Match[str]) -> str:
        path, mark, fragment = match[1].partition("#")
        if not path or re.match(r"[a-z][a-z0-9+.-]*:|/", path, re.IGNORECASE):
            return match[0]
        target = Path(os.path.normpath(base / path))
        if target.suffix == ".ipynb" and target.parent == base and target.stem in pages:
            target = page / f"{target.stem}.html"
        return f'href="{Path(os.path.relpath(target, page)).as_posix()}{mark}{fragment}"'

    # Only in anchors: an SVG's <use href="#..."> points inside the page.
    return re.sub(r"(?<=<a )[^>]*>", lambda tag: re.sub(r'\bhref="([^"]*)"', rewritten, tag[0]), html)
