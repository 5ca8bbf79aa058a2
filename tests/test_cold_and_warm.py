"""The process that compiles the kernels and the ones that load them from the cache give the same bits."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import amortgap

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
PURSUE = """
from amortgap.heads import HEADS, propose
from amortgap.solvers import prepare, pursue, refit, solve
show(solve(p.D, p.x, .0025, method="homotopy").codes)
found = pursue(p.D, p.x, 3).codes
show(found, refit(p.D, p.x, found > 0))
h = p.x @ p.D
codes = h.clamp_min(0) * (h >= h.topk(4).values[:, -1:])
for name in ("refit", "pursuit", "leave_one_out"):
    show(HEADS[name](prepare(p.D), p.x, propose(h, codes, ratio=2)).values)
"""
TRAIN = """
from amortgap.encoders import ENCODERS
from amortgap.training import fit, stack
for name, options in (("relu", {}), ("mlp", {"hidden": 32}), ("topk", {"k": 3})):
    model = stack([ENCODERS[name](8, 16, seed=seed, **options) for seed in range(2)])
    fit(model, p.x, steps=50, l1_weight=.01)
    show(*model.parameters())
"""


@pytest.mark.parametrize(
    "code",
    [SOLVE, PURSUE, pytest.param(TRAIN, marks=pytest.mark.slow)],
    ids=["solve", "pursue", "train"],
)
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


def test_what_a_kernel_calls_is_part_of_it() -> None:
    """A kernel that calls another rounds otherwise when it comes from the cache (`_kernels.jit` says why)."""
    found = {}
    for path in Path(amortgap.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        kinds = {one.name: [ast.unparse(how) for how in one.decorator_list] for one in functions}
        found[path] = functions, kinds
    kernels = {name for _, kinds in found.values() for name, how in kinds.items() if how == ["jit"]}
    assert len(kernels) > 8
    for path, (functions, kinds) in found.items():
        for function in functions:
            if set(kinds[function.name]) & {"jit", "fused", "inlined"}:
                calls = {ast.unparse(c.func) for c in ast.walk(function) if isinstance(c, ast.Call)}
                # a function of the same file hides one of that name elsewhere
                own = {name for name, how in kinds.items() if how != ["jit"]}
                assert not calls & kernels - own, f"{path.name}: {function.name}"
