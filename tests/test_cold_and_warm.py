"""The process that compiles the kernels and the ones that load them from the cache give the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODES = """
import hashlib
import torch
from amortgap.problem import SparseProblem
p = SparseProblem(16, 8, 3, n=256, seed=0)

def show(*tensors):
    print(hashlib.sha256(b"".join(t.detach().contiguous().numpy().tobytes() for t in tensors)).hexdigest())
"""
SOLVE = """
from amortgap.solvers import solve
show(solve(p.D, p.x, .0025, method="pivoting").codes)
show(solve(p.D, p.x, .0025, method="working_set").codes)
show(solve(p.D, p.x, .0025, method="log_adam", n_steps=200, lr=1e-3).codes)
"""
TRAIN = """
from amortgap.encoders import ENCODERS
from amortgap.training import fit, stack
for name, options in (("relu", {}), ("mlp", {"hidden": 32}), ("topk", {"k": 3})):
    model = stack([ENCODERS[name](8, 16, seed=seed, **options) for seed in range(2)])
    fit(model, p.x, steps=50, l1_weight=.01)
    show(*model.parameters())
"""


@pytest.mark.parametrize("code", [SOLVE, pytest.param(TRAIN, marks=pytest.mark.slow)], ids=["solve", "train"])
def test_a_cold_cache_gives_what_a_warm_one_gives(tmp_path: Path, code: str) -> None:
    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", CODES + code],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    cold = run()
    compiled = sorted(path.name for path in tmp_path.rglob("*.nbc"))
    assert compiled
    assert run() == cold
    # the second process compiled nothing: it was warm indeed
    assert sorted(path.name for path in tmp_path.rglob("*.nbc")) == compiled
