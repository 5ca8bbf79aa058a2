"""One peer a file: what it is, on how many samples it is measured, and `prepare`, which returns what is timed.

A file whose package is not installed is skipped by name; `samples` says in words why a workload is skipped.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from amortgap.solvers import Prepared, solve

#: The peers' files, in the order of the tables.
FILES = (
    *(
        "spams_lars",
        "ours",
        "sklearn_cd",
        "sklearn_lars",
        "celer_cd",
        "skglm_cd",
        "adelie_bcd",
        "cvxpy_clarabel",
        "log_adam",
    ),
    *("spams_omp", "overcomplete_omp", "batched_omp_gpu"),
    "scipy_nnls",
    "highs",
)
Run = Callable[[], Any]
#: D, x, alpha (for OMP: K), tol -> the call that is timed. Only what the peer can do once for all stays outside it.
Prepare = Callable[[Tensor, Tensor, float, float], Run]
Samples = dict[str, int | str | None]


def auto(D: Tensor | Prepared, x: Tensor, alpha: float, tol: float) -> Run:
    return lambda: solve(D, x, alpha, tol=tol).codes.numpy()


@dataclass(frozen=True)
class Peer:
    """A method to compare with.

    samples: workload -> how many samples it is given, None for all, or why it is skipped.
    ours: our call for the same task. tolerance: it is asked for a smaller one until its gap is met.
    single: it computes in float32 where asked.
    scale: its time is multiplied by this function of N, because it makes fewer steps than the task asks for.
    """

    name: str
    prepare: Prepare
    samples: Samples
    task: str = "LASSO"
    ours: Prepare = auto
    tolerance: bool = True
    single: bool = False
    scale: Callable[[int], float] = lambda N: 1.0

    def skip(self, workload: str) -> str | None:
        """Why it is not given this workload, or None."""
        why = self.samples.get(workload, "not given sizes beyond W4")
        return why if isinstance(why, str) else None

    def dtype(self, tol: float | None) -> torch.dtype:
        """float32 codes cannot prove a gap below 1e-4 by themselves, whoever computed them."""
        return torch.float32 if self.single and (tol is None or tol >= 1e-4) else torch.float64


def load(files: Iterable[str] = FILES) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that can run, by name, and why the other files are skipped."""
    peers, skipped = {}, {}
    for file in files:
        try:
            found = import_module(f".{file}", __name__).PEERS
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("amortgap"):
                raise
            skipped[file] = f"{error.name} is not installed"
        else:
            peers |= {peer.name: peer for peer in found}
    return peers, skipped
