"""The command that audits an SAE."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortgap._errors import Refused
from amortgap._files import check_folder, read_json, write_json, write_text
from amortgap.cli.notebooks import backend_options, positive

if TYPE_CHECKING:
    from amortgap.audit import AuditResult, Inputs
    from amortgap.interop import SAE


SHARED = {"sae_weights.safetensors", "sae.safetensors", "ae.pt", "params.npz", "params.safetensors"}
SHARED |= {"final.safetensors", "checkpoints"}
#: files by which a folder of audits of one SAE is known
MARKS = ("audit.json", "shards.json")
# as `amortgap.interop` has them, which takes seconds to import
ARCHITECTURES = ("standard", "topk", "batchtopk", "jumprelu", "gated", "matching_pursuit", "abstopk")
NORMALISATIONS = ("none", "expected_average_only_in", "constant_norm_rescale", "layer_norm")


def sae_options(parser: argparse.ArgumentParser) -> None:
    """What an SAE's file may leave open."""
    group = parser.add_argument_group("what the SAE's file does not say")
    group.add_argument("--architecture", choices=ARCHITECTURES, metavar="NAME", help=", ".join(ARCHITECTURES))
    group.add_argument("--k", type=float, help="active latents of a topk or batchtopk SAE")
    group.add_argument(
        "--subtract-b-dec",
        action=argparse.BooleanOptionalAction,
        help="whether the encoder takes b_dec off its input",
    )
    group.add_argument(
        "--normalise",
        choices=NORMALISATIONS,
        metavar="NAME",
        help=f"what it does to its input: {', '.join(NORMALISATIONS)}",
    )


def check_named(saes: list[str], options: argparse.Namespace) -> None:
    """Raises FileNotFoundError and `Refused` for what can be seen to be wrong before torch is imported."""
    for sae in saes:
        release, colon, name = sae.partition(":")
        if not Path(sae).exists() and not (release and colon and name):
            raise FileNotFoundError(f"there is no file or folder {sae} (an SAE on the hub is RELEASE:ID)")
    if options.activations and not options.activations.exists():
        raise FileNotFoundError(f"there is no file {options.activations}")
    if not re.fullmatch(r"cpu|(cuda|mps|xpu)(:\d+)?", options.device):
        raise Refused(f"there is no device named {options.device!r}; use 'cpu' or 'cuda'")


def read_sae(options: argparse.Namespace) -> SAE:
    """The SAE that the options name, on the device that they name."""
    from amortgap._check import check_device
    from amortgap.interop import read

    check_device(options.device)
    sae = read(options.sae, options.architecture, options.k, options.subtract_b_dec, options.normalise)
    return sae.to(options.device)


def folder_name(sae: str) -> str:
    """What an SAE is called in the names of made folders: all of a folder's name, a file's without its kind.

    A file that every SAE of its project has by the same name is called like its folder.
    """
    if not Path(sae).exists():
        return sae.replace("/", "_").replace(":", "_")
    path = Path(origin(sae))
    while path.name in SHARED:
        path = path.parent
    return path.stem if path.is_file() else path.name


def origin(sae: str) -> str:
    """Where an SAE is: a whole path, whose links stay (a hub's cache links to files named by digests), or an id."""
    return os.path.normpath(Path(sae).absolute()) if Path(sae).exists() else sae


def own_folder(out: Path | None, default: str, saes: list[str], marks: Sequence[str] = MARKS) -> Path:
    """The folder for what is made of `saes`: `out`, or else `default`.

    Raises `Refused` where it could not be written to, where it holds files but none of `marks`, and, unless it was
    named, where it holds what was made of other SAEs.
    """
    folder = check_folder(out or Path(default))
    # what a killed process left of a file is no file
    there = [one.name for one in folder.iterdir() if one.suffix != ".tmp"] if folder.is_dir() else []
    ours = [folder / mark for mark in marks if mark in there]
    if there and not ours:
        raise Refused(f"the folder {folder} holds other files; choose an empty or a new one with --out")
    others = {", ".join(_made_of(mark)) for mark in ours} - {"", ", ".join(map(origin, saes))}
    if out is None and others:
        raise Refused(f"{folder} holds what was made of {others.pop()}; choose another folder with --out")
    return folder


