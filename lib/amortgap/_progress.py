"""Progress bars: on stderr, after two seconds; in Jupyter, where ipywidgets are, as widgets."""

from __future__ import annotations

import os
import sys
import threading
from importlib.util import find_spec
from typing import Any

_locked_in = 0  # the process that has its own lock


def progress(*items: Any, **about: Any) -> Any:
    """A tqdm bar, with tqdm's arguments.

    A run of the report writes plain bars to stderr, which the executed notebook does not keep; widgets would stay
    in it as empty boxes.
    """
    widgets = "AMORTGAP_RUN" not in os.environ and find_spec("ipywidgets") is not None
    if widgets:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    _lock()
    plain = {} if "notebook" in tqdm.__module__ else {"file": sys.stderr}
    return tqdm(*items, **{"delay": 2, "mininterval": 1, **plain, **about})


def say(text: str) -> None:
    """Write a line to stderr, above the bars."""
    _lock()
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def _lock() -> None:
    """A lock of this process alone: forks share tqdm's, and one killed as it draws would stop them all."""
    global _locked_in
    if _locked_in != os.getpid():
        from tqdm.std import tqdm

        tqdm.set_lock(threading.RLock())
        _locked_in = os.getpid()
