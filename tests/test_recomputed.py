"""Committed claims are found again from their data files by code that shares nothing with ours (`recompute.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amortgap.kit.tables import write_table
from amortgap.kit.verdict import judge
from amortgap.problem import SparseProblem
from amortgap.solvers import solve
from recompute import RECIPES, Found, Tables, differences, judged, main, number

PAPER = Path(__file__).parents[1] / "reports" / "paper"


def test_committed_claims_are_those_of_the_committed_tables() -> None:
    claims = json.loads((PAPER / "data" / "claims.json").read_text())
    again = [claim["id"] for claim in claims if claim["id"] in RECIPES]
    count, wrong = differences(PAPER)
    assert wrong == []
    assert count == len(again)
    assert count == len(RECIPES), "each claim that can be found again is made"


def test_the_committed_report_decides_most_of_what_is_published_and_is_small_enough_to_clone() -> None:
    claims = json.loads((PAPER / "data" / "claims.json").read_text())
    published = [claim for claim in claims if isinstance(claim["paper"], float)]
    compared = [claim for claim in published if claim["verdict"] != "not comparable"]
    decided = [claim for claim in compared if claim["verdict"] != "inconclusive"]
    assert len(decided) >= 0.8 * len(compared) > 50
    assert [claim["id"] for claim in claims if not claim["alternative"]] == []
    assert sum(file.stat().st_size for file in PAPER.rglob("*") if file.is_file()) < 24e6


@settings(deadline=None)  # its first example imports scipy
@given(
    values=st.lists(st.floats(0.05, 0.95), min_size=2, max_size=8, unique=True),
    published=st.one_of(st.none(), st.sampled_from(["above", "below"]), st.floats(0.1, 0.9)),
    against=st.floats(0.1, 0.9),
    scale=st.sampled_from(["plain", "score", "log"]),
    cause=st.booleans(),
)
def test_the_rule_written_twice_gives_one_judgement(
    values: list[float], published: float | str | None, against: float, scale: str, cause: bool
) -> None:
    ours = judge(values, published, against, scale, cause_shown=cause)
    again = judged(Found(values, published, against, scale, cause))
    assert (ours.verdict, ours.n) == (again["verdict"], again["n"])
    assert [ours.ours, ours.low, ours.high] == pytest.approx([again[end] for end in ("ours", "low", "high")])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "reproduced"),
        ("low", 0.5),
        ("high", 0.99),
        ("ours", 0.8),
        ("against", 0.5),
        ("paper", 0.6),
        ("n", 4),
    ],
)
def test_a_claim_that_its_table_does_not_bear_out_is_found(
    tmp_path: Path, field: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "03_known_dictionary"
    scores = np.random.default_rng(0).normal(0.9, 0.01, size=20)
    rows = [{"method": "MLP 256", "dictionary": d, "mcc": score} for d, score in enumerate(scores)]
    write_table(folder / "results.json", rows)
    found = judge(scores, number("E2.5"), number("E2.1"), "score")
    claim = {"id": "E2.5", "paper": number("E2.5"), "against": number("E2.1")} | found._asdict()
    (folder / "claims.json").write_text(json.dumps([claim]))
    assert claim["verdict"] == "not reproduced"
    assert differences(tmp_path) == (1, [])
    assert main(str(tmp_path)) == 0
    (folder / "claims.json").write_text(json.dumps([claim | {field: value}]))
    assert main(str(tmp_path)) == 1
    assert f"E2.5: {field} is {value}" in capsys.readouterr().out


def test_the_solver_s_term_depends_on_rate_steps_and_start_as_page_09_claims(tmp_path: Path) -> None:
    """S.1 to S.3 on three dictionaries of 64 signals, too few for the interval of S.1."""
    cases = {
        "10 000 at .003": (10_000, 0.003),
        "20 000 at .001": (20_000, 0.001),
        "from the read-out": (20_000, 0.001),
    }
    rows = []
    for case, (n_steps, lr) in cases.items():
        for d in range(3):
            p = SparseProblem(n=64, seed=d)
            read_out = torch.relu(p.x @ torch.linalg.pinv(p.D).T)
            init = read_out if case == "from the read-out" else None
            best = solve(p.D, p.x, 0.0025).objective.mean()
            found = solve(p.D, p.x, 0.0025, "log_adam", n_steps=n_steps, lr=lr, init=init).objective.mean()
            rows.append({"case": case, "dictionary": d, "excess": float(found / best - 1)})
    write_table(tmp_path / "solver_terms.json", rows)
    rate, start, share = (RECIPES[f"S.{i}"][1](Tables(tmp_path)) for i in (1, 2, 3))
    assert min(rate.values) > 1, "the rate matters more than twice the steps"
    from_start, of_optimum = judged(start), judged(share)
    assert from_start["high"] < 0.2, "a good start takes most of what is left"
    assert 0.01 < of_optimum["low"] < of_optimum["high"] < 0.1
