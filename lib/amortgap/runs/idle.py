"""Stop the kernel of a run that makes no progress, and end kernels with the process that started them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class NoProgress(Exception):
    """Nothing was written or printed for so long that the run was stopped."""


@contextlib.contextmanager
def stop_when_idle(folder: Path, seconds: float) -> Iterator[None]:
    """End the kernels of this process when nothing in `folder` has changed for so long.

    A cell that ends, output and parts of a step change something there, so a run on a slow machine is left alone.
    Raises `NoProgress` in place of the error that a stopped kernel causes.
    """
    done, stopped = threading.Event(), threading.Event()

    def watch() -> None:
        seen, since = _newest(folder), time.monotonic()
        while not done.wait(min(1.0, seconds / 4)):
            if (now := _newest(folder)) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > seconds:
                stopped.set()
                end_kernels()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if stopped.is_set():
            raise NoProgress(
                f"nothing was written or printed for {seconds / 60:.2g} minutes, the limit of the profile"
            ) from error
        raise
    finally:
        done.set()
        watcher.join()


def _newest(folder: Path) -> int:
    newest = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            newest = max(newest, path.stat().st_mtime_ns)
    return newest


def end_kernels() -> None:
    """Kill the kernels that this process has started, and the processes that they have started."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("ipykernel" in part for part in child.cmdline()):
                for process in (*child.children(recursive=True), child):
                    process.kill()
