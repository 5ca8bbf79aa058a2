"""n_steps and flops of every solver and pursuit are counts of what was done, by the convention in amortgap.flops.

The independent count: torch's counter sees the products of torch, and the kernels run as plain Python, where every
execution of a statement  a += b * c  is seen by a trace and counts two for each product in it.
"""

import ast
import importlib
import itertools
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from amortgap.problem import SparseProblem
from amortgap.solvers import PURSUITS, SOLVERS, basis_pursuit, kernels, pursue, solve

M, N, n, K = 10, 24, 32, 3
ALPHA = 0.05
# log_adam makes all its steps whatever the answer; the work of cvxpy's solvers is not counted
COUNTED = [name for name in SOLVERS if name not in ("log_adam", "lasso_cvxpy")]
SLOW = {"ista", "lca", "coordinate_descent"}
KERNELS = [
    importlib.import_module(f"{kernels.__name__}.{part.name}")
    for part in pkgutil.iter_modules(kernels.__path__)
]


def signals():
    p = SparseProblem(N=N, M=M, K=K, n=n, noise=0.05, dtype=torch.double)
    return p.D, p.x


def multiply_adds(path):
    """Operations of each line of a source: two for each product that is added to something."""
    found = {}
    for node in ast.walk(ast.parse(Path(path).read_text("utf-8"))):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
            if "flops" in ast.unparse(node.target) or "work" in ast.unparse(node.target):
                continue
            terms = [node.value]
            while any(isinstance(t, ast.BinOp) and isinstance(t.op, ast.Add | ast.Sub) for t in terms):
                terms = [
                    part
                    for t in terms
                    for part in (
                        [t.left, t.right]
                        if isinstance(t, ast.BinOp) and isinstance(t.op, ast.Add | ast.Sub)
                        else [t]
                    )
                ]
            products = [t for t in terms if any(isinstance(x, ast.Mult | ast.Pow) for x in ast.walk(t))]
            if products:
                found[node.lineno] = 2 * len(products)
    return found


def cholesky(shape, *args, out_shape=None, **kwargs):
    return int(np.prod(shape[:-2])) * shape[-1] ** 3 // 3


def triangular_solves(b, factor, *args, out_shape=None, **kwargs):
    return int(np.prod(b[:-2])) * 2 * factor[-1] ** 2 * b[-1]


def outer(a, b, *args, out_shape=None, **kwargs):
    """(n, 1) times (N,): a rank-one update."""
    return 2 * a[0] * b[0] if len(a) == 2 and a[1] == 1 and isinstance(b, torch.Size) and len(b) == 1 else 0


def counted(work, monkeypatch):
    """The result of `work` and the operations seen."""
    lines, seen = {}, [0]
    for module in KERNELS:
        lines[module.__file__] = multiply_adds(module.__file__)
        for name, value in vars(module).copy().items():
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)

    def look(frame, event, _):
        here = lines.get(frame.f_code.co_filename)
        if here is None:
            return None
        if event == "line":
            seen[0] += here.get(frame.f_lineno, 0)
        return look

    aten = torch.ops.aten
    extra = {aten.linalg_cholesky_ex: cholesky, aten.cholesky_solve: triangular_solves, aten.mul: outer}
    before = sys.gettrace()
    with FlopCounterMode(display=False, custom_mapping=extra) as counter, np.errstate(all="ignore"):
        sys.settrace(look)
        try:
            result = work()
        finally:
            sys.settrace(before)
    return result, seen[0] + counter.get_total_flops()


@pytest.mark.parametrize("name", [*COUNTED, "log_adam"])
def test_a_solvers_operations_are_those_seen(name, monkeypatch):
    D, x = signals()
    if name == "pivoting":  # lanes beside a sample are not its work: here all do the same
        x = x[:1].repeat(n, 1)
    options = {"n_steps": 20} if name == "log_adam" else {"max_steps": 60} if name in SLOW else {}
    solution, seen = counted(lambda: solve(D, x, ALPHA, name, **options), monkeypatch)
    assert solution.flops == pytest.approx(seen, rel=0.1)


@pytest.mark.parametrize("nonnegative", [True, False], ids=["nonnegative", "signed"])
@pytest.mark.parametrize("name", PURSUITS)
def test_a_pursuits_operations_are_those_seen(name, nonnegative, monkeypatch):
    D, x = signals()
    solution, seen = counted(lambda: pursue(D, x, K, name, nonnegative), monkeypatch)
    assert solution.flops == pytest.approx(seen, rel=0.1)


def test_the_operations_of_basis_pursuit_are_those_seen(monkeypatch):
    p = SparseProblem(N=N, M=M, K=K, n=n, dtype=torch.double)
    D, x = p.D, p.x
    solution, seen = counted(lambda: basis_pursuit(D, x), monkeypatch)
    assert (solution.method == "homotopy").all()
    assert solution.flops == pytest.approx(seen, rel=0.1)


# batched solves a first small problem of all samples before it looks at their gaps
@pytest.mark.parametrize("name", [name for name in COUNTED if name != "batched"])
def test_a_solver_takes_no_step_where_the_answer_is_zero(name):
    D, x = signals()
    solution = solve(D, x, 1.01 * float((x @ D).max()), name)
    assert (solution.codes == 0).all()
    assert (solution.n_steps == 0).all()
    # at most the Gram matrix, one screening and two looks at the gap
    assert solution.flops <= 2 * M * N * N + n * 12 * M * N


@pytest.mark.parametrize("name", PURSUITS)
def test_a_pursuit_takes_no_step_where_the_answer_is_zero(name):
    D, x = signals()
    solution = pursue(D, 0 * x, K, name)
    assert (solution.codes == 0).all()
    assert (solution.n_steps == 0).all()
    assert solution.flops <= 2 * M * N * N + n * 12 * M * N


@pytest.mark.parametrize("name", COUNTED)
def test_a_smaller_tolerance_takes_no_less(name):
    D, x = signals()
    options = {"max_steps": 300} if name in SLOW else {}
    # from 1e-4 on, iterates are float64
    found = [solve(D, x, ALPHA, name, tol=tol, **options) for tol in (1e-2, 1e-4, 1e-6, 1e-8)]
    for looser, tighter in itertools.pairwise(found):
        assert looser.flops <= tighter.flops
        assert looser.n_steps.sum() <= tighter.n_steps.sum()
