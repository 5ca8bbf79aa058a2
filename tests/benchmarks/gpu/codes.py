"""Matrix rates, the LASSO, pursuits and FISTA on the card, and spams on the CPUs."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.heads import HEADS, propose_top
from amortgap.metrics import fvu
from amortgap.objectives import duality_gap, objective
from amortgap.solvers import alpha_for, prepare, pursue, solve

from .common import CUDA, DEVICE, NATURAL, draw, natural, sized, timed

Row = dict[str, Any]
Add = Callable[[Row], None]
# M, N, K, n: those at which the package orthogonal-matching-pursuit-gpu shows its times
SHAPES = {
    "256x1024": (256, 1024, 32, 5000),
    "8064x1207": (8064, 1207, 30, 1207),
    "512x2048": (512, 2048, 64, 5000),
}
PRECISIONS = {"float32": "highest", "TF32": "high"}  # as torch names them


def rates(add: Add, _: dict[str, list[Row]]) -> None:
    """Products of square matrices (8192), and a copy of 2 GiB."""
    size = 8192 if CUDA else 256
    for name, dtype in (("float32", torch.float32), ("TF32", torch.float32), ("bfloat16", torch.bfloat16)):
        torch.set_float32_matmul_precision(PRECISIONS.get(name, "highest"))
        a, b = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        seconds = timed(partial(torch.mm, a, b, out=out), repeats=20, most=1)
        add({"product": name, "TFLOP/s": 2 * size**3 / seconds / 1e12})
    torch.set_float32_matmul_precision("highest")
    a = torch.empty(2**29 if CUDA else 2**16, device=DEVICE)
    add({"product": "copy", "TB/s": 8 * a.numel() / timed(partial(torch.empty_like(a).copy_, a)) / 1e12})


def lasso(add: Add, _: dict[str, list[Row]]) -> None:
    """Nonnegative codes; alpha is a twentieth of what leaves half of the signals without an active latent, on R1
    what leaves 32, 64 or 128 active latents on average.

    fista alone may take 500 steps; what it has not certified by then is not counted.
    """
    for method in ("auto", "fista"):
        for name in ("W3", "W4", "W5", "W1", "W2", "W6"):
            for tol, dtype in ((1e-4, torch.float32), (1e-6, torch.float64)):
                add(_solved(name, *draw(**sized(name), dtype=dtype), method, tol))
    for name in ("W4 x 8", "W5 x 8"):
        add(_solved(name, *draw(**sized(name)), "auto", 1e-4))
    if not NATURAL.exists():
        add({"workload": f"R1: left out, as there is no {NATURAL.name} (tests.benchmarks.solvers makes it)"})
        return
    D, x = natural()
    for K in (32, 64, 128):
        alpha = alpha_for(D, x[:256], l0=K)
        for tol in (1e-4, 1e-6):
            kind = torch.float32 if tol == 1e-4 else torch.float64
            add(_solved(f"R1, L0 {K}", D.to(kind), x.to(kind), alpha, "auto", tol))


def _solved(name: str, D: Tensor, x: Tensor, alpha: float, method: str, tol: float) -> Row:
    more = {"max_steps": 500} if method == "fista" else {}
    call = partial(solve, D, x, alpha, method, tol=tol, **more)
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    found = call()
    memory = torch.cuda.max_memory_allocated() / 1e9 if CUDA else 0.0
    certified, seconds = float(found.converged.double().mean()), timed(call)
    return {
        "workload": name,
        "gap asked for": tol,
        "type": str(D.dtype)[6:],
        "method": method,
        "ran": "+".join(sorted(set(np.atleast_1d(found.method)))),
        "signals": len(x),
        "ms": 1e3 * seconds,
        "certified signals/s": len(x) * certified / seconds,
        "share certified": certified,
        "worst gap, again": worst_gap(D, x, found.codes, alpha),
        "L0": float((found.codes != 0).sum(1).double().mean()),
        "GB": memory,
    }


def worst_gap(D: Tensor, x: Tensor, codes: Tensor, alpha: float) -> float:
    D = D.double()
    blocks = zip(x.split(512), codes.split(512), strict=True)
    return max(float(duality_gap(D, a.double(), b.double(), alpha).max()) for a, b in blocks)


def omp(add: Add, _: dict[str, list[Row]]) -> None:
    """Orthogonal matching pursuit.

    Signed at the peer's shapes, where both are given the same unit columns; nonnegative on W2 to W5 and on R1.
    The objective is half of the squared residual.
    """
    peer = _peer()
    for name, (M, N, K, n) in SHAPES.items():
        if not CUDA:
            M, N, K, n = 32, 64, 8, 5
        g = torch.Generator(DEVICE).manual_seed(0)
        D = torch.nn.functional.normalize(torch.randn(M, N, generator=g, device=DEVICE), dim=0)
        y = torch.randn(n, M, generator=g, device=DEVICE)
        ours = partial(pursue, D, y, K, "batched_omp", nonnegative=False)
        row: Row = {"shape": name, "K": K, "signals": n, "sign": "signed", "ms": 1e3 * timed(ours)}
        row |= {"signals/s": 1e3 * n / row["ms"], "mean objective": float(ours().objective.mean())}
        if peer is not None:
            theirs = partial(peer, D, y, K, normalize=False, fit_intercept=False, alg="v0")
            row["peer, ms"] = 1e3 * timed(theirs)
            row["peer's mean objective"] = float(objective(D, y, theirs(), 0.0).mean())
            row["times the peer's rate"] = row["peer, ms"] / row["ms"]
        add(row)
    tasks = {name: (*draw(**sized(name))[:2], sized(name)["K"]) for name in ("W2", "W3", "W4", "W5")}
    if NATURAL.exists():
        tasks |= {f"R1, {K}": (*natural(), K) for K in (32, 64)}
    for name, (D, x, K) in tasks.items():
        ours = partial(pursue, D, x, K)
        row = {"shape": name, "K": K, "signals": len(x), "sign": "nonnegative", "ms": 1e3 * timed(ours)}
        add(row | {"signals/s": 1e3 * len(x) / row["ms"], "mean objective": float(ours().objective.mean())})


def _peer() -> Any:
    """run_omp of orthogonal-matching-pursuit-gpu, where it is installed."""
    if importlib.util.find_spec("orthogonal_matching_pursuit_gpu") is None:
        return None
    try:
        from orthogonal_matching_pursuit_gpu import run_omp
    except ImportError:  # its compiled part is for its CPU algorithms only
        part = types.ModuleType("orthogonal_matching_pursuit_gpu.blas_kernels")
        for name in ("argmax_blast", "ppsv", "update_projections_blast", "update_D_mybest_blast"):
            setattr(part, name, None)
        sys.modules[part.__name__] = part
        from orthogonal_matching_pursuit_gpu import run_omp
    return run_omp


def fista(add: Add, done: dict[str, list[Row]]) -> None:
    """60 steps of FISTA, the looks at the gap included, as a share of the matrix rate measured above."""
    known = {row["product"]: row.get("TFLOP/s") for row in done.get("rates", [])}
    for name in ("W3", "W4", "W5"):
        D, x, alpha = draw(**sized(name))
        for product, precision in PRECISIONS.items():
            torch.set_float32_matmul_precision(precision)
            call = partial(solve, D, x, alpha, "fista", tol=1e-4, max_steps=60)
            try:
                seconds, rate = timed(call, repeats=3), call().flops / 1e12
            finally:
                torch.set_float32_matmul_precision("highest")
            row = {"workload": name, "product": product, "ms": 1e3 * seconds, "TFLOP/s": rate / seconds}
            add(row | ({"share": rate / seconds / known[product]} if known.get(product) else {}))


def heads(add: Add, _: dict[str, list[Row]]) -> None:
    """Heads among twice as many candidates as the encoder uses; the encoder: a TopK tied to the decoder.

    Times in encoders: proposal, head and codes together over the encoder with its own selection and codes.
    """
    tasks = {"W5": (*draw(**sized("W5"))[:2], 35)}
    if NATURAL.exists():
        tasks = {f"R1, {K}": (*natural(), K) for K in (32, 64)} | tasks
    for name, (D, x, k) in tasks.items():
        N = D.shape[1]
        given = prepare(D)

        def encoder(D: Tensor = D, x: Tensor = x, k: int = k) -> Tensor:
            top = (x @ D).topk(k, dim=1)
            return x.new_zeros(len(x), D.shape[1]).scatter_(1, top.indices, top.values.relu())

        def improved(head: str, given: Any = given, x: Tensor = x, k: int = k, N: int = N) -> Tensor:
            proposal = propose_top(x @ given.D, k, 2.0)
            return proposal.codes(HEADS[head](given, x, proposal).values, N)

        one = timed(encoder)
        row = {"decoder": name, "k": k, "activations": len(x)}
        add(row | {"head": "none", "ms": 1e3 * one, "encoders": 1.0, "FVU": float(fvu(x, encoder() @ D.T))})
        for head in HEADS:
            seconds, codes = timed(partial(improved, head), repeats=3, most=2), improved(head)
            found = {"head": head, "ms": 1e3 * seconds, "encoders": seconds / one}
            add(row | found | {"FVU": float(fvu(x, codes @ D.T))})


def cpus(add: Add, done: dict[str, list[Row]]) -> None:
    """spams (LARS, float32, all cores) and ours on the CPUs, and how many times their rate the card's is.

    spams forms the Gram matrix in every call, which on W5 is most of its time.
    """
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    card = {
        row["workload"]: row["certified signals/s"]
        for row in done.get("LASSO", [])
        if (row["method"], row["gap asked for"]) == ("auto", 1e-4)
    }
    for name, n in (("W3", 8192), ("W4", 2048), ("W5", 1024)):
        D, x, alpha = draw(**sized(name))
        D, x = D.cpu(), x[:n].cpu()
        calls: dict[str, Callable[[], Any]] = {"ours": partial(solve, D, x, alpha, "working_set", tol=1e-4)}
        if importlib.util.find_spec("spams"):
            import spams

            data = np.asfortranarray(x.numpy().T), np.asfortranarray(D.numpy())
            calls["spams"] = partial(spams.lasso, *data, lambda1=alpha, mode=2, pos=True, numThreads=cores)
        for package, call in calls.items():
            rate = len(x) / timed(call, repeats=2)
            row = {"workload": name, "package": package, "cores": cores, "signals": len(x), "signals/s": rate}
            add(row | ({"card over this": card[name] / rate} if name in card else {}))
