"""Measures both comparisons and writes reports/bench/paper.json and .md."""

import argparse
import json
import sys
from pathlib import Path

import torch

from amortgap._files import write_text
from amortgap.runs.provenance import cpu

from . import full_protocol, race, tables, whole
from .setting import WIDTHS, Data, arm_name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=sys.modules[__package__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200, help="steps measured of theirs (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of our training (default 1)")
    parser.add_argument(
        "--widths", type=int, nargs="*", default=[0, 32, 256, 1024], help="hidden units; 0 is the SAE"
    )
    parser.add_argument(
        "--accuracy",
        type=Path,
        default=full_protocol.OUT,
        help="made by tests.benchmarks.paper.full_protocol",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("reports/bench/paper.json"), help="a .md goes beside it"
    )
    options = parser.parse_args()
    if min(options.steps, options.repeats, options.threads) < 1:
        parser.error("--steps, --repeats and --threads must be at least 1")
    if not options.accuracy.exists():
        parser.error(
            f"{options.accuracy} is missing: run python -m tests.benchmarks.paper.full_protocol first"
        )
    theirs = json.loads(options.accuracy.read_text())
    torch.manual_seed(0)
    data, parts, arms = Data(), [], []
    for experiment, widths in WIDTHS.items():
        for h in widths:
            if h in options.widths:
                parts += race.encoder_parts(
                    data, experiment, h, options.steps, options.repeats, options.threads
                )
                arms += whole.encoder_arms(data, experiment, h, options.threads)
                print(experiment, arm_name(h), "measured", flush=True)
    parts += race.code_parts(data, options.steps, options.repeats, options.threads)
    arms.append(whole.sparse_coding_arm(data))
    totals = race.totals(parts)
    arms = whole.beside(arms, theirs, totals)
    sums = whole.sums(arms)
    about = {
        "machine": cpu(),
        "torch": torch.__version__,
        "steps": options.steps,
        "repeats": options.repeats,
        "threads": options.threads,
    }
    found = {"equal_accuracy": arms, "equal_accuracy_totals": sums, "totals": totals, "parts": parts}
    lines = [f"{cpu()}, torch {torch.__version__}, our training on {options.threads} thread(s)", ""]
    lines += [*tables.equal_accuracy(arms, sums), "", *tables.equal_steps(parts, totals)]
    write_text(options.out.with_suffix(".json"), json.dumps(about | found, indent=1) + "\n")
    write_text(options.out.with_suffix(".md"), "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
