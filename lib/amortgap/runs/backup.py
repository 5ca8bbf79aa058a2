"""A copy of a data folder that lies beside it while its page is drawn again."""

from __future__ import annotations

import shutil
from pathlib import Path

from amortgap._files import LOCK


def copy_of(folder: Path) -> Path:
    """Where the copy lies. It is there only while the folder may be half changed."""
    return folder.with_name(f".{folder.name}.before")


def back_up(folder: Path) -> None:
    """Make the copy."""
    unfinished = _unfinished(folder)
    remove(unfinished)
    # The lock is held, so Windows would not let it be read.
    shutil.copytree(folder, unfinished, ignore=shutil.ignore_patterns(LOCK))
    unfinished.replace(copy_of(folder))


def put_back(folder: Path) -> None:
    """Bring the folder back to its copy, where there is one. Killed on its way, it can be called again."""
    if copy_of(folder).is_dir():
        shutil.copytree(copy_of(folder), folder, dirs_exist_ok=True)
        forget(folder)


def forget(folder: Path) -> None:
    """Remove the copy: first its name, so that none is left that lacks files."""
    remove(_unfinished(folder))
    copy_of(folder).replace(_unfinished(folder))
    remove(_unfinished(folder))


def remove(path: Path) -> None:
    """Remove a file or a folder, or nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.unfinished")