def _made_of(mark: Path) -> list[str]:
    """The SAEs that such a file names, if it can be read."""
    try:
        found: Any = read_json(mark)
        return [str(one) for one in found["of"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def input_options(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """The SAE (or several), and the activations to try it on."""
    parser.add_argument(
        "sae",
        metavar="SAE",
        nargs="+" if many else None,
        help="a folder of SAELens, dictionary_learning, sparsify, Llama Scope or Gemma Scope, a file of theirs or "
        "of your own (.safetensors, .pt, .npz), or RELEASE:ID of a published SAE (needs sae-lens)",
    )
    sae_options(parser)
    parser.add_argument(
        "--activations",
        type=Path,
        metavar="FILE",
        help="the activations, (n, M) or (sequences, positions, M): .npy, .npz, .safetensors, .pt or .parquet, or "
        "a folder of shards; where the file has names, `activations`, and `document`, `position`, `token` and "
        "`mask` of each row if they are known",
    )
    parser.add_argument(
        "--keep-all-rows",
        action="store_true",
        help="keep padding, BOS, position 0 and massive activations, too, which are left out otherwise",
    )
    parser.add_argument(
        "--model",
        help="or a language model to read them from: smollm2, a hub name, a folder or a GGUF file; "
        "then the loss recovered is measured, too (default: the one the SAE's configuration names)",
    )
    parser.add_argument(
        "--layer",
        help="where to read: a hook name such as blocks.8.hook_resid_pre, or a number of blocks "
        "(default: the one the SAE's configuration names)",
    )
    parser.add_argument(
        "--corpus", default="sotu", help="text for the model (default: %(default)s; see the README)"
    )
    parser.add_argument(
        "--n-tokens", type=positive, default=20_000, metavar="N", help="of it (default: %(default)s)"
    )
    parser.add_argument(
        "--tokens",
        type=positive,
        default=1024,
        metavar="N",
        help="tokens that are scored (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="which tokens are drawn (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def audit_options(parser: argparse.ArgumentParser) -> None:
    input_options(parser, many=True)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for index.html and audit.json (default: audit_SAE); of several SAEs, for a comparing page and a "
        "folder for each (default: audits)",
    )
    sharded_options(parser)


def sharded_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--every-row",
        action="store_true",
        help="score all rows of a folder of shards, with fewer ways, into shards.json",
    )
    backend_options(parser, "shards of --every-row")


def read_inputs(options: argparse.Namespace, sae: SAE) -> Inputs:
    """The activations that the options name, or those of the model that they or the SAE's configuration name."""
    from amortgap.audit import from_model, from_path

    model = options.model or sae.metadata.get("model_name")
    layer = options.layer or sae.metadata.get("hook_name") or sae.metadata.get("hook_point")
    if options.activations and (options.model or options.layer):
        raise Refused("give either --activations FILE, or --model NAME and --layer HOOK to read them from")
    if options.activations:
        given = from_path(options.activations, keep_all=options.keep_all_rows, seed=options.seed)
    elif model and layer:
        given = from_model(
            model, layer, options.corpus, options.n_tokens, seed=options.seed, device=options.device
        )
    else:
        raise Refused(
            "say what the SAE is to be tried on: --activations FILE, or --model NAME and --layer HOOK"
        )
    return given.to(options.device)


def audit(options: argparse.Namespace) -> int:
    """`amortgap audit SAE`: what better inference on its decoder would buy. Several make a comparing page."""
    check_named(options.sae, options)
    if options.every_row or options.backend or options.address:
        from amortgap.cli.sharded import every_row

        return every_row(options)
    if len(options.sae) == 1:
        folder = own_folder(options.out, f"audit_{folder_name(options.sae[0])}", options.sae)
        from amortgap.pages.audit import findings

        for sentence in findings(_written(folder, options.sae[0], _audit_one(options, options.sae[0]))):
            print(sentence)
        print(folder / "index.html")
        return 0
    folder = own_folder(options.out, "audits", options.sae, ("audits.json",))
    from amortgap.pages.audit import advice, compare

    names = [f"{i}_{folder_name(sae)}" for i, sae in enumerate(options.sae, 1)]
    results: dict[str, AuditResult] = {}
    for name, sae in zip(names, options.sae, strict=True):
        result = _audit_one(options, sae)
        if not results:  # the mark comes first, so that a stopped run's folder is known as ours
            of = [origin(one) for one in options.sae]
            write_json(folder / "audits.json", {"of": of, "folders": names})
        results[name] = _written(folder / name, sae, result)
        print(f"{name}: {advice(result)}")
    write_text(folder / "index.html", compare(results))
    print(folder / "index.html")
    return 0


def _audit_one(options: argparse.Namespace, sae: str) -> AuditResult:
    from amortgap import audit as auditing

    alone = argparse.Namespace(**{**vars(options), "sae": sae})
    read = read_sae(alone)
    given = read_inputs(alone, read)
    return auditing.audit(read, given, tokens=options.tokens, seed=options.seed)


def _written(folder: Path, sae: str, result: AuditResult) -> AuditResult:
    """The result, and its numbers and its page in `folder`."""
    from amortgap.pages.audit import render

    write_json(folder / "audit.json", {"of": [origin(sae)]} | asdict(result))
    write_text(folder / "index.html", render(folder_name(sae), result))
    return result
