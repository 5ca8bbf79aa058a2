"""make gpu: tests and timings on one CUDA device, in at most --minutes; writes reports/bench/gpu.json and gpu.md.

Every section runs by itself: what fails leaves its message in the report and the others go on; the report is
written after each. Times are medians of synchronised repetitions after a warm-up, set-up included; problems are
drawn on the card by the laws of `SparseProblem`. Gaps are computed again in float64 from the codes. Peers are run
beside ours, in the same run, where they are installed: orthogonal-matching-pursuit-gpu on the card, spams on CPUs.
Without a CUDA device it tries itself out at tiny sizes on the CPU and writes no report unless --out says where.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap._files import write_text
from amortgap.encoders import ReLUEncoder, TopKEncoder
from amortgap.objectives import duality_gap, objective
from amortgap.solvers import pursue, solve
from amortgap.training import fit, stack

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
WORKLOADS: dict[str, dict[str, Any]] = {
    "W1": {"N": 16, "M": 8, "K": 3, "n": 100_000},
    "W2": {"N": 256, "M": 64, "K": 8, "n": 50_000},
    "W3": {"N": 1000, "M": 200, "K": 20, "n": 20_000},
    "W4": {"N": 4608, "M": 576, "K": 40, "n": 4096, "noise": 0.01},
    "W5 n=512": {"N": 16384, "M": 768, "K": 35, "n": 512, "noise": 0.01},
    "W5": {"N": 16384, "M": 768, "K": 35, "n": 4096, "noise": 0.01},
    "W6": {"N": 65536, "M": 2304, "K": 60, "n": 256, "noise": 0.01},
}
SHAPES = {
    "256x1024": (256, 1024, 32, 5000),
    "8064x1207": (8064, 1207, 30, 1207),
    "512x2048": (512, 2048, 64, 5000),
}


class Report:
    """Rows by section, written whole after every change."""

    def __init__(self, out: Path | None, minutes: float, most: float) -> None:
        self.out, self.stop, self.most = out, time.monotonic() + 60 * minutes, most
        self.began = time.monotonic()
        self.data: dict[str, Any] = {"about": about(), "sections": {}, "errors": {}, "seconds": {}}

    def left(self) -> float:
        return self.stop - time.monotonic()

    def add(self, section: str, row: dict[str, Any]) -> None:
        self.data["sections"].setdefault(section, []).append(row)
        shown = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print(f"{time.monotonic() - self.began:5.0f} s  {section}: {shown}", flush=True)
        self.write()

    def write(self) -> None:
        if self.out is not None:
            write_text(self.out / "gpu.json", json.dumps(self.data, indent=1, default=str) + "\n")
            write_text(self.out / "gpu.md", table(self.data))


def about() -> dict[str, Any]:
    found = {"device": "CPU", "torch": torch.__version__, "python": platform.python_version()}
    found |= {"numpy": np.__version__, "cores": os.cpu_count(), "date": datetime.date.today().isoformat()}
    if CUDA:
        card = torch.cuda.get_device_properties(0)
        found |= {
            "device": card.name,
            "memory": card.total_memory,
            "multiprocessors": card.multi_processor_count,
        }
        found |= {"cuda": torch.version.cuda}
    return found


def wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def timed(call: Callable[[], Any], repeats: int = 5, least: float = 0.2, most: float = 6.0) -> float:
    """Median seconds of a call after one that is not counted."""
    call()
    wait()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < repeats or time.perf_counter() - begin < least:
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
        if time.perf_counter() - begin > most:
            break
    return median(times)


def draw(
    N: int, M: int, K: int, n: int, noise: float = 0.0, seed: int = 0, dtype: Any = torch.float32
) -> Any:
    """D (M, N) Gaussian with unit columns; x (n, M) of half-normal, exactly K-sparse codes, and noise."""
    g = torch.Generator(DEVICE).manual_seed(seed)
    D = torch.randn(M, N, generator=g, device=DEVICE, dtype=torch.float64)
    D /= torch.linalg.vector_norm(D, dim=0)
    support = torch.rand(n, N, generator=g, device=DEVICE).topk(K).indices
    values = torch.randn(n, K, generator=g, device=DEVICE, dtype=torch.float64).abs()
    x = torch.empty(n, M, device=DEVICE, dtype=torch.float64)
    rows = D.T.contiguous()
    for part in torch.arange(n, device=DEVICE).split(2048):
        x[part] = torch.bmm(values[part, None], rows[support[part]])[:, 0]
    x += noise * torch.randn(n, M, generator=g, device=DEVICE, dtype=torch.float64)
    return D.to(dtype), x.to(dtype)


def worst_gap(D: Tensor, x: Tensor, codes: Tensor, alpha: float) -> float:
    D = D.double()
    return max(
        float(duality_gap(D, a.double(), b.double(), alpha).max())
        for a, b in zip(x.split(512), codes.split(512), strict=True)
    )


# --- sections -----------------------------------------------------------------------------------------------


def rates(report: Report, small: bool) -> None:
    """Matrix rates and the memory's, measured here; later shares are of these."""
    size = 512 if small else 8192
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("TF32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
        ("float64", torch.float64, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        seconds = timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), most=2)
        report.add("rates", {"product": name, "TFLOP/s": 2 * size**3 / seconds / 1e12})
    torch.set_float32_matmul_precision("highest")
    a = torch.empty(2**20 if small else 2**29, device=DEVICE)
    b = torch.empty_like(a)
    report.add("rates", {"product": "copy", "TB/s": 8 * a.numel() / timed(lambda: b.copy_(a)) / 1e12})


