"""Measures both comparisons and writes reports/bench/paper.json and .md."""

import argparse
import json
import sys
from pathlib import Path

import torch

from ..output import REPORTS, about, write
from . import race, tables, whole
from .setting import WIDTHS, Data, arm_name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=sys.modules[__package__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200, help="steps measured of theirs (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (default 3)")
    parser.add_argument("--out", type=Path, default=REPORTS / "paper.json", help="a .md goes beside it")
    options = parser.parse_args()
    if min(options.steps, options.repeats) < 1:
        parser.error("--steps and --repeats must be at least 1")
    full = options.out.with_name("paper_full_protocol.json")
    if not full.exists():
        parser.error(f"{full} is missing: run python -m tests.benchmarks.paper.full_protocol first")
    theirs = json.loads(full.read_text())
    torch.set_num_threads(1)
    data, parts, arms = Data(), [], []
    for experiment, widths in WIDTHS.items():
        for h in widths:
            parts += race.encoder_parts(data, experiment, h, options.steps, options.repeats)
            arms += whole.encoder_arms(data, experiment, h)
            print(experiment, arm_name(h), "measured", flush=True)
    parts += race.code_parts(data, options.steps, options.repeats)
    arms.append(whole.sparse_coding_arm(data))
    totals = race.totals(parts)
    arms = whole.beside(arms, theirs, totals)
    sums = whole.sums(arms)
    made = about() | {"steps": options.steps, "repeats": options.repeats, "threads": 1}
    found = {"equal_accuracy": arms, "equal_accuracy_totals": sums, "totals": totals, "parts": parts}
    text = f"{made['machine']}, torch {made['torch']}, our training on 1 thread(s)\n\n"
    text += tables.equal_accuracy(arms, sums) + "\n" + tables.equal_steps(parts, totals)
    write(options.out, made | found, text)
    print(text)


if __name__ == "__main__":
    main()
