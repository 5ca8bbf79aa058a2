"""Explanations that need no language model: short rules over tokens, learned on some contexts, scored on others.

A rule is a disjunction of at most five plain features of the token and what precedes it, e.g. "the word is “peace”,
or the word before is “civil”, or it ends in “-ent”". Features are chosen one by one, each time the one that raises
balanced accuracy on the learning examples most (F1 would choose "always active", which has 2/3). Nothing after the
token is used, because the model had not read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from amortgap.llm.interpret.examples import DECILES, Examples, Places

CLAUSES = 5
LEAST = 3  # rows on which a feature must hold
SUPPORT = 2  # active examples that a feature must cover
GAIN = 0.02  # of balanced accuracy that a clause must add
NEARBY = 10

SHAPES: dict[str, Callable[[str], bool]] = {
    "it begins a word": lambda t: t[:1].isspace() and t.strip()[:1].isalpha(),
    "it continues a word": lambda t: t[:1].isalpha(),
    "it begins with a capital": lambda t: t.strip()[:1].isupper(),
    "it is all capitals": lambda t: len(t.strip()) > 1 and t.strip().isupper(),
    "it has a digit": lambda t: any(c.isdigit() for c in t),
    "it is punctuation": lambda t: bool(t.strip()) and not any(c.isalnum() for c in t),
    "it has a line break": lambda t: "\n" in t,
    "it is a single letter": lambda t: len(t.strip()) == 1 and t.strip().isalpha(),
}


@dataclass(frozen=True)
class Features:
    """Which of the named features hold where: table (n, F) of zeros and ones, sparse."""

    table: csr_matrix
    names: list[str]


@dataclass(frozen=True)
class Rule:
    """Active where any of these features holds."""

    clauses: list[int]
    text: str

    def holds(self, features: Features, rows: np.ndarray) -> np.ndarray:
        """Prediction (m,) bool."""
        if not self.clauses:
            return np.zeros(len(rows), dtype=bool)
        return np.asarray(features.table[rows][:, self.clauses].sum(1)).ravel() > 0


def features(places: Places) -> Features:
    """The features of every row of `places` that hold on at least LEAST rows."""
    ids = sorted(places.strings)
    words, word = np.unique([places.strings[i].strip().lower() for i in ids], return_inverse=True)
    words = np.array([w or "(blank)" for w in words])
    index = np.zeros(max(ids) + 1, dtype=int)
    index[ids] = np.arange(len(ids))
    token = index[places.token]
    parts: list[tuple[np.ndarray, np.ndarray, list[str]]] = []  # rows, columns, names of the columns

    def back(lag: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(places.position >= lag)
        return rows, word[index[places.windows[places.window[rows], places.position[rows] - lag]]]

    everywhere = np.arange(len(places))
    parts.append((everywhere, token, [f"the token is “{places.strings[i]}”".replace("\n", "↵") for i in ids]))
    parts.append((everywhere, word[token], [f"the word is “{w}”" for w in words]))
    for lag, name in enumerate(("the word before", "two words before", "three before"), 1):
        parts.append((*back(lag), [f"{name} is “{w}”" for w in words]))
    rows, before = back(1)
    pairs, pair = np.unique(before * len(words) + word[token][rows], return_inverse=True)
    parts.append((rows, pair, [f"it ends “{words[p // len(words)]} {words[p % len(words)]}”" for p in pairs]))
    for size in (2, 3):
        endings, ending = np.unique(
            [w[-size:] if w.isalpha() and len(w) > size else "" for w in words], return_inverse=True
        )
        rows = np.flatnonzero(endings[ending[word[token]]] != "")
        parts.append((rows, ending[word[token]][rows], [f"it ends in “-{e}”" for e in endings]))
    shape = np.array([[test(places.strings[i]) for test in SHAPES.values()] for i in ids])
    rows, columns = shape[token].nonzero()
    parts.append((rows, columns, list(SHAPES)))
    near = [back(lag) for lag in range(1, NEARBY + 1)]
    rows, columns = (np.concatenate([found[j] for found in near]) for j in (0, 1))
    parts.append((rows, columns, [f"“{w}” is among the last {NEARBY} words" for w in words]))
    parts.append(_position(places))
    return _assemble(parts, len(places))


def _position(places: Places) -> tuple[np.ndarray, np.ndarray, list[str]]:
    names = ["it is one of the first 4 tokens", "it is among tokens 5 to 16", "the same token came before"]
    early, soon = places.position < 4, (places.position >= 4) & (places.position < 16)
    row, token = places.windows[places.window], places.token
    again = ((row == token[:, None]) & (np.arange(row.shape[1]) < places.position[:, None])).any(1)
    held = [np.flatnonzero(which) for which in (early, soon, again)]
    columns = np.concatenate([np.full(len(rows), i) for i, rows in enumerate(held)])
    return np.concatenate(held), columns, names


def _assemble(parts: list[tuple[np.ndarray, np.ndarray, list[str]]], n: int) -> Features:
    starts = np.cumsum([0, *(len(names) for _, _, names in parts)])
    rows = np.concatenate([part[0] for part in parts])
    columns = np.concatenate([part[1] + start for part, start in zip(parts, starts, strict=False)])
    table = csr_matrix((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(n, starts[-1]))
    table.data[:] = 1  # a word may be nearby twice
    kept = np.flatnonzero(np.bincount(table.indices, minlength=table.shape[1]) >= LEAST)
    names = [name for _, _, group in parts for name in group]
    return Features(table[:, kept].tocsr(), [names[i] for i in kept])


def explain(features: Features, examples: Examples) -> Rule:
    """The rule of at most five clauses that greedy search finds on the examples; without clauses if none helps."""
    sub = features.table[examples.row]
    held = np.asarray(sub[examples.active].sum(0)).ravel()
    candidates = np.flatnonzero(held >= SUPPORT)
    table = sub[:, candidates].toarray().astype(bool)
    said, best = np.zeros(len(table), dtype=bool), 0.5
    clauses: list[int] = []
    weight = np.where(examples.active, 1 / examples.active.sum(), -1 / (~examples.active).sum()) / 2
    while len(clauses) < CLAUSES and len(candidates):
        accuracy = 0.5 + weight @ (table | said[:, None])
        pick = int(accuracy.argmax())
        if accuracy[pick] < best + GAIN:
            break
        best, said = float(accuracy[pick]), table[:, pick] | said
        clauses.append(int(candidates[pick]))
    return Rule(clauses, ", or ".join(features.names[c] for c in clauses) or "no rule was found")


def score(said: np.ndarray, examples: Examples) -> dict[str, float]:
    """F1, balanced accuracy, precision and recall of predictions (m,) bool, and recall by decile of activation.

    On as many active as inactive examples. A coin has F1 .5, "always active" 2/3; both have balanced accuracy .5.
    """
    active = examples.active
    hits, claimed = (said & active).sum(), said.sum()
    scores = {
        "f1": 2 * hits / (claimed + active.sum()),
        "balanced": 0.5 * (hits / active.sum() + (~said & ~active).sum() / (~active).sum()),
        "precision": hits / claimed if claimed else 0.0,
        "recall": hits / active.sum(),
    }
    for d in range(DECILES):
        mine = examples.decile == d
        if mine.any():
            scores[f"decile_{d}"] = said[mine].mean()
    return {name: float(value) for name, value in scores.items()}
