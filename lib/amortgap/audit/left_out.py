"""Rows of activations that say nothing about an SAE: padding, BOS, position 0, massive activations.

They are few, and have norms a hundred times those of the others: left in, they are most of the variance.
Sun et al., Massive activations in large language models (2024).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from amortgap.llm.activations import OUTLIER

PADDING, BOS, FIRST, REPEATED, MASSIVE = "padding", "BOS", "position 0", "repeated", "massive"
MEANING = {
    PADDING: "zero, or masked",
    BOS: "the token that every sequence starts with",
    FIRST: "first of a sequence",
    REPEATED: "the same vector again and again, as BOS and padding give it",
    MASSIVE: f"norm above {OUTLIER:g} times the median",
}
#: Equal rows that are no coincidence; more than this share of all are the data's own.
COPIES, MOST = 4, 0.5


@dataclass(frozen=True)
class LeftOut:
    """What became of the rows in the files."""

    #: in the files, and of these read (all, or as many as memory takes, drawn at random)
    rows: int
    read: int
    #: reason -> rows read, each under the first reason that holds
    found: dict[str, int] = field(default_factory=dict)
    #: the rows found were kept all the same
    kept: bool = False

    def sentence(self) -> str:
        """For a reader; empty where all rows were read and none was found."""
        drawn = f"{self.read} of {self.rows} rows were drawn at random. " if self.read < self.rows else ""
        if not self.found:
            return drawn.strip()
        each = ", ".join(f"{count} {name} ({MEANING[name]})" for name, count in self.found.items())
        what = "They were kept." if self.kept else "They were left out."
        return f"{drawn}{sum(self.found.values())} of {self.read} rows are special: {each}. {what}"


def special(x: Tensor, extras: dict[str, Tensor]) -> dict[str, Tensor]:
    """Reason -> which rows of x (n, M) it holds for, (n,) bool, each row under its first reason.

    extras: document, position, token and mask of each row, (n,), where they are known.
    """
    norms = torch.linalg.vector_norm(x, dim=1)
    nothing = torch.zeros(len(x), dtype=torch.bool)
    position, mask = extras.get("position"), extras.get("mask")
    checks = {
        PADDING: (norms == 0) | (nothing if mask is None else mask == 0),
        BOS: _bos(extras, nothing),
        FIRST: nothing if position is None else position == 0,
        REPEATED: _repeated(x, norms),
    }
    seen, found = nothing, {}
    for reason, holds in checks.items():
        found[reason], seen = holds & ~seen, seen | holds
    if not seen.all():
        found[MASSIVE] = (norms > OUTLIER * norms[~seen].median()) & ~seen
    return {reason: holds for reason, holds in found.items() if holds.any()}


def _bos(extras: dict[str, Tensor], nothing: Tensor) -> Tensor:
    """The token that nine of ten sequences start with."""
    token, position = extras.get("token"), extras.get("position")
    if token is None or position is None or not (position == 0).any():
        return nothing
    names, counts = token[position == 0].unique(return_counts=True)
    best = int(counts.argmax())
    return token == names[best] if counts[best] > 1 and counts[best] >= 0.9 * counts.sum() else nothing


def _repeated(x: Tensor, norms: Tensor) -> Tensor:
    """Rows that are equal bit for bit to several others. A hash of whole numbers is the same in any order."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (x.shape[1],), generator=draw)
    # -0 and 0 are one number
    parts = ((part + 0.0).view(torch.int32).long() @ weights for part in x.contiguous().split(4096))
    _, which, counts = torch.cat(list(parts)).unique(return_inverse=True, return_counts=True)
    copies = (counts[which] >= COPIES) & (norms > 0)
    return copies if copies.double().mean() < MOST else torch.zeros_like(copies)
