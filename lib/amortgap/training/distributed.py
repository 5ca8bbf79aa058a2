"""One large encoder trained by many processes, each with its part of every batch.

    split = 1    each process has the whole model (DistributedDataParallel), gradients are averaged;
    split = T    T processes share one dictionary, N/T latents each: W (N, M) and b (N,) lie in rows, D (M, N) in
                 columns (torch.distributed.tensor). Each finds its k largest pre-activations, all k T are gathered,
                 and the k-th largest is the threshold. Of W processes W/T groups see different parts of the batch.

A device then holds 2 N M / T weights, their gradients and Adam's two moments. Both are the steps of `fit` on whole
batches, to rounding. Gao et al., Scaling and evaluating sparse autoencoders (2024), appendix D.2, split likewise.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter, load, save
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from amortgap._files import digest, read_json, write_json
from amortgap._progress import progress
from amortgap.training.losses import reconstruction_loss
from amortgap.training.schedule import Cosine, learning_rate

#: encoders whose latents can be split, by class name
SPLIT = ("ReLUEncoder", "TopKEncoder")
#: files with the digests of a checkpoint's others, one of each process
DIGESTS = "digests_"
#: which dimension of a parameter counts latents
LATENTS = {"W": 0, "b": 0, "decoder.D": 1}


class _Loss(nn.Module):
    """x (n, M) -> the loss of the whole batch's part x, as a module, so that DDP sees its forward pass."""

    def __init__(self, model: Any, l1_weight: float, mesh: DeviceMesh | None) -> None:
        super().__init__()
        self.model, self.l1_weight, self.mesh = model, l1_weight, mesh

    def forward(self, x: Tensor) -> Tensor:
        if self.mesh is None:
            return reconstruction_loss(self.model, x, self.l1_weight)
        model, placed = self.model, [Shard(0), Replicate()]
        x = DTensor.from_local(x, self.mesh, placed)
        pre = torch.relu(_plus(model.decoder.centre(x) @ model.W.mT, model.b))
        s = pre if not hasattr(model, "k") else _keep_largest(pre, model.k, self.mesh)
        x_hat = model.decoder(s)
        loss = (x - x_hat).square().mean() + self.l1_weight * s.mean()
        return loss.redistribute(placements=[Replicate(), Replicate()]).to_local()


def _plus(h: Tensor, b: Tensor | None) -> Tensor:
    return h if b is None else h + b


def _keep_largest(pre: Any, k: int, mesh: DeviceMesh) -> DTensor:
    """pre (n, N), split over its columns, with all but the k largest entries of each row zero."""
    here = pre.to_local()
    top = here.detach().topk(min(k, here.shape[1]), dim=1).values
    tops = [torch.empty_like(top) for _ in range(mesh.size(1))]
    dist.all_gather(tops, top.contiguous(), group=mesh.get_group(1))
    least = torch.cat(tops, 1).topk(k, dim=1).values[:, -1:]
    return DTensor.from_local(here * (here >= least), mesh, pre.placements)


