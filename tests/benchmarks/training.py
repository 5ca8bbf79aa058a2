"""python -m tests.benchmarks.training: our TopK training beside SAELens, sparsify and dictionary_learning.

Each package takes its own full training step (loss, backward, its own treatment of the decoder and of gradients,
Adam) on the same float32 activations, of its TopK autoencoder of the same size, in a process of its own, on one
thread; with torch's fused Adam where the package leaves the choice. No latent counts as dead, so no auxiliary loss.
Reported: activations a second of processor time (median over repeats, interleaved; other work on the machine hardly
touches it) and the peak memory that training added to that of the imports. Needs
    pip install sae-lens eai-sparsify dictionary-learning;
what is missing is left out by name.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from amortgap._files import write_text
from amortgap.runs.provenance import cpu

M, N, K, LR = 576, 1152, 32, 1e-3
DISTRIBUTIONS = {
    "amortgap": "amortgap",
    "SAELens": "sae-lens",
    "sparsify": "eai-sparsify",
    "dictionary_learning": "dictionary-learning",
}


def amortgap(x: Tensor, steps: int, batch: int) -> float:
    from amortgap.encoders import TopKEncoder
    from amortgap.training import fit

    def spent(steps: int) -> float:
        model = TopKEncoder(M, N, k=K, aux_k=K, bias=True, pre_bias=True)
        begin = time.process_time()
        fit(model, x, steps=steps, batch_size=batch, l1_weight=0.0, lr=LR)
        return time.process_time() - begin

    return spent(steps) - spent(0)  # less the checks before the first step


def _loop(step: Callable[[int, Tensor], None], x: Tensor, steps: int, batch: int) -> float:
    g = torch.Generator().manual_seed(0)
    begin = time.process_time()
    for i in range(steps):
        step(i, x[torch.randperm(len(x), generator=g)[:batch]])
    return time.process_time() - begin


def saelens(x: Tensor, steps: int, batch: int) -> float:
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=M, d_sae=N, k=K))
    adam = torch.optim.Adam(sae.parameters(), lr=LR, fused=True)
    alive = torch.zeros(N, dtype=torch.bool)

    def step(i: int, rows: Tensor) -> None:
        given: dict[str, Any] = {"sae_in": rows, "coefficients": {}, "dead_neuron_mask": alive}
        sae.training_forward_pass(
            TrainStepInput(**given, n_training_steps=i, is_logging_step=False)
        ).loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return _loop(step, x, steps, batch)


def sparsify(x: Tensor, steps: int, batch: int) -> float:
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(M, SparseCoderConfig(num_latents=N, k=K, activation="topk"))
    adam = torch.optim.Adam(sae.parameters(), lr=LR, fused=True)
    alive = torch.zeros(N, dtype=torch.bool)

    def step(i: int, rows: Tensor) -> None:
        sae.set_decoder_norm_to_unit_norm()
        sae(rows, dead_mask=alive).fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        adam.zero_grad()

    return _loop(step, x, steps, batch)


def dictionary_learning(x: Tensor, steps: int, batch: int) -> float:
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(10**6, M, N, K, layer=0, lm_name="none", lr=LR, device="cpu")
    return _loop(lambda i, rows: trainer.update(i + 1, rows), x, steps, batch)


PEERS = {
    "amortgap": amortgap,
    "SAELens": saelens,
    "sparsify": sparsify,
    "dictionary_learning": dictionary_learning,
}


def one(name: str, data: Path | None, steps: int, batch: int) -> dict[str, Any]:
    """A warm-up, then the measured run, in this process."""
    torch.set_num_threads(1)
    if data is None:
        x = torch.randn(20_000, M, generator=torch.Generator().manual_seed(0))
    else:
        from amortgap.llm import from_file

        x = from_file(data).train.x
    PEERS[name](x, 1, batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = PEERS[name](x, steps, batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peer": name,
        "per_second": steps * batch / seconds,
        "peak_mib": peak / 1024,
        "grew_mib": (peak - before) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a file of amortgap.llm.save; Gaussian vectors without")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, default=Path("reports/bench/training.json"), help="a .md goes beside it"
    )
    parser.add_argument("--one", choices=list(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.data, options.steps, options.batch)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
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
    for _ in range(options.repeats):
        for name in PEERS:
            run = subprocess.run([*command, "--one", name], capture_output=True, text=True)
            if run.returncode == 0:
                found[name].append(json.loads(run.stdout.splitlines()[-1]))
            else:
                print(
                    f"{name}: left out ({(run.stderr.strip() or 'no message').splitlines()[-1]})", flush=True
                )
    rows = []
    for name, runs in found.items():
        if runs:
            row = {key: median(r[key] for r in runs) for key in ("per_second", "peak_mib", "grew_mib")}
            rows.append({"peer": name, "version": version(DISTRIBUTIONS[name]), **row, "runs": len(runs)})
            print(
                f"{name:20} {row['per_second']:10.0f} activations/s   peak {row['peak_mib']:6.0f} MiB",
                flush=True,
            )
    about: dict[str, Any] = {"machine": cpu(), "platform": platform.system(), "torch": torch.__version__}
    about |= {"M": M, "N": N, "k": K, "batch": options.batch, "steps": options.steps}
    about["data"] = f"activations from {options.data.name}" if options.data else "Gaussian vectors"
    write_text(options.out, json.dumps(about | {"rows": rows}, indent=1) + "\n")
    write_text(options.out.with_suffix(".md"), table(about, rows))


def table(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; ours is the first."""
    lines = [
        f"{about['machine']}, torch {about['torch']}, one thread. TopK autoencoders, M = {about['M']},",
        f"N = {about['N']}, k = {about['k']}, batches of {about['batch']}, {about['steps']} steps;"
        f" {about['data']}.",
        "",
        "| package | version | activations per CPU second | relative to ours | runs | memory added, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        numbers = f"{r['per_second']:.0f} | {r['per_second'] / rows[0]['per_second']:.2f} | {r['runs']}"
        lines.append(f"| {r['peer']} | {r['version']} | {numbers} | {r['grew_mib']:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
