"""The command that finds better codes for an SAE's decoder."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from amortgap._files import write_json, write_text
from amortgap.cli.auditing import (
    check_named,
    folder_name,
    input_options,
    origin,
    own_folder,
    read_inputs,
    read_sae,
)


def between(low: float, high: float) -> Callable[[str], float]:
    """A finite number above `low` and at most `high`, for argparse."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low < value <= high and value < math.inf):
            most = "" if high == math.inf else f" and at most {high:g}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above {low:g}{most}")
        return value

    return parse


def improve_options(parser: argparse.ArgumentParser) -> None:
    input_options(parser)
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument(
        "--share",
        type=between(0, 1),
        help="choose the fastest head with this share of what a pursuit among all latents gains (default: 0.75)",
    )
    wanted.add_argument(
        "--cost",
        type=between(1, math.inf),
        help="or the best one that takes at most so many times the encoder's time",
    )
    parser.add_argument(
        "--baseline-seconds",
        type=between(0, math.inf),
        metavar="S",
        help="how long each baseline trains (default: as long as choosing took)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for index.html, improve.json and the improved SAE (default: improved_SAE)",
    )


def improve(options: argparse.Namespace) -> int:
    """`amortgap improve SAE`: a head for its decoder, chosen on the activations given."""
    check_named([options.sae], options)
    name = folder_name(options.sae)
    folder = own_folder(options.out, f"improved_{name}", [options.sae], ("improve.json",))
    from amortgap.improve import improve as choose
    from amortgap.pages.improve import render

    sae = read_sae(options)
    result = choose(
        sae,
        read_inputs(options, sae),
        share=options.share,
        cost=options.cost,
        tokens=options.tokens,
        baseline_seconds=options.baseline_seconds,
        seed=options.seed,
    )
    # the mark comes first, so that a stopped run's folder is known as ours
    write_json(folder / "improve.json", {"of": [origin(options.sae)]} | result.as_json())
    result.save(folder)
    write_text(folder / "index.html", render(name, result))
    print(result.sentence)
    print(folder / "index.html")
    return 0
