"""3 824 English news articles (rights not stated: used here, never redistributed), a table in an archive."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from amortgap.llm.corpora.document import Document

FILES = "data/en/NewsArticles.zip"
SHA256 = "5b95851c5cc7"


def documents(files: list[Path]) -> Iterator[Document]:
    with zipfile.ZipFile(files[0]).open("NewsArticles.csv") as raw:
        for row in csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="")):
            yield Document(row["text"], row["title"], "news")
