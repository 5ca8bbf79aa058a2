"""The formal proofs compile, and no theorem rests on an axiom. Skipped, with the reason, where Coq is absent."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROOFS = Path(__file__).parents[1]
SOURCES = sorted((PROOFS / "coq").glob("*.v"))

THEOREMS = {
    "fibre": ["finite_poor", "fibre"],
    "exact_decoding": [
        "exact_latent",
        "exact_converse",
        "decodable_iff",
        "card_decodable_set_lt",
        "count_decodable",
        "count_gapped",
        "gated_gap",
        "gated_gap_count",
        "gate_gap",
        "pointwise_gap",
    ],
    "several_rows": ["sparse_kernel", "exact_latent_rows", "rows_gap", "narrow_hidden_layer"],
    "countable": ["countable_poor", "exact_latent_countable", "gated_gap_countable"],
    "one_active": ["farkas", "one_active_criterion", "one_activeP", "topk1_exact", "parabola_exact"],
    "leverage": ["sum_leverage", "leverage_bound", "leverage_eq1", "gap_lower_bound"],
    "van_trees": ["form_cauchy_schwarz", "van_trees"],
    "counterexamples": ["fixed_sum_exact", "binary_counterexample", "pairwise_sum"],
    "maxout": ["l1_unique", "dual_basis", "maxout_difference"],
}


def coq_missing() -> str:
    """Why the proofs cannot be compiled here; empty where they can."""
    coqc = shutil.which("coqc")
    if coqc is None:
        return "coqc is not installed (make proofs installs it where it may)"
    where = subprocess.run([coqc, "-where"], capture_output=True, text=True, check=True).stdout.strip()
    for part in ("algebra/all_algebra.vo", "algebra_tactics/ring.vo"):
        if not (Path(where) / "user-contrib" / "mathcomp" / part).exists():
            return f"Coq is installed, but MathComp's {part} is not"
    return ""


def test_every_source_is_listed():
    assert {path.stem for path in SOURCES} == set(THEOREMS)
    assert f'order="{" ".join(THEOREMS)}"' in (PROOFS / "check.sh").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_assumed_in_the_sources(path):
    code = re.sub(r"\(\*.*?\*\)", " ", path.read_text(), flags=re.DOTALL)
    forbidden = r"\b(Admitted|admit|give_up|Axioms?|Parameters?|Conjecture|Abort|Unset Universe Checking)\b"
    assert not re.findall(forbidden, code)
    checked = re.search(
        r"^Definition theorems := \(([^)]*)\)\.\nPrint Assumptions theorems\.\n\Z", code, re.MULTILINE
    )
    assert checked is not None
    assert re.findall(r"@(\w+)", checked[1]) == THEOREMS[path.stem]


@pytest.mark.skipif(bool(coq_missing()), reason=coq_missing() or "Coq is here")
def test_the_proofs_compile_without_axioms(tmp_path):
    done = subprocess.run(
        ["sh", PROOFS / "check.sh", tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    closed = [
        f"{file}.{name}: Closed under the global context" for file in THEOREMS for name in THEOREMS[file]
    ]
    assert done.stdout.splitlines() == closed


@pytest.mark.skipif(bool(coq_missing()), reason=coq_missing() or "Coq is here")
def test_the_check_notices_an_axiom(tmp_path):
    copy = tmp_path / "proofs"
    shutil.copytree(PROOFS, copy, ignore=shutil.ignore_patterns(".build"))
    for path in (copy / "coq").glob("*.v"):
        path.write_text("")
    # classical logic comes in through the standard library, so no forbidden word betrays it
    (copy / "coq" / "fibre.v").write_text(
        "From Coq Require Import Classical.\n"
        "Lemma middle (P : Prop) : P \\/ ~ P.\nProof. exact (classic P). Qed.\n"
        "Definition theorems := (@middle).\nPrint Assumptions theorems.\n"
    )
    done = subprocess.run(["sh", copy / "check.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "something is assumed" in done.stderr


def test_every_page_points_at_things_that_exist():
    pages = sorted(PROOFS.glob("*.md"))
    assert len(pages) >= 10
    checks = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    stated = r"^(?:Lemma|Theorem|Corollary|Definition) (\w+)"
    proved = {
        f"{path.stem}.{name}"
        for path in SOURCES
        for name in re.findall(stated, path.read_text(), re.MULTILINE)
    }
    for page in pages:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            assert (page.parent / target).exists() or target.startswith("../notebooks/"), (
                f"{page.name}: {target}"
            )
        for name in re.findall(r"`(test_\w+)`", text):
            assert f"def {name}(" in checks, f"{page.name}: {name}"
        for name in re.findall(rf"`((?:{'|'.join(THEOREMS)})\.\w+)`", text):
            assert name in proved or name.endswith(".v"), f"{page.name}: {name}"
