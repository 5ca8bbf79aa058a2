"""Refusals shared by every public function: one clear sentence before any work starts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def as_tensor(value: Any, name: str) -> Tensor:
    """`value` (tensor or array) as a floating tensor. Raises ValueError for NaN, inf, non-numbers, complex numbers,
    sparse tensors and for numbers of more than 64 or fewer than 16 bits.
    """
    value = _from_numpy(value, name)
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a torch tensor or a numpy array, not {type(value).__name__}")
    if value.layout != torch.strided:
        raise ValueError(f"{name} must be dense, but its layout is {value.layout}; call to_dense()")
    if not value.is_floating_point():
        if value.is_complex():
            raise ValueError(f"{name} must be real, but it is complex")
        value = value.to(torch.get_default_dtype())
    if value.dtype not in FLOATS:
        raise ValueError(f"{name} must have 16, 32 or 64 bits a number, but its dtype is {value.dtype}")
    # a finite sum has finite terms alone, and takes a quarter of the time; sums of finite terms can overflow
    if not math.isfinite(value.sum().item()) and not torch.isfinite(value).all():
        raise ValueError(f"{name} contains NaN or infinite entries")
    return value


def _from_numpy(value: Any, name: str) -> Any:
    """An array of numbers as a tensor, anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind not in "fiubc":
        raise ValueError(f"{name} must hold numbers, but its dtype is {value.dtype}")
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:
        raise ValueError(f"{name} is {value.dtype}, more digits than are computed with; make it float64")
    # torch cannot share memory that is read-only (memory-mapped), strided or of the other byte order
    native = value.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(value, dtype=native, requirements=["C", "W"]))


def check_dictionary(D: Any, *, unit: bool = False) -> Tensor:
    """D as a tensor (M, N). Raises ValueError for a wrong shape, NaN, a zero column (or a non-unit one)."""
    D = as_tensor(D, "the dictionary D")
    if D.ndim != 2 or 0 in D.shape:
        raise ValueError(f"the dictionary D must have shape (M, N), but its shape is {tuple(D.shape)}")
    # not of the squares, which underflow, and take ten times as long
    largest = torch.maximum(D.amax(0), -D.amin(0))
    if not largest.all():
        raise ValueError(f"column {int((largest == 0).nonzero()[0])} of the dictionary D is zero")
    if unit:
        norms = torch.linalg.vector_norm(D, dim=0)
        if not torch.allclose(norms, torch.ones_like(norms), atol=1e-4):
            raise ValueError(
                "the columns of the dictionary D must have norm one; divide D by its column norms"
            )
    return D


def check_problem(D: Any, x: Any) -> tuple[Tensor, Tensor]:
    """D (M, N) and x (n, M) as tensors of one dtype and device, without gradients, or ValueError."""
    D = check_dictionary(D).detach()
    x = check_signals(D, x)
    return (D.to(x.dtype), x) if x.dtype != D.dtype else (D, x)


def check_signals(D: Tensor, x: Any) -> Tensor:
    """x (n, M) as a tensor without gradients that fits D (M, N), or ValueError."""
    x = as_tensor(x, "x").detach()
    if x.ndim != 2 or x.shape[1] != D.shape[0]:
        raise ValueError(
            f"x must have shape (n, {D.shape[0]}) to fit D {tuple(D.shape)}, not {tuple(x.shape)}"
        )
    if x.device != D.device:
        raise ValueError(f"D is on {D.device} but x is on {x.device}; move one of them")
    return x


def as_number(value: Any, name: str) -> float:
    """`value`, a number or an array or tensor that holds a single one, as a float. ValueError for anything else."""
    if isinstance(value, np.ndarray | np.generic | Tensor) and math.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        kind = f"of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise ValueError(f"{name} must be one real number, not {kind}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is a whole number beyond the range of float64") from None


def check_tol(tol: Any) -> float:
    """tol as a float between 0 and 1, or ValueError."""
    number = as_number(tol, "tol")
    if not 0 < number < 1:
        raise ValueError(f"tol is a relative duality gap between 0 and 1, not {number}")
    return number


def check_alpha(alpha: Any) -> float:
    """alpha as a float. Raises ValueError unless it is one number, finite and positive."""
    alpha = as_number(alpha, "alpha")
    if not math.isfinite(alpha) or alpha < 0:
        raise ValueError(f"alpha must be a finite number > 0, not {alpha}")
    if alpha == 0:
        raise ValueError("alpha = 0 leaves the l1 term out; use basis_pursuit for exact recovery")
    return alpha