def fit_distributed(
    model: nn.Module,
    batches: Callable[[int], Iterator[Tensor]],
    *,
    steps: int,
    lr: float | Cosine = 1e-3,
    l1_weight: float = 0.0,
    split: int = 1,
    folder: Path | None = None,
    save_every: int = 1000,
) -> dict[str, Tensor]:
    """Take `steps` steps of Adam in all processes of the default group; returns the whole model's state dict.

    model: the same in all. batches(t): this process's parts (n, M) of the batches t, t + 1, ...; equal n in all,
    and equal parts within a group that shares a dictionary. folder: checkpoints, one after each `save_every` steps
    and the last, as safetensors without pickles; a run goes on from the newest whole one, with any number of
    processes and any split.

    Raises ValueError for an encoder that learns from whole batches (BatchTopK, AuxK), for one whose latents cannot
    be split, where split divides neither the number of processes nor N, and for a damaged checkpoint;
    FloatingPointError where a parameter is not finite when it is to be saved, or at the end.
    """
    check_split(model, split)
    device = next(model.parameters()).device
    mesh = None
    if split > 1:
        mesh = init_device_mesh(device.type, (dist.get_world_size() // split, split))
        _distribute(model, mesh)
    loss: nn.Module = _Loss(model, l1_weight, mesh)
    if mesh is None:
        loss = DistributedDataParallel(loss)
    learned = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(learned, weight_decay=0.0, foreach=False)
    first = _go_on(folder, model, adam)
    coming = batches(first)
    for step in progress(
        range(first, steps), initial=first, total=steps, desc="training", disable=dist.get_rank() > 0
    ):
        adam.param_groups[0]["lr"] = learning_rate(lr, step=step, steps=steps)
        adam.zero_grad()
        loss(next(coming).to(device, learned[0].dtype)).backward()
        for p in learned:
            if isinstance(p.grad, DTensor):
                # sums over the groups that are still to be made
                p.grad = p.grad.redistribute(placements=p.placements)  # type: ignore[attr-defined]
        adam.step()
        model.decoder.normalise_()  # type: ignore[union-attr, operator]
        if (step + 1) % save_every == 0 or step + 1 == steps:
            _check_finite(learned, step + 1)
            if folder:
                _save(folder, step + 1, model, adam)
    return {name: p.full_tensor() if isinstance(p, DTensor) else p for name, p in model.state_dict().items()}


def check_split(model: nn.Module, split: int) -> None:
    """Raises ValueError as `fit_distributed`."""
    kind, world = type(model).__name__, dist.get_world_size()
    if any(not p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{kind} keeps account of whole batches or has a given part, so its batches are not shared out"
        )
    N = model.get_parameter("decoder.D").shape[-1]
    if split > 1 and kind not in SPLIT:
        raise ValueError(f"the latents of {kind} cannot be split; {' and '.join(SPLIT)} can")
    if world % split or N % split:
        raise ValueError(f"split = {split} must divide the {world} processes and the {N} latents")


def _check_finite(parameters: list[nn.Parameter], step: int) -> None:
    for p in parameters:
        here = p.to_local() if isinstance(p, DTensor) else p
        if not here.isfinite().all():
            raise FloatingPointError(f"a parameter is not finite after step {step}: lower the learning rate")


def _distribute(model: nn.Module, mesh: DeviceMesh) -> None:
    """Replace the parameters by their parts."""
    for name, p in list(model.named_parameters()):
        owner, _, own = name.rpartition(".")
        kind = Shard(LATENTS[name]) if name in LATENTS else Replicate()
        part = nn.Parameter(distribute_tensor(p.detach(), mesh, [Replicate(), kind]))
        setattr(model.get_submodule(owner), own, part)


def _save(folder: Path, step: int, model: nn.Module, adam: torch.optim.Optimizer) -> None:
    """A folder that is named when it is whole; the one before it goes."""
    half, whole = folder / f".step_{step:09d}", folder / f"step_{step:09d}"
    if dist.get_rank() == 0:
        shutil.rmtree(half, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    dist.barrier()
    writer = HuggingFaceStorageWriter(str(half), save_distributed=True)
    save(_tensors(*get_state_dict(model, adam)), storage_writer=writer)
    dist.barrier()
    # before the folder has its name
    write_json(half / f"{DIGESTS}{dist.get_rank():06d}.json", {f.name: digest(f) for f in _mine(half)})
    dist.barrier()
    if dist.get_rank() == 0:
        older = _checkpoints(folder)
        half.rename(whole)
        for old in older:
            shutil.rmtree(old)
    dist.barrier()


def _go_on(folder: Path | None, model: nn.Module, adam: torch.optim.Optimizer) -> int:
    """How many steps are made, with model and moments as they were."""
    found = _checkpoints(folder) if folder else []
    if not found:
        return 0
    weights, moments = get_state_dict(model, adam)
    tensors = _tensors(weights, moments)
    reader = HuggingFaceStorageReader(str(found[-1]))
    try:
        _check_digests(found[-1], next(model.parameters()).device)
        _check_whole(reader, tensors)
        load(tensors, storage_reader=reader)
    except (CheckpointException, SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"the checkpoint {found[-1]} is damaged or of another version; without it, the run starts anew"
        ) from error
    set_state_dict(model, adam, model_state_dict=weights, optim_state_dict=moments)
    return int(found[-1].name.removeprefix("step_"))


def _tensors(weights: dict[str, Any], moments: Any) -> dict[str, Tensor]:
    """Weights and Adam's moments by name; its numbers are those of `fit_distributed`."""
    of_adam = {f"adam.{of}.{name}": t for of, each in moments["state"].items() for name, t in each.items()}
    return {f"model.{name}": weight for name, weight in weights.items()} | of_adam


def _mine(folder: Path) -> list[Path]:
    """The files of a checkpoint whose digests this process takes."""
    return sorted(folder.glob("*.safetensors"))[dist.get_rank() :: dist.get_world_size()]


def _check_digests(folder: Path, device: torch.device) -> None:
    """ValueError in all processes where a file is not as one of them has written it."""
    try:
        written = {k: v for file in folder.glob(f"{DIGESTS}*.json") for k, v in read_json(file).items()}
        wrong = sum(written.get(f.name) != digest(f) for f in _mine(folder))
    except (OSError, ValueError, AttributeError):
        wrong = 1
    of_all = torch.tensor(wrong, device=device)
    dist.all_reduce(of_all)
    if of_all:
        raise ValueError(f"{int(of_all)} files of {folder} are not as they were written")


def _check_whole(reader: HuggingFaceStorageReader, tensors: dict[str, Tensor]) -> None:
    """ValueError where a part of a tensor is in none of the files: `load` would leave it as it is."""
    found: dict[str, Any] = reader.read_metadata().state_dict_metadata
    for name, tensor in tensors.items():
        if sum(math.prod(chunk.sizes) for chunk in found[name].chunks) != tensor.numel():
            raise ValueError(f"{name} is not whole")


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_" + 9 * "[0-9]"))
