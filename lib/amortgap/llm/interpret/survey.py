"""Many latents at once: a rule for each, learned on the first rows of some places and scored on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from amortgap._progress import progress
from amortgap.llm.interpret.examples import Places, sample
from amortgap.llm.interpret.rules import Features, explain, score


def survey(
    values: np.ndarray,
    names: Sequence[int],
    places: Places,
    table: Features,
    n_learn: int,
    *,
    count: int = 40,
    shuffled: bool = False,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row a latent: latent, density, clauses, rule, and the scores of `rules.score`.

    values (n, L): codes of the L latents called `names` at `places`; rows before n_learn, which must be of other
    documents than the rest, teach the rule on `count` active and `count` inactive examples, and as many of the rest
    score it. shuffled: the learning labels are permuted first: the score of a rule that learned nothing.
    """
    rows = []
    token = places.token
    for name, column in zip(names, progress(values.T, desc="rules"), strict=True):
        learn = sample(column[:n_learn], token[:n_learn], count, seed)
        held = sample(column[n_learn:], token[n_learn:], count, seed)
        held = replace(held, row=held.row + n_learn)
        if shuffled:
            learn = replace(learn, active=np.random.default_rng(seed).permutation(learn.active))
        rule = explain(table, learn)
        scores = score(rule.holds(table, held.row), held)
        density = float((column > 0).mean())
        rows.append(
            {"latent": int(name), "density": density, "clauses": len(rule.clauses), "rule": rule.text}
            | scores
        )
    return rows
