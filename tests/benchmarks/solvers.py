"""python -m tests.benchmarks.solvers: our solvers beside their peers, equal threads, equal accuracy.

Every sample's duality gap is recomputed in float64 from the returned codes. A method is compared at a tolerance
only if all its samples meet it there; peers with a tolerance of their own get the loosest that does. Runs are
interleaved, times are medians (CPU time on one thread, wall time on more), ratios are medians over pairs. Slow
methods get fewer samples, and the paper's Adam on W2-W4 fewer steps with time scaled up to 10 000: each row says
so. "Prepared" is our call with a dictionary that was prepared before; all other times are from the call on. MiB are
what a call adds at its peak to what its process holds. Rows of an earlier run stay in the output unless they are
measured again. Peers: pip install -e .[bench].
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from amortgap.solvers import prepare

from . import THREADS
from .judge import race, squared_residual, worst_gap
from .output import REPORTS, about, markdown, write
from .solver_peers import Peer, load
from .workloads import SMALL, WORKLOADS, Given, penalty, problem

TOLERANCES: dict[str, tuple[float | None, ...]] = {
    "LASSO": (1e-4, 1e-6),
    "OMP": (None,),
    "NNLS": (None,),
    "basis pursuit": (1e-6,),
}
REACH = (1.0, 0.1, 1e-2, 1e-3, 1e-4)  # a peer's own tolerance, in units of the gap asked for
GAPS = ("tol", "peer_gap", "our_gap")
Row = dict[str, Any]


def wanted(peer: Peer, workload: str) -> tuple[float | None, ...]:
    """The tolerances at which a peer is measured; beyond W4 only the looser one, which float32 can certify."""
    return TOLERANCES[peer.task] if workload in SMALL else TOLERANCES[peer.task][:1]


def level(task: str, workload: str, p: Given) -> float:
    """alpha of a LASSO, K of the other tasks."""
    return WORKLOADS[workload]["K"] if task in ("OMP", "NNLS") else penalty(workload, p)


def measure(workload: str, peer: Peer, tol: float | None, repeats: int, share: float) -> Row:
    """Microseconds a sample of ours and of the peer, how many times faster we are, and the worst gap of each.

    Gaps of OMP are the fractions of variance left, those of NNLS the excess over the other's squared residual.
    """
    limit = peer.samples[workload]
    if peer.task == "basis pursuit":
        share = min(share, 2000 / WORKLOADS[workload]["n"])
    p = problem(workload, share, peer.dtype(tol))
    few = p.x[: limit or len(p.x)]
    at = level(peer.task, workload, p)
    ours = peer.ours(p.D, p.x, at, tol or 0.0)
    result = ours()  # also compiles and warms up
    for reach in REACH:
        theirs = peer.prepare(p.D, few, at, reach * (tol or 0.0))
        their_result = theirs()
        gaps = judged(peer.task, p, few, at, result, their_result)
        if tol is None or not peer.tolerance or gaps[0] <= tol:
            break
    row: Row = {"workload": workload, "task": peer.task, "tol": tol, "peer": peer.name, "threads": THREADS}
    row |= about()
    row |= {"dtype": str(p.x.dtype).removeprefix("torch."), "peer_gap": gaps[0], "our_gap": gaps[1]}
    prepared = None
    if peer.task != "basis pursuit" and workload != "W1":
        prepared = peer.ours(prepare(p.D), p.x, at, tol or 0.0)
        for _ in range(2):  # D'D is made in the call that would have saved as much, often the second
            prepared()
    row |= race(ours, theirs, (len(p.x), len(few)), repeats if limit is None else 1, prepared)
    scale = peer.scale(WORKLOADS[workload]["N"])
    if scale > 1:
        row |= {"peer_us": row["peer_us"] * scale, "ratio": row["ratio"] * scale, "scaled": scale}
    return row


def judged(task: str, p: Given, few: torch.Tensor, at: float, ours: Any, theirs: Any) -> tuple[float, float]:
    """How good the peer's result for the signals `few` is, and ours for all."""
    if task == "basis pursuit":  # not the LASSO's gap: the solutions state their own
        return float(theirs.duality_gap.max()), float(ours.duality_gap.max())
    if task == "LASSO":
        return worst_gap(p.D, few, theirs, at), worst_gap(p.D, p.x, ours, at)
    mine, other = squared_residual(p.D, p.x, ours), squared_residual(p.D, few, theirs)
    if task == "OMP":
        power = p.x.double().square().sum(1)
        return float(other.sum() / power[: len(few)].sum()), float(mine.sum() / power.sum())
    mine, power = mine[: len(few)], few.double().square().sum(1)
    return float(((other - mine) / power).max()), float(((mine - other) / power).max())


