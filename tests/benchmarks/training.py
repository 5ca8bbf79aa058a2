"""python -m tests.benchmarks.training: our TopK training beside SAELens, sparsify and dictionary_learning.

Each package takes its own full training step (loss, backward, its own treatment of the decoder and of gradients,
Adam) on the same float32 activations, of its TopK autoencoder of the same size, in a process of its own, on one
thread; with torch's fused Adam where the package leaves the choice. No latent counts as dead, so no auxiliary loss.
Reported: activations a second of processor time (median over repeats, interleaved; other work on the machine hardly
touches it) and the peak memory that training added to that of the imports. Needs
    pip install sae-lens eai-sparsify dictionary-learning;
what is missing is skipped by name.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from . import training_peers
from .output import REPORTS, about, markdown, write
from .training_peers import FILES, K, M, N


def peak() -> int:
    """The largest memory this process has held, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one(file: str, data: Path | None, steps: int, batch: int) -> dict[str, Any]:
    """A warm-up, then the measured run, in this process."""
    peer = import_module(f".{file}", training_peers.__name__)
    torch.set_num_threads(1)
    if data is None:
        x = torch.randn(20_000, M, generator=torch.Generator().manual_seed(0))
    else:
        from amortgap.llm import from_file

        x = from_file(data).train.x
    peer.seconds(x, 1, batch)
    before = peak()
    rate = steps * batch / peer.seconds(x, steps, batch)
    numbers = {"per_second": rate, "peak_mib": peak() / 1024, "grew_mib": (peak() - before) / 1024}
    return {"peer": peer.NAME, "version": version(peer.DISTRIBUTION), **numbers}


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a package: medians over its runs."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.benchmarks.training",
        "--steps",
        str(options.steps),
    ]
    command += ["--batch", str(options.batch)] + (["--data", str(options.data)] if options.data else [])
    found: dict[str, list[dict[str, Any]]] = {file: [] for file in FILES}
    for repeat in range(options.repeats):
        for file in FILES:
            run = subprocess.run([*command, "--one", file], capture_output=True, text=True)
            if run.returncode == 0:
                found[file].append(json.loads(run.stdout.splitlines()[-1]))
            elif repeat == 0:
                print(f"{file}: skip: {(run.stderr.strip() or 'no message').splitlines()[-1]}", flush=True)
    rows = []
    for runs in filter(None, found.values()):
        medians = {key: median(r[key] for r in runs) for key in ("per_second", "peak_mib", "grew_mib")}
        rows.append(runs[0] | medians | {"runs": len(runs)})
    return rows


def table(made: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; ours is the first."""
    head = (
        f"{made['machine']}, torch {made['torch']}, one thread. TopK autoencoders, M = {made['M']},\n"
        f"N = {made['N']}, k = {made['k']}, batches of {made['batch']}, {made['steps']} steps; {made['data']}.\n\n"
    )
    first = rows[0]["per_second"]
    columns = "package | version | activations per CPU second | relative to ours | runs | memory added, MiB"
    cells = [
        [
            *(r["peer"], r["version"], f"{r['per_second']:.0f}", f"{r['per_second'] / first:.2f}"),
            *(r["runs"], f"{r['grew_mib']:.0f}"),
        ]
        for r in rows
    ]
    return head + markdown(columns.split(" | "), cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a file of amortgap.llm.save; Gaussian vectors without")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=REPORTS / "training.json", help="a .md goes beside it")
    parser.add_argument("--one", choices=FILES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.data, options.steps, options.batch)))
        return
    rows = measure(options)
    made = about() | {"platform": platform.system(), "M": M, "N": N, "k": K}
    made |= {"batch": options.batch, "steps": options.steps}
    made["data"] = f"activations from {options.data.name}" if options.data else "Gaussian vectors"
    text = table(made, rows)
    write(options.out, made | {"rows": rows}, text)
    print(text)


if __name__ == "__main__":
    main()
