"""249 State of the Union addresses (public domain), one a file."""

from collections.abc import Iterator
from pathlib import Path

from amortgap.llm.corpora.document import Document

FILES = "data/speeches/*.txt"
SHA256 = "49bf5edcd2da"


def documents(files: list[Path]) -> Iterator[Document]:
    for file in files:
        yield Document(file.read_text(encoding="utf-8"), file.stem, "sotu")
