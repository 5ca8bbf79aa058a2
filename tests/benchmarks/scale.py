"""python -m tests.benchmarks.scale: what a large run would cost, from constants measured here in some four minutes.

Constants come from microbenchmarks and one calibration size, on one thread. The same formulas then predict four
other sizes, which are run; the errors stand in the table. --weak instead measures how much two workers do in the
time of one (both cores must be free).

    extraction   (2 P + 4 L c M) operations a token, P weights in L blocks, windows of c tokens; 4 M bytes on disk
    training     of n activations a step: 2 n N M operations; n N entries to select from; 4 n k rows of M numbers to
                 gather; 2 N M weights for Adam. Memory 32 N M bytes and 8 n N. Network: gradients, 8 N M bytes out
                 of each of two processes (a ring: 16 N M (W - 1)/W); with a dictionary split in T parts instead
                 reconstructions and their gradients, 8 n M, and candidates, 4 n k T
    coding       p products of 2 N M operations, and r seconds that do not depend on N, a signal
    audit        q times its LASSO
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import embedding_bag

from amortgap._files import write_json, write_text
from amortgap.audit import Inputs, audit
from amortgap.interop import SAE
from amortgap.llm import hooks, store
from amortgap.llm.model import LanguageModel
from amortgap.llm.train import build
from amortgap.problem import SparseProblem
from amortgap.runs.provenance import commit
from amortgap.runs.sweep import Backend, sweep
from amortgap.solvers import alpha_for, prepare, solve
from amortgap.training import fit

from .output import about, markdown

OUT = Path("reports/scale")
#: M, N, k; the first calibrates, the others are predicted
SIZES = [(256, 2048, 16), (128, 1024, 8), (256, 4096, 16), (384, 3072, 24), (512, 8192, 32)]
BATCH, BLOCKS, CONTEXT, SIGNALS = 512, 4, 128, 256
#: what is asked for: latents, width, active latents, tokens, weights of the language model, its blocks, batch
TARGET = {"N": 10**6, "M": 4096, "k": 64, "tokens": 10**9, "P": 7 * 10**9, "L": 32, "n": 8192}


def seconds(call: Callable[[], Any], repeats: int = 5) -> float:
    """Median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def language_model(M: int) -> LanguageModel:
    """A GPT-2 of random weights, width M."""
    import transformers

    config = transformers.GPT2Config(vocab_size=256, n_positions=CONTEXT, n_embd=M, n_layer=BLOCKS, n_head=4)
    model = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    return LanguageModel("random", model, None, "", "cpu", "float32")


def measured(M: int, N: int, k: int) -> dict[str, float]:
    """Seconds a token (extraction, coding, audit) or a step (training), and the bytes that training added."""
    import resource

    lm, windows = language_model(M), torch.randint(256, (8, CONTEXT))
    found = {"extraction": seconds(lambda: hooks.read(lm, windows, BLOCKS), 3) / windows.numel()}
    p = SparseProblem(M=M, N=N, K=k, n=BATCH * 4, seed=0, noise=0.01)
    D, x = p.D.float(), p.x.float()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    history = fit(build("TopK", M, N, k=k), x, steps=12, batch_size=BATCH)
    found["memory"] = 1024.0 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    found["training"] = history.seconds / 12
    some, given = x[:SIGNALS], prepare(D)
    alpha = alpha_for(given, some, l0=k)
    found["coding"] = seconds(lambda: solve(prepare(D), some, alpha, tol=1e-4), 3) / SIGNALS
    sae = SAE("topk", D, torch.zeros(N), D.T.contiguous(), torch.zeros(M), k=k)
    audit(sae, Inputs(x), tokens=SIGNALS)
    began = time.perf_counter()
    audit(sae, Inputs(x), tokens=SIGNALS)
    found["audit"] = (time.perf_counter() - began) / SIGNALS
    return found


def constants() -> dict[str, float]:
    """Rates of this machine: operations, entries, numbers and bytes a second."""
    n, M, N, k = BATCH, 256, 2048, 16
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

    found = {
        "products": 2 * n * M * N / seconds(lambda: a @ b.T, 20),
        "selection": n * N / seconds(lambda: pre.relu().topk(k, sorted=False)),
        "gathering": n
        * k
        * M
        / seconds(lambda: embedding_bag(rows, b, start, mode="sum", per_sample_weights=values)),
        "adam": M * N / seconds(step),
    }
    with tempfile.TemporaryDirectory() as folder:
        file, hidden = Path(folder) / "x.safetensors", {"hidden": torch.randn(8192, M)}
        size = 4 * hidden["hidden"].numel()
        found["writing"] = size / seconds(lambda: store.write(file, hidden, {}))
        found["reading"] = size / seconds(lambda: store.read(file))
    return found


def operations_of_a_token(P: float, L: int, M: int) -> float:
    return 2 * P + 4 * L * CONTEXT * M


