"""python -m amortgap.bench: our CPU solvers against their peers on four workloads, one thread, equal accuracy.

Every sample's duality gap is recomputed in float64 from the returned codes. A method is compared at a tolerance
only if all its samples meet it there; peers with a tolerance of their own get the loosest that does. Runs are
interleaved, times are medians of CPU time, ratios are medians over pairs. Needs  pip install amortgap[bench].
"""
# ruff: noqa: E402

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # read once, at import
    os.environ[_name] = "1"

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amortgap.objectives import duality_gap
from amortgap.problem import SparseProblem
from amortgap.solvers import solve

Method = Callable[[torch.Tensor, torch.Tensor, float, float], np.ndarray]  # D, x, alpha, tol -> codes

WORKLOADS: dict[str, dict[str, Any]] = {
    "W1": {"N": 16, "M": 8, "K": 3, "n": 1024},
    "W2": {"N": 256, "M": 64, "K": 8, "n": 10_000},
    "W3": {"N": 1000, "M": 200, "K": 20, "n": 20_000},
    "W4": {"N": 4608, "M": 576, "K": 40, "n": 4096, "noise": 0.01},
}
SLOW = 200  # samples given to methods that take milliseconds a sample
REACH = (1.0, 0.1, 1e-2, 1e-3, 1e-4)  # a peer's own tolerance, in units of the gap asked for


