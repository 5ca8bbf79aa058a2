"""python -m tests.benchmarks.scale: what a large run costs, from constants measured here, in under four minutes.

The formulas of `tests.benchmarks.cost` get their constants from small loops and from two calibration sizes, on one
thread; they then predict four other sizes, which are run; reports/scale says by how much they err. Then two workers
and one take the cells of a sweep by turns, for which both cores must be free (--quick leaves it out, --weak does
only that).
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import embedding_bag

from amortgap._files import read_json, write_json, write_text
from amortgap.audit import Inputs, audit
from amortgap.encoders import ReLUEncoder
from amortgap.interop import SAE
from amortgap.llm import hooks, store
from amortgap.llm.model import LanguageModel
from amortgap.llm.train import build
from amortgap.problem import SparseProblem
from amortgap.runs.provenance import commit
from amortgap.runs.sweep import Backend, sweep
from amortgap.solvers import alpha_for, prepare, solve
from amortgap.training import fit
from amortgap.training.distributed import fit_distributed

from . import cost
from .cost import CONTEXT, Constants, Model, Size
from .output import about, markdown
from .solvers import resident

OUT = Path("reports/scale")
CALIBRATION = [Size(256, 2048, 16), Size(256, 4096, 16)]
#: without an audit, which would take minutes
WIDE = Size(128, 65536, 16)
PREDICTED = [Size(128, 1024, 8), Size(192, 1536, 12), Size(384, 3072, 24), Size(512, 8192, 32), WIDE]
SIZES = CALIBRATION + PREDICTED
BATCH, BLOCKS, SIGNALS = 512, 4, 256
#: what is asked for: an SAE, activations a step, tokens, a language model; and a cluster
LARGE, LARGE_BATCH, TOKENS, LARGE_MODEL = Size(4096, 10**6, 64), 8192, 10**9, Model(7 * 10**9, 32)
MACHINES, CORES, BYTES_A_SECOND = 64, 64, 12.5e9


def seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def added(call: Callable[[], Any]) -> float:
    """Bytes that a call needs at its peak beyond what the process holds (Linux)."""
    # what has been freed is given back, and the peak is counted from here
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    call()
    return (resident("VmHWM") - before) * 2**20


def language_model(M: int) -> tuple[LanguageModel, Model]:
    """A GPT-2 of random weights, width M."""
    import transformers

    config = transformers.GPT2Config(vocab_size=256, n_positions=CONTEXT, n_embd=M, n_layer=BLOCKS, n_head=4)
    model = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    return LanguageModel("random", model, None, "", "cpu", "float32"), Model(12 * BLOCKS * M * M, BLOCKS)


def measured(size: Size) -> dict[str, float]:
    """Seconds a token (extraction, coding, audit) or a step (training); bytes in memory, and a token on disk."""
    M, N, k = size
    lm, _ = language_model(M)
    windows = torch.randint(256, (8, CONTEXT))
    found = {"extraction": seconds(lambda: hooks.read(lm, windows, BLOCKS), 3) / windows.numel()}
    with tempfile.TemporaryDirectory() as folder:
        file, hidden = Path(folder) / "x.safetensors", hooks.read(lm, windows, BLOCKS).reshape(-1, M)
        store.write(file, {"hidden": hidden}, {})
        found["disk"] = file.stat().st_size / len(hidden)
    p = SparseProblem(M=M, N=N, K=k, n=4 * BATCH, seed=0, noise=0.01)
    D, x = p.D.float(), p.x.float()
    del p
    fit(build("TopK", M, 2 * k, k=k), x, steps=1, batch_size=BATCH)
    found["training memory"] = added(lambda: fit(build("TopK", M, N, k=k), x, steps=2, batch_size=BATCH))
    found["training"] = fit(build("TopK", M, N, k=k), x, steps=8, batch_size=BATCH).seconds / 8
    some = x[:SIGNALS]
    alpha = alpha_for(prepare(D), some, l0=k)
    found["coding"] = seconds(lambda: solve(prepare(D), some, alpha, tol=1e-4), 3) / SIGNALS
    found["coding memory"] = added(lambda: solve(prepare(D), some, alpha, tol=1e-4))
    if size == WIDE:
        return found
    audit(_topk(D[:, : 4 * k], k), Inputs(x), tokens=32)
    began = time.perf_counter()
    found["audit memory"] = added(lambda: audit(_topk(D, k), Inputs(x), tokens=SIGNALS))
    found["audit"] = (time.perf_counter() - began) / SIGNALS
    return found


def _topk(D: Tensor, k: int) -> SAE:
    M, N = D.shape
    return SAE("topk", D, torch.zeros(N), D.T.contiguous(), torch.zeros(M), k=k)


def rates() -> Constants:
    """Of this machine: operations, entries, numbers, weights and bytes a second."""
    n, (M, N, k) = BATCH, CALIBRATION[0]
    a, b = torch.randn(n, M), torch.randn(N, M)
    pre, rows = torch.randn(n, N), torch.randint(N, (n * k,))
    start, values = torch.arange(0, n * k, k), torch.rand(n * k)
    weights = torch.nn.Parameter(torch.randn(M, N))
    adam = torch.optim.AdamW([weights], fused=True)

    def step() -> None:
        weights.grad = torch.zeros_like(weights)
        adam.step()
        with torch.no_grad():
            weights.div_(torch.linalg.vector_norm(weights, dim=0, keepdim=True))

    def gather() -> Tensor:
        return embedding_bag(rows, b, start, mode="sum", per_sample_weights=values)

    found = {
        "products": 2 * n * M * N / seconds(lambda: a @ b.T, 20),
        "selection": n * N / seconds(lambda: pre.relu().topk(k, sorted=False)),
        "gathering": n * k * M / seconds(gather),
        "adam": M * N / seconds(step),
    }
    with tempfile.TemporaryDirectory() as folder:
        file, hidden = Path(folder) / "x.safetensors", {"hidden": torch.randn(8192, M)}
        bytes_ = 4 * hidden["hidden"].numel()
        found["writing"] = bytes_ / seconds(lambda: store.write(file, hidden, {}))
        found["reading"] = bytes_ / seconds(lambda: store.read(file))
    return found


def calibrated(c: Constants, runs: list[dict[str, float]]) -> Constants:
    """With what only runs of the calibration sizes can tell: they differ in N alone."""
    c = dict(c)
    (M, N, k), (_, N2, _) = CALIBRATION
    one, two = runs[: len(CALIBRATION)]
    lm = Model(12 * BLOCKS * M * M, BLOCKS)
    spent = statistics.mean([one["extraction"], two["extraction"]])
    c["extraction rest"] = max(0.0, spent - cost.operations(lm, M) / c["products"]) / (BLOCKS * M)
    for stage in ("coding", "audit"):
        slope = max(0.0, two[stage] - one[stage]) / (2 * (N2 - N) * M)
        c[f"{stage} products"] = slope * c["products"]
        c[f"{stage} rest"] = max(0.0, one[stage] - slope * 2 * N * M) / (k * M)
    latents = 12 * SIGNALS * N2 + 6 * N2 * M
    c["coding bytes"] = max(0.0, two["coding memory"] - latents)
    c["audit bytes"] = max(0.0, two["audit memory"] - 6 * N2 * M) / (SIGNALS * N2)
    return c


def predicted(c: Constants, size: Size) -> dict[str, float]:
    """What `measured` and `network` should find."""
    M = size.M
    return {
        "extraction": cost.extraction(c, Model(12 * BLOCKS * M * M, BLOCKS), M),
        "disk": 4 * M,
        "training": cost.batch(c, size, BATCH) + cost.adam(c, size),
        "training memory": cost.training_memory(size, BATCH),
        "coding": cost.per_token(c, size, "coding"),
        "coding memory": cost.coding_memory(c, size, SIGNALS),
        "audit": cost.per_token(c, size, "audit"),
        "audit memory": cost.audit_memory(c, size, SIGNALS),
        "network, whole": cost.sent_whole(size, 2),
        "network, split": cost.sent_split(size, BATCH, 2),
    }


def network() -> None:
    """In each of two processes of torchrun: print what a step of training sends, at each size, and gloo's rate."""
    dist.init_process_group("gloo")
    found: list[dict[str, float]] = []
    for size in SIZES:
        # the same in both, as a split dictionary wants it
        x = torch.randn(BATCH, size.M, generator=torch.Generator().manual_seed(0))

        def sent(split: int, steps: int, size: Size = size, x: Tensor = x) -> float:
            dist.barrier()
            before = _sent()
            model = build("TopK", size.M, size.N, k=size.k)
            fit_distributed(model, lambda first: itertools.repeat(x), steps=steps, split=split)
            dist.barrier()
            return _sent() - before

        # what is sent once goes out of the difference; both processes send
        kinds = {"network, whole": 1, "network, split": 2}
        found.append({kind: (sent(split, 3) - sent(split, 1)) / 4 for kind, split in kinds.items()})
    x = torch.ones(2**23)
    rate = 4 * len(x) / seconds(lambda: dist.all_reduce(x))
    if dist.get_rank() == 0:
        print(json.dumps({"sent": found, "rate": rate}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


def _sent() -> int:
    """Bytes over loopback so far."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split(":")[1].split()[8])


def training(seed: int) -> float:
    """Processor time of a cell that stays in a core's own memory: an SAE of the paper's size, 40 000 steps."""
    torch.set_num_threads(1)
    began = time.process_time()
    p = SparseProblem(n=1024, seed=seed)
    fit(ReLUEncoder(p.M, p.N, seed=seed), p.x, steps=40_000)
    return time.process_time() - began


def coding(seed: int) -> float:
    """Processor time of a cell that does not: 4096 samples drawn and coded exactly, N = 2048."""
    torch.set_num_threads(1)
    began = time.process_time()
    p = SparseProblem(M=256, N=2048, K=24, n=4096, seed=seed)
    solve(p.D.float(), p.x.float(), 0.02)
    return time.process_time() - began


CELLS = {"training an SAE of the paper's size": training, "exact coding, M = 256, N = 2,048": coding}


def weak(cells: int = 4, rounds: int = 3) -> list[dict[str, Any]]:
    """For each kind of cell: how much two workers do in the time of one.

    Each worker has `cells` cells; medians of runs that take turns. One worker of joblib is this process. All have
    run a cell before the clock starts.
    """
    found = []
    for name, cell in CELLS.items():
        times: dict[int, list[float]] = {1: [], 2: []}
        processor: dict[int, list[float]] = {1: [], 2: []}
        for workers in (1, 2):
            list(sweep(cell, range(2 * workers), Backend("loky", workers=workers)))
        for _ in range(rounds):
            for workers, spent in times.items():
                began = time.perf_counter()
                done = dict(sweep(cell, range(cells * workers), Backend("loky", workers=workers)))
                spent.append(time.perf_counter() - began)
                assert sorted(done) == list(range(cells * workers))
                processor[workers] += done.values()
        one, two = (statistics.median(times[workers]) for workers in (1, 2))
        row = {
            "cell": name,
            "cells each": cells,
            "one worker, s": one,
            "two workers, s": two,
            "times": 2 * one / two,
            "least of a round": min(2 * a / b for a, b in zip(times[1], times[2], strict=True)),
            "processor, alone": statistics.median(processor[1]),
            "processor, beside": statistics.median(processor[2]),
        }
        found.append(row)
    return found


def on_two_workers(rows: list[dict[str, Any]], at: str) -> str:
    """What `weak` measured, as text."""
    columns = ["one worker, s", "two workers, s", "times", "least of a round", "processor, alone"]
    columns.append("processor, beside")
    table = [[row["cell"], row["cells each"], *(f"{row[name]:.2f}" for name in columns)] for row in rows]
    return (
        "*Times*: how many times as many cells of a sweep two workers do as one in the same time; medians of runs "
        "by turns. *Processor*: seconds of processor time that a cell takes beside an idle core, and beside "
        "another cell; where the second is larger, two share memory and cannot do twice as much.\n\n"
        + markdown(["cell", "cells each", *columns], table).strip()
        + f"\n\nMeasured at commit {at}."
    )


def on_cards(large: Size) -> list[list[str]]:
    """Least hours of one card for the products alone, from the rates in reports/bench/gpu.md."""
    text = Path("reports/bench/gpu.md").read_text(encoding="utf-8")
    rates = {
        line.split("|")[1].strip(): float(line.split("|")[2])
        for line in text.splitlines()
        if line.startswith(("| float32 |", "| TF32 |", "| bfloat16 |")) and line.split("|")[2].strip()
    }
    product = 2 * large.N * large.M
    work = {
        "extraction, bfloat16": (cost.operations(LARGE_MODEL, large.M), "bfloat16"),
        "training, one pass, TF32": (product, "TF32"),
        "one product with the dictionary, of exact coding, TF32": (product, "TF32"),
    }
    return [
        [what, text.split(",")[0], f"{TOKENS * operations / (rates[kind] * 1e12) / 3600:,.1f}"]
        for what, (operations, kind) in work.items()
    ]


def large(c: Constants) -> list[list[str]]:
    """The large run on the cluster: hours, of which network, and for each machine GB in memory and TB sent."""
    size, steps, all_cores = LARGE, TOKENS / LARGE_BATCH, MACHINES * CORES
    n, W, bytes_ = LARGE_BATCH, MACHINES, 4 * LARGE.M * TOKENS
    batch, adam = cost.batch(c, size, n), cost.adam(c, size)
    coding, audited = (TOKENS * cost.per_token(c, size, stage) / all_cores for stage in ("coding", "audit"))
    D = 4 * size.N * size.M
    given = (
        ("extraction", TOKENS * cost.extraction(c, LARGE_MODEL, size.M) / all_cores, 4 * LARGE_MODEL.P, 0),
        ("writing the activations", bytes_ / c["writing"] / W, 0, 0),
        ("reading them once", bytes_ / c["reading"] / W, 0, 0),
        (
            "training, whole dictionaries, one pass",
            steps * (batch / all_cores + adam / CORES),
            cost.training_memory(size, n // W),
            steps * cost.sent_whole(size, W),
        ),
        (
            f"training, a dictionary in {W} parts, one pass",
            steps * (cost.batch_in_parts(c, size, n) + adam) / all_cores,
            cost.training_memory_in_parts(size, n, W),
            steps * cost.sent_split(size, n, W),
        ),
        ("exact coding", coding, D + cost.coding_memory(c, size, SIGNALS), 0),
        ("audit", audited, D + cost.audit_memory(c, size, SIGNALS), 0),
    )
    rows = []
    for stage, spent, memory, sent in given:
        waits = sent / BYTES_A_SECOND
        row = [f"{(spent + waits) / 3600:,.1f}", f"{waits / 3600:,.1f}", f"{memory / 1e9:,.0f}"]
        rows.append([stage, *row, f"{sent / 1e12:,.1f}"])
    return rows


#: how the measures are shown: a factor and a unit
SHOWN = {"memory": (1e-6, "MB"), "disk": (1, "bytes a token"), "network": (1e-6, "MB a step")}


def _shown(stage: str) -> tuple[float, str]:
    for name, shown in SHOWN.items():
        if name in stage:
            return shown
    return 1e3, "ms a step" if stage == "training" else "ms a token"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def checked(result: dict[str, Any]) -> tuple[list[list[str]], str]:
    """Measured and predicted at the sizes that did not calibrate, and the errors in a sentence."""
    rows, errors = [], dict[str, list[float]]()
    for size, run in zip(SIZES, result["runs"], strict=True):
        said = predicted(result["constants"], size)
        for stage, value in run.items():
            factor, unit = _shown(stage)
            error = said[stage] / value - 1
            if size in PREDICTED:
                errors.setdefault(stage, []).append(abs(error))
            kind = f"{error:+.0%}" if size in PREDICTED else "calibration"
            size_ = [f"{number:,}" for number in size]
            numbers = [_digits(one * factor) for one in (value, said[stage])]
            rows.append([*size_, stage, *numbers, unit, kind])
    worst = ", ".join(f"{stage} {max(found):.0%}" for stage, found in errors.items())
    every = [error for found in errors.values() for error in found]
    return rows, f"Median error {statistics.median(every):.0%}; largest of each: {worst}."


def text(result: dict[str, Any]) -> str:
    """The page of reports/scale, from what its JSON file holds."""
    c = result["constants"]
    rows, errors = checked(result)
    M, N, k = LARGE
    audited = max(size.N for size in SIZES if size != WIDE)
    sweeps = "Weak scaling of a sweep was not measured."
    if result["weak"]:
        sweeps = on_two_workers(**result["weak"])
    parts = [
        "# What a large run costs",
        f"{result['machine']}, torch {result['torch']}, one thread; commit {result['commit']}. "
        "`python -m tests.benchmarks.scale` measures it again in under four minutes. The formulas are in "
        "`tests/benchmarks/cost.py`.",
        "## Predicted and run",
        f"The constants come from M = 256 with N = 2,048 and 4,096; the other sizes are predicted. {errors} "
        f"Training has {BATCH} activations a step; coding and audit have {SIGNALS} tokens; a network is two "
        "processes that train one SAE, with the whole dictionary or half of it in each. The formulas of training "
        "memory and of the split network were chosen after such sizes had been measured: their errors are those "
        "of a fit.",
        markdown(["M", "N", "k", "stage", "measured", "predicted", "unit", "error"], rows),
        "## The large run",
        f"An SAE of N = {N:,} latents with k = {k} on M = {M:,}; {TOKENS:,} tokens of a language model of "
        f"{LARGE_MODEL.P:,} weights in {LARGE_MODEL.L} blocks; {LARGE_BATCH:,} activations a step. The cluster: "
        f"{MACHINES} machines of {CORES} cores like the one above, each sending {BYTES_A_SECOND / 1e9:g} GB a "
        "second. Work is shared evenly; nothing is sent while something is computed. The activations take "
        f"{4 * M * TOKENS / 1e12:,.1f} TB on disk.",
        markdown(
            ["stage", "hours", "of which network", "memory of a machine, GB", "sent by a machine, TB"],
            large(c),
        ),
        f"The formulas were checked up to N = {WIDE.N:,}, the audit up to N = {audited:,}; coding and audit are "
        "carried from there by their product with "
        "the dictionary. On a GPU the products alone take at least, at the measured rates "
        "([table](../bench/gpu.md)):",
        markdown(["stage", "card", "hours of one card"], on_cards(LARGE)),
        "## A sweep on two workers",
        sweeps,
        "## Constants",
        markdown(["what", "value"], [[name, f"{value:.4g}"] for name, value in c.items()]),
        "Rates are operations, entries, numbers, weights and bytes a second. Rest: seconds a token, for a block "
        "and a unit of width (extraction), or for an active latent and a unit of width (coding, audit). Bytes: "
        "beside the matrices (coding), or for a token and a latent (audit).",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def apart(*arguments: str, torchrun: bool = False) -> Any:
    """What this module prints last in a process of its own (with torchrun, in two) with one thread."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if torchrun else []
    command = [sys.executable, *launch, "-m", "tests.benchmarks.scale", *arguments]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | one_thread)
    return json.loads(done.stdout.splitlines()[-1])


def write_page(out: Path, result: dict[str, Any]) -> None:
    write_json(out / "scale.json", result)
    write_text(out / "README.md", text(result))
    print(out / "README.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="without the sweep on two workers")
    parser.add_argument("--weak", action="store_true", help="only that sweep again, in a minute")
    parser.add_argument("--out", type=Path, default=OUT, help="folder (default: %(default)s)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.part == "network":
        network()
    elif options.part in ("rates", "weak"):
        print(json.dumps(rates() if options.part == "rates" else {"rows": weak(), "at": commit(Path())}))
    elif options.part:
        print(json.dumps(measured(SIZES[int(options.part)])))
    elif options.weak:
        result = read_json(options.out / "scale.json") | {"weak": apart("--part", "weak")}
        write_page(options.out, result)
    else:
        runs = [apart("--part", str(i)) for i in range(len(SIZES))]
        sent = apart("--part", "network", torchrun=True)
        c = calibrated(apart("--part", "rates") | {"gloo": sent["rate"]}, runs)
        runs = [run | bytes_ for run, bytes_ in zip(runs, sent["sent"], strict=True)]
        result = about() | {"commit": commit(Path()), "sizes": SIZES, "runs": runs, "constants": c}
        result["weak"] = None if options.quick else apart("--part", "weak")
        write_page(options.out, result)


if __name__ == "__main__":
    main()