def primitives(report: Report, small: bool) -> None:
    """What the batched solvers consist of, one by one, at W4's and W5's sizes."""
    n = 64 if small else 4096
    for T in (32, 48, 64, 96, 128):
        A = torch.randn(n, T, 2 * T, device=DEVICE)
        G = A @ A.mT / T + torch.eye(T, device=DEVICE)
        b = torch.randn(n, T, 1, device=DEVICE)
        L = torch.linalg.cholesky_ex(G)[0]
        calls = {
            "cholesky_ex": lambda G=G: torch.linalg.cholesky_ex(G),
            "cholesky_solve": lambda b=b, L=L: torch.cholesky_solve(b, L),
            "inv_ex": lambda G=G: torch.linalg.inv_ex(G),
            "solve_ex": lambda G=G, b=b: torch.linalg.solve_ex(G, b),
            "triangular": lambda b=b, L=L: torch.linalg.solve_triangular(L, b, upper=False),
            "G y": lambda G=G, b=b: torch.bmm(G, b),
            "G masked": lambda G=G: G * (G[:, :, :1] > 0) * (G[:, :1] > 0),
        }
        for name, call in calls.items():
            report.add(
                "primitives", {"call": name, "T": T, "n": n, "ms": 1e3 * timed(call, least=0.02, most=1)}
            )
    for name, N, M in (("W4", 4608, 576), ("W5", 16384, 768)):
        D = torch.randn(M, N, device=DEVICE)
        r, rows, T = torch.randn(n, M, device=DEVICE), D.T.contiguous(), 64
        c = r @ D
        half, low = D.bfloat16(), c.bfloat16()
        atoms = torch.randint(0, N, (n, T), device=DEVICE)
        columns = rows[atoms]
        calls = {
            "product": lambda r=r, D=D: r @ D,
            "product bfloat16": lambda r=r, half=half: r.bfloat16() @ half,
            "widen": lambda low=low: low.float(),
            "topk 65": lambda c=c: c.topk(65, dim=1),
            "topk 65 unsorted": lambda c=c: c.topk(65, dim=1, sorted=False),
            "topk 65 bfloat16": lambda low=low: low.topk(65, dim=1),
            "max": lambda c=c: c.max(1),
            "max of 32": lambda c=c, N=N: c.view(n, N // 32, 32).amax(2),
            "scatter": lambda c=c, atoms=atoms: c.scatter(1, atoms, 0.0),
            "gather columns": lambda rows=rows, atoms=atoms: rows[atoms],
            "Gram": lambda columns=columns: columns @ columns.mT,
            "columns float64": lambda columns=columns: columns.double(),
            "residual": lambda columns=columns: torch.bmm(columns[:, :, 0][:, None], columns),
            "bag": lambda rows=rows, atoms=atoms: torch.nn.functional.embedding_bag(
                atoms, rows, mode="sum", per_sample_weights=torch.ones(atoms.shape, device=DEVICE)
            ),
        }
        for call_name, call in calls.items():
            row = {"call": call_name, "T": f"{name} {T}", "n": n, "ms": 1e3 * timed(call, least=0.02, most=1)}
            report.add("primitives", row)


def tests(report: Report, small: bool) -> None:
    """pytest -m gpu, in processes of their own: what is made for this, then what other files mark."""
    here, stop = Path(__file__).parents[1], time.monotonic() + min(report.most, report.left()) - 10
    for part in (["gpu"], ["problem", "metrics", "dictionaries", "training", "learners", "solvers"]):
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "-p",
            "no:cacheprovider",
            "-W",
            "default",
            "--tb=short",
        ]
        command += ["-m", "gpu", *(f"{here}/test_{name}.py" for name in part), *(["-x"] if small else [])]
        try:
            limit = max(15.0, stop - time.monotonic())
            run = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=here.parent)
            text = run.stdout + run.stderr[-2000:]
        except subprocess.TimeoutExpired as error:
            text = (error.stdout or b"").decode() + f"\nstopped after {limit:.0f} s"
        if report.out is not None:
            write_text(report.out / f"tests_{part[0]}.txt", text)
        lines = [line for line in text.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("E  ", "FAILED", "ERROR"))]
        print("\n".join(told)[:4000], flush=True)
        report.add(
            "tests", {"files": ", ".join(part), "result": lines[-1].strip("= ") if lines else "no output"}
        )


