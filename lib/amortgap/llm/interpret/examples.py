"""Which tokens to look at to learn, or to test, when a latent is active.

Examples of activity come from all deciles of activation and not only from the top. Half of the inactive examples
are hard: tokens on which the latent is active elsewhere, but not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amortgap.llm.activations import Activations, Split

DECILES = 10


@dataclass(frozen=True)
class Places:
    """Where some activations were read: row i stands for position[i] of windows[window[i]]."""

    windows: np.ndarray  # (W, context) int
    strings: dict[int, str]
    window: np.ndarray  # (n,)
    position: np.ndarray  # (n,)

    @classmethod
    def of(cls, acts: Activations, *splits: Split) -> Places:
        """The places of one or more splits, one after the other."""
        window = torch.cat([split.window for split in splits]).cpu().numpy()
        position = torch.cat([split.position for split in splits]).cpu().numpy()
        return cls(acts.windows.cpu().numpy(), acts.strings, window, position)

    def __len__(self) -> int:
        return len(self.window)

    @property
    def token(self) -> np.ndarray:
        """Token ids (n,)."""
        return np.asarray(self.windows[self.window, self.position])

    def context(self, i: int, before: int = 14, after: int = 5) -> tuple[str, str, str]:
        """The text before row i, its token, and the text after."""
        row, at = self.windows[self.window[i]], self.position[i]
        start, stop = max(0, at - before), at + 1 + after
        left, right = (
            "".join(self.strings[int(t)] for t in part) for part in (row[start:at], row[at + 1 : stop])
        )
        return left, self.strings[int(row[at])], right


@dataclass(frozen=True)
class Examples:
    """Rows of `Places`, in random order, with what the latent does there."""

    row: np.ndarray  # (m,)
    active: np.ndarray  # (m,) bool, half of them True
    decile: np.ndarray  # (m,) of activation, 9 the highest; -1 where inactive


def first_windows(split: Split, count: int) -> Split:
    """The vectors of a split that lie in its first `count` windows."""
    chosen = torch.isin(split.window, split.window.unique()[:count])
    return Split(**{name: value[chosen] for name, value in vars(split).items()})


def choose_latents(parts: Sequence[Tensor], count: int, least: int, seed: int = 0) -> Tensor:
    """`count` random latents (sorted) among those that are active on at least `least` samples of every part.

    parts: codes (n, N), for instance those to learn from and those to score on. Fewer, where there are fewer;
    latents active on more than half of a part are left out: no balanced set of inactive examples exists for them.
    """
    often = [((codes > 0).sum(0).cpu(), len(codes)) for codes in parts]
    fit = torch.stack([(times >= least) & (times <= n // 2) for times, n in often]).all(0)
    able = fit.nonzero()[:, 0]
    return able[torch.randperm(len(able), generator=torch.Generator().manual_seed(seed))[:count]].sort()[0]


def sample(values: np.ndarray, token: np.ndarray, count: int, seed: int = 0) -> Examples:
    """Up to `count` active and as many inactive examples of one latent.

    values (n,): its codes; token (n,): token ids. Raises ValueError unless it is active, and inactive, somewhere.
    """
    on, off = np.flatnonzero(values > 0), np.flatnonzero(values <= 0)
    if not len(on) or not len(off):
        raise ValueError("a latent that is always active, or never, has no examples of both kinds")
    draw = np.random.default_rng(seed)
    ranked = on[np.argsort(values[on], kind="stable")]
    decile = np.arange(len(ranked)) * DECILES // len(ranked)
    order = draw.permutation(len(ranked))
    # one from each decile in turn, until there are enough
    turn = np.empty(len(ranked), dtype=int)
    for d in range(DECILES):
        mine = order[decile[order] == d]
        turn[mine] = np.arange(len(mine))
    chosen = order[np.lexsort((draw.random(len(order)), turn[order]))][: min(count, len(off))]
    hard = off[np.isin(token[off], token[on])]
    hard = draw.permutation(hard)[: len(chosen) // 2]
    easy = draw.permutation(np.setdiff1d(off, hard))[: len(chosen) - len(hard)]
    row = np.concatenate([ranked[chosen], hard, easy])
    where = np.concatenate([decile[chosen], np.full(len(hard) + len(easy), -1)])
    shuffle = draw.permutation(len(row))
    return Examples(row[shuffle], where[shuffle] >= 0, where[shuffle])
