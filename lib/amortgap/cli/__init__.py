"""The command `amortgap`. Each subcommand is one function and one entry in `COMMANDS`."""

from __future__ import annotations

import argparse
import io
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import amortgap
from amortgap._errors import Refused
from amortgap.cli import auditing, improving, notebooks

BAD_USE, UNEXPECTED, STOPPED = 2, 3, 130
EXIT_CODES = """exit codes: 0 done; 1 a notebook failed, or a report is not as it was written; 2 bad use or
bad input, said in one sentence; 3 an error that amortgap does not know, with its traceback; 130 stopped by
the keyboard"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # as on stderr: a terminal without Greek letters ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("amortgap: stopped; the same command continues from what is done", file=sys.stderr)
        return STOPPED
    except Exception as error:
        known = is_documented(error)
        if options.debug or not known:
            traceback.print_exc()
        if known:
            print(f"amortgap: {' '.join(str(error).split())}", file=sys.stderr)
            return BAD_USE
        print("amortgap: this should not happen; please report it with the lines above", file=sys.stderr)
        return UNEXPECTED


def is_documented(error: Exception) -> bool:
    """Whether the message is meant for the user: one about files, or raised by a check of this library."""
    if isinstance(error, Refused | OSError):
        return True
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    library = Path(amortgap.__file__).parent
    ours = place is not None and library in Path(place.tb_frame.f_code.co_filename).parents
    return ours and type(error) in (ValueError, RuntimeError)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="amortgap",
        description="How much is lost when a sparse code is read off by a feed-forward encoder "
        "instead of being solved for.",
        epilog="examples:\n"
        "  amortgap list                                  what there is to run\n"
        "  amortgap report                                run the quick profile, write reports/quick/index.html\n"
        "  amortgap status                                which of its pages are current, and why not\n"
        "  amortgap run 02_known_codes -p steps=2000      one notebook with another parameter\n"
        "  amortgap audit my_sae --activations x.npy      your own SAE: what would better inference buy?\n"
        "  amortgap improve my_sae --activations x.npy    and the module that gives these codes\n"
        f"  amortgap report --help                         more on one command\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (add_options, run, summary, examples) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=(f"examples:\n{examples}\n\n" if examples else "") + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of every error")
        command.set_defaults(run=run)
    return parser


Command = tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int], str, str]
#: name -> (adds its options, runs it, summary, examples)
COMMANDS: dict[str, Command] = {
    "report": (
        notebooks.report_options,
        notebooks.report,
        "run the notebooks of a profile and write their pages and index",
        "  amortgap report                                the quick profile\n"
        "  amortgap report --only 02_known_codes --force  run one of its notebooks again\n"
        "  amortgap report --redraw                       draw its pages again from their tables\n"
        "  amortgap report --profile smoke --jobs 4",
    ),
    "status": (
        notebooks.status_options,
        notebooks.status,
        "say which pages of a profile are current, and why the others are not",
        "  amortgap status --profile paper",
    ),
    "verify": (
        notebooks.verify_options,
        notebooks.verify,
        "check the data, claims and digests of a stored report without running it",
        "  amortgap verify                  every made report\n  amortgap verify reports/paper",
    ),
    "run": (
        notebooks.run_options,
        notebooks.run,
        "run one notebook with parameters of your choice",
        "  amortgap run 03_known_dictionary -p dictionaries=3\n"
        "  amortgap run 02_known_codes -p steps=2000 -p seed=5 --out /tmp/seed5",
    ),
    "audit": (
        auditing.audit_options,
        auditing.audit,
        "measure what better inference on your own SAE's decoder would buy",
        "  amortgap audit my_sae --activations activations.npy\n"
        "  amortgap audit first_sae second_sae --activations activations.npy    one page that compares them\n"
        "  amortgap audit my_sae.pt --architecture topk --k 32 --subtract-b-dec --normalise none \\\n"
        "    --activations layer8.safetensors                         a file that leaves all of this open\n"
        "  amortgap audit my_sae --model openai-community/gpt2 --layer blocks.8.hook_resid_pre --corpus texts/\n\n"
        "The decoder stays; the codes are found in many ways at the encoder's L0: as the encoder reads them,\n"
        "refitted on its latents, chosen among its best candidates, by the LASSO solved to a certified gap, and\n"
        "greedily (OMP). A random decoder of the same size is audited beside it. Activations must be those\n"
        "the SAE was trained on, in the model's own units; a thousand tokens take ten seconds of one core\n"
        "at 576 inputs and 4608 latents, and more than two minutes at 2304 and 16 384.",
    ),
    "improve": (
        improving.improve_options,
        improving.improve,
        "choose a head that gives your own SAE better codes, and write it as a module",
        "  amortgap improve my_sae --activations activations.npy --share .75\n"
        "  amortgap improve my_sae --activations activations.npy --cost 1.5\n"
        "  amortgap improve my_sae --model openai-community/gpt2 --layer blocks.8.hook_resid_pre\n\n"
        "The decoder stays, and no activation gets more latents than the encoder gave it. Heads are chosen on\n"
        "validation documents and measured on others, beside what the same time buys when the encoder is trained\n"
        "on or fitted to better codes. heads.load(FOLDER) gives the result: encode, decode, forward.",
    ),
    "compare": (
        notebooks.compare_options,
        notebooks.compare,
        "put the claims of two reports side by side",
        "  amortgap compare quick paper\n  amortgap compare paper /tmp/other/reports/paper",
    ),
    "list": (
        lambda parser: None,
        notebooks.list_notebooks,
        "list the notebooks, their parameters and profiles",
        "",
    ),
    "clean": (
        notebooks.clean_options,
        notebooks.clean,
        "remove made reports, except the committed reports/paper",
        "  amortgap clean                   every report but paper\n"
        "  amortgap clean --profile paper   also that one, because it is named",
    ),
}
