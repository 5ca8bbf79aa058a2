"""A folder as a file chooser shows it: where to go, and what may be an SAE or activations."""

from __future__ import annotations

from pathlib import Path

#: What `amortgap.interop.read` and `amortgap.audit.from_path` take.
KINDS = {".npz", ".npy", ".parquet", ".pt", ".safetensors"}


def listing(folder: str | Path) -> list[str]:
    """Names in `folder`: "../" first, then its folders, ending in "/", then files of the kinds that can be read.

    Hidden ones are left out. A folder that cannot be read has only the way up.
    """
    try:
        found = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    except OSError:
        found = []
    folders = [path.name + "/" for path in found if path.is_dir()]
    return ["../", *folders, *(path.name for path in found if path.suffix in KINDS and path.is_file())]