def lasso(report: Report, small: bool) -> None:
    """Certified signals a second of both solvers for CUDA, and of the CPU's on this machine."""
    for name, sizes in WORKLOADS.items():
        if small:
            sizes = {
                **sizes,
                "n": 8,
                "N": min(sizes["N"], 2048),
                "M": min(sizes["M"], 256),
                "K": min(sizes["K"], 16),
            }
        for tol, dtype in ((1e-4, torch.float32), (1e-6, torch.float64)):
            D, x = draw(**sizes, dtype=dtype)
            alpha = 0.05 * float((x @ D).amax(1).median())
            for method in ("auto", "batched", "fista"):
                slow = method == "fista" and (sizes["N"] > 10_000 or dtype == torch.float64)
                if report.left() < 20 or slow:
                    continue
                part = x[: len(x) // 4] if method == "fista" and sizes["N"] > 2000 else x

                call = partial(solve, D, part, alpha, method, tol=tol)
                try:
                    if CUDA:
                        torch.cuda.reset_peak_memory_stats()
                    found = call()
                    row = {
                        "workload": name,
                        "tol": tol,
                        "method": method,
                        "took": "+".join(sorted(set(np.atleast_1d(found.method)))),
                        "n": len(part),
                    }
                    row |= {"certified": float(found.converged.double().mean())}
                    row |= {"gap": float(found.duality_gap.max())}
                    row |= {"again": worst_gap(D, part, found.codes, alpha)}
                    row |= {"L0": float((found.codes != 0).sum(1).double().mean())}
                    row["GB"] = torch.cuda.max_memory_allocated() / 1e9 if CUDA else 0.0
                    row["seconds"] = timed(call, repeats=3, most=4)
                    row["signals/s"] = len(part) * row["certified"] / row["seconds"]
                    report.add("LASSO", row)
                except Exception:
                    report.data["errors"][f"LASSO {name} {method} {tol}"] = traceback.format_exc()[-3000:]
                    report.write()


def cpu(report: Report, small: bool) -> None:
    """spams and our working_set on this machine's CPU cores: the same problems, fewer signals."""
    cores = 2 if small else os.cpu_count() or 1
    torch.set_num_threads(cores)
    for name, n in (("W3", 20_000), ("W4", 4096), ("W5", 1024)):
        if report.left() < 40:
            return
        sizes = {**WORKLOADS[name], "n": n}
        if small:
            sizes |= {"n": 64, "N": 512, "M": 64, "K": 8}
        D, x = (v.cpu() for v in draw(**sizes))
        alpha = 0.05 * float((x @ D).amax(1).median())
        seconds = timed(lambda D=D, x=x, a=alpha: solve(D, x, a, "working_set", tol=1e-4), repeats=2, most=8)
        report.add(
            "CPU", {"workload": name, "package": "ours", "cores": cores, "signals/s": len(x) / seconds}
        )
        if importlib.util.find_spec("spams"):
            import spams

            signals, matrix = np.asfortranarray(x.numpy().T), np.asfortranarray(D.numpy())
            options = {"lambda1": alpha, "mode": 2, "pos": True, "numThreads": cores}
            seconds = timed(lambda s=signals, m=matrix, o=options: spams.lasso(s, m, **o), repeats=2, most=8)
            report.add(
                "CPU", {"workload": name, "package": "spams", "cores": cores, "signals/s": len(x) / seconds}
            )


def profile(report: Report, small: bool) -> None:
    """Where batched's time goes: the kernels that take most of it."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recorder

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]
    for name in ("W3", "W4", "W5"):
        sizes = {**WORKLOADS[name], **({"n": 8, "N": 512, "M": 64, "K": 8} if small else {})}
        D, x = draw(**sizes)
        alpha = 0.05 * float((x @ D).amax(1).median())
        for task in ("LASSO", "OMP"):
            if report.left() < 30:
                return

            if task == "OMP":
                call = partial(pursue, D, x, sizes["K"], "batched_omp")
            else:
                call = partial(solve, D, x, alpha, "batched", tol=1e-4)
            call()
            wait()
            with recorder(activities=kinds) as seen:
                start = time.perf_counter()
                call()
                wait()
                seconds = time.perf_counter() - start
            key = "device_time_total" if CUDA else "cpu_time_total"
            entries = seen.key_averages()
            top = sorted(entries, key=lambda e: -getattr(e, "self_" + key, 0))[:14]
            rows = {e.key[:70]: [round(getattr(e, "self_" + key, 0) / 1e3, 3), e.count] for e in top}
            report.data["sections"].setdefault("profile", []).append(
                {"workload": name, "task": task, "seconds": seconds, "ms and calls": rows}
            )
            report.write()
            print(f"profile {name} {task}: {1e3 * seconds:.1f} ms", json.dumps(rows), flush=True)


def omp(report: Report, small: bool) -> None:
    """Pursuit: ours and orthogonal-matching-pursuit-gpu at that package's shapes; nonnegative on W2-W5."""
    peer = _peer()
    for name, (M, N, K, n) in SHAPES.items():
        if small:
            M, N, K, n = min(M, 64), min(N, 128), 8, 20
        g = torch.Generator(DEVICE).manual_seed(0)
        D = torch.randn(M, N, generator=g, device=DEVICE)
        D /= torch.linalg.vector_norm(D, dim=0)
        y = torch.randn(n, M, generator=g, device=DEVICE)
        row: dict[str, Any] = {"shape": name, "K": K, "n": n, "sign": "signed"}
        ours = timed(lambda D=D, y=y, K=K: pursue(D, y, K, "batched_omp", nonnegative=False), repeats=3)
        found = pursue(D, y, K, "batched_omp", nonnegative=False)
        row |= {"ours, ms": 1e3 * ours, "objective": float(found.objective.mean())}
        if peer is not None:
            for alg in ("v0", "naive"):
                if alg == "naive" and M > 2000:
                    continue

                def call(alg: str = alg, D: Tensor = D, y: Tensor = y, K: int = K) -> Tensor:
                    return peer(D, y, K, normalize=False, fit_intercept=False, alg=alg)

                try:
                    row[f"{alg}, ms"] = 1e3 * timed(call, repeats=3)
                    row[f"{alg} objective"] = float(objective(D, y, call(), 0.0).mean())
                except Exception as error:
                    row[f"{alg} error"] = str(error)[:200]
            if "v0, ms" in row:
                row["ratio"] = min(row[k] for k in ("v0, ms", "naive, ms") if k in row) / row["ours, ms"]
        report.add("OMP", row)
    for name in ("W2", "W3", "W4", "W5"):
        sizes = {**WORKLOADS[name], **({"n": 8, "N": 512, "M": 64, "K": 8} if small else {})}
        if report.left() < 20:
            return
        D, x = draw(**sizes)
        seconds = timed(lambda D=D, x=x, K=sizes["K"]: pursue(D, x, K), repeats=3, most=4)
        row = {"shape": name, "K": sizes["K"], "n": len(x), "sign": "nonnegative", "ours, ms": 1e3 * seconds}
        report.add("OMP", row | {"signals/s": len(x) / seconds})


def _peer() -> Any:
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


def fista_share(report: Report, small: bool) -> None:
    """FISTA's products, as a share of the matrix rate of the same precision."""
    known = {r["product"]: r.get("TFLOP/s") for r in report.data["sections"].get("rates", [])}
    for name in ("W3", "W4", "W5"):
        sizes = {**WORKLOADS[name], **({"n": 8, "N": 512, "M": 64, "K": 8} if small else {})}
        D, x = draw(**sizes)
        alpha = 0.05 * float((x @ D).amax(1).median())
        for precision, product in (("highest", "float32"), ("high", "TF32")):
            if report.left() < 20:
                return
            torch.set_float32_matmul_precision(precision)
            call = partial(solve, D, x, alpha, "fista", tol=1e-4, max_steps=60)
            seconds = timed(call, repeats=3, most=4)
            row = {"workload": name, "product": product, "seconds for 60 steps": seconds}
            row["TFLOP/s"] = call().flops / seconds / 1e12
            if known.get(product):
                row["share"] = row["TFLOP/s"] / known[product]
            torch.set_float32_matmul_precision("highest")
            report.add("FISTA", row)


def training(report: Report, small: bool) -> None:
    """Samples a second of `fit`, and of the plainest torch loop of the same model."""
    for name, M, N, batch in (("576-1152", 576, 1152, 4096), ("768-16384", 768, 16384, 4096)):
        if small:
            M, N, batch = 32, 64, 64
        x, steps = torch.randn(8 * batch, M, device=DEVICE), 5 if small else 60
        for kind, build in (
            ("topk", lambda M=M, N=N: TopKEncoder(M, N, k=32)),
            ("relu", lambda M=M, N=N: ReLUEncoder(M, N)),
        ):
            for precision in ("highest", "high"):
                if report.left() < 20:
                    return
                torch.set_float32_matmul_precision(precision)
                try:
                    ours = _spent(
                        lambda s, b=build, x=x, z=batch: fit(b().to(DEVICE), x, steps=s, batch_size=z), steps
                    )
                    plain = _spent(lambda s, b=build, x=x, z=batch: _plain(b().to(DEVICE), x, s, z), steps)
                    row = {
                        "model": name,
                        "encoder": kind,
                        "products": {"highest": "float32", "high": "TF32"}[precision],
                    }
                    row |= {
                        "ours, samples/s": steps * batch / ours,
                        "plain torch, samples/s": steps * batch / plain,
                    }
                    report.add("training", row)
                finally:
                    torch.set_float32_matmul_precision("highest")
    x, steps = torch.randn(1024, 8, device=DEVICE), 20 if small else 1000
    many = lambda: stack([ReLUEncoder(8, 16, seed=s) for s in range(20)]).to(DEVICE)  # noqa: E731
    seconds = _spent(lambda s: fit(many(), x, steps=s), steps)
    report.add(
        "training", {"model": "20 x 8-16", "encoder": "relu", "µs a model-step": 1e6 * seconds / steps / 20}
    )


def _spent(run: Callable[[int], Any], steps: int) -> float:
    """Seconds of the steps alone: less those of a run without any."""
    run(2)
    times = []
    for count in (0, steps, 0, steps):
        wait()
        start = time.perf_counter()
        run(count)
        wait()
        times.append(time.perf_counter() - start)
    return min(times[1], times[3]) - min(times[0], times[2])


def _plain(model: Any, x: Tensor, steps: int, batch: int) -> None:
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    for step in range(steps):
        first = step * batch % len(x)
        rows = x[first : first + batch]
        s = model.encode(rows)
        loss = (rows - s @ model.decoder.D.mT).square().mean() + 0.01 * s.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        model.decoder.normalise_()


SECTIONS: dict[str, Callable[[Report, bool], None]] = {
    "rates": rates,
    "tests": tests,
    "lasso": lasso,
    "omp": omp,
    "fista": fista_share,
    "training": training,
    "cpu": cpu,
    "primitives": primitives,
    "profile": profile,
}


UNITS = {"device": "", "torch": "(torch)", "python": "(Python)", "cores": "CPU cores", "date": ""}


def table(data: dict[str, Any]) -> str:
    """The rows in Markdown."""
    facts = data["about"]
    lines = [", ".join(f"{facts[k]} {unit}".strip() for k, unit in UNITS.items())]
    for section, rows in data["sections"].items():
        if section == "profile":
            continue
        names = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"## {section}", "", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        for row in rows:
            cells = [row.get(k, "") for k in names]
            lines.append(
                "| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |"
            )
    if data["errors"]:
        lines += ["", "## not measured", ""]
        lines += [f"- {name}: {text.strip().splitlines()[-1]}" for name, text in data["errors"].items()]
    return "\n".join(lines) + "\n"


def _late(*_: Any) -> None:
    raise TimeoutError("the section's time is up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument(
        "--sections", nargs="+", default=["rates", "tests", "lasso", "omp", "fista", "training", "cpu"]
    )
    parser.add_argument("--out", type=Path, help="folder; default reports/bench where there is a CUDA device")
    parser.add_argument("--most", type=float, default=150.0, help="seconds a section may take")
    options = parser.parse_args()
    out = options.out or (Path("reports/bench") if CUDA else None)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    report = Report(out, options.minutes, options.most)
    print(report.data["about"], flush=True)
    signal.signal(signal.SIGALRM, _late)
    for name in options.sections:
        if report.left() < 15:
            report.data["errors"][name] = "no time was left"
            continue
        begin = time.monotonic()
        signal.alarm(int(max(10, min(options.most, report.left()))))
        try:
            SECTIONS[name](report, not CUDA)
        except Exception:
            report.data["errors"][name] = traceback.format_exc()[-4000:]
            print(f"{name}:\n{traceback.format_exc()[-4000:]}", flush=True)
        finally:
            signal.alarm(0)
            report.data["seconds"][name] = time.monotonic() - begin
            if CUDA:
                torch.cuda.empty_cache()
            report.write()
    print(table(report.data)[-11000:])


if __name__ == "__main__":
    main()