def peak(workload: str, peer: Peer, side: str) -> float:
    """MiB that one call of `side`, "ours" or "theirs", adds at its peak to what the process holds (Linux)."""
    tol = wanted(peer, workload)[0]
    p = problem(workload, 1.0, peer.dtype(tol))
    few = p.x[: peer.samples[workload] or len(p.x)]
    at = level(peer.task, workload, p)
    small = p.D[:8, :16].clone(), p.x[:1, :8].clone()
    make = peer.ours if side == "ours" else peer.prepare
    make(*small, 2 if peer.task in ("OMP", "NNLS") else 0.1, tol or 0.0)()  # compiles
    call = make(p.D, few, at, tol or 0.0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = resident("VmRSS")
    result = call()
    added = resident("VmHWM") - before
    del result
    return added


def resident(name: str) -> float:
    """MiB of memory that Linux says this process holds, or held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def memory(workload: str, peer: Peer) -> Row:
    """`peak` of both sides, each in a process of its own."""
    row: Row = {"peer_mib": None, "our_mib": None}
    for side, key in (("theirs", "peer_mib"), ("ours", "our_mib")):
        command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--peak", workload, peer.name, side]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode == 0:
            row[key] = float(run.stdout.split()[-1])
    return row


def show(row: Row) -> None:
    missed = row["tol"] and row["peer_gap"] > row["tol"]
    given = f"{row['prepared_us']:10.2f} us prepared" if "prepared_us" in row else ""
    print(
        f"{row['workload']}  {row['task']:13}  {row['tol'] or 0:.0e}  {row['peer']:18} {row['peer_us']:12.2f} us "
        f"{row['our_us']:10.2f} us  {row['ratio']:8.1f}x  {given}{'  (did not reach it)' if missed else ''}",
        flush=True,
    )


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    cells = []
    for r in rows:
        tol, peer_gap, our_gap = (f"{r[k]:.0e}" if r[k] is not None else "–" for k in GAPS)
        steps = f", 1/{r['scaled']:.0f} of its steps" if r.get("scaled", 1) > 1 else ""
        peer = f"{r['peer']} (first {r['samples']} signals{steps})"
        given = f"{r['prepared_us']:.4g}" if r.get("prepared_us") else "–"
        times = [f"{r['peer_us']:.4g}", f"{r['our_us']:.4g}", f"{r['ratio']:.3g}", given]
        mib = [f"{r[k]:.0f}" if r.get(k) is not None else "–" for k in ("peer_mib", "our_mib")]
        cells.append(
            [
                *(r["workload"], r["task"], tol, r["dtype"], r["threads"], peer),
                *(*times, peer_gap, our_gap, *mib, r["machine"]),
            ]
        )
    columns = (
        "workload | task | gap | dtype | threads | peer | peer, µs | ours, µs | ratio | prepared, µs | worst gap"
        " | ours | peer, MiB | ours | machine"
    )
    return markdown(columns.split(" | "), cells)


def slow_automatic(rows: list[Row]) -> list[str]:
    """Where solve(method="auto") takes more than 1.2 times as long as another of our solvers that reaches tol."""
    return [
        f"{r['workload']}, {r['tol']:.0e}, {r['threads']} threads: auto takes {1 / r['ratio']:.2f} x {r['peer']}"
        for r in rows
        if r["peer"].startswith("our") and r["ratio"] < 1 / 1.2 and r["peer_gap"] <= r["tol"]
    ]


def draw(rows: list[Row], path: Path) -> None:
    """Worst gap against time, a panel for each workload."""
    from matplotlib.figure import Figure

    rows = [r for r in rows if r["task"] == "LASSO" and r["threads"] == 1 and r["workload"] in SMALL]
    workloads = list(dict.fromkeys(r["workload"] for r in rows))
    if not rows:
        return
    mine = [{**r, "peer": "amortgap", "peer_us": r["our_us"], "peer_gap": r["our_gap"]} for r in rows]
    figure = Figure(figsize=(11, 4))
    axes = figure.subplots(1, len(workloads), sharey=True, squeeze=False)[0]
    for axis, workload in zip(axes, workloads, strict=True):
        for name in ["amortgap", *dict.fromkeys(r["peer"] for r in rows)]:
            points = [r for r in [*mine, *rows] if r["workload"] == workload and r["peer"] == name]
            gaps = [max(r["peer_gap"], 1e-16) for r in points]
            axis.loglog([r["peer_us"] for r in points], gaps, "o", label=name)
        axis.set(title=workload, xlabel="µs per sample")
    axes[0].set_ylabel("worst relative duality gap")
    axes[-1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(", ".join(sorted({r["machine"] for r in rows})))
    figure.set_layout_engine("tight")
    figure.savefig(path)


def main() -> None:
    peers, skipped = load()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", default=list(peers), choices=list(peers))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", nargs="+", help="run once with each number; without it OMP_NUM_THREADS")
    parser.add_argument("--memory", action="store_true", help="peak memory as well, in processes of its own")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=1.0, help="part of each workload's samples")
    parser.add_argument(
        "--out", type=Path, default=REPORTS / "bench.json", help="a table and a figure go beside it"
    )
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    if options.peak:
        workload, name, side = options.peak
        print(peak(workload, peers[name], side))
        return
    if options.threads:
        # libraries read the number once, when they are imported
        rest = sys.argv[1:]
        at = rest.index("--threads")
        rest[at : at + 1 + len(options.threads)] = []
        for number in options.threads:
            environment = os.environ | {"OMP_NUM_THREADS": number}
            subprocess.run([sys.executable, "-m", __spec__.name, *rest], env=environment, check=True)
        return
    warnings.simplefilter("ignore")  # peers announce every sample that stops early; the gap says it better
    for file, why in skipped.items():
        print(f"{file}: skip: {why}")
    rows: list[Row] = []
    for workload in options.workloads:
        for peer in (peers[name] for name in options.peers):
            if why := peer.skip(workload):
                print(f"{workload}  {peer.name}: skip: {why}")
                continue
            for tol in wanted(peer, workload):
                rows.append(measure(workload, peer, tol, options.repeats, options.share))
                show(rows[-1])
            if options.memory:
                rows[-1] |= memory(workload, peer)
        save(rows, options.out, list(peers))
    print("\n".join(slow_automatic(rows)))


def save(rows: list[Row], path: Path, order: list[str]) -> None:
    """JSON, table and figure, together with the rows that `path` held before."""

    def key(row: Row) -> tuple[Any, ...]:
        place = [*order, row["peer"]].index(row["peer"])
        return row["workload"], row["task"], row["threads"], -(row["tol"] or 0), place

    old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = sorted({(*key(r), r["peer"]): r for r in [*old, *rows]}.values(), key=key)
    write(path, {"rows": rows}, table(rows))
    draw(rows, path.with_suffix(".svg"))


if __name__ == "__main__":
    main()
