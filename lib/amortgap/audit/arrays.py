"""Rows of activations out of files that may be larger than memory.

A file is mapped or read through once; only the rows asked for are kept. .npy, .npz, .safetensors, .pt, .parquet
(one column of lists); float16, bfloat16, float32, float64. Activations are (n, M), or (sequences, positions, M).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from amortgap._check import as_tensor

#: Names of the activations, and of what may be known of each row.
NAMES = ("activations", "x", "acts", "hidden_states", "arr_0", "hidden")
EXTRAS = {
    "document": ("document", "documents", "doc"),
    "position": ("position", "positions"),
    "token": ("token", "tokens", "token_ids", "input_ids"),
    "mask": ("mask", "attention_mask"),
}
#: beside the shards of `amortgap.llm.stream`: the tokens and the document of each sequence
TOKENS = "tokens.safetensors"
KINDS = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".parquet")
#: Rows read at a time.
CHUNK = 4096
TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}


@dataclass
class Rows:
    """The activations of one file: `take` gives rows (sorted numbers) as finite float32 (len, M)."""

    shape: tuple[int, ...]
    take: Callable[[np.ndarray], Tensor]
    #: by the names of `EXTRAS`, (n,) each
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or 0 in self.shape:
            raise ValueError(
                f"the activations must have shape (n, M), or (sequences, positions, M), not {self.shape}"
            )
        if len(self.shape) == 3:
            S, T = self.shape[:2]
            self.extras.setdefault("document", torch.arange(S)[:, None].expand(S, T))
            self.extras.setdefault("position", torch.arange(T).expand(S, T))
        for name, value in self.extras.items():
            if len(self.shape) == 3 and value.shape == self.shape[:1]:
                value = value[:, None].expand(self.shape[:2])
            if value.shape not in (self.shape[:-1], (self.n,)):
                raise ValueError(f"{name} must have shape {self.shape[:-1]}, not {tuple(value.shape)}")
            self.extras[name] = _whole(value, name).reshape(-1)

    @property
    def n(self) -> int:
        return math.prod(self.shape[:-1])


def open_rows(path: Path) -> list[Rows]:
    """The rows of a file, or of the shards in a folder in the order of the numbers in their names.

    A folder may be one of `amortgap.llm.stream`. Raises FileNotFoundError and ValueError in one sentence.
    """
    if path.is_dir():
        files = [file for file in path.iterdir() if file.suffix in KINDS and not file.name.startswith(".")]
        if not files:
            raise FileNotFoundError(f"the folder {path} holds no {', '.join(KINDS)}")
        if len({file.suffix for file in files}) > 1:
            raise ValueError(f"{path} holds files of several kinds, so which are its shards is not clear")
        files.sort(key=lambda file: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", file.name)])
    elif path.is_file():
        files = [path]
    else:
        raise FileNotFoundError(f"there is no file {path}")
    tokens = path / TOKENS
    ours = tokens in files and len(files) > 1
    shards = [_open(file) for file in files if not (ours and file == tokens)]
    if ours:
        _name_tokens(shards, tokens)
    if len({shard.shape[-1] for shard in shards}) > 1:
        raise ValueError(f"the shards in {path} have activations of different widths")
    if len({tuple(sorted(shard.extras)) for shard in shards}) > 1:
        raise ValueError(
            f"the shards in {path} do not all say the same of their rows (document, position ...)"
        )
    return shards


def _name_tokens(shards: list[Rows], file: Path) -> None:
    """Give the sequences (S, T) of each shard their tokens and documents, which `file` has one after the other."""
    with _told(file), safe_open(file, framework="pt") as opened:
        windows, document = opened.get_tensor("windows"), opened.get_tensor("document")
        if [sum(shard.shape[0] for shard in shards), *shards[0].shape[1:-1]] != list(windows.shape):
            raise ValueError("it names other tokens than its shards hold; extract the activations again")
    start = 0
    for shard in shards:
        rows = slice(start, start := start + shard.shape[0])
        shard.extras["token"] = windows[rows].long().reshape(-1)
        shard.extras["document"] = document[rows].long().repeat_interleave(shard.shape[1])


def _open(file: Path) -> Rows:
    readers = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".pt": _torch, ".pth": _torch}
    with _told(file):
        rows = readers.get(file.suffix, _safetensors)(file)
    taken = rows.take

    def take(numbers: np.ndarray) -> Tensor:
        with _told(file):
            x = taken(numbers)
        return as_tensor(x, str(file))

    rows.take = take
    return rows


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    """What goes wrong with a file as a ValueError that names it."""
    try:
        yield
    except (EOFError, SafetensorError, zipfile.BadZipFile, zlib.error, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is damaged, or not one of {', '.join(KINDS)}") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _mapped(file: Path, dtype: str, shape: tuple[int, ...], offset: int) -> Callable[[np.ndarray], Tensor]:
    """Rows of an array in C order that starts at `offset`; each chunk is mapped anew, so pages are given back."""
    M, kind = shape[-1] if shape else 0, np.dtype(dtype)

    def take(rows: np.ndarray) -> Tensor:
        def chunk(part: np.ndarray) -> np.ndarray:
            first, count = int(part[0]), int(part[-1] - part[0]) + 1
            start = offset + first * M * kind.itemsize
            block = np.memmap(file, kind, "r", start, (count, M))
            return np.asarray(block[part - first])

        return _gather(rows, M, chunk)

    return take


def _gather(rows: np.ndarray, M: int, chunk: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    out = torch.empty(len(rows), M)
    for start in range(0, len(rows), CHUNK):
        out[start : start + CHUNK] = _floats(chunk(rows[start : start + CHUNK]))
    return out


def _floats(block: np.ndarray) -> Tensor:
    """float32; unsigned 16-bit numbers are bfloat16, which numpy does not have."""
    if block.dtype == np.uint16:
        return torch.from_numpy(block.view(np.int16)).view(torch.bfloat16).float()
    with np.errstate(over="ignore"):  # infinity is refused later
        return torch.from_numpy(block.astype(np.float32))


def _check_floats(dtype: np.dtype) -> None:
    if dtype.kind != "f":
        raise ValueError(f"the activations must be floating-point numbers, not {dtype}")


def _npy(file: Path) -> Rows:
    with file.open("rb") as stream:
        shape, fortran, dtype = _header(stream)
        offset = stream.tell()
    _check_floats(dtype)
    if fortran:
        raise ValueError("the array is stored column by column; save numpy.ascontiguousarray of it")
    if file.stat().st_size < offset + math.prod(shape) * dtype.itemsize:
        raise EOFError(file)
    return Rows(shape, _mapped(file, dtype.str, shape, offset))


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        return read(stream)
    except ValueError as error:
        raise EOFError from error


def _npz(file: Path) -> Rows:
    """Members are read through, since they may be compressed."""
    with zipfile.ZipFile(file) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
    name = _name(list(members))

    def member(key: str) -> np.ndarray:
        with np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[key])

    with zipfile.ZipFile(file) as archive, archive.open(members[name]) as stream:
        shape, fortran, dtype = _header(stream)
    _check_floats(dtype)
    if fortran:
        raise ValueError("the array is stored column by column; save numpy.ascontiguousarray of it")

    width = shape[-1] if shape else 0

    def blocks() -> Iterator[np.ndarray]:
        with zipfile.ZipFile(file) as archive, archive.open(members[name]) as stream:
            _header(stream)
            while data := stream.read(CHUNK * width * dtype.itemsize):
                yield np.frombuffer(data, dtype).reshape(-1, width)

    return Rows(shape, _through(blocks, width), _extras(list(members), member))


def _through(blocks: Callable[[], Iterator[np.ndarray]], M: int) -> Callable[[np.ndarray], Tensor]:
    """Rows of blocks that come one after the other."""

    def take(rows: np.ndarray) -> Tensor:
        out, start, done = torch.empty(len(rows), M), 0, 0
        for block in blocks():
            stop = int(np.searchsorted(rows, start + len(block)))
            out[done:stop] = _floats(block[rows[done:stop] - start])
            start, done = start + len(block), stop
            if done == len(rows):
                return out
        raise EOFError("the file ends before its rows do")

    return take


def _safetensors(file: Path) -> Rows:
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
        name = _name(names)
        extras = _extras(names, lambda key: opened.get_tensor(key))
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        about = json.loads(stream.read(length))[name]
    if about["dtype"] not in TYPES:
        raise ValueError(f"{name} must be of type {', '.join(TYPES)}, not {about['dtype']}")
    shape = tuple(about["shape"])
    offset = 8 + length + about["data_offsets"][0]
    return Rows(shape, _mapped(file, TYPES[about["dtype"]], shape, offset), extras)


def _torch(file: Path) -> Rows:
    try:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # torch's older format cannot be mapped
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it meets: pickle's, zipfile's and its own errors
        raise ValueError("it is damaged, or holds more than tensors, which is not loaded") from error
    tensors = {NAMES[0]: content} if isinstance(content, Tensor) else content
    if not isinstance(tensors, dict):
        raise ValueError("it must hold a tensor, or a dictionary of tensors")
    tensors = {str(key): value for key, value in tensors.items()}
    x = tensors[_name([key for key, value in tensors.items() if isinstance(value, Tensor)])]
    if x.layout != torch.strided or x.is_meta:
        raise ValueError(f"the activations must be dense, not {'without numbers' if x.is_meta else x.layout}")
    if not x.is_floating_point():
        raise ValueError(f"the activations must be floating-point numbers, not {x.dtype}")

    def take(rows: np.ndarray) -> Tensor:
        out = torch.empty(len(rows), x.shape[-1])
        flat = x.reshape(-1, x.shape[-1])
        for start in range(0, len(rows), CHUNK):
            out[start : start + CHUNK] = flat[torch.from_numpy(rows[start : start + CHUNK])].float()
        return out

    return Rows(tuple(x.shape), take, _extras(list(tensors), lambda key: tensors[key]))


def _parquet(file: Path) -> Rows:
    try:
        from pyarrow import compute, parquet
    except ImportError as error:
        raise ValueError("reading .parquet needs pyarrow: pip install pyarrow") from error
    opened = parquet.ParquetFile(file)
    columns = [column.name for column in opened.schema_arrow]
    lists = [column.name for column in opened.schema_arrow if hasattr(column.type, "value_type")]
    name = lists[0] if len(lists) == 1 else _name(lists)
    first = next(opened.iter_batches(batch_size=1, columns=[name]), None)
    M = 0 if first is None else compute.list_value_length(first.column(0))[0].as_py() or 0

    def blocks() -> Iterator[np.ndarray]:
        for batch in parquet.ParquetFile(file).iter_batches(batch_size=CHUNK, columns=[name]):
            values = batch.column(0).flatten().to_numpy(zero_copy_only=False)
            lengths = compute.list_value_length(batch.column(0))
            if lengths.null_count or (lengths.to_numpy() != M).any() or len(values) != len(batch) * M:
                raise ValueError(f"the lists of {name} are not all {M} long")
            _check_floats(values.dtype)
            yield values.reshape(-1, M)

    def extra(key: str) -> np.ndarray:
        return np.array(opened.read(columns=[key]).column(0).to_numpy())

    return Rows((opened.metadata.num_rows, M), _through(blocks, M), _extras(columns, extra))


def _name(names: list[str]) -> str:
    found = next((name for name in NAMES if name in names), None)
    if found is None:
        known = " or ".join(NAMES[:2])
        raise ValueError(f"it has no tensor named {known}; it has {', '.join(sorted(names)) or 'none'}")
    return found


def _extras(names: list[str], read: Callable[[str], Any]) -> dict[str, Tensor]:
    found = {}
    for extra, known in EXTRAS.items():
        if (name := next((one for one in known if one in names), None)) is not None:
            try:
                found[extra] = torch.as_tensor(read(name))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} must hold whole numbers, one for each row") from error
    return found


def _whole(value: Tensor, name: str) -> Tensor:
    """As int64. Fractions and NaN are refused: cut off, they would make documents or masks that nobody meant."""
    if value.is_complex() or (value.is_floating_point() and not (value == value.round()).all()):
        raise ValueError(f"{name} must hold whole numbers, one for each row")
    return value.long()
