"""A device that is not there: tensors that say they are elsewhere, and whose numbers are on the CPU.

A tensor of `Elsewhere` refuses to meet a tensor left on the CPU, as one on a GPU does, so code for GPUs can be run
and its results compared where there is none. The device calls itself "meta", the only name beside "cpu" that every
build of torch accepts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
# between devices by nature; and indices may come from the CPU
COPIES = ("aten::copy_", "aten::_to_copy")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Elsewhere(torch.Tensor):
    """numbers: the tensor on the CPU."""

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=DEVICE,
        )

    def __init__(self, numbers: torch.Tensor) -> None:
        self.numbers = numbers

    def __repr__(self) -> str:
        return f"Elsewhere({self.numbers})"

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("a tensor of another device was asked for its numbers")
        return self.numbers.numpy(force=True)

    def tolist(self) -> Any:
        return self.numbers.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class Pretending(TorchDispatchMode):
    """While it holds, tensors made for DEVICE are made Elsewhere."""

    def __enter__(self) -> Any:
        self.kept = torch.tensor, torch.as_tensor  # which make their tensors out of a mode's sight
        torch.tensor, torch.as_tensor = (_placing(make) for make in self.kept)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.tensor, torch.as_tensor = self.kept
        super().__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _placing(make: Any) -> Any:
    def placed(value: Any, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        if isinstance(value, torch.Tensor) or device is None or torch.device(device) != DEVICE:
            return make(value, *args, device=device, **kwargs)
        return Elsewhere(make(value, *args, **kwargs))

    return placed


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = function.overloadpacket._qualified_op_name
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = any(isinstance(t, Elsewhere) for t in tensors)
    if there and name not in COPIES:
        for t in tensors:
            index = name in INDEXING and not t.is_floating_point()
            if not isinstance(t, Elsewhere) and t.ndim > 0 and not index:
                raise RuntimeError(f"{name}: a tensor of shape {tuple(t.shape)} was left on the CPU")
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = function(*tree_map(_numbers, args), **tree_map(_numbers, kwargs))
    if name == "aten::copy_":  # its result is its first argument
        return args[0]
    same = {id(_numbers(t)): t for t in tensors}  # what is changed in place stays itself

    def back(t: Any) -> Any:
        if not isinstance(t, torch.Tensor):
            return t
        return same[id(t)] if id(t) in same else Elsewhere(t)

    return tree_map(back, found) if there else found


def _numbers(t: Any) -> Any:
    return t.numbers if isinstance(t, Elsewhere) else t


def elsewhere(value: Any) -> Any:
    """A tensor, or a module whose parameters and buffers are changed, as on the device."""
    if isinstance(value, torch.Tensor):
        return Elsewhere(value.detach().clone())
    for module in value.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            moved = torch.nn.Parameter(Elsewhere(p.detach().clone()), requires_grad=p.requires_grad)
            setattr(module, name, moved)
    return value


def here(value: Any) -> Any:
    """Back on the CPU."""
    return _numbers(value.detach())
