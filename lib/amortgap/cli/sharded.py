"""`amortgap audit --every-row`: all rows of a folder of shards, here or by workers of a cluster."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial

from amortgap._errors import Refused
from amortgap._files import write_json
from amortgap.cli.auditing import audit_options, folder_name, origin, own_folder, read_sae
from amortgap.cli.notebooks import read_backend


def every_row(options: argparse.Namespace) -> int:
    """Write `shards.json` and print its rows."""
    from amortgap.audit.shards import audit_shards
    from amortgap.runs.sweep import sweep

    if len(options.sae) > 1 or not options.activations:
        raise Refused("--every-row audits one SAE on --activations FOLDER")
    parser = argparse.ArgumentParser()
    audit_options(parser)
    usual = parser.parse_args(["SAE"])
    for name in ("model", "layer", "corpus", "n_tokens", "tokens"):
        if getattr(options, name) != getattr(usual, name):
            raise Refused(
                f"--every-row scores all rows of --activations and has no use for --{name.replace('_', '-')}"
            )
    backend = read_backend(options)
    folder = own_folder(options.out, f"audit_{folder_name(options.sae[0])}", options.sae)
    sae = read_sae(argparse.Namespace(**{**vars(options), "sae": options.sae[0]}))
    result = audit_shards(
        sae,
        options.activations,
        share=partial(sweep, on=backend),
        seed=options.seed,
        keep_all=options.keep_all_rows,
    )
    write_json(folder / "shards.json", {"of": [origin(options.sae[0])]} | asdict(result))
    print(
        f"{result.tokens} tokens of {result.shards} shards; intervals over {result.groups} {result.resampled}"
    )
    for row in result.rows:
        print(f"{row.method:20} FVU {row.fvu:.5f} ({row.low:.5f} to {row.high:.5f}), L0 {row.l0:.2f}")
    for what, why in result.missing.items():
        print(f"{what}: {why}")
    print(folder / "shards.json")
    return 0