def step_seconds(c: dict[str, float], n: int, M: int, N: int, k: int) -> float:
    """Of training on one thread."""
    return (
        2 * n * N * M / c["products"]
        + n * N / c["selection"]
        + 4 * n * k * M / c["gathering"]
        + 2 * N * M / c["adam"]
    )


def training_bytes(n: int, M: int, N: int, split: int = 1) -> float:
    """In memory: weights, gradients, two moments; pre-activations and one copy."""
    return (32 * N * M + 8 * n * N) / split


def predicted(c: dict[str, float], M: int, N: int, k: int) -> dict[str, float]:
    """What `measured` should find."""
    coding = c["coding products"] * 2 * N * M / c["products"] + c["coding rest"] * k * M
    return {
        "extraction": operations_of_a_token(12 * BLOCKS * M * M, BLOCKS, M) / c["model products"],
        "training": step_seconds(c, BATCH, M, N, k),
        "coding": coding,
        "audit": c["audit in codings"] * coding,
        "memory": training_bytes(BATCH, M, N),
    }


def calibrated(c: dict[str, float], runs: list[dict[str, float]]) -> dict[str, float]:
    """With what only whole runs of the calibration size, and of twice its N for coding, can tell."""
    (M, N, k), first = SIZES[0], runs[0]
    D2 = SparseProblem(M=M, N=2 * N, K=k, n=SIGNALS, seed=0, noise=0.01)
    D, x = D2.D.float(), D2.x.float()
    alpha = alpha_for(prepare(D), x, l0=k)
    twice = seconds(lambda: solve(prepare(D), x, alpha, tol=1e-4), 3) / SIGNALS
    slope = max(0.0, twice - first["coding"]) / (2 * N * M)
    more = {
        "model products": operations_of_a_token(12 * BLOCKS * M * M, BLOCKS, M) / first["extraction"],
        "coding products": slope * c["products"],
        "coding rest": max(0.0, first["coding"] - slope * 2 * N * M) / (k * M),
        "audit in codings": first["audit"] / first["coding"],
    }
    return c | more