def check_sparsity(K: Any, N: int, M: int | None = None) -> int:
    """K as an int with 1 <= K <= N (and K <= M where M is given), or ValueError."""
    K = as_number(K, "K")
    if not K.is_integer() or not 1 <= K <= N:
        raise ValueError(f"K must be a whole number between 1 and N = {N}, not {K:g}")
    if M is not None and K > M:
        raise ValueError(f"K = {K} columns of length M = {M} are linearly dependent; choose K <= M")
    return int(K)


def check_sparsities(K: Any, x: Tensor, N: int, M: int) -> int | Tensor:
    """K as `check_sparsity`, or for each of the samples x (n, M) its own as a tensor (n,), or ValueError."""
    if not isinstance(K, np.ndarray | Tensor) or K.ndim == 0:
        return check_sparsity(K, N, M)
    many = as_tensor(K, "K").double()
    if many.shape != (len(x),):
        raise ValueError(f"K must be one number or one a sample, ({len(x)},), not {tuple(many.shape)}")
    for worst in many[(many != many.round()) | (many < 1) | (many > min(M, N))][:1]:
        check_sparsity(float(worst), N, M)
    return many.long().to(x.device)


def check_residual(residual: Any, x: Tensor) -> Tensor:
    """Lengths (n,) in x's dtype from one number or one for each of the samples x (n, M), or ValueError."""
    many = isinstance(residual, np.ndarray | Tensor) and residual.ndim > 0
    length = (
        as_tensor(residual, "residual").to(x) if many else torch.tensor(as_number(residual, "residual")).to(x)
    )
    if many and length.shape != (len(x),):
        raise ValueError(
            f"residual must be one number or one a sample, ({len(x)},), not {tuple(length.shape)}"
        )
    if not (length.isfinite() & (length > 0)).all():
        raise ValueError("residual is a length ||x - D s||, finite and > 0, but one given is not")
    return length.expand(len(x))


def check_count(value: Any, name: str, least: int = 1) -> int:
    """`value` as an int of at least `least` and below 2^31, or ValueError."""
    number = as_number(value, name)
    if not number.is_integer() or not least <= number < 2**31:
        raise ValueError(f"{name} must be at least {least}, below 2^31 and whole, not {number:g}")
    return int(number)


def generator(seed: Any) -> torch.Generator:
    """A generator on the CPU that begins at `seed`, a whole number; ValueError for anything else."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not abs(int(seed)) < 2**63:
        raise ValueError(f"seed must be a whole number of at most 63 bits, not {seed!r}")
    return torch.Generator().manual_seed(int(seed))


def check_choice(value: Any, name: str, known: Iterable[str]) -> str:
    """`value` where it is one of the names `known`, or ValueError."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"unknown {name} {value!r}; choose one of {sorted(known)}")
    return value


def check_device(device: str | torch.device) -> torch.device:
    """`device` as torch.device. Raises ValueError for an unknown one, RuntimeError for CUDA where there is none."""
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"there is no device named {device!r}; use 'cpu' or 'cuda'") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"device {str(device)!r} was asked for, but there is no CUDA device, or no usable CUDA device for this "
            "build of torch; use device='cpu'"
        )
    return device


def same_kind(function: F) -> F:
    """`function(D, x, ...)` for tensors, made to take numpy arrays and to answer in the kind of x."""

    @functools.wraps(function)
    def wrapped(D: Any, x: Any, *others: Any, **named: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return function(D, x, *others, **named)
        names = inspect.signature(function).parameters
        values = [_from_numpy(v, name) for v, name in zip((D, x, *others), names, strict=False)]
        named = {k: _from_numpy(v, k) for k, v in named.items()}
        return _as_arrays(function(*values, **named))

    return cast(F, wrapped)


def _as_arrays(value: Any) -> Any:
    """Every tensor in value (one itself, a list, a tuple, a record with tensors as fields) as a numpy array."""
    if isinstance(value, list | tuple):
        return type(value)(_as_arrays(part) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {k: v.numpy() for k, v in vars(value).items() if torch.is_tensor(v)}
        return dataclasses.replace(value, **parts)
    return value.numpy() if torch.is_tensor(value) else value
