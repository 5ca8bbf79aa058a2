"""Text, and the token windows cut from it.

A corpus is named by a key of ``corpora.CORPORA``, by a text file, a folder of ``.txt`` files, a streamed data set
"hf:NAME" (see ``hub``), or by several of these joined by "+".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_count, generator
from amortgap.llm import hub
from amortgap.llm.corpora import CORPORA, Document
from amortgap.llm.packages import package_files, sha256

PIECE = 4000  # characters; long documents are drawn piece by piece, so that few do not fill a small sample


@dataclass(frozen=True)
class Tokens:
    """Token windows, each inside one document."""

    windows: Tensor  # (W, context) int32 token ids; no BOS, no padding
    document: Tensor  # (W,) int32, index into ``documents``
    documents: list[dict[str, str | None]]  # title, source, label; in the order of first appearance
    strings: dict[int, str]  # the text of every token id that occurs


def files(name: str) -> list[Path]:
    """The files of one corpus, hash-checked where it is a package.

    Raises FileNotFoundError for a missing package or path, ValueError for altered or absent content.
    """
    if name in CORPORA:
        return package_files(name, CORPORA[name].FILES, CORPORA[name].SHA256)
    path = Path(name).expanduser()
    if not path.exists():
        known = ", ".join(CORPORA)
        raise FileNotFoundError(f"There is no corpus {name!r}: use {known}, or a text file or folder.")
    found = [path] if path.is_file() else sorted(path.rglob("*.txt"))
    if not any(file.stat().st_size for file in found):
        raise ValueError(f"The corpus {name} is empty: it holds no text (a folder needs .txt files).")
    return found


def _names(corpus: str) -> list[str]:
    if not isinstance(corpus, str):
        raise ValueError(f"a corpus is named by a text, not by {corpus!r}.")
    return corpus.split("+")


def fingerprint(corpus: str) -> str:
    """SHA-256 of all files of a corpus, or of several joined by "+"; the revision of those that are streamed."""
    names = _names(corpus)
    streamed = [hub.revision(name) for name in names if name.startswith(hub.PREFIX)]
    local = [file for name in names if not name.startswith(hub.PREFIX) for file in files(name)]
    return "+".join([*([sha256(local)] if local else []), *streamed])


def texts(corpus: str) -> list[Document]:
    """All documents of a corpus, or of several joined by "+". A lone file is cut into pieces, one a document.

    Raises what ``files`` raises, and ValueError for a streamed corpus, which is too large to be read whole.
    """
    documents: list[Document] = []
    for name in _names(corpus):
        if name.startswith(hub.PREFIX):
            raise ValueError(f"{name} is streamed; take tokens from it, not all its texts.")
        found = files(name)
        if name in CORPORA:
            documents += CORPORA[name].documents(found)
        else:
            parts = [(f.stem, f.read_text(encoding="utf-8", errors="replace")) for f in found]
            if Path(name).is_file():
                parts = [(f"{parts[0][0]} {i}", piece) for i, piece in enumerate(pieces(parts[0][1]))]
            documents += [Document(text, title, Path(name).stem) for title, text in parts]
    return documents


def pieces(text: str) -> Iterator[str]:
    """Cut at the last space before every PIECE characters; the pieces join to the text again."""
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text):
            end = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = end if end > start else start + PIECE
        yield text[start:end]
        start = end


def _parts(corpus: str, seed: int) -> Iterator[tuple[int, Document, str]]:
    """(number of the document, document, piece): local texts in an order fixed by ``seed``, then the streamed."""
    names = _names(corpus)
    local = [name for name in names if not name.startswith(hub.PREFIX)]
    documents = texts("+".join(local)) if local else []
    parts = [(i, piece) for i, document in enumerate(documents) for piece in pieces(document.text)]
    for j in torch.randperm(len(parts), generator=generator(seed)).tolist():
        yield parts[j][0], documents[parts[j][0]], parts[j][1]
    number = len(documents)
    for name in names:
        if name not in local:
            for i, text in enumerate(hub.rows(name)):
                document = Document(text, f"{name} {i}", name)
                yield from ((number, document, piece) for piece in pieces(text))
                number += 1


def tokens(corpus: str, tokenizer: Any, n_tokens: int, context: int = 128, seed: int = 0) -> Tokens:
    """Draw at least ``n_tokens`` tokens in whole windows of ``context`` consecutive tokens, without BOS.

    Pieces of documents are drawn in an order fixed by ``seed`` (streamed documents in their own order) and cut into
    windows that do not overlap; what remains of a piece is left out, so a text shorter than ``context`` gives
    none. A larger ``n_tokens`` begins with the same windows. Raises ValueError when sizes make no sense or the
    corpus is too small.
    """
    n_tokens, context = check_count(n_tokens, "n_tokens"), check_count(context, "context", 2)
    wanted = -(-n_tokens // context)
    windows: list[list[int]] = []
    owners: list[int] = []
    drawn: dict[int, dict[str, str | None]] = {}
    parts = _parts(corpus, seed)
    while len(windows) < wanted and (batch := list(islice(parts, 64))):
        encoded = tokenizer([piece for *_, piece in batch], add_special_tokens=False, verbose=False).input_ids
        for (owner, document, _), ids in zip(batch, encoded, strict=True):
            cut = [ids[i : i + context] for i in range(0, len(ids) - context + 1, context)][
                : wanted - len(windows)
            ]
            windows += cut
            owners += [owner] * len(cut)
            if cut:
                drawn[owner] = {"title": document.title, "source": document.source, "label": document.label}
    if len(windows) < wanted:
        raise ValueError(
            f"n_tokens={n_tokens} is more than {corpus} has: {len(windows) * context} tokens "
            f"in whole windows of {context}."
        )
    seen = {owner: i for i, owner in enumerate(drawn)}
    table = torch.tensor(windows, dtype=torch.int32)
    strings = {i: tokenizer.decode([i]) for i in table.unique().tolist()}
    places = torch.tensor([seen[owner] for owner in owners], dtype=torch.int32)
    return Tokens(table, places, list(drawn.values()), strings)


def split(tokens: Tokens) -> dict[str, Tensor]:
    """Which windows (W,) are "train", "val" and "test": of every ten documents, number 1 is val, 2 is test.

    A document never changes its split when more tokens are drawn with the same seed. Raises ValueError for
    fewer than three documents.
    """
    if len(tokens.documents) < 3:
        raise ValueError(
            f"A split by document needs at least 3 documents but the {tokens.windows.numel()} tokens drawn are "
            f"from {len(tokens.documents)}; raise n_tokens or use another corpus."
        )
    place = tokens.document % 10
    return {"train": (place != 1) & (place != 2), "val": place == 1, "test": place == 2}