def loopback() -> dict[str, float]:
    """Bytes that two processes of a training step send over loopback, and how fast gloo sums 32 MiB."""
    code = """
import time, torch, torch.distributed as dist
from pathlib import Path
dist.init_process_group("gloo")
def sent():
    line = next(l for l in Path("/proc/net/dev").read_text().splitlines() if l.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])
x = torch.ones(2**23)
dist.all_reduce(x); dist.barrier(); began, before = time.perf_counter(), sent()
for _ in range(8): dist.all_reduce(x)
dist.barrier()
if dist.get_rank() == 0: print((time.perf_counter() - began) / 8, (sent() - before) / 8 / 2, flush=True)
dist.barrier(); dist.destroy_process_group()
"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reduce.py"
        file.write_text(code)
        run = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            str(file),
        ]
        said = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    size = 4 * 2**23
    return {
        "network": size / float(said[0]),
        "bytes sent by a process for a byte summed": float(said[1]) / size,
    }


def target(c: dict[str, float], threads: int) -> list[list[str]]:
    """The large run on machines like this one, `threads` in all."""
    t = TARGET
    n, M, N, k, tokens = t["n"], t["M"], t["N"], t["k"], t["tokens"]
    lm = operations_of_a_token(t["P"], t["L"], M) / c["model products"]
    coding = c["coding products"] * 2 * N * M / c["products"] + c["coding rest"] * k * M
    steps = tokens / n
    hours = {
        "extraction": tokens * lm / threads,
        "writing and reading twice": tokens * 4 * M * (1 / c["writing"] + 2 / c["reading"]) / threads,
        "training, one pass": steps * step_seconds(c, n, M, N, k) / threads,
        "exact coding": tokens * coding / threads,
        "audit": tokens * c["audit in codings"] * coding / threads,
    }
    sizes = {
        "extraction": f"{tokens * 4 * M / 1e12:.1f} TB on disk",
        "training, one pass": f"{training_bytes(n, M, N) / 1e9:.0f} GB in memory over all processes that share a "
        f"dictionary; {steps * 8 * n * M / 1e12:.2f} TB sent by each of them, or without a split "
        f"{steps * 16 * N * M / 1e15:.1f} PB",
        "exact coding": f"{4 * N * M / 1e9:.0f} GB for the dictionary in each process",
        "audit": f"{4 * N * M / 1e9:.0f} GB for the dictionary in each process",
    }
    return [[name, f"{value / 3600:,.1f}", sizes.get(name, "")] for name, value in hours.items()]


def on_cards() -> list[list[str]]:
    """Least hours of one card for the products alone, from the rates in reports/bench/gpu.md."""
    text = Path("reports/bench/gpu.md").read_text(encoding="utf-8")
    card = text.split(",")[0]
    rates = {
        line.split("|")[1].strip(): float(line.split("|")[2])
        for line in text.splitlines()
        if line.startswith(("| float32 |", "| TF32 |", "| bfloat16 |")) and line.split("|")[2].strip()
    }
    t = TARGET
    work = {
        "extraction, bfloat16": (operations_of_a_token(t["P"], t["L"], t["M"]), "bfloat16"),
        "training, one pass, TF32 (pre-activations alone)": (2 * t["N"] * t["M"], "TF32"),
        "one screening product of exact coding, TF32": (2 * t["N"] * t["M"], "TF32"),
    }
    return [
        [what, card, f"{t['tokens'] * o / (rates[kind] * 1e12) / 3600:,.1f}"]
        for what, (o, kind) in work.items()
    ]


def text(result: dict[str, Any], threads: int) -> str:
    c, t = result["constants"], TARGET
    rows = []
    for size, run in zip(SIZES, result["runs"], strict=True):
        said = predicted(c, *size)
        for stage, value in run.items():
            unit = 1e-6 if stage == "memory" else 1e3
            kind = "calibration" if size == SIZES[0] else f"{said[stage] / value - 1:+.0%}"
            rows.append([*size, stage, f"{value * unit:.3g}", f"{said[stage] * unit:.3g}", kind])
    errors = [
        abs(predicted(c, *size)[s] / run[s] - 1)
        for size, run in zip(SIZES[1:], result["runs"][1:], strict=True)
        for s in run
    ]
    head = f"{result['machine']}, torch {result['torch']}, one thread; commit {result['commit']}."
    worst = f"Median error {statistics.median(errors):.0%}, largest {max(errors):.0%}."
    large = (
        f"N = {t['N']:,} latents, M = {t['M']}, k = {t['k']}, {t['tokens']:,} tokens, batches of {t['n']}, "
        f"a language model of {t['P']:,} weights in {t['L']} blocks; {threads:,} threads like the one above, "
        "evenly shared, the network not waited for."
    )
    network = (
        f"Gloo sums {c['network'] / 1e6:.0f} MB a second between two processes here; a process sends "
        f"{c['bytes sent by a process for a byte summed']:.2f} bytes for a byte summed (a ring: 1)."
    )
    parts = [
        f"{head} `python -m tests.benchmarks.scale` measures it again.",
        "## Constants",
        markdown(["what", "value"], [[name, f"{value:.4g}"] for name, value in c.items()]),
        "Rates a second: operations, entries, numbers, weights, bytes. Coding rest: seconds a signal, an active "
        "latent and a measurement.",
        "## Predicted and run",
        f"ms a token (extraction, coding, audit) or a step of {BATCH} activations (training); MB added (memory).",
        markdown(["M", "N", "k", "stage", "measured", "predicted", "error"], rows),
        worst,
        "## The large run",
        large,
        markdown(["stage", "hours", "memory, disk, network"], target(c, threads)),
        network,
        "On a GPU, the products alone at the measured rates, hours of one card:",
        markdown(["stage", "card", "at least, hours"], on_cards()),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def cell(seed: int) -> float:
    """Some seconds of one core."""
    torch.set_num_threads(1)
    total = 0.0
    for i in range(6):
        p = SparseProblem(M=256, N=2048, K=24, n=1024, seed=100 * seed + i)
        total += float(solve(p.D.float(), p.x.float(), 0.02).objective.sum())
    return total


def weak(backend: str) -> dict[str, float]:
    """Cells that two workers do in the time of one worker's."""
    times = {}
    for workers in (1, 2):
        on = Backend(backend, workers=workers)
        began = time.perf_counter()
        done = dict(sweep(cell, range(6 * workers), on))
        times[workers] = time.perf_counter() - began
        assert len(done) == 6 * workers
    return {
        "one worker, 6 cells, s": times[1],
        "two workers, 12 cells, s": times[2],
        "times": 2 * times[1] / times[2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--weak", choices=["loky", "ray", "dask"], help="weak scaling of a sweep on two workers"
    )
    parser.add_argument("--size", type=int, help="one size, in a process of its own")
    parser.add_argument("--threads", type=int, default=10_000, help="of the cluster (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.size is not None:
        print(json.dumps(measured(*SIZES[options.size])))
        return
    if options.weak:
        found = weak(options.weak) | about() | {"commit": commit(Path())}
        write_json(OUT / f"weak_{options.weak}.json", found)
        print(found)
        return
    runs = []
    for i in range(len(SIZES)):
        command = [sys.executable, "-m", "tests.benchmarks.scale", "--size", str(i)]
        runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(SIZES[i], runs[-1], file=sys.stderr)
    result = about() | {"commit": commit(Path()), "sizes": SIZES, "runs": runs}
    result["constants"] = calibrated(constants(), runs) | loopback()
    write_json(OUT / "scale.json", result)
    write_text(OUT / "README.md", text(result, options.threads))
    print(OUT / "README.md")


if __name__ == "__main__":
    main()
