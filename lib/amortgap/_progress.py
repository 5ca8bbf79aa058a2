"""Progress bars: on stderr, after two seconds; in Jupyter, where ipywidgets are, as widgets."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any


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
    plain = {} if "notebook" in tqdm.__module__ else {"file": sys.stderr}
    return tqdm(*items, **{"delay": 2, "mininterval": 1, **plain, **about})
