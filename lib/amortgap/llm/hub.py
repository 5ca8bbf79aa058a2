"""Data sets of the Hugging Face hub (or local folders in its formats), read as a stream with ``datasets``.

Names: "hf:OWNER/NAME", "hf:OWNER/NAME:CONFIGURATION", or "hf:FOLDER" of jsonl, parquet or csv files. The split is
"train", the column "text". The paper's corpus is "hf:Skylion007/openwebtext".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

PREFIX = "hf:"


def _names(corpus: str) -> list[str]:
    return corpus.removeprefix(PREFIX).split(":")


def revision(corpus: str) -> str:
    """What identifies the content: the hub's commit, or the SHA-256 of names and sizes in a local folder.

    Raises FileNotFoundError when the hub cannot be asked or does not know the name.
    """
    name, *configuration = _names(corpus)
    if Path(name).is_dir():
        listed = [
            f"{f.relative_to(name)} {f.stat().st_size}" for f in sorted(Path(name).rglob("*")) if f.is_file()
        ]
        return hashlib.sha256("\n".join(listed).encode()).hexdigest()
    from huggingface_hub import HfApi

    try:
        return ":".join([str(HfApi().dataset_info(name).sha), *configuration])
    except Exception as error:
        raise FileNotFoundError(
            f"{name!r} is neither a folder here nor a data set the hub could show ({type(error).__name__})."
        ) from error


def rows(corpus: str) -> Iterator[str]:
    """The texts of the data set, in its order, fetched as they are asked for.

    Raises FileNotFoundError where ``datasets`` is missing or cannot open the name, ValueError where no column
    is named text.
    """
    try:
        import datasets
    except ImportError as error:
        raise FileNotFoundError(
            "A corpus hf:NAME needs the package datasets; run: pip install datasets"
        ) from error
    try:
        stream = datasets.load_dataset(*_names(corpus), split="train", streaming=True)
    except Exception as error:
        raise FileNotFoundError(f"datasets could not open {corpus!r}: {error}") from error
    for row in stream:
        if not isinstance(row.get("text"), str):
            raise ValueError(f"{corpus} has no column of text named 'text'; it has {', '.join(row)}.")
        yield row["text"]