def ours(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    return solve(D, x, alpha, tol=tol).codes.numpy()


def log_adam(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    return solve(D, x, alpha, "log_adam", tol=tol).codes.numpy()


def clarabel(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    return solve(D, x, alpha, "lasso_cvxpy", tol=tol).codes.numpy()


def spams_lars(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> Any:
    import spams

    signals, matrix = np.asfortranarray(x.numpy().T), np.asfortranarray(D.numpy())
    return spams.lasso(signals, matrix, lambda1=alpha, mode=2, pos=True, numThreads=1)


def _one_by_one(fit: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Method:
    def run(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
        return np.stack([fit(D.numpy(), row) for row in x.numpy()])

    return run


def sklearn_cd(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    from sklearn.linear_model import Lasso

    model = Lasso(
        alpha / len(D), fit_intercept=False, positive=True, tol=tol, max_iter=100_000, precompute=True
    )
    return model.fit(np.asfortranarray(D.numpy()), x.numpy().T).coef_.reshape(len(x), -1)


def sklearn_lars(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    from sklearn.linear_model import LassoLars

    model = LassoLars(alpha / len(D), fit_intercept=False, positive=True)
    return model.fit(D.numpy(), x.numpy().T).coef_.reshape(len(x), -1)


def celer(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    from celer import Lasso

    model = Lasso(alpha / len(D), fit_intercept=False, positive=True, tol=tol, max_iter=1000)
    return _one_by_one(lambda A, b: model.fit(A, b).coef_)(D, x, alpha, tol)


def skglm(D: torch.Tensor, x: torch.Tensor, alpha: float, tol: float) -> np.ndarray:
    from skglm import Lasso

    model = Lasso(alpha / len(D), fit_intercept=False, positive=True, tol=tol * alpha / len(D))
    return _one_by_one(lambda A, b: model.fit(np.asfortranarray(A), b).coef_)(D, x, alpha, tol)


PEERS: dict[str, tuple[Method, int | None]] = {  # samples: None for all
    "spams": (spams_lars, None),
    "scikit-learn CD": (sklearn_cd, SLOW),
    "scikit-learn LARS": (sklearn_lars, SLOW),
    "celer": (celer, SLOW),
    "skglm": (skglm, SLOW),
    "cvxpy": (clarabel, 20),
    "paper's Adam": (log_adam, None),
}


def worst_gap(D: torch.Tensor, x: torch.Tensor, codes: Any, alpha: float) -> float:
    dense = codes.T.toarray() if hasattr(codes, "toarray") else codes
    found = [
        duality_gap(
            D.double(), a.double(), torch.from_numpy(np.ascontiguousarray(b)).double().clamp_min(0), alpha
        )
        for a, b in zip(x.split(1024), np.array_split(dense, range(1024, len(x), 1024)), strict=True)
    ]
    return float(torch.cat(found).max())


def measure(workload: str, tol: float, peers: list[str], repeats: int, share: float) -> list[dict[str, Any]]:
    """One row a peer: microseconds a sample, worst gap, and how many times faster we are."""
    sizes = dict(WORKLOADS[workload])
    sizes["n"] = max(1, int(share * sizes["n"]))
    rows = []
    for name in peers:
        method, most = PEERS[name]
        # float32 codes cannot prove a gap of 1e-6 by themselves, whoever computed them
        p = SparseProblem(**sizes, dtype=torch.float32 if tol >= 1e-4 and name == "spams" else torch.float64)
        alpha = 0.05 * float((p.x @ p.D).abs().amax(1).median())
        few = p.x[: most or len(p.x)]
        for reach in REACH:  # also compiles and warms up
            gap = worst_gap(p.D, few, method(p.D, few, alpha, reach * tol), alpha)
            if gap <= tol or name in ("spams", "paper's Adam", "scikit-learn LARS"):
                break
        own = worst_gap(p.D, p.x, ours(p.D, p.x, alpha, tol), alpha)
        times = []
        for _ in range(repeats if most is None and name == "spams" else 1):
            begin = time.process_time()
            method(p.D, few, alpha, reach * tol)
            middle = time.process_time()
            ours(p.D, p.x, alpha, tol)
            times.append(((middle - begin) / len(few) * 1e6, (time.process_time() - middle) / len(p.x) * 1e6))
        theirs, mine = np.median(times, axis=0)
        ratio = float(np.median([a / b for a, b in times]))
        row = {"workload": workload, "tol": tol, "peer": name, "dtype": str(p.x.dtype).removeprefix("torch.")}
        row |= {
            "peer_us": float(theirs),
            "our_us": float(mine),
            "ratio": ratio,
            "peer_gap": gap,
            "our_gap": own,
        }
        rows.append(row)
        flag = "" if gap <= tol else "  (did not reach it)"
        print(
            f"{workload}  {tol:.0e}  {name:18} {theirs:12.2f} us {mine:10.2f} us  {ratio:8.1f}x{flag}",
            flush=True,
        )
    return rows


def draw(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len({r["workload"] for r in rows}), sharey=True, figsize=(11, 4), squeeze=False
    )
    for axis, workload in zip(axes[0], dict.fromkeys(r["workload"] for r in rows), strict=True):
        mine = [{**r, "peer": "amortgap", "peer_us": r["our_us"], "peer_gap": r["our_gap"]} for r in rows]
        for name in ["amortgap", *dict.fromkeys(r["peer"] for r in rows)]:
            points = [r for r in [*mine, *rows] if r["workload"] == workload and r["peer"] == name]
            axis.loglog(
                [r["peer_us"] for r in points], [max(r["peer_gap"], 1e-16) for r in points], "o", label=name
            )
        axis.set(title=workload, xlabel="µs per sample")
    axes[0, 0].set_ylabel("worst relative duality gap")
    axes[0, -1].legend(fontsize=7)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path)


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, one thread"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", default=["spams"], choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="part of each workload's samples")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="a figure is drawn beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # peers announce every sample that stops early; the gap says it better
    rows: list[dict[str, Any]] = []
    for workload in options.workloads:
        for tol in (1e-4, 1e-6):
            rows += measure(workload, tol, options.peers, options.repeats, options.share)
    temporary = options.out.with_suffix(".part")
    temporary.write_text(
        json.dumps({"machine": machine(), "torch": torch.__version__, "rows": rows}, indent=1)
    )
    temporary.replace(options.out)
    draw(rows, options.out.with_suffix(".svg"), machine())


if __name__ == "__main__":
    main()
